//! What a device asks of the host.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::Waker;
use std::time::Duration;

use devices::usb::device::{Completion, Outcome, Setup, Transfer};

/// Why a transfer failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The device refuses it.
    Stall,
    /// The device did not answer, or not as it should.
    Fault,
    /// It was withdrawn, here or by the kernel.
    Withdrawn,
    /// The kernel does not make it: the number of the error.
    Refused(i32),
    /// The device is gone.
    Gone,
}

/// How a transfer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) result: Result<(), Failure>,
    /// What the device has sent.
    pub(super) data: Vec<u8>,
    /// Bytes that it has taken.
    pub(super) taken: usize,
}

impl Ended {
    pub(super) fn failed(failure: Failure) -> Self {
        Self { result: Err(failure), data: Vec::new(), taken: 0 }
    }

    /// What the controller is told, of a transfer that had this much room. More than that is babble: the kernel takes whole packets.
    pub(super) fn completion(self, room: usize) -> Completion {
        let Self { result, mut data, taken } = self;
        let outcome = match result {
            Ok(()) if data.len() > room => Outcome::Babble,
            Ok(()) => Outcome::Done,
            Err(Failure::Stall) => Outcome::Stall,
            Err(Failure::Fault | Failure::Withdrawn | Failure::Refused(_) | Failure::Gone) => {
                Outcome::NoAnswer
            }
        };
        data.truncate(room);
        Completion { outcome, data, taken }
    }
}

/// Why the host does not do what it is asked for the device as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum HostError {
    /// The device is gone.
    #[error("it is gone")]
    Gone,
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// An endpoint that is open on the host. It has one transfer at a time.
pub(super) trait Pipe: Send {
    /// Its interface.
    fn interface(&self) -> u8;
    /// Gives a transfer to the kernel. Does not wait.
    fn submit(&mut self, transfer: Transfer);
    /// The end of the transfer, if it has come; else the waker is called when it does. There is one under way.
    fn poll(&mut self, waker: &Waker) -> Option<Ended>;
    /// Withdraws the transfer, if there is one. May wait for the host's controller.
    fn cancel(&mut self);
    /// Waits for the end of the transfer, if there is one: false if it does not come.
    fn drain(&mut self, limit: Duration) -> bool;
    /// Clears the halt, at the device and at the host (USB 2.0, 9.4.5). May wait for the device.
    fn clear_halt(&mut self) -> Result<(), HostError>;
}

/// Open endpoints, by address.
pub(super) type Pipes = BTreeMap<u8, Box<dyn Pipe>>;

/// A control transfer under way.
pub(super) type Request = Pin<Box<dyn Future<Output = Ended> + Send>>;

/// A device on the host. All of it may wait but [`Host::control`], whose future may be dropped.
pub(super) trait Host: Send {
    /// Makes a control transfer.
    fn control(&mut self, setup: Setup, data: &[u8]) -> Request;
    /// Sets the configuration; `fresh` says that the device is as the host has set it up, so that its present one need not be set again. No endpoint is open.
    fn configure(&mut self, value: u8, fresh: bool) -> Result<Pipes, HostError>;
    /// Chooses the alternate setting of an interface, of which no endpoint is open.
    fn set_interface(&mut self, interface: u8, setting: u8) -> Result<Pipes, HostError>;
    /// Resets the device and its port. No endpoint is open.
    fn reset(&mut self) -> Result<(), HostError>;
    /// Whether no driver of the host's has taken any of it.
    fn keeps(&mut self) -> bool;
    /// Gives it back to the host's drivers. No endpoint is open.
    fn release(&mut self);
}
