//! Memory, huge pages, and how much this process may lock.

use serde::{Deserialize, Serialize};

use crate::host::HostFiles;

/// A pool of huge pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::doctor) struct Pool {
    /// Size of a page in KiB.
    pub(in crate::doctor) kib: u64,
    pub(in crate::doctor) total: u64,
    pub(in crate::doctor) free: u64,
}

/// Memory of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::doctor) struct Memory {
    /// All of it, in KiB.
    pub(in crate::doctor) total: Option<u64>,
    /// What can be had now, in KiB.
    pub(in crate::doctor) available: Option<u64>,
    pub(in crate::doctor) pools: Vec<Pool>,
    /// Transparent huge pages: the chosen word of `always madvise never`.
    pub(in crate::doctor) transparent: Option<String>,
    /// The hard limit of locked memory in bytes; `Some(None)` is none.
    pub(in crate::doctor) lockable: Option<Option<u64>>,
    /// The limit does not count (CAP_IPC_LOCK).
    pub(in crate::doctor) exempt: bool,
}

/// Where pools of huge pages are.
pub(in crate::doctor) const POOLS: &str = "sys/kernel/mm/hugepages";
/// `CAP_IPC_LOCK` (capabilities(7)).
const CAP_IPC_LOCK: u32 = 14;

impl Memory {
    pub(super) fn read(files: &HostFiles) -> Self {
        let info = files.text("proc/meminfo").unwrap_or_default();
        let kib = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().strip_suffix("kB")?.trim().parse().ok()
        };
        let limits = files.text("proc/self/limits").unwrap_or_default();
        let status = files.text("proc/self/status").unwrap_or_default();
        let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let capabilities = capabilities.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
        Self {
            total: kib("MemTotal"),
            available: kib("MemAvailable"),
            pools: files.names(POOLS).iter().filter_map(|name| pool(files, name)).collect(),
            transparent: files
                .text("sys/kernel/mm/transparent_hugepage/enabled")
                .ok()
                .and_then(|text| Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())),
            lockable: hard_limit(&limits),
            exempt: capabilities.is_some_and(|set| set >> CAP_IPC_LOCK & 1 != 0),
        }
    }
}

fn pool(files: &HostFiles, name: &str) -> Option<Pool> {
    let number = |file: &str| files.text(format!("{POOLS}/{name}/{file}")).ok()?.parse().ok();
    Some(Pool {
        kib: name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?,
        total: number("nr_hugepages")?,
        free: number("free_hugepages")?,
    })
}

/// The hard limit in the line `Max locked memory  SOFT  HARD  bytes` of proc_pid_limits(5).
fn hard_limit(limits: &str) -> Option<Option<u64>> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    match line.split_whitespace().nth(1)? {
        "unlimited" => Some(None),
        bytes => bytes.parse().ok().map(Some),
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Resource, getrlimit};

    use super::*;

    #[test]
    fn the_hard_limit_counts() {
        assert_eq!(
            hard_limit("Max locked memory         8388608              16777216             bytes \n"),
            Some(Some(16 << 20))
        );
        assert_eq!(hard_limit("Max locked memory  65536  unlimited  bytes\n"), Some(None));
        assert_eq!(hard_limit("Max cpu time  unlimited  unlimited  seconds\n"), None);
    }

    /// The kernel's file and its system call say the same.
    #[test]
    fn this_process_has_the_limit_that_getrlimit_says() {
        let memory = Memory::read(&HostFiles::default());
        assert_eq!(memory.lockable, Some(getrlimit(Resource::Memlock).maximum));
    }
}
