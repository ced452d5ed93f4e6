//! The virtual machine monitor: configuration, machine plan, assembly and run loop.

pub mod cli;
pub mod config;
pub mod console;
pub mod cpu;
pub mod events;
pub mod host;
pub mod kvm;
pub mod machine;
pub mod memory;
pub mod outcome;
pub mod plan;
pub mod power_supply;
pub mod screenshot;
pub mod session;
pub mod signals;
mod socket;
pub mod timer;
pub mod vbios;
pub mod vfio;
pub mod watch;
