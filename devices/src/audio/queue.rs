//! The way of frames from a device to the thread of a sink, and back from that of a source: without a lock and without
//! waiting on the device's side.

use std::io;
use std::sync::Arc;

use rtrb::{Consumer, Producer, RingBuffer};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::{Frame, Monitor};

/// What goes through the queue of a sink, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    /// Sound begins, of so many frames per second: the how manieth it is, beginning with 1.
    Start {
        rate: u32,
        number: u32,
    },
    Frame(Frame),
    Stop,
}

/// The device's end.
pub(super) struct Writer {
    pieces: Producer<Piece>,
    monitor: Arc<Monitor>,
    ready: Arc<EventFd>,
    rate: u32,
    /// Sounds that have begun.
    starts: u32,
    /// Frames since the thread was woken.
    since: u32,
    /// What there was no room for, and cannot be left out.
    owed: Option<Piece>,
}

/// The thread's end.
pub(super) struct Reader {
    pub(super) pieces: Consumer<Piece>,
    /// Signalled when there is something to take.
    pub(super) ready: Arc<EventFd>,
}

/// The thread is woken after so much sound, in parts of a second.
const WAKES_PER_SECOND: u32 = 200;

/// An event for threads that wait.
pub(super) fn event() -> io::Result<Arc<EventFd>> {
    EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).map(Arc::new)
}

/// A queue for so many frames.
pub(super) fn queue(frames: usize, monitor: Arc<Monitor>) -> io::Result<(Writer, Reader)> {
    let (pieces, taken) = RingBuffer::new(frames);
    let ready = event()?;
    let writer =
        Writer { pieces, monitor, ready: Arc::clone(&ready), rate: 0, starts: 0, since: 0, owed: None };
    Ok((writer, Reader { pieces: taken, ready }))
}

impl Writer {
    fn wake(&mut self) {
        self.since = 0;
        // A full counter has been signalled already.
        let _ = self.ready.write(1);
    }

    /// Puts what changes the state; while there is no room for it, frames are left out.
    fn put(&mut self, piece: Piece) {
        self.owed = Some(piece);
        self.settle();
        self.wake();
    }

    /// Returns whether nothing is owed.
    fn settle(&mut self) -> bool {
        if let Some(piece) = self.owed.take()
            && self.pieces.push(piece).is_err()
        {
            self.owed = Some(piece);
        }
        self.owed.is_none()
    }

    pub(super) fn start(&mut self, rate: u32) {
        self.rate = rate;
        // What is owed takes the place of what was: whoever counts has to be told the number.
        self.starts = self.starts.wrapping_add(1);
        self.put(Piece::Start { rate, number: self.starts });
    }

    /// The number of the last sound that has begun, 0 before the first.
    pub(super) fn starts(&self) -> u32 {
        self.starts
    }

    pub(super) fn stop(&mut self) {
        self.put(Piece::Stop);
    }

    pub(super) fn write(&mut self, frames: &[Frame]) {
        let mut dropped = 0;
        for frame in frames {
            if !self.settle() || self.pieces.push(Piece::Frame(*frame)).is_err() {
                dropped += 1;
            }
        }
        if dropped > 0 {
            self.monitor.dropped(dropped);
        }
        self.since = self.since.saturating_add(u32::try_from(frames.len()).unwrap_or(u32::MAX));
        if self.since >= self.rate / WAKES_PER_SECOND {
            self.wake();
        }
    }

    /// Frames that wait.
    pub(super) fn waiting(&self) -> usize {
        self.pieces.buffer().capacity() - self.pieces.slots()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_loses_frames_and_no_change_of_state() {
        let monitor = Arc::<Monitor>::default();
        let (mut writer, mut reader) = queue(4, Arc::clone(&monitor)).unwrap();
        writer.start(48_000);
        writer.write(&[[1, 1]; 5]);
        assert_eq!(writer.waiting(), 4);
        assert_eq!(monitor.report().dropped, 2);
        writer.stop();
        assert_eq!(reader.pieces.pop(), Ok(Piece::Start { rate: 48_000, number: 1 }));
        writer.write(&[[2, 2]]);
        let rest: Vec<Piece> = std::iter::from_fn(|| reader.pieces.pop().ok()).collect();
        let [first, .., last] = rest.as_slice() else { panic!("{rest:?}") };
        assert_eq!((*first, *last, rest.len()), (Piece::Frame([1, 1]), Piece::Stop, 4));
        assert_eq!(monitor.report().dropped, 3);
    }

    #[test]
    fn the_thread_is_woken_by_changes_and_two_hundred_times_a_second() {
        let (mut writer, reader) = queue(1000, Arc::default()).unwrap();
        writer.start(48_000);
        assert_eq!(reader.ready.read().unwrap(), 1);
        (0..239).for_each(|_| writer.write(&[[0, 0]]));
        assert!(reader.ready.read().is_err());
        writer.write(&[[0, 0]]);
        assert_eq!(reader.ready.read().unwrap(), 1);
        writer.stop();
        assert_eq!(reader.ready.read().unwrap(), 1);
    }
}
