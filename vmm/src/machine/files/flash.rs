//! The two flash units below 4 GiB: the firmware's code and this machine's variables.
#![allow(unsafe_code, reason = "the code is read and checked where the guest will see it, not in a copy")]

mod contents;

use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use devices::bus::{Bus, Priority};
use devices::pflash::{FlashBacking, Pflash};
use devices::time::Alarm;
use firmware::image::{self, CodeFile, FlashMap, ImageError};
use firmware::nvram::{self, NvramError, NvramStore};
use vm_memory::MmapRegion;
use vocabulary::AddressRange;

use crate::config::{Firmware, FirmwareKind};
use crate::device::Tpm;
use crate::finding::{Finding, Findings, Section};
use crate::kvm::slots::Slots;
use crate::machine::refused;
use crate::outcome::Failure;
use crate::plan::MachinePlan;
use contents::{Erased, contents};

/// The units' contents, read and checked, before there is a VM.
pub(in crate::machine) struct FlashFiles {
    code: Arc<MmapRegion>,
    vars: Option<(Arc<MmapRegion>, NvramStore)>,
    map: FlashMap,
    check: Option<JoinHandle<Result<(), ImageError>>>,
}

/// The store of the variables, and what it holds in memory for the guest.
fn variables(
    firmware: &Firmware,
    size: Option<u64>,
    erased: &Erased,
) -> Result<(Arc<MmapRegion>, NvramStore), Failure> {
    let store = NvramStore::open(&firmware.vars, firmware.vars_template.as_deref(), size)?;
    let mut region = erased.unit(store.size(), |part, offset| Ok(store.read(part, offset)?))?;
    store.check(contents(&mut region))?;
    Ok((Arc::new(region), store))
}

/// What [`FlashFiles::open`] would refuse, with its line. Nothing is locked or made.
pub(in crate::machine) fn look(plan: &MachinePlan) -> Vec<Finding> {
    let Some(Firmware { kind, code, vars, vars_template }) = &plan.firmware else { return Vec::new() };
    let read = || {
        let file = CodeFile::open(code)?;
        let mut bytes = vec![0; file.size()];
        if *kind == FirmwareKind::Raw {
            return file.read_raw_into(&mut bytes).map(|()| None);
        }
        let info = file.read_into(&mut bytes)?;
        image::check(code, &bytes, has_tpm(plan))?;
        Ok(Some(info))
    };
    let info = match read() {
        Err(error) => return vec![about_code(plan, &error)],
        Ok(info) => info,
    };
    let Some(info) = info.filter(|info| info.builtin_vars.is_none()) else { return Vec::new() };
    match nvram::look(vars, vars_template.as_deref(), info.layout.vars_size()) {
        Ok(()) => Vec::new(),
        Err(error) => vec![about_vars(plan, &error)],
    }
}

/// Whether the machine has a TPM, which its firmware is to know.
pub(in crate::machine) fn has_tpm(plan: &MachinePlan) -> bool {
    plan.devices.one::<Tpm>().is_some()
}

fn about_code(plan: &MachinePlan, error: &ImageError) -> Finding {
    plan.problem(Section::Firmware.key("code"), error.to_string())
}

fn about_vars(plan: &MachinePlan, error: &NvramError) -> Finding {
    let template = plan.firmware.as_ref().and_then(|firmware| firmware.vars_template.as_deref());
    let key = if template.is_some() && error.path() == template { "vars_template" } else { "vars" };
    let finding = plan.problem(Section::Firmware.key(key), error.to_string());
    match error {
        // The file is right; somebody else is in the way.
        NvramError::InUse { .. } => finding.about_host(),
        _ => finding,
    }
}

/// Why the flash cannot be had, with the line of its file.
pub(in crate::machine) fn with_line(plan: &MachinePlan, failure: Failure) -> Failure {
    match failure {
        Failure::Image(error) => Findings::from(about_code(plan, &error)).into(),
        Failure::Nvram(error) => Findings::from(about_vars(plan, &error)).into(),
        other => other,
    }
}

impl FlashFiles {
    /// Opens the firmware's files; the variables are made from their template at the first run. A raw image is taken as
    /// it is. `tpm` says that the machine has a TPM.
    pub(in crate::machine) fn open(firmware: &Firmware, tpm: bool) -> Result<Self, Failure> {
        let path = &firmware.code;
        let file = CodeFile::open(path)?;
        let erased = Erased::new().map_err(refused("make memory for erased flash"))?;
        let mut code = erased.unit(file.size(), |part, offset| Ok(file.read_part(part, offset)?))?;
        let bytes = contents(&mut code);
        if firmware.kind == FirmwareKind::Raw {
            let map = image::flash_map(bytes.len() as u64, 0)?;
            return Ok(Self { code: Arc::new(code), vars: None, map, check: None });
        }
        let info = image::inspect(path, bytes)?;
        let vars = match info.builtin_vars {
            // A combined image brings its variables along; what the guest changes there is not kept.
            Some(_) => None,
            None => match variables(firmware, info.layout.vars_size(), &erased) {
                Ok(vars) => Some(vars),
                Err(error) => {
                    // Of two mistakes the firmware is the first: variables for one that cannot run help nobody.
                    image::check(path, bytes, false)?;
                    return Err(error);
                }
            },
        };
        let vars_size = vars.as_ref().map_or(0, |(region, _)| region.size() as u64);
        let code = Arc::new(code);
        let map = image::flash_map(code.size() as u64, vars_size)?;
        // Unpacking takes longer than the rest of the start: it goes on beside it.
        let check = std::thread::Builder::new()
            .name("check-firmware".into())
            .spawn({
                let (path, code) = (path.clone(), Arc::clone(&code));
                move || {
                    // SAFETY: `code` keeps the mapping, which is of this size. Nobody writes to it from here on: the guest
                    // sees it read-only, and a read-only `Pflash` refuses to program.
                    let bytes = unsafe { std::slice::from_raw_parts(code.as_ptr(), code.size()) };
                    image::check(&path, bytes, tpm)
                }
            })
            .map_err(refused("start a thread"))?;
        Ok(Self { code, vars, map, check: Some(check) })
    }

    /// Puts the units on the memory bus.
    pub(in crate::machine) fn attach(
        self,
        memory: &Bus,
        slots: &Slots,
        alarm: Arc<dyn Alarm>,
    ) -> Result<Flash, Failure> {
        let Self { code, vars, map, check } = self;
        let put = |base: u64, unit: &Arc<Pflash>, size: u64| {
            if let Some(range) = AddressRange::new(base, size) {
                memory.insert(
                    range,
                    Priority::Platform,
                    Arc::clone(unit) as Arc<dyn devices::bus::BusDevice>,
                );
            }
        };
        let slot = Box::new(slots.rom(map.code, Arc::clone(&code)));
        let code = Pflash::read_only("CODE", code, slot)?;
        put(map.code, &code, map.code_size);
        let mut units = vec![code];
        if let Some((contents, store)) = vars {
            let slot = Box::new(slots.rom(map.vars, Arc::clone(&contents)));
            let vars = Pflash::writable("VARS", contents, slot, Box::new(Backing { store, alarm }))?;
            put(map.vars, &vars, map.vars_size);
            units.push(vars);
        }
        Ok(Flash { units, check })
    }
}

/// The units of a machine; one that starts a kernel without firmware has none.
#[derive(Default)]
pub(in crate::machine) struct Flash {
    units: Vec<Arc<Pflash>>,
    check: Option<JoinHandle<Result<(), ImageError>>>,
}

impl Flash {
    /// Refuses a firmware that needs System Management Mode, which this machine does not have: it would hang before its
    /// first output. Also one that leaves the machine's TPM alone.
    pub(in crate::machine) fn check(&mut self) -> Result<(), Failure> {
        match self.check.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => Err(error.into()),
            Some(Err(panic)) => resume_unwind(panic),
            Some(Ok(Ok(()))) | None => Ok(()),
        }
    }

    /// Back to the power-on state, with all changes on the disk.
    pub(in crate::machine) fn reset(&self) {
        let Self { units, check: _ } = self;
        units.iter().for_each(|unit| unit.reset());
    }

    /// How often the units were shown to or hidden from the guest.
    pub(in crate::machine) fn slot_switches(&self) -> u64 {
        self.units.iter().map(|unit| unit.slot_switches()).sum()
    }

    /// A handle for the event loop.
    pub(crate) fn flusher(&self) -> Flusher {
        Flusher(self.units.clone())
    }

    /// Puts all changes on the disk.
    pub(in crate::machine) fn flush(&self) -> io::Result<()> {
        self.units.iter().try_for_each(|unit| unit.flush())
    }
}

/// Puts changes on the disk from the event loop.
pub(crate) struct Flusher(Vec<Arc<Pflash>>);

impl Flusher {
    /// As [`Flash::flush`]; a failure is told, and the next change tries again.
    pub(crate) fn flush(&self) {
        for unit in &self.0 {
            if let Err(error) = unit.flush() {
                devices::limited_warn!(%error, "the firmware's variables could not be put on the disk");
            }
        }
    }
}

/// How long a change may wait for the disk, should the guest not return to reading the flash.
const SYNC_AFTER: Duration = Duration::from_secs(2);

/// The store behind the variables. A write survives this process at once, and the host a moment later: the alarm has the
/// event loop flush the unit.
struct Backing {
    store: NvramStore,
    alarm: Arc<dyn Alarm>,
}

fn io_error(error: NvramError) -> io::Error {
    io::Error::other(error)
}

impl FlashBacking for Backing {
    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.alarm.arm(Some(Instant::now() + SYNC_AFTER));
        self.store.write(offset, data).map_err(io_error)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.store.sync().map_err(io_error)
    }
}
