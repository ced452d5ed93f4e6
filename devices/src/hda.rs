//! The High Definition Audio controller of the ICH9, 00:1b.0 (Intel High Definition Audio Specification 1.0a; ICH9 datasheet,
//! chapter 18), with a codec for a line output and, if wanted, a microphone.
//!
//! What is modelled: four streams each way, of which the codec uses one; CORB and RIRB of 256 entries, and single verbs by
//! registers; the buffer for positions, held and synchronous starts, the wall clock counter. Interrupts are the line, or
//! one message. There are no unsolicited responses: nobody plugs or unplugs anything.
//!
//! **Time.** Everything that a guest can compare follows one clock: positions are computed when they are read, or
//! when a thread looks, which it does only while a stream runs. The clock follows the host's sound card as far as somebody knows
//! its pace, so that no two clocks drift apart until something has to be left out or repeated. Time in which nobody could
//! look (a host without a processor for the thread, a machine that is stopped) does not count beyond what the guest has
//! certainly written: then the sound has a gap, and is not repeated.
//!
//! | module | what it does |
//! |---|---|
//! | `registers` | offsets and bits |
//! | `controller` | the registers, and the interrupt condition |
//! | `rings` | verbs and responses |
//! | `codec` | the codec's nodes, volume and mute |
//! | `format` | formats and samples |
//! | `stream` | a stream's way through the guest's buffers |
//! | `clock` | the link's time, and how it follows the sink's |
//! | `engine` | streams in time |

mod clock;
mod codec;
mod controller;
mod engine;
mod format;
mod registers;
mod rings;
mod stream;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::audio::{Monitor, Sink, Source};
use crate::bus::Action;
use crate::interrupt::{IrqLine, MsiAllocator};
use crate::pci::dma::Dma;
use crate::pci::endpoint::{Endpoint, EndpointDevice, Registers};
use crate::pci::interrupts::Interrupts;
use crate::pci::power::{AfterD3, PowerManagement};
use crate::pci::{Bar, BarKind, ConfigSpace, Ids};
use crate::time::Clock;
use crate::{GuestRam, event, threads};

use controller::Controller;
use engine::Engine;
use registers::{ALIASES, BAR_SIZE};

/// The controller of the ICH9, which is its own subsystem as well.
const VENDOR: u16 = 0x8086;
const DEVICE: u16 = 0x293e;
/// HDCTL: the link is that of this specification. TCSEL: traffic classes, which guests set to 0.
const HDCTL: u16 = 0x40;
const TCSEL: u16 = 0x44;
/// Capabilities come after the registers of the ICH9.
const CAPABILITIES: u16 = 0x50;

/// Why the controller could not be made.
#[derive(Debug, thiserror::Error)]
pub enum HdaError {
    /// The host has no event, vector or thread left.
    #[error("cannot set up the sound controller: {0}")]
    Host(#[from] io::Error),
    /// Its registers do not fit.
    #[error("the sound controller has no room for its registers")]
    NoRoom,
}

/// What a controller is connected to.
pub struct Ends {
    /// Where the guest's sound goes.
    pub sink: Box<dyn Sink>,
    /// Where the sound that it records comes from. Without, it has no microphone.
    pub source: Option<Box<dyn Source>>,
    /// Where both and the controller count.
    pub monitor: Arc<Monitor>,
}

/// What the registers, the thread and the machine share.
struct Shared {
    engine: Mutex<Engine>,
    interrupts: Arc<Interrupts>,
    time: Arc<dyn Clock>,
    /// Wakes the thread.
    doorbell: EventFd,
    over: AtomicBool,
}

impl Shared {
    fn engine(&self) -> MutexGuard<'_, Engine> {
        // What a panic has left is some state of the registers, as guests can make any.
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves what is due.
    fn look(&self, engine: &mut Engine) {
        engine.look(self.time.monotonic());
        self.interrupts.set_condition(engine.controller.condition());
    }

    fn wake(&self) {
        // A full counter has been signalled already.
        let _ = self.doorbell.write(1);
    }

    /// The thread: looks when something is due, and sleeps while nothing is.
    fn work(&self) {
        while !self.over.load(Ordering::Acquire) {
            let rest = {
                let mut engine = self.engine();
                self.look(&mut engine);
                engine.rest()
            };
            event::wait_for(&[&self.doorbell], rest);
        }
    }
}

/// A way to stop a controller's time while the machine does not run, and to let it go on.
#[derive(Clone)]
pub struct Pause(Arc<Shared>);

impl Pause {
    /// Time stands still from now on, or goes on.
    pub fn set(&self, paused: bool) {
        self.0.engine().pause(paused, self.0.time.monotonic());
        self.0.wake();
    }
}

/// The controller.
pub struct Hda {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Hda {
    /// A controller between the guest and these ends. It works in `ram`, and interrupts through a vector of `msi`, or `line`
    /// (INTA) while the guest leaves MSI off.
    ///
    /// # Errors
    /// The host has no event, vector or thread left.
    pub fn endpoint(
        ends: Ends,
        ram: GuestRam,
        msi: &dyn MsiAllocator,
        line: Arc<dyn IrqLine>,
        time: Arc<dyn Clock>,
    ) -> Result<Arc<Endpoint<Self>>, HdaError> {
        Self::assemble(ends, ram, msi, line, time, true)
    }

    fn assemble(
        ends: Ends,
        ram: GuestRam,
        msi: &dyn MsiAllocator,
        line: Arc<dyn IrqLine>,
        time: Arc<dyn Clock>,
        threaded: bool,
    ) -> Result<Arc<Endpoint<Self>>, HdaError> {
        let mut config = ConfigSpace::endpoint(
            Ids {
                vendor: VENDOR,
                device: DEVICE,
                revision: 2,
                class: 0x04_03_00,
                subsystem_vendor: VENDOR,
                subsystem: DEVICE,
            },
            false,
        );
        let bar = Bar { kind: BarKind::Memory64 { prefetchable: false }, size: BAR_SIZE };
        let mut interrupts = Interrupts::new(&mut config, line);
        config.preset(HDCTL, &[1]);
        config.allow_write(TCSEL, &[7]);
        config.keep_free(CAPABILITIES);
        let power = PowerManagement::add(&mut config, AfterD3::Kept);
        let fits = config.add_bar(0, bar) && interrupts.add_msi(&mut config, vec![msi.allocate()?], false);
        let (true, Some(power)) = (fits, power) else { return Err(HdaError::NoRoom) };
        let (interrupts, dma) = (Arc::new(interrupts), Dma::new(ram));
        let Ends { sink, source, monitor } = ends;
        let controller = Controller::new(source.is_some());
        let ends = (sink, source.unwrap_or_else(|| Box::new(crate::audio::Nothing)));
        let engine = Engine::new(controller, ends, monitor, dma.clone(), time.monotonic());
        let shared = Arc::new(Shared {
            engine: Mutex::new(engine),
            interrupts: Arc::clone(&interrupts),
            time,
            doorbell: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?,
            over: AtomicBool::new(false),
        });
        let working = Arc::clone(&shared);
        let thread = threaded.then(|| threads::start("hda", move || working.work())).transpose()?;
        let device = Arc::new(Self { shared, thread });
        Ok(Endpoint::new(config, interrupts, dma, Some(power), device))
    }

    /// The way to stop its time.
    pub fn pause(&self) -> Pause {
        Pause(Arc::clone(&self.shared))
    }
}

impl Drop for Hda {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        self.shared.wake();
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so on its own.
            let _ = thread.join();
        }
    }
}

impl EndpointDevice for Hda {
    fn bar_read(&self, _bar: usize, offset: u64, data: &mut [u8]) {
        let mut engine = self.shared.engine();
        // Whatever the guest reads is as of now.
        self.shared.look(&mut engine);
        let mut rest = data;
        let mut at = if offset < ALIASES { offset } else { offset - ALIASES };
        while !rest.is_empty() {
            let value = engine.controller.read(at - at % 4, engine.wall()).to_le_bytes();
            let there = value.get((at % 4) as usize..).unwrap_or_default();
            let (now, later) = rest.split_at_mut(there.len().min(rest.len()));
            for (byte, value) in now.iter_mut().zip(there) {
                *byte = *value;
            }
            at += now.len() as u64;
            rest = later;
        }
    }

    fn bar_write(&self, _bar: usize, offset: u64, data: &[u8]) -> Action {
        if offset >= ALIASES {
            return Action::None;
        }
        let mut engine = self.shared.engine();
        self.shared.look(&mut engine);
        let mut streams = false;
        let (mut at, mut rest) = (offset, data);
        while !rest.is_empty() {
            let skip = (at % 4) as usize;
            let (now, later) = rest.split_at((4 - skip).min(rest.len()));
            let (mut value, mut mask) = ([0; 4], [0; 4]);
            for ((value, mask), byte) in value.iter_mut().zip(&mut mask).skip(skip).zip(now) {
                (*value, *mask) = (*byte, 0xff);
            }
            let (value, mask) = (u32::from_le_bytes(value), u32::from_le_bytes(mask));
            streams |= engine.write(at - at % 4, value, mask);
            at += now.len() as u64;
            rest = later;
        }
        self.shared.interrupts.set_condition(engine.controller.condition());
        if streams {
            self.shared.wake();
        }
        Action::None
    }

    fn config_written(&self, _registers: &Registers, _register: u16, _len: usize) -> Action {
        // Bus mastering may be on again: verbs that wait are performed.
        let mut engine = self.shared.engine();
        engine.kick();
        self.shared.interrupts.set_condition(engine.controller.condition());
        Action::None
    }

    fn reset(&self) {
        let Self { shared, thread: _ } = self;
        shared.engine().reset(shared.time.monotonic());
        shared.wake();
    }
}
