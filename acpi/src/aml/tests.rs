//! Encodings of our own terms, against the grammar of ACPI 6.5 chapter 20 and section 6.4.

use acpi_tables::Aml;
use vocabulary::AddressRange;

use super::*;

fn encode(term: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    term.to_aml_bytes(&mut bytes);
    bytes
}

#[test]
fn external_names_type_and_arguments() {
    let term = External::new("\\VBOR".into(), ObjectKind::OpRegion, 0);
    assert_eq!(encode(&term), b"\x15\\VBOR\x0A\x00");
    let term = External::new("MTHD".into(), ObjectKind::Method, 9);
    assert_eq!(encode(&term), b"\x15MTHD\x08\x07");
}

#[test]
fn cond_ref_of_has_no_target() {
    assert_eq!(encode(&CondRefOf("\\_OSI".into())), b"\x5B\x12\\_OSI\x00");
}

#[test]
fn thermal_zone_has_an_opcode_of_two_bytes() {
    let content = Terms::from(b"\x08_CRT\x01".to_vec());
    assert_eq!(encode(&ThermalZone::new("TZ00".into(), &content)), b"\x5B\x85\x0BTZ00\x08_CRT\x01");
}

#[test]
fn isa_interrupt_is_a_mask() {
    assert_eq!(encode(&IrqNoFlags(1)), [0x22, 0x02, 0x00]);
    assert_eq!(encode(&IrqNoFlags(12)), [0x22, 0x00, 0x10]);
    assert_eq!(encode(&IrqNoFlags(16)), [0x22, 0x00, 0x00]);
}

#[test]
fn interrupts_are_level_high_shared() {
    assert_eq!(encode(&Interrupts(&[5, 10])), [0x89, 10, 0, 0b1001, 2, 5, 0, 0, 0, 10, 0, 0, 0]);
    assert_eq!(encode(&Interrupts(&[7; 300])).len(), 5 + 4 * 255);
}

#[test]
fn memory_range_takes_the_short_form_below_4_gib() {
    let low = MemoryRange(AddressRange::inclusive(0xE000_0000, 0xEFFF_FFFF).unwrap());
    assert_eq!(encode(&low), [0x86, 9, 0, 1, 0, 0, 0, 0xE0, 0, 0, 0, 0x10]);
    let high = encode(&MemoryRange(AddressRange::inclusive(1 << 36, (1 << 36) + 0xFFF_FFFF).unwrap()));
    assert_eq!(high.len(), 46);
    assert_eq!(high[..6], [0x8A, 43, 0, 0, 0b1101, 1]);
    assert_eq!(high[14..22], (1u64 << 36).to_le_bytes());
    assert_eq!(high[38..46], 0x1000_0000u64.to_le_bytes());
    let all = encode(&MemoryRange(AddressRange::inclusive(0, u64::MAX).unwrap()));
    assert_eq!(all.len(), 46, "an impossible range must not panic");
}
