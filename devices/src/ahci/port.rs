//! A port: its registers (AHCI 1.3.1, 3.3), and the three ways to reset what is connected to it (10.4).
//!
//! The device's side is the port's worker ([`command`], [`queued`]). What it does for a command is valid while the command's *generation*
//! is the port's: stopping the command list and all resets begin a new one. Commands of which the kernel has guest memory are waited for
//! there: whoever has written to the register finds that memory at rest.

mod command;
mod queued;

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::event;
use crate::pci::dma::{Dma, Lease};

use super::device::{AtaDevice, Reset};
use super::fis::{REGISTER_AT, TaskFile};
use super::hba::Signals;
use super::registers::{BSY, CCS_SHIFT, CMD_STORED, CR, FR, FRE, IE_MASK, READY, ST, SUD_POD, port};

pub(super) use command::{Job, Resets};

/// A link without device, and one that is up at 1.5 Gbit/s.
const LINK_UP: u32 = 0x113;
/// PxSCTL: what is to be done with the link; and what is stored.
const DET: u32 = 0xf;
const SCTL_STORED: u32 = 0xfff;
/// Before the device's first frame.
const NOTHING: u8 = 0x7f;

/// Guest memory that the kernel may use for commands.
struct Lent {
    /// Theirs.
    generation: u64,
    _lease: Lease,
}

struct State {
    list: u64,
    frames: u64,
    causes: u32,
    enabled: u32,
    /// ST, FRE and what is only stored.
    command: u32,
    status: u8,
    error: u8,
    signature: u32,
    link: u32,
    /// PxSERR.
    errors: u32,
    issued: u32,
    /// PxSACT: queued commands that have not ended.
    active: u32,
    /// The slot that the device works on, or has worked on last.
    slot: u32,
    working: bool,
    /// The command at hand has announced data that the processor is thought to read.
    announced: bool,
    /// A command has failed: no other one begins before software has stopped the list.
    halted: bool,
    /// The device has its signature to tell.
    signature_due: bool,
    /// Software keeps the device in reset.
    held: bool,
    generation: u64,
    lent: Option<Lent>,
    /// Of the device.
    resets: Resets,
}

impl State {
    const POWER_ON: Self = Self {
        list: 0,
        frames: 0,
        causes: 0,
        enabled: 0,
        command: 0,
        status: NOTHING,
        error: 0,
        signature: u32::MAX,
        link: 0,
        errors: 0,
        issued: 0,
        active: 0,
        slot: 0,
        working: false,
        announced: false,
        halted: false,
        signature_due: true,
        held: false,
        generation: 0,
        lent: None,
        resets: Resets { all: 0, power_on: 0 },
    };

    /// Gives up what is under way.
    fn abandon(&mut self) {
        self.generation += 1;
        self.active = 0;
        let working = std::mem::take(&mut self.working);
        let issued = std::mem::take(&mut self.issued) != 0;
        // A queued command that has failed is not in the list any more.
        let halted = std::mem::take(&mut self.halted);
        if working || issued && !halted {
            self.status = READY;
        }
    }

    /// Whether memory is at work for commands that were given up.
    fn is_unsettled(&self) -> bool {
        self.lent.as_ref().is_some_and(|lent| lent.generation != self.generation)
    }

    fn set_low(register: &mut u64, value: u32) {
        *register = *register & !0xffff_ffff | u64::from(value);
    }

    fn set_high(register: &mut u64, value: u32) {
        *register = *register & 0xffff_ffff | u64::from(value) << 32;
    }
}

/// A port with a device.
pub(super) struct Port {
    index: usize,
    signature: u32,
    on_reset: Box<dyn Fn(Reset) + Send + Sync>,
    pub(super) dma: Dma,
    signals: Arc<Signals>,
    doorbell: Arc<EventFd>,
    state: Mutex<State>,
    /// Signalled when lent memory is back.
    returned: Condvar,
}

impl Port {
    pub(super) fn new(
        index: usize,
        device: &dyn AtaDevice,
        dma: Dma,
        signals: Arc<Signals>,
    ) -> io::Result<Arc<Self>> {
        let doorbell = Arc::new(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?);
        dma.signal_when_changed(Arc::clone(&doorbell));
        Ok(Arc::new(Self {
            index,
            signature: device.signature(),
            on_reset: device.on_reset(),
            dma,
            signals,
            doorbell,
            state: Mutex::new(State::POWER_ON),
            returned: Condvar::new(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Registers, any values of which a guest could have brought about.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the worker.
    pub(super) fn ring(&self) {
        // Only a counter about to overflow refuses, and then it is awake.
        let _ = self.doorbell.write(1);
    }

    /// What wakes the worker.
    pub(super) fn doorbell(&self) -> &Arc<EventFd> {
        &self.doorbell
    }

    /// Sleeps until somebody rings, or the other event is signalled.
    pub(super) fn wait(&self, other: Option<&EventFd>) {
        match other {
            Some(other) => event::wait(&[&self.doorbell, other]),
            None => event::wait(&[&self.doorbell]),
        }
    }

    /// Waits until no memory is at work any more for commands that were given up.
    pub(super) fn settle(&self) {
        self.settle_from(self.lock());
    }

    fn settle_from(&self, mut state: MutexGuard<'_, State>) {
        if state.is_unsettled() {
            self.ring();
        }
        while state.is_unsettled() {
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Reads a register.
    pub(super) fn read(&self, register: u64) -> u32 {
        let state = self.lock();
        match register {
            port::CLB => state.list as u32,
            port::CLBU => (state.list >> 32) as u32,
            port::FB => state.frames as u32,
            port::FBU => (state.frames >> 32) as u32,
            port::IS => state.causes,
            port::IE => state.enabled,
            port::CMD => {
                let receiving = if state.command & FRE != 0 { FR } else { 0 };
                let runs = state.command & ST != 0 || state.is_unsettled();
                let running = if runs { CR | state.slot << CCS_SHIFT } else { 0 };
                state.command | SUD_POD | receiving | running
            }
            port::TFD => u32::from(state.error) << 8 | u32::from(state.status),
            port::SIG => state.signature,
            port::SSTS => match state.link & DET {
                0 => LINK_UP,
                // Taken down, or off.
                4 => 4,
                _ => 0,
            },
            port::SCTL => state.link,
            port::SERR => state.errors,
            port::SACT => state.active,
            port::CI => state.issued,
            _ => 0,
        }
    }

    /// Writes a register.
    pub(super) fn write(&self, register: u64, value: u32) {
        let mut state = self.lock();
        let generation = state.generation;
        match register {
            port::CLB => State::set_low(&mut state.list, value & !0x3ff),
            port::CLBU => State::set_high(&mut state.list, value),
            port::FB => State::set_low(&mut state.frames, value & !0xff),
            port::FBU => State::set_high(&mut state.frames, value),
            port::IS => state.causes &= !value,
            port::IE => state.enabled = value & IE_MASK,
            port::CMD => self.write_command(&mut state, value),
            port::SCTL => self.write_link(&mut state, value & SCTL_STORED),
            port::SERR => state.errors &= !value,
            port::SACT if state.command & ST != 0 => state.active |= value,
            port::CI if state.command & ST != 0 => {
                state.issued |= value;
                if state.issued != 0 && !state.halted && !state.working && self.dma.enabled() {
                    // The worker is about to begin; who looks meanwhile is not to see the command before.
                    state.status = READY | BSY;
                }
                self.ring();
            }
            _ => {}
        }
        self.publish(&state);
        if state.generation != generation {
            // The worker gives up what has no memory that is waited for, too.
            self.ring();
        }
        self.settle_from(state);
    }

    fn write_command(&self, state: &mut State, value: u32) {
        let before = std::mem::replace(&mut state.command, value & (ST | FRE | CMD_STORED));
        if before & ST != 0 && value & ST == 0 {
            state.abandon();
        }
        if value & FRE != 0 {
            self.tell_signature(state);
        }
    }

    /// PxSCTL: the link is taken down, and with it the device is reset when it comes up again (COMRESET).
    fn write_link(&self, state: &mut State, value: u32) {
        let before = std::mem::replace(&mut state.link, value);
        match (before & DET, value & DET) {
            (0, 0) => {}
            (_, 0) => {
                self.reset_device(state, Reset::Bus);
                state.signature_due = true;
                self.tell_signature(state);
            }
            _ => {
                state.abandon();
                (state.status, state.error, state.signature) = (NOTHING, 0, u32::MAX);
                state.signature_due = false;
            }
        }
    }

    fn reset_device(&self, state: &mut State, kind: Reset) {
        state.abandon();
        state.held = false;
        state.resets.all += 1;
        state.resets.power_on += u64::from(kind == Reset::PowerOn);
        (self.on_reset)(kind);
    }

    /// The device's first frame after a reset, once it can be received.
    fn tell_signature(&self, state: &mut State) {
        if state.command & FRE != 0 && std::mem::take(&mut state.signature_due) {
            state.signature = self.signature;
            self.show(state, &TaskFile::signature(self.signature), false);
        }
    }

    /// Takes over the device's registers, and gives them to the guest.
    fn show(&self, state: &mut State, registers: &TaskFile, interrupt: bool) {
        (state.status, state.error) = (registers.status, registers.error);
        self.post(state, REGISTER_AT, &registers.frame(interrupt));
    }

    fn post(&self, state: &State, at: u64, frame: &[u8]) {
        if state.command & FRE != 0 {
            // Where the guest has no memory, it reads nothing.
            let _ = self.dma.write(state.frames.wrapping_add(at), frame);
        }
    }

    fn publish(&self, state: &State) {
        self.signals.set_port(self.index, state.causes & state.enabled != 0);
    }

    /// Gives up all commands for good, and wakes the worker.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.command &= !ST;
        state.abandon();
        self.ring();
    }

    /// Resets port and device. [`Self::settle`] waits for what was under way.
    pub(super) fn reset(&self, kind: Reset) {
        let mut state = self.lock();
        self.reset_device(&mut state, kind);
        let kept = match kind {
            Reset::PowerOn => (0, 0),
            // These survive a reset of the controller (AHCI 1.3.1, 10.4.3).
            Reset::Bus => (state.list, state.frames),
        };
        let lent = state.lent.take();
        let State { generation, resets, .. } = *state;
        *state = State { list: kept.0, frames: kept.1, generation, lent, resets, ..State::POWER_ON };
        self.publish(&state);
        self.ring();
    }
}
