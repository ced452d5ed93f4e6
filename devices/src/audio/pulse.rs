//! The host's sound server, by the native protocol of PulseAudio, which PipeWire serves as well (pipewire-pulse).
//!
//! One thread has the connection, and all that it does is as the server's messages and the device's ask for it: nothing wakes it
//! while nothing plays. A server that ends, hangs or refuses is a pause: what the guest plays meanwhile is not
//! heard, its time goes on, and every two seconds in which it plays the server is tried again.
//!
//! A server may take a while to make a stream, and to wake its sound card for it. Until it has one, or it is certain that there will be none,
//! the device's time can wait ([`Sink::ready`]), so that the beginning of a sound is not lost.
//!
//! How much waits between the guest and the server's mixer is known at each moment: what is in the queue, and what the
//! server has got and not asked for again. By that the device follows the server's pace ([`Sink::surplus`]). What
//! is too much after a hang is left out, with a cross-fade. Each gap lets half as much again wait, up to a limit: a host on which
//! the latency is too short has a few gaps, and not one every few seconds.
//!
//! | module | what it does |
//! |---|---|
//! | `place` | finds the server's socket and the cookie, and says what to do where there is none |
//! | `connection` | messages over the socket, without waiting |
//! | `buffers` | how much is to wait where |
//! | `playback`, `recording` | a stream in each direction |
//! | `session` | what is said on one connection |
//! | `client` | the thread |

mod buffers;
mod client;
mod connection;
mod place;
mod playback;
mod recording;
mod session;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::thread::JoinHandle;

use rtrb::{Consumer, RingBuffer};
use vmm_sys_util::eventfd::EventFd;

use crate::threads;

use super::queue::{Writer, queue};
use super::{Frame, Monitor, Sink, Source};
use buffers::Buffers;
use client::Client;

pub use place::{Place, Surroundings};

/// Frames that may wait: more than a second, at any rate.
const WAITING: usize = 1 << 17;

/// How a machine is heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where the server listens.
    pub place: Place,
    /// The server's device that plays, by its name; its default one without.
    pub device: Option<String>,
    /// The machine's name, as mixers show it.
    pub name: String,
    /// How much is to wait, in milliseconds (5 to 500).
    pub latency: u32,
}

/// What the thread and the device's ends share.
struct Shared {
    /// Of the latency that the user wants, which recorded sound has.
    buffers: Buffers,
    /// Milliseconds that played sound has: more after gaps.
    latency: AtomicU32,
    monitor: Arc<Monitor>,
    /// Wakes the thread.
    ready: Arc<EventFd>,
    over: AtomicBool,
    /// Frames that the server has got and not played, or [`UNKNOWN`].
    ahead: AtomicI64,
    /// The last sound of which it is known that there is a stream for it, or that nobody is about to make one.
    settled: AtomicU32,
    /// Frames per second of the stream that plays, 0 without one.
    plays: AtomicU32,
    /// Frames per second that are to be recorded, 0 for none.
    recorded: AtomicU32,
}

impl Shared {
    /// The buffers of sound that plays.
    fn playing(&self) -> Buffers {
        Buffers::new(self.latency.load(Ordering::Relaxed))
    }
}

/// Nobody plays.
const UNKNOWN: i64 = i64::MIN;

/// The thread, which ends with the last of its ends.
struct Thread {
    shared: Arc<Shared>,
    handle: Option<JoinHandle<()>>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        // A full counter has been signalled already.
        let _ = self.shared.ready.write(1);
        if let Some(handle) = self.handle.take() {
            // One that panicked has said so on its own.
            let _ = handle.join();
        }
    }
}

/// What plays.
pub struct Speaker {
    writer: Writer,
    rate: u32,
    thread: Arc<Thread>,
}

/// What records.
pub struct Microphone {
    frames: Consumer<Frame>,
    rate: u32,
    /// Enough has been recorded to begin with.
    begun: bool,
    thread: Arc<Thread>,
}

/// Both ends of a connection, which is made at once and again whenever it is gone.
///
/// # Errors
/// The host has no event or thread left.
pub fn open(options: Options, monitor: Arc<Monitor>) -> io::Result<(Speaker, Microphone)> {
    let (writer, reader) = queue(WAITING, Arc::clone(&monitor))?;
    let (recorded, frames) = RingBuffer::new(WAITING);
    let shared = Arc::new(Shared {
        buffers: Buffers::new(options.latency),
        latency: AtomicU32::new(options.latency),
        monitor,
        ready: Arc::clone(&reader.ready),
        over: AtomicBool::new(false),
        ahead: AtomicI64::new(UNKNOWN),
        settled: AtomicU32::new(0),
        plays: AtomicU32::new(0),
        recorded: AtomicU32::new(0),
    });
    let mut client = Client::new(options, Arc::clone(&shared), reader, recorded);
    let handle = threads::start("sound", move || client.work())?;
    let thread = Arc::new(Thread { shared, handle: Some(handle) });
    let speaker = Speaker { writer, rate: 0, thread: Arc::clone(&thread) };
    Ok((speaker, Microphone { frames, rate: 0, begun: false, thread }))
}

/// Frames as nanoseconds.
fn nanoseconds(frames: i64, rate: u32) -> i64 {
    i64::try_from(i128::from(frames) * 1_000_000_000 / i128::from(rate.max(1))).unwrap_or(0)
}

impl Sink for Speaker {
    fn start(&mut self, rate: u32) {
        self.rate = rate;
        self.writer.start(rate);
    }

    fn ready(&self) -> bool {
        let shared = &self.thread.shared;
        // The thread may have yet to hear of this sound: what there was before is then what it knows.
        shared.settled.load(Ordering::Acquire) == self.writer.starts()
            || shared.plays.load(Ordering::Acquire) == self.rate
    }

    fn write(&mut self, frames: &[Frame]) {
        self.writer.write(frames);
    }

    fn stop(&mut self) {
        self.writer.stop();
    }

    fn surplus(&self) -> Option<i64> {
        let shared = &self.thread.shared;
        let ahead = shared.ahead.load(Ordering::Acquire);
        if ahead == UNKNOWN {
            return None;
        }
        let waiting = i64::try_from(self.writer.waiting()).ok()? + ahead;
        Some(nanoseconds(waiting - i64::from(shared.playing().aim(self.rate)), self.rate))
    }
}

impl Microphone {
    fn tell(&self, rate: u32) {
        self.thread.shared.recorded.store(rate, Ordering::Release);
        // A full counter has been signalled already.
        let _ = self.thread.shared.ready.write(1);
    }
}

impl Source for Microphone {
    fn start(&mut self, rate: u32) {
        while self.frames.pop().is_ok() {}
        self.rate = rate;
        self.begun = false;
        self.tell(rate);
    }

    fn read(&mut self, frames: &mut [Frame]) {
        let aim = self.thread.shared.buffers.recorded(self.rate) as usize;
        let most = 4 * aim;
        self.begun |= self.frames.slots() >= aim;
        // What has piled up while nobody read is old.
        let mut old = 0;
        while self.frames.slots() > most.max(aim + frames.len()) && self.frames.pop().is_ok() {
            old += 1;
        }
        if old > 0 {
            self.thread.shared.monitor.dropped(old);
        }
        for frame in frames {
            let recorded = self.begun.then(|| self.frames.pop().ok()).flatten();
            if self.begun && recorded.is_none() {
                self.begun = false;
                self.thread.shared.monitor.underrun();
            }
            *frame = recorded.unwrap_or([0, 0]);
        }
    }

    fn stop(&mut self) {
        self.tell(0);
    }

    fn surplus(&self) -> Option<i64> {
        let aim = i64::from(self.thread.shared.buffers.recorded(self.rate));
        let waiting = i64::try_from(self.frames.slots()).ok()?;
        self.begun.then(|| nanoseconds(waiting - aim, self.rate))
    }
}
