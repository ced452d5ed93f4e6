//! The state of the processor at a kernel's first instruction, and the descriptors and page tables for it.

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryError};

use super::layout::{GDT, PAGE_TABLES};

/// Where and how the boot processor starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// The 64-bit protocol (Linux, Documentation/arch/x86/boot.rst): 64-bit mode with the first 4 GiB mapped to
    /// themselves, RSI points to the boot parameters.
    Linux64 {
        /// The first instruction.
        rip: u64,
        /// The boot parameters.
        boot_params: u64,
    },
    /// PVH (Xen, docs/misc/pvh.pandoc): 32-bit protected mode without paging, EBX points to the start info.
    Pvh {
        /// The first instruction.
        rip: u32,
        /// The start info.
        start_info: u32,
    },
}

impl Entry {
    /// Page tables, for a start in 64-bit mode.
    pub fn page_tables(&self) -> Option<u64> {
        matches!(self, Self::Linux64 { .. }).then_some(PAGE_TABLES)
    }
}

/// A segment register (Intel SDM volume 3, 3.4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Its selector.
    pub selector: u16,
    /// Its descriptor, which the table has too.
    pub descriptor: u64,
}

/// The segment registers of an [`Entry`]; all have base 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segments {
    /// Address and limit of the table.
    pub gdt: (u64, u16),
    /// CS.
    pub code: Segment,
    /// DS, ES, FS, GS and SS.
    pub data: Segment,
    /// TR.
    pub task: Segment,
}

/// Linux's __BOOT_CS and __BOOT_DS, and behind them __BOOT_TSS.
const CODE: u16 = 0x10;
const DATA: u16 = 0x18;
const TASK: u16 = 0x20;

/// Execute/read, accessed, present, of 4 GiB; 64-bit or 32-bit.
const CODE64: u64 = 0x00af_9b00_0000_ffff;
const CODE32: u64 = 0x00cf_9b00_0000_ffff;
/// Read/write, accessed, present, of 4 GiB.
const DATA32: u64 = 0x00cf_9300_0000_ffff;
/// A busy task state segment of 0x68 bytes at 0.
const BUSY_TASK: u64 = 0x0000_8b00_0000_0067;

impl Entry {
    /// Its segment registers.
    pub fn segments(&self) -> Segments {
        let code = match self {
            Self::Linux64 { .. } => CODE64,
            Self::Pvh { .. } => CODE32,
        };
        Segments {
            gdt: (GDT, TASK + 15),
            code: Segment { selector: CODE, descriptor: code },
            data: Segment { selector: DATA, descriptor: DATA32 },
            task: Segment { selector: TASK, descriptor: BUSY_TASK },
        }
    }

    /// Writes descriptors and page tables.
    pub(super) fn write<M: GuestMemoryBackend>(&self, memory: &M) -> Result<(), GuestMemoryError> {
        let Segments { gdt: (table, _), code, data, task } = self.segments();
        for segment in [code, data, task] {
            let at = GuestAddress(table.saturating_add(segment.selector.into()));
            memory.write_slice(&segment.descriptor.to_le_bytes(), at)?;
        }
        // A descriptor of the task register has 16 bytes in 64-bit mode.
        memory.write_slice(&[0; 8], GuestAddress(table + u64::from(TASK) + 8))?;
        if self.page_tables().is_some() {
            memory.write_slice(&page_tables(), GuestAddress(PAGE_TABLES))?;
        }
        Ok(())
    }
}

const PAGE: u64 = 4096;
/// Present and writable.
const TABLE: u64 = 3;
/// Present, writable, and a page of 2 MiB.
const LARGE: u64 = 0x83;

/// Six pages: the first level, the second, and four of the third, which map 4 GiB in pages of 2 MiB.
fn page_tables() -> Vec<u8> {
    let mut tables = Vec::with_capacity(6 * PAGE as usize);
    let level = |entries: &mut dyn Iterator<Item = u64>, tables: &mut Vec<u8>| {
        let end = tables.len() + PAGE as usize;
        entries.for_each(|entry| tables.extend(entry.to_le_bytes()));
        tables.resize(end, 0);
    };
    level(&mut std::iter::once((PAGE_TABLES + PAGE) | TABLE), &mut tables);
    level(&mut (2..6).map(|page| (PAGE_TABLES + page * PAGE) | TABLE), &mut tables);
    for table in 0..4 {
        level(&mut (0..512).map(|index| (table * 512 + index) << 21 | LARGE), &mut tables);
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_four_gib_are_mapped_to_themselves() {
        let tables = page_tables();
        assert_eq!(tables.len(), 6 * 4096);
        let entry = |at: u64| {
            let at = usize::try_from(at - PAGE_TABLES).unwrap();
            u64::from_le_bytes(tables[at..at + 8].try_into().unwrap())
        };
        let translate = |address: u64| {
            let mut table = PAGE_TABLES;
            for shift in [39, 30, 21] {
                let found = entry(table + (address >> shift & 511) * 8);
                if found & 1 == 0 {
                    return None;
                }
                table = found & !0xfff;
            }
            Some(table + (address & 0x1f_ffff))
        };
        for address in [0, 0x1234, 0x1f_ffff, 0x20_0000, 0x4000_0000, 0xffff_ffff] {
            assert_eq!(translate(address), Some(address));
        }
        assert_eq!((translate(1 << 32), translate(1 << 39)), (None, None));
    }
}
