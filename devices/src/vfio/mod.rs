//! PCI functions of the host, passed through by VFIO (Linux Documentation/driver-api/vfio.rst).

mod bars;
pub mod host;
mod options;
mod rom;

pub use options::{Identity, Options, Place, Rom};
