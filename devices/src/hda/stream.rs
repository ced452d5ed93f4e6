//! A stream descriptor, and its way through the guest's buffers (HDA 1.0a, 3.3.35 to 3.3.43 and 3.6).

use crate::audio::Frame;
use crate::pci::dma::{Dma, DmaError};

use super::codec::Direction;
use super::format::Format;
use super::registers::stream as r;

/// A buffer that a stream is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    index: u8,
    address: u64,
    len: u32,
    /// Bytes still to be moved.
    left: u32,
    /// It interrupts when it is done.
    interrupts: bool,
}

/// The time of a stream that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    /// When it began, in the link's time.
    since: u64,
    /// Bytes moved since.
    moved: u64,
    format: Format,
}

/// Why a stream does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Halt {
    /// Bus mastering is disabled: it goes on when it is enabled again.
    NoBusMaster,
    /// Its list of buffers cannot be read, or has an empty one, or more short ones than any driver makes.
    BadDescriptor,
}

/// One of the stream descriptors.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    direction: Direction,
    /// Control, 24 bits.
    pub(super) control: u32,
    /// What has happened: each a bit of the status register that the guest clears.
    pub(super) events: u8,
    pub(super) position: u32,
    pub(super) length: u32,
    pub(super) last: u8,
    pub(super) format: u16,
    pub(super) list: u64,
    entry: Option<Entry>,
    run: Option<Run>,
    /// Kept for its room.
    bytes: Vec<u8>,
}

/// Buffers that one look goes through at most. Of the shortest that there may be, 128 bytes, it never comes to a
/// tenth; of those of a byte, guests could keep a CPU busy.
const MOST_ENTRIES: u32 = 4096;
/// A late look is not to play more than a part of what the guest has in its buffers.
const LATE_PART: u32 = 4;
/// Of short buffers it may be more, since looks are a millisecond apart.
const LATE_PART_OF_SHORT: u32 = 2;
const SHORT: u64 = 2_000_000;
/// The least that a late look makes up for even if interrupts follow one another as fast, and the most, in nanoseconds.
const LEAST_LATE: u64 = 1_000_000;
const MOST_LATE: u64 = 50_000_000;

impl Stream {
    pub(super) fn new(direction: Direction) -> Self {
        Self {
            direction,
            control: 0,
            events: 0,
            position: 0,
            length: 0,
            last: 0,
            format: 0,
            list: 0,
            entry: None,
            run: None,
            bytes: Vec::new(),
        }
    }

    /// State after a reset of the stream.
    pub(super) fn reset(&mut self) {
        *self = Self { bytes: std::mem::take(&mut self.bytes), ..Self::new(self.direction) };
    }

    pub(super) fn direction(&self) -> Direction {
        self.direction
    }

    /// Its number on the link; 0 is none.
    pub(super) fn tag(&self) -> u8 {
        (self.control >> r::TAG_SHIFT & 0xf) as u8
    }

    /// Whether the guest lets it run.
    pub(super) fn wanted(&self) -> bool {
        self.control & r::RUN != 0 && self.control & r::SRST == 0
    }

    /// The status register. The FIFO is ready as soon as the guest lets the stream run, also while it is held: drivers wait for that
    /// before they let go of all streams that are to begin together (3.3.12).
    pub(super) fn status(&self) -> u8 {
        self.events | if self.wanted() { r::FIFORDY } else { 0 }
    }

    /// Whether it runs.
    pub(super) fn running(&self) -> bool {
        self.run.is_some()
    }

    /// Frames per second.
    pub(super) fn rate(&self) -> u32 {
        Format::new(self.format).rate
    }

    /// Whether it interrupts.
    pub(super) fn interrupts(&self) -> bool {
        // Each cause has the same bit in both registers.
        self.events & (self.control & (r::IOCE | r::FEIE | r::DEIE)) as u8 != 0
    }

    /// A place in the guest's buffers is void: it has described others.
    pub(super) fn rewind(&mut self) {
        self.entry = None;
    }

    /// Lets it run from `now` on, or stops it.
    pub(super) fn set_running(&mut self, running: bool, now: u64) {
        match (running, self.run) {
            (true, None) => {
                self.run = Some(Run { since: now, moved: 0, format: Format::new(self.format) });
            }
            (false, Some(_)) => self.run = None,
            _ => {}
        }
    }

    /// How long it may go on at once, in nanoseconds, however late the look is: not so far that the guest could not have
    /// filled the buffers, and not far beyond the next interrupt, that the next but one does not follow at once.
    pub(super) fn most(&self) -> u64 {
        let format = Format::new(self.format);
        if self.length == 0 {
            // Buffers of no length that is known: no driver starts such a stream.
            return MOST_LATE;
        }
        let share = |part| format.duration(u64::from(self.length / part));
        let part = share(LATE_PART).max(share(LATE_PART_OF_SHORT).min(SHORT)).min(MOST_LATE);
        match self.entry {
            Some(entry) if entry.interrupts => {
                let beyond = u64::from(entry.left) + u64::from(entry.len / 3);
                part.min(format.duration(beyond).max(LEAST_LATE))
            }
            _ => part,
        }
    }

    /// How long all of its buffers last, in nanoseconds.
    pub(super) fn lasts(&self) -> u64 {
        Format::new(self.format).duration(u64::from(self.length))
    }

    /// When it interrupts next, in nanoseconds of the link's time from `now`; `None` if that is not foreseeable.
    pub(super) fn next_interrupt(&self, now: u64) -> Option<u64> {
        let (run, entry) = (self.run?, self.entry.filter(|entry| entry.interrupts && entry.left > 0)?);
        let at = run.format.duration(run.moved + u64::from(entry.left));
        Some(at.saturating_sub(now.wrapping_sub(run.since)))
    }

    /// Reads what is due at `now` from the guest's buffers, and adds its frames.
    pub(super) fn play(&mut self, now: u64, dma: &Dma, frames: &mut Vec<Frame>) {
        let Some(run) = self.run else { return };
        let due = self.due(now);
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        bytes.resize(due, 0);
        let moved = self.transfer(
            due,
            |at, address, len| {
                let Some(place) = bytes.get_mut(at..at + len) else { return Ok(()) };
                match dma.read(address, place) {
                    // What is no memory has no sound.
                    Err(DmaError::OutsideRam { .. }) => {
                        place.fill(0);
                        Ok(())
                    }
                    result => result,
                }
            },
            dma,
        );
        bytes.truncate(moved);
        run.format.decode(&bytes, frames);
        self.bytes = bytes;
    }

    /// How many frames are due at `now`.
    pub(super) fn frames_due(&self, now: u64) -> usize {
        self.run.map_or(0, |run| self.due(now) / run.format.frame_bytes())
    }

    /// Writes frames, as many as are due at `now`, to the guest's buffers.
    pub(super) fn record(&mut self, now: u64, dma: &Dma, frames: &[Frame]) {
        let Some(run) = self.run else { return };
        let due = self.due(now);
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        run.format.encode(frames, &mut bytes);
        bytes.resize(due, 0);
        self.transfer(
            due,
            |at, address, len| {
                let Some(place) = bytes.get(at..at + len) else { return Ok(()) };
                match dma.write(address, place) {
                    Err(DmaError::OutsideRam { .. }) => Ok(()),
                    result => result,
                }
            },
            dma,
        );
        self.bytes = bytes;
    }

    /// Bytes that are due.
    fn due(&self, now: u64) -> usize {
        let Some(run) = self.run else { return 0 };
        let target = run.format.bytes_in(now.wrapping_sub(run.since));
        usize::try_from(target.saturating_sub(run.moved)).unwrap_or(0)
    }

    /// Moves `bytes` by way of the list of buffers: `copy` gets a place in them, a guest-physical address and a length.
    /// Returns how many were moved.
    fn transfer(
        &mut self,
        bytes: usize,
        mut copy: impl FnMut(usize, u64, usize) -> Result<(), DmaError>,
        dma: &Dma,
    ) -> usize {
        let mut done = 0;
        let mut halt = None;
        let mut entries = 0;
        while done < bytes {
            let entry = match self.entry.filter(|entry| entry.left > 0) {
                Some(entry) => entry,
                None if entries == MOST_ENTRIES => {
                    halt = Some(Halt::BadDescriptor);
                    break;
                }
                None => match self.next_entry(dma) {
                    Ok(entry) => {
                        entries += 1;
                        entry
                    }
                    Err(why) => {
                        halt = Some(why);
                        break;
                    }
                },
            };
            let len = (bytes - done).min(entry.left as usize);
            let from = entry.address.wrapping_add(u64::from(entry.len - entry.left));
            if copy(done, from, len).is_err() {
                halt = Some(Halt::NoBusMaster);
                break;
            }
            done += len;
            self.moved(Entry { left: entry.left - len as u32, ..entry }, len as u32);
        }
        if let Some(run) = &mut self.run {
            // What bus mastering has kept back is not made up for.
            run.moved += if halt == Some(Halt::NoBusMaster) { bytes } else { done } as u64;
        }
        if halt == Some(Halt::BadDescriptor) {
            self.events |= r::DESE;
            self.control &= !r::RUN;
            self.set_running(false, 0);
        }
        done
    }

    /// So many bytes of a buffer were moved.
    fn moved(&mut self, entry: Entry, len: u32) {
        self.entry = Some(entry);
        // The position is never the length itself: there it is 0.
        let position = u64::from(self.position) + u64::from(len);
        self.position = position.checked_rem(self.length.into()).unwrap_or(0) as u32;
        if entry.left == 0 && entry.interrupts {
            self.events |= r::BCIS;
        }
    }

    /// Reads the entry that follows: as late as that, since guests may change those ahead.
    fn next_entry(&mut self, dma: &Dma) -> Result<Entry, Halt> {
        let index = match self.entry {
            Some(entry) if entry.index < self.last => entry.index + 1,
            _ => 0,
        };
        let mut raw = [0; 16];
        match dma.read(self.list.wrapping_add(16 * u64::from(index)), &mut raw) {
            Ok(()) => {}
            Err(DmaError::Disabled) => return Err(Halt::NoBusMaster),
            Err(DmaError::OutsideRam { .. }) => return Err(Halt::BadDescriptor),
        }
        let [a0, a1, a2, a3, a4, a5, a6, a7, l0, l1, l2, l3, flags, ..] = raw;
        let len = u32::from_le_bytes([l0, l1, l2, l3]);
        if len == 0 {
            return Err(Halt::BadDescriptor);
        }
        let address = u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7]);
        let entry = Entry { index, address, len, left: len, interrupts: flags & 1 != 0 };
        self.entry = Some(entry);
        Ok(entry)
    }
}
