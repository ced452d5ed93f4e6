//! PCI functions of the host, passed through by VFIO (Linux Documentation/driver-api/vfio.rst).

pub mod config;
pub mod host;
mod options;

pub use options::{Identity, Options, Place, Rom};
