//! MSI and MSI-X (PCIe 6.0, 7.7.1 and 7.7.2). The messages are the guest's: the host's own go elsewhere and are
//! nothing that the guest should see.

use vocabulary::AddressRange;

use crate::interrupt::MsiMessage;
use crate::pci::BarKind;

use super::walk::Found;
use super::{Draft, Hidden, Table};

/// Message Control of MSI: what the device has (Multiple Message Capable, 64-bit, per-vector masking), and what the
/// guest sets (enable, Multiple Message Enable). Extended message data is left out: nothing here would deliver it.
const MSI_CAPABLE: u16 = 0x018e;
const MSI_ENABLE: u16 = 1;
const MSI_CONTROL_WRITABLE: u16 = 0x70 | MSI_ENABLE;
const MSI_WIDE: u16 = 1 << 7;
const MSI_MASKABLE: u16 = 1 << 8;
/// Message Control of MSI-X: the number of vectors less one, and what the guest sets (enable, function mask).
const MSIX_VECTORS: u16 = 0x07ff;
const MSIX_CONTROL_WRITABLE: u16 = 0xc000;
/// Bytes of the MSI-X capability and of one table entry.
const MSIX_SIZE: u16 = 12;
const MSIX_ENTRY: u64 = 16;

/// Message-signalled interrupts of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Msi {
    /// Offset of the capability.
    pub offset: u16,
    /// Vectors that the device can signal: 1, 2, 4, 8, 16 or 32.
    pub vectors: u8,
    /// Addresses have 64 bits.
    pub wide: bool,
    /// Vectors can be masked one by one.
    pub maskable: bool,
}

impl Msi {
    /// Register of the 16-bit message data.
    fn data_register(&self) -> u16 {
        self.offset + if self.wide { 12 } else { 8 }
    }

    /// Register of the 32 mask bits, which are the device's own; the pending bits follow.
    pub fn mask_register(&self) -> Option<u16> {
        self.maskable.then(|| self.data_register() + 4)
    }

    /// Bytes of the capability.
    pub fn size(&self) -> u16 {
        let data = self.data_register() - self.offset;
        if self.maskable { data + 12 } else { data + 2 }
    }

    /// How many vectors the guest has turned on, 0 while MSI is off.
    pub fn enabled(&self, table: &Table) -> u8 {
        let control = table.u16(self.offset + 2);
        if control & MSI_ENABLE == 0 { 0 } else { self.vectors.min(1 << (control >> 4 & 7).min(5)) }
    }

    /// The guest's message for the first vector. The others' differ in the low bits of the data, which are the vector
    /// number.
    pub fn message(&self, table: &Table) -> MsiMessage {
        let low = u64::from(table.u32(self.offset + 4));
        let high = if self.wide { u64::from(table.u32(self.offset + 8)) << 32 } else { 0 };
        MsiMessage { address: high | low, data: table.u16(self.data_register()).into() }
    }
}

/// Where the MSI-X structures of a function are. Ranges lie within memory BARs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MsixLocation {
    /// Offset of the capability.
    pub offset: u16,
    /// Vectors, 1 to 2048.
    pub vectors: u16,
    /// BAR with the vector table.
    pub table_bar: u8,
    /// Where in it, in bytes.
    pub table_offset: u32,
    /// BAR with the pending bit array.
    pub pba_bar: u8,
    /// Where in it, in bytes.
    pub pba_offset: u32,
}

impl MsixLocation {
    /// Message Control as the guest has set it: enable in bit 15, function mask in bit 14.
    pub fn control(&self, table: &Table) -> u16 {
        table.u16(self.offset + 2)
    }
}

pub(super) fn msi(draft: &mut Draft<'_>, found: &Found) -> Result<(), Hidden> {
    if found.room() < 4 {
        return Err(Hidden::Truncated);
    }
    let control = draft.raw.u16(found.offset + 2) & MSI_CAPABLE;
    let msi = Msi {
        offset: found.offset,
        // 64 and 128 are reserved: 32 is the most that mask bits and message data can tell apart.
        vectors: 1 << (control >> 1 & 7).min(5),
        wide: control & MSI_WIDE != 0,
        maskable: control & MSI_MASKABLE != 0,
    };
    if found.room() < msi.size() {
        return Err(Hidden::Truncated);
    }
    let table = &mut draft.table;
    let data = msi.data_register();
    // With mask bits, the upper half of the data's dword is reserved, and still before them.
    let end = msi.mask_register().unwrap_or(data + 2);
    table.hide(msi.offset + 2..end);
    table.emulate(msi.offset + 2, &control.to_le_bytes());
    table.allow_write(msi.offset + 2, &MSI_CONTROL_WRITABLE.to_le_bytes());
    table.allow_write(msi.offset + 4, &(!3u32).to_le_bytes());
    if msi.wide {
        table.allow_write(msi.offset + 8, &[0xff; 4]);
    }
    table.allow_write(data, &[0xff; 2]);
    // vfio-pci keeps them to itself; a mediated device interrupts only if it has them too.
    table.forward(msi.offset + 2, usize::from(data + 2 - (msi.offset + 2)));
    draft.capabilities.msi = Some(msi);
    Ok(())
}

pub(super) fn msix(draft: &mut Draft<'_>, found: &Found) -> Result<(), Hidden> {
    if found.room() < MSIX_SIZE {
        return Err(Hidden::Truncated);
    }
    let (raw, at) = (draft.raw, found.offset);
    let control = raw.u16(at + 2) & MSIX_VECTORS;
    let [table, pba] = [raw.u32(at + 4), raw.u32(at + 8)];
    let vectors = control + 1;
    let location = MsixLocation {
        offset: at,
        vectors,
        table_bar: (table & 7) as u8,
        table_offset: table & !7,
        pba_bar: (pba & 7) as u8,
        pba_offset: pba & !7,
    };
    let table_len = u64::from(vectors) * MSIX_ENTRY;
    let pba_len = u64::from(vectors).div_ceil(64) * 8;
    let table_range = in_memory_bar(draft, location.table_bar, location.table_offset, table_len)?;
    let pba_range = in_memory_bar(draft, location.pba_bar, location.pba_offset, pba_len)?;
    if location.table_bar == location.pba_bar && table_range.overlaps(pba_range) {
        return Err(Hidden::MsixTable);
    }
    // The kernel sets the device's own copy when vectors are turned on.
    draft.table.emulate(at + 2, &control.to_le_bytes());
    draft.table.emulate(at + 4, &table.to_le_bytes());
    draft.table.emulate(at + 8, &pba.to_le_bytes());
    draft.table.allow_write(at + 2, &MSIX_CONTROL_WRITABLE.to_le_bytes());
    draft.capabilities.msix = Some(location);
    Ok(())
}

/// `len` bytes at `offset` of BAR `index`, if that is memory and has them.
fn in_memory_bar(draft: &Draft<'_>, index: u8, offset: u32, len: u64) -> Result<AddressRange, Hidden> {
    let bar = draft.table.bars.get(usize::from(index)).copied().flatten();
    let bar = bar.filter(|bar| bar.kind != BarKind::Io).ok_or(Hidden::MsixTable)?;
    let range = AddressRange::new(offset.into(), len).ok_or(Hidden::MsixTable)?;
    if range.last() < bar.size { Ok(range) } else { Err(Hidden::MsixTable) }
}
