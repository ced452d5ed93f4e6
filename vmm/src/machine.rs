//! The live machine: assembled from the plan, run by one event loop, and ended in order.

mod assembly;
mod consoles;
mod control;
mod diagnose;
mod dump;
mod end;
mod files;
mod heap;
mod listen;
mod passthrough;
mod run;
#[cfg(test)]
mod tests;
mod timers;

pub use assembly::cpuid::{Cpuid, cpuid};
pub use dump::dump;
pub use files::inputs::refused_files;
pub use run::run;

use std::io;

use crate::kvm::HostError;
use crate::outcome::Failure;

/// The host refused a step, named in the infinitive.
fn refused(what: &'static str) -> impl FnOnce(io::Error) -> Failure {
    move |source| Failure::Host(HostError::Setup { what, source })
}
