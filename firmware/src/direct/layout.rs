//! Where things lie in guest memory when a kernel starts without firmware.
//!
//! ```text
//! 00001000  segment descriptors
//! 00002000  PVH: start info, modules, memory map
//! 00003000  Linux: boot parameters (the "zero page")
//! 00004000  page tables
//! 00010000  command line
//! 000f0000  reserved: ACPI's root pointer, SMBIOS's entry point, where kernels look for them
//! 00100000  free up to the kernel
//!           the kernel, where it wants to be
//!           free
//!           the initrd, as high as it may be
//!           room for tables, at the end of RAM below 4 GiB: ACPI and SMBIOS
//! ```

use vocabulary::AddressRange;

/// Segment descriptors, which the kernel replaces.
pub(super) const GDT: u64 = 0x1000;
/// hvm_start_info and what it points to, one page.
pub(super) const START_INFO: u64 = 0x2000;
/// boot_params, one page.
pub(super) const BOOT_PARAMS: u64 = 0x3000;
/// Page tables of six pages.
pub(super) const PAGE_TABLES: u64 = 0x4000;
/// The command line with its NUL.
pub(super) const COMMAND_LINE: u64 = 0x1_0000;
/// Where RAM that is memory of VGA and ROMs on a PC begins.
pub(super) const LOW_RAM_END: u64 = 0xa_0000;
/// Where a BIOS has its entry points, up to [`HIGH_RAM`].
pub(super) const ENTRY_POINTS: u64 = 0xf_0000;
/// RAM from 1 MiB on.
pub(super) const HIGH_RAM: u64 = 0x10_0000;
/// Room for tables, kept free by kernel and initrd.
pub(super) const TABLES_ROOM: u64 = 32 << 20;

const PAGE: u64 = 4096;

/// Guest memory that a kernel and its initrd can have: from 1 MiB up to the tables. `low_ram_end` is the first address
/// behind RAM below 4 GiB.
pub(super) fn available(low_ram_end: u64) -> Option<AddressRange> {
    AddressRange::inclusive(HIGH_RAM, low_ram_end.checked_sub(TABLES_ROOM)?.checked_sub(1)?)
}

/// What a kernel image wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wishes {
    /// Where it wants to be.
    pub base: u64,
    /// Bytes that it needs there, zeros and its own work space included.
    pub size: u64,
    /// It may also be at another multiple of this.
    pub movable: Option<u64>,
    /// The last address that its initrd may occupy.
    pub initrd_last: u64,
}

/// Where kernel and initrd lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placement {
    /// The kernel with its work space.
    pub kernel: AddressRange,
    /// The initrd.
    pub initrd: Option<AddressRange>,
}

/// What has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// The kernel.
    Kernel,
    /// The initrd; this much of memory is left.
    Initrd(u64),
}

/// Places a kernel and an initrd of `initrd` bytes in `available` memory.
pub(super) fn place(
    wishes: &Wishes,
    initrd: Option<u64>,
    available: AddressRange,
) -> Result<Placement, NoRoom> {
    let within = |base: u64| {
        AddressRange::new(base, wishes.size).filter(|range| available.covers(*range)).ok_or(NoRoom::Kernel)
    };
    let kernel = within(wishes.base).or_else(|lack| {
        let step = wishes.movable.ok_or(lack)?;
        within(available.base().checked_next_multiple_of(step).ok_or(lack)?)
    })?;
    let Some(size) = initrd else { return Ok(Placement { kernel, initrd: None }) };
    let last = available.last().min(wishes.initrd_last);
    let behind = kernel.last().saturating_add(1);
    let lack = NoRoom::Initrd((last.saturating_add(1)).saturating_sub(behind));
    let base = last.saturating_add(1).checked_sub(size).ok_or(lack)? / PAGE * PAGE;
    let initrd = AddressRange::new(base, size).filter(|range| range.base() >= behind).ok_or(lack)?;
    Ok(Placement { kernel, initrd: Some(initrd) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn kernel_lies_where_it_wants_and_initrd_high() {
        let available = available(0x8000_0000).unwrap();
        assert_eq!((available.base(), available.last()), (MIB, 0x7dff_ffff));
        let wishes =
            Wishes { base: 16 * MIB, size: 50 * MIB, movable: Some(2 * MIB), initrd_last: 0x7fff_ffff };
        let placed = place(&wishes, Some(5000), available).unwrap();
        assert_eq!((placed.kernel.base(), placed.kernel.len()), (16 * MIB, 50 * MIB));
        assert_eq!(placed.initrd, AddressRange::new(0x7dff_e000, 5000));
        // Old kernels find their initrd in the lower part only.
        let old = Wishes { initrd_last: 0x37ff_ffff, ..wishes };
        assert_eq!(place(&old, Some(4096), available).unwrap().initrd, AddressRange::new(0x37ff_f000, 4096));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let available = AddressRange::inclusive(MIB, 100 * MIB - 1).unwrap();
        let wishes = Wishes { base: 64 * MIB, size: 50 * MIB, movable: Some(2 * MIB), initrd_last: u64::MAX };
        let moved = place(&wishes, Some(48 * MIB), available).unwrap();
        assert_eq!((moved.kernel.base(), moved.initrd.unwrap().base()), (2 * MIB, 52 * MIB));
        assert_eq!(place(&wishes, Some(48 * MIB + 1), available), Err(NoRoom::Initrd(48 * MIB)));
        assert_eq!(place(&wishes, Some(u64::MAX), available), Err(NoRoom::Initrd(48 * MIB)));
        assert_eq!(place(&Wishes { movable: None, ..wishes }, None, available), Err(NoRoom::Kernel));
        assert_eq!(place(&Wishes { size: 99 * MIB, ..wishes }, None, available), Err(NoRoom::Kernel));
        assert_eq!(place(&Wishes { size: u64::MAX, ..wishes }, None, available), Err(NoRoom::Kernel));
        assert_eq!(place(&Wishes { base: 0, movable: None, ..wishes }, None, available), Err(NoRoom::Kernel));
    }

    proptest! {
        #[test]
        fn nothing_overlaps(
            base in 0..256 * MIB, size in 1..200 * MIB, movable in prop::option::of((12u32..30).prop_map(|log2| 1u64 << log2)),
            initrd in prop::option::of(1..200 * MIB), initrd_last: u64, end in 40 * MIB..300 * MIB,
        ) {
            let available = available(end).unwrap();
            if let Ok(placed) = place(&Wishes { base, size, movable, initrd_last }, initrd, available) {
                prop_assert!(available.covers(placed.kernel));
                prop_assert_eq!(placed.initrd.map(AddressRange::len), initrd);
                if let Some(initrd) = placed.initrd {
                    prop_assert!(available.covers(initrd) && !initrd.overlaps(placed.kernel));
                    prop_assert!(initrd.last() <= initrd_last && initrd.base() % PAGE == 0);
                }
            }
        }
    }
}
