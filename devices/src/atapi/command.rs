//! Which command does what.

use std::io;
use std::sync::Arc;

use super::drive::State;
use super::inquiry::Identity;
use super::sense::Sense;
use super::{BLOCK, Medium, configuration, disc_info, field, inquiry, mode, toc, u8_at, u16_at, u32_at};

/// Operation codes (MMC-6, table 224).
mod op {
    pub(super) const TEST_UNIT_READY: u8 = 0x00;
    pub(super) const REQUEST_SENSE: u8 = 0x03;
    pub(super) const INQUIRY: u8 = 0x12;
    pub(super) const MODE_SELECT_6: u8 = 0x15;
    pub(super) const MODE_SENSE_6: u8 = 0x1a;
    pub(super) const START_STOP_UNIT: u8 = 0x1b;
    pub(super) const PREVENT_ALLOW: u8 = 0x1e;
    pub(super) const READ_CAPACITY: u8 = 0x25;
    pub(super) const READ_10: u8 = 0x28;
    pub(super) const SEEK: u8 = 0x2b;
    pub(super) const VERIFY: u8 = 0x2f;
    pub(super) const READ_TOC: u8 = 0x43;
    pub(super) const GET_CONFIGURATION: u8 = 0x46;
    pub(super) const GET_EVENT_STATUS: u8 = 0x4a;
    pub(super) const READ_DISC_INFORMATION: u8 = 0x51;
    pub(super) const READ_TRACK_INFORMATION: u8 = 0x52;
    pub(super) const MODE_SELECT_10: u8 = 0x55;
    pub(super) const MODE_SENSE_10: u8 = 0x5a;
    pub(super) const READ_BUFFER_CAPACITY: u8 = 0x5c;
    pub(super) const REPORT_LUNS: u8 = 0xa0;
    pub(super) const READ_12: u8 = 0xa8;
    pub(super) const READ_DISC_STRUCTURE: u8 = 0xad;
    pub(super) const SET_STREAMING: u8 = 0xb6;
    pub(super) const SET_CD_SPEED: u8 = 0xbb;
    pub(super) const MECHANISM_STATUS: u8 = 0xbd;
    pub(super) const READ_CD: u8 = 0xbe;
}

/// Blocks that are read from the host at once.
const PIECE: u32 = 32;
/// Bytes of a raw block of a CD (MMC-6, 4.2.3.8).
const RAW: usize = 2352;
/// Synchronisation pattern of a raw block.
const SYNC: [u8; 12] = [0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0];

/// What a command leads to.
pub enum Reply {
    /// It is done.
    Done,
    /// These bytes are for the guest.
    Data(Vec<u8>),
    /// Blocks are for the guest.
    Read(Read),
    /// So many bytes of the guest's are taken, and nothing is done with them.
    Take(u16),
    /// It has failed.
    Fail(Sense),
}

/// Blocks to be read, in order.
pub struct Read {
    medium: Arc<dyn Medium>,
    next: u32,
    left: u32,
    raw: bool,
    /// Blocks that are read at once.
    piece: u32,
}

impl Read {
    /// The block that is next.
    pub fn block(&self) -> u32 {
        self.next
    }

    /// Bytes that are still to come.
    pub fn remaining(&self) -> u64 {
        u64::from(self.left) * if self.raw { RAW } else { BLOCK } as u64
    }

    /// Puts the next blocks into `data`, replacing what it held. Returns whether there were any.
    ///
    /// # Errors
    /// The next block cannot be read. Those before it have been delivered.
    pub fn next(&mut self, data: &mut Vec<u8>) -> io::Result<bool> {
        data.clear();
        if self.left == 0 {
            return Ok(false);
        }
        let count = self.left.min(self.piece);
        data.resize(count as usize * BLOCK, 0);
        if let Err(error) = self.medium.read(self.next, data) {
            if count == 1 {
                return Err(error);
            }
            // Which one is at fault?
            self.piece = 1;
            return self.next(data);
        }
        if self.raw {
            let blocks = data.chunks(BLOCK).zip(self.next..).flat_map(|(block, at)| raw(at, block));
            *data = blocks.collect();
        }
        self.next = self.next.saturating_add(count);
        self.left -= count;
        Ok(true)
    }
}

/// A block of mode 1 as it is on a CD, but for the codes at its end, which are zeroes: whoever gets it from a drive gets it
/// corrected.
fn raw(at: u32, block: &[u8]) -> Vec<u8> {
    let [minute, second, frame] = toc::minutes(at).map(|value| ((value / 10) << 4) | (value % 10));
    let mut raw = Vec::with_capacity(RAW);
    raw.extend(SYNC);
    raw.extend([minute, second, frame, 1]);
    raw.extend(block);
    raw.resize(RAW, 0);
    raw
}

/// Performs a command.
pub(super) fn perform(state: &mut State, identity: &Identity, packet: &[u8]) -> Reply {
    let code = u8_at(packet, 0);
    if code != op::REQUEST_SENSE {
        state.sense = Sense::NONE;
    }
    // These are how a guest finds out, or what it may ask at any time (MMC-6, 4.1.6.1).
    let asks = matches!(
        code,
        op::INQUIRY | op::REQUEST_SENSE | op::GET_CONFIGURATION | op::GET_EVENT_STATUS | op::REPORT_LUNS
    );
    let attention = if asks { Ok(()) } else { state.attention() };
    attention.and_then(|()| dispatch(state, identity, code, packet)).unwrap_or_else(Reply::Fail)
}

fn dispatch(state: &mut State, identity: &Identity, code: u8, packet: &[u8]) -> Result<Reply, Sense> {
    let short = |data: Vec<u8>| Ok(clipped(data, usize::from(u16_at(packet, 7))));
    match code {
        op::TEST_UNIT_READY => state.ready().map(|_| Reply::Done),
        op::REQUEST_SENSE => {
            // Only the fixed format.
            if u8_at(packet, 1) & 1 != 0 {
                return Err(Sense::INVALID_FIELD);
            }
            Ok(clipped(state.take_sense().fixed().to_vec(), u8_at(packet, 4).into()))
        }
        op::INQUIRY => Ok(clipped(inquiry::answer(identity, packet)?, u16_at(packet, 3).into())),
        op::MODE_SENSE_6 => Ok(clipped(mode::sense_6(state, packet)?, u8_at(packet, 4).into())),
        op::MODE_SENSE_10 => short(mode::sense_10(state, packet)?),
        // All that can be selected is what there is already.
        op::MODE_SELECT_6 => Ok(Reply::Take(u8_at(packet, 4).into())),
        op::MODE_SELECT_10 => Ok(Reply::Take(u16_at(packet, 7))),
        op::START_STOP_UNIT => start_stop(state, u8_at(packet, 4)),
        op::PREVENT_ALLOW => {
            // With bit 1 the persistent kind is set or lifted, which differs in what others than this guest may do.
            state.locked = u8_at(packet, 4) & 1 != 0;
            Ok(Reply::Done)
        }
        op::READ_CAPACITY => {
            let last = state.ready()?.blocks().saturating_sub(1);
            Ok(Reply::Data([last, BLOCK as u32].into_iter().flat_map(u32::to_be_bytes).collect()))
        }
        op::READ_10 => read(state, u32_at(packet, 2), u16_at(packet, 7).into(), false),
        op::READ_12 => read(state, u32_at(packet, 2), u32_at(packet, 6), false),
        op::READ_CD => read_cd(state, packet),
        op::SEEK => verify(state, u32_at(packet, 2), 1),
        op::VERIFY => verify(state, u32_at(packet, 2), u16_at(packet, 7).into()),
        op::READ_TOC => short(toc::answer(&*state.ready()?, packet)?),
        op::GET_CONFIGURATION => short(configuration::answer(state, packet)?),
        op::GET_EVENT_STATUS => short(event(state, packet)?),
        op::READ_DISC_INFORMATION => short(disc_info::disc(&*state.ready()?, packet)?),
        op::READ_TRACK_INFORMATION => short(disc_info::track(&*state.ready()?, packet)?),
        op::READ_BUFFER_CAPACITY => short(disc_info::buffer(packet)?),
        op::READ_DISC_STRUCTURE => {
            let data = disc_info::structure(&*state.ready()?, packet)?;
            Ok(clipped(data, u16_at(packet, 8).into()))
        }
        // Nothing turns.
        op::SET_STREAMING => Ok(Reply::Take(u16_at(packet, 9))),
        op::SET_CD_SPEED => Ok(Reply::Done),
        op::MECHANISM_STATUS => {
            let open = u8::from(state.is_open()) << 4;
            Ok(clipped(vec![0, open, 0, 0, 0, 0, 0, 0], u16_at(packet, 8).into()))
        }
        op::REPORT_LUNS => {
            let mut luns = vec![0; 16];
            if let Some(length) = luns.get_mut(3) {
                *length = 8;
            }
            let room = usize::try_from(u32_at(packet, 6)).unwrap_or(usize::MAX);
            Ok(clipped(luns, room))
        }
        _ => Err(Sense::INVALID_COMMAND),
    }
}

/// As much of an answer as the guest has room for.
fn clipped(mut data: Vec<u8>, room: usize) -> Reply {
    data.truncate(room);
    if data.is_empty() { Reply::Done } else { Reply::Data(data) }
}

/// START STOP UNIT (MMC-6, 6.41).
fn start_stop(state: &mut State, what: u8) -> Result<Reply, Sense> {
    let (start, load_eject, power) = (what & 1 != 0, what & 2 != 0, what >> 4);
    if load_eject && power == 0 {
        state.move_tray(!start)?;
    }
    Ok(Reply::Done)
}

/// The medium, if it has these blocks.
fn within(state: &mut State, first: u32, count: u32) -> Result<Arc<dyn Medium>, Sense> {
    let medium = state.ready()?;
    let end = u64::from(first) + u64::from(count);
    if end > u64::from(medium.blocks()) { Err(Sense::OUT_OF_RANGE) } else { Ok(medium) }
}

fn verify(state: &mut State, first: u32, count: u32) -> Result<Reply, Sense> {
    within(state, first, count).map(|_| Reply::Done)
}

fn read(state: &mut State, first: u32, count: u32, raw: bool) -> Result<Reply, Sense> {
    let medium = within(state, first, count)?;
    if count == 0 {
        return Ok(Reply::Done);
    }
    Ok(Reply::Read(Read { medium, next: first, left: count, raw, piece: PIECE }))
}

/// READ CD (MMC-6, 6.19): data blocks, or raw ones.
fn read_cd(state: &mut State, packet: &[u8]) -> Result<Reply, Sense> {
    let [c2, c1, c0] = field(packet, 6);
    let (first, count) = (u32_at(packet, 2), u32::from_be_bytes([0, c2, c1, c0]));
    let (wanted, parts, subchannel) = (u8_at(packet, 1) >> 2 & 7, u8_at(packet, 9), u8_at(packet, 10) & 7);
    // Any kind, or mode 1.
    if !matches!(wanted, 0 | 2) {
        state.ready()?;
        return Err(Sense::ILLEGAL_MODE);
    }
    match (parts, subchannel) {
        (0x00, 0) => verify(state, first, count),
        (0x10, 0) => read(state, first, count, false),
        (0xf8, 0) => read(state, first, count, true),
        _ => Err(Sense::INVALID_FIELD),
    }
}

/// GET EVENT STATUS NOTIFICATION (MMC-6, 6.7). Of the classes of events there is one: media.
fn event(state: &mut State, packet: &[u8]) -> Result<Vec<u8>, Sense> {
    const MEDIA: u8 = 4;
    // Asynchronous notification is not possible.
    if u8_at(packet, 1) & 1 == 0 {
        return Err(Sense::INVALID_FIELD);
    }
    if u8_at(packet, 4) & 1 << MEDIA == 0 {
        // "No event available".
        return Ok(vec![0, 2, 0x80, 1 << MEDIA]);
    }
    // An event that the guest has no room for stays.
    let (event, status) = if u16_at(packet, 7) < 8 { (0, 0) } else { state.next_event() };
    Ok(vec![0, 6, MEDIA, 1 << MEDIA, event, status, 0, 0])
}
