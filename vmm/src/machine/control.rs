//! The machine's control socket: what it acts on, and what the run loop tells it.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

use vmm_sys_util::eventfd::EventFd;

use super::build::Board;
use super::consoles::Consoles;
use super::end::End;
use super::listen::{SerialInput, Wake};
use super::refused;
use super::vcpus::Vcpus;
use crate::config::Config;
use crate::control::{Announcement, Ask, Door, Facts, Herald, Machine, PassedDevice, Server};
use crate::cpu::conductor::Request;
use crate::outcome::{Failure, Outcome};
use crate::plan::MachinePlan;
use crate::session::{Cause, Trigger};

/// A control socket that is open and not served yet.
pub(super) struct Control {
    door: Door,
    herald: Herald,
    facts: Facts,
    began: Instant,
}

impl Control {
    /// Opens the socket, before anything of the host is taken for the machine.
    pub(super) fn open(config: &Config, plan: &MachinePlan, began: Instant) -> Result<Option<Self>, Failure> {
        let door = Door::open(&config.machine.control, &config.name)
            .map_err(|error| Failure::Refused(error.to_string()))?;
        let Some(door) = door else { return Ok(None) };
        let herald = Herald::new().map_err(refused("create an event"))?;
        let lent = |device: &crate::plan::PlannedPassthrough| PassedDevice {
            key: device.key.clone(),
            host: device.host.to_string(),
        };
        let facts = Facts {
            name: config.name.clone(),
            vcpus: plan.apic_ids.len(),
            memory: plan.memory.size,
            devices: plan.passthrough.iter().map(lent).collect(),
        };
        Ok(Some(Self { door, herald, facts, began }))
    }

    /// What the run loop tells of itself to.
    pub(super) fn herald(&self) -> Herald {
        self.herald.clone()
    }

    /// What serves the socket in the run loop. `room` is signalled when COM1 takes more input.
    pub(super) fn serve(
        self,
        board: &Board,
        vcpus: &Vcpus,
        consoles: &Consoles,
        room: EventFd,
        wake: Sender<Wake>,
    ) -> Result<Server, Failure> {
        let Self { door, herald, facts, began } = self;
        let conductor = Arc::clone(vcpus.conductor());
        let ask = move |what| {
            // The receiver lives as long as the loop.
            let _ = match what {
                Ask::PowerButton => wake.send(Wake::Trigger(Trigger::PowerKey)),
                Ask::Quit => wake.send(Wake::Trigger(Trigger::Quit)),
                Ask::Reset => {
                    conductor.request(Request::ResetButton);
                    Ok(())
                }
            };
        };
        let machine = Machine {
            facts,
            began,
            exits: Box::new(vcpus.exits()),
            ask: Box::new(ask),
            output: consoles.serial.tee(),
            sink: Arc::new(SerialInput(Arc::clone(&board.devices.serial))),
            room,
            screen: board.screen(),
            input: Some(board.input()),
        };
        door.serve(machine, herald).map_err(refused("serve the control socket"))
    }
}

/// What a kept machine's state is called, as in QMP.
pub(super) fn stopped(outcome: &Outcome) -> Announcement {
    Announcement::Stopped(match outcome {
        Outcome::PoweredOff | Outcome::Rebooted => "shutdown",
        _ => "guest-panicked",
    })
}

/// The end, in QMP's words as far as it has any.
pub(super) fn ended(end: &End) -> Announcement {
    let (guest, reason) = match end {
        End::Itself(Outcome::PoweredOff) => (true, "guest-shutdown"),
        End::Itself(Outcome::Rebooted) => (true, "guest-reset"),
        End::Itself(Outcome::Crashed(_)) => (true, "guest-panic"),
        End::Ended(Cause::Quit, _) => (false, "host-qmp-quit"),
        End::Itself(_) | End::Unfit(_) | End::Ended(Cause::DeviceFailed(_), _) => (false, "host-error"),
        End::Ended(..) => (false, "host-signal"),
    };
    Announcement::Ended { guest, reason }
}
