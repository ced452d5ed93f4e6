//! The live machine: assembled from the plan, run by one event loop, and ended in order.

pub mod acpi;
mod additions;
mod boot_order;
mod build;
mod consoles;
mod control;
mod cpuid;
mod diagnose;
mod direct;
mod dump;
mod end;
mod ends;
mod flash;
mod heap;
mod inputs;
mod items;
mod listen;
mod passthrough;
mod run;
mod shot;
#[cfg(test)]
mod tests;
mod timers;
mod user_tables;
mod vcpus;

pub use cpuid::{Cpuid, cpuid};
pub use dump::dump;
pub use inputs::refused_files;
pub use run::run;

use std::io;

use crate::kvm::HostError;
use crate::outcome::Failure;

/// The host refused a step, named in the infinitive.
fn refused(what: &'static str) -> impl FnOnce(io::Error) -> Failure {
    move |source| Failure::Host(HostError::Setup { what, source })
}
