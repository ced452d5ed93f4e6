//! What the kernel says of regions and interrupts, and mappings of files in place of a device.

mod extra;
mod irqs;
mod mapping;
mod region;
