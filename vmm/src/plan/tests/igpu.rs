//! The display GPU in plans.

use super::config;
use super::passthrough::{facts, function};
use crate::config::{Config, Problems, Resolution};
use crate::host::HostFacts;
use crate::plan::{MachinePlan, PlannedIgpu, Role, plan};

const NO_RNG: &str = "[rng]\nenabled = false\n";
const MADE: &str = "[igpu]\nparent = \"0000:00:02.0\"\ntype = \"i915-GVTg_V5_4\"\n";
const EXISTING: &str = "[igpu]\nmdev = \"af5972fb-5530-41a7-0000-fd836204445b\"\n";
const FUNCTION: &str = "[igpu]\nhost = \"00:02.1\"\n";
const DGPU: &str = "[dgpu]\nhost = \"01:00.0\"\n";

fn try_plan(text: &str, facts: &HostFacts) -> Result<(Config, MachinePlan), Problems> {
    let config = config(&format!("{NO_RNG}{text}"));
    let plan = plan(&config, facts)?;
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
        (FUNCTION.to_owned(), "00:02.0", "GFX0"),
        (format!("{DGPU}{MADE}"), "00:02.0", "GFX0"),
        (format!("{EXISTING}guest = \"00:05.0\"\n"), "00:05.0", "D050"),
        (format!("{EXISTING}guest = \"01:00.0\"\n"), "01:00.0", "PXSX"),
        (at_article, "0a:00.0", "PXSX"),
    ] {
        let plan = planned(&text);
        let PlannedIgpu { index, .. } = plan.igpu.unwrap();
        assert_eq!(plan.passthrough[index].key, "igpu");
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
