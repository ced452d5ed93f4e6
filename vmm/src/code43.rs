//! Why NVIDIA's driver may refuse a laptop's GPU in a virtual machine, which Windows shows as "Code 43": the conditions that it is
//! known or reported to look at, each checked by itself.
//!
//! [`Facts`] are what the driver would find. They come from a planned machine and its host ([`planned`]), or from a running one
//! ([`live`]); the conditions ([`Condition`]) are pure functions of them, and a [`Report`] is what they say.
//!
//! Sources: NVIDIA's open kernel modules 595 (`nv-acpi.c`, `osapi.h`, `kernel/virtualization/hypervisor`) for what Linux' driver does
//! with `_ROM`, chassis, battery and hypervisor; nouveau for `_ROM`; NVIDIA's knowledge base, answer 5173, for virtual machines since
//! driver 465; reports of users for Windows' driver, whose source nobody has.

mod condition;
mod driver;
mod facts;
pub mod live;
pub mod planned;
mod report;
#[cfg(test)]
mod tests;

pub use driver::{Driver, NVIDIA, has_own_rom};
pub use facts::Facts;
#[cfg(test)]
pub use facts::{Gpu, Slot};
pub use report::Report;
