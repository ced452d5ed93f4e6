//! What a process costs, from /proc (proc_pid_stat(5), proc_pid_smaps(5)).

use std::collections::HashMap;
use std::fs;

use crate::Result;

/// Clock ticks per second in /proc: fixed on x86 (`USER_HZ`).
const TICKS: f64 = 100.0;

/// Processor time of a process so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct CpuTime {
    /// Seconds in user space, the guest's own time not counted, of all threads.
    user: f64,
    /// Seconds in user space, in the kernel and in the guest, of all threads.
    total: f64,
    /// For each thread there is, by the scheduler's nanoseconds rather than in ticks.
    threads: HashMap<String, Thread>,
}

#[derive(Debug, Clone, Copy)]
struct Thread {
    seconds: f64,
    runs_vcpu: bool,
}

/// Processor time between two looks, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Used {
    /// In user space, the guest's own time not counted.
    pub(crate) user: f64,
    /// In user space, in the kernel and in the guest.
    pub(crate) total: f64,
    /// The same, exactly, of the threads that were still there at the end.
    pub(crate) precise: f64,
    /// Of these, the threads that run no vCPU.
    pub(crate) workers: f64,
}

impl CpuTime {
    /// The time a process has used so far.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let mut threads = HashMap::new();
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?;
            // A thread may end meanwhile.
            let line = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            let nanoseconds: f64 = line.split(' ').next().and_then(|field| field.parse().ok()).unwrap_or(0.0);
            let thread = Thread { seconds: nanoseconds / 1e9, runs_vcpu: runs_vcpu(&name) };
            threads.insert(task.file_name().to_string_lossy().into_owned(), thread);
        }
        Self::parse(&stat)
            .map(|time| Self { threads, ..time })
            .ok_or_else(|| format!("/proc/{pid}/stat has not the fields expected: {stat}").into())
    }

    fn parse(stat: &str) -> Option<Self> {
        // The second field is a name in parentheses and may contain anything.
        let fields: Vec<&str> = stat.get(stat.rfind(')')?..)?.split(' ').collect();
        // fields[0] is the end of field 2.
        let seconds = |number: usize| Some(fields.get(number.checked_sub(2)?)?.parse::<f64>().ok()? / TICKS);
        let (user, system, guest) = (seconds(14)?, seconds(15)?, seconds(43)?);
        Some(Self { user: (user - guest).max(0.0), total: user + system, ..Self::default() })
    }

    /// The time since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Used {
        let (mut precise, mut workers) = (0.0, 0.0);
        for (id, thread) in &self.threads {
            let seconds = thread.seconds - earlier.threads.get(id).map_or(0.0, |before| before.seconds);
            precise += seconds;
            if !thread.runs_vcpu {
                workers += seconds;
            }
        }
        Used { user: self.user - earlier.user, total: self.total - earlier.total, precise, workers }
    }
}

/// Whether a thread of that name runs a vCPU: ours are "vcpu0" and so on, QEMU's "CPU 0/KVM".
pub(crate) fn runs_vcpu(name: &str) -> bool {
    name.starts_with("vcpu") || name.starts_with("CPU ")
}

/// What a process has pinned for devices, in KiB: VFIO counts it as locked memory, and IOMMUFD as pinned.
pub(crate) fn pinned(pid: u32) -> Result<u64> {
    Ok(parse_pinned(&fs::read_to_string(format!("/proc/{pid}/status"))?))
}

fn parse_pinned(status: &str) -> u64 {
    let kib = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    };
    // A process that has ended has no memory.
    ["VmLck:", "VmPin:"].into_iter().filter_map(kib).sum()
}

/// Resident memory beyond the guest's RAM, in KiB.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Overhead {
    /// Each page divided by the number of processes that map it.
    pub(crate) proportional: f64,
    /// All pages.
    pub(crate) resident: f64,
    /// Pages of no file.
    pub(crate) anonymous: f64,
}

impl Overhead {
    /// That of a process whose guest has `ram` bytes of memory.
    pub(crate) fn of(pid: u32, ram: u64) -> Result<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/smaps"))?, ram / 1024)
            .ok_or_else(|| format!("/proc/{pid}/smaps has no mapping of the guest's RAM").into())
    }

    fn parse(smaps: &str, ram: u64) -> Option<Self> {
        let (mut sum, mut is_ram, mut found) = (Self::default(), false, false);
        for line in smaps.lines() {
            let mut words = line.split_whitespace();
            let (Some(key), Some(value)) = (words.next(), words.next()) else { continue };
            let Ok(value) = value.parse::<u32>() else { continue };
            match key {
                // The first line about each mapping. Neither monitor has another one of this size.
                "Size:" => is_ram = u64::from(value) >= ram,
                "Rss:" if !is_ram => sum.resident += f64::from(value),
                "Pss:" if !is_ram => sum.proportional += f64::from(value),
                "Anonymous:" if !is_ram => sum.anonymous += f64::from(value),
                _ => {}
            }
            found |= is_ram;
        }
        found.then_some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses() {
        let mut fields: Vec<String> = (1..=52).map(|number| number.to_string()).collect();
        fields[1] = "(a) b (c)".into();
        fields[13] = "250".into();
        fields[14] = "50".into();
        fields[42] = "100".into();
        let time = CpuTime::parse(&fields.join(" ")).unwrap();
        assert_eq!((time.user, time.total), (1.5, 3.0));
    }

    #[test]
    fn threads_come_and_go() {
        let look = |threads: &[(&str, f64, bool)]| CpuTime {
            threads: threads
                .iter()
                .map(|&(id, seconds, runs_vcpu)| (id.into(), Thread { seconds, runs_vcpu }))
                .collect(),
            ..CpuTime::default()
        };
        let before = look(&[("1", 5.0, false), ("2", 7.0, true), ("3", 9.0, false)]);
        let after = look(&[("1", 5.5, false), ("2", 9.0, true), ("4", 0.25, false)]);
        let used = after.since(&before);
        assert_eq!((used.precise, used.workers), (2.75, 0.75));
    }

    #[test]
    fn locked_and_pinned_memory_count() {
        let status = "Name:\tx\nVmPeak:\t  9 kB\nVmLck:\t  4096 kB\nVmPin:\t     512 kB\nVmHWM:\t 7 kB\n";
        assert_eq!(parse_pinned(status), 4608);
        assert_eq!(parse_pinned("Name:\tzombie\n"), 0);
    }

    #[test]
    fn guest_memory_is_left_out() {
        let text = "7f0-7f1 rw-p 0 00:00 0\nSize: 524288 kB\nRss: 9 kB\nPss: 9 kB\nAnonymous: 9 kB\n\
                    7f2-7f3 r--p 0 00:00 0 /bin/x\nSize: 100 kB\nRss: 50 kB\nPss: 25 kB\nAnonymous: 0 kB\n\
                    7f4-7f5 rw-p 0 00:00 0\nSize: 100 kB\nRss: 8 kB\nPss: 8 kB\nAnonymous: 8 kB\n";
        let overhead = Overhead::parse(text, 512 << 10).unwrap();
        assert_eq!((overhead.resident, overhead.proportional, overhead.anonymous), (58.0, 33.0, 8.0));
        assert!(Overhead::parse(text, 1024 << 10).is_none());
    }
}
