//! Mode pages (MMC-6, 7; SPC-4, 7.5). None can be changed.

use super::drive::State;
use super::sense::Sense;
use super::u8_at;

/// Read error recovery: retry as often as it takes.
const ERROR_RECOVERY: [u8; 12] = [0x01, 0x0a, 0x00, 0x05, 0, 0, 0, 0, 0, 0, 0, 0];
/// CD audio control: stops at the end of the track; both channels, at full volume, to their own output.
const AUDIO: [u8; 16] = [0x0e, 0x0e, 0x04, 0, 0, 0, 0, 75, 0x01, 0xff, 0x02, 0xff, 0, 0, 0, 0];
/// Power condition: no timers.
const POWER: [u8; 12] = [0x1a, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Timeout and protect: 10 seconds, 60 seconds.
const TIMEOUT: [u8; 12] = [0x1d, 0x0a, 0, 0, 0, 0, 0, 10, 0, 60, 0, 0];
/// Page codes.
const CAPABILITIES: u8 = 0x2a;
const ALL: u8 = 0x3f;

/// CD capabilities and mechanical status (MMC-3, 5.5.10), which later revisions keep for drivers that look for it.
fn capabilities(locked: bool) -> Vec<u8> {
    // 4 times the speed of a CD, and no more than what some drivers take to be possible.
    const SPEED: [u8; 2] = 704u16.to_be_bytes();
    const BUFFER: [u8; 2] = 512u16.to_be_bytes();
    let mut page = vec![CAPABILITIES, 0x14];
    // Reads CD-R, CD-RW, DVD-ROM and DVD-R; writes nothing.
    page.extend([0x3b, 0x00]);
    // Plays audio, reads mode 2 in both forms and several sessions; delivers audio with exact positions.
    page.extend([0x71, 0x60]);
    // A tray; can eject and lock.
    page.extend([0x29 | u8::from(locked) << 1, 0x00]);
    page.extend(SPEED);
    // Levels of volume.
    page.extend([0, 2]);
    page.extend(BUFFER);
    page.extend(SPEED);
    page.resize(22, 0);
    page
}

/// The pages that are asked for.
fn pages(state: &State, packet: &[u8]) -> Result<Vec<u8>, Sense> {
    let (control, page, subpage) = (u8_at(packet, 2) >> 6, u8_at(packet, 2) & 0x3f, u8_at(packet, 3));
    let all: [(u8, Vec<u8>); 5] = [
        (0x01, ERROR_RECOVERY.to_vec()),
        (0x0e, AUDIO.to_vec()),
        (0x1a, POWER.to_vec()),
        (0x1d, TIMEOUT.to_vec()),
        (CAPABILITIES, capabilities(state.locked)),
    ];
    if subpage != 0 {
        return Err(Sense::INVALID_FIELD);
    }
    let mut found = Vec::new();
    for (code, mut body) in all {
        if page != ALL && page != code {
            continue;
        }
        if control == 1 {
            // Which bits can be changed: none.
            body.iter_mut().skip(2).for_each(|byte| *byte = 0);
        }
        found.extend(body);
    }
    // Nothing is saved over a power cycle.
    if found.is_empty() || control == 3 { Err(Sense::INVALID_FIELD) } else { Ok(found) }
}

/// What kind of medium the header names: 120 mm data CD, or none with the tray open.
fn medium_type(state: &State) -> u8 {
    if state.medium().is_some() { 0x01 } else { 0x70 }
}

/// MODE SENSE(10).
pub(super) fn sense_10(state: &State, packet: &[u8]) -> Result<Vec<u8>, Sense> {
    let pages = pages(state, packet)?;
    let length = u16::try_from(pages.len() + 6).unwrap_or(u16::MAX);
    let mut data = length.to_be_bytes().to_vec();
    data.extend([medium_type(state), 0, 0, 0, 0, 0]);
    data.extend(pages);
    Ok(data)
}

/// MODE SENSE(6).
pub(super) fn sense_6(state: &State, packet: &[u8]) -> Result<Vec<u8>, Sense> {
    let pages = pages(state, packet)?;
    let length = u8::try_from(pages.len() + 3).unwrap_or(u8::MAX);
    let mut data = vec![length, medium_type(state), 0, 0];
    data.extend(pages);
    Ok(data)
}
