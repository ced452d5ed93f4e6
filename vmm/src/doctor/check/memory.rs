//! Memory for guests.

use vocabulary::ByteSize;

use super::{Verdict, listed};
use crate::doctor::distribution::Distribution;
use crate::doctor::facts::Facts;

/// What a Windows guest with a GPU needs at least, in bytes: a limit below that is told where no vm.toml says how much.
const USUAL: u64 = 4 << 30;

/// KiB in whole MiB.
fn mib(kib: u64) -> ByteSize {
    ByteSize::from_mib(kib >> 10)
}

pub(super) fn memory(facts: &Facts, _: Distribution) -> Vec<Verdict> {
    let Some(memory) = &facts.memory else { return Vec::new() };
    let (Some(total), Some(available)) = (memory.total, memory.available) else { return Vec::new() };
    let source = "/proc/meminfo";
    let found = format!("{} of {} available", mib(available), mib(total));
    let wanted = facts.machine.as_ref().and_then(|machine| machine.memory);
    vec![match wanted {
        Some(wanted) if wanted >> 10 > available => Verdict::warning(
            format!("{found}, and the machine has {}", ByteSize::from_bytes(wanted)),
            source,
            "a guest with a device takes all of it at once, and the kernel ends programs when memory runs out",
        )
        .with_fix("close programs, or lower `memory` in [machine]"),
        _ => Verdict::ok(found, source),
    }]
}

pub(super) fn locked(facts: &Facts, distribution: Distribution) -> Vec<Verdict> {
    let Some(memory) = &facts.memory else { return Vec::new() };
    let source = "/proc/self/limits, /proc/self/status";
    if memory.exempt {
        return vec![Verdict::ok("no limit of locked memory counts: CAP_IPC_LOCK", source)];
    }
    let Some(limit) = memory.lockable else { return Vec::new() };
    let needed = facts.machine.as_ref().and_then(|machine| machine.memory).unwrap_or(USUAL);
    vec![match limit {
        None => Verdict::ok("locked memory is unlimited", source),
        Some(limit) if limit >= needed => {
            Verdict::ok(format!("{} of memory may be locked", ByteSize::from_bytes(limit)), source)
        }
        Some(limit) => Verdict::warning(
            format!("this user may lock {} of memory", ByteSize::from_bytes(limit)),
            source,
            "a machine with a device of the host starts only as root, whom the limit does not bind",
        )
        .with_fix(format!(
            "run with `sudo`, or {}",
            distribution.unlimited_memlock(facts.machine.as_ref().map(|machine| machine.path.as_str()))
        )),
    }]
}

pub(super) fn huge(facts: &Facts, _: Distribution) -> Vec<Verdict> {
    let Some(memory) = &facts.memory else { return Vec::new() };
    let source = "/sys/kernel/mm/transparent_hugepage/enabled, /sys/kernel/mm/hugepages";
    let pools: Vec<_> = memory
        .pools
        .iter()
        .filter(|pool| pool.total > 0)
        .map(|pool| format!("{} of {} pages of {} free", pool.free, pool.total, mib(pool.kib)))
        .collect();
    let reserved = match pools.as_slice() {
        [] => "none reserved".into(),
        pools => listed(pools),
    };
    vec![match memory.transparent.as_deref() {
        Some("never") => Verdict::note(
            format!("transparent huge pages are off; {reserved}"),
            source,
            "guests are slower by some percent without `hugepages` in [machine]",
        )
        .with_fix("`echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled`, and take `transparent_hugepage=never` from the kernel's command line"),
        Some(word) => Verdict::ok(format!("transparent huge pages: {word}; {reserved}"), source),
        None => return Vec::new(),
    }]
}
