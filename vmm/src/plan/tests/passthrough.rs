//! Passed-through functions: their places, the ports above them, and what is said of contradictions.

use vocabulary::HostPciAddress;

use super::{config, places};
use crate::config::{Config, RomSource};
use crate::finding::Findings;
use crate::finding::Section;
use crate::host::{HostFacts, HostFunction};
use crate::plan::{MachinePlan, plan, report};
use crate::topology::Role;

const DGPU: &str = "[rng]\nenabled = false\n[dgpu]\nhost = \"0000:01:00.0\"\n";
const VFIO: &str = "[[vfio]]\nhost = \"0000:03:00.0\"\n";

/// A function of the host: address, vendor and device, subsystem, class.
pub(super) fn function(at: &str, ids: (u16, u16), subsystem: (u16, u16), class: u32) -> HostFunction {
    HostFunction {
        address: at.parse().unwrap(),
        vendor: ids.0,
        device: ids.1,
        subsystem_vendor: subsystem.0,
        subsystem: subsystem.1,
        class,
        driver: Some("snd_hda_intel".into()),
        iommu_group: Some(7),
    }
}

pub(super) fn facts(functions: impl IntoIterator<Item = HostFunction>) -> HostFacts {
    let functions = functions.into_iter().map(|function| (function.address, function)).collect();
    HostFacts { functions, ..HostFacts::default() }
}

fn gpu(at: &str) -> HostFunction {
    function(at, (0x10de, 0x1c8d), (0x17aa, 0x39d1), 0x03_02_00)
}

fn audio(at: &str) -> HostFunction {
    function(at, (0x10de, 0x0fb9), (0x17aa, 0x39d1), 0x04_03_00)
}

fn try_plan(text: &str, facts: &HostFacts) -> Result<(Config, MachinePlan), Findings> {
    let config = config(text);
    let plan = plan(config.clone(), facts)?;
    Ok((config, plan))
}

fn planned(text: &str, facts: &HostFacts) -> MachinePlan {
    try_plan(text, facts).unwrap_or_else(|problems| panic!("{text}\n{problems}")).1
}

/// The places of all but the chipset, as `00:01.0 port 1` and `01:00.0 0000:01:00.0`.
fn shown(plan: &MachinePlan) -> Vec<String> {
    places(plan)
        .into_iter()
        .filter_map(|(place, role)| {
            Some(match role {
                Role::HostBridge | Role::Lpc => return None,
                Role::RootPort { number } => format!("{place} port {number}"),
                Role::Passthrough(index) => format!("{place} {}", plan.passthrough[index].host),
                Role::Device(index) => match plan.devices.get(index).unwrap().section() {
                    Section::Disk(index) => format!("{place} disk {index}"),
                    section => format!("{place} {section}"),
                },
            })
        })
        .collect()
}

#[test]
fn places_and_ports() {
    let vfio_at = |guest: &str| format!("{VFIO}guest = \"{guest}\"\n");
    let port = |at: &str| format!("[[root_port]]\naddress = \"{at}\"\n");
    let disk = |at: &str| format!("[[disk]]\npath = \"{}.raw\"\naddress = \"{at}\"\n", at.replace(':', "-"));
    let cases: [(String, &[&str]); 15] = [
        (DGPU.into(), &["00:01.0 port 1", "01:00.0 0000:01:00.0"]),
        // The user's own port at the place does.
        (format!("{DGPU}{}", port("00:01.0")), &["00:01.0 port 1", "01:00.0 0000:01:00.0"]),
        // Ports elsewhere come after the GPU's.
        (
            format!("{DGPU}{}{}", port("00:1c.0"), disk("02:00.0")),
            &["00:01.0 port 1", "01:00.0 0000:01:00.0", "00:1c.0 port 2", "02:00.0 disk 0"],
        ),
        (format!("{DGPU}{}", port("00:01.1")), &["00:01.0 port 1", "01:00.0 0000:01:00.0", "00:01.1 port 2"]),
        // Another bus than the first.
        (
            format!("{DGPU}guest = \"02:00.0\"\n{}", port("00:01.0")),
            &["00:01.0 port 1", "00:1c.0 port 2", "02:00.0 0000:01:00.0"],
        ),
        (
            format!("{DGPU}guest = \"02:00.0\"\n{}{}", port("00:01.0"), port("00:03.0")),
            &["00:01.0 port 1", "00:03.0 port 2", "02:00.0 0000:01:00.0"],
        ),
        (
            format!("{DGPU}guest = \"02:00.0\"\n{}", vfio_at("01:00.0")),
            &["00:1c.0 port 1", "01:00.0 0000:03:00.0", "00:1c.1 port 2", "02:00.0 0000:01:00.0"],
        ),
        // The plan's own choice comes behind everything.
        (
            format!("{DGPU}{VFIO}[[vfio]]\nhost = \"04:00.0\"\n"),
            &[
                "00:01.0 port 1",
                "01:00.0 0000:01:00.0",
                "00:1c.0 port 2",
                "02:00.0 0000:03:00.0",
                "00:1c.1 port 3",
                "03:00.0 0000:04:00.0",
            ],
        ),
        (
            format!("{DGPU}{VFIO}[[vfio]]\nhost = \"04:00.0\"\nguest = \"02:00.0\"\n"),
            &[
                "00:01.0 port 1",
                "01:00.0 0000:01:00.0",
                "00:1c.0 port 2",
                "02:00.0 0000:04:00.0",
                "00:1c.1 port 3",
                "03:00.0 0000:03:00.0",
            ],
        ),
        // Whole chipset slots are in use.
        (
            format!("{DGPU}{}{}{}{VFIO}", disk("00:1c.0"), disk("00:1d.0"), disk("00:1e.0")),
            &[
                "00:01.0 port 1",
                "01:00.0 0000:01:00.0",
                "00:03.0 port 2",
                "02:00.0 0000:03:00.0",
                "00:1c.0 disk 0",
                "00:1d.0 disk 1",
                "00:1e.0 disk 2",
            ],
        ),
        // The last place that a port can have.
        (
            format!("{DGPU}{}{}{VFIO}", port("00:1e.0"), port("00:1e.6")),
            &[
                "00:01.0 port 1",
                "01:00.0 0000:01:00.0",
                "00:1e.0 port 2",
                "00:1e.6 port 3",
                "00:1e.7 port 4",
                "04:00.0 0000:03:00.0",
            ],
        ),
        // The root bus.
        (format!("{DGPU}guest = \"00:02.0\"\n"), &["00:02.0 0000:01:00.0"]),
        (format!("{VFIO}root_port = false\n"), &["00:03.0 rng", "00:04.0 0000:03:00.0"]),
        // The USB controller is behind what was there before machines had one.
        (
            format!("{VFIO}root_port = false\n[display]\n"),
            &["00:03.0 rng", "00:04.0 0000:03:00.0", "00:05.0 usb"],
        ),
        // Two functions of a slot.
        (
            format!("{}[[vfio]]\nhost = \"03:00.1\"\nguest = \"00:05.1\"\n", vfio_at("00:05.0")),
            &["00:03.0 rng", "00:05.0 0000:03:00.0", "00:05.1 0000:03:00.1"],
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(shown(&planned(&text, &HostFacts::default())), expected, "{text}");
    }
}

#[test]
fn the_functions_of_the_slot_come_along() {
    let host = facts([gpu("01:00.0"), audio("01:00.1"), audio("01:00.3"), audio("02:00.0")]);
    let all = ["00:01.0 port 1", "01:00.0 0000:01:00.0", "01:00.1 0000:01:00.1", "01:00.3 0000:01:00.3"];
    let plan = planned(DGPU, &host);
    assert_eq!(shown(&plan), all);
    let behind = &plan.pci.functions[1].children;
    let names: Vec<_> = behind.iter().map(|function| function.acpi_name.as_str()).collect();
    assert_eq!((plan.pci.functions[1].acpi_name.as_str(), names), ("PEG0", vec!["PEGP", "PXS1", "PXS3"]));
    assert!(behind.iter().all(|function| function.multifunction && function.interrupt.is_none()));
    assert_eq!(shown(&planned(&format!("{DGPU}functions = \"gpu\"\n"), &host)), all[..2]);

    // A GPU that is not function 0 becomes it, and what was there changes places with it.
    let host = facts([audio("01:00.0"), gpu("01:00.1"), audio("01:00.2")]);
    let text = DGPU.replace("01:00.0", "01:00.1");
    assert_eq!(
        shown(&planned(&text, &host)),
        ["00:01.0 port 1", "01:00.0 0000:01:00.1", "01:00.1 0000:01:00.0", "01:00.2 0000:01:00.2"]
    );
}

#[test]
fn only_a_missing_subsystem_is_filled_in_beside_the_gpu() {
    let blank = function("01:00.1", (0x10de, 0x0fb9), (0, 0), 0x04_03_00);
    let text = format!("{DGPU}subsystem = \"17aa:39d1\"\nvendor = \"10de\"\nrom = \"host\"\nmanage = true\n");
    let plan = planned(&text, &facts([gpu("01:00.0"), blank, audio("01:00.2")]));
    let spoofed: Vec<_> = plan.passthrough.iter().map(|planned| planned.identity.subsystem).collect();
    assert_eq!(spoofed, [Some((0x17aa, 0x39d1)), Some((0x17aa, 0x39d1)), None]);
    assert_eq!(plan.passthrough[0].identity.vendor, Some(0x10de));
    assert_eq!(plan.passthrough[1].identity.vendor, None);
    assert_eq!(plan.passthrough[1].rom, RomSource::Off);
    assert!(plan.passthrough.iter().all(|planned| planned.manage));
}

#[test]
fn the_header_says_what_is_asked() {
    let of_gpu = |text: &str, host: &HostFacts| {
        let plan = planned(text, host);
        plan.pci.iter().find(|function| function.role == Role::Passthrough(0)).unwrap().multifunction
    };
    let alone = facts([gpu("01:00.0")]);
    assert!(!of_gpu(DGPU, &alone));
    assert!(of_gpu(&format!("{DGPU}multifunction = true\n"), &alone));
    assert!(!of_gpu(&format!("{DGPU}multifunction = false\n"), &alone));
    assert!(of_gpu(DGPU, &facts([gpu("01:00.0"), audio("01:00.1")])));
}

#[test]
fn contradictions_are_told_with_their_line() {
    let host =
        facts([gpu("01:00.0"), audio("01:00.1"), function("03:00.0", (0x8086, 0x1901), (0, 0), 0x06_04_00)]);
    let port = |at: &str| format!("[[root_port]]\naddress = \"{at}\"\n");
    let disk = |at: &str| format!("[[disk]]\npath = \"a.raw\"\naddress = \"{at}\"\n");
    let cases: [(String, &[&str]); 15] = [
        (
            format!("{DGPU}{}{}", port("00:01.0"), disk("01:00.0")),
            &[":7:2: 01:00.0 is taken by `disk[0].address` already"],
        ),
        (
            format!(
                "{DGPU}{}{}{}",
                port("00:01.0"),
                disk("01:00.1"),
                "[[disk]]\npath = \"b.raw\"\naddress = \"01:00.1\"\n"
            ),
            &[
                "01:00.1 is taken by `disk[0].address` already",
                "01:00.1 is taken by `disk[0].address` already",
            ],
        ),
        (
            format!("{DGPU}{}", disk("00:01.0")),
            &["the GPU needs a root port at 00:01.0, which is taken by `disk[0].address`"],
        ),
        (
            format!("{DGPU}{}", port("00:00.1")),
            &["00:00.1 would never be found, because the host bridge has one function only"],
        ),
        (
            format!("{DGPU}guest = \"02:00.0\"\n"),
            &["help: add a [[root_port]] at \"00:1c.0\", or ask for bus 01"],
        ),
        (
            format!("{DGPU}guest = \"04:00.0\"\n{}", port("00:1c.1")),
            &[
                "add a [[root_port]] at \"00:1d.0\" and one at \"00:1d.1\", or ask for bus 02",
                "00:1c.1 would never be found",
            ],
        ),
        (format!("{DGPU}guest = \"ff:00.0\"\n"), &["help: ask for bus 01"]),
        (format!("{DGPU}guest = \"01:02.0\"\n"), &["01:02.0 has device number 2"]),
        (format!("{DGPU}guest = \"01:00.1\"\nfunctions = \"gpu\"\n"), &["01:00.1 would never be found"]),
        (format!("{DGPU}multifunction = false\n"), &["would never find 01:00.1"]),
        (
            format!("{DGPU}[[vfio]]\nhost = \"01:00.0\"\n"),
            &["0000:01:00.0 is passed through by [dgpu] (line 8) already"],
        ),
        (format!("{DGPU}[[vfio]]\nhost = \"01:00.1\"\n"), &["write `functions = \"gpu\"` in [dgpu]"]),
        (
            "[[vfio]]\nhost = \"05:00.0\"\n[[vfio]]\nhost = \"05:00.0\"\n".into(),
            &[":8:8: 0000:05:00.0 is passed through by [[vfio]] (line 6) already"],
        ),
        (VFIO.into(), &["0000:03:00.0 is a PCI bridge"]),
        (
            format!("{DGPU}[[vfio]]\nhost = \"05:00.0\"\n{}", port("00:1f.1")),
            &["there is no room on bus 0 for another root port"],
        ),
    ];
    for (text, expected) in cases {
        let Err(problems) = try_plan(&text, &host) else { panic!("{text}") };
        let told = problems.to_string();
        assert_eq!(problems.iter().count(), expected.len(), "{text}\n{told}");
        for (problem, words) in problems.iter().zip(expected) {
            assert!(problem.to_string().contains(words), "{words} is not in\n{problem}\nof\n{told}");
        }
    }
}

#[test]
fn a_place_that_is_taken_from_a_device_of_the_host_is_told_apart() {
    let named = |name: &str, at: &str| format!("[[disk]]\npath = \"{name}.raw\"\naddress = \"{at}\"\n");
    let disk = |at: &str| named("a", at);
    let vfio = |at: &str| format!("{VFIO}guest = \"{at}\"\n");
    let apart = [
        format!("{DGPU}{}", disk("00:01.0")),
        format!("{}{}", vfio("00:05.0"), disk("00:05.0")),
        format!("{DGPU}{}", vfio("01:00.0")),
        vfio("00:1f.0"),
    ];
    let mistakes = [
        format!("{DGPU}{}", vfio("01:02.0")),
        format!("{DGPU}{}", vfio("07:00.0")),
        format!("{VFIO}{VFIO}"),
        format!("{}{}", disk("00:05.0"), named("b", "00:05.0")),
        // One of each.
        format!("{DGPU}{}{}{}", disk("00:01.0"), named("b", "00:05.0"), named("c", "00:05.0")),
    ];
    for (texts, about_host) in [(&apart[..], true), (&mistakes[..], false)] {
        for text in texts {
            let Err(problems) = try_plan(text, &facts([])) else { panic!("{text}") };
            assert_eq!(problems.are_about_host(), about_host, "{text}\n{problems}");
        }
    }
}

#[test]
fn a_section_that_names_what_is_passed_through_by_itself_is_free_otherwise() {
    let host = facts([gpu("01:00.0"), audio("01:00.1")]);
    let text = format!("{DGPU}functions = \"gpu\"\n[[vfio]]\nhost = \"01:00.1\"\nguest = \"01:00.1\"\n");
    assert_eq!(
        shown(&planned(&text, &host)),
        ["00:01.0 port 1", "01:00.0 0000:01:00.0", "01:00.1 0000:01:00.1"]
    );
}

#[test]
fn what_a_driver_would_miss_is_a_warning() {
    let blank = |at: &str| function(at, (0x10de, 0x1c8d), (0x10de, 0), 0x03_02_00);
    let warned = |text: &str, host: HostFacts| -> Vec<String> {
        planned(text, &host).warnings.iter().map(ToString::to_string).collect()
    };
    assert!(warned(DGPU, facts([gpu("01:00.0")])).is_empty());
    assert!(warned(DGPU, HostFacts::default()).is_empty());
    let [subsystem] = &warned(DGPU, facts([blank("01:00.0")]))[..] else { panic!("one warning") };
    assert!(subsystem.contains("the subsystem of 0000:01:00.0 reads 10de:0000"), "{subsystem}");
    assert!(subsystem.contains("SUBSYS_39D117AA is \"17aa:39d1\""), "{subsystem}");
    assert!(subsystem.contains("lspci -nnk -s 0000:01:00.0"), "{subsystem}");
    let given = format!("{DGPU}subsystem = \"17aa:39d1\"\n");
    assert!(warned(&given, facts([blank("01:00.0")])).is_empty());
    let swapped = DGPU.replace("01:00.0", "01:00.1");
    let [class] = &warned(&swapped, facts([gpu("01:00.0"), audio("01:00.1")]))[..] else {
        panic!("one warning")
    };
    assert!(class.contains("0000:01:00.1 is no graphics controller: its class is 0403"), "{class}");
    assert!(class.contains("the GPU of this slot is 0000:01:00.0"), "{class}");
    // Other devices need no subsystem.
    assert!(warned(VFIO, facts([function("03:00.0", (0x8086, 0x10d3), (0, 0), 0x02_00_00)])).is_empty());
}

#[test]
fn the_report_shows_both_sides() {
    let host = facts([function("01:00.0", (0x10de, 0x1c8d), (0x10de, 0), 0x03_02_00)]);
    let text =
        format!("{DGPU}device = \"1c8c\"\nmanage = true\n{VFIO}rom = \"a.rom\"\nsubsystem = \"1:2\"\n");
    let (_, plan) = try_plan(&text, &host).unwrap();
    let report = report::report(&plan, &[]);
    let printed = report.text();
    for line in [
        "    01:00.0  PEGP  dgpu: 0000:01:00.0 of the host\n",
        "IDs 10de:1c8d → 10de:1c8c, subsystem 10de:0000, ROM off; bound to vfio-pci while the machine runs\n",
        "class 030200, driver on the host: snd_hda_intel, IOMMU group 7\n",
        "    02:00.0  PXSX  vfio[0]: 0000:03:00.0 of the host\n",
        "IDs own, subsystem → 0001:0002, ROM /vm/a.rom\n",
        "not on this host\n",
        "\nWarnings\n  line 7: the subsystem of 0000:01:00.0 reads 10de:0000",
    ] {
        assert!(printed.contains(line), "{line} is not in\n{printed}");
    }
    let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
    let gpu = &json["pci"][1]["functions"][0]["passthrough"];
    assert_eq!(gpu["own"]["function"], "10de:1c8d");
    assert_eq!(gpu["shown"], serde_json::json!({ "device": "1c8c" }));
    assert_eq!((&gpu["driver"], &gpu["iommu_group"]), (&"snd_hda_intel".into(), &7.into()));
    assert_eq!(json["pci"][2]["functions"][0]["passthrough"]["present"], false);
    assert_eq!(json["warnings"][0]["line"], 7);
}

#[test]
fn addresses_of_the_host_have_segments() {
    let host = facts([gpu("01:00.0"), audio("0001:01:00.1")]);
    assert_eq!(planned(DGPU, &host).passthrough.len(), 1);
    assert_eq!(host.functions.keys().next(), HostPciAddress::new(0, 1, 0, 0).as_ref());
}
