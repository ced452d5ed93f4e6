//! READ TOC/PMA/ATIP (MMC-6, 6.26): discs have one session with one data track.

use super::sense::Sense;
use super::{Medium, u8_at};

/// ADR 1, a data track that may not be copied.
const CONTROL: u8 = 0x14;
/// The track number of the lead-out.
const LEAD_OUT: u8 = 0xaa;
/// Blocks before the first one: two seconds.
const PREGAP: u32 = 150;
/// Blocks of a second, and of a minute.
const SECOND: u32 = 75;
const MINUTE: u32 = 60 * SECOND;

/// Minute, second and block of an address. A disc that is longer than 255 minutes is shown as one of 255.
pub(super) fn minutes(block: u32) -> [u8; 3] {
    let at = block.saturating_add(PREGAP);
    let minute = u8::try_from(at / MINUTE).unwrap_or(u8::MAX);
    [minute, (at / SECOND % 60) as u8, (at % SECOND) as u8]
}

/// An address in the form that the guest wants.
fn address(block: u32, as_minutes: bool) -> [u8; 4] {
    match as_minutes {
        true => {
            let [minute, second, frame] = minutes(block);
            [0, minute, second, frame]
        }
        false => block.to_be_bytes(),
    }
}

/// The answer to READ TOC.
pub(super) fn answer(medium: &dyn Medium, packet: &[u8]) -> Result<Vec<u8>, Sense> {
    let as_minutes = u8_at(packet, 1) & 2 != 0;
    // The format is where MMC has it, or, in the two bits of ATAPI's first drivers, in the last byte.
    let format = match u8_at(packet, 2) & 0xf {
        0 => u8_at(packet, 9) >> 6,
        format => format,
    };
    let first = u8_at(packet, 6);
    let mut body: Vec<u8> = vec![1, 1];
    match format {
        0 => {
            if first > 1 && first != LEAD_OUT {
                return Err(Sense::INVALID_FIELD);
            }
            let mut track = |number: u8, block: u32| {
                body.extend([0, CONTROL, number, 0]);
                body.extend(address(block, as_minutes));
            };
            if first <= 1 {
                track(1, 0);
            }
            track(LEAD_OUT, medium.blocks());
        }
        1 => {
            body.extend([0, CONTROL, 1, 0]);
            body.extend(address(0, as_minutes));
        }
        2 => {
            // The lead-in's entries: first track, last track, lead-out, and the track itself.
            let mut entry = |point: u8, [minute, second, frame]: [u8; 3]| {
                body.extend([1, CONTROL, 0, point, 0, 0, 0, 0, minute, second, frame]);
            };
            entry(0xa0, [1, 0, 0]);
            entry(0xa1, [1, 0, 0]);
            entry(0xa2, minutes(medium.blocks()));
            entry(1, minutes(0));
        }
        _ => return Err(Sense::INVALID_FIELD),
    }
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    Ok(length.to_be_bytes().into_iter().chain(body).collect())
}
