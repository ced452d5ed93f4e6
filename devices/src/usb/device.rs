//! What a host controller and a USB device know of each other (Universal Serial Bus Specification 2.0, chapters 5, 8 and 9): transfers to endpoints,
//! and the state of the bus.
//!
//! A device answers a transfer at once, or later: then it says so to its [`Upstream`], and the controller takes the answer. No transfer is repeated in
//! the meantime, so that a device without news costs nothing. An endpoint has one transfer at a time.
//!
//! Locks are taken from the controller to the device: a device calls its [`Upstream`] without any lock of its own.

use std::sync::Arc;

/// How fast a device talks, which decides the ports that it fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speed {
    /// 1.5 Mbit/s.
    Low,
    /// 12 Mbit/s.
    Full,
    /// 480 Mbit/s.
    High,
    /// 5 Gbit/s.
    Super,
}

/// What happens on the bus that a device is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bus {
    /// Nothing: the controller has not been started, or was stopped.
    #[default]
    Halted,
    /// The port is suspended, and the device may wake it ([`Upstream::wake`]) if it was told so.
    Suspended,
    /// Transfers are made.
    Active,
}

/// Request types: bits 6:5 of bmRequestType.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestType {
    /// Of every device (USB 2.0, 9.4).
    Standard,
    /// Of the device's class.
    Class,
    /// Of its vendor, or reserved.
    Other,
}

/// The setup packet of a control transfer (USB 2.0, 9.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Setup {
    /// bmRequestType: direction, type and recipient.
    pub request_type: u8,
    /// bRequest.
    pub request: u8,
    /// wValue.
    pub value: u16,
    /// wIndex.
    pub index: u16,
    /// wLength: bytes of the data stage at most.
    pub length: u16,
}

impl Setup {
    /// From the bytes of the packet.
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        let [request_type, request, value0, value1, index0, index1, length0, length1] = bytes;
        Self {
            request_type,
            request,
            value: u16::from_le_bytes([value0, value1]),
            index: u16::from_le_bytes([index0, index1]),
            length: u16::from_le_bytes([length0, length1]),
        }
    }

    /// Whether the data stage goes to the host.
    pub fn is_in(self) -> bool {
        self.request_type & 0x80 != 0
    }

    /// Whose request it is.
    pub fn kind(self) -> RequestType {
        match self.request_type >> 5 & 3 {
            0 => RequestType::Standard,
            1 => RequestType::Class,
            _ => RequestType::Other,
        }
    }
}

/// A transfer to or from an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transfer {
    /// A control transfer, with the data that goes to the device.
    Control {
        /// The setup packet.
        setup: Setup,
        /// The data stage, if it goes to the device.
        data: Vec<u8>,
    },
    /// Bulk or interrupt, to the host.
    In {
        /// Bytes that there is room for.
        length: usize,
    },
    /// Bulk or interrupt, to the device.
    Out {
        /// The data.
        data: Vec<u8>,
    },
}

/// How a transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All of it, or what the device had.
    Done,
    /// The device refuses it.
    Stall,
    /// The device sent more than there was room for.
    Babble,
    /// The device did not answer.
    NoAnswer,
}

/// A transfer that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// How.
    pub outcome: Outcome,
    /// What the device sent.
    pub data: Vec<u8>,
    /// Bytes that it took.
    pub taken: usize,
}

impl Completion {
    /// The device sent `data`.
    pub fn sent(data: Vec<u8>) -> Self {
        Self { outcome: Outcome::Done, data, taken: 0 }
    }

    /// The device took `taken` bytes.
    pub fn took(taken: usize) -> Self {
        Self { outcome: Outcome::Done, data: Vec::new(), taken }
    }

    /// It failed before anything was moved.
    pub fn failed(outcome: Outcome) -> Self {
        Self { outcome, data: Vec::new(), taken: 0 }
    }
}

/// A device's way to the controller.
pub trait Upstream: Send + Sync {
    /// A transfer of this endpoint that [`UsbDevice::submit`] left open can be taken.
    fn finished(&self, endpoint: u8);
    /// Resumes the suspended bus (remote wakeup).
    fn wake(&self);
}

/// A USB device. Endpoints have their addresses: the number in bits 3:0, bit 7 for those that go to the host; 0 is the control endpoint.
pub trait UsbDevice: Send + Sync {
    /// Its speed.
    fn speed(&self) -> Speed;

    /// It is plugged in. Nothing of `upstream` is called before this returns.
    fn connect(&self, upstream: Arc<dyn Upstream>);

    /// It is unplugged: it has no transfers, and calls nobody any more but in a call that has begun.
    fn disconnect(&self);

    /// The bus was reset: it is in its default state, and has no transfers.
    fn reset(&self);

    /// What happens on the bus has changed.
    fn set_bus(&self, bus: Bus);

    /// Begins a transfer. `None` leaves it open: it waits for [`UsbDevice::take`].
    fn submit(&self, endpoint: u8, transfer: Transfer) -> Option<Completion>;

    /// The end of the transfer that was left open, if it has come.
    fn take(&self, endpoint: u8) -> Option<Completion>;

    /// Drops the transfer that was left open. Nothing of it is said any more, and the next one may begin at once; the endpoint's state is what it was.
    fn cancel(&self, endpoint: u8);
}
