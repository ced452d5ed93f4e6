//! Everything that `run` would refuse of a machine, as far as that can be known without starting it, all at once: for `doctor`.
//!
//! Of the places that a run writes to, those of the configuration are looked at: sockets, the VNC server's address, files of consoles. Nothing
//! is made there, and nobody who waits at one notices. What a run is told by options is not known here.

use std::path::Path;

use super::assembly::lacking::Lacking;
use super::files::ends::refused_ends;
use super::passthrough::refused_devices;
use super::{plan_of, refused_files, refused_tuning};
use crate::config::{self, Overrides};
use crate::finding::{Finding, Section};
use crate::host::{HostFacts, HostFiles};
use crate::kvm;
use crate::memory;
use crate::outcome::Failure;
use crate::plan::{self, MachinePlan};
use crate::vfio;

/// What is wrong with a machine that can be planned.
pub struct Refusals {
    /// What would be run.
    pub plan: MachinePlan,
    /// What it would do without, or not as the user may think.
    pub warnings: Vec<Finding>,
    /// What a start would end with, but for `devices`.
    pub problems: Vec<Finding>,
    /// Devices of the host that it would not get. Each message ends with what to do, behind its last colon.
    pub devices: Vec<Finding>,
}

/// What would be refused of the machine of a vm.toml. On `another` host only its devices are looked at: files, KVM and memory
/// are this host's.
///
/// # Errors
/// The configuration cannot be read, is wrong, or contradicts itself or the host.
pub fn refusals(path: &Path, another: Option<&HostFiles>) -> Result<Refusals, Failure> {
    let Some(files) = another else { return here(path) };
    let config = config::load(path, &Overrides::default())?;
    let facts = HostFacts::gather_from(files, config.lent_devices());
    let facts = facts.with_usb(files, config.wants_usb_devices());
    let mut plan = plan::plan(config, &facts)?;
    let warnings = std::mem::take(&mut plan.warnings);
    let devices = refused_devices(&plan, files);
    Ok(Refusals { plan, warnings, problems: Vec::new(), devices })
}

fn here(path: &Path) -> Result<Refusals, Failure> {
    let mut plan = plan_of(path, &Overrides::default())?;
    let mut warnings = std::mem::take(&mut plan.warnings);
    let mut problems = refused_files(&plan);
    match kvm::open() {
        Ok(kvm) => {
            let lacking = Lacking::ask(&plan, &kvm);
            warnings.extend(lacking.warnings);
            problems.extend(lacking.problems);
        }
        Err(error) => problems.push(Finding::of_host(error.to_string())),
    }
    let memory = || Section::Machine.key("memory");
    if let Err(error) = memory::check_against_host(&plan.memory) {
        problems.push(plan.problem(memory(), error.to_string()).about_host());
    }
    problems.extend(refused_ends(&plan));
    problems.extend(refused_tuning(&plan, &HostFiles::default()));
    // Of memory for a virtual GPU nobody knows how much will be locked.
    if plan.passthrough.iter().any(|device| device.host.function().is_some())
        && let Err(why) = vfio::may_lock(plan.memory.size.saturating_add(plan.shared_memory()))
    {
        problems.push(plan.problem(memory(), why).about_host());
    }
    let devices = refused_devices(&plan, &HostFiles::default());
    Ok(Refusals { plan, warnings, problems, devices })
}
