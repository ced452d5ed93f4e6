//! The caches of a package, as its processors describe them (Intel SDM volume 2A, CPUID leaf 4; AMD APM volume 3, leaf
//! 0x8000001D), for those who describe the package as a whole.

use super::table::{Table, field};

/// One level of a package's caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackageCache {
    /// 1 to 7.
    pub level: u8,
    /// Bytes of all instances together, those for data and for instructions alike.
    pub size: u64,
    /// Ways of each set, of the data cache where there are two; 0 for a fully associative cache.
    pub ways: u16,
}

/// The levels in order. `table` is of any processor of the package, and `apic_ids` are those of all of them; nothing where
/// processors do not tell.
pub(super) fn of_package(table: &Table, apic_ids: &[u32]) -> Vec<PackageCache> {
    let of_leaf = |leaf: u32| -> Vec<PackageCache> {
        let mut levels: Vec<PackageCache> = Vec::new();
        let entries = table.entries().iter().filter(|entry| entry.function == leaf);
        // The kind is none behind the last one.
        for cache in entries.filter(|cache| field(cache.eax, 4, 0) != 0) {
            // As many IDs share it as the field counts, rounded up to whole bits of them.
            let shared = field(cache.eax, 25, 14).saturating_add(1).next_power_of_two().trailing_zeros();
            let mut instances: Vec<u32> = apic_ids.iter().map(|id| id >> shared).collect();
            instances.sort_unstable();
            instances.dedup();
            let factors = [
                instances.len() as u64,
                u64::from(field(cache.ebx, 31, 22)) + 1,
                u64::from(field(cache.ebx, 21, 12)) + 1,
                u64::from(field(cache.ebx, 11, 0)) + 1,
                u64::from(cache.ecx) + 1,
            ];
            let size = factors.into_iter().fold(1, u64::saturating_mul);
            let level = field(cache.eax, 7, 5) as u8;
            match levels.iter_mut().find(|known| known.level == level) {
                Some(known) => known.size = known.size.saturating_add(size),
                None => {
                    let fully = field(cache.eax, 9, 9) != 0;
                    let ways = if fully { 0 } else { field(cache.ebx, 31, 22) as u16 + 1 };
                    levels.push(PackageCache { level, size, ways });
                }
            }
        }
        levels.sort_unstable_by_key(|cache| cache.level);
        levels
    };
    Some(of_leaf(0x4)).filter(|levels| !levels.is_empty()).unwrap_or_else(|| of_leaf(0x8000_001d))
}
