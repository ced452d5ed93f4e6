//! A device of the host through its node, by nusb.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use devices::usb::device::{Setup, Speed, Transfer};
use nusb::descriptors::TransferType;
use nusb::transfer::{
    Buffer, Bulk, BulkOrInterrupt, Completion, ControlIn, ControlOut, ControlType, Direction,
    EndpointDirection, EndpointType, In, Interrupt, Out, Recipient, TransferError,
};
use nusb::{Device, Endpoint, ErrorKind, Interface, MaybeFuture};

use super::abi;
use super::host::{Ended, Failure, Host, HostError, Pipe, Pipes, Request};

/// How long a device may take to answer a control transfer. Guests give up after five seconds, as a rule; the kernel has no way to withdraw
/// one earlier that nusb would go.
const CONTROL: Duration = Duration::from_secs(10);

/// Why a device of the host cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is gone.
    #[error(
        "{node} is not there: the device has been unplugged, or has been plugged in anew under another number"
    )]
    Gone {
        /// Its node.
        node: PathBuf,
    },
    /// The user may not.
    #[error(
        "{node} cannot be opened for writing: {source}; let a udev rule give it to this user, such as \
         `SUBSYSTEM==\"usb\", ATTR{{idVendor}}==\"…\", ATTR{{idProduct}}==\"…\", TAG+=\"uaccess\"` in /etc/udev/rules.d/70-usb.rules, \
         then plug the device in again"
    )]
    Permission {
        /// Its node.
        node: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// Something else.
    #[error("{node} cannot be used: {why}")]
    Node {
        /// Its node.
        node: PathBuf,
        /// What failed.
        why: String,
    },
    /// Another program has it.
    #[error("another program has interface {interface} of {node}: end it first (`fuser -v {node}` names it)")]
    Busy {
        /// Its node.
        node: PathBuf,
        /// bInterfaceNumber.
        interface: u8,
    },
    /// It is none that a guest can have.
    #[error("{node} has a speed that the kernel does not tell; unplug the device and plug it in again")]
    Speed {
        /// Its node.
        node: PathBuf,
    },
    /// No thread.
    #[error("cannot start a thread for a USB device: {0}")]
    Thread(io::Error),
}

/// A device that is open.
pub(super) struct Usbfs {
    device: Device,
    /// The same descriptor as the device's.
    node: File,
    name: String,
    /// Those that are claimed, by number.
    interfaces: BTreeMap<u8, Interface>,
    /// The configuration now, and that which the host has chosen.
    configuration: u8,
    original: u8,
}

impl Usbfs {
    /// Opens a node, and takes all interfaces from their drivers.
    pub(super) fn open(path: &Path, name: &str) -> Result<(Self, Speed), OpenError> {
        let node = || path.to_owned();
        let opened = OpenOptions::new().read(true).write(true).open(path);
        let file = opened.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => OpenError::Gone { node: node() },
            io::ErrorKind::PermissionDenied => OpenError::Permission { node: node(), source },
            _ => OpenError::Node { node: node(), why: source.to_string() },
        })?;
        let other = |why: String| OpenError::Node { node: node(), why };
        let copy = file.try_clone().map_err(|error| other(error.to_string()))?;
        let device = Device::from_fd(copy.into()).wait().map_err(|error| other(error.to_string()))?;
        let speed = match device.speed() {
            Some(nusb::Speed::Low) => Speed::Low,
            Some(nusb::Speed::Full) => Speed::Full,
            Some(nusb::Speed::High) => Speed::High,
            Some(nusb::Speed::Super | nusb::Speed::SuperPlus) => Speed::Super,
            _ => return Err(OpenError::Speed { node: node() }),
        };
        let configuration =
            device.active_configuration().map_or(0, |configuration| configuration.configuration_value());
        let mut usbfs = Self {
            device,
            node: file,
            name: name.to_owned(),
            interfaces: BTreeMap::new(),
            configuration,
            original: configuration,
        };
        if let Err((interface, error)) = usbfs.claim() {
            usbfs.release();
            return Err(match error.raw_os_error() {
                Some(libc::EBUSY) => OpenError::Busy { node: node(), interface },
                Some(libc::ENODEV) => OpenError::Gone { node: node() },
                _ => OpenError::Node { node: node(), why: format!("interface {interface}: {error}") },
            });
        }
        Ok((usbfs, speed))
    }

    /// Takes all interfaces of the active configuration.
    fn claim(&mut self) -> Result<(), (u8, io::Error)> {
        let numbers: Vec<u8> = match self.device.active_configuration() {
            Ok(configuration) => {
                configuration.interfaces().map(|interface| interface.interface_number()).collect()
            }
            Err(_) => Vec::new(),
        };
        for number in numbers {
            abi::take_interface(&self.node, number).map_err(|error| (number, error))?;
            // The descriptor has it already, and whoever claims twice has it once: this way nusb does not give it to the driver whenever it is released.
            let claimed = self.device.claim_interface(number).wait();
            let interface = claimed.map_err(|error| (number, io::Error::from(error)))?;
            self.interfaces.insert(number, interface);
        }
        Ok(())
    }

    /// What the host's drivers have taken is not taken back from them here: they may have mounted it.
    fn ensure_kept(&mut self) -> Result<(), HostError> {
        if self.keeps() { Ok(()) } else { Err(HostError::Gone) }
    }

    fn claim_again(&mut self) -> Result<(), HostError> {
        self.claim().map_err(|(interface, error)| match error.raw_os_error() {
            Some(libc::ENODEV) => HostError::Gone,
            _ => HostError::Other(format!("interface {interface} cannot be taken again: {error}")),
        })
    }

    /// The endpoints of an interface's setting.
    fn open_ends(&self, interface: &Interface, pipes: &mut Pipes) -> Result<(), HostError> {
        let Some(setting) = interface.descriptor() else { return Ok(()) };
        for endpoint in setting.endpoints() {
            // A device may say so, and nothing can be moved in such packets.
            if endpoint.max_packet_size() == 0 {
                continue;
            }
            let address = endpoint.address();
            let pipe = match (endpoint.transfer_type(), endpoint.direction()) {
                (TransferType::Bulk, Direction::In) => Open::<Bulk, In>::at(interface, address),
                (TransferType::Bulk, Direction::Out) => Open::<Bulk, Out>::at(interface, address),
                (TransferType::Interrupt, Direction::In) => Open::<Interrupt, In>::at(interface, address),
                (TransferType::Interrupt, Direction::Out) => Open::<Interrupt, Out>::at(interface, address),
                // The kernel has no way for isochronous ones that nusb would go.
                (TransferType::Isochronous | TransferType::Control, _) => continue,
            };
            pipes.insert(address, pipe?);
        }
        Ok(())
    }
}

impl From<nusb::Error> for HostError {
    fn from(error: nusb::Error) -> Self {
        match error.kind() {
            ErrorKind::Disconnected => Self::Gone,
            // The interface is another driver's.
            _ if error.os_error() == Some(libc::EBUSY.cast_unsigned()) => Self::Gone,
            _ => Self::Other(error.to_string()),
        }
    }
}

impl From<TransferError> for Failure {
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::Cancelled => Self::Withdrawn,
            TransferError::Stall => Self::Stall,
            TransferError::Disconnected => Self::Gone,
            TransferError::Fault => Self::Fault,
            TransferError::InvalidArgument => Self::Refused(libc::EINVAL),
            // The interface is another driver's: a port that is reset when the host wakes gives the device to the host's.
            TransferError::Unknown(error) if error == libc::EBUSY.cast_unsigned() => Self::Gone,
            TransferError::Unknown(error) => Self::Refused(i32::try_from(error).unwrap_or(libc::EIO)),
        }
    }
}

impl Host for Usbfs {
    fn control(&mut self, setup: Setup, data: &[u8]) -> Request {
        let Setup { request_type, request, value, index, length } = setup;
        let recipient = match request_type & 0x1f {
            0 => Recipient::Device,
            1 => Recipient::Interface,
            2 => Recipient::Endpoint,
            3 => Recipient::Other,
            _ => return Box::pin(async { Ended::failed(Failure::Stall) }),
        };
        let control_type = match request_type >> 5 & 3 {
            0 => ControlType::Standard,
            1 => ControlType::Class,
            2 => ControlType::Vendor,
            _ => return Box::pin(async { Ended::failed(Failure::Stall) }),
        };
        let begun = Instant::now();
        // The kernel's own refusals come at once; so does the stall of a device that has no such interface.
        let failure = move |error| match error {
            TransferError::Cancelled if begun.elapsed() < CONTROL => Failure::Stall,
            TransferError::InvalidArgument => Failure::Stall,
            other => Failure::from(other),
        };
        if setup.is_in() {
            let packet = ControlIn { control_type, recipient, request, value, index, length };
            let answer = self.device.control_in(packet, CONTROL).into_future();
            return Box::pin(async move {
                match answer.await {
                    Ok(data) => Ended { result: Ok(()), data, taken: 0 },
                    Err(error) => Ended::failed(failure(error)),
                }
            });
        }
        let taken = data.len();
        let packet = ControlOut { control_type, recipient, request, value, index, data };
        let done = self.device.control_out(packet, CONTROL).into_future();
        Box::pin(async move {
            match done.await {
                Ok(()) => Ended { result: Ok(()), data: Vec::new(), taken },
                Err(error) => Ended::failed(failure(error)),
            }
        })
    }

    fn configure(&mut self, value: u8, fresh: bool) -> Result<Pipes, HostError> {
        self.ensure_kept()?;
        if !fresh || value != self.configuration {
            self.interfaces.clear();
            let set = self.device.set_configuration(value).wait();
            if set.is_ok() {
                self.configuration = value;
            }
            // Whether or not the device has taken it, no driver of the host's is to have it.
            self.claim_again()?;
            set?;
        }
        let mut pipes = Pipes::new();
        for interface in self.interfaces.values() {
            self.open_ends(interface, &mut pipes)?;
        }
        Ok(pipes)
    }

    fn set_interface(&mut self, interface: u8, setting: u8) -> Result<Pipes, HostError> {
        let known = self.interfaces.get(&interface);
        let interface = known.ok_or_else(|| HostError::Other(format!("it has no interface {interface}")))?;
        interface.set_alt_setting(setting).wait()?;
        let mut pipes = Pipes::new();
        self.open_ends(interface, &mut pipes)?;
        Ok(pipes)
    }

    /// Released before, so that the kernel does not give the interfaces to drivers when the device is back.
    fn reset(&mut self) -> Result<(), HostError> {
        self.ensure_kept()?;
        self.interfaces.clear();
        let reset = self.device.reset().wait();
        self.claim_again()?;
        Ok(reset?)
    }

    fn keeps(&mut self) -> bool {
        self.interfaces
            .keys()
            .all(|number| abi::driver(&self.node, *number).is_ok_and(|driver| driver == abi::USBFS))
    }

    fn release(&mut self) {
        self.interfaces.clear();
        if self.configuration != self.original && self.original != 0 {
            // Which brings the drivers, too.
            if let Err(error) = self.device.set_configuration(self.original).wait()
                && error.kind() != ErrorKind::Disconnected
            {
                tracing::warn!(
                    "USB device {} does not take back the configuration {} that the host had chosen: {error}; unplug it and \
                     plug it in again before the host uses it",
                    self.name,
                    self.original
                );
            }
        }
        let Ok(configuration) = self.device.active_configuration() else { return };
        for interface in configuration.interfaces() {
            let number = interface.interface_number();
            if let Err(error) = self.device.attach_kernel_driver(number) {
                // Of those without a driver, the kernel says that there is none.
                tracing::debug!(device = self.name, number, %error, "no driver takes the interface");
            }
        }
    }
}

/// An open endpoint.
struct Open<T: EndpointType, D: EndpointDirection> {
    endpoint: Endpoint<T, D>,
    interface: u8,
}

/// What the two directions do otherwise.
trait Way: EndpointDirection + 'static {
    /// The buffer for a transfer of this direction, to an endpoint with packets of so many bytes.
    fn buffer(transfer: Transfer, packet: usize) -> Option<Buffer>;
    /// What has come, and the bytes that the device took.
    fn moved(completion: Completion) -> (Vec<u8>, usize);
}

impl Way for In {
    fn buffer(transfer: Transfer, packet: usize) -> Option<Buffer> {
        let Transfer::In { length } = transfer else { return None };
        // Whole packets, or the kernel would take one that is too long for babble of the device's.
        Some(Buffer::new(length.max(1).next_multiple_of(packet)))
    }

    fn moved(completion: Completion) -> (Vec<u8>, usize) {
        (completion.buffer.into_vec(), 0)
    }
}

impl Way for Out {
    fn buffer(transfer: Transfer, _: usize) -> Option<Buffer> {
        let Transfer::Out { data } = transfer else { return None };
        Some(Buffer::from(data))
    }

    fn moved(completion: Completion) -> (Vec<u8>, usize) {
        (Vec::new(), completion.actual_len)
    }
}

impl<T: BulkOrInterrupt + 'static, D: Way> Open<T, D> {
    fn at(interface: &Interface, address: u8) -> Result<Box<dyn Pipe>, HostError> {
        let endpoint = interface.endpoint::<T, D>(address)?;
        Ok(Box::new(Self { endpoint, interface: interface.interface_number() }))
    }
}

impl<T: BulkOrInterrupt + 'static, D: Way> Pipe for Open<T, D> {
    fn interface(&self) -> u8 {
        self.interface
    }

    fn submit(&mut self, transfer: Transfer) {
        if let Some(buffer) = D::buffer(transfer, self.endpoint.max_packet_size()) {
            self.endpoint.submit(buffer);
        }
    }

    fn poll(&mut self, waker: &Waker) -> Option<Ended> {
        if self.endpoint.pending() == 0 {
            return None;
        }
        let Poll::Ready(completion) = self.endpoint.poll_next_complete(&mut Context::from_waker(waker))
        else {
            return None;
        };
        let result = completion.status.map_err(Failure::from);
        let (data, taken) = D::moved(completion);
        Some(Ended { result, data, taken })
    }

    fn cancel(&mut self) {
        self.endpoint.cancel_all();
    }

    fn drain(&mut self, limit: Duration) -> bool {
        self.endpoint.pending() == 0 || self.endpoint.wait_next_complete(limit).is_some()
    }

    fn clear_halt(&mut self) -> Result<(), HostError> {
        Ok(self.endpoint.clear_halt().wait()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_of_another_driver_is_as_good_as_gone() {
        let failure = |error: i32| Failure::from(TransferError::Unknown(error.cast_unsigned()));
        assert_eq!(failure(libc::EBUSY), Failure::Gone);
        assert_eq!(failure(libc::ENOMEM), Failure::Refused(libc::ENOMEM));
    }
}
