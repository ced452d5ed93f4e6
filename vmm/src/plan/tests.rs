//! Machine plans from configurations.

mod cpu;
mod direct;
mod identity;
mod igpu;
mod numbering;
mod passthrough;
mod tuning;

use std::path::Path;

use super::*;
use crate::config;
use crate::topology::Role;

fn config(text: &str) -> Config {
    let text = format!("[firmware]\ncode = \"c.fd\"\nvars = \"v.fd\"\nvars_template = \"t.fd\"\n{text}");
    config::parse(&text, Path::new("/vm/test.toml")).unwrap()
}

/// The plan on a host without any of its devices.
fn plan(config: Config) -> Result<MachinePlan, Findings> {
    super::plan(config, &HostFacts::default())
}

fn places(plan: &MachinePlan) -> Vec<(String, Role)> {
    plan.pci.iter().map(|function| (function.to_string(), function.role)).collect()
}

#[test]
fn devices_without_address_leave_room_for_the_gpus() {
    let plan = plan(config("[[disk]]\npath = \"a.raw\"\n[[disk]]\npath = \"b.raw\"\n")).unwrap();
    assert_eq!(
        places(&plan),
        [
            ("00:00.0".into(), Role::HostBridge),
            ("00:03.0".into(), Role::Device(0)),
            ("00:04.0".into(), Role::Device(1)),
            ("00:05.0".into(), Role::Device(2)),
            ("00:1f.0".into(), Role::Lpc),
        ]
    );
}

#[test]
fn ports_are_numbered_in_address_order() {
    let plan = plan(config(
        "[[root_port]]\naddress = \"00:1c.0\"\n[[root_port]]\naddress = \"00:01.0\"\n\
         [[disk]]\npath = \"a.raw\"\naddress = \"01:00.0\"\n[[disk]]\npath = \"b.raw\"\naddress = \"02:00.0\"\n\
         [rng]\nenabled = false\n",
    ))
    .unwrap();
    assert_eq!(
        places(&plan),
        [
            ("00:00.0".into(), Role::HostBridge),
            ("00:01.0".into(), Role::RootPort { number: 1 }),
            ("01:00.0".into(), Role::Device(0)),
            ("00:1c.0".into(), Role::RootPort { number: 2 }),
            ("02:00.0".into(), Role::Device(1)),
            ("00:1f.0".into(), Role::Lpc),
        ]
    );
    let names: Vec<_> = plan.pci.iter().map(|function| function.acpi_name.as_str()).collect();
    assert_eq!(names, ["MCHC", "PEG0", "PEGP", "RP02", "PXSX", "LPCB"]);
}

#[test]
fn all_conflicts_are_told_at_once() {
    let problems = plan(config(
        "[[disk]]\npath = \"a.raw\"\naddress = \"00:1f.0\"\n[[disk]]\npath = \"b.raw\"\naddress = \"03:00.0\"\n\
         [[disk]]\npath = \"c.raw\"\naddress = \"00:07.2\"\n",
    ))
    .unwrap_err();
    let text = problems.to_string();
    assert!(text.contains("00:1f.0 is taken by the chipset"), "{text}");
    assert!(text.contains("the machine has only bus 0: add a [[root_port]]"), "{text}");
    assert!(text.contains("00:07.2 would never be found"), "{text}");
    assert_eq!(problems.iter().count(), 3);
}

#[test]
fn memory_is_split_at_two_gigabytes() {
    for (size, low_last, high) in [
        ("256M", 0x0fff_ffff, None),
        ("2G", 0x7fff_ffff, None),
        ("5G", 0x7fff_ffff, Some((0x1_0000_0000, 0x1_bfff_ffff))),
    ] {
        let plan = plan(config(&format!("[machine]\nmemory = \"{size}\"\n"))).unwrap();
        assert_eq!(plan.memory.low.last(), low_last, "{size}");
        assert_eq!(plan.memory.high.map(|high| (high.base(), high.last())), high, "{size}");
    }
}

#[test]
fn report_has_no_overlap_in_its_memory_map() {
    let config = config("[machine]\nmemory = \"5G\"\n");
    let report = report::report(&plan(config).unwrap(), &[]);
    for pair in report.memory_map.windows(2) {
        assert!(pair[0].last < pair[1].base, "{pair:?}");
    }
    let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
    assert_eq!(json["memory"], 5u64 << 30);
    assert_eq!(json["pci"][0]["address"], "00:00.0");
}
