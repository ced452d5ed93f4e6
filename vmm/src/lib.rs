//! The virtual machine monitor: configuration, machine plan, assembly and run loop.

pub mod cli;
pub mod config;
pub mod cpu;
pub mod kvm;
pub mod memory;
pub mod plan;
pub mod watch;
