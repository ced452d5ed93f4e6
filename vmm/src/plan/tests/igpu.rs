//! The display GPU in plans.

use devices::chipset::lpc::Board;
use vocabulary::{HostPciAddress, Resolution};

use super::config;
use super::passthrough::{facts, function};
use crate::config::Config;
use crate::finding::{Findings, Section};
use crate::host::{HostFacts, HostMdev};
use crate::plan::{MachinePlan, PlannedIgpu, plan, report};
use crate::topology::Role;

const NO_RNG: &str = "[rng]\nenabled = false\n";
const MADE: &str = "[igpu]\nparent = \"0000:00:02.0\"\ntype = \"i915-GVTg_V5_4\"\n";
const EXISTING: &str = "[igpu]\nmdev = \"af5972fb-5530-41a7-0000-fd836204445b\"\n";
const VIRTUAL: &str = "[igpu]\nparent = \"0000:00:02.0\"\ntype = \"sriov\"\n";
const FUNCTION: &str = "[igpu]\nhost = \"00:02.1\"\n";
const DGPU: &str = "[dgpu]\nhost = \"01:00.0\"\n";

fn try_plan(text: &str, facts: &HostFacts) -> Result<(Config, MachinePlan), Findings> {
    let config = config(&format!("{NO_RNG}{text}"));
    let plan = plan(config.clone(), facts)?;
    Ok((config, plan))
}

fn planned(text: &str) -> MachinePlan {
    try_plan(text, &HostFacts::default()).unwrap_or_else(|problems| panic!("{text}\n{problems}")).1
}

#[test]
fn places_and_names() {
    let ports: String =
        (0..9).map(|n| format!("[[root_port]]\naddress = \"00:{:02x}.0\"\n", n + 3)).collect();
    let at_article = format!("{EXISTING}guest = \"0a:00.0\"\n{ports}");
    for (text, place, name) in [
        (MADE.to_owned(), "00:02.0", "GFX0"),
        (EXISTING.to_owned(), "00:02.0", "GFX0"),
        (VIRTUAL.to_owned(), "00:02.0", "GFX0"),
        (FUNCTION.to_owned(), "00:02.0", "GFX0"),
        (format!("{DGPU}{MADE}"), "00:02.0", "GFX0"),
        (format!("{EXISTING}guest = \"00:05.0\"\n"), "00:05.0", "D050"),
        (format!("{EXISTING}guest = \"01:00.0\"\n"), "01:00.0", "PXSX"),
        (at_article, "0a:00.0", "PXSX"),
    ] {
        let plan = planned(&text);
        let PlannedIgpu { index, .. } = plan.igpu.unwrap();
        assert_eq!(plan.passthrough[index].section, Section::Igpu);
        let display = plan.pci.iter().find(|function| function.role == Role::Passthrough(index)).unwrap();
        assert_eq!((display.to_string().as_str(), display.acpi_name.as_str()), (place, name), "{text}");
    }
    // The name is the display GPU's alone.
    let plan = planned("[[vfio]]\nhost = \"03:00.0\"\nguest = \"00:02.0\"\n");
    assert_eq!(plan.pci.functions[1].acpi_name, "D020");
    assert_eq!(plan.igpu, None);
}

#[test]
fn what_is_asked_of_the_display() {
    let wished = planned(&format!("{MADE}resolution = \"1280x800\"\nopregion = false\nramfb = false\n"));
    let resolution = Some(Resolution { width: 1280, height: 800 });
    assert_eq!(wished.igpu, Some(PlannedIgpu { index: 0, resolution, opregion: Some(false), ramfb: false }));
    let usual = planned(&format!("{DGPU}{FUNCTION}"));
    assert_eq!(usual.igpu, Some(PlannedIgpu { index: 1, resolution: None, opregion: None, ramfb: true }));
}

#[test]
fn contradictions_are_told_with_their_line() {
    let disk = "[[disk]]\npath = \"a.raw\"\naddress = \"00:02.0\"\n";
    let host = facts([function("00:02.1", (0x8086, 0x1901), (0, 0), 0x06_04_00)]);
    for (text, expected) in [
        (format!("{MADE}{disk}"), ":7:2: 00:02.0 is taken by `disk[0].address` already"),
        (format!("{DGPU}guest = \"00:02.0\"\n{EXISTING}"), ":10:2: 00:02.0 is taken by `dgpu.guest` already"),
        (format!("{MADE}guest = \"00:1f.0\"\n"), ":10:9: 00:1f.0 is taken by the chipset already"),
        (format!("{MADE}guest = \"0a:00.0\"\n"), "bus 0a exists only if each bus before it has a root port"),
        (
            format!("{MADE}[[vfio]]\nhost = \"00:02.0\"\n"),
            ":8:10: the virtual GPU is made by the driver of 0000:00:02.0, and `vfio[0]` passes that through",
        ),
        (format!("{FUNCTION}[[vfio]]\nhost = \"00:02.1\"\n"), "0000:00:02.1 is a PCI bridge"),
        (
            "[igpu]\nhost = \"03:00.0\"\n[[vfio]]\nhost = \"03:00.0\"\n".into(),
            "0000:03:00.0 is passed through by [igpu] (line 8) already",
        ),
    ] {
        let Err(problems) = try_plan(&text, &host) else { panic!("{text}") };
        let told = problems.to_string();
        assert!(told.contains(expected), "{expected} is not in\n{told}");
    }
}

#[test]
fn the_report_shows_what_is_made_and_what_exists() {
    let printed = |text: &str, facts: &HostFacts| {
        let (_, plan) = try_plan(text, facts).unwrap();
        let report = report::report(&plan, &[]);
        (report.text(), serde_json::from_str::<serde_json::Value>(&report.json().unwrap()).unwrap())
    };
    let (text, json) =
        printed(&format!("{MADE}uuid = \"af5972fb-5530-41a7-0000-fd836204445b\"\n"), &HostFacts::default());
    for line in [
        "  00:02.0  GFX0  igpu: mdev af5972fb-5530-41a7-0000-fd836204445b of the host\n",
        "i915-GVTg_V5_4 of 0000:00:02.0, made at the start and removed at the end; ROM off\n",
        "\nDisplay\n  resolution           1920x1080\n  OpRegion             if the device has one\n",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert_eq!(json["pci"][1]["passthrough"]["mdev"]["made"], true);
    assert_eq!(json["igpu"], serde_json::json!({ "resolution": "1920x1080", "ramfb": true }));

    let uuid = "af5972fb-5530-41a7-0000-fd836204445b".parse().unwrap();
    let existing = HostMdev {
        uuid,
        parent: "mbochs".into(),
        kind: "mbochs-small".into(),
        driver: Some("mbochs".into()),
        iommu_group: Some(9),
    };
    let facts = HostFacts { mdevs: [(uuid, existing)].into(), ..HostFacts::default() };
    let (text, json) = printed(EXISTING, &facts);
    assert!(
        text.contains("mbochs-small of mbochs, which exists already; ROM off, IOMMU group 9\n"),
        "{text}"
    );
    let shown = &json["pci"][1]["passthrough"];
    assert_eq!((&shown["present"], &shown["mdev"]["type"]), (&true.into(), &"mbochs-small".into()));
    let (text, json) = printed(EXISTING, &HostFacts::default());
    assert!(text.contains("not on this host, unless mdevctl has defined it; ROM off\n"), "{text}");
    assert_eq!(json["pci"][1]["passthrough"]["present"], false);
    let (text, json) = printed(EXISTING, &HostFacts::unasked());
    assert!(text.contains("the host was not asked; ROM off\n"), "{text}");
    assert!(json["pci"][1]["passthrough"]["present"].is_null());
    let (text, _) = printed(MADE, &HostFacts::unasked());
    assert!(
        text.contains("i915-GVTg_V5_4 of 0000:00:02.0, made at the start unless it exists; ROM off\n"),
        "{text}"
    );
}

#[test]
fn a_virtual_function_is_where_its_parent_says() {
    let at = |address: &str| address.parse::<HostPciAddress>().unwrap();
    let known = HostFacts {
        virtual_functions: [(at("00:02.0"), at("00:12.0"))].into(),
        ..facts([function("00:02.0", (0x8086, 0xa7a0), (0, 0), 0x03_00_00)])
    };
    let made = facts([function("00:12.0", (0x8086, 0xa7a0), (0, 0), 0x03_00_00)]);
    let existing = HostFacts { virtual_functions: known.virtual_functions.clone(), ..made };
    for (host, address, line) in [
        (HostFacts::unasked(), "0000:00:02.1", "made at the start unless it exists"),
        (HostFacts::default(), "0000:00:02.1", "made at the start and removed at the end"),
        (known, "0000:00:12.0", "made at the start and removed at the end"),
        (existing, "0000:00:12.0", "which exists already"),
    ] {
        let (_, plan) = try_plan(VIRTUAL, &host).unwrap();
        assert_eq!(plan.passthrough[0].host, at(address).into());
        assert_eq!((plan.passthrough[0].parent, plan.passthrough[0].manage), (Some(at("00:02.0")), true));
        assert_eq!(plan.lpc_board(), Board::VirtualMachine);
        let report = report::report(&plan, &[]);
        let text = report.text();
        for expected in [
            format!("igpu: {address} of the host"),
            format!("first virtual function of 0000:00:02.0, {line}\n"),
        ] {
            assert!(text.contains(&expected), "{expected} is not in\n{text}");
        }
        let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        assert_eq!(json["pci"][1]["passthrough"]["parent"], "0000:00:02.0");
    }
    for (lent, expected) in [
        ("00:02.1", "0000:00:02.1 is passed through by [igpu] (line 8) already"),
        (
            "00:02.0",
            ":8:10: the virtual GPU is made by the driver of 0000:00:02.0, and `vfio[0]` passes that through",
        ),
    ] {
        let text = format!("{VIRTUAL}[[vfio]]\nhost = \"{lent}\"\n");
        let Err(problems) = try_plan(&text, &HostFacts::default()) else { panic!("{text}") };
        assert!(problems.to_string().contains(expected), "{problems}");
    }
}

/// Linux' i915 finds no PCH where the bridge does not say that it is a virtual machine's; all others are told nothing.
#[test]
fn the_bridge_is_a_virtual_machines_beside_intels_gpus_alone() {
    let display = |vendor| facts([function("00:02.0", (vendor, 0x5917), (0, 0), 0x03_00_00)]);
    let lent = "[[vfio]]\nhost = \"00:02.0\"\n";
    let whole = "[igpu]\nhost = \"00:02.0\"\n";
    let network = facts([function("00:02.0", (0x8086, 0x10d3), (0, 0), 0x02_00_00)]);
    for (text, host, board) in [
        (MADE, HostFacts::default(), Board::VirtualMachine),
        (EXISTING, HostFacts::default(), Board::VirtualMachine),
        (whole, display(0x8086), Board::VirtualMachine),
        (whole, display(0x1002), Board::Unnamed),
        (lent, display(0x8086), Board::VirtualMachine),
        (lent, display(0x10de), Board::Unnamed),
        (lent, network, Board::Unnamed),
        ("", HostFacts::default(), Board::Unnamed),
    ] {
        assert_eq!(try_plan(text, &host).unwrap().1.lpc_board(), board, "{text} {host:?}");
    }
}
