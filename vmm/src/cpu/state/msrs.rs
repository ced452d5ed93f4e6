//! Which model-specific registers belong to the power-on state, and the order in which they are put back.
//!
//! KVM_GET_MSR_INDEX_LIST is made for migration, whose tools know the rest by themselves: it names one register of a group
//! that has twenty, or none. What it leaves out is below. Sources: Intel SDM volume 4 (architectural MSRs) and volume 3,
//! 12.11 (memory types); Microsoft's Hypervisor Top Level Functional Specification (synthetic MSRs); arch/x86/kvm/hyperv.c
//! of Linux for what KVM does when they are written.

use std::ops::RangeInclusive;

/// The time-stamp counter. It runs on through a reset, as on hardware behind a warm one: times that a guest compares before
/// and after would contradict each other, and KVM takes unequal writes for unsynchronised processors. The clocks that KVM
/// derives from it (Hyper-V's reference time, KVM's clock) cannot be set by registers at all.
const IA32_TSC: u32 = 0x10;

/// Registers that are restored one after the other.
struct Group {
    /// The first and the last index.
    indices: RangeInclusive<u32>,
    /// From one to the next.
    step: usize,
}

const fn one(index: u32) -> Group {
    Group { indices: index..=index, step: 1 }
}

const fn all(indices: RangeInclusive<u32>) -> Group {
    Group { indices, step: 1 }
}

const fn every_second(indices: RangeInclusive<u32>) -> Group {
    Group { indices, step: 2 }
}

/// Hyper-V's interface, in the order in which it is taken down: what acts by itself before what it acts on. These come before
/// the registers that KVM lists.
const HYPER_V: &[Group] = &[
    // The hypercall page. KVM ignores a write while the guest has no identity (the next register), so it comes first.
    one(0x4000_0001),
    one(0x4000_0000),
    // Configurations of the synthetic timers: each stops when its enable bit goes. The counts come after them, since a count
    // starts a timer that starts by itself.
    every_second(0x4000_00b0..=0x4000_00b6),
    every_second(0x4000_00b1..=0x4000_00b7),
    // Vectors of the synthetic interrupt controller; then its event and message page, and its switch.
    all(0x4000_0090..=0x4000_009f),
    all(0x4000_0082..=0x4000_0083),
    one(0x4000_0080),
    // The page of the reference time, which KVM goes on to write while it is on.
    one(0x4000_0021),
    // The page by which interrupts are acknowledged without an exit.
    one(0x4000_0073),
    // The parameters of a crash that was reported, and whether one can be.
    all(0x4000_0100..=0x4000_0105),
    // The guest's emulation of another TSC, and its wish to see the invariant one.
    all(0x4000_0106..=0x4000_0108),
    one(0x4000_0118),
];

/// Registers of the processor itself. These come behind what KVM lists.
const PROCESSOR: &[Group] = &[
    // Memory types: variable ranges, fixed ranges, and their switch last.
    all(0x200..=0x20f),
    one(0x250),
    all(0x258..=0x259),
    all(0x268..=0x26f),
    one(0x2ff),
    // Single-stepping of branches and recording of them.
    one(0x1d9),
    // Which errors the 32 machine-check banks report. What they have recorded outlives a warm reset (SDM volume 3, 17.3.2).
    Group { indices: 0x400..=0x47c, step: 4 },
];

fn indices(groups: &'static [Group]) -> impl Iterator<Item = u32> {
    groups.iter().flat_map(|group| group.indices.clone().step_by(group.step))
}

/// All registers of the power-on state, each once, in the order in which they are restored; `listed` are those that KVM
/// lists. Some may not exist on this host or in this guest.
pub(super) fn power_on(listed: &[u32]) -> Vec<u32> {
    let ours: Vec<u32> = indices(HYPER_V).chain(indices(PROCESSOR)).collect();
    let listed = listed.iter().copied().filter(|index| *index != IA32_TSC && !ours.contains(index));
    indices(HYPER_V).chain(listed).chain(indices(PROCESSOR)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a register is in the order.
    fn place(order: &[u32], index: u32) -> usize {
        order.iter().position(|each| *each == index).unwrap_or_else(|| panic!("{index:#x} is missing"))
    }

    #[test]
    fn every_register_comes_once_and_time_not_at_all() {
        for listed in [&[][..], &[0x10, 0x174, 0x4000_0000, 0x4000_0001, 0x4000_00b0, 0x4000_0080, 0x277]] {
            let order = power_on(listed);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), order.len());
            assert!(!order.contains(&0x10));
            let extra = listed.iter().filter(|index| [0x174, 0x277].contains(*index)).count();
            assert_eq!(order.len(), HYPER_V_COUNT + PROCESSOR_COUNT + extra);
        }
    }

    /// Identity and hypercalls, four timers with two registers each, 16 vectors, two pages, a switch, two more pages, six
    /// registers of crashes, four of clocks.
    const HYPER_V_COUNT: usize = 2 + 8 + 16 + 3 + 2 + 6 + 4;
    /// Eight variable ranges with two registers each, eleven fixed ones, a switch; debugging; 32 banks.
    const PROCESSOR_COUNT: usize = 16 + 11 + 1 + 1 + 32;

    #[test]
    fn what_acts_by_itself_stops_first() {
        let order = power_on(&[0x174, 0x4000_0000, 0x4000_0001, 0x4000_0010, 0x4000_0020, 0x4b56_4d00]);
        for (earlier, later) in [
            // KVM drops the hypercall page's register with the identity.
            (0x4000_0001, 0x4000_0000),
            // No timer is started by its count, and none finds a page or a vector.
            (0x4000_00b0, 0x4000_00b1),
            (0x4000_00b6, 0x4000_00b1),
            (0x4000_00b7, 0x4000_0090),
            (0x4000_009f, 0x4000_0083),
            (0x4000_0083, 0x4000_0080),
            // Whatever KVM lists finds Hyper-V's interface quiet.
            (0x4000_0118, 0x174),
            (0x4b56_4d00, 0x200),
            (0x20f, 0x2ff),
            (0x26f, 0x2ff),
        ] {
            assert!(place(&order, earlier) < place(&order, later), "{earlier:#x} before {later:#x}");
        }
    }
}
