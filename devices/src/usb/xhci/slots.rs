//! Devices that the driver has given a slot, and the transfers of their endpoints (xHCI 1.1, 4.5 and 4.8).

use std::sync::Arc;

use crate::pci::dma::{Dma, DmaError};
use crate::usb::device::{Bus, Completion, Outcome, UsbDevice};

use super::context::{self, ENDPOINTS, EndpointState, SlotState};
use super::events::Events;
use super::ring::Ring;
use super::td::{self, Td, TdError};
use super::trb::{Code, Trb, kind};
use super::{SLOTS, State};

/// Transfers that are made in one go. An endpoint that has more ready is in error: no driver prepares so many for a device that answers at once, and a
/// ring that is closed in itself never ends.
const TRANSFERS: usize = 1024;

/// A device that the driver has given a slot.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) state: SlotState,
    /// The root port, from 0.
    pub(super) port: Option<usize>,
    /// Which of all devices that have been plugged in it is of.
    pub(super) arrival: u64,
    /// Where its output device context is.
    pub(super) contexts: u64,
    /// By device context index.
    pub(super) endpoints: [Option<Box<Pipe>>; ENDPOINTS],
}

/// An endpoint that the driver has set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pipe {
    pub(super) state: EndpointState,
    /// The next transfer, and the one that is under way.
    pub(super) ring: Ring,
    pub(super) flight: Option<Td>,
    /// The doorbell was rung, and not all that was there has been done.
    rung: bool,
    isochronous: bool,
}

impl Pipe {
    pub(super) fn new(ring: Ring, isochronous: bool) -> Self {
        Self { state: EndpointState::Running, ring, flight: None, rung: false, isochronous }
    }

    /// Writes state and ring into the endpoint's context.
    pub(super) fn store(&self, at: u64, dma: &Dma) -> Result<(), DmaError> {
        let mut context = context::read(dma, at)?;
        context::endpoint::set(&mut context, self.state, self.ring);
        context::write(dma, at, context)
    }
}

/// What an endpoint of a slot needs for its work.
struct Work<'a> {
    dma: &'a Dma,
    events: &'a mut Events,
    /// None when it is gone.
    device: Option<&'a Arc<dyn UsbDevice>>,
    slot: usize,
    endpoint: usize,
    contexts: u64,
}

impl Slot {
    pub(super) fn new() -> Self {
        Self {
            state: SlotState::Enabled,
            port: None,
            arrival: 0,
            contexts: 0,
            endpoints: std::array::from_fn(|_| None),
        }
    }
}

impl State {
    /// The device of a slot, unless it is gone.
    pub(super) fn device(&self, slot: usize) -> Option<Arc<dyn UsbDevice>> {
        let slot = self.slots.get(slot)?.as_ref()?;
        let port = self.ports.get(slot.port?).filter(|port| port.arrival() == Some(slot.arrival))?;
        port.device().cloned()
    }

    /// Withdraws what is under way at an endpoint, and returns it.
    pub(super) fn withdraw(&mut self, slot: usize, endpoint: usize) -> Option<Td> {
        let device = self.device(slot);
        let pipe = self.pipe(slot, endpoint)?;
        let td = pipe.flight.take();
        // Even with nothing under way: the device learns that nobody asks any more.
        if let Some(device) = device {
            device.cancel(context::address(endpoint));
        }
        td
    }

    /// An endpoint that is set up.
    pub(super) fn pipe(&mut self, slot: usize, endpoint: usize) -> Option<&mut Pipe> {
        self.slots.get_mut(slot)?.as_mut()?.endpoints.get_mut(endpoint)?.as_deref_mut()
    }

    /// Drops an endpoint.
    pub(super) fn drop_pipe(&mut self, slot: usize, endpoint: usize) {
        self.withdraw(slot, endpoint);
        if let Some(Some(slot)) = self.slots.get_mut(slot)
            && let Some(pipe) = slot.endpoints.get_mut(endpoint)
        {
            *pipe = None;
        }
    }

    /// Disables a slot.
    pub(super) fn free_slot(&mut self, slot: usize) {
        (0..ENDPOINTS).for_each(|endpoint| self.drop_pipe(slot, endpoint));
        if let Some(slot) = self.slots.get_mut(slot) {
            *slot = None;
        }
    }

    /// The doorbell of an endpoint. One that is halted, in error or not there takes no notice.
    pub(super) fn ring_endpoint(&mut self, slot: usize, endpoint: usize) {
        if slot > SLOTS {
            return;
        }
        let contexts = self.slots.get(slot).and_then(Option::as_ref).map_or(0, |slot| slot.contexts);
        let dma = self.dma.clone();
        let Some(pipe) = self.pipe(slot, endpoint) else { return };
        if pipe.state == EndpointState::Stopped {
            pipe.state = EndpointState::Running;
            // A context that is no RAM tells nobody anything.
            let _ = pipe.store(context::of_endpoint(contexts, endpoint), &dma);
        }
        if pipe.state == EndpointState::Running {
            pipe.rung = true;
            self.run_endpoint(slot, endpoint);
        }
    }

    /// Ends the transfer of an endpoint that is done, and begins no other.
    pub(super) fn settle_endpoint(&mut self, slot: usize, endpoint: usize) {
        if let Some(pipe) = self.pipe(slot, endpoint) {
            pipe.rung = false;
            self.run_endpoint(slot, endpoint);
        }
    }

    /// Makes the transfers of an endpoint, as far as the device answers.
    pub(super) fn run_endpoint(&mut self, slot: usize, endpoint: usize) {
        let running = self.is_running();
        let Self { dma, events, ports, slots, .. } = self;
        let Some(Some(Slot { port: Some(port), arrival, contexts, endpoints, .. })) = slots.get_mut(slot)
        else {
            return;
        };
        let Some(Some(pipe)) = endpoints.get_mut(endpoint) else { return };
        let Some(port) = ports.get(*port) else { return };
        let device = port.device().filter(|_| port.arrival() == Some(*arrival));
        // Nobody answers at the address of a device that is gone, whether or not another one is there.
        let answers = if device.is_some() { port.bus(running) == Bus::Active } else { running };
        if !answers {
            return;
        }
        let mut work = Work { dma, events, device, slot, endpoint, contexts: *contexts };
        for _ in 0..TRANSFERS {
            let goes_on = pipe.state == EndpointState::Running && (pipe.rung || pipe.flight.is_some());
            if !goes_on || !work.step(pipe) {
                return;
            }
        }
        work.give_up(pipe, "more transfers than can be");
    }
}

impl Work<'_> {
    fn to_host(&self) -> bool {
        context::address(self.endpoint) & 0x80 != 0
    }

    /// Makes or ends one transfer. False when there is nothing to do now.
    fn step(&mut self, pipe: &mut Pipe) -> bool {
        self.events.flush(self.dma);
        if self.events.is_backlogged() || !self.dma.enabled() {
            return false;
        }
        let address = context::address(self.endpoint);
        let (td, completion) = if let Some(td) = pipe.flight.take() {
            let completion = match self.device {
                Some(device) => device.take(address),
                None => Some(Completion::failed(Outcome::NoAnswer)),
            };
            let Some(completion) = completion else {
                pipe.flight = Some(td);
                return false;
            };
            (td, completion)
        } else {
            match self.begin(pipe) {
                Ok(Some(begun)) => begun,
                Ok(None) => return false,
                Err(TdError::NotNow) => return false,
                Err(TdError::Malformed) => {
                    self.give_up(pipe, "a transfer that is none");
                    return false;
                }
            }
        };
        self.finish(pipe, &td, &completion);
        true
    }

    /// Begins the next transfer; what it becomes, if that is known at once.
    fn begin(&self, pipe: &mut Pipe) -> Result<Option<(Td, Completion)>, TdError> {
        let Some(td) = Td::fetch(pipe.ring, self.endpoint == 1, self.dma)? else {
            pipe.rung = false;
            return Ok(None);
        };
        if pipe.isochronous {
            return Ok(Some((td, Completion::failed(Outcome::NoAnswer))));
        }
        let Some(transfer) = td.transfer(self.to_host(), self.dma)? else {
            return Ok(Some((td, Completion::took(0))));
        };
        let Some(device) = self.device else {
            return Ok(Some((td, Completion::failed(Outcome::NoAnswer))));
        };
        match device.submit(context::address(self.endpoint), transfer) {
            Some(completion) => Ok(Some((td, completion))),
            None => {
                pipe.flight = Some(td);
                Ok(None)
            }
        }
    }

    fn finish(&mut self, pipe: &mut Pipe, td: &Td, completion: &Completion) {
        if td.scatter(&completion.data, self.dma).is_err() {
            self.give_up(pipe, "a buffer that is no memory");
            return;
        }
        // An isochronous endpoint does not halt (4.10.2).
        if completion.outcome == Outcome::Done || pipe.isochronous {
            pipe.ring = td.next;
        } else {
            pipe.state = EndpointState::Halted;
            self.store(pipe);
        }
        for report in td.reports(completion, self.to_host()) {
            self.events.push(td::event(report, self.slot, self.endpoint), report.interrupts);
        }
    }

    /// The driver has to set the ring's place anew.
    fn give_up(&mut self, pipe: &mut Pipe, what: &str) {
        crate::limited_warn!(
            "USB device {}, endpoint {}: the guest's driver has made {what}; the endpoint is in error",
            self.slot,
            self.endpoint
        );
        if pipe.flight.take().is_some()
            && let Some(device) = self.device
        {
            device.cancel(context::address(self.endpoint));
        }
        pipe.state = EndpointState::Error;
        pipe.rung = false;
        self.store(pipe);
        let rest = (self.slot as u32) << 24 | (self.endpoint as u32) << 16;
        self.events.push(Trb::event(kind::TRANSFER_EVENT, pipe.ring.at, Code::Trb, 0, rest), true);
    }

    fn store(&self, pipe: &Pipe) {
        // A context that is no RAM tells nobody anything.
        let _ = pipe.store(context::of_endpoint(self.contexts, self.endpoint), self.dma);
    }
}
