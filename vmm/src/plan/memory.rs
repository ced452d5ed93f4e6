//! Where guest RAM lies: up to 2 GiB from address 0, the rest from 4 GiB.
//!
//! 2 GiB and not more below, because OVMF rounds what is left below 4 GiB down to a power of two: the PCI window is
//! then 1.5 GiB on current builds and the same layout fits builds that put their ECAM at 0xB000_0000.

use vocabulary::AddressRange;
use vocabulary::memory::FOUR_GIB;

use crate::config::Config;
use crate::finding::{Finding, Section};
use crate::memory::MemoryPlan;

/// Most RAM below 4 GiB, in bytes.
pub const LOW_LIMIT: u64 = 2 << 30;

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
