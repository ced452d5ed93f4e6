//! dmidecode reads what was written; and values that no table can hold are refused.

use std::process::Command;

use proptest::prelude::*;
use uuid::uuid;

use super::*;

const GIB: u64 = 1 << 30;

/// With nothing on the board.
fn smbios(
    config: &SmbiosConfig,
    processors: &ProcessorInfo,
    memory: &MemoryInfo,
) -> Result<Smbios, SmbiosError> {
    super::smbios(config, processors, memory, &BoardInfo::default())
}

fn processors() -> ProcessorInfo {
    ProcessorInfo {
        sockets: 2,
        cores: 4,
        threads: 2,
        id: 0x0f8b_fbff_0009_06ea,
        manufacturer: "GenuineIntel".into(),
        version: "  Intel(R) Core(TM) i7-8750H CPU @ 2.20GHz ".into(),
        mhz: 2200,
        caches: Vec::new(),
    }
}

fn memory(ranges: &[(u64, u64)]) -> MemoryInfo {
    MemoryInfo { ranges: ranges.to_vec() }
}

/// What dmidecode makes of the tables; fails if it complains.
fn dmidecode(smbios: &Smbios) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dump");
    // A dump is the entry point, padding to 32 bytes, and the tables where the entry point says.
    let mut dump = anchor(smbios.tables.len() as u32, 32).to_vec();
    dump.resize(32, 0);
    dump.extend(&smbios.tables);
    std::fs::write(&path, dump).unwrap();
    let output = ["dmidecode", "/usr/sbin/dmidecode"]
        .iter()
        .find_map(|program| Command::new(program).arg("--from-dump").arg(&path).output().ok())
        .expect("dmidecode is needed for this test");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && stderr.is_empty(), "{stderr}\n{text}");
    for complaint in ["Wrong", "Invalid", "<BAD INDEX>", "<OUT OF SPEC>", "truncated", "BROKEN", "broken"] {
        assert!(!text.contains(complaint), "{complaint}: {text}");
    }
    text
}

fn assert_lines(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|have| have.trim() == *line), "no line {line:?} in:\n{text}");
    }
}

#[test]
fn a_machine_that_is_not_to_be_virtual_does_not_say_so() {
    for not_virtual in [false, true] {
        let config = SmbiosConfig {
            bios: Some(BiosInfo { not_virtual, uefi: true, ..Default::default() }),
            ..Default::default()
        };
        let text = dmidecode(&smbios(&config, &processors(), &memory(&[(0, GIB)])).unwrap());
        assert_eq!(text.contains("System is a virtual machine"), !not_virtual, "{text}");
        assert!(text.contains("UEFI is supported"), "{text}");
    }
}

#[test]
fn dmidecode_reads_every_value() {
    let some = |text: &str| Some(text.to_owned());
    let config = SmbiosConfig {
        bios: Some(BiosInfo {
            vendor: some("American Megatrends"),
            version: some("F.17"),
            date: some("03/26/2019"),
            release: Some((15, 17)),
            uefi: true,
            not_virtual: false,
        }),
        system: SystemInfo {
            manufacturer: "HP".into(),
            product: "Pavilion Gaming".into(),
            version: some("1.2"),
            serial: some("5CD0000000"),
            uuid: uuid!("00112233-4455-6677-8899-aabbccddeeff"),
            sku: some("4PM22EA"),
            family: some("103C_5335KV"),
        },
        baseboard: BaseboardInfo { product: some("84DA"), serial: some("BB1"), ..Default::default() },
        chassis: ChassisInfo { kind: 10, serial: some("CH1"), asset: some("AS1"), ..Default::default() },
    };
    let smbios = smbios(&config, &processors(), &memory(&[(0, 2 * GIB), (4 * GIB, 3 * GIB)])).unwrap();
    let text = dmidecode(&smbios);
    assert_lines(
        &text,
        &[
            "SMBIOS 3.0.0 present.",
            "Vendor: American Megatrends",
            "Release Date: 03/26/2019",
            "BIOS Revision: 15.17",
            "UEFI is supported",
            "Manufacturer: HP",
            "Product Name: Pavilion Gaming",
            "Serial Number: 5CD0000000",
            "UUID: 00112233-4455-6677-8899-aabbccddeeff",
            "SKU Number: 4PM22EA",
            "Family: 103C_5335KV",
            "Product Name: 84DA",
            "Chassis Handle: 0x0300",
            "Type: Notebook",
            "Serial Number: CH1",
            "Asset Tag: AS1",
            "Socket Designation: CPU 1",
            "Version: Intel(R) Core(TM) i7-8750H CPU @ 2.20GHz",
            "ID: EA 06 09 00 FF FB 8B 0F",
            "Core Count: 4",
            "Thread Count: 8",
            "Maximum Capacity: 5 GB",
            "Number Of Devices: 1",
            "Size: 5 GB",
            "Starting Address: 0x00100000000",
            "Ending Address: 0x001BFFFFFFF",
            "Range Size: 3 GB",
            "Status: No errors detected",
            "End Of Table",
        ],
    );
}

#[test]
fn default_machine_has_no_bios_structure() {
    let smbios = smbios(&SmbiosConfig::default(), &processors(), &memory(&[(0, 256 << 20)])).unwrap();
    let text = dmidecode(&smbios);
    assert!(!text.contains("BIOS Information"), "{text}");
    assert_lines(&text, &["Manufacturer: optimus-vmm", "Size: 256 MB", "Type: Other"]);
}

/// The structures that dmidecode shows, each with its handle.
fn structures(text: &str) -> Vec<&str> {
    text.split("\n\n").filter(|part| part.starts_with("Handle ")).collect()
}

#[test]
fn every_socket_has_its_caches() {
    let cache = |level, size, ways| CacheInfo { level, size, ways };
    // Those of an i7-8750H with four cores, an eDRAM behind them, and levels that do not exist.
    let caches = vec![
        cache(1, 256 << 10, 8),
        cache(2, 1 << 20, 4),
        cache(3, 9 << 20, 12),
        cache(4, 128 << 20, 0),
        cache(0, 1, 1),
        cache(9, 1, 1),
    ];
    let processors = ProcessorInfo { caches, ..processors() };
    let text = dmidecode(&smbios(&SmbiosConfig::default(), &processors, &memory(&[(0, GIB)])).unwrap());
    let all = structures(&text);
    for socket in 0..2 {
        let name = format!("Socket Designation: CPU {socket}");
        let processor = all.iter().find(|text| text.contains(&name)).unwrap();
        let referred = |level: u8| {
            let label = format!("L{level} Cache Handle: ");
            let handle = processor.lines().find_map(|line| line.trim().strip_prefix(&label)).unwrap();
            all.iter().find(|text| text.starts_with(&format!("Handle {handle},"))).unwrap()
        };
        for (level, size, ways) in [(1, "256 kB", "8-way"), (2, "1 MB", "4-way"), (3, "9 MB", "12-way")] {
            assert_lines(
                referred(level),
                &[
                    &format!("Socket Designation: L{level} Cache"),
                    &format!("Configuration: Enabled, Not Socketed, Level {level}"),
                    "Operational Mode: Write Back",
                    "Location: Internal",
                    &format!("Installed Size: {size}"),
                    &format!("Maximum Size: {size}"),
                    "Installed SRAM Type: Synchronous",
                    "System Type: Unified",
                    &format!("Associativity: {ways} Set-associative"),
                ],
            );
        }
    }
    let of_level = |level: &str| all.iter().filter(|text| text.contains(level)).count();
    assert_eq!((of_level("DMI type 7,"), of_level("Level 4"), of_level("Fully Associative")), (8, 2, 2));

    let without =
        dmidecode(&smbios(&SmbiosConfig::default(), &self::processors(), &memory(&[(0, GIB)])).unwrap());
    assert_lines(&without, &["L1 Cache Handle: Not Provided", "L3 Cache Handle: Not Provided"]);
}

#[test]
fn connectors_and_slots_are_shown() {
    let slot =
        |number, port, occupied, lanes, generation| SlotInfo { number, port, occupied, lanes, generation };
    let board = BoardInfo {
        connectors: vec![Connector::Serial, Connector::Keyboard, Connector::Mouse],
        slots: vec![slot(1, 0x08, true, 16, 3), slot(2, 0xe1, false, 4, 2), slot(3, 0xff, false, 3, 1)],
        probes: false,
    };
    let smbios =
        super::smbios(&SmbiosConfig::default(), &processors(), &memory(&[(0, GIB)]), &board).unwrap();
    let text = dmidecode(&smbios);
    let all = structures(&text);
    let expected: [&[&str]; 6] = [
        &["External Reference Designator: COM1", "External Connector Type: DB-9 male"],
        &[
            "External Reference Designator: Keyboard",
            "External Connector Type: PS/2",
            "Port Type: Keyboard Port",
        ],
        &["External Reference Designator: Mouse", "External Connector Type: PS/2", "Port Type: Mouse Port"],
        &[
            "Designation: PCIe 1",
            "Type: x16 PCI Express 3 x16",
            "Current Usage: In Use",
            "Bus Address: 0000:00:01.0",
        ],
        &[
            "Designation: PCIe 2",
            "Type: x4 PCI Express 2 x4",
            "Current Usage: Available",
            "Bus Address: 0000:00:1c.1",
        ],
        &["Designation: PCIe 3", "Type: PCI Express", "ID: 3", "Bus Address: 0000:00:1f.7"],
    ];
    let shown = all.iter().filter(|text| text.contains("DMI type 8,") || text.contains("DMI type 9,"));
    assert_eq!(shown.clone().count(), expected.len(), "{text}");
    for (structure, lines) in shown.zip(expected) {
        assert_lines(structure, lines);
    }
    assert_lines(&text, &["Port Type: Serial Port 16550A Compatible"]);
    assert!(!text.contains("Probe"), "{text}");
}

#[test]
fn the_probes_show_the_temperature_of_the_thermal_zone() {
    let board = BoardInfo { probes: true, ..BoardInfo::default() };
    let smbios =
        super::smbios(&SmbiosConfig::default(), &processors(), &memory(&[(0, GIB)]), &board).unwrap();
    let text = dmidecode(&smbios);
    let all = structures(&text);
    let of = |kind: u8| *all.iter().find(|text| text.contains(&format!("DMI type {kind},"))).unwrap();
    assert_lines(of(26), &["Location: Processor", "Status: OK", "Maximum Value: Unknown"]);
    assert_lines(of(28), &["Location: Processor", "Status: OK", "Nominal Value: 50.0 deg C"]);
    let handle = of(28).split_once(',').unwrap().0.replace("Handle", "Temperature Probe Handle:");
    assert_lines(of(27), &[&handle, "Type: Fan", "Status: OK", "Nominal Speed: Unknown Or Non-rotating"]);
}

#[test]
fn large_memory_uses_the_extended_fields() {
    let total = 8 << 40;
    let ranges = [(0, 2 * GIB), (4 * GIB, total - 2 * GIB)];
    let text = dmidecode(&smbios(&SmbiosConfig::default(), &processors(), &memory(&ranges)).unwrap());
    assert_lines(&text, &["Maximum Capacity: 8 TB", "Number Of Devices: 64", "Size: 128 GB"]);
    assert_lines(&text, &["Range Size: 2 GB", "Range Size: 8190 GB"]);
}

#[test]
fn anchor_is_what_ovmf_checks() {
    let smbios = smbios(&SmbiosConfig::default(), &processors(), &memory(&[(0, GIB)])).unwrap();
    assert_eq!(&smbios.anchor[..5], b"_SM3_");
    assert_eq!(smbios.anchor.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
    assert_eq!((smbios.anchor[6], smbios.anchor[7]), (24, 3));
    assert_eq!(smbios.anchor[12..16], (smbios.tables.len() as u32).to_le_bytes());
    assert_eq!(smbios.tables[smbios.tables.len() - 6..], [127, 4, 0x00, 0x7f, 0, 0]);
}

#[test]
fn impossible_values_are_refused() {
    let with = |change: &dyn Fn(&mut SmbiosConfig)| {
        let mut config = SmbiosConfig::default();
        change(&mut config);
        config.validate().unwrap_err().to_string()
    };
    assert!(with(&|c| c.system.product.clear()).contains("system product must not be empty"));
    assert!(with(&|c| c.system.serial = Some("  ".into())).contains("system serial must not be empty"));
    assert!(with(&|c| c.chassis.asset = Some("a\0b".into())).contains("chassis asset contains '\\u{0}'"));
    assert!(with(&|c| c.system.family = Some("ü".into())).contains("printable ASCII"));
    assert!(with(&|c| c.system.sku = Some("x".repeat(256))).contains("256 characters"));
    assert!(with(&|c| c.chassis.kind = 0).contains("type 0 does not exist"));
    assert!(with(&|c| c.chassis.kind = 37).contains("type 37"));
    let dated = |date: &str| BiosInfo { date: Some(date.into()), ..Default::default() };
    assert!(with(&|c| c.bios = Some(dated("2019-03-26"))).contains("MM/DD/YYYY"));

    let config = SmbiosConfig::default();
    for (sockets, cores, threads) in [(0, 1, 1), (1, 0, 1), (1, 1, 0), (257, 1, 1), (1, 256, 256)] {
        let processors = ProcessorInfo { sockets, cores, threads, ..processors() };
        assert_eq!(smbios(&config, &processors, &memory(&[(0, GIB)])), Err(SmbiosError::Processors));
    }
    for ranges in [&[][..], &[(0, 0)], &[(0, 4096)], &[(4096, GIB)], &[(u64::MAX - GIB + 1, 2 * GIB)]] {
        assert!(smbios(&config, &processors(), &memory(ranges)).is_err(), "{ranges:?}");
    }
}

/// Types of the structures, found as OVMF finds them: by header length and the double NUL. No two may have the same handle.
fn walk(mut tables: &[u8]) -> Vec<u8> {
    let (mut kinds, mut handles) = (Vec::new(), std::collections::HashSet::new());
    while !tables.is_empty() {
        kinds.push(tables[0]);
        assert!(handles.insert([tables[2], tables[3]]), "type {}: its handle is taken", tables[0]);
        let strings = &tables[usize::from(tables[1])..];
        let end = strings.windows(2).position(|pair| pair == [0, 0]).unwrap();
        tables = &strings[end + 2..];
    }
    kinds
}

proptest! {
    #[test]
    fn any_accepted_value_leaves_the_structures_walkable(
        texts in proptest::collection::vec(proptest::option::of("\\PC{0,40}"), 6),
        sockets in 0u16..300, cores: u16, threads in 0u16..9, id: u64, version in "\\PC{0,60}|[ \0-\x7f]{0,20}",
        low in 1u64..3000, high in 0u64..(1 << 30),
        levels in proptest::collection::btree_set(0u8..12, 0..9), slots in 0u8..=255, connectors in 0usize..300,
    ) {
        let mut texts = texts.into_iter();
        let mut text = || texts.next().flatten();
        let config = SmbiosConfig {
            system: SystemInfo { version: text(), serial: text(), sku: text(), ..Default::default() },
            baseboard: BaseboardInfo { asset: text(), serial: text(), ..Default::default() },
            chassis: ChassisInfo { asset: text(), ..Default::default() },
            bios: None,
        };
        let caches = levels.iter().map(|level| CacheInfo { level: *level, size: id, ways: cores }).collect();
        let processors = ProcessorInfo { sockets, cores, threads, id, version, caches, ..processors() };
        let slot = |number| SlotInfo { number, port: number, occupied: false, lanes: number, generation: number };
        let board = BoardInfo {
            connectors: vec![Connector::Serial; connectors],
            slots: (0..slots).map(slot).collect(),
            probes: true,
        };
        let mut ranges = vec![(0, low << 20)];
        ranges.extend((high > 0).then_some((4 * GIB, high << 20)));
        if let Ok(smbios) = super::smbios(&config, &processors, &memory(&ranges), &board) {
            let kinds = walk(&smbios.tables);
            prop_assert_eq!(&kinds[..3], &[1, 2, 3]);
            prop_assert_eq!(kinds.iter().filter(|kind| **kind == 4).count(), usize::from(sockets));
            prop_assert_eq!(kinds.iter().filter(|kind| **kind == 19).count(), ranges.len());
            prop_assert_eq!(&kinds[kinds.len() - 2..], &[32, 127]);
        }
    }
}
