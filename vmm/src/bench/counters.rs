//! What the host counts while the guest measures: exits by their reason, how long the vCPU waited for a CPU, page faults.

use std::collections::BTreeMap;
use std::time::Duration;

use statistics::Counter;

use crate::host::HostFiles;
use crate::machine::Inside;

/// Counts at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Of the vCPU that measures: how long it ran, and how long it waited for a CPU.
    times: Option<(Duration, Duration)>,
    /// Page faults of this process, without and with a wait for a disk.
    faults: Option<(u64, u64)>,
    /// KVM's, of the VM and of that vCPU.
    kvm: BTreeMap<String, u64>,
}

/// What of KVM's is told, by its name: counts of the time between two looks.
const TOLD: [(&str, &str, &str); 14] = [
    ("exits", "exits", "exits of the vCPU, all"),
    ("io_exits", "exits.port", "  for ports"),
    ("mmio_exits", "exits.mmio", "  for memory"),
    ("halt_exits", "exits.halt", "  for HLT"),
    ("irq_exits", "exits.host", "  for interrupts of the host"),
    ("irq_window_exits", "exits.window", "  until the guest takes interrupts"),
    ("signal_exits", "exits.signal", "  for signals"),
    ("request_irq_exits", "exits.request", "  that this process asked for"),
    ("irq_injections", "interrupts", "interrupts given to the guest by KVM"),
    ("insn_emulation", "emulated", "instructions that KVM emulated"),
    ("pf_taken", "faults.guest", "faults of the guest's memory"),
    ("halt_successful_poll", "halts.polled", "halts that polling ended"),
    ("halt_wakeup", "halts.woken", "halts that slept"),
    ("nx_lpage_splits", "pages.split", "huge pages split against iTLB multihit"),
];

/// What of KVM's is told as it is now.
const STATE: [(&str, &str, &str); 3] = [
    ("pages_4k", "pages.4k", "guest memory in pages of 4 KiB"),
    ("pages_2m", "pages.2m", "guest memory in pages of 2 MiB"),
    ("pages_1g", "pages.1g", "guest memory in pages of 1 GiB"),
];

impl Counts {
    /// Those of now.
    pub(super) fn take(inside: &Inside) -> Self {
        let stat = HostFiles::default().text("proc/self/stat").ok();
        Self {
            times: inside.vcpu_times(0),
            faults: stat.as_deref().and_then(faults),
            kvm: inside.kvm_counts(),
        }
    }

    /// What there was since `before`.
    pub(super) fn since(&self, before: &Self) -> Vec<Counter> {
        let mut counters = Vec::new();
        let mut tell = |id: &str, title: &str, value: f64, unit: &str| {
            counters.push(Counter { id: id.into(), title: title.into(), value, unit: unit.into() });
        };
        if let Some(((ran, waited), (ran_before, waited_before))) = self.times.zip(before.times) {
            let (ran, waited) = (ran.saturating_sub(ran_before), waited.saturating_sub(waited_before));
            let both = ran.saturating_add(waited).as_secs_f64();
            if both > 0.0 {
                let share = waited.as_secs_f64() / both * 1e6;
                tell("run.delay", "the vCPU waited for a CPU", share, "µs/s");
            }
        }
        if let Some(((minor, major), (minor_before, major_before))) = self.faults.zip(before.faults) {
            let title = "page faults of optimus-vmm";
            tell("faults.minor", title, minor.saturating_sub(minor_before) as f64, "");
            tell("faults.major", "  with a wait for a disk", major.saturating_sub(major_before) as f64, "");
        }
        for (name, id, title) in TOLD {
            if let Some(now) = self.kvm.get(name) {
                let before = before.kvm.get(name).copied().unwrap_or_default();
                tell(id, title, now.saturating_sub(before) as f64, "");
            }
        }
        for (name, id, title) in STATE {
            if let Some(now) = self.kvm.get(name) {
                tell(id, title, *now as f64, "");
            }
        }
        counters
    }
}

/// Minor and major faults: the 10th and 12th field (proc_pid_stat(5)). The second is a name in parentheses that may contain anything.
fn faults(stat: &str) -> Option<(u64, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(7);
    let minor = fields.next()?.parse().ok()?;
    Some((minor, fields.nth(1)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_told_and_states_as_they_are() {
        let second = Duration::from_secs;
        let kvm =
            |exits, pages| BTreeMap::from([("exits".to_owned(), exits), ("pages_2m".to_owned(), pages)]);
        let before = Counts { times: Some((second(1), second(1))), faults: Some((10, 1)), kvm: kvm(100, 3) };
        let after = Counts { times: Some((second(4), second(2))), faults: Some((15, 1)), kvm: kvm(130, 5) };
        let told = after.since(&before);
        let value = |id: &str| told.iter().find(|counter| counter.id == id).unwrap().value;
        assert_eq!(value("run.delay"), 250_000.0);
        assert_eq!((value("faults.minor"), value("faults.major")), (5.0, 0.0));
        assert_eq!((value("exits"), value("pages.2m")), (30.0, 5.0));
        assert!(Counts::default().since(&before).is_empty());
    }

    #[test]
    fn faults_are_found_behind_any_name() {
        let stat = "12 (a) b) c) S 1 2 3 4 5 6 777 8 99 10 11";
        assert_eq!(faults(stat), Some((777, 99)));
        assert_eq!(faults(""), None);
        assert!(HostFiles::default().text("proc/self/stat").is_ok_and(|own| faults(&own).is_some()));
    }
}
