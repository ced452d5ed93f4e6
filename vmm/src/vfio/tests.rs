//! Tests of what needs no device: reading the kernel's answers, decisions, and messages.

use vocabulary::{HostPciAddress, LentDevice};

mod explain;
mod reset;
mod reset_methods;

/// The function `01:00.function`.
fn gpu(function: u8) -> LentDevice {
    HostPciAddress::new(0, 1, 0, function).unwrap().into()
}
