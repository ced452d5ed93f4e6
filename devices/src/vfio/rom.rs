//! The expansion ROM of a passed-through function: bytes in memory that the guest reads natively.

use std::io;
use std::sync::Arc;

use vm_memory::{Bytes, MmapRegion, VolatileMemory};

use crate::bus::{Action, BusDevice};
use crate::memory::{HostMemory, HostMemoryKind};
use crate::pci::MappedPart;

use super::bars::PAGE;

/// Largest ROM that a BAR of 32 bits is given, in bytes.
const MAX_SIZE: u64 = 16 << 20;

/// Behind the ROM BAR.
pub(super) struct RomWindow {
    memory: Arc<MmapRegion>,
}

impl RomWindow {
    /// A window over `image`, filled up to a power of two, and at least a page, with ones.
    pub(super) fn new(image: &[u8]) -> io::Result<Arc<Self>> {
        let size = (image.len() as u64).max(PAGE).next_power_of_two();
        if size > MAX_SIZE {
            let why = format!("an expansion ROM of {} bytes is larger than the 16 MiB that fit", image.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let memory = MmapRegion::new(size as usize).map_err(io::Error::other)?;
        let mut contents = vec![0xff; size as usize];
        for (byte, value) in contents.iter_mut().zip(image) {
            *byte = *value;
        }
        memory.as_volatile_slice().write_slice(&contents, 0).map_err(io::Error::other)?;
        Ok(Arc::new(Self { memory: Arc::new(memory) }))
    }

    /// Bytes that the BAR decodes.
    pub(super) fn size(&self) -> u64 {
        self.memory.size() as u64
    }

    /// The whole of it.
    pub(super) fn part(&self) -> MappedPart {
        let keep = Arc::clone(&self.memory) as _;
        let memory = HostMemory::new(self.memory.as_ptr() as u64, self.size(), HostMemoryKind::Rom, keep);
        MappedPart { offset: 0, memory }
    }
}

impl BusDevice for RomWindow {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let read = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.memory.as_volatile_slice().read_slice(data, offset).ok());
        if read.is_none() {
            data.fill(0xff);
        }
    }

    fn write(&self, _: u64, _: &[u8]) -> Action {
        Action::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filled_up_with_ones() {
        let rom = RomWindow::new(&[0x55, 0xaa, 3]).unwrap();
        assert_eq!(rom.size(), PAGE);
        let mut data = [0; 4];
        rom.read(1, &mut data);
        assert_eq!(data, [0xaa, 3, 0xff, 0xff]);
        let _ = rom.write(0, &[1]);
        rom.read(0xffe, &mut data);
        assert_eq!(data, [0xff; 4], "a read across the end");
        assert_eq!(RomWindow::new(&[0; 0x29000]).unwrap().size(), 0x40000);
        assert!(RomWindow::new(&vec![0; (16 << 20) + 1]).is_err());
    }
}
