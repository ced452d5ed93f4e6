//! Control transfers: which the kernel makes in its own way, which are answered here, and which the device is asked.

use devices::usb::device::{Completion, Outcome, RequestType, Setup};

use super::State;
use super::worker::Job;

/// Standard requests (USB 2.0, table 9-4; USB 3.1, table 9-5).
const GET_STATUS: u8 = 0;
const CLEAR_FEATURE: u8 = 1;
const SET_FEATURE: u8 = 3;
const SET_ADDRESS: u8 = 5;
const GET_DESCRIPTOR: u8 = 6;
const GET_CONFIGURATION: u8 = 8;
const SET_CONFIGURATION: u8 = 9;
const SET_INTERFACE: u8 = 11;
const SET_SEL: u8 = 48;
const SET_ISOCH_DELAY: u8 = 49;
/// Features: of an endpoint; of a device, waking and the link's power states.
const ENDPOINT_HALT: u16 = 0;
const REMOTE_WAKEUP: u16 = 1;
const U1_ENABLE: u16 = 48;
const LTM_ENABLE: u16 = 50;

/// The guest's control transfer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Control {
    /// There is none.
    #[default]
    Idle,
    /// The worker has it, by this number.
    Waiting(u64),
    /// Its end waits for the guest.
    Ended(Completion),
}

/// Whose a control transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Succeeds, and does nothing.
    Nothing,
    /// GET_CONFIGURATION, which is known.
    Configuration,
    /// The kernel sets the configuration.
    Configure(u8),
    /// The kernel chooses an interface's setting.
    Interface(u8, u8),
    /// The kernel clears the halt of an endpoint.
    ClearHalt(u8),
    /// The device answers.
    Device,
}

impl Kind {
    pub(super) fn of(setup: Setup) -> Self {
        let Setup { request_type, request, value, index, .. } = setup;
        if setup.kind() != RequestType::Standard {
            return Self::Device;
        }
        let [low, _] = value.to_le_bytes();
        let [place, _] = index.to_le_bytes();
        match (request_type, request) {
            (0x00, SET_ADDRESS | SET_SEL | SET_ISOCH_DELAY) => Self::Nothing,
            (0x00, CLEAR_FEATURE | SET_FEATURE)
                if value == REMOTE_WAKEUP || (U1_ENABLE..=LTM_ENABLE).contains(&value) =>
            {
                Self::Nothing
            }
            (0x80, GET_CONFIGURATION) => Self::Configuration,
            (0x00, SET_CONFIGURATION) => Self::Configure(low),
            (0x01, SET_INTERFACE) => Self::Interface(place, low),
            (0x02, CLEAR_FEATURE) if value == ENDPOINT_HALT => Self::ClearHalt(place),
            _ => Self::Device,
        }
    }
}

/// Whether a request leaves the device as it is for whoever comes next.
fn only_reads(setup: Setup) -> bool {
    setup.is_in()
        && setup.kind() == RequestType::Standard
        && matches!(setup.request, GET_STATUS | GET_DESCRIPTOR | GET_CONFIGURATION)
}

impl State {
    /// Begins a control transfer.
    pub(super) fn request(&mut self, setup: Setup, data: Vec<u8>) -> Option<Completion> {
        match Kind::of(setup) {
            Kind::Nothing => return Some(Completion::took(data.len())),
            Kind::Configuration => {
                let answer = [self.configuration];
                return Some(Completion::sent(answer.into_iter().take(usize::from(setup.length)).collect()));
            }
            _ => {}
        }
        self.number += 1;
        self.control = Control::Waiting(self.number);
        self.jobs.push_back(Job::Control { number: self.number, setup, data });
        None
    }

    /// Notes that the device is asked something.
    pub(super) fn note(&mut self, setup: Setup) {
        self.used |= !only_reads(setup);
    }

    pub(super) fn take_control(&mut self) -> Option<Completion> {
        match std::mem::take(&mut self.control) {
            Control::Ended(completion) => Some(completion),
            other => {
                self.control = other;
                None
            }
        }
    }

    pub(super) fn cancel_control(&mut self) {
        self.control = Control::Idle;
        self.jobs.retain(|job| !matches!(job, Job::Control { .. }));
    }

    /// The worker is done with a control transfer. True if the guest still wants to know.
    pub(super) fn end_control(&mut self, number: u64, completion: Completion) -> bool {
        let wanted = self.control == Control::Waiting(number);
        if wanted {
            self.control = Control::Ended(completion);
        }
        wanted
    }
}

/// A control transfer that the device, or the kernel, refuses.
pub(super) fn stall() -> Completion {
    Completion::failed(Outcome::Stall)
}
