//! PCI functions of the host, passed through by VFIO (Linux Documentation/driver-api/vfio.rst).

mod access;
mod bars;
pub mod config;
mod function;
pub mod host;
pub mod interrupt;
mod options;
mod rom;
#[cfg(test)]
mod testing;

pub use function::{FunctionError, InterruptSources, VfioPci};
pub use options::{Identity, Options, Place, Rom};
