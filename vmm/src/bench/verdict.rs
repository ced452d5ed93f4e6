//! What the numbers say, in plain words: which are the hardware's, which are ours, and what would change them.

use statistics::{Advice, AdviceKind, Owner, Report, time};

use crate::plan::MachinePlan;

/// The part of a vCPU's time that it may wait for a CPU, or lose, before that is worth a word: 1 %.
const WORTH_A_WORD: f64 = 10_000.0;

/// What of the machine's configuration the advice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choices {
    /// vCPUs have CPUs of their own.
    pub(super) pinned: bool,
    /// Memory is in huge pages of hugetlbfs.
    pub(super) hugepages: bool,
    /// The governor is the machine's to choose while it runs.
    pub(super) governor: bool,
}

impl Choices {
    pub(super) fn of(plan: &MachinePlan) -> Self {
        Self {
            pinned: plan.placement.as_ref().is_some_and(|placement| !placement.vcpus.is_empty()),
            hugepages: plan.memory.hugepages.page_size().is_some(),
            governor: plan.tuning.fast.is_some(),
        }
    }
}

/// The advice that a report deserves.
pub(super) fn advice(report: &Report, choices: Choices) -> Vec<Advice> {
    let mut advice = Vec::new();
    let mut say = |kind, text: String| advice.push(Advice { kind, text });
    let median =
        |id: &str| report.measure(id).and_then(|measure| measure.summary()).map(|summary| summary.median);
    let empty = median("exit.cpuid");
    if let Some(empty) = empty {
        let text = format!(
            "an exit that KVM handles itself takes {}: that is the processor's and the kernel's, and no choice of the machine's changes it",
            time(empty)
        );
        say(AdviceKind::Hardware, text);
    }
    let ours =
        [("exit.port", "a port"), ("exit.mmio", "memory"), ("config.ecam", "a configuration register")];
    let added: Vec<String> = ours
        .iter()
        .filter_map(|(id, what)| Some(format!("{what} {}", time((median(id)? - empty?).max(0.0)))))
        .collect();
    if !added.is_empty() {
        let text =
            format!("beyond an empty exit, an answer of optimus-vmm takes, for {}", added.join(", for "));
        say(AdviceKind::Ours, text);
    }
    if let Some(read) = median("bar.read") {
        let time = time(read);
        if report.measure("bar.read").is_some_and(|measure| measure.owner == Owner::Monitor) {
            let text = format!(
                "reading the device's memory takes {time}, with an exit to optimus-vmm, which answers for this page: an MSI-X table or a \
                 register that it imitates is there as well, or the memory is smaller than a page"
            );
            say(AdviceKind::Ours, text);
        } else {
            let text = format!(
                "reading the device's memory takes {time}, without an exit: the device, its link and its power state"
            );
            say(AdviceKind::Hardware, text);
        }
    }
    for text in changes(report, choices) {
        say(AdviceKind::Change, text);
    }
    advice
}

/// What the user could change.
fn changes(report: &Report, choices: Choices) -> Vec<String> {
    let mut changes = Vec::new();
    let host = &report.host;
    let counter = |id: &str| {
        report.counters.iter().find(|counter| counter.id == id).map_or(0.0, |counter| counter.value)
    };
    if let Some(governor) =
        host.governor.as_ref().filter(|governor| *governor != "performance" && !choices.governor)
    {
        changes.push(format!(
            "the CPUs' governor is \"{governor}\": write `governor = \"performance\"` to [host] and compare"
        ));
    }
    if host.power.as_deref() == Some("battery") {
        changes.push(
            "the laptop runs on its battery: measure on mains, where processor and links are faster".into(),
        );
    }
    let waits = counter("run.delay").max(counter("stolen"));
    if waits > WORTH_A_WORD {
        changes.push(match choices.pinned {
            false => format!(
                "the host takes {:.1} % of a vCPU's time: write `pin = \"auto\"` to [cpu], and end what else runs",
                waits / 10_000.0
            ),
            true => format!(
                "the host takes {:.1} % of a vCPU's time although it has CPUs of its own: keep other programs off them",
                waits / 10_000.0
            ),
        });
    }
    let transparent_off =
        host.huge_pages.as_ref().is_some_and(|pages| pages.starts_with("transparent: never"));
    if transparent_off && !choices.hugepages {
        changes.push(
            "guest memory is in pages of 4 KiB: write `madvise` to /sys/kernel/mm/transparent_hugepage/enabled, or `hugepages = \"2M\"` to \
             [machine]"
                .into(),
        );
    }
    if host.posted_interrupts.as_deref() == Some("no") {
        let amd = host.kvm.as_ref().is_some_and(|module| module.starts_with("kvm_amd"));
        let option = if amd { "kvm_amd avic=1" } else { "kvm_intel enable_apicv=1" };
        changes.push(format!(
            "devices' interrupts make a vCPU leave the guest: where the processor can do without, `options {option}` in \
             /etc/modprobe.d lets it"
        ));
    }
    changes
}

#[cfg(test)]
mod tests {
    use statistics::{Counter, Figure, Host, Machine, Measure};

    use super::*;

    fn report(host: Host, measures: &[(&str, f64)], counters: &[(&str, f64)]) -> Report {
        let measure = |(id, nanoseconds): &(&str, f64)| {
            let mut measure = Measure::new(id, id, Owner::Kernel, Figure::Median);
            measure.round_of(&[*nanoseconds]);
            measure
        };
        let counter = |(id, value): &(&str, f64)| Counter {
            id: (*id).into(),
            title: String::new(),
            value: *value,
            unit: String::new(),
        };
        Report {
            program: "optimus-vmm".into(),
            unix_seconds: 0,
            duration: 1.0,
            host,
            machine: Machine::default(),
            measures: measures.iter().map(measure).collect(),
            missing: Vec::new(),
            counters: counters.iter().map(counter).collect(),
            advice: Vec::new(),
        }
    }

    const NONE: Choices = Choices { pinned: false, hugepages: false, governor: false };

    fn texts(report: &Report, choices: Choices, kind: AdviceKind) -> String {
        let all = advice(report, choices).into_iter().filter(|advice| advice.kind == kind);
        all.map(|advice| advice.text).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_an_answer_of_ours_adds_is_told() {
        let report = report(
            Host::default(),
            &[("exit.cpuid", 1000.0), ("exit.port", 1800.0), ("config.ecam", 900.0)],
            &[],
        );
        let ours = texts(&report, NONE, AdviceKind::Ours);
        assert!(ours.ends_with("for a port 800 ns, for a configuration register 0.00 ns"), "{ours}");
        assert!(texts(&report, NONE, AdviceKind::Hardware).contains("takes 1.00 µs"));
        assert_eq!(texts(&report, NONE, AdviceKind::Change), "");
    }

    #[test]
    fn a_read_that_exits_is_not_called_the_hardwares() {
        let mut report = report(Host::default(), &[("bar.read", 9000.0)], &[]);
        assert!(texts(&report, NONE, AdviceKind::Hardware).contains("without an exit"));
        report.measures[0].owner = Owner::Monitor;
        assert_eq!(texts(&report, NONE, AdviceKind::Hardware), "");
        assert!(texts(&report, NONE, AdviceKind::Ours).contains("9.00 µs, with an exit to optimus-vmm"));
    }

    #[test]
    fn nothing_is_said_of_what_was_not_measured() {
        let report = report(Host::default(), &[("exit.port", 1800.0)], &[]);
        assert_eq!(advice(&report, NONE), []);
    }

    #[test]
    fn what_is_not_as_it_could_be_is_told() {
        let some = |text: &str| Some(text.to_owned());
        let slow = Host {
            governor: some("powersave"),
            power: some("battery"),
            huge_pages: some("transparent: never"),
            posted_interrupts: some("no"),
            kvm: some("kvm_amd with npt"),
            ..Host::default()
        };
        let told = texts(&report(slow.clone(), &[], &[("run.delay", 20_000.0)]), NONE, AdviceKind::Change);
        for part in [
            "governor = \"performance\"",
            "mains",
            "2.0 % of a vCPU's time: write `pin",
            "hugepages = \"2M\"",
            "kvm_amd avic=1",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        let chosen = Choices { pinned: true, hugepages: true, governor: true };
        let told = texts(&report(slow, &[], &[("stolen", 20_000.0)]), chosen, AdviceKind::Change);
        assert!(
            told.contains("CPUs of its own") && !told.contains("hugepages") && !told.contains("governor"),
            "{told}"
        );
        let good = Host {
            governor: some("performance"),
            power: some("mains"),
            huge_pages: some("transparent: madvise"),
            posted_interrupts: some("processor and IOMMU"),
            ..Host::default()
        };
        assert_eq!(texts(&report(good, &[], &[("run.delay", 9_000.0)]), NONE, AdviceKind::Change), "");
    }
}
