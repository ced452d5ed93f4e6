//! PCI functions of the host, passed through by VFIO (Linux Documentation/driver-api/vfio.rst).
//!
//! The model knows the host by [`host::HostDevice`] alone and makes no system call. From the guest's side inwards:
//!
//! - `function`: the function on the guest's bus, and how it is put together from what follows.
//! - `shared`: configuration cycles and resets, and in which order device and guest get to see them.
//! - `access`, `overlay`, `mirror`: accesses to BARs that trap, and the registers there that are not the device's own.
//! - `bars`, `rom`: what the base address registers show, and what of it is memory that the guest reaches without a trap.
//! - [`config`]: which bits of configuration space are the device's and which are made up, as a pure table.
//! - [`interrupt`]: INTx, MSI and MSI-X, by events that no thread of ours handles.

mod access;
mod bars;
pub mod config;
mod function;
pub mod host;
pub mod interrupt;
mod mirror;
mod options;
mod overlay;
mod rom;
mod shared;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod write;

pub use function::{FunctionError, InterruptSources, VfioPci};
pub use options::{Identity, Options, Rom};
