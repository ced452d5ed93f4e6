//! GET CONFIGURATION (MMC-6, 5 and 6.6): what the drive can do, and what of it with the present disc.

use super::drive::State;
use super::sense::Sense;
use super::{is_dvd, u8_at, u16_at};

/// Profiles (MMC-6, table 86).
const CD_ROM: u16 = 0x0008;
const DVD_ROM: u16 = 0x0010;

/// A feature: what it says beyond its header, and with which discs it is there.
struct Feature {
    code: u16,
    version: u8,
    persistent: bool,
    current: bool,
    data: Vec<u8>,
}

/// The features, in ascending order. `profile` is that of the present disc, or 0.
fn features(profile: u16) -> Vec<Feature> {
    let (cd, dvd) = (profile == CD_ROM, profile == DVD_ROM);
    let always = |code, version, data| Feature { code, version, persistent: true, current: true, data };
    let with = |code, version, current, data| Feature { code, version, persistent: false, current, data };
    let listed = |code: u16| {
        let [high, low] = code.to_be_bytes();
        [high, low, u8::from(profile == code), 0]
    };
    vec![
        // Profile list.
        always(0x0000, 0, [listed(DVD_ROM), listed(CD_ROM)].concat()),
        // Core: Serial ATA, and what INQUIRY has in MMC-6.
        always(0x0001, 2, vec![0, 0, 0, 7, 0x02, 0, 0, 0]),
        // Removable medium: a tray that can be locked, ejected and closed.
        always(0x0003, 1, vec![0x39, 0, 0, 0]),
        // Random readable: blocks of 2048 bytes, one by one.
        with(0x0010, 0, cd || dvd, vec![0, 0, 0x08, 0, 0, 1, 0, 0]),
        // Multi-read.
        with(0x001d, 0, cd, Vec::new()),
        // CD read.
        with(0x001e, 2, cd, vec![0, 0, 0, 0]),
        // DVD read.
        with(0x001f, 1, dvd, vec![0, 0, 0, 0]),
        // Power management.
        always(0x0100, 0, Vec::new()),
        // Timeout.
        always(0x0105, 1, vec![0, 0, 0, 0]),
        // Real-time streaming: SET CD SPEED and READ BUFFER CAPACITY.
        with(0x0107, 4, cd || dvd, vec![0x18, 0, 0, 0]),
    ]
}

/// The answer to GET CONFIGURATION.
pub(super) fn answer(state: &State, packet: &[u8]) -> Result<Vec<u8>, Sense> {
    let (which, start) = (u8_at(packet, 1) & 3, u16_at(packet, 2));
    let profile = match state.medium() {
        None => 0,
        Some(medium) if is_dvd(medium.blocks()) => DVD_ROM,
        Some(_) => CD_ROM,
    };
    let wanted = |feature: &Feature| match which {
        0 => feature.code >= start,
        1 => feature.code >= start && feature.current,
        _ => feature.code == start,
    };
    if which == 3 {
        return Err(Sense::INVALID_FIELD);
    }
    let mut body = vec![0, 0];
    body.extend(profile.to_be_bytes());
    for Feature { code, version, persistent, current, data } in features(profile).into_iter().filter(wanted) {
        body.extend(code.to_be_bytes());
        body.push(version << 2 | u8::from(persistent) << 1 | u8::from(current));
        body.push(data.len() as u8);
        body.extend(data);
    }
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    Ok(length.to_be_bytes().into_iter().chain(body).collect())
}
