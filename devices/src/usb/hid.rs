//! Keyboard, mouse and tablet as USB devices (Device Class Definition for Human Interface Devices 1.11; HID Usage Tables): one function each, full
//! speed, one interrupt endpoint. What differs between them is a [`Function`].
//!
//! A report is made when the host takes it, from what has happened since the last one. Nothing is reported that has not changed: a rate that the host
//! sets for repeating it (SET_IDLE) can be read back and has no other effect.

mod descriptors;
mod keyboard;
mod mouse;
mod tablet;
#[cfg(test)]
mod tests;
mod usages;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmm_sys_util::eventfd::EventFd;

use super::device::{Bus, Completion, Outcome, RequestType, Setup, Speed, Transfer, Upstream, UsbDevice};
use crate::input::Taken;
use crate::input::room::Room;

pub use descriptors::Identity;
pub use keyboard::Keyboard;
pub use mouse::Mouse;
pub use tablet::Tablet;

/// The only endpoint beside the control endpoint.
const REPORTS: u8 = 0x81;
/// GET_STATUS and features (USB 2.0, 9.4).
const REMOTE_WAKEUP: u16 = 1;
const ENDPOINT_HALT: u16 = 0;

/// Report types (HID 1.11, 7.2.1).
const INPUT: u8 = 1;
const OUTPUT: u8 = 2;

/// What a HID device does.
pub trait Function: Default + Send + 'static {
    /// What it says of itself.
    const IDENTITY: Identity;

    /// The next report, if there is something to report; `boot` in the boot protocol's form (HID 1.11, appendix B).
    fn next(&mut self, boot: bool) -> Option<Vec<u8>>;
    /// The report of how everything is, as far as the host has been told.
    fn current(&self, boot: bool) -> Vec<u8>;
    /// Takes an output report. False if there is none of it.
    fn output(&mut self, data: &[u8]) -> bool {
        let _ = data;
        false
    }
    /// Forgets what waits; the host has been told of nothing.
    fn clear(&mut self);
    /// Whether another press is taken.
    fn has_room(&self) -> bool;
}

/// A HID device.
pub struct Hid<F> {
    state: Mutex<State<F>>,
    /// Taken after the state's lock was given back.
    upstream: Mutex<Option<Arc<dyn Upstream>>>,
}

#[derive(Debug, Default)]
struct State<F> {
    function: F,
    bus: Bus,
    configured: bool,
    /// The boot protocol was chosen.
    boot: bool,
    /// Set and read back.
    idle: u8,
    remote_wakeup: bool,
    halted: bool,
    /// Bytes that the host has room for in the transfer that waits for a report.
    waiting: Option<usize>,
    /// The host has asked for reports, and has not withdrawn that.
    reads: bool,
    room: Room,
}

impl<F: Function> Default for Hid<F> {
    fn default() -> Self {
        Self { state: Mutex::default(), upstream: Mutex::default() }
    }
}

impl<F: Function> Hid<F> {
    fn lock(&self) -> MutexGuard<'_, State<F>> {
        // What waits and a few flags: a panicking holder left nothing that a reset would not mend.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn upstream(&self) -> Option<Arc<dyn Upstream>> {
        self.upstream.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the guest uses it: its driver asks for reports, or has suspended it so that it can wake the guest.
    pub fn is_used(&self) -> bool {
        self.lock().is_used()
    }

    /// Signals `event` when there is room for another press: at once if none was refused.
    pub(super) fn signal_room(&self, event: &Arc<EventFd>) {
        self.lock().room.signal(event);
    }

    /// Lets `act` happen to the device if the guest uses it, and tells the host.
    fn happen(&self, act: impl FnOnce(&mut F) -> bool) -> Taken {
        let (taken, news, wakes) = {
            let mut state = self.lock();
            if !state.is_used() {
                return Taken::Unwanted;
            }
            let taken = act(&mut state.function);
            state.room.wanted_for_keys |= !taken;
            state.update_room();
            (taken, state.waiting.is_some(), state.bus == Bus::Suspended)
        };
        if let Some(upstream) = self.upstream() {
            if wakes {
                upstream.wake();
            } else if news {
                upstream.finished(REPORTS);
            }
        }
        if taken { Taken::Yes } else { Taken::Full }
    }

    /// The same for what must not be lost: it happens whether or not the guest uses the device now.
    fn happen_always(&self, act: impl FnOnce(&mut F)) {
        let news = {
            let mut state = self.lock();
            act(&mut state.function);
            state.waiting.is_some() && state.bus == Bus::Active
        };
        if let Some(upstream) = self.upstream().filter(|_| news) {
            upstream.finished(REPORTS);
        }
    }

    /// Something of the device, for a question.
    fn ask<T>(&self, question: impl FnOnce(&F) -> T) -> T {
        question(&self.lock().function)
    }
}

impl<F: Function> State<F> {
    fn is_used(&self) -> bool {
        self.configured
            && match self.bus {
                Bus::Active => self.reads,
                Bus::Suspended => self.remote_wakeup,
                Bus::Halted => false,
            }
    }

    fn update_room(&mut self) {
        // A device that is not used takes nothing, and who waits for it goes elsewhere.
        let room = !self.is_used() || self.function.has_room();
        self.room.update(room, room);
    }

    /// Unconfigured: nothing is reported.
    fn unconfigure(&mut self) {
        self.function.clear();
        (self.configured, self.boot, self.idle, self.halted) = (false, false, 0, false);
        (self.waiting, self.reads) = (None, false);
        self.update_room();
    }

    fn report(&mut self, room: usize) -> Option<Completion> {
        let mut report = self.function.next(self.boot)?;
        self.update_room();
        if report.len() <= room {
            return Some(Completion::sent(report));
        }
        report.truncate(room);
        Some(Completion { outcome: Outcome::Babble, data: report, taken: 0 })
    }

    fn control(&mut self, setup: Setup, data: &[u8]) -> Option<Completion> {
        if setup.is_in() {
            let mut answer = match setup.kind() {
                RequestType::Standard => self.standard_in(setup),
                RequestType::Class => self.class_in(setup),
                RequestType::Other => None,
            }?;
            answer.truncate(usize::from(setup.length));
            return Some(Completion::sent(answer));
        }
        let done = match setup.kind() {
            RequestType::Standard => self.standard_out(setup),
            RequestType::Class => self.class_out(setup, data),
            RequestType::Other => false,
        };
        done.then(|| Completion::took(data.len()))
    }

    fn standard_in(&self, setup: Setup) -> Option<Vec<u8>> {
        let Setup { request_type, request, value, index, .. } = setup;
        Some(match (request_type & 0x1f, request) {
            // GET_STATUS of the device, the interface and the endpoints.
            (0, 0) => vec![u8::from(self.remote_wakeup) << 1, 0],
            (1, 0) if index == 0 => vec![0, 0],
            (2, 0) if index as u8 & 0x7f == 0 => vec![0, 0],
            (2, 0) if index as u8 == REPORTS => vec![u8::from(self.halted), 0],
            // GET_DESCRIPTOR
            (0 | 1, 6) => return F::IDENTITY.descriptor(value, index),
            // GET_CONFIGURATION, GET_INTERFACE
            (0, 8) => vec![u8::from(self.configured)],
            (1, 10) if self.configured && index == 0 => vec![0],
            _ => return None,
        })
    }

    fn standard_out(&mut self, setup: Setup) -> bool {
        let Setup { request_type, request, value, index, .. } = setup;
        match (request_type & 0x1f, request) {
            // CLEAR_FEATURE, SET_FEATURE
            (0, 1 | 3) if value == REMOTE_WAKEUP => self.remote_wakeup = request == 3,
            (2, 1 | 3) if value == ENDPOINT_HALT && index as u8 == REPORTS => self.halted = request == 3,
            (2, 1) if value == ENDPOINT_HALT && index as u8 & 0x7f == 0 => {}
            // SET_CONFIGURATION
            (0, 9) if value as u8 <= 1 => {
                self.unconfigure();
                self.configured = value as u8 == 1;
            }
            // SET_INTERFACE
            (1, 11) if self.configured && (value, index) == (0, 0) => self.halted = false,
            _ => return false,
        }
        true
    }

    /// Whether a class request is for the interface, which has no report IDs.
    fn is_ours(setup: Setup) -> bool {
        setup.request_type & 0x1f == 1 && setup.index == 0
    }

    fn class_in(&self, setup: Setup) -> Option<Vec<u8>> {
        let [_, kind] = setup.value.to_le_bytes();
        match setup.request {
            _ if !Self::is_ours(setup) => None,
            // GET_REPORT, which takes nothing of what waits.
            1 if kind == INPUT => Some(self.function.current(self.boot)),
            // GET_IDLE
            2 => Some(vec![self.idle]),
            // GET_PROTOCOL
            3 if F::IDENTITY.boots() => Some(vec![u8::from(!self.boot)]),
            _ => None,
        }
    }

    fn class_out(&mut self, setup: Setup, data: &[u8]) -> bool {
        let [low, high] = setup.value.to_le_bytes();
        match setup.request {
            _ if !Self::is_ours(setup) => return false,
            // SET_REPORT
            9 if high == OUTPUT => return self.function.output(data),
            // SET_IDLE
            10 => self.idle = high,
            // SET_PROTOCOL
            11 if F::IDENTITY.boots() && setup.value <= 1 => self.boot = low == 0,
            _ => return false,
        }
        true
    }
}

impl<F: Function> UsbDevice for Hid<F> {
    fn speed(&self) -> Speed {
        Speed::Full
    }

    fn connect(&self, upstream: Arc<dyn Upstream>) {
        *self.upstream.lock().unwrap_or_else(PoisonError::into_inner) = Some(upstream);
    }

    fn disconnect(&self) {
        *self.upstream.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.reset();
        self.set_bus(Bus::Halted);
    }

    fn reset(&self) {
        let mut state = self.lock();
        state.unconfigure();
        state.remote_wakeup = false;
    }

    fn set_bus(&self, bus: Bus) {
        let mut state = self.lock();
        state.bus = bus;
        state.update_room();
    }

    fn submit(&self, endpoint: u8, transfer: Transfer) -> Option<Completion> {
        let mut state = self.lock();
        let stall = Some(Completion::failed(Outcome::Stall));
        match transfer {
            Transfer::Control { setup, data } if endpoint == 0 => state.control(setup, &data).or(stall),
            Transfer::In { length } if endpoint == REPORTS && state.configured && !state.halted => {
                state.reads = true;
                let report = state.report(length);
                if report.is_none() {
                    state.waiting = Some(length);
                }
                report
            }
            _ => stall,
        }
    }

    fn take(&self, endpoint: u8) -> Option<Completion> {
        let mut state = self.lock();
        let room = state.waiting.filter(|_| endpoint == REPORTS)?;
        let report = state.report(room)?;
        state.waiting = None;
        Some(report)
    }

    fn cancel(&self, endpoint: u8) {
        if endpoint == REPORTS {
            let mut state = self.lock();
            (state.waiting, state.reads) = (None, false);
            state.update_room();
        }
    }
}
