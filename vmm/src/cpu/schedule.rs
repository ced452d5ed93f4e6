//! What the host's scheduler tells of a thread: proc_pid_schedstat (Linux `Documentation/scheduler/sched-stats.rst`) and its
//! CPUs.

use std::fs;
use std::time::Duration;

use vocabulary::CpuList;

use crate::affinity;

/// How the host's scheduler treats a thread of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The CPUs that it may run on.
    pub cpus: CpuList,
    /// How long it has run, and how long it has waited for a CPU although it had work; `None` on a kernel that does not count.
    pub times: Option<(Duration, Duration)>,
}

/// The schedule of the thread with this number; `None` if there is none.
pub fn of_thread(id: i32) -> Option<Schedule> {
    let cpus = affinity::of_thread(id).ok()?;
    let text = fs::read_to_string(format!("/proc/self/task/{id}/schedstat")).ok();
    Some(Schedule { cpus, times: text.as_deref().and_then(times) })
}

/// Reads the first two numbers, in nanoseconds: on a CPU, and runnable without one.
fn times(text: &str) -> Option<(Duration, Duration)> {
    let mut numbers = text.split_ascii_whitespace().map(|number| number.parse().map(Duration::from_nanos));
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_the_first_two_numbers() {
        let ns = Duration::from_nanos;
        assert_eq!(times("1500000000 25 7\n"), Some((ns(1_500_000_000), ns(25))));
        for wrong in ["", "1", "a 1 2", "1 -1 2"] {
            assert_eq!(times(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn this_thread_is_told_of() {
        let id = rustix::thread::gettid().as_raw_nonzero().get();
        let own = of_thread(id).unwrap();
        assert_eq!(own.cpus, affinity::current().unwrap());
        assert_eq!(of_thread(0), None);
        // It works until the kernel has counted that.
        let begin = std::time::Instant::now();
        while own.times.is_some() && of_thread(id).unwrap().times <= own.times {
            assert!(begin.elapsed() < Duration::from_secs(60), "the time of this thread stands still");
        }
    }
}
