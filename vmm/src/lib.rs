//! The virtual machine monitor: configuration, machine plan, assembly and run loop.

pub mod cli;
pub mod config;
