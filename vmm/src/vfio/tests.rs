//! Tests of what needs no device: reading the kernel's answers, decisions, and messages.

use vocabulary::{HostPciAddress, LentDevice};

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

/// The function `01:00.function`.
fn gpu(function: u8) -> LentDevice {
    HostPciAddress::new(0, 1, 0, function).unwrap().into()
}
