//! What more there is to know of a disc: READ DISC INFORMATION (MMC-6, 6.22), READ TRACK INFORMATION (6.27), READ DISC
//! STRUCTURE (6.23) and READ BUFFER CAPACITY (6.16).

use super::sense::Sense;
use super::{BLOCK, Medium, is_dvd, u8_at, u32_at};

/// A finished session, on a finished disc.
const COMPLETE: u8 = 0x0e;
/// A data track, recorded without interruption.
const DATA_TRACK: u8 = 0x04;
/// Mode 1.
const MODE_1: u8 = 0x01;

/// READ DISC INFORMATION: one session with one track, and nothing can be added.
pub(super) fn disc(medium: &dyn Medium, packet: &[u8]) -> Result<Vec<u8>, Sense> {
    // Track and drive resources are about writing.
    if u8_at(packet, 1) & 7 != 0 {
        return Err(Sense::INVALID_FIELD);
    }
    // First track, sessions, first and last track of the last session; unrestricted use; a CD-ROM or DVD-ROM.
    let mut data = vec![0, 32, COMPLETE, 1, 1, 1, 1, 0x20, 0x00];
    data.resize(16, 0);
    // Nothing can be recorded behind the last session.
    data.extend(if is_dvd(medium.blocks()) { [0; 8] } else { [0xff; 8] });
    data.resize(34, 0);
    Ok(data)
}

/// READ TRACK INFORMATION.
pub(super) fn track(medium: &dyn Medium, packet: &[u8]) -> Result<Vec<u8>, Sense> {
    let (kind, number) = (u8_at(packet, 1) & 3, u32_at(packet, 2));
    let there = match kind {
        // By a block of it, by its number, by its session's.
        0 => number < medium.blocks(),
        1 | 2 => number == 1,
        _ => false,
    };
    if !there {
        return Err(Sense::INVALID_FIELD);
    }
    let mut data = vec![0, 34, 1, 1, 0, DATA_TRACK, MODE_1, 0];
    // Where it begins, where the next block could be written, free blocks, packet size.
    data.extend([0; 16]);
    data.extend(medium.blocks().to_be_bytes());
    // The last block that was recorded is not told; upper halves of track and session numbers.
    data.resize(36, 0);
    Ok(data)
}

/// READ DISC STRUCTURE: the formats that a DVD-ROM has, and the list of them.
pub(super) fn structure(medium: &dyn Medium, packet: &[u8]) -> Result<Vec<u8>, Sense> {
    const PHYSICAL: u8 = 0x00;
    const COPYRIGHT: u8 = 0x01;
    const MANUFACTURER: u8 = 0x04;
    const LIST: u8 = 0xff;
    // Blocks before the data of a DVD (ECMA-267, 16).
    const DATA_START: u32 = 0x03_0000;
    let (media, layer, format) = (u8_at(packet, 1) & 0xf, u8_at(packet, 6), u8_at(packet, 7));
    if media != 0 {
        return Err(Sense::INVALID_FIELD);
    }
    let physical_len = 17u16 + 2;
    let body = match format {
        LIST => {
            // Each with its length; all can be read and none written.
            [(PHYSICAL, physical_len + 2), (COPYRIGHT, 8), (MANUFACTURER, 2048 + 4)]
                .into_iter()
                .flat_map(|(format, len)| {
                    let [high, low] = u16::to_be_bytes(len);
                    [format, 0x40, high, low]
                })
                .collect()
        }
        _ if !is_dvd(medium.blocks()) => return Err(Sense::INCOMPATIBLE_MEDIUM),
        _ if layer != 0 => return Err(Sense::INVALID_FIELD),
        PHYSICAL => {
            let end = DATA_START.saturating_add(medium.blocks()).saturating_sub(1);
            // DVD-ROM, part version 1; 120 mm, unknown rate; one layer, embossed; densities of a DVD-5.
            let mut body = vec![0x01, 0x0f, 0x01, 0x00];
            for address in [DATA_START, end, 0] {
                // 24 bits each.
                let [_, rest @ ..] = address.min(0xff_ffff).to_be_bytes();
                body.push(0);
                body.extend(rest);
            }
            body.resize(usize::from(physical_len), 0);
            body
        }
        // No protection, no regions.
        COPYRIGHT => vec![0; 4],
        MANUFACTURER => vec![0; BLOCK],
        _ => return Err(Sense::INVALID_FIELD),
    };
    let length = u16::try_from(body.len() + 2).unwrap_or(u16::MAX);
    Ok(length.to_be_bytes().into_iter().chain([0, 0]).chain(body).collect())
}

/// READ BUFFER CAPACITY: there is no buffer to write to.
pub(super) fn buffer(packet: &[u8]) -> Result<Vec<u8>, Sense> {
    if u8_at(packet, 1) & 1 != 0 {
        return Err(Sense::INVALID_FIELD);
    }
    Ok(vec![0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
}
