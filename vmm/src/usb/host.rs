//! The host as the attachments see it: its devices, and the way to one.

use std::sync::Arc;

use devices::usb::device::UsbDevice;
use vocabulary::UsbPort;

use super::transport::HostDevice;
use crate::host::HostFiles;
use crate::host::usb::{HostUsbDevice, LoanError, UsbLoans, UsbRefusal};

/// A device of the host that the guest has.
pub trait Passed: UsbDevice {
    /// Lets go of it, and gives it back to the host's drivers. Called when it is at no port any more; what is still under way ends.
    /// False if that takes too long: then it goes on, and the drivers have the device only after it.
    fn close(&self) -> bool;

    /// Looks whether the host's drivers have taken it, which counts as gone. Does not wait.
    fn check(&self);
}

impl Passed for HostDevice {
    fn close(&self) -> bool {
        Self::close(self)
    }

    fn check(&self) {
        Self::check(self);
    }
}

/// What is called, from any thread, when a device has gone.
pub type Gone = Box<dyn Fn() + Send + Sync>;

/// The host's devices.
pub trait Host: Send {
    /// Those that are plugged in, by port.
    fn devices(&self) -> Vec<HostUsbDevice>;

    /// Whether a device that was plugged in still is.
    fn is_there(&self, device: &HostUsbDevice) -> bool;

    /// What keeps a device from being given to a guest.
    fn refusal(&self, device: &HostUsbDevice) -> Option<UsbRefusal>;

    /// Takes a device from the host's drivers, on record.
    ///
    /// # Errors
    /// What is in the way, and what to do.
    fn open(&mut self, device: &HostUsbDevice, gone: Gone) -> Result<Arc<dyn Passed>, String>;

    /// Takes the device at a port off the record, once it is closed.
    ///
    /// # Errors
    /// The host's drivers do not have it again.
    fn give_back(&mut self, port: &UsbPort) -> Result<(), LoanError>;
}

/// The host that this process runs on.
#[derive(Debug)]
pub struct ThisHost {
    files: HostFiles,
    /// The machine's name.
    machine: String,
    /// Made with the first device.
    loans: Option<UsbLoans>,
}

impl ThisHost {
    /// For the machine of this name.
    pub fn new(machine: &str) -> Self {
        Self { files: HostFiles::default(), machine: machine.into(), loans: None }
    }
}

impl Host for ThisHost {
    fn devices(&self) -> Vec<HostUsbDevice> {
        self.files.usb_devices()
    }

    /// The node goes before the folder in sysfs.
    fn is_there(&self, device: &HostUsbDevice) -> bool {
        device.node.exists() && self.files.usb_device(&device.port).is_some_and(|now| now.is_same(device))
    }

    fn refusal(&self, device: &HostUsbDevice) -> Option<UsbRefusal> {
        self.files.usb_refusal(device)
    }

    fn open(&mut self, device: &HostUsbDevice, gone: Gone) -> Result<Arc<dyn Passed>, String> {
        let loans = match &mut self.loans {
            Some(loans) => loans,
            none => none.insert(UsbLoans::new(&self.machine).map_err(|error| error.to_string())?),
        };
        // Before its disk is gone.
        if let Some(unseen) = self.files.unseen_users(device) {
            tracing::warn!("{device}: {unseen}, which may have its disk open; what they write to it is lost");
        }
        loans.lend(device).map_err(|error| error.to_string())?;
        match HostDevice::open(&device.node, &device.to_string(), gone) {
            Ok(opened) => Ok(opened),
            Err(error) => {
                // Drivers may have let go of some of its interfaces already.
                if let Err(left) = loans.give_back(&device.port) {
                    tracing::warn!("{left}");
                }
                Err(error.to_string())
            }
        }
    }

    fn give_back(&mut self, port: &UsbPort) -> Result<(), LoanError> {
        self.loans.as_mut().map_or(Ok(()), |loans| loans.give_back(port))
    }
}
