//! What a vm.toml is written from (`optimus-vmm init`): those of the facts that matter there, as plain values, with the advice of
//! the findings about them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use vocabulary::HostPciAddress;

use super::check::{CHECKS, Severity, Verdict};
use super::distribution::{Distribution, Package};
use super::facts::gpu::{Display, Gvt};
use super::facts::{Context, Facts, Probe};
use super::report::Report;
use super::{DoctorError, check_root, gather};
use crate::code43::{NVIDIA, has_own_rom};

/// The driver that holds what is lent.
const VFIO_PCI: &str = "vfio-pci";

/// A host that was read, and can be asked about a vm.toml.
#[derive(Debug)]
pub struct Host {
    context: Context,
    patience: Duration,
    facts: Facts,
}

impl Host {
    /// Reads this host, or the copy below `sysroot`. `dgpu` is the GPU to lend, the first of NVIDIA's if none is named. Each
    /// probe has `patience`.
    ///
    /// # Errors
    /// The other root is none, or no child can be started to read.
    pub fn read(
        sysroot: Option<&Path>,
        dgpu: Option<HostPciAddress>,
        patience: Duration,
    ) -> Result<Self, DoctorError> {
        check_root(sysroot)?;
        let context = Context { sysroot: sysroot.map(Path::to_owned), dgpu, ..Context::default() };
        let facts = gather::gather(&context, patience)?;
        Ok(Self { context, patience, facts })
    }

    /// One that is made of files that do not hang.
    #[cfg(test)]
    pub fn of_files(root: &Path, dgpu: Option<HostPciAddress>) -> Self {
        let context = Context { sysroot: Some(root.into()), dgpu, ..Context::default() };
        let facts = Facts::of(&context);
        Self { context, patience: Duration::from_secs(1), facts }
    }

    /// What matters for a vm.toml.
    pub fn survey(&self) -> Survey {
        Survey::of(&self.facts)
    }

    /// The names of the findings that stand in the way of a vm.toml on this host, each once.
    ///
    /// # Errors
    /// No child can be started to read it.
    pub fn in_the_way_of(&self, config: &Path) -> Result<Vec<&'static str>, DoctorError> {
        let context = Context { config: Some(config.into()), ..self.context.clone() };
        let mut facts = self.facts.clone();
        gather::ask(&context, &[Probe::Machine], self.patience, &mut facts)?;
        let blocking =
            Report::new(&facts).findings.into_iter().filter(|finding| finding.severity == Severity::Blocks);
        let mut ids: Vec<_> = blocking.map(|finding| finding.id).collect();
        ids.dedup();
        Ok(ids)
    }
}

/// What a vm.toml is written from. What could not be read is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Manufacturer and model, as the host's firmware has them.
    pub title: String,
    /// It is this host, not a copy of another one's files.
    pub live: bool,
    /// This process is root's.
    pub root: bool,
    /// All memory, in bytes.
    pub memory: Option<u64>,
    /// Fast cores, and a hybrid processor's slow ones.
    pub cores: Option<(u32, u32)>,
    /// The GPU to lend.
    pub gpu: Option<LentGpu>,
    /// Further GPUs of NVIDIA's.
    pub others: Vec<HostPciAddress>,
    /// The display controllers that stay with the host.
    pub displays: Vec<DisplayGpu>,
    /// The code image of OVMF that is preferred, of those with a template of variables.
    pub firmware: Option<PathBuf>,
    /// passt is installed.
    pub passt: bool,
    /// swtpm is installed.
    pub swtpm: bool,
    /// How OVMF, passt and swtpm are installed here.
    pub install_firmware: String,
    pub install_passt: String,
    pub install_swtpm: String,
    /// What could not be read, in sentences.
    pub unanswered: Vec<String>,
}

/// The GPU to lend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LentGpu {
    pub address: HostPciAddress,
    /// Vendor and device ID.
    pub ids: (u16, u16),
    /// It is NVIDIA's.
    pub nvidia: bool,
    /// The other functions of its slot.
    pub companions: Vec<HostPciAddress>,
    /// Subsystem vendor and subsystem ID; zeros where the GPU names none.
    pub subsystem: Option<(u16, u16)>,
    /// All functions of its slot are bound to vfio-pci already.
    pub bound: bool,
    /// It needs no video BIOS of the laptop's firmware.
    pub own_rom: bool,
    /// Where a video BIOS can be had, in the order to try.
    pub rom_advice: Option<String>,
}

/// A display controller that stays with the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisplayGpu {
    pub address: HostPciAddress,
    /// Vendor and device ID.
    pub ids: (u16, u16),
    /// Subsystem vendor and subsystem ID.
    pub subsystem: Option<(u16, u16)>,
    /// The types of virtual GPUs that it offers by GVT-g.
    pub types: Vec<String>,
    /// Its generation has GVT-g, which is switched off: why.
    pub off: Option<String>,
    /// It can have virtual functions (SR-IOV).
    pub virtual_functions: bool,
}

impl Survey {
    fn of(facts: &Facts) -> Self {
        let distribution = Distribution::of(facts);
        let programs = facts.programs.clone().unwrap_or_default();
        let pci = facts.pci.clone().unwrap_or_default();
        let cores = facts.processor.as_ref().and_then(|processor| processor.cores);
        Self {
            title: facts.system.as_ref().map_or_else(|| "this host".into(), |system| system.title()),
            live: facts.live,
            root: facts.rights.as_ref().is_some_and(|rights| rights.root),
            memory: facts.memory.as_ref().and_then(|memory| memory.total?.checked_mul(1 << 10)),
            cores: cores.map(|cores| (cores.fast, cores.slow)),
            gpu: lent_gpu(facts, distribution),
            displays: pci.rest().map(display_gpu).collect(),
            others: pci.others,
            firmware: programs.firmware.into_iter().next(),
            passt: programs.passt.is_some(),
            swtpm: programs.swtpm.is_some(),
            install_firmware: distribution.install(Package::Ovmf),
            install_passt: distribution.install(Package::Passt),
            install_swtpm: distribution.install(Package::Swtpm),
            unanswered: verdicts("unanswered", facts, distribution)
                .into_iter()
                .map(|verdict| format!("{}: {}", verdict.found, verdict.means))
                .collect(),
        }
    }
}

/// What the check of this name finds.
fn verdicts(id: &str, facts: &Facts, distribution: Distribution) -> Vec<Verdict> {
    let check = CHECKS.iter().find(|check| check.id == id);
    check.map(|check| (check.check)(facts, distribution)).unwrap_or_default()
}

fn lent_gpu(facts: &Facts, distribution: Distribution) -> Option<LentGpu> {
    let gpu = facts.gpu()?;
    let own = gpu.function()?;
    let companions = gpu.slot.iter().filter(|function| function.address != own.address);
    Some(LentGpu {
        address: own.address,
        ids: (own.vendor, own.device),
        nvidia: own.vendor == NVIDIA,
        companions: companions.map(|function| function.address).collect(),
        subsystem: own.subsystem,
        bound: gpu.slot.iter().all(|function| function.driver.as_deref() == Some(VFIO_PCI)),
        own_rom: own.vendor != NVIDIA || has_own_rom(own.device),
        rom_advice: verdicts("vbios", facts, distribution).into_iter().find_map(|verdict| verdict.fix),
    })
}

fn display_gpu(display: &Display) -> DisplayGpu {
    let own = &display.function;
    let (types, off) = match &display.gvt {
        Some(Gvt::Offers(types)) => (types.clone(), None),
        Some(Gvt::Off(why, _)) => (Vec::new(), Some(why.clone())),
        Some(Gvt::TooOld | Gvt::TooNew) | None => (Vec::new(), None),
    };
    DisplayGpu {
        address: own.address,
        ids: (own.vendor, own.device),
        subsystem: own.subsystem,
        types,
        off,
        virtual_functions: display.virtual_functions.is_some_and(|total| total > 0),
    }
}
