//! What a hypervisor's threads use of the processor: ours and the peer's, by the names of threads that run vCPUs.

use std::fs;
use std::time::Instant;

use tests::Outcome;

/// What a process has used, by the scheduler's counters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    pub(crate) at: Instant,
    /// Nanoseconds, of threads without a vCPU and of those with one.
    pub(crate) workers: u64,
    pub(crate) vcpus: u64,
    /// How often threads without a vCPU went to sleep.
    pub(crate) sleeps: u64,
}

impl Used {
    pub(crate) fn of(pid: u32) -> Outcome<Self> {
        let mut used = Self { at: Instant::now(), workers: 0, vcpus: 0, sleeps: 0 };
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?.path();
            // A thread may end meanwhile.
            let read = |name: &str| fs::read_to_string(task.join(name)).unwrap_or_default();
            let ran = read("schedstat").split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0);
            let name = read("comm");
            if name.starts_with("vcpu") || name.starts_with("CPU ") {
                used.vcpus += ran;
                continue;
            }
            used.workers += ran;
            let status = read("status");
            let sleeps = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            used.sleeps += sleeps.and_then(|count| count.trim().parse().ok()).unwrap_or(0_u64);
        }
        Ok(used)
    }

    /// What was used since an earlier look: each second.
    pub(crate) fn since(&self, before: &Self) -> String {
        let seconds = (self.at - before.at).as_secs_f64();
        let part = |now: u64, then: u64| now.saturating_sub(then) as f64 / 1e7 / seconds;
        format!(
            "{:.1} wake-ups a second, {:.2} % of a CPU; vCPUs {:.1} %",
            self.sleeps.saturating_sub(before.sleeps) as f64 / seconds,
            part(self.workers, before.workers),
            part(self.vcpus, before.vcpus)
        )
    }
}
