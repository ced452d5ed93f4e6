//! The files that a machine is made from, opened and checked before anything of the host is changed: what can be refused
//! is refused here.
//!
//! All mistakes are reported together, each with its line of the configuration. What belongs to one machine at a time, the
//! variables and the disks, is locked from here on.

use firmware::direct::kernel::DirectKernel;
use firmware::fw_cfg::kernel::{KernelError, KernelHandoff};
use firmware::fw_cfg::user_item::{Source, UserItem};
use vocabulary::fw_cfg::Content;

use super::additions::Additions;
use super::flash::{self, FlashFiles};
use crate::config::{self, Boot, FwCfgContent};
use crate::device::{Opened, Opening, Purpose};
use crate::finding::{Finding, Findings, Key, Section};
use crate::machine::passthrough::Roms;
use crate::outcome::Failure;
use crate::plan::MachinePlan;

/// All of a machine's files.
pub(in crate::machine) struct Inputs {
    /// Behind the ACPI tables.
    pub(in crate::machine) additions: Additions,
    /// ROMs of passed-through functions.
    pub(in crate::machine) roms: Roms,
    /// What is started in place of a boot loader.
    pub(in crate::machine) kernel: Option<OpenedKernel>,
    /// The user's fw_cfg items, by name.
    pub(in crate::machine) items: Vec<(String, Box<dyn Content>)>,
    /// Firmware and variables, if there are any.
    pub(in crate::machine) flash: Option<FlashFiles>,
    /// Optional devices, each with its number in the plan.
    pub(in crate::machine) devices: Vec<(usize, Box<dyn Opened>)>,
}

/// A kernel, and who starts it.
pub(in crate::machine) enum OpenedKernel {
    /// The firmware.
    ByFirmware(KernelHandoff),
    /// The machine itself.
    Direct(Box<DirectKernel>),
}

impl Inputs {
    /// Opens all files.
    ///
    /// # Errors
    /// A file is missing, wrong, or in use.
    pub(in crate::machine) fn open(plan: &MachinePlan) -> Result<Self, Failure> {
        let mut files = Files::open(plan, Purpose::Run);
        Findings::check(std::mem::take(&mut files.problems))?;
        let Files { additions, roms, kernel, items, devices, problems: _ } = files;
        // The variables come last: they are made from their template at the first run.
        let flash = plan.firmware.as_ref();
        let flash = flash.map(|firmware| FlashFiles::open(firmware, flash::has_tpm(plan))).transpose();
        let flash = flash.map_err(|failure| flash::with_line(plan, failure))?;
        Ok(Self { additions, roms, kernel, items, flash, devices })
    }
}

/// What a run would refuse because of files, each with its line. Nothing is locked or made.
pub fn refused_files(plan: &MachinePlan) -> Vec<Finding> {
    let mut problems = Files::open(plan, Purpose::Look).problems;
    problems.extend(flash::look(plan));
    problems
}

/// All files but those of the flash, and what is wrong with them.
struct Files {
    additions: Additions,
    roms: Roms,
    kernel: Option<OpenedKernel>,
    items: Vec<(String, Box<dyn Content>)>,
    devices: Vec<(usize, Box<dyn Opened>)>,
    problems: Vec<Finding>,
}

impl Files {
    fn open(plan: &MachinePlan, purpose: Purpose) -> Self {
        let mut problems = Vec::new();
        let mut additions = Additions::read(plan, &mut problems);
        let roms = Roms::load(plan, &mut problems);
        let kernel = kernel(plan, &mut problems);
        let items = items(plan, &mut problems);
        let mut opening = Opening { name: &plan.name, purpose, origin: &plan.origin, problems };
        let numbered = plan.devices.iter().enumerate();
        let devices: Vec<_> =
            numbered.filter_map(|(index, device)| Some((index, device.open(&mut opening)?))).collect();
        let mut problems = opening.problems;
        devices.iter().for_each(|(_, device)| device.fill(&mut additions.devices));
        problems.extend(additions.without_room(plan));
        Self { additions, roms, kernel, items, devices, problems }
    }
}

/// The problem with its line, and nothing in place of the file.
fn or_problem<T, E: std::fmt::Display>(
    result: Result<T, E>,
    problem: impl FnOnce(&E) -> Finding,
    problems: &mut Vec<Finding>,
) -> Option<T> {
    result.map_err(|error| problems.push(problem(&error))).ok()
}

fn kernel(plan: &MachinePlan, problems: &mut Vec<Finding>) -> Option<OpenedKernel> {
    let kernel = plan.kernel.as_ref()?;
    let (image, initrd, cmdline) = (&kernel.image, kernel.initrd.as_deref(), &kernel.cmdline);
    let opened = match kernel.boot {
        Boot::Firmware => KernelHandoff::open(image, initrd, cmdline).map(OpenedKernel::ByFirmware),
        Boot::Direct => {
            let low_ram_end = plan.memory.low.last().saturating_add(1);
            DirectKernel::open(image, initrd, cmdline, low_ram_end)
                .map(|kernel| OpenedKernel::Direct(Box::new(kernel)))
        }
    };
    let problem = |error: &KernelError| plan.problem(kernel_key(kernel, error), error.to_string());
    or_problem(opened, problem, problems)
}

/// The key to blame.
fn kernel_key(kernel: &config::Kernel, error: &KernelError) -> Key {
    Section::Kernel.key(match error {
        KernelError::Initrd { .. } | KernelError::InitrdNoRoom { .. } => "initrd",
        KernelError::Empty { path } | KernelError::TooLarge { path, .. }
            if Some(path) == kernel.initrd.as_ref() =>
        {
            "initrd"
        }
        KernelError::CmdlineTooLong { .. }
        | KernelError::CmdlineCharacter { .. }
        | KernelError::Cmdline(_) => "cmdline",
        _ => "image",
    })
}

fn items(plan: &MachinePlan, problems: &mut Vec<Finding>) -> Vec<(String, Box<dyn Content>)> {
    let mut items = Vec::new();
    for (index, item) in plan.fw_cfg.iter().enumerate() {
        match &item.content {
            FwCfgContent::Bytes(bytes) => {
                items.push((item.name.clone(), Box::new(bytes.clone()) as Box<dyn Content>));
            }
            FwCfgContent::File(path) => {
                let problem = |error: &_| plan.problem(Section::FwCfg(index).key("file"), format!("{error}"));
                let opened = UserItem::new(&item.name, Source::File(path));
                items.extend(or_problem(opened, problem, problems).map(UserItem::into_parts));
            }
        }
    }
    items
}
