//! The display adapter from its section to the plan and its report.

use std::path::Path;

use vocabulary::Resolution;

use crate::config;
use crate::device::display::Adapter;
use crate::device::{Display, Spec};
use crate::host::HostFacts;
use crate::plan::{MachinePlan, plan, report};

fn planned(text: &str) -> Result<MachinePlan, String> {
    let text = format!("[firmware]\ncode = \"c.fd\"\nvars = \"v.fd\"\nvars_template = \"t.fd\"\n{text}");
    let config = config::parse(&text, Path::new("/vm/test.toml")).map_err(|error| error.to_string())?;
    plan(config, &HostFacts::default()).map_err(|error| error.to_string())
}

fn display(plan: &MachinePlan) -> &Display {
    plan.devices.one::<Display>().unwrap()
}

#[test]
fn the_adapter_is_in_place_of_ramfb() {
    for (text, ramfb, adapter) in [
        ("[display]\n", true, None),
        ("[display]\nadapter = \"ramfb\"\n", true, None),
        ("[display]\nadapter = \"bochs\"\n", false, Some(Resolution { width: 1920, height: 1080 })),
        (
            "[display]\nadapter = \"bochs\"\nresolution = \"2560x1600\"\n",
            false,
            Some(Resolution { width: 2560, height: 1600 }),
        ),
    ] {
        let plan = planned(text).unwrap();
        let display = display(&plan);
        assert_eq!(display.ramfb, ramfb, "{text}");
        assert_eq!(display.adapter.map(|Adapter { resolution, .. }| resolution), adapter, "{text}");
    }
}

#[test]
fn it_has_a_function_without_interrupt_and_its_line_in_the_plan() {
    let text = "[display]\nadapter = \"bochs\"\naddress = \"00:0a.0\"\nvnc = \"unix:vnc\"\n";
    let plan = planned(text).unwrap();
    let description =
        "screen, display adapter bochs for 1920x1080 with 64 MiB of its own, for VNC viewers at unix:/vm/vnc";
    assert_eq!(display(&plan).describe(), description);
    let text = report::report(&plan, &[]).text();
    let line = text.lines().find(|line| line.contains("00:0a.0")).unwrap();
    assert!(line.contains("display adapter bochs") && !line.contains("INT"), "{line}");
    assert!(text.contains("01ce"), "its ports are in the plan:\n{text}");
}

#[test]
fn beside_a_virtual_gpu_there_is_one_framebuffer_before_its_driver() {
    let gpu = "[igpu]\nmdev = \"8bd1d2b4-2e6f-4a3b-9c06-4f7d7a3d9b11\"\n";
    for (adapter, ramfb) in [("", true), ("[display]\nadapter = \"bochs\"\n", false)] {
        let plan = planned(&format!("{gpu}{adapter}")).unwrap();
        assert_eq!(display(&plan).ramfb, ramfb, "{adapter}");
        assert_eq!(plan.igpu.unwrap().ramfb, ramfb, "{adapter}");
    }
}

#[test]
fn keys_of_the_adapter_need_it() {
    for (text, words) in [
        ("[display]\nresolution = \"1280x720\"\n", "`resolution` belongs to a display adapter"),
        ("[display]\nadapter = \"ramfb\"\naddress = \"00:0a.0\"\n", "`address` belongs to a display adapter"),
        ("[display]\nadapter = \"vga\"\n", "vga"),
        ("[display]\nadapter = \"bochs\"\nresolution = \"320x200\"\n", "is not between 640x480"),
        ("[display]\nadapter = \"bochs\"\naddress = \"00:1f.0\"\n", "00:1f.0"),
    ] {
        let error = planned(text).unwrap_err();
        assert!(error.contains(words), "{text}: {error}");
    }
}
