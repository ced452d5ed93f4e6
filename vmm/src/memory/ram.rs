//! What guest RAM is to be.

use vocabulary::{AddressRange, Hugepages};

/// Guest RAM, decided.
#[derive(Debug, Clone)]
pub struct MemoryPlan {
    /// All of it, in bytes.
    pub size: u64,
    /// From address 0.
    pub low: AddressRange,
    /// From 4 GiB, if there is more than fits below.
    pub high: Option<AddressRange>,
    /// Pages of the host behind it.
    pub hugepages: Hugepages,
    /// Backed by a memory file that other processes can map.
    pub shared: bool,
}

impl MemoryPlan {
    /// The first address behind all RAM.
    pub fn end(&self) -> u64 {
        self.high.unwrap_or(self.low).last().saturating_add(1)
    }
}
