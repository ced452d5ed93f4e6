//! The video BIOS on its way from the file to `_ROM`.

use std::fs;
use std::path::Path;

use firmware::option_rom::testing::{ImageBuilder, muxless, with_gop};

use super::{Additions, CPU, Firmware, platform};
use crate::config;
use crate::device::Vbios;
use crate::finding::Findings;
use crate::host::{HostFacts, HostFunction};
use crate::outcome::{Failure, status};
use crate::plan::{MachinePlan, plan, report};

/// The GPU of a host at 01:00.0.
fn facts() -> HostFacts {
    let address = "0000:01:00.0".parse().unwrap();
    let function = HostFunction {
        address,
        vendor: 0x10de,
        device: 0x1c8d,
        subsystem_vendor: 0x17aa,
        subsystem: 0x39d1,
        class: 0x03_0200,
        driver: None,
        iommu_group: Some(1),
    };
    HostFacts { functions: [(address, function)].into(), ..HostFacts::default() }
}

/// A machine whose folder has the file `gpu.rom`.
fn machine(rom: Option<&[u8]>, text: &str) -> Result<(tempfile::TempDir, MachinePlan), Findings> {
    let folder = tempfile::tempdir().unwrap();
    if let Some(rom) = rom {
        fs::write(folder.path().join("gpu.rom"), rom).unwrap();
    }
    let text = format!("[firmware]\ncode = \"c.fd\"\nvars = \"v.fd\"\nvars_template = \"t.fd\"\n{text}");
    let config = config::parse(&text, &folder.path().join("vm.toml")).unwrap();
    let plan = plan(config, &facts())?;
    Ok((folder, plan))
}

fn load(rom: Option<&[u8]>, text: &str) -> Result<Additions, Findings> {
    let (_folder, plan) = machine(rom, text)?;
    Additions::load(&plan)
}

/// Device and function numbers from bus 0 on.
type Place = &'static [(u8, u8)];

#[test]
fn rom_is_at_the_gpu_wherever_that_is() {
    const HOST: &str = "[dgpu]\nhost = \"01:00.0\"\nvbios = \"gpu.rom\"\n";
    const ALONE: &str = "[dgpu]\nvbios = \"gpu.rom\"\n";
    const PORT: &str = "[[root_port]]\naddress = \"00:1c.0\"\n";
    let cases: [(String, Place, &str); 9] = [
        (HOST.into(), &[(1, 0), (0, 0)], "01:00.0"),
        (format!("{HOST}guest = \"00:08.0\""), &[(8, 0)], "00:08.0"),
        (
            format!("{HOST}guest = \"02:00.0\"\n[[root_port]]\naddress = \"00:07.0\""),
            &[(0x1c, 0), (0, 0)],
            "02:00.0",
        ),
        // Without a GPU: a device is made, or the one that is there taken.
        (ALONE.into(), &[(1, 0), (0, 0)], "01:00.0"),
        (format!("{ALONE}guest = \"00:09.3\""), &[(9, 3)], "00:09.3"),
        (format!("{ALONE}{PORT}"), &[(0x1c, 0), (0, 0)], "01:00.0"),
        (
            format!("{ALONE}{PORT}[[disk]]\npath = \"a.raw\"\naddress = \"01:00.0\"\n"),
            &[(0x1c, 0), (0, 0)],
            "01:00.0",
        ),
        (format!("{ALONE}guest = \"01:00.2\""), &[(1, 0), (0, 2)], "01:00.2"),
        (format!("{ALONE}[[disk]]\npath = \"a.raw\"\naddress = \"00:04.0\"\n"), &[(1, 0), (0, 0)], "01:00.0"),
    ];
    let rom = muxless(0x10de, 0x1c8d);
    for (text, at, guest) in cases {
        let (_folder, plan) = machine(Some(&rom), &text).unwrap();
        let additions = Additions::load(&plan).unwrap();
        let platform = platform(&plan, CPU, &Firmware::default(), &additions).unwrap();
        let vrom = platform.vrom.as_ref().unwrap();
        assert_eq!((vrom.at.as_slice(), &*vrom.image), (at, rom.as_slice()), "{text}");
        assert_eq!(plan.devices.one::<Vbios>().unwrap().guest.to_string(), guest, "{text}");
        ::acpi::build(&platform).unwrap_or_else(|error| panic!("{text}\n{error}"));
    }
}

#[test]
fn the_plan_tells_of_it() {
    let shown = |text: &str| {
        let (_folder, plan) = machine(None, text).unwrap();
        let report = report::report(&plan, &[]);
        let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        (report.text(), json["vbios"].clone())
    };
    let (text, json) = shown("[dgpu]\nhost = \"01:00.0\"\ndevice = \"1c8c\"\nvbios = \"/gpu.rom\"\n");
    let expected = "\nVideo BIOS\n  file  /gpu.rom\n  _ROM  of 01:00.0; must be for 10de:1c8d or 10de:1c8c\n";
    assert!(text.contains(expected), "{text}");
    let ids = ["10de:1c8d", "10de:1c8c"];
    assert_eq!(json, serde_json::json!({ "file": "/gpu.rom", "guest": "01:00.0", "expected": ids }));
    let (text, json) = shown("[dgpu]\nvbios = \"/gpu.rom\"\nguest = \"00:08.0\"\n");
    assert!(text.contains("of 00:08.0; which GPU it is for is not checked\n"), "{text}");
    assert_eq!(json, serde_json::json!({ "file": "/gpu.rom", "guest": "00:08.0" }));
    assert_eq!(shown("").1, serde_json::Value::Null);
}

#[test]
fn only_the_chain_of_images_reaches_the_guest() {
    let rom = with_gop(0x10de, 0x1c8d);
    let mut file = b"NVGI".to_vec();
    file.resize(0x600, 0x11);
    file.extend(&rom);
    file.extend([0xff; 777]);
    let additions = load(Some(&file), "[dgpu]\nvbios = \"gpu.rom\"\n").unwrap();
    assert_eq!(additions.devices.vbios.as_deref(), Some(rom.as_slice()));
}

#[test]
fn the_gpus_own_ids_and_those_that_the_guest_sees_will_do() {
    let section = |more: &str| format!("[dgpu]\nvbios = \"gpu.rom\"\n{more}");
    let spoofed = section("host = \"01:00.0\"\ndevice = \"1c8c\"\n");
    let cases = [
        (section("host = \"01:00.0\"\n"), 0x1c8d, true),
        (section("host = \"01:00.0\"\n"), 0x1c8c, false),
        (spoofed.clone(), 0x1c8d, true),
        (spoofed.clone(), 0x1c8c, true),
        (spoofed, 0x1c8e, false),
        // A GPU that this host does not have can be any.
        (section("host = \"02:00.0\"\n"), 0x1234, true),
        (section("host = \"02:00.0\"\nvendor = \"10de\"\ndevice = \"1c8d\"\n"), 0x1234, false),
        // None is passed through.
        (section(""), 0x1234, true),
        (section("vendor = \"10de\"\ndevice = \"1c8d\"\n"), 0x1c8d, true),
        (section("vendor = \"10de\"\ndevice = \"1c8d\"\n"), 0x1c8c, false),
    ];
    for (text, device, fits) in cases {
        let loaded = load(Some(&muxless(0x10de, device)), &text);
        assert_eq!(loaded.is_ok(), fits, "{device:04x} for\n{text}");
    }
}

#[test]
fn what_cannot_be_used_is_refused_with_file_and_field() {
    const TEXT: &str = "[dgpu]\nhost = \"01:00.0\"\nvbios = \"gpu.rom\"\n";
    let good = muxless(0x10de, 0x1c8d);
    let mut summed_wrong = good.clone();
    summed_wrong[0x300] ^= 1;
    let mut broken = good.clone();
    broken[24 * 512] = 0;
    let network = ImageBuilder::legacy(0x10de, 0x1c8d, 4).class(0x02_0000).last().build();
    let cases: [(Option<&[u8]>, &str); 9] = [
        (None, "cannot read the video BIOS"),
        (Some(b""), "the file is empty"),
        (Some(&[0; 4096]), "it is blank"),
        (
            Some(b"PK\x03\x04 and so on"),
            "it is a zip archive, not a ROM; look for ROMs in it with `optimus-vmm vbios find`",
        ),
        (Some(&good[..0x7000]), "is truncated: it begins at"),
        (Some(&summed_wrong), "the checksum of image 0 is wrong"),
        (Some(&broken), "the chain is broken: image 1 should begin at 0x3000"),
        (Some(&network), "the class code at"),
        (
            Some(&muxless(0x10de, 0x1c8c)),
            "it is for another device: the vendor and device ID at 0x44 are 10de:1c8c, expected 10de:1c8d",
        ),
    ];
    for (rom, reason) in cases {
        let problems = load(rom, TEXT).unwrap_err();
        let [problem] = problems.iter().as_slice() else { panic!("{problems}") };
        let message = problem.message();
        assert!(message.contains(reason) && message.contains("gpu.rom"), "{reason}: {message}");
        assert_eq!(problem.location().unwrap().line, 7, "{message}");
        if rom.is_some() {
            let help = problem.help().unwrap();
            assert!(help.contains("vbios info") && help.contains("--device 10de:1c8d"), "{help}");
        }
        assert_eq!(Failure::from(problems).status(), status::CONFIG);
    }
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let (folder, plan) = machine(None, "[dgpu]\nvbios = \"gpu.rom\"\n").unwrap();
    let path = folder.path().join("gpu.rom");
    let refused = |path: &Path| {
        let message = Additions::load(&plan).unwrap_err().to_string();
        assert!(message.contains("not a regular file"), "{}: {message}", path.display());
    };
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    refused(&path);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    refused(&path);
}

#[test]
fn places_where_no_device_can_be_are_refused() {
    let cases = [
        ("guest = \"00:1f.0\"", "00:1f.0 is a function of the chipset"),
        ("guest = \"00:00.0\"", "00:00.0 is a function of the chipset"),
        ("guest = \"02:00.0\"", "02:00.0 is on bus 02, above which there is no root port"),
        ("guest = \"01:02.0\"", "01:02.0 has device number 2"),
        ("guest = \"00:1c.0\"\n[[root_port]]\naddress = \"00:1c.0\"", "00:1c.0 is a root port"),
        (
            "[[disk]]\npath = \"a.raw\"\naddress = \"00:01.0\"",
            "01:00.0 is on bus 01, above which there is no root port",
        ),
    ];
    for (text, reason) in cases {
        let text = format!("[dgpu]\nvbios = \"gpu.rom\"\n{text}\n");
        let message = machine(None, &text).map(|_| ()).unwrap_err().to_string();
        assert!(message.contains(reason) && message.contains("help: "), "{reason}: {message}");
    }
}
