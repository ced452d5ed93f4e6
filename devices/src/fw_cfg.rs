//! The firmware configuration device: how the machine tells OVMF about itself, and hands over ACPI and SMBIOS tables, a
//! kernel, and what the user adds (QEMU `docs/specs/fw_cfg.rst`, x86 flavour; edk2 `QemuFwCfgLib`).
//!
//! Items are byte strings named by a key, files are items that a directory names. The guest selects a key and then reads
//! on from offset 0, a byte at a time or by DMA. Beyond its end an item reads as zeros, and so does a key that does not
//! exist.
//!
//! | port        | width | direction | meaning                                             |
//! |-------------|-------|-----------|-----------------------------------------------------|
//! | 0x510       | 2     | write     | key, little-endian                                  |
//! | 0x511       | 1     | read      | next byte                                           |
//! | 0x514       | 4, 8  | write     | address of a DMA descriptor (or its upper half), BE |
//! | 0x518       | 4     | write     | lower half of that address, BE; starts the transfer |
//! | 0x514-0x51b | any   | read      | `QEMU CFG`                                          |

mod builder;
mod directory;
mod dma;
mod item;
mod state;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use builder::{Error, FwCfgBuilder};
use item::{Group, Item, WritableFile};
pub use item::{Observer, Provider, WriteListener, keys};
use state::State;

use crate::GuestRam;
use crate::bus::{Action, BusDevice};

/// Offset of the data port, for a vCPU that serves string input through [`FwCfg::read_stream`].
pub const DATA_OFFSET: u64 = 1;

const SELECTOR_OFFSET: u64 = 0;
const DMA_HIGH_OFFSET: u64 = 4;
const DMA_LOW_OFFSET: u64 = 8;
const DMA_SIGNATURE: &[u8; 8] = b"QEMU CFG";

/// What stays as it was built.
struct Configuration {
    /// Ascending by key.
    items: Vec<Item>,
    writable: Vec<WritableFile>,
    groups: Vec<Group>,
    observer: Option<Arc<dyn Observer>>,
    ram: GuestRam,
}

/// The device, at [`vocabulary::ports::FW_CFG`].
pub struct FwCfg {
    config: Configuration,
    state: Mutex<State>,
}

impl FwCfg {
    fn new(config: Configuration) -> Self {
        let state = Mutex::new(State::new(&config));
        Self { config, state }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Selector, offset and contents are valid in any combination.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves string input (`rep insb`) at the data port: the next `data.len()` bytes.
    pub fn read_stream(&self, data: &mut [u8]) {
        self.lock().read_ahead(&self.config, data);
    }

    /// The whole contents of a file, for a machine that does its firmware's work itself; `None` if there is no such file.
    ///
    /// # Errors
    /// The host cannot deliver its bytes.
    pub fn file(&self, name: &str) -> Option<io::Result<Vec<u8>>> {
        self.lock().whole(&self.config, name)
    }

    /// Writes into a file as the guest can. Returns false if there is no such file or it has not that many bytes.
    pub fn write_file(&self, name: &str, offset: u32, bytes: &[u8]) -> bool {
        self.lock().overwrite(&self.config, name, offset, bytes).is_some()
    }

    /// The platform's reset: writable files are zeros, lazy ones will be made anew, milestones are armed again.
    pub fn reset(&self) {
        self.lock().reset(&self.config);
    }
}

impl BusDevice for FwCfg {
    fn read(&self, offset: u64, data: &mut [u8]) {
        if offset == DATA_OFFSET {
            // The port is one byte wide; what a wider access finds behind it does not exist.
            data.fill(0xff);
            if let Some(byte) = data.get_mut(..1) {
                self.read_stream(byte);
            }
            return;
        }
        for (index, byte) in data.iter_mut().enumerate() {
            let signature = usize::try_from(offset.wrapping_sub(DMA_HIGH_OFFSET)).ok();
            *byte = signature
                .and_then(|start| DMA_SIGNATURE.get(start.checked_add(index)?))
                .copied()
                .unwrap_or(0xff);
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        let mut state = self.lock();
        match (offset, data) {
            (SELECTOR_OFFSET, &[low, high]) => state.select(&self.config, u16::from_le_bytes([low, high])),
            (DMA_HIGH_OFFSET, &[b0, b1, b2, b3]) => state.dma_high = u32::from_be_bytes([b0, b1, b2, b3]),
            (DMA_LOW_OFFSET, &[b0, b1, b2, b3]) => {
                let high = std::mem::take(&mut state.dma_high);
                let low = u32::from_be_bytes([b0, b1, b2, b3]);
                dma::transfer(&self.config, &mut state, u64::from(high) << 32 | u64::from(low));
            }
            (DMA_HIGH_OFFSET, &[b0, b1, b2, b3, b4, b5, b6, b7]) => {
                state.dma_high = 0;
                let address = u64::from_be_bytes([b0, b1, b2, b3, b4, b5, b6, b7]);
                dma::transfer(&self.config, &mut state, address);
            }
            // The data port was writable in another age.
            _ => {}
        }
        Action::None
    }
}
