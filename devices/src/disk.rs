//! Disk images, whatever bus their disk is on: opening them, and reading and writing them safely.
//!
//! Two formats: raw ([`raw`]), in which the file's bytes are the disk's, and QEMU's qcow2 ([`qcow2`]). What both have in
//! common is the file below ([`file`]), the locks that keep other users off it ([`locks`]), and a memory for failed
//! flushes ([`durable`]). Requests of a device's queues go to an image side by side ([`engine`]); those that fail are the guest's business, or stop the
//! machine ([`failures`]) and wait until it goes on ([`held`]). A worker takes them as they come or several at once ([`gather`]). An image may have been damaged or forged: what is wrong with one is found when it is opened
//! ([`open`]), and said in words that lead to a fix ([`error`]).

mod backend;
mod cursor;
mod disc;
mod durable;
pub mod engine;
mod error;
mod failures;
mod file;
mod gather;
mod held;
mod limits;
mod locks;
mod open;
mod qcow2;
mod raw;
#[cfg(test)]
pub(crate) mod tests;
mod volatile_io;

pub use backend::{BlockBackend, SECTOR, Topology};
pub use disc::{DISC_BLOCK, Disc};
pub use error::DiskError;
pub use failures::{Failures, OnError};
pub(crate) use gather::Gather;
pub(crate) use held::Held;
pub use open::{DiskOptions, open_disk};
