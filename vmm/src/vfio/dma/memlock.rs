//! How much memory this process may lock (`RLIMIT_MEMLOCK`, getrlimit(2)). VFIO counts all guest memory against it.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::vfio::error::DmaError;

/// `CAP_IPC_LOCK` (capabilities(7)): the limit does not apply.
const CAP_IPC_LOCK: u32 = 14;

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The soft limit is enough.
    Enough,
    /// The soft limit can be raised to what the hard limit allows.
    Raise,
    /// The hard limit is too low.
    TooLow {
        /// Bytes.
        limit: u64,
    },
}

/// Compares what is needed with the limits, all in bytes; `None` is unlimited.
pub(super) fn compare(needed: u64, soft: Option<u64>, hard: Option<u64>, exempt: bool) -> Verdict {
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= needed);
    match hard {
        _ if exempt || enough(soft) => Verdict::Enough,
        Some(limit) if limit < needed => Verdict::TooLow { limit },
        _ => Verdict::Raise,
    }
}

/// A field of `/proc/self/status`.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// Whether a process with this `/proc/self/status` may lock without limit.
pub(super) fn exempt(status: &str) -> bool {
    field(status, "CapEff")
        .and_then(|capabilities| u64::from_str_radix(capabilities, 16).ok())
        .is_some_and(|capabilities| capabilities >> CAP_IPC_LOCK & 1 != 0)
}

/// The bytes that a process with this `/proc/self/status` has locked already.
pub(super) fn locked(status: &str) -> u64 {
    field(status, "VmLck")
        .and_then(|locked| locked.strip_suffix("kB")?.trim().parse::<u64>().ok())
        .unwrap_or_default()
        .saturating_mul(1024)
}

/// Whether [`allow`] would succeed.
pub(in crate::vfio) fn may(memory: u64) -> Result<(), DmaError> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let needed = memory.saturating_add(locked(&status));
    let Rlimit { current, maximum } = getrlimit(Resource::Memlock);
    match compare(needed, current, maximum, exempt(&status)) {
        Verdict::Enough | Verdict::Raise => Ok(()),
        Verdict::TooLow { limit } => Err(DmaError::Memlock { needed, limit }),
    }
}

/// Sees to it that this process may lock `memory` bytes more than now.
pub(super) fn allow(memory: u64) -> Result<(), DmaError> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let needed = memory.saturating_add(locked(&status));
    let Rlimit { current, maximum } = getrlimit(Resource::Memlock);
    match compare(needed, current, maximum, exempt(&status)) {
        Verdict::Enough => Ok(()),
        Verdict::TooLow { limit } => Err(DmaError::Memlock { needed, limit }),
        Verdict::Raise => setrlimit(Resource::Memlock, Rlimit { current: maximum, maximum })
            .map_err(|_| DmaError::Memlock { needed, limit: current.unwrap_or(u64::MAX) }),
    }
}

/// The limit in bytes if it is what keeps this process from locking `memory` bytes in all.
pub(super) fn shortage(memory: u64) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let limit = getrlimit(Resource::Memlock).current?;
    (!exempt(&status) && limit < memory.saturating_add(locked(&status))).then_some(limit)
}
