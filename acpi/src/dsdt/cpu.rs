//! CPUs as devices (§8.4): `_UID` joins each to its entry in the MADT.

use acpi_tables::aml::{Device, Name};

use super::uid;
use crate::aml::Terms;
use crate::platform::{Cpu, NameSeg};

pub(super) fn push(terms: &mut Terms, cpus: &[Cpu]) {
    for (number, _) in (0u32..).zip(cpus) {
        let hid = Name::new("_HID".into(), &"ACPI0007");
        terms.push(&Device::new(name(number).path(), vec![&hid, &uid(number)]));
    }
}

/// C000 to CFFF.
fn name(number: u32) -> NameSeg {
    let digit = |shift: u32| {
        let digit = char::from_digit(number >> shift & 0xF, 16).unwrap_or('0');
        digit.to_ascii_uppercase() as u8
    };
    NameSeg::fixed([b'C', digit(8), digit(4), digit(0)])
}
