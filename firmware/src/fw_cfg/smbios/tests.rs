//! dmidecode reads what was written; and values that no table can hold are refused.

use std::process::Command;

use proptest::prelude::*;
use uuid::uuid;

use super::*;

const GIB: u64 = 1 << 30;

fn processors() -> ProcessorInfo {
    ProcessorInfo {
        sockets: 2,
        cores: 4,
        threads: 2,
        id: 0x0f8b_fbff_0009_06ea,
        manufacturer: "GenuineIntel".into(),
        version: "  Intel(R) Core(TM) i7-8750H CPU @ 2.20GHz ".into(),
        mhz: 2200,
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

/// Types of the structures, found as OVMF finds them: by header length and the double NUL.
fn walk(mut tables: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while !tables.is_empty() {
        kinds.push(tables[0]);
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
    ) {
        let mut texts = texts.into_iter();
        let mut text = || texts.next().flatten();
        let config = SmbiosConfig {
            system: SystemInfo { version: text(), serial: text(), sku: text(), ..Default::default() },
            baseboard: BaseboardInfo { asset: text(), serial: text(), ..Default::default() },
            chassis: ChassisInfo { asset: text(), ..Default::default() },
            bios: None,
        };
        let processors = ProcessorInfo { sockets, cores, threads, id, version, ..processors() };
        let mut ranges = vec![(0, low << 20)];
        ranges.extend((high > 0).then_some((4 * GIB, high << 20)));
        if let Ok(smbios) = smbios(&config, &processors, &memory(&ranges)) {
            let kinds = walk(&smbios.tables);
            prop_assert_eq!(&kinds[..3], &[1, 2, 3]);
            prop_assert_eq!(kinds.iter().filter(|kind| **kind == 4).count(), usize::from(sockets));
            prop_assert_eq!(kinds.iter().filter(|kind| **kind == 19).count(), ranges.len());
            prop_assert_eq!(&kinds[kinds.len() - 2..], &[32, 127]);
        }
    }
}
