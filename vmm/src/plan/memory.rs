//! Where guest RAM lies: up to 2 GiB from address 0, the rest from 4 GiB.
//!
//! 2 GiB and not more below, because OVMF rounds what is left below 4 GiB down to a power of two: the PCI window is
//! then 1.5 GiB on current builds and the same layout fits builds that put their ECAM at 0xB000_0000.

use vocabulary::AddressRange;
use vocabulary::memory::FOUR_GIB;

use crate::config::{Config, Hugepages};
use crate::finding::{Finding, Section};

/// Most RAM below 4 GiB, in bytes.
pub const LOW_LIMIT: u64 = 2 << 30;

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

pub(super) fn plan(config: &Config, problems: &mut Vec<Finding>) -> MemoryPlan {
    let size = config.machine.memory.bytes();
    let low_size = size.clamp(1, LOW_LIMIT);
    let high = size.checked_sub(LOW_LIMIT).and_then(|rest| AddressRange::new(FOUR_GIB, rest));
    if let Some(page) = config.machine.hugepages.page_size()
        && !size.is_multiple_of(page.bytes())
    {
        problems.push(config.problem(
            Section::Machine.key("memory"),
            format!("the memory is no multiple of the {page} pages that it is to lie in"),
        ));
    }
    // The configuration refuses less than 256 MiB, so the range is never empty.
    let low = AddressRange::new(0, low_size).unwrap_or_default();
    MemoryPlan { size, low, high, hugepages: config.machine.hugepages, shared: config.machine.shared }
}
