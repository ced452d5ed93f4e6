//! Room in guest memory for ACPI's and SMBIOS's tables: at the end of RAM below 4 GiB, and for what kernels look for
//! below 1 MiB, in the segment that a BIOS has its entry points in.

use vocabulary::AddressRange;

use super::layout::{ENTRY_POINTS, HIGH_RAM, TABLES_ROOM};

const PAGE: u64 = 4096;

/// What is left of it.
#[derive(Debug, Clone)]
pub struct TableRoom {
    end: u64,
    /// Tables are placed below this, one below the other.
    top: u64,
    /// Entry points are placed from here on.
    entry: u64,
}

impl TableRoom {
    /// Bytes that all ACPI tables together may have. What is left is for SMBIOS's tables and an OpRegion, whose sizes
    /// are known later.
    pub const FOR_ACPI: u64 = TABLES_ROOM - (1 << 20);

    /// All of it, with RAM that ends at `low_ram_end`.
    pub fn new(low_ram_end: u64) -> Self {
        Self { end: low_ram_end, top: low_ram_end, entry: ENTRY_POINTS }
    }

    /// Takes `size` bytes at a multiple of `align`, a power of two. `entry_point`: where kernels look for them.
    pub fn place(&mut self, size: u64, align: u64, entry_point: bool) -> Option<u64> {
        let align = align.max(1);
        if entry_point {
            let base = self.entry.checked_next_multiple_of(align)?;
            self.entry = base.checked_add(size).filter(|end| *end <= HIGH_RAM)?;
            return Some(base);
        }
        let base = self.top.checked_sub(size)? / align * align;
        let lowest = self.end.saturating_sub(TABLES_ROOM);
        self.top = Some(base).filter(|base| *base >= lowest)?;
        Some(base)
    }

    /// The pages at the end of RAM that are taken.
    pub fn used(&self) -> Option<AddressRange> {
        AddressRange::inclusive(self.top / PAGE * PAGE, self.end.checked_sub(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_fill_the_end_of_ram() {
        let mut room = TableRoom::new(0x8000_0000);
        assert_eq!(room.used(), None);
        assert_eq!(room.place(20, 16, true), Some(0xf_0000));
        assert_eq!(room.place(24, 16, true), Some(0xf_0020));
        assert_eq!(room.place(0x1_0000, 1, true), None);
        assert_eq!(room.place(100, 64, false), Some(0x7fff_ff80));
        assert_eq!(room.place(0x2_0000, 64, false), Some(0x7ffd_ff80));
        assert_eq!(room.used(), AddressRange::inclusive(0x7ffd_f000, 0x7fff_ffff));
        assert_eq!(room.place(TABLES_ROOM, 16, false), None);
        assert_eq!(room.place(u64::MAX, 16, false), None);
        assert_eq!(room.place(0x1000, 4096, false), Some(0x7ffd_e000));
    }
}
