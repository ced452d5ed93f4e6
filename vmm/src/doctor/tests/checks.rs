//! Each condition by itself: a laptop that is ready, with one thing otherwise.

use super::cases::CASES;
use super::fixture::Fixture;
use crate::doctor::check::{CHECKS, Severity};
use crate::doctor::distribution::Distribution;
use crate::doctor::facts::machine::{MachineFile, Problem};
use crate::doctor::facts::rights::{Node, Rights};
use crate::doctor::facts::{Facts, Probe, Unanswered};
use crate::doctor::report::{Finding, Report};

/// A laptop that stands in nobody's way.
const READY: &str = "model LENOVO | 80WW | ? | ? | ? | 10
    os arch - Arch Linux
    kernel 6.12.1
    cpu GenuineIntel vmx 39 Model
    cmdline quiet
    file sys/firmware/acpi/tables/DMAR -
    file proc/interrupts 0:_4_IR-IO-APIC
    pci 00:01.0 8086:1901 060400 pcieport 17aa:3804 1
    pci 00:02.0 8086:591b 030000 i915 17aa:39d1 0
    pci 01:00.0 10de:1f99 030200 - 17aa:39d0 1 00:01.0
    attribute 01:00.0 power/runtime_status suspended
    attribute 01:00.0 power_state D3cold";

/// The same, in words that are replaced.
fn with(changes: &[(&str, &str)], more: &str) -> Fixture {
    let text = changes.iter().fold(READY.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    let text = text.replace("0:_4_IR", "0: 4 IR");
    Fixture::new(&format!("{text}\n{more}"))
}

fn findings<'a>(report: &'a Report, id: &str) -> Vec<&'a Finding> {
    report.findings.iter().filter(|finding| finding.id == id).collect()
}

#[test]
fn a_ready_laptop_is_called_ready() {
    let report = with(&[], "").report();
    assert!(report.ready, "{}", report.text());
    assert!(report.text().contains("Ready: nothing stands in the way."), "{}", report.text());
    // A GPU that sleeps is not woken: its registers, which the host does not have, are not missed.
    let [power] = findings(&report, "gpu-power")[..] else { panic!() };
    assert!(power.found.contains("was not woken"), "{power:?}");
}

#[test]
fn one_thing_otherwise_is_found() {
    for (changes, more, id, severity, words) in CASES {
        let report = with(changes, more).report();
        let of_id = findings(&report, id);
        let hit = of_id.iter().any(|finding| {
            let text =
                format!("{} {} {}", finding.found, finding.means, finding.fix.as_deref().unwrap_or_default());
            finding.severity == *severity && words.iter().all(|word| text.contains(word))
        });
        assert!(hit, "{more}: no {severity:?} {id} with {words:?} in {of_id:#?}");
        assert_eq!(report.ready, *severity != Severity::Blocks, "{id}: {}", report.text());
    }
}

/// What stands in the way, or is doubtful, says what to do.
#[test]
fn what_stands_in_the_way_has_a_way_out() {
    let mut seen = 0;
    for (changes, more, ..) in CASES {
        for finding in with(changes, more).report().findings {
            if finding.severity == Severity::Blocks {
                assert!(finding.fix.is_some() && !finding.means.is_empty(), "{finding:?}");
                seen += 1;
            }
            assert!(!finding.found.is_empty() && !finding.source.is_empty(), "{finding:?}");
        }
    }
    assert!(seen > 10, "{seen}");
}

/// Missing software: the fixture has some.
#[test]
fn missing_software_is_told() {
    let mut facts = with(&[], "").facts();
    facts.programs.as_mut().unwrap().firmware.clear();
    facts.programs.as_mut().unwrap().passt = None;
    facts.programs.as_mut().unwrap().swtpm = None;
    let report = Report::new(&facts);
    let [firmware] = findings(&report, "firmware")[..] else { panic!() };
    assert_eq!(firmware.severity, Severity::Blocks);
    assert_eq!(firmware.fix.as_deref(), Some("`sudo pacman -S edk2-ovmf`"));
    let [network] = findings(&report, "network")[..] else { panic!() };
    assert_eq!(
        (network.severity, network.fix.as_deref()),
        (Severity::Warning, Some("`sudo pacman -S passt`"))
    );
    let [tpm] = findings(&report, "tpm")[..] else { panic!() };
    assert_eq!((tpm.severity, tpm.fix.as_deref()), (Severity::Note, Some("`sudo pacman -S swtpm`")));
    // A vm.toml may name its own.
    facts.machine = Some(MachineFile::default());
    let report = Report::new(&facts);
    assert_eq!(findings(&report, "firmware")[0].severity, Severity::Note);
}

#[test]
fn rights_are_of_this_host_only() {
    let mut facts = with(&[], "").facts();
    assert!(findings(&Report::new(&facts), "rights").is_empty());
    let node = |path: &str, usable| Node { path: path.into(), usable };
    let nodes = vec![node("/dev/kvm", false), node("/dev/vfio/1", false)];
    facts.rights = Some(Rights { known: true, root: false, nodes, input: Some(false) });
    let report = Report::new(&facts);
    let said: Vec<_> = findings(&report, "rights")
        .iter()
        .map(|finding| (finding.severity, finding.found.as_str()))
        .collect();
    assert_eq!(
        said,
        [
            (Severity::Blocks, "this user may not open /dev/kvm"),
            (Severity::Warning, "this user may not open /dev/vfio/1"),
            (Severity::Note, "this user may not read all devices below /dev/input"),
            (Severity::Note, "not root"),
        ]
    );
    facts.rights.as_mut().unwrap().root = true;
    assert_eq!(findings(&Report::new(&facts), "rights")[0].severity, Severity::Ok);
}

/// A vm.toml that lends nothing needs no GPU and no IOMMU, and one that is refused is not ready.
#[test]
fn a_vm_toml_says_what_is_wanted() {
    let mut facts =
        Fixture::new("os arch - Arch Linux\nkernel 6.12.1\ncpu GenuineIntel vmx 39 Model").facts();
    assert!(!Report::new(&facts).ready);
    facts.machine = Some(MachineFile { path: "vm.toml".into(), lends: false, ..MachineFile::default() });
    let report = Report::new(&facts);
    assert!(report.ready, "{}", report.text());
    assert_eq!(findings(&report, "iommu")[0].severity, Severity::Note);
    let problem = |message: &str, help: Option<&str>| Problem {
        place: Some("vm.toml:3:8".into()),
        message: message.into(),
        help: help.map(str::to_owned),
    };
    let machine = facts.machine.as_mut().unwrap();
    machine.problems = vec![problem("the disk is missing", Some("make one"))];
    machine.warnings = vec![problem("it will be slow", None)];
    let report = Report::new(&facts);
    let said: Vec<_> = findings(&report, "vm-toml")
        .iter()
        .map(|finding| {
            (finding.severity, finding.found.as_str(), finding.source.as_str(), finding.fix.as_deref())
        })
        .collect();
    assert_eq!(
        said,
        [
            (Severity::Blocks, "the disk is missing", "vm.toml:3:8", Some("make one")),
            (Severity::Warning, "it will be slow", "vm.toml:3:8", None),
        ]
    );
    assert!(!report.ready);
}

#[test]
fn a_machine_larger_than_the_host_is_told() {
    let mut facts = with(&[], "file proc/meminfo MemTotal: 16000000 kB\\nMemAvailable: 4000000 kB").facts();
    facts.machine = Some(MachineFile { lends: true, memory: Some(8 << 30), ..MachineFile::default() });
    let report = Report::new(&facts);
    let [memory] = findings(&report, "memory")[..] else { panic!() };
    assert_eq!(memory.severity, Severity::Warning);
}

#[test]
fn a_probe_without_answer_is_told_and_no_check_needs_all_facts() {
    let unanswered = Unanswered { probe: Probe::Pci, why: "has not answered within 10 s".into() };
    let facts = Facts { unanswered: vec![unanswered], ..Facts::default() };
    let report = Report::new(&facts);
    assert!(!report.ready && report.findings.len() == 1, "{report:#?}");
    assert_eq!(report.findings[0].found, "the probe pci has not answered within 10 s");
    // Each part may be missing while all others are there.
    let whole = with(&[], "").facts();
    for part in 0..7 {
        let mut facts = whole.clone();
        match part {
            0 => facts.system = None,
            1 => facts.processor = None,
            2 => facts.iommu = None,
            3 => facts.pci = None,
            4 => facts.users = None,
            5 => facts.memory = None,
            _ => facts.programs = None,
        }
        let distribution = Distribution::of(&facts);
        CHECKS.iter().for_each(|check| drop((check.check)(&facts, distribution)));
    }
}

#[test]
fn json_has_what_the_text_has() {
    let report = with(&[("17aa:39d0", "0000:0000")], "").report();
    let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!(json["ready"], true);
    assert_eq!(json["live"], false);
    let found =
        json["findings"].as_array().unwrap().iter().find(|finding| finding["id"] == "subsystem").unwrap();
    assert_eq!(found["severity"], "warning");
    for member in ["found", "source", "means", "fix"] {
        let text = found[member].as_str().unwrap();
        assert!(!text.is_empty());
    }
}

/// What crosses the pipe between child and parent is what was read.
#[test]
fn facts_survive_the_way_from_the_child() {
    let fixture = with(&[("030200 -", "030200 nouveau")], "process 900 Xorg /dev/dri/card1 01:00.0");
    let probes = Probe::OF_HOST;
    let mut out = Vec::new();
    crate::doctor::gather::answer(&fixture.context(), &probes, &mut out).unwrap();
    let mut facts = Facts::default();
    for line in String::from_utf8(out).unwrap().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        if let Some(part) = line.get("found") {
            facts.add(serde_json::from_value(part.clone()).unwrap());
        }
    }
    assert_eq!(facts, fixture.facts());
}
