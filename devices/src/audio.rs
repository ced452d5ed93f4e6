//! Sound between a device and the host.
//!
//! A device gives frames to a [`Sink`] and takes them from a [`Source`], at the pace of its own clock, and asks both how
//! their clocks compare with it. None of the calls waits for the host: what takes time is done by threads behind
//! queues. What an end has met is told by its [`Monitor`].
//!
//! | module | where sound goes to or comes from |
//! |---|---|
//! | `nothing` | nowhere: exact time, and silence |
//! | `pulse` | the sound server of the host: PulseAudio, or PipeWire |
//! | `wav` | a file |
//! | `queue` | the way from the device to a thread, for ends that have one |

mod monitor;
mod nothing;
pub mod pulse;
mod queue;
pub mod wav;

pub use monitor::{Monitor, Report};
pub use nothing::Nothing;

/// The samples of one moment, left and right. Full scale is that of the type, whatever the guest's format.
pub type Frame = [i32; 2];

/// Where a device's sound goes.
pub trait Sink: Send {
    /// Sound begins, of `rate` frames per second (1 to 192 000).
    fn start(&mut self, rate: u32);
    /// Whether sound that has begun would be heard now. A device whose time can wait may give an end a moment that opens something first.
    fn ready(&self) -> bool {
        true
    }
    /// Takes frames. What there is no room for is lost, and counted.
    fn write(&mut self, frames: &[Frame]);
    /// Sound ends: what has been taken is still heard.
    fn stop(&mut self);
    /// How much more sound waits than there should, in nanoseconds; negative if it is less. `None` while nobody can tell,
    /// or for an end without a clock of its own.
    fn surplus(&self) -> Option<i64>;
}

/// Where the sound that a device records comes from.
pub trait Source: Send {
    /// Recording begins, with `rate` frames per second (1 to 192 000).
    fn start(&mut self, rate: u32);
    /// Fills `frames`: with silence where there is nothing.
    fn read(&mut self, frames: &mut [Frame]);
    /// Recording ends.
    fn stop(&mut self);
    /// As [`Sink::surplus`], of what waits to be read.
    fn surplus(&self) -> Option<i64>;
}
