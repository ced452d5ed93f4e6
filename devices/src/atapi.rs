//! A CD and DVD reader: the commands of MMC-6 and SPC-4 that such drives have, whatever brings them (`ahci` does).
//!
//! What is modelled: one logical unit without write commands, whose disc is an image file; a tray that the guest and the
//! host open, the guest's lock on it, and how a change of the disc becomes known. A drive tells of it in two ways, and
//! guests rely on one of them: media events (MMC-6, 6.7), and sense data (SPC-4, 4.5). Sense goes through all that a real
//! change goes through: "no medium" once, then "medium may have changed" once. Without the first some systems go on with
//! what they have cached.
//!
//! | module | what it does |
//! |---|---|
//! | `drive` | state, the host's hands on the drive, the order in which conditions are reported |
//! | `command` | which command does what; reading |
//! | `inquiry`, `mode`, `toc`, `configuration`, `disc_info` | answers about the drive and the disc |
//! | `sense` | sense data |

mod command;
mod configuration;
mod disc_info;
mod drive;
mod inquiry;
mod mode;
mod sense;
#[cfg(test)]
pub(crate) mod tests;
mod toc;

pub use command::{Read, Reply};
pub use drive::{Drive, Locked, Status};
pub use inquiry::Identity;
pub use sense::Sense;

use std::io;

use crate::disk::Disc;

/// Bytes of a block of a disc as most commands read it.
pub const BLOCK: usize = crate::disk::DISC_BLOCK as usize;
/// Bytes of a command.
pub const PACKET: usize = 12;

/// What is in a drive.
pub trait Medium: Send + Sync {
    /// Its blocks, at least one.
    fn blocks(&self) -> u32;

    /// Fills `data`, whole blocks that the medium has, from block `block` on.
    ///
    /// # Errors
    /// They cannot be read.
    fn read(&self, block: u32, data: &mut [u8]) -> io::Result<()>;
}

impl Medium for Disc {
    fn blocks(&self) -> u32 {
        Disc::blocks(self)
    }

    fn read(&self, block: u32, data: &mut [u8]) -> io::Result<()> {
        Disc::read(self, block, data)
    }
}

/// Whether a disc of so many blocks is a DVD: it is larger than a CD of 80 minutes.
fn is_dvd(blocks: u32) -> bool {
    blocks > 80 * 60 * 75
}

/// The bytes of a big-endian field of a command, or zeroes where it has none.
fn field<const N: usize>(packet: &[u8], at: usize) -> [u8; N] {
    packet.get(at..at + N).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; N])
}

/// A 16-bit field of a command.
fn u16_at(packet: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(field(packet, at))
}

/// A 32-bit field of a command.
fn u32_at(packet: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(field(packet, at))
}

/// A byte of a command.
fn u8_at(packet: &[u8], at: usize) -> u8 {
    packet.get(at).copied().unwrap_or(0)
}
