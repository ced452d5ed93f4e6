//! `vbios` in `[dgpu]`: the video BIOS that the GPU's driver asks ACPI for (`_ROM`), with or without a GPU of the host.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use firmware::input;
use firmware::option_rom::{self, Checked, Expect, RomError};
use vocabulary::PciAddress;

use super::{Assembly, DeviceError, Opened, Opening, Spec, Tables, UsedFile};
use crate::finding::{Key, Section};
use crate::topology::{GPU_PORT, PciPlan, Placed, PlannedFunction, Role};

/// The key of the file.
const KEY: Key = Section::Dgpu.key("vbios");

/// The video BIOS that `_ROM` of the GPU's ACPI device returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vbios {
    /// The file.
    pub file: PathBuf,
    /// Where the guest finds the GPU, or only its ACPI device if no GPU is passed through.
    pub guest: PciAddress,
    /// Vendor and device ID that the ROM must be for. `None` leaves it to the GPU that is passed through, or to nobody if
    /// none is.
    pub ids: Option<(u16, u16)>,
    /// Device and function numbers from bus 0 to that address, those of the bridges first; the plan finds them.
    pub at: Vec<(u8, u8)>,
    /// What the file must be for; `None` if nobody knows. The plan finds that, too.
    pub expect: Option<Expect>,
}

/// Why a video BIOS has no place: what is wrong, and what to do.
pub(crate) type NoPlace = (String, &'static str);

impl Vbios {
    /// As its section has it.
    pub(crate) fn new(file: PathBuf, guest: PciAddress, ids: Option<(u16, u16)>) -> Self {
        Self { file, guest, ids, at: Vec::new(), expect: None }
    }

    /// Finds the ACPI device of the GPU that is passed through at `gpu`, and takes over what the file must be for.
    pub(crate) fn belong_to(&mut self, gpu: Placed<'_>, expect: Option<Expect>) {
        self.at = gpu.port.iter().map(|port| (port.device(), port.function())).collect();
        self.at.push(slot(gpu.function));
        self.expect = expect;
    }

    /// Finds the ACPI device where no GPU is passed through.
    pub(crate) fn stand_alone(&mut self, pci: &PciPlan) -> Result<(), NoPlace> {
        self.at = place_without_gpu(pci, self.guest)?;
        self.expect = self.ids.map(|(vendor, device)| Expect::new(vendor, device));
        Ok(())
    }

    /// Reads and checks the file: the chain of images without what is in front of it and behind it.
    pub(crate) fn read(&self, opening: &mut Opening<'_>) -> Option<Arc<[u8]>> {
        let path = self.file.as_path();
        let checked = input::read(path, option_rom::MAX_SIZE as u64)
            .map_err(|error| VbiosError::Read { path: path.into(), source: error.into() })
            .and_then(|bytes| self.check(&bytes));
        let checked = match checked {
            Ok(checked) => checked,
            Err(error) => {
                let problem = opening.origin.problem(KEY, error.to_string());
                opening.problems.push(match error {
                    VbiosError::Read { .. } => problem,
                    VbiosError::Rom { .. } => problem.with_help(self.help()),
                });
                return None;
            }
        };
        for warning in &checked.warnings {
            tracing::warn!("{}: {warning}", path.display());
        }
        if self.expect.is_none() {
            tracing::debug!("{}: which GPU it is for is not checked", path.display());
        }
        Some(checked.image.into())
    }

    fn check(&self, bytes: &[u8]) -> Result<Checked, VbiosError> {
        option_rom::check(bytes, self.expect)
            .map_err(|source| VbiosError::Rom { path: self.file.clone(), source })
    }

    fn help(&self) -> String {
        let device =
            self.expect.map(|expect| format!(" --device {:04x}:{:04x}", expect.vendor, expect.device));
        let device = device.unwrap_or_default();
        format!("`optimus-vmm vbios info {}{device}` shows what is in it", self.file.display())
    }
}

/// A file that cannot be the video BIOS.
#[derive(Debug, thiserror::Error)]
enum VbiosError {
    /// It cannot be read.
    #[error("cannot read the video BIOS {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// It is damaged, no video BIOS, or for another GPU.
    #[error("{} cannot be the GPU's video BIOS: {source}", path.display())]
    Rom {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: RomError,
    },
}

impl Spec for Vbios {
    fn section(&self) -> Section {
        Section::Dgpu
    }

    fn describe(&self) -> String {
        format!("video BIOS {}, `_ROM` of {}", self.file.display(), self.guest)
    }

    fn files(&self) -> Vec<UsedFile<'_>> {
        vec![("the GPU's video BIOS".into(), &self.file)]
    }

    fn describe_to_acpi(&self, platform: &mut acpi::Platform, tables: &Tables) {
        platform.vrom =
            tables.vbios.as_ref().map(|image| acpi::Vrom { at: self.at.clone(), image: Arc::clone(image) });
    }

    fn open(&self, opening: &mut Opening<'_>) -> Option<Box<dyn Opened>> {
        self.read(opening).map(|image| Box::new(OpenVbios(image)) as _)
    }
}

/// The image of a video BIOS.
struct OpenVbios(Arc<[u8]>);

impl Opened for OpenVbios {
    fn fill(&self, tables: &mut Tables) {
        tables.vbios = Some(Arc::clone(&self.0));
    }

    /// There is nothing but the tables.
    fn build(self: Box<Self>, _: Option<Placed<'_>>, _: &mut Assembly<'_>) -> Result<(), DeviceError> {
        Ok(())
    }
}

fn slot(function: &PlannedFunction) -> (u8, u8) {
    (function.at.device(), function.at.function())
}

/// The place of an ACPI device that need not have a PCI function. On failure, why there is none and what to do.
fn place_without_gpu(pci: &PciPlan, guest: PciAddress) -> Result<Vec<(u8, u8)>, NoPlace> {
    let here = (guest.device(), guest.function());
    if guest.bus() == 0 {
        let holder = pci.functions.iter().find(|function| slot(function) == here);
        return match holder.map(|function| function.role) {
            Some(Role::HostBridge | Role::Lpc) => {
                Err((format!("{guest} is a function of the chipset"), "give the video BIOS another address"))
            }
            Some(Role::RootPort { .. }) => {
                Err((format!("{guest} is a root port"), "give the video BIOS the address behind it"))
            }
            _ => Ok(vec![here]),
        };
    }
    if guest.device() != 0 {
        let message = format!(
            "{guest} has device number {}: the link of a root port has device 0 only",
            guest.device()
        );
        return Err((message, "write device 00"));
    }
    let port = |function: &&PlannedFunction| matches!(function.role, Role::RootPort { number } if number == guest.bus());
    let free = !pci.functions.iter().any(|function| slot(function) == GPU_PORT);
    match pci.functions.iter().find(port) {
        Some(port) => Ok(vec![slot(port), here]),
        // The tables make the bridge's device too, as if a laptop's GPU were there.
        None if guest.bus() == 1 && free => Ok(vec![GPU_PORT, here]),
        None => Err((
            format!("{guest} is on bus {:02x}, above which there is no root port", guest.bus()),
            "add [[root_port]] entries, or write an address on bus 00",
        )),
    }
}
