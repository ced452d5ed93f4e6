//! A short time slice for the threads of vCPUs: `sched_runtime` of sched_setattr(2), which is the slice of ordinary threads
//! since Linux 6.12 (`Documentation/scheduler/sched-eevdf.rst`). No privilege is needed, and no larger share is had.
//!
//! A thread that wakes up for an interrupt takes its CPU from another one only if its deadline is earlier, and the deadline is
//! the end of its slice.
#![allow(unsafe_code, reason = "libc has no wrapper for sched_setattr")]

use std::io;

/// The shortest slice that the kernel gives, in nanoseconds.
const SHORT: u64 = 100_000;

/// `struct sched_attr` in its first version, `include/uapi/linux/sched/types.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    /// The slice of an ordinary thread in nanoseconds; 0 on a kernel that does not let it be chosen.
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Its size: `SCHED_ATTR_SIZE_VER0`.
const SIZE: u32 = 48;
const _: () = assert!(size_of::<Attributes>() == SIZE as usize);

/// The policies with slices.
const ORDINARY: [u32; 2] = [libc::SCHED_OTHER as u32, libc::SCHED_BATCH as u32];

/// Gives the calling thread a short slice, unless it is of a real-time policy or the kernel knows no slices.
pub(super) fn shorten() {
    let shortened = read().and_then(|now| match shorter(now) {
        Some(wanted) => write(&wanted),
        None => Ok(()),
    });
    if let Err(error) = shortened {
        tracing::debug!("a vCPU keeps the usual time slice: {error}");
    }
}

/// Gives the calling thread the slice that the kernel chooses, in place of one that it has from a vCPU which started it.
///
/// # Errors
/// The kernel has no such call, or forbids it.
pub fn usual() -> io::Result<()> {
    let now = read()?;
    match ORDINARY.contains(&now.policy) && now.runtime != 0 {
        true => write(&Attributes { size: SIZE, runtime: 0, ..now }),
        false => Ok(()),
    }
}

/// What is to be written, if anything.
fn shorter(now: Attributes) -> Option<Attributes> {
    let longer = ORDINARY.contains(&now.policy) && now.runtime > SHORT;
    longer.then_some(Attributes { size: SIZE, runtime: SHORT, ..now })
}

fn read() -> io::Result<Attributes> {
    let mut attributes = Attributes::default();
    // SAFETY: the kernel writes SIZE bytes at most, and every value is valid.
    let done = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, SIZE, 0) };
    if done == 0 { Ok(attributes) } else { Err(io::Error::last_os_error()) }
}

fn write(attributes: &Attributes) -> io::Result<()> {
    // SAFETY: the kernel reads as many bytes as `size` says, which are there.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const *attributes, 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ordinary_threads_with_longer_slices_are_changed() {
        let ordinary = Attributes { size: SIZE, nice: 5, runtime: 1_400_000, ..Attributes::default() };
        assert_eq!(shorter(ordinary), Some(Attributes { runtime: SHORT, ..ordinary }), "nice and flags stay");
        for other in [
            Attributes { runtime: 0, ..ordinary },
            Attributes { runtime: SHORT, ..ordinary },
            Attributes { policy: libc::SCHED_FIFO as u32, priority: 1, ..ordinary },
            Attributes { policy: 6, runtime: 10_000_000, ..ordinary },
        ] {
            assert_eq!(shorter(other), None, "{other:?}");
        }
    }

    #[test]
    fn this_kernel_takes_it() {
        std::thread::spawn(|| {
            let before = read().unwrap();
            shorten();
            let after = read().unwrap();
            // Kernels before 6.12 tell 0, and change nothing.
            let runtime = before.runtime.min(SHORT);
            assert_eq!(after, Attributes { runtime, ..before });
            // And what begins there can have the usual one back.
            std::thread::spawn(move || {
                assert_eq!(read().unwrap(), after, "inherited");
                usual().unwrap();
                assert_eq!(read().unwrap(), before);
            })
            .join()
            .unwrap();
        })
        .join()
        .unwrap();
    }
}
