//! What others are told of the devices.

use vocabulary::{UsbId, UsbPort};

use super::State;
use crate::host::usb::HostUsbDevice;

/// A device of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Where it is plugged in.
    pub port: UsbPort,
    /// Vendor and product.
    pub id: UsbId,
    /// Its serial number.
    pub serial: Option<String>,
    /// What it is called.
    pub name: String,
    /// The host's drivers that have it.
    pub drivers: Vec<String>,
    /// The guest has it: its port at the guest's controller.
    pub guest_port: Option<usize>,
    /// Who wants it for the guest: `usb_device[0]`, or `ctl usb`.
    pub wanted_by: Option<String>,
    /// Why the guest could not have it.
    pub refusal: Option<String>,
}

/// A device that is wanted and that the guest does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absent {
    /// Who wants it.
    pub wanted_by: String,
    /// What is known of it.
    pub choice: String,
    /// A command has given it to the host.
    pub held_back: bool,
}

impl State {
    /// A device of the host.
    pub(super) fn status(&self, device: &HostUsbDevice) -> Status {
        let holder = self.holder(device);
        let attached = holder.and_then(|entry| entry.attached.as_ref());
        // Whom the guest has needs no leave.
        let refusal = if attached.is_some() { None } else { self.host.refusal(device) };
        Status {
            port: device.port.clone(),
            id: device.id,
            serial: device.serial.clone(),
            name: device.name(),
            drivers: match attached {
                Some(_) => Vec::new(),
                None => device.drivers().into_iter().map(str::to_owned).collect(),
            },
            guest_port: attached.map(|attached| attached.port),
            wanted_by: holder.map(|entry| entry.wanted.name.clone()),
            refusal: refusal.map(|refusal| refusal.to_string()),
        }
    }

    /// All devices of the host, and what is wanted and not there.
    pub(in crate::usb) fn list(&self) -> (Vec<Status>, Vec<Absent>) {
        let devices = self.host.devices().iter().map(|device| self.status(device)).collect();
        let absent = self.entries.iter().filter(|entry| entry.attached.is_none()).map(|entry| Absent {
            wanted_by: entry.wanted.name.clone(),
            choice: entry.wanted.choice.to_string(),
            held_back: entry.held_back,
        });
        (devices, absent.collect())
    }
}
