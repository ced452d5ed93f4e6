//! Command headers, command tables, and the guest memory that they describe (AHCI 1.3.1, 4.2.2 and 4.2.3).
//!
//! All of it is in guest memory, and the guest may change it meanwhile: everything is read once.

use vm_memory::{GuestAddress, GuestMemoryBackend};

use crate::disk::engine::Piece;
use crate::pci::dma::{Dma, DmaError};

use super::fis::{COMMAND_FIS, Command};

/// Bytes of a command header.
const HEADER: usize = 32;
/// Bytes of an entry of the region table.
const ENTRY: usize = 16;
/// Where in a command table the packet and the region table are.
const PACKET_AT: u64 = 0x40;
const REGIONS_AT: u64 = 0x80;
/// Smallest command FIS, in dwords.
const SMALLEST: u8 = 2;

/// What is wrong with a command as the port finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The guest has stopped or reset the port: nothing of the command matters any more.
    Abandoned,
    /// An address is not RAM, or bus mastering is off.
    HostBus,
    /// The regions are smaller than what came.
    Overflow,
    /// The device does not understand the frame.
    Interface,
}

impl From<DmaError> for Fault {
    fn from(_: DmaError) -> Self {
        Self::HostBus
    }
}

/// A command, as it lies in guest memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Issued {
    pub(super) command: Command,
    /// The packet, for PACKET.
    pub(super) packet: [u8; 16],
    /// The port need not wait for the device: the header's C bit.
    pub(super) clears_busy: bool,
    pub(super) regions: Regions,
}

impl Issued {
    /// Reads the command of `slot` in the list at `list`.
    pub(super) fn fetch(dma: &Dma, list: u64, slot: u32) -> Result<Self, Fault> {
        let at = list.wrapping_add(u64::from(slot) * HEADER as u64);
        let mut header = [0; 16];
        dma.read(at, &mut header)?;
        let [d0, d1, l0, l1, _, _, _, _, t0, t1, t2, t3, t4, t5, t6, t7] = header;
        let table = u64::from_le_bytes([t0 & 0x80, t1, t2, t3, t4, t5, t6, t7]);
        let mut frame = [0; COMMAND_FIS];
        dma.read(table, &mut frame)?;
        let command = Command::parse(&frame).filter(|_| d0 & 0x1f >= SMALLEST).ok_or(Fault::Interface)?;
        let mut packet = [0; 16];
        dma.read(table.wrapping_add(PACKET_AT), &mut packet)?;
        let regions = Regions {
            next: table.wrapping_add(REGIONS_AT),
            left: u16::from_le_bytes([l0, l1]),
            address: 0,
            room: 0,
        };
        Ok(Self { command, packet, clears_busy: d1 & 1 << 2 != 0, regions })
    }
}

/// A position in the regions of guest memory of a command (PRDT).
#[derive(Debug, Clone, Copy)]
pub(super) struct Regions {
    /// The next entry.
    next: u64,
    /// Entries that are left.
    left: u16,
    /// The present region.
    address: u64,
    room: u32,
}

impl Regions {
    /// The next part of guest memory, of at most `most` bytes.
    fn part(&mut self, dma: &Dma, most: usize) -> Result<(u64, usize), Fault> {
        while self.room == 0 {
            self.left = self.left.checked_sub(1).ok_or(Fault::Overflow)?;
            let mut entry = [0; ENTRY];
            dma.read(self.next, &mut entry)?;
            self.next = self.next.wrapping_add(ENTRY as u64);
            let [a0, a1, a2, a3, a4, a5, a6, a7, _, _, _, _, n0, n1, n2, _] = entry;
            // Addresses and lengths are even; the length is one less than it says.
            self.address = u64::from_le_bytes([a0 & 0xfe, a1, a2, a3, a4, a5, a6, a7]);
            self.room = (u32::from_le_bytes([n0, n1, n2, 0]) & 0x3f_ffff | 1) + 1;
        }
        let count = most.min(self.room as usize);
        let at = self.address;
        self.address = at.wrapping_add(count as u64);
        self.room -= count as u32;
        Ok((at, count))
    }

    /// The guest memory of the next `bytes` bytes, all of which is there.
    pub(super) fn pieces(&mut self, dma: &Dma, mut bytes: u64) -> Result<Vec<Piece>, Fault> {
        let mut pieces = Vec::new();
        while bytes > 0 {
            let (address, count) = self.part(dma, usize::try_from(bytes).unwrap_or(usize::MAX))?;
            if !dma.ram().check_range(GuestAddress(address), count) {
                return Err(Fault::HostBus);
            }
            // A region has 4 MiB at most.
            pieces.push(Piece { address, len: count as u32 });
            bytes -= count as u64;
        }
        Ok(pieces)
    }

    /// Copies `data` to the guest. Returns how many bytes arrived, and why not all did.
    pub(super) fn fill(&mut self, dma: &Dma, mut data: &[u8]) -> (usize, Result<(), Fault>) {
        let mut done = 0;
        while !data.is_empty() {
            let written = self.part(dma, data.len()).and_then(|(at, count)| {
                let (now, later) = data.split_at(count);
                dma.write(at, now)?;
                Ok((count, later))
            });
            match written {
                Ok((count, later)) => {
                    done += count;
                    data = later;
                }
                Err(fault) => return (done, Err(fault)),
            }
        }
        (done, Ok(()))
    }

    /// Copies `data` from the guest. Returns how many bytes came, and why not all did.
    pub(super) fn drain(&mut self, dma: &Dma, mut data: &mut [u8]) -> (usize, Result<(), Fault>) {
        let mut done = 0;
        while !data.is_empty() {
            let (now, later) = match self.part(dma, data.len()) {
                Ok((at, count)) => {
                    let (now, later) = data.split_at_mut(count);
                    if let Err(error) = dma.read(at, now) {
                        return (done, Err(error.into()));
                    }
                    (now, later)
                }
                Err(fault) => return (done, Err(fault)),
            };
            done += now.len();
            data = later;
        }
        (done, Ok(()))
    }
}
