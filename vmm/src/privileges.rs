//! Giving up what a machine that runs does not need of root's powers: capabilities(7).
//!
//! By then the host's devices are bound and made, modules loaded, sockets listening and files open. What is left to do is to
//! open VFIO's nodes, which belong to root, to pin the guest's memory, and in the end to give everything back: by sysfs,
//! whose files belong to root, and by the record of the changes in a folder of root's. For these a process with root's
//! user number needs no capability. Others are lost to it, and to all programs and threads that it starts.

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};

/// What is kept, if it was there.
///
/// - `IPC_LOCK`: VFIO asks for it whenever it pins memory beyond the limit, also for a device's window that moves.
/// - `DAC_OVERRIDE`: pictures and sockets may be in folders of the user who has called sudo(8).
const KEPT: CapabilitySet = CapabilitySet::IPC_LOCK.union(CapabilitySet::DAC_OVERRIDE);

/// Drops all other capabilities of this thread and of those that it starts from now on, for good: programs that they start
/// get none back.
///
/// Where the kernel refuses that, the machine runs with what there is: that is a warning's matter.
pub(crate) fn drop_unneeded() {
    if let Err(error) = set_no_new_privs(true).and_then(|()| drop_capabilities()) {
        tracing::warn!("cannot give up privileges that are not needed any more: {error}");
    }
}

fn drop_capabilities() -> rustix::io::Result<()> {
    let now = capabilities(None)?;
    // Without the right to do so nothing can be removed here; no_new_privs alone keeps programs from gaining it.
    if now.effective.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().difference(KEPT).iter() {
            // A kernel that is older than a capability does not know it.
            match remove_capability_from_bounding_set(capability) {
                Ok(()) | Err(rustix::io::Errno::INVAL) => {}
                Err(error) => return Err(error),
            }
        }
    }
    let kept = |set: CapabilitySet| set.intersection(KEPT);
    set_capabilities(
        None,
        CapabilitySets {
            effective: kept(now.effective),
            permitted: kept(now.permitted),
            inheritable: kept(now.inheritable),
        },
    )
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::thread;

    use super::*;

    /// A field of proc_pid_status(5) with a set of capabilities.
    fn set(status: &str, name: &str) -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
    }

    /// Capabilities belong to threads: this one's are gone afterwards, and those of other tests are not.
    #[test]
    fn what_is_not_needed_is_gone_for_programs_too() {
        let shown = thread::spawn(|| {
            let before = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            drop_unneeded();
            let after = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let child = Command::new("cat").arg("/proc/self/status").output().unwrap();
            (before, after, String::from_utf8(child.stdout).unwrap())
        });
        let (before, after, child) = shown.join().unwrap();
        for status in [&after, &child] {
            for name in ["CapEff", "CapPrm", "CapInh"] {
                assert_eq!(set(status, name), set(&before, name) & KEPT.bits(), "{name}: {status}");
            }
            assert!(status.lines().any(|line| line == "NoNewPrivs:\t1"), "{status}");
        }
    }
}
