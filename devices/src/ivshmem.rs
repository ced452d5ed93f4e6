//! Memory that the guest shares with programs of the host: QEMU's device `ivshmem-plain` (docs/specs/ivshmem-spec of QEMU, "Device Specification"), as drivers for
//! Windows and Looking Glass know it.
//!
//! BAR 2 is the memory. It is reached without a trap while it is decoded, and is a target of passed-through devices' DMA. BAR 0 has the four registers of the device with
//! interrupts, which this one is without: they read as zero, and writes have no effect.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use vocabulary::ByteSize;

use crate::bus::{Action, BusDevice};
use crate::memory::HostMemory;
use crate::pci::{BarKind, Ids, MemoryBar, MemoryFunction, RegistersBar};

/// The IDs that drivers look for; the revision is that of QEMU 2.6 and later.
const IDS: Ids = Ids {
    vendor: 0x1af4,
    device: 0x1110,
    revision: 1,
    // Memory controller, RAM.
    class: 0x05_0000,
    subsystem_vendor: 0x1af4,
    subsystem: 0x1100,
};
const REGISTERS_BAR: usize = 0;
const REGISTERS_SIZE: u64 = 0x100;
const MEMORY_BAR: usize = 2;

/// The least size of the memory: what QEMU's users and drivers know as the smallest.
pub const MIN_SIZE: u64 = 1 << 20;
/// The largest: more would not fit the address space of small processors beside the guest's memory.
pub const MAX_SIZE: u64 = 4 << 30;

/// The registers of BAR 0: without interrupts and peers there is nothing to tell.
struct NoRegisters;

impl BusDevice for NoRegisters {
    fn read(&self, _: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&self, _: u64, _: &[u8]) -> Action {
        Action::None
    }
}

/// What answers for the memory where it cannot be reached without a trap: its file, so that one which became shorter is no fault of
/// this process.
struct Trapped(File);

impl BusDevice for Trapped {
    fn read(&self, offset: u64, data: &mut [u8]) {
        if self.0.read_exact_at(data, offset).is_err() {
            data.fill(0xff);
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        if let Err(error) = self.0.write_all_at(data, offset) {
            crate::limited_debug!(%error, offset, "a write to shared memory was lost");
        }
        Action::None
    }
}

/// A function that shows `memory`, which maps `file` from its first byte on. `multifunction` says that others share its slot. `None` unless its size
/// is a power of two between [`MIN_SIZE`] and [`MAX_SIZE`].
pub fn function(memory: HostMemory, file: File, multifunction: bool) -> Option<Arc<MemoryFunction>> {
    let size = memory.len();
    if !size.is_power_of_two() || !(MIN_SIZE..=MAX_SIZE).contains(&size) {
        return None;
    }
    let registers =
        RegistersBar { index: REGISTERS_BAR, size: REGISTERS_SIZE, device: Arc::new(NoRegisters) };
    let kind = BarKind::Memory64 { prefetchable: true };
    let memory = MemoryBar { index: MEMORY_BAR, kind, memory, trapped: Arc::new(Trapped(file)) };
    MemoryFunction::new(IDS, multifunction, registers, memory, || {})
}

/// The least memory for the frames of a screen of `width` × `height` pixels in Looking Glass: three frames of 4 bytes a pixel with lines of
/// multiples of 256 bytes, and 4 MiB for all else, as a power of two (its documentation, "Determining memory"). A colour depth above 8 bits
/// (`hdr`) takes twice the bytes.
///
/// `None` where that is more than [`MAX_SIZE`].
pub fn size_for_frames(width: u32, height: u32, hdr: bool) -> Option<ByteSize> {
    const LINE: u64 = 256;
    const FRAMES: u64 = 3;
    const OTHER: u64 = 4 << 20;
    let pixel = if hdr { 8 } else { 4 };
    let line = u64::from(width).checked_mul(pixel)?.checked_next_multiple_of(LINE)?;
    let frames = line.checked_mul(u64::from(height))?.checked_mul(FRAMES)?;
    let size = frames.checked_add(OTHER)?.checked_next_power_of_two()?.max(MIN_SIZE);
    (size <= MAX_SIZE).then_some(ByteSize::from_bytes(size))
}

#[cfg(test)]
mod tests;
