//! The live machine: assembled from the plan, run by one event loop, and ended in order.

mod assembly;
mod clocks;
mod consoles;
mod control;
mod crash;
mod diagnose;
mod dump;
mod end;
mod files;
mod inside;
mod listen;
mod passthrough;
mod refusals;
mod run;
mod sleep;
mod spare;
mod supervisor;
#[cfg(test)]
mod tests;
mod timers;
mod tuning;

pub use assembly::cpuid::{Cpuid, cpuid};
pub use assembly::lacking::Lacking;
pub use dump::dump;
pub use files::inputs::refused_files;
pub use inside::{Companion, Inside};
pub use refusals::{Refusals, refusals};
pub use run::{run, run_with};
pub use tuning::refused_tuning;

use std::io;
use std::path::Path;

use vocabulary::AddressRange;

use crate::config::{self, Overrides};
use crate::host::{HostFacts, HostFiles, WantedIdentity};
use crate::kvm::HostError;
use crate::outcome::Failure;
use crate::plan::{self, MachinePlan};

/// The machine of a configuration, on this host.
///
/// # Errors
/// The configuration cannot be read, is wrong, or contradicts itself or the host.
pub fn plan_of(path: &Path, overrides: &Overrides) -> Result<MachinePlan, Failure> {
    let config = config::load(path, overrides)?;
    let wanted = WantedIdentity { model: config.smbios.mirror_host, serials: config.smbios.mirror_serials };
    let facts = HostFacts::gather(config.lent_devices()).with_identity(wanted);
    let facts = facts.with_usb(&HostFiles::default(), config.wants_usb_devices());
    let about_cpus = config.scheduling.pin.is_some() || config.host.governor.is_some();
    let facts = if about_cpus { facts.with_cpus() } else { facts };
    Ok(plan::plan(config, &facts)?)
}

/// The machine of a configuration, on whatever host: what only a host could tell is left open.
///
/// # Errors
/// The configuration cannot be read, is wrong, or contradicts itself.
pub fn offline_plan_of(path: &Path) -> Result<MachinePlan, Failure> {
    let config = config::load(path, &Overrides::default())?;
    Ok(plan::plan(config, &HostFacts::unasked())?)
}

/// Where the firmware is expected to put the large BARs of a machine on this host.
pub fn high_window(plan: &MachinePlan) -> Option<AddressRange> {
    assembly::acpi::high_window(plan)
}

/// The host refused a step, named in the infinitive.
fn refused(what: &'static str) -> impl FnOnce(io::Error) -> Failure {
    move |source| Failure::Host(HostError::Setup { what, source })
}
