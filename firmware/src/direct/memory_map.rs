//! What a kernel that starts without firmware is told of memory.

use vocabulary::AddressRange;

use super::layout::{ENTRY_POINTS, HIGH_RAM, LOW_RAM_END};

/// What a range is (ACPI 6.5, table 15.4; PVH has the same numbers).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// RAM.
    Ram = 1,
    /// Not for the operating system.
    Reserved = 2,
    /// RAM with ACPI's tables and what they share with the operating system.
    AcpiNvs = 4,
}

/// A range of the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub range: AddressRange,
    /// What is there.
    pub kind: Kind,
}

/// The map: RAM from 0 to `low_ram_end` and at `high_ram`, ACPI's tables in `tables`, which lie at the end of low RAM,
/// other `reserved` ranges.
pub fn memory_map(
    low_ram_end: u64,
    high_ram: Option<AddressRange>,
    tables: Option<AddressRange>,
    reserved: &[AddressRange],
) -> Vec<Entry> {
    let ram_end = tables.map_or(low_ram_end, AddressRange::base);
    let entry = |base: u64, end: u64, kind| {
        let range = AddressRange::inclusive(base, end.checked_sub(1)?)?;
        Some(Entry { range, kind })
    };
    let behind = tables.and_then(|tables| entry(tables.last() + 1, low_ram_end, Kind::Ram));
    let fixed = [
        entry(0, LOW_RAM_END, Kind::Ram),
        entry(ENTRY_POINTS, HIGH_RAM, Kind::Reserved),
        entry(HIGH_RAM, ram_end, Kind::Ram),
        tables.map(|range| Entry { range, kind: Kind::AcpiNvs }),
        behind,
        high_ram.map(|range| Entry { range, kind: Kind::Ram }),
    ];
    let reserved = reserved.iter().map(|range| Entry { range: *range, kind: Kind::Reserved });
    let mut map: Vec<Entry> = fixed.into_iter().flatten().chain(reserved).collect();
    map.sort_by_key(|entry| entry.range);
    map
}
