//! The base address registers of a passed-through function: what they are, and which parts of them the guest may reach
//! without a trap.

use vocabulary::AddressRange;

use crate::pci::config::reg;
use crate::pci::{Bar, BarKind};

/// Page size of x86.
pub(super) const PAGE: u64 = 0x1000;

/// The kinds of the BARs, from configuration space as the kernel shows it, and their sizes, from its regions. What
/// contradicts itself is left out: a size that is no power of two or too small for its kind, a 64-bit BAR in the last
/// register.
pub(super) fn find(config: &[u8], sizes: [u64; 6]) -> [Option<Bar>; 6] {
    let mut bars = [None; 6];
    let mut index = 0;
    while index < 6 {
        let register = usize::from(reg::BAR0) + 4 * index;
        let flags = config.get(register).copied().unwrap_or_default();
        let size = sizes.get(index).copied().unwrap_or_default();
        let kind = kind(flags);
        let wide = matches!(kind, BarKind::Memory64 { .. });
        let smallest = if kind == BarKind::Io { 4 } else { 16 };
        let largest = if wide { 1 << 62 } else { 1 << 31 };
        let fits = size.is_power_of_two() && (smallest..=largest).contains(&size) && (!wide || index < 5);
        if let (true, Some(slot)) = (fits, bars.get_mut(index)) {
            *slot = Some(Bar { kind, size });
        }
        index += if wide { 2 } else { 1 };
    }
    bars
}

/// PCIe 6.0, 7.5.1.2.1.
fn kind(flags: u8) -> BarKind {
    let prefetchable = flags & 8 != 0;
    match flags & 7 {
        flags if flags & 1 != 0 => BarKind::Io,
        4 => BarKind::Memory64 { prefetchable },
        _ => BarKind::Memory32 { prefetchable },
    }
}

/// The parts of a BAR that can be mapped, as offset and length in ascending order: the kernel's areas without the pages
/// that `trapped` touches.
pub(super) fn mappable(size: u64, areas: &[(u64, u64)], trapped: &[AddressRange]) -> Vec<(u64, u64)> {
    let mut parts: Vec<(u64, u64)> = areas
        .iter()
        .filter_map(|&(offset, len)| {
            let start = offset.checked_next_multiple_of(PAGE)?;
            let end = offset.saturating_add(len).min(size) / PAGE * PAGE;
            (start < end).then_some((start, end))
        })
        .collect();
    parts.sort_unstable();
    // Areas that overlap would be mapped twice.
    let mut reached = 0;
    for (start, end) in &mut parts {
        *start = (*start).max(reached);
        reached = reached.max(*end);
    }
    for hole in trapped {
        let first = hole.base() / PAGE * PAGE;
        let end = (hole.last() / PAGE + 1).saturating_mul(PAGE);
        parts = parts
            .into_iter()
            .flat_map(|(start, stop)| [(start, stop.min(first)), (start.max(end), stop)])
            .filter(|(start, stop)| start < stop)
            .collect();
    }
    parts.into_iter().filter(|(start, end)| start < end).map(|(start, end)| (start, end - start)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn config(bars: [u32; 6]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        for (index, bar) in bars.iter().enumerate() {
            bytes[0x10 + 4 * index..][..4].copy_from_slice(&bar.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn a_gpu() {
        let config = config([0xa300_0000, 0x9000_000c, 0, 0xa000_000c, 0, 0x3001]);
        let bars = find(&config, [16 << 20, 256 << 20, 0, 32 << 20, 0, 128]);
        let memory = |kind, size| Some(Bar { kind, size });
        let wide = BarKind::Memory64 { prefetchable: true };
        assert_eq!(
            bars,
            [
                memory(BarKind::Memory32 { prefetchable: false }, 16 << 20),
                memory(wide, 256 << 20),
                None,
                memory(wide, 32 << 20),
                None,
                memory(BarKind::Io, 128),
            ]
        );
    }

    #[test]
    fn nonsense_is_left_out() {
        let sizes = [3, 8, 1 << 32, 0, 2, 1 << 33];
        assert_eq!(find(&config([0, 0, 0, 0, 1, 4]), sizes), [None; 6]);
        assert_eq!(find(&[], [0x1000; 6]).map(|bar| bar.is_some()), [true; 6], "zero bytes are 32-bit BARs");
    }

    #[test]
    fn holes_are_cut_out_by_the_page() {
        let hole = |base, len| AddressRange::new(base, len).unwrap();
        let whole = [(0, 0x10000)];
        for (areas, trapped, expected) in [
            (&whole[..], vec![], vec![(0, 0x10000)]),
            (&whole, vec![hole(0x2000, 0x50)], vec![(0, 0x2000), (0x3000, 0xd000)]),
            (&whole, vec![hole(0, 16)], vec![(0x1000, 0xf000)]),
            (&whole, vec![hole(0xfff0, 16)], vec![(0, 0xf000)]),
            (&whole, vec![hole(0x1ff8, 0x10)], vec![(0, 0x1000), (0x3000, 0xd000)]),
            (&whole, vec![hole(0x1ff8, 9)], vec![(0, 0x1000), (0x3000, 0xd000)]),
            (&whole, vec![hole(0, 0x10000)], vec![]),
            (&whole, vec![hole(0x3000, 0x10), hole(0x3800, 8)], vec![(0, 0x3000), (0x4000, 0xc000)]),
            // Sparse, out of order, overlapping, beyond the end, and smaller than a page.
            (&[(0x8000, 0x1000), (0x1000, 0x1000)], vec![], vec![(0x1000, 0x1000), (0x8000, 0x1000)]),
            (&[(0x1000, 0x2000), (0x2000, 0x2000)], vec![], vec![(0x1000, 0x2000), (0x3000, 0x1000)]),
            (&[(0xf000, 0x9000)], vec![], vec![(0xf000, 0x1000)]),
            (&[(0x800, 0x800)], vec![], vec![]),
            (&[(u64::MAX, u64::MAX)], vec![], vec![]),
        ] {
            assert_eq!(mappable(0x10000, areas, &trapped), expected, "{areas:x?} without {trapped:x?}");
        }
    }

    proptest! {
        /// A page is mapped exactly when one area holds all of it and no hole touches it.
        #[test]
        fn mapped_pages_are_those_of_the_rule(
            areas in prop::collection::vec((0u64..0x12000, 0u64..0x8000), 0..5),
            holes in prop::collection::vec((0u64..0x12000, 1u64..0x3000), 0..5),
        ) {
            let size = 0x10000;
            let trapped: Vec<_> =
                holes.iter().map(|&(base, len)| AddressRange::new(base, len).unwrap()).collect();
            let parts = mappable(size, &areas, &trapped);
            for page in 0..size / PAGE {
                let range = AddressRange::new(page * PAGE, PAGE).unwrap();
                let held = areas
                    .iter()
                    .any(|&(base, len)| base <= range.base() && range.last() < base + len);
                let expected = held && !trapped.iter().any(|hole| hole.overlaps(range));
                let times = parts
                    .iter()
                    .filter(|(base, len)| *base <= range.base() && range.last() < base + len)
                    .count();
                prop_assert_eq!(times, usize::from(expected), "page {}", page);
            }
        }
    }
}
