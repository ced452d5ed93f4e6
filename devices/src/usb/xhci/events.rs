//! The event ring of the only interrupter (xHCI 1.1, 4.9.4 and 4.17): where events go, and when the driver is interrupted.
//!
//! Events that the ring has no room for wait here, so that none is lost; while some wait, the controller begins no other command or transfer.

use std::collections::VecDeque;

use crate::pci::dma::{Dma, DmaError};

use super::trb::{self, Code, Trb, kind};

/// Entries that a segment has at least and at most.
const SMALLEST: u32 = 16;
const LARGEST: u32 = 4096;
/// Events that may wait. Commands and transfers wait themselves; changes of ports beyond it are seen in the ports' registers, and a stopped command
/// ring in CRCR.
const MOST: usize = 256;

/// IMAN.
pub(super) const PENDING: u32 = 1;
pub(super) const ENABLED: u32 = 1 << 1;
/// ERDP: Event Handler Busy, which is cleared by writing a one, and the hint of the segment.
pub(super) const BUSY: u64 = 1 << 3;
const SEGMENT: u64 = 7;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    base: u64,
    entries: u32,
}

/// The event ring, and the interrupter's registers.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// IMAN.IE.
    pub(super) enabled: bool,
    /// IMAN.IP.
    pub(super) pending: bool,
    /// IMOD. Events are rare here, and are not held back.
    pub(super) moderation: u32,
    /// ERSTSZ.
    pub(super) table_size: u32,
    /// ERSTBA.
    pub(super) table: u64,
    /// ERDP without its flags.
    dequeue: u64,
    hint: u64,
    busy: bool,
    /// Loaded with the first event, since a driver may set the table up before it enables bus mastering.
    segment: Option<Segment>,
    index: u32,
    cycle: bool,
    /// Events, and whether each interrupts.
    waiting: VecDeque<(Trb, bool)>,
    told_full: bool,
    /// The driver is to be interrupted once it is not busy.
    wanted: bool,
    /// The table is none.
    failed: bool,
}

impl Events {
    /// The driver has set ERSTBA: the ring begins anew.
    pub(super) fn restart(&mut self) {
        self.segment = None;
        (self.index, self.cycle, self.told_full) = (0, true, false);
    }

    /// ERDP.
    pub(super) fn dequeue(&self) -> u64 {
        self.dequeue | self.hint | if self.busy { BUSY } else { 0 }
    }

    /// The driver writes the bits of `mask` of ERDP.
    pub(super) fn set_dequeue(&mut self, value: u64, mask: u64) {
        self.dequeue = (self.dequeue & !mask | value & mask) & !0xf;
        self.hint = (self.hint & !mask | value & mask) & SEGMENT;
        if value & mask & BUSY != 0 {
            self.busy = false;
            // Whatever the driver has not taken interrupts again: it may have looked before it came.
            self.wanted = !self.is_empty();
        }
    }

    /// Whether the driver has taken all events.
    fn is_empty(&self) -> bool {
        self.segment
            .is_none_or(|segment| self.place_of_driver(segment).is_none_or(|place| place == self.index))
    }

    fn place_of_driver(&self, segment: Segment) -> Option<u32> {
        let place = u32::try_from(self.dequeue.checked_sub(segment.base)? / trb::SIZE).ok()?;
        (place < segment.entries).then_some(place)
    }

    /// Whether events wait for room.
    pub(super) fn is_backlogged(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether the driver has given a table that is none.
    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Adds an event.
    pub(super) fn push(&mut self, event: Trb, interrupts: bool) {
        self.waiting.push_back((event, interrupts));
    }

    /// Adds an event that the driver can do without; it is dropped when too many wait.
    pub(super) fn push_hint(&mut self, event: Trb) {
        if self.waiting.len() < MOST {
            self.push(event, true);
        }
    }

    fn load(&mut self, dma: &Dma) -> Option<Segment> {
        if self.segment.is_none() {
            let mut entry = [0; 16];
            match dma.read(self.table, &mut entry) {
                Err(DmaError::Disabled) => return None,
                read => {
                    let [base, size] = entry.as_chunks::<8>().0 else { return None };
                    let (base, entries) =
                        (u64::from_le_bytes(*base), u64::from_le_bytes(*size) as u32 & 0xffff);
                    let right = read.is_ok()
                        && self.table_size == 1
                        && base.is_multiple_of(64)
                        && (SMALLEST..=LARGEST).contains(&entries);
                    self.failed = !right;
                    self.segment = right.then_some(Segment { base, entries });
                }
            }
        }
        self.segment
    }

    /// Writes as many events as there is room for.
    pub(super) fn flush(&mut self, dma: &Dma) {
        while let Some((event, interrupts)) = self.waiting.front().copied() {
            let Some(segment) = self.load(dma) else { return };
            let Some(place) = self.place_of_driver(segment) else { return };
            // One entry stays free, or a full ring would look like an empty one, and one is for the news that it is full.
            let free = (place + segment.entries - self.index - 1) % segment.entries;
            match free {
                0 => return,
                1 if self.told_full => return,
                1 => {
                    let full = Trb::event(kind::HOST_CONTROLLER, 0, Code::EventRingFull, 0, 0);
                    if self.write(full, segment, dma).is_err() {
                        return;
                    }
                    (self.told_full, self.wanted) = (true, true);
                    return;
                }
                _ => {}
            }
            if self.write(event, segment, dma).is_err() {
                return;
            }
            self.told_full = false;
            self.wanted |= interrupts;
            self.waiting.pop_front();
        }
    }

    fn write(&mut self, event: Trb, segment: Segment, dma: &Dma) -> Result<(), ()> {
        let at = segment.base.wrapping_add(u64::from(self.index) * trb::SIZE);
        let [dwords_0_to_2 @ .., c0, c1, c2, c3] = event.with_cycle(self.cycle).to_bytes();
        // The cycle bit last: it hands the entry over.
        let written =
            dma.write(at, &dwords_0_to_2).and_then(|()| dma.write(at.wrapping_add(12), &[c0, c1, c2, c3]));
        match written {
            Ok(()) => {}
            Err(DmaError::Disabled) => return Err(()),
            Err(DmaError::OutsideRam { .. }) => {
                self.failed = true;
                return Err(());
            }
        }
        self.index += 1;
        if self.index == segment.entries {
            (self.index, self.cycle) = (0, !self.cycle);
        }
        Ok(())
    }

    /// Takes over what the driver is to be interrupted for. True if IMAN.IP has just been set.
    pub(super) fn raise(&mut self) -> bool {
        let raised = self.wanted && !self.busy;
        if raised {
            (self.wanted, self.busy, self.pending) = (false, true, true);
        }
        raised
    }
}
