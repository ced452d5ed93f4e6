//! Battery and adapter through ACPICA's interpreter.

use acpi_tables::Aml;
use acpi_tables::aml::{
    Arg, Field, FieldAccessType, FieldEntry, FieldLockRule, FieldUpdateRule, Method, OpRegion, OpRegionSpace,
    Path, Store,
};
use vocabulary::battery::{EVENT_ADAPTER, EVENT_INFO, EVENT_STATUS, Register};
use vocabulary::ports::BATTERY;

use super::interpreter::{self, integers, strings};
use super::samples::{endpoint, smallest};
use crate::*;

/// The table that guides for laptop passthrough hand around to satisfy drivers of mobile GPUs: an SSDT of 161 bytes,
/// OEM id `BOCHS`, whose one device is a battery below the host bridge, with constants for `_STA`, `_BIF` and `_BST`.
const KNOWN: &[u8] = include_bytes!("data/battery.aml");

fn dsdt(battery: Option<Battery>) -> Vec<u8> {
    let tables = build(&Platform { battery, ..smallest() }).unwrap().individual();
    tables.into_iter().find(|table| table.signature == *b"DSDT").unwrap().bytes
}

fn objects(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("\\_SB.PCI0.{name}")).collect()
}

/// An SSDT with `Method (PUTn, 1)` for each dword of the registers, and `EVN`.
fn writer() -> Vec<u8> {
    let mut body = Vec::new();
    OpRegion::new("\\TEST".into(), OpRegionSpace::SystemIO, &BATTERY.first(), &BATTERY.count())
        .to_aml_bytes(&mut body);
    let name = |index: usize| format!("T{index:03}");
    let fields = (0..Register::ALL.len()).map(|index| {
        let name = name(index).into_bytes();
        FieldEntry::Named(name.try_into().unwrap(), 32)
    });
    let (access, lock) = (FieldAccessType::DWord, FieldLockRule::NoLock);
    Field::new("\\TEST".into(), access, lock, FieldUpdateRule::Preserve, fields.collect())
        .to_aml_bytes(&mut body);
    for index in 0..Register::ALL.len() {
        let field = Path::new(&format!("\\{}", name(index)));
        let put = Path::new(&format!("\\PU{index:02}"));
        Method::new(put, 1, false, vec![&Store::new(&field, &Arg(0))]).to_aml_bytes(&mut body);
    }
    let mut table = fixed::table(*b"SSDT", 2, OemIds::default(), &body);
    table[9] = 0u8.wrapping_sub(super::simulator::sum(&table));
    table
}

/// Puts values into the registers, by name, and evaluates the calls.
fn mirrored(values: &[(&[u8; 4], u32)], calls: Vec<String>) -> Vec<String> {
    let put = values.iter().map(|(name, value)| {
        let index = Register::ALL.iter().position(|register| register.name() == **name).unwrap();
        format!("\\PU{index:02} 0x{value:X}")
    });
    let all: Vec<String> = put.chain(calls).collect();
    let answers = interpreter::evaluate(&[dsdt(Some(Battery::Mirror)), writer()], &all);
    answers[values.len()..].to_vec()
}

#[test]
fn the_full_battery_is_the_known_one() {
    assert_eq!(check_table(KNOWN), Ok(()));
    let calls = objects(&["BAT0._HID", "BAT0._UID", "BAT0._STA", "BAT0._BIF", "BAT0._BST"]);
    let known = interpreter::evaluate(&[dsdt(None), KNOWN.to_vec()], &calls);
    let ours = interpreter::evaluate(&[dsdt(Some(Battery::Full))], &calls);
    for ((known, ours), call) in known.iter().zip(&ours).zip(&calls) {
        assert!(!integers(known).is_empty(), "{known}");
        assert_eq!(integers(ours), integers(known), "{call}");
        assert_eq!(strings(ours), strings(known), "{call}");
    }
    // The id is that of the specification, as well as that of the other table.
    assert_eq!(integers(&ours[0]), [0x0A0C_D041]);
    assert_eq!(integers(&ours[3]), [1, 6000, 6000, 1, 14_800, 600, 300, 60, 60]);
    assert_eq!(strings(&ours[3]), ["", "", "LION", ""]);
}

#[test]
fn the_extended_information_agrees() {
    for battery in [Battery::Full, Battery::Mirror] {
        let calls = objects(&["BAT0._BIF", "BAT0._BIX"]);
        let values = |bytes: &[u8; 4]| bytes.iter().fold(1, |value: u32, byte| value * 7 + u32::from(*byte));
        let (bif, bix) = match battery {
            Battery::Full => {
                let answers = interpreter::evaluate(&[dsdt(Some(battery))], &calls);
                (answers[0].clone(), answers[1].clone())
            }
            Battery::Mirror => {
                let names = Register::ALL.map(Register::name);
                let all: Vec<(&[u8; 4], u32)> = names.iter().map(|name| (name, values(name))).collect();
                let answers = mirrored(&all, calls);
                (answers[0].clone(), answers[1].clone())
            }
        };
        let (short, long) = (integers(&bif), integers(&bix));
        assert_eq!(long[0], 1, "revision");
        assert_eq!(long[1..8], short[0..7], "unit, capacities, technology, voltage, warning, low");
        assert_eq!(long[4], 1, "rechargeable");
        assert_eq!(long[14..16], short[7..9], "granularities");
        assert_eq!(long.len(), 17);
        assert_eq!(long[16], 0, "not swappable");
        assert_eq!(strings(&bif), strings(&bix));
    }
}

#[test]
fn the_adapter_of_a_full_battery_is_plugged_in() {
    let calls = objects(&["ADP1._HID", "ADP1._PSR"]);
    let answers = interpreter::evaluate(&[dsdt(Some(Battery::Full))], &calls);
    assert_eq!(strings(&answers[0]), ["ACPI0003"]);
    assert_eq!(integers(&answers[1]), [1]);
    let powers = objects(&["ADP1._PCL", "BAT0._PCL"]);
    for answer in interpreter::evaluate(&[dsdt(Some(Battery::Full))], &powers) {
        assert!(answer.contains("_SB_"), "{answer}");
    }
}

#[test]
fn the_registers_reach_the_methods() {
    let values: [(&[u8; 4], u32); 13] = [
        (b"FLAG", 0b11),
        (b"UNIT", 0),
        (b"STAT", 1),
        (b"RATE", 12_345),
        (b"REMN", 33_000),
        (b"VOLT", 11_400),
        (b"DSGN", 57_000),
        (b"LAST", 50_000),
        (b"DVOL", 11_550),
        (b"WARN", 5700),
        (b"LOWC", 2850),
        (b"GRAN", 570),
        (b"CYCL", 321),
    ];
    let names = ["BAT0._BST", "BAT0._BIF", "BAT0._BIX", "BAT0._STA", "ADP1._PSR"];
    let answers = mirrored(&values, objects(&names));
    assert_eq!(integers(&answers[0]), [1, 12_345, 33_000, 11_400]);
    assert_eq!(integers(&answers[1]), [0, 57_000, 50_000, 1, 11_550, 5700, 2850, 570, 570]);
    assert_eq!(strings(&answers[1]), ["", "", "LION", ""]);
    assert_eq!(integers(&answers[2])[8], 321);
    assert_eq!((integers(&answers[3]), integers(&answers[4])), (vec![0x1F], vec![1]));

    for (flags, battery, adapter) in [(0, 0x0F, 0), (1, 0x1F, 0), (2, 0x0F, 1)] {
        let answers = mirrored(&[(b"FLAG", flags)], objects(&names[3..]));
        assert_eq!((integers(&answers[0]), integers(&answers[1])), (vec![battery], vec![adapter]), "{flags}");
    }
}

#[test]
fn events_become_notifications() {
    for (events, expected) in [
        (0, vec![]),
        (EVENT_INFO, vec![("BAT0", "0x81")]),
        (EVENT_STATUS, vec![("BAT0", "0x80")]),
        (EVENT_ADAPTER, vec![("ADP1", "0x80")]),
        (
            EVENT_INFO | EVENT_STATUS | EVENT_ADAPTER,
            vec![("BAT0", "0x81"), ("BAT0", "0x80"), ("ADP1", "0x80")],
        ),
    ] {
        let answers = mirrored(&[(b"EVNT", events)], vec!["\\_GPE._E10".to_owned()]);
        let lines: Vec<&str> = answers[0].lines().filter(|line| line.contains("Received a")).collect();
        assert_eq!(lines.len(), expected.len(), "{answers:?}");
        for (device, value) in expected {
            let found = lines.iter().any(|line| line.contains(device) && line.contains(value));
            assert!(found, "{device} {value}: {lines:?}");
        }
    }
}

#[test]
fn without_a_battery_there_is_none() {
    for name in [b"BAT0", b"ADP1", b"_E10"] {
        assert!(!dsdt(None).windows(4).any(|bytes| bytes == name));
    }
}

#[test]
fn only_the_mirrored_battery_takes_ports() {
    for (battery, expected) in [(None, false), (Some(Battery::Full), false), (Some(Battery::Mirror), true)] {
        let calls = objects(&["LPCB.MBRD._CRS"]);
        let bytes = interpreter::buffer(&interpreter::evaluate(&[dsdt(battery)], &calls)[0]);
        let descriptor = [0x47, 1, 0x00, 0x0B, 0x00, 0x0B, 1, BATTERY.count()];
        assert_eq!(bytes.windows(8).any(|bytes| bytes == descriptor), expected, "{battery:?}");
    }
}

#[test]
fn functions_cannot_have_the_names() {
    for name in ["BAT0", "ADP1"] {
        let pci = PciRoot { functions: vec![endpoint(2, 0, name)], ..PciRoot::default() };
        let error = build(&Platform { pci, ..smallest() }).unwrap_err();
        assert!(matches!(error, Error::NameTaken { .. }));
    }
}
