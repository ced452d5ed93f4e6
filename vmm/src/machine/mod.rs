//! The live machine: assembled from the plan, run by one event loop, and ended in order.

pub mod acpi;
mod boot_disk;
mod build;
mod diagnose;
mod flash;
mod items;
mod run;
mod timers;
mod vcpus;

pub use run::run;
