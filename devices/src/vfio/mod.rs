//! PCI functions of the host, passed through by VFIO (Linux Documentation/driver-api/vfio.rst).

mod bars;
pub mod host;
pub mod interrupt;
mod options;
mod rom;
#[cfg(test)]
mod testing;

pub use options::{Identity, Options, Place, Rom};
