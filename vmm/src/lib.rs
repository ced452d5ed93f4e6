//! The virtual machine monitor: configuration, machine plan, assembly and run loop.

pub mod cli;
pub mod config;
pub mod console;
pub mod control;
pub mod cpu;
pub mod ctl;
pub mod events;
pub mod host;
pub mod kvm;
pub mod machine;
pub mod memory;
pub mod outcome;
pub mod output;
pub mod plan;
pub mod power_supply;
mod privileges;
mod programs;
pub mod screenshot;
pub mod session;
pub mod signals;
mod socket;
pub mod timer;
pub mod vbios;
pub mod vfio;
pub mod vnc;
pub mod watch;
