//! Tests of what needs no device: reading the kernel's answers, decisions, and messages.

mod dma;
mod edid;
mod explain;
mod gfx;
mod irqs;
mod mapping;
mod means;
mod opregion;
mod region;
mod reset;

use crate::config::{HostPciAddress, LentDevice};

/// The function `01:00.function`.
fn gpu(function: u8) -> LentDevice {
    HostPciAddress::new(0, 1, 0, function).unwrap().into()
}
