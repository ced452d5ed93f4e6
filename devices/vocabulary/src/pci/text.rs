//! Addresses of PCI functions as `lspci` writes them, taken apart: `00:04.0`, `0000:01:00.0`.
//!
//! PCI Express base specification 6.0 §2.2.4.2: 8 bits of bus, 5 of device, 3 of function.

use super::Devfn;
use crate::printable::shorten;

/// Why a text is not a PCI address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParsePciAddressError(String);

/// An address in pieces, and how to speak about it.
pub(super) struct Parts<'a> {
    pub(super) segment: Option<u16>,
    pub(super) bus: u8,
    pub(super) devfn: Devfn,
    text: &'a str,
    form: &'a str,
    example: &'a str,
}

impl Parts<'_> {
    pub(super) fn bad(&self, why: &str) -> ParsePciAddressError {
        bad(self.text, self.form, self.example, why)
    }
}

fn bad(text: &str, form: &str, example: &str, why: &str) -> ParsePciAddressError {
    ParsePciAddressError(format!(
        "\"{}\" is not a PCI address: {why} (write {form} in hexadecimal, as in \"{example}\")",
        shorten(text)
    ))
}

pub(super) fn parse<'a>(
    text: &'a str,
    form: &'a str,
    example: &'a str,
) -> Result<Parts<'a>, ParsePciAddressError> {
    let bad = |why: &str| bad(text, form, example, why);
    let (slot, function) =
        text.split_once('.').ok_or_else(|| bad("the function after the `.` is missing"))?;
    let mut parts = slot.rsplit(':');
    let device = parts.next().unwrap_or_default();
    let bus = parts.next().ok_or_else(|| bad("the bus before the `:` is missing"))?;
    let segment = parts.next();
    if parts.next().is_some() {
        return Err(bad("there are too many `:`"));
    }
    let number = |digits: &str, longest: usize| {
        (1..=longest)
            .contains(&digits.len())
            .then_some(digits)
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|digits| u16::from_str_radix(digits, 16).ok())
    };
    let segment = segment
        .map(|segment| number(segment, 4).ok_or_else(|| bad("the segment is not between 0000 and ffff")))
        .transpose()?;
    let bus = number(bus, 2)
        .and_then(|bus| u8::try_from(bus).ok())
        .ok_or_else(|| bad("the bus is not between 00 and ff"))?;
    let device = number(device, 2)
        .and_then(|device| u8::try_from(device).ok())
        .filter(|device| *device < 32)
        .ok_or_else(|| bad("the device is not between 00 and 1f"))?;
    let function = number(function, 1)
        .and_then(|function| u8::try_from(function).ok())
        .filter(|function| *function < 8)
        .ok_or_else(|| bad("the function is not between 0 and 7"))?;
    Ok(Parts { segment, bus, devfn: Devfn::from_byte(device << 3 | function), text, form, example })
}
