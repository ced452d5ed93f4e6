//! The files that a machine is made from, opened and checked before anything of the host is changed: what can be refused
//! is refused here.
//!
//! First come the files that are only read, all of whose mistakes are reported together, each with its line of the
//! configuration. Then those that belong to one machine at a time, the variables and the disks, which are locked from here
//! on.

use std::path::PathBuf;

use devices::disk::{BlockBackend, DiskOptions, open_disk};
use firmware::fw_cfg::kernel::{KernelError, KernelHandoff};
use firmware::fw_cfg::user_item::{Source, UserItem};
use vocabulary::fw_cfg::Content;

use super::additions::Additions;
use super::flash::FlashFiles;
use super::passthrough::Roms;
use crate::config::{self, ConfigError, Display, FwCfgContent, RomSource};
use crate::finding::{Finding, Findings, Key, Section};
use crate::outcome::Failure;
use crate::plan::MachinePlan;
use crate::vnc::{self, VncError};

/// All of a machine's files.
pub(super) struct Inputs {
    /// Behind the ACPI tables.
    pub(super) additions: Additions,
    /// ROMs of passed-through functions.
    pub(super) roms: Roms,
    /// What the firmware is to start.
    pub(super) kernel: Option<KernelHandoff>,
    /// The user's fw_cfg items, by name.
    pub(super) items: Vec<(String, Box<dyn Content>)>,
    /// What the VNC server is to be; it has read its password.
    pub(super) vnc: Option<vnc::Options>,
    /// Firmware and variables.
    pub(super) flash: FlashFiles,
    /// Disks in the order of the configuration. The assembly takes them out.
    pub(super) disks: Vec<Option<Box<dyn BlockBackend>>>,
}

impl Inputs {
    /// Opens all files.
    ///
    /// # Errors
    /// A file is missing, wrong, or in use.
    pub(super) fn open(plan: &MachinePlan) -> Result<Self, Failure> {
        let mut problems = Vec::new();
        let additions = Additions::read(plan, &mut problems);
        let roms = Roms::load(plan, &mut problems);
        let kernel = kernel(plan, &mut problems);
        let items = items(plan, &mut problems);
        let vnc = vnc(plan, &mut problems)?;
        Findings::check(problems).map_err(ConfigError::from)?;
        let flash = FlashFiles::open(plan)?;
        let disks = disks(plan)?;
        Ok(Self { additions, roms, kernel, items, vnc, flash, disks })
    }

    /// What the guest will see of each disk, in bytes, in the order of the configuration.
    pub(super) fn disk_sizes(&self) -> Vec<u64> {
        self.disks.iter().flatten().map(|disk| disk.size()).collect()
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

fn kernel(plan: &MachinePlan, problems: &mut Vec<Finding>) -> Option<KernelHandoff> {
    let kernel = plan.kernel.as_ref()?;
    let opened = KernelHandoff::open(&kernel.image, kernel.initrd.as_deref(), &kernel.cmdline);
    let problem = |error: &KernelError| plan.problem(kernel_key(kernel, error), error.to_string());
    or_problem(opened, problem, problems)
}

/// The key to blame.
fn kernel_key(kernel: &config::Kernel, error: &KernelError) -> Key {
    Section::Kernel.key(match error {
        KernelError::Initrd { .. } => "initrd",
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

fn vnc(plan: &MachinePlan, problems: &mut Vec<Finding>) -> Result<Option<vnc::Options>, VncError> {
    let Some(display) = &plan.display else { return Ok(None) };
    let Some(address) = display.vnc.clone() else { return Ok(None) };
    let password_file = display.password_file.as_deref();
    match vnc::Options::new(address, password_file, &plan.name, display.keyboard.0) {
        Err(VncError::Password(error)) => {
            problems.push(plan.problem(Display::PASSWORD_FILE, error.to_string()));
            Ok(None)
        }
        options => options.map(Some),
    }
}

fn disks(plan: &MachinePlan) -> Result<Vec<Option<Box<dyn BlockBackend>>>, Failure> {
    let mut problems = Vec::new();
    let mut disks = Vec::new();
    for (index, disk) in plan.disks.iter().enumerate() {
        match open_disk(&disk_options(disk)) {
            Ok(disk) => disks.push(Some(disk)),
            // The file is right; somebody else is in the way.
            Err(source) if source.is_in_use() => return Err(Failure::Disk { index, source }),
            Err(error) => {
                let disk = Section::Disk(index);
                problems.push(plan.problem(disk.key("path"), format!("{disk}: {error}")));
            }
        }
    }
    Findings::check(problems).map_err(ConfigError::from)?;
    Ok(disks)
}

fn disk_options(disk: &config::Disk) -> DiskOptions {
    let mut options = DiskOptions::new(&disk.path);
    options.format = Some(disk.format);
    options.read_only = disk.readonly;
    options.direct = disk.cache == config::Cache::Direct;
    options.discard = disk.discard == config::Discard::Unmap;
    options.allow_backing = disk.backing == config::Backing::Allow;
    options
}

/// The paths of all files that a machine is made from, each with what it is called in messages.
pub(super) fn paths(plan: &MachinePlan) -> Vec<(String, PathBuf)> {
    let mut paths = Vec::new();
    let mut add = |what: String, path: &PathBuf| paths.push((what, path.clone()));
    add("the firmware's image (`code` in [firmware])".into(), &plan.firmware.code);
    add("the machine's variables (`vars` in [firmware])".into(), &plan.firmware.vars);
    if let Some(template) = &plan.firmware.vars_template {
        add("the template of the variables".into(), template);
    }
    for (index, disk) in plan.disks.iter().enumerate() {
        add(format!("the image of disk[{index}]"), &disk.path);
    }
    if let Some(kernel) = &plan.kernel {
        add("the kernel".into(), &kernel.image);
        if let Some(initrd) = &kernel.initrd {
            add("the initrd".into(), initrd);
        }
    }
    for table in &plan.acpi_tables {
        add("an ACPI table".into(), table);
    }
    if let Some(vbios) = &plan.vbios {
        add("the GPU's video BIOS".into(), &vbios.file);
    }
    for device in &plan.passthrough {
        if let RomSource::File(path) = &device.rom {
            add(format!("the ROM of {}", device.section), path);
        }
    }
    for item in &plan.fw_cfg {
        if let FwCfgContent::File(path) = &item.content {
            add(format!("the content of the fw_cfg item {}", item.name), path);
        }
    }
    if let Some(password) = plan.display.as_ref().and_then(|display| display.password_file.as_ref()) {
        add("the VNC password".into(), password);
    }
    paths
}
