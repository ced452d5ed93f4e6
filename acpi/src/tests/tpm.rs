//! The TPM through ACPICA's interpreter, and its table through the compiler's eyes.

use acpi_tables::Aml;
use acpi_tables::aml::{
    Arg, Field, FieldAccessType, FieldEntry, FieldLockRule, FieldUpdateRule, Method, OpRegion, OpRegionSpace,
    Path, Return, Store,
};
use vocabulary::tpm::{CRB, PRESENCE, PRESENCE_CLEAR_MEMORY};

use super::interpreter::{self, buffer, integers, strings};
use super::samples::smallest;
use crate::*;

const PRESENCE_UUID: &str = "(A6 FA DD 3D 1B 36 B4 4E A4 24 8D 10 08 9D 16 53)";
const MEMORY_UUID: &str = "(ED 54 60 37 13 CC 75 46 90 1C 47 56 D7 F2 D4 5D)";

fn dsdt(tpm: Option<Tpm>) -> Vec<u8> {
    let tables = build(&Platform { tpm, ..smallest() }).unwrap().individual();
    tables.into_iter().find(|table| table.signature == *b"DSDT").unwrap().bytes
}

/// What the firmware knows of the memory: (name, byte offset, bytes).
const FIELDS: [(&str, u64, usize); 8] = [
    ("F005", 5, 1),
    ("F00E", 0x0e, 1),
    ("F0FF", 0xff, 1),
    ("RESP", 0x105, 4),
    ("RQST", 0x109, 4),
    ("PARM", 0x10d, 4),
    ("LAST", 0x111, 4),
    ("CLRM", PRESENCE_CLEAR_MEMORY, 1),
];

/// An SSDT of the firmware's side: for each field a method that writes it and one that reads it.
fn firmware() -> Vec<u8> {
    let mut body = Vec::new();
    let (base, length) = (PRESENCE.base(), PRESENCE.len());
    OpRegion::new("\\TEST".into(), OpRegionSpace::SystemMemory, &base, &length).to_aml_bytes(&mut body);
    let mut at = 0;
    let mut entries = Vec::new();
    for (name, offset, bytes) in FIELDS {
        entries.push(FieldEntry::Reserved((offset as usize - at) * 8));
        entries.push(FieldEntry::Named(name.as_bytes().try_into().unwrap(), bytes * 8));
        at = offset as usize + bytes;
    }
    entries.retain(|entry| *entry != FieldEntry::Reserved(0));
    let (lock, update) = (FieldLockRule::NoLock, FieldUpdateRule::Preserve);
    Field::new("\\TEST".into(), FieldAccessType::Byte, lock, update, entries).to_aml_bytes(&mut body);
    for (index, (name, ..)) in FIELDS.iter().enumerate() {
        let field = Path::new(&format!("\\{name}"));
        let [put, get] = ["PU", "GE"].map(|verb| Path::new(&format!("\\{verb}{index:02}")));
        Method::new(put, 1, false, vec![&Store::new(&field, &Arg(0))]).to_aml_bytes(&mut body);
        Method::new(get, 0, false, vec![&Return::new(&field)]).to_aml_bytes(&mut body);
    }
    let mut table = fixed::table(*b"SSDT", 2, OemIds::default(), &body);
    table[9] = 0u8.wrapping_sub(super::simulator::sum(&table));
    table
}

fn index(name: &str) -> usize {
    FIELDS.iter().position(|(field, ..)| *field == name).unwrap()
}

fn put(name: &str, value: u32) -> String {
    format!("\\PU{:02} 0x{value:X}", index(name))
}

fn get(name: &str) -> String {
    format!("\\GE{:02}", index(name))
}

/// `_DSM` with an identifier, a revision, a function and the numbers of its package.
fn dsm(uuid: &str, revision: u8, function: u8, arguments: &[u32]) -> String {
    // The interpreter takes no package without elements.
    let arguments = if arguments.is_empty() { &[0] } else { arguments };
    let numbers: Vec<String> = arguments.iter().map(|number| format!("0x{number:X}")).collect();
    format!("\\_SB.TPM._DSM {uuid} {revision} {function} [{}]", numbers.join(" "))
}

fn evaluate(calls: &[String]) -> Vec<String> {
    interpreter::evaluate(&[dsdt(Some(Tpm { physical_presence: true })), firmware()], calls)
}

fn numbers(answers: &[String]) -> Vec<Vec<u64>> {
    answers.iter().map(|answer| integers(answer)).collect()
}

#[test]
fn the_table_names_the_control_area() {
    let platform = Platform { tpm: Some(Tpm { physical_presence: true }), ..smallest() };
    let tables = build(&platform).unwrap().individual();
    let table = tables.iter().find(|table| table.signature == *b"TPM2").unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tpm2.dat"), &table.bytes).unwrap();
    let (success, output) = super::tools::run("iasl", folder.path(), &["-d", "tpm2.dat"]);
    assert!(success, "{output}");
    let source = std::fs::read_to_string(folder.path().join("tpm2.dsl")).unwrap();
    for line in [
        "Revision : 04",
        "Platform Class : 0000",
        "Control Address : 00000000FED40040",
        "Start Method : 07 [Command Response Buffer]",
        "Minimum Log Length : 00000000",
        "Log Address : 0000000000000000",
    ] {
        assert!(source.contains(line), "{line}: {source}");
    }
    assert!(!build(&smallest()).unwrap().individual().iter().any(|table| table.signature == *b"TPM2"));
}

#[test]
fn the_device_has_its_registers() {
    for physical_presence in [false, true] {
        let table = dsdt(Some(Tpm { physical_presence }));
        let calls = ["_HID", "_UID", "_CRS"].map(|name| format!("\\_SB.TPM.{name}"));
        let answers = interpreter::evaluate(std::slice::from_ref(&table), &calls);
        assert_eq!(strings(&answers[0]), ["MSFT0101"]);
        assert_eq!(integers(&answers[1]), [1]);
        let (base, length) = (CRB.base() as u32, CRB.len() as u32);
        let descriptor = [&[0x86, 9, 0, 1][..], &base.to_le_bytes(), &length.to_le_bytes()].concat();
        assert_eq!(buffer(&answers[2])[..12], descriptor);
        assert_eq!(table.windows(4).any(|bytes| bytes == b"_DSM"), physical_presence);
    }
    assert!(!dsdt(None).windows(8).any(|bytes| bytes == b"MSFT0101"));
}

#[test]
fn what_there_is_can_be_asked() {
    let answers = evaluate(&[
        dsm(PRESENCE_UUID, 1, 0, &[]),
        dsm(PRESENCE_UUID, 1, 1, &[]),
        dsm(PRESENCE_UUID, 1, 4, &[]),
        dsm(PRESENCE_UUID, 1, 6, &[]),
        dsm(PRESENCE_UUID, 1, 9, &[]),
        dsm(MEMORY_UUID, 1, 0, &[]),
        dsm(&PRESENCE_UUID.replace("A6", "A7"), 1, 0, &[]),
    ]);
    assert_eq!(buffer(&answers[0]), [0xFF, 0x01]);
    assert_eq!(strings(&answers[1]), ["1.3"]);
    assert_eq!(integers(&answers[2]), [2], "a restart is needed");
    assert_eq!(integers(&answers[3]), [3], "there is no choice of languages");
    assert_eq!(buffer(&answers[4]), [0], "no such function");
    assert_eq!(buffer(&answers[5]), [0x03]);
    assert_eq!(buffer(&answers[6]), [0], "another interface");
}

#[test]
fn requests_reach_the_firmware_if_it_knows_them() {
    let calls = [
        put("F005", 3),
        put("F00E", 0x82),
        put("F0FF", 4),
        // Whether they need a confirmation: allowed with one, blocked, allowed without, unknown.
        dsm(PRESENCE_UUID, 1, 8, &[5]),
        dsm(PRESENCE_UUID, 1, 8, &[14]),
        dsm(PRESENCE_UUID, 1, 8, &[255]),
        dsm(PRESENCE_UUID, 1, 8, &[6]),
        dsm(PRESENCE_UUID, 1, 8, &[256]),
        dsm(PRESENCE_UUID, 1, 8, &[0xFFFF_FFFF]),
        // Nothing is asked for.
        dsm(PRESENCE_UUID, 1, 2, &[6]),
        dsm(PRESENCE_UUID, 1, 7, &[14]),
        dsm(PRESENCE_UUID, 1, 7, &[0x105]),
        get("RQST"),
        // Operation 255 with a parameter, which only revision 2 has.
        dsm(PRESENCE_UUID, 2, 7, &[255, 0x1234_5678]),
        get("RQST"),
        get("PARM"),
        dsm(PRESENCE_UUID, 2, 3, &[]),
        dsm(PRESENCE_UUID, 1, 3, &[]),
        // Operation 5 takes its place.
        dsm(PRESENCE_UUID, 1, 7, &[5]),
        dsm(PRESENCE_UUID, 2, 3, &[]),
        dsm(PRESENCE_UUID, 1, 2, &[5]),
        get("RQST"),
    ];
    let answers = numbers(&evaluate(&calls)[3..]);
    let expected: [&[u64]; 19] = [
        &[3],
        &[2],
        &[4],
        &[0],
        &[0],
        &[0],
        &[1],
        &[3],
        &[1],
        &[0],
        &[0],
        &[255],
        &[0x1234_5678],
        &[0, 255, 0x1234_5678],
        &[0, 255],
        &[0],
        &[0, 5, 0],
        &[0],
        &[5],
    ];
    for ((answer, expected), call) in answers.iter().zip(expected).zip(&calls[3..]) {
        assert_eq!(answer, expected, "{call}");
    }
}

#[test]
fn the_firmwares_response_is_handed_on() {
    let calls = [put("LAST", 5), put("RESP", 0xFFFF_FFF0), dsm(PRESENCE_UUID, 1, 5, &[]), get("RQST")];
    let answers = numbers(&evaluate(&calls)[2..]);
    assert_eq!(answers, [vec![0, 5, 0xFFFF_FFF0], vec![0]]);
}

#[test]
fn memory_can_be_asked_to_be_cleared() {
    let calls =
        [dsm(MEMORY_UUID, 1, 1, &[1]), get("CLRM"), get("LAST"), dsm(MEMORY_UUID, 1, 1, &[0]), get("CLRM")];
    assert_eq!(numbers(&evaluate(&calls)), [[0], [1], [0], [0], [0]]);
}
