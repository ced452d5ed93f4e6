//! The host's CPUs that a thread may run on: sched_setaffinity(2).
//!
//! The kernel takes of a mask what the thread's cpuset permits, and says nothing unless that is none of it. Threads inherit
//! the mask of the one that starts them.

use std::io;
use std::thread;

use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};
use vocabulary::CpuList;

/// The CPUs that the calling thread may run on, those that are online.
///
/// # Errors
/// The kernel refuses, as it does on a host with more CPUs than [`CpuList::LAST`].
pub fn current() -> io::Result<CpuList> {
    Ok(list(&sched_getaffinity(None)?))
}

/// The CPUs that a thread of this process may run on.
///
/// # Errors
/// There is no such thread.
pub fn of_thread(id: i32) -> io::Result<CpuList> {
    let thread = Pid::from_raw(id).ok_or(io::ErrorKind::NotFound)?;
    Ok(list(&sched_getaffinity(Some(thread))?))
}

/// Lets the calling thread run on exactly these CPUs.
///
/// # Errors
/// Some of them are offline or outside of the process's cpuset; the thread may have been moved all the same.
pub fn bind(cpus: &CpuList) -> io::Result<()> {
    sched_setaffinity(None, &set(cpus.iter()))?;
    let missing = cpus.without(&current()?);
    if missing.is_empty() {
        return Ok(());
    }
    Err(io::Error::other(format!("the kernel leaves out CPU {missing}")))
}

/// Calls `start` on `cpus`, so that the threads which it starts begin there, and moves the calling thread back.
///
/// # Errors
/// As [`bind`]; nothing was started then. That the thread cannot be moved back is no error: it runs where the others do.
pub fn started_on<T>(cpus: &CpuList, start: impl FnOnce() -> T) -> io::Result<T> {
    let before = sched_getaffinity(None)?;
    let done = bind(cpus).map(|()| start());
    if let Err(error) = sched_setaffinity(None, &before) {
        tracing::debug!("cannot move back to CPU {}: {error}", list(&before));
    }
    done
}

/// The CPUs that the process's cpuset permits, whatever mask it was started with: found out by a thread that asks for all.
pub fn permitted() -> io::Result<CpuList> {
    thread::scope(|scope| {
        let all = scope.spawn(|| {
            sched_setaffinity(None, &set(0..=CpuList::LAST))?;
            current()
        });
        all.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn set(cpus: impl IntoIterator<Item = u32>) -> CpuSet {
    let mut set = CpuSet::new();
    cpus.into_iter().for_each(|cpu| set.set(cpu as usize));
    set
}

fn list(set: &CpuSet) -> CpuList {
    (0..=CpuList::LAST).filter(|cpu| set.is_set(*cpu as usize)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What proc_pid_status(5) says of the calling thread.
    fn in_proc() -> String {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        line.unwrap().trim().to_owned()
    }

    #[test]
    fn threads_begin_where_they_are_started() {
        let moved = thread::spawn(|| {
            let all = current().unwrap();
            let one = CpuList::of(all.iter().last().unwrap());
            let child = started_on(&one, || thread::spawn(in_proc)).unwrap().join().unwrap();
            assert_eq!(child, one.to_string());
            assert_eq!(current().unwrap(), all, "back again");
            bind(&one).unwrap();
            assert_eq!((in_proc(), current().unwrap()), (one.to_string(), one.clone()));
            assert!(permitted().unwrap().iter().count() >= all.len(), "it looks beyond the thread's mask");
            assert_eq!(current().unwrap(), one, "by another thread");
        });
        moved.join().unwrap();
    }

    #[test]
    fn a_cpu_that_is_not_there_is_refused() {
        thread::spawn(|| {
            let online = permitted().unwrap();
            let absent = (0..=CpuList::LAST).find(|cpu| !online.contains(*cpu)).unwrap();
            assert!(bind(&CpuList::of(absent)).is_err());
            let both = [online.first().unwrap(), absent].into_iter().collect();
            let error = bind(&both).unwrap_err().to_string();
            assert!(error.contains(&absent.to_string()), "{error}");
            let mut started = false;
            assert!(started_on(&both, || started = true).is_err());
            assert!(!started, "it would run elsewhere");
        })
        .join()
        .unwrap();
    }
}
