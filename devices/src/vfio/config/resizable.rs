//! Resizable BARs (PCIe 6.0, 7.8.6): guests see that the size of each is the only one there is. A host BAR cannot
//! change while it is mapped, and guests that find the capability read the size from it.

use super::walk::Found;
use super::{Draft, Hidden};

/// Bytes of the header, and of the two registers of each BAR.
const HEADER: u16 = 4;
const ENTRY: u16 = 8;
/// Control register: index of the BAR, number of BARs (in the first one), BAR size as a power of two in MiB.
const INDEX: u32 = 7;
const COUNT_SHIFT: u32 = 5;
const SIZE_SHIFT: u32 = 8;
const SIZE: u32 = 0x3f;
/// Bit of the capability register that says 1 MiB; the next ones say 2 MiB and so on.
const FIRST_SIZE: u32 = 4;
/// The largest size shown, 2^19 MiB = 512 GiB: no address space of a guest that a laptop runs has room for more.
const LARGEST: u32 = 19;

pub(super) fn virtualize(draft: &mut Draft<'_>, found: &Found) -> Result<(), Hidden> {
    if found.room() < HEADER + ENTRY {
        return Err(Hidden::Truncated);
    }
    let raw = draft.raw;
    let first = found.offset + HEADER;
    let count = (raw.u32(first + 4) >> COUNT_SHIFT & 7) as u16;
    if count == 0 || count > 6 {
        return Err(Hidden::BarSizes);
    }
    if found.room() < HEADER + count * ENTRY {
        return Err(Hidden::Truncated);
    }
    let mut registers = Vec::new();
    for register in (0..count).map(|entry| first + entry * ENTRY) {
        let control = raw.u32(register + 4);
        let exponent = control >> SIZE_SHIFT & SIZE;
        let bar =
            usize::try_from(control & INDEX).ok().and_then(|index| draft.table.bars.get(index).copied());
        let size = bar.flatten().ok_or(Hidden::BarSizes)?.size;
        if exponent > LARGEST || size != 1 << (20 + exponent) {
            return Err(Hidden::BarSizes);
        }
        let entries = control & (INDEX | 7 << COUNT_SHIFT | SIZE << SIZE_SHIFT);
        registers.push((register, [1 << (FIRST_SIZE + exponent), entries]));
    }
    for (register, [sizes, control]) in registers {
        draft.table.emulate(register, &sizes.to_le_bytes());
        draft.table.emulate(register + 4, &control.to_le_bytes());
    }
    Ok(())
}
