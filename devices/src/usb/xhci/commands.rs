//! The command ring and its commands (xHCI 1.1, 4.6 and 6.4.3). Each is performed at once, and each is answered.

use super::context::{self, Context, ENDPOINTS, EndpointState, SlotState};
use super::port::Port;
use super::ring::{BadRing, Ring};
use super::slots::{Pipe, Slot};
use super::trb::{Code, Trb, kind};
use super::{PORTS, SLOTS, State};
use crate::pci::dma::DmaError;

/// Commands that are performed in one go: more than a ring has. A ring that is closed in itself never ends.
const COMMANDS: usize = 4096;

/// An input context: which contexts are to be dropped and added, and where they are.
struct Input {
    drop: u32,
    add: u32,
    at: u64,
}

impl Input {
    fn read(state: &State, at: u64) -> Result<Self, Code> {
        let at = at & !0xf;
        let [drop, add, ..] = context::read(&state.dma, at)?;
        Ok(Self { drop, add, at })
    }

    /// The context of this index: 0 is the slot's.
    fn context(&self, state: &State, index: usize) -> Result<Context, Code> {
        Ok(context::read(&state.dma, self.at.wrapping_add((index as u64 + 1) * context::SIZE))?)
    }

    fn adds(&self, index: usize) -> bool {
        self.add >> index & 1 != 0
    }

    fn drops(&self, index: usize) -> bool {
        self.drop >> index & 1 != 0
    }
}

/// What the driver is told of a command.
fn completion(command: u64, code: Code, slot: usize) -> Trb {
    Trb::event(kind::COMMAND_COMPLETION, command, code, 0, (slot as u32) << 24)
}

/// A context that is no RAM. A driver that disables bus mastering under a command gets the same answer.
impl From<DmaError> for Code {
    fn from(_: DmaError) -> Self {
        Self::Parameter
    }
}

impl State {
    pub(super) fn ring_commands(&mut self) {
        self.commands_running = true;
        self.run_commands();
    }

    /// Performs the commands that are there.
    pub(super) fn run_commands(&mut self) {
        self.commands_rung = true;
        for _ in 0..COMMANDS {
            self.events.flush(&self.dma);
            if self.events.is_backlogged() || !self.is_running() || !self.commands_running {
                return;
            }
            match self.commands.next(&self.dma) {
                Ok(Some((at, command))) => self.perform(at, command),
                // Bus mastering may come back.
                Ok(None) => {
                    self.commands_rung = !self.dma.enabled();
                    return;
                }
                Err(BadRing) => return self.fail("a command ring that is none"),
            }
        }
        self.fail("a command ring without end");
    }

    /// Stops the command ring. A driver can do that any number of times before it takes an event, and see from CRCR that it is done.
    pub(super) fn stop_commands(&mut self) {
        self.commands_running = false;
        self.commands_rung = false;
        self.events.push_hint(completion(self.commands.at, Code::CommandRingStopped, 0));
    }

    fn answer(&mut self, command: u64, code: Code, slot: usize) {
        self.events.push(completion(command, code, slot), true);
    }

    fn perform(&mut self, at: u64, command: Trb) {
        let slot = command.slot();
        let (slot, result) = match command.kind() {
            kind::ENABLE_SLOT => match self.enable_slot() {
                Ok(slot) => (slot, Ok(())),
                Err(code) => (0, Err(code)),
            },
            kind::NO_OP_COMMAND => (0, Ok(())),
            kind::GET_PORT_BANDWIDTH => (slot, self.port_bandwidth(command)),
            kind::DISABLE_SLOT..=kind::RESET_DEVICE => (slot, self.perform_on(slot, command)),
            _ => (slot, Err(Code::Trb)),
        };
        self.answer(at, result.err().unwrap_or(Code::Success), slot);
    }

    /// Commands that are for a slot.
    fn perform_on(&mut self, slot: usize, command: Trb) -> Result<(), Code> {
        if self.slot(slot).is_none() {
            return Err(Code::SlotNotEnabled);
        }
        match command.kind() {
            kind::DISABLE_SLOT => self.disable_slot(slot),
            kind::ADDRESS_DEVICE => self.address_device(slot, command),
            kind::CONFIGURE_ENDPOINT if command.flag() => self.deconfigure(slot),
            kind::CONFIGURE_ENDPOINT => self.configure(slot, command),
            kind::EVALUATE_CONTEXT => self.evaluate(slot, command),
            kind::RESET_DEVICE => self.reset_device(slot),
            kind::RESET_ENDPOINT => self.reset_endpoint(slot, command.endpoint()),
            kind::STOP_ENDPOINT => self.stop_endpoint(slot, command.endpoint()),
            kind::SET_TR_DEQUEUE => self.set_dequeue(slot, command),
            _ => Err(Code::Trb),
        }
    }

    fn slot(&self, slot: usize) -> Option<&Slot> {
        self.slots.get(slot)?.as_ref()
    }

    fn contexts(&self, slot: usize) -> u64 {
        self.slot(slot).map_or(0, |slot| slot.contexts)
    }

    fn slot_state(&self, slot: usize) -> SlotState {
        self.slot(slot).map_or(SlotState::Enabled, |slot| slot.state)
    }

    fn enable_slot(&mut self) -> Result<usize, Code> {
        let most = SLOTS.min(self.config as usize);
        let free = self.slots.iter_mut().enumerate().skip(1).take(most).find(|(_, slot)| slot.is_none());
        let (id, slot) = free.ok_or(Code::NoSlots)?;
        *slot = Some(Slot::new());
        Ok(id)
    }

    fn disable_slot(&mut self, slot: usize) -> Result<(), Code> {
        if self.slot_state(slot) > SlotState::Enabled {
            // The driver may have freed the context already.
            let _ = self.store_slot(slot, SlotState::Enabled, None);
        }
        self.free_slot(slot);
        Ok(())
    }

    /// Sets a slot's state, and the index of its last endpoint, in its context and here.
    fn store_slot(&mut self, slot: usize, state: SlotState, last: Option<usize>) -> Result<(), Code> {
        let at = self.contexts(slot);
        let mut context = context::read(&self.dma, at)?;
        let address = if state >= SlotState::Addressed { slot as u8 } else { 0 };
        context::slot::set_state(&mut context, state, address);
        if let Some(last) = last {
            context::slot::set_entries(&mut context, last);
        }
        context::write(&self.dma, at, context)?;
        if let Some(Some(slot)) = self.slots.get_mut(slot) {
            slot.state = state;
        }
        Ok(())
    }

    fn address_device(&mut self, slot: usize, command: Trb) -> Result<(), Code> {
        let (state, blocked) = (self.slot_state(slot), command.flag());
        if state > SlotState::Default || blocked && state == SlotState::Default {
            return Err(Code::ContextState);
        }
        let input = Input::read(self, command.parameter)?;
        if input.drop != 0 || input.add & !1 != 2 || !input.adds(0) {
            return Err(Code::Trb);
        }
        let mut context = input.context(self, 0)?;
        let mut control = input.context(self, 1)?;
        let port = context::slot::port(&context).checked_sub(1).filter(|port| *port < PORTS);
        let port = port.filter(|_| context::slot::route(&context) == 0).ok_or(Code::Trb)?;
        let enabled = self.ports.get(port).filter(|port| port.is_enabled());
        let arrival = enabled.and_then(Port::arrival).ok_or(Code::Transaction)?;
        // The slot of one that is gone takes nothing.
        let taken = |(id, other): (usize, &Option<Slot>)| {
            id != slot
                && other.as_ref().is_some_and(|other| other.port == Some(port) && other.arrival == arrival)
        };
        if self.slots.iter().enumerate().any(taken) {
            return Err(Code::Trb);
        }
        let mut pointer = [0; 8];
        self.dma.read(self.contexts.wrapping_add(slot as u64 * 8), &mut pointer)?;
        let at = u64::from_le_bytes(pointer) & !0x3f;
        let (state, address) =
            if blocked { (SlotState::Default, 0) } else { (SlotState::Addressed, slot as u8) };
        context::slot::set_state(&mut context, state, address);
        let pipe = Pipe::new(context::endpoint::ring(&control), false);
        context::endpoint::set(&mut control, pipe.state, pipe.ring);
        context::write(&self.dma, at, context)?;
        context::write(&self.dma, context::of_endpoint(at, 1), control)?;
        self.withdraw(slot, 1);
        if let Some(Some(slot)) = self.slots.get_mut(slot) {
            (slot.state, slot.port, slot.arrival, slot.contexts) = (state, Some(port), arrival, at);
            if let Some(place) = slot.endpoints.get_mut(1) {
                *place = Some(Box::new(pipe));
            }
        }
        Ok(())
    }

    /// Drops all endpoints but the control endpoint, in memory, too.
    fn drop_pipes(&mut self, slot: usize) -> Result<(), Code> {
        (2..ENDPOINTS).try_for_each(|endpoint| self.disable_endpoint(slot, endpoint))
    }

    fn disable_endpoint(&mut self, slot: usize, endpoint: usize) -> Result<(), Code> {
        if self.pipe(slot, endpoint).is_some() {
            self.drop_pipe(slot, endpoint);
            let at = context::of_endpoint(self.contexts(slot), endpoint);
            let mut context = context::read(&self.dma, at)?;
            context::endpoint::set(&mut context, EndpointState::Disabled, Ring::default());
            context::write(&self.dma, at, context)?;
        }
        Ok(())
    }

    fn deconfigure(&mut self, slot: usize) -> Result<(), Code> {
        match self.slot_state(slot) {
            SlotState::Configured => {
                self.drop_pipes(slot)?;
                self.store_slot(slot, SlotState::Addressed, Some(1))
            }
            SlotState::Addressed => Ok(()),
            _ => Err(Code::ContextState),
        }
    }

    fn configure(&mut self, slot: usize, command: Trb) -> Result<(), Code> {
        if self.slot_state(slot) < SlotState::Addressed {
            return Err(Code::ContextState);
        }
        let input = Input::read(self, command.parameter)?;
        if input.drop & 3 != 0 || input.adds(1) {
            return Err(Code::Trb);
        }
        // All of it, or nothing.
        let mut added = Vec::new();
        for endpoint in (2..ENDPOINTS).filter(|endpoint| input.adds(*endpoint)) {
            let context = input.context(self, endpoint)?;
            let kind = context::endpoint::kind(&context);
            let to_host = !endpoint.is_multiple_of(2);
            if kind & 3 == 0 || (kind & 4 != 0) != to_host || context::endpoint::streams(&context) != 0 {
                return Err(Code::Parameter);
            }
            added.push((endpoint, context, Pipe::new(context::endpoint::ring(&context), kind & 3 == 1)));
        }
        // What is added anew is dropped before, whether or not the driver says so.
        for endpoint in (2..ENDPOINTS).filter(|endpoint| input.drops(*endpoint) || input.adds(*endpoint)) {
            self.disable_endpoint(slot, endpoint)?;
        }
        for (endpoint, mut context, pipe) in added {
            context::endpoint::set(&mut context, pipe.state, pipe.ring);
            context::write(&self.dma, context::of_endpoint(self.contexts(slot), endpoint), context)?;
            if let Some(Some(slot)) = self.slots.get_mut(slot)
                && let Some(place) = slot.endpoints.get_mut(endpoint)
            {
                *place = Some(Box::new(pipe));
            }
        }
        let last = (1..ENDPOINTS).rev().find(|endpoint| self.pipe(slot, *endpoint).is_some()).unwrap_or(1);
        let state = if last > 1 { SlotState::Configured } else { SlotState::Addressed };
        self.store_slot(slot, state, Some(last))
    }

    fn evaluate(&mut self, slot: usize, command: Trb) -> Result<(), Code> {
        if self.slot_state(slot) < SlotState::Default {
            return Err(Code::ContextState);
        }
        let input = Input::read(self, command.parameter)?;
        if input.drop != 0 {
            return Err(Code::Trb);
        }
        let at = self.contexts(slot);
        if input.adds(0) {
            let new = input.context(self, 0)?;
            let mut context = context::read(&self.dma, at)?;
            // Max Exit Latency, Interrupter Target.
            context[1] = context[1] & 0xffff_0000 | new[1] & 0xffff;
            context[2] = context[2] & 0x003f_ffff | new[2] & 0xffc0_0000;
            context::write(&self.dma, at, context)?;
        }
        if input.adds(1) {
            let new = input.context(self, 1)?;
            let at = context::of_endpoint(at, 1);
            let mut context = context::read(&self.dma, at)?;
            context::endpoint::set_packet(&mut context, &new);
            context::write(&self.dma, at, context)?;
        }
        Ok(())
    }

    fn reset_device(&mut self, slot: usize) -> Result<(), Code> {
        if self.slot_state(slot) < SlotState::Addressed {
            return Err(Code::ContextState);
        }
        self.drop_pipes(slot)?;
        self.store_slot(slot, SlotState::Default, Some(1))
    }

    /// The endpoint that a command names.
    fn named(&mut self, slot: usize, endpoint: usize) -> Result<&mut Pipe, Code> {
        self.pipe(slot, endpoint).ok_or(Code::EndpointNotEnabled)
    }

    /// Writes an endpoint's state and ring into its context.
    fn store_pipe(&mut self, slot: usize, endpoint: usize) -> Result<(), Code> {
        let (at, dma) = (context::of_endpoint(self.contexts(slot), endpoint), self.dma.clone());
        Ok(self.named(slot, endpoint)?.store(at, &dma)?)
    }

    fn reset_endpoint(&mut self, slot: usize, endpoint: usize) -> Result<(), Code> {
        let pipe = self.named(slot, endpoint)?;
        if pipe.state != EndpointState::Halted {
            return Err(Code::ContextState);
        }
        pipe.state = EndpointState::Stopped;
        self.store_pipe(slot, endpoint)
    }

    fn stop_endpoint(&mut self, slot: usize, endpoint: usize) -> Result<(), Code> {
        if self.named(slot, endpoint)?.state != EndpointState::Running {
            return Err(Code::ContextState);
        }
        // What the device has taken already must not be sent again when the driver goes on.
        self.settle_endpoint(slot, endpoint);
        if self.named(slot, endpoint)?.state != EndpointState::Running {
            return Err(Code::ContextState);
        }
        let withdrawn = self.withdraw(slot, endpoint);
        self.named(slot, endpoint)?.state = EndpointState::Stopped;
        self.store_pipe(slot, endpoint)?;
        if let Some(td) = withdrawn {
            let (at, left) = td.start();
            let rest = (slot as u32) << 24 | (endpoint as u32) << 16;
            self.events.push(Trb::event(kind::TRANSFER_EVENT, at, Code::Stopped, left, rest), true);
        }
        Ok(())
    }

    fn set_dequeue(&mut self, slot: usize, command: Trb) -> Result<(), Code> {
        let pipe = self.named(slot, command.endpoint())?;
        if !matches!(pipe.state, EndpointState::Stopped | EndpointState::Error) {
            return Err(Code::ContextState);
        }
        pipe.state = EndpointState::Stopped;
        pipe.ring = Ring::from_pointer(command.parameter);
        self.store_pipe(slot, command.endpoint())
    }

    /// Percents of each port's bandwidth: what is left when isochronous transfers have what they may.
    fn port_bandwidth(&mut self, command: Trb) -> Result<(), Code> {
        let mut percents = [80; PORTS + 1];
        percents[0] = 0;
        Ok(self.dma.write(command.parameter & !0xf, &percents)?)
    }
}
