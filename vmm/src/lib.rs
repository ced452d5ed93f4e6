//! The virtual machine monitor: configuration, machine plan, assembly and run loop.

pub mod cpu;
pub mod kvm;
