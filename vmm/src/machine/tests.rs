//! ACPI tables of whole machines, from their configuration.

mod limits;
mod vbios;

use std::fs;
use std::path::Path;

use vocabulary::{AddressRange, CpuVendor};

use super::dump;
use crate::config;
use crate::host::HostFacts;
use crate::machine::assembly::acpi::{CpuFacts, Firmware, platform};
use crate::machine::files::additions::Additions;
use crate::plan::{MachinePlan, plan};

const CPU: CpuFacts = CpuFacts { physical_bits: 40, vendor: CpuVendor::Amd, gib_pages: true };

/// The plan of this configuration, of which four lines are written already.
pub(super) fn machine(text: &str) -> MachinePlan {
    let text = format!("[firmware]\ncode = \"c.fd\"\nvars = \"v.fd\"\nvars_template = \"t.fd\"\n{text}");
    let config = config::parse(&text, Path::new("/vm/test.toml")).unwrap();
    plan(config, &HostFacts::default()).unwrap()
}

fn range(base: u64, len: u64) -> AddressRange {
    AddressRange::new(base, len).unwrap()
}

#[test]
fn tables_fit_what_was_announced_wherever_the_firmware_puts_things() {
    let plan = machine(
        "[[root_port]]\naddress = \"00:01.0\"\n[[root_port]]\naddress = \"00:1c.0\"\n\
         [[disk]]\npath = \"a.raw\"\naddress = \"01:00.0\"\n[cpu]\ntopology = { sockets = 2, cores = 3, threads = 2 }\n",
    );
    let announced =
        ::acpi::build(&platform(&plan, CPU, &Firmware::default(), &Additions::default()).unwrap())
            .unwrap()
            .sizes();
    for ecam in [0xb000_0000, 0xe000_0000] {
        let firmware = Firmware {
            ecam: Some(range(ecam, 256 << 20)),
            claimed: vec![range(0xe0_0000_0000, 1 << 30), range(0x8000_0000, 1 << 20)],
            last_bus: 1,
        };
        let tables = ::acpi::build(&platform(&plan, CPU, &firmware, &Additions::default()).unwrap()).unwrap();
        let tables = tables.fit(announced).unwrap();
        let mcfg = tables.individual().into_iter().find(|table| &table.signature == b"MCFG").unwrap();
        assert_eq!(mcfg.bytes[44..52], ecam.to_le_bytes());
        assert_eq!(mcfg.bytes[54..56], [0, 15]);
    }
}

#[test]
fn the_tables_offer_the_buses_that_there_are() {
    let buses = |toml: &str, last_bus| {
        let plan = machine(toml);
        let firmware = Firmware { last_bus, ..Firmware::default() };
        platform(&plan, CPU, &firmware, &Additions::default()).unwrap().pci.buses
    };
    for (last_bus, offered) in [(0, 16), (15, 16), (16, 32), (100, 128), (128, 256), (255, 256)] {
        assert_eq!(buses("", last_bus), Some(offered), "{last_bus}");
    }
    // 17 root ports, which the firmware has not numbered yet.
    let ports: String =
        (3..20).map(|device| format!("[[root_port]]\naddress = \"00:{device:02x}.0\"\n")).collect();
    assert_eq!(buses(&ports, 0), Some(32));
}

#[test]
fn the_high_window_holds_what_the_firmware_placed_and_no_ram() {
    let plan = machine("[machine]\nmemory = \"5G\"\n");
    let placed = range(0x38_0000_0000, 1 << 32);
    let firmware = Firmware { claimed: vec![placed, range(0x8000_0000, 1 << 20)], ..Firmware::default() };
    let platform = platform(&plan, CPU, &firmware, &Additions::default()).unwrap();
    let [window] = platform.pci.mmio64[..] else { panic!("{:?}", platform.pci.mmio64) };
    assert!(window.covers(placed));
    assert!(window.base() >= plan.memory.end());
    assert!(window.last() < 1 << CPU.physical_bits);
}

#[test]
fn a_laptop_chassis_makes_a_mobile_machine() {
    for (chassis, profile) in
        [("notebook", ::acpi::PmProfile::Mobile), ("desktop", ::acpi::PmProfile::Desktop)]
    {
        let plan = machine(&format!("[smbios]\nchassis_type = \"{chassis}\"\n"));
        let platform = platform(&plan, CPU, &Firmware::default(), &Additions::default()).unwrap();
        assert_eq!(platform.pm_profile, profile, "{chassis}");
        assert_eq!(platform.thermal_zone, profile == ::acpi::PmProfile::Mobile, "{chassis}");
    }
}

#[test]
fn a_laptops_gpu_has_the_names_that_its_driver_looks_for() {
    let plan = machine("[dgpu]\nhost = \"01:00.0\"\n[[vfio]]\nhost = \"03:00.0\"\nguest = \"01:00.1\"\n");
    let platform = platform(&plan, CPU, &Firmware::default(), &Additions::default()).unwrap();
    assert_eq!(platform.pm_profile, ::acpi::PmProfile::Mobile);
    let port = platform.pci.functions.iter().find(|function| function.device == 1).unwrap();
    let ::acpi::FunctionKind::Bridge { children } = &port.kind else { panic!("{port:?}") };
    let names: Vec<_> = children.iter().map(|child| (child.function, child.name.to_string())).collect();
    assert_eq!(port.name.to_string(), "PEG0");
    assert_eq!(names, [(0, "PEGP".into()), (1, "PXS1".into())]);
    ::acpi::build(&platform).unwrap();
}

#[test]
fn a_battery_makes_a_mobile_machine() {
    for (mode, battery) in [("full", ::acpi::Battery::Full), ("mirror", ::acpi::Battery::Mirror)] {
        let plan = machine(&format!("[battery]\nmode = \"{mode}\"\n"));
        let platform = platform(&plan, CPU, &Firmware::default(), &Additions::default()).unwrap();
        assert_eq!(platform.battery, Some(battery));
        assert_eq!(platform.pm_profile, ::acpi::PmProfile::Mobile);
    }
    let plan = machine("");
    assert_eq!(platform(&plan, CPU, &Firmware::default(), &Additions::default()).unwrap().battery, None);
}

/// `Name (\USER, One)` in an SSDT.
const SSDT: &[u8] = b"SSDT\x2b\0\0\0\x02\x1dUSERIDUSERTABL\x01\0\0\0INTL\x25\x09\x20\x20\x08\\USER\x01";

fn with_files(files: &[(&str, &[u8])]) -> (tempfile::TempDir, MachinePlan) {
    let folder = tempfile::tempdir().unwrap();
    let mut text = String::new();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        text.push_str(&format!("[[acpi.table]]\nfile = \"{}\"\n", path.display()));
    }
    let plan = machine(&text);
    (folder, plan)
}

#[test]
fn users_tables_are_added() {
    let (_folder, plan) = with_files(&[("a.aml", SSDT), ("b.aml", SSDT)]);
    let additions = Additions::load(&plan).unwrap();
    let platform = platform(&plan, CPU, &Firmware::default(), &additions).unwrap();
    let added = ::acpi::build(&platform).unwrap().individual();
    assert_eq!(added.iter().filter(|table| table.bytes == SSDT).count(), 2);
}

#[test]
fn all_wrong_tables_are_told_with_file_and_field() {
    let mut changed = SSDT.to_vec();
    changed[42] = 0;
    let long = [SSDT, b"\0"].concat();
    let huge = vec![b'S'; (1 << 20) + 2];
    let files = [
        ("good.aml", SSDT),
        ("changed.aml", &changed),
        ("long.aml", &long),
        ("text.dsl", b"DefinitionBlock (\"\", \"SSDT\", 2, \"A\", \"B\", 1) { }"),
        ("empty.aml", b""),
        ("huge.aml", &huge),
        ("gone.aml", SSDT),
    ];
    let (folder, plan) = with_files(&files);
    fs::remove_file(folder.path().join("gone.aml")).unwrap();
    let problems = Additions::load(&plan).unwrap_err();
    let messages: Vec<&str> = problems.iter().map(crate::finding::Finding::message).collect();
    let expected = [
        ("changed.aml", "is not added: Checksum at offset 0x9: found 0x1d, expected 0x1e"),
        ("long.aml", "Length at offset 0x4: found 43, expected 44"),
        ("text.dsl", "Signature at offset 0x0: found \"Defi\""),
        ("empty.aml", "ends at offset 0x0"),
        ("huge.aml", "may have at most 1048576"),
        ("gone.aml", "cannot read the ACPI table"),
    ];
    assert_eq!(messages.len(), expected.len(), "{messages:?}");
    for ((file, reason), message) in expected.into_iter().zip(messages) {
        assert!(message.contains(file) && message.contains(reason), "{message}");
    }
    assert!(problems.iter().all(|problem| problem.location().is_some()));
}

/// A kernel that starts without firmware has 31 MiB for tables, of which the machine's own have less than one.
#[test]
fn tables_that_no_room_is_left_for_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = SSDT.to_vec();
    table.resize(::acpi::MAX_USER_TABLE, 0);
    table[4..8].copy_from_slice(&(::acpi::MAX_USER_TABLE as u32).to_le_bytes());
    let sum = table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    table[9] = table[9].wrapping_sub(sum);
    for number in 0..31 {
        fs::write(folder.path().join(format!("{number}.aml")), &table).unwrap();
    }
    let refused = |boot: &str, count: usize| {
        let kernel = format!("[kernel]\nimage = \"vmlinuz\"\nboot = \"{boot}\"\n");
        let tables = (0..count).map(|number| format!("[[acpi.table]]\nfile = \"{number}.aml\"\n"));
        let text = kernel + &tables.collect::<String>();
        let config = config::parse(&text, &folder.path().join("test.toml")).unwrap();
        let plan = plan(config, &HostFacts::default()).unwrap();
        let problems = super::refused_files(&plan);
        let found = problems.iter().find(|problem| problem.message().contains("the ACPI tables have"));
        found.map(|problem| problem.to_string())
    };
    assert_eq!(refused("direct", 30), None);
    assert_eq!(refused("firmware", 31), None);
    let message = refused("direct", 31).unwrap();
    for part in [
        "have 31872 KiB",
        "room for 31744 KiB",
        "test.toml:3",
        "boot = \"direct\"",
        "have the firmware start",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn tables_are_dumped_with_their_sources() {
    let (folder, plan) = with_files(&[("a.aml", SSDT), ("b.aml", SSDT)]);
    let output = folder.path().join("deep/tables");
    let files = dump(&plan, &output, true).unwrap();
    let names: Vec<String> =
        files.iter().map(|file| file.file_name().unwrap().to_string_lossy().into_owned()).collect();
    let tables = ["facs", "dsdt", "facp", "apic", "mcfg", "waet", "ssdt1", "ssdt2"];
    let expected: Vec<String> =
        ["dat", "dsl"].iter().flat_map(|kind| tables.map(|table| format!("{table}.{kind}"))).collect();
    assert_eq!(names, expected);
    assert_eq!(fs::read(output.join("ssdt2.dat")).unwrap(), SSDT);
    let mcfg = fs::read(output.join("mcfg.dat")).unwrap();
    assert_eq!(mcfg[44..52], 0xe000_0000u64.to_le_bytes());
    let source = fs::read_to_string(output.join("dsdt.dsl")).unwrap();
    assert!(source.contains("Device (PCI0)"), "{source}");

    let nowhere = folder.path().join("a.aml/tables");
    let error = dump(&plan, &nowhere, false).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot write {}", nowhere.display())), "{error}");
}
