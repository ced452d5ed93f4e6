//! Which devices of the host are meant.

use std::fmt;

use vocabulary::{UsbId, UsbPort};

use crate::host::usb::HostUsbDevice;

/// What is known of a device that is meant. What is `None` may be anything; one at least is something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// Vendor and product.
    pub id: Option<UsbId>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Where it is plugged in.
    pub port: Option<UsbPort>,
}

impl Choice {
    /// Whether a device is one that is meant.
    pub fn means(&self, device: &HostUsbDevice) -> bool {
        let Self { id, serial, port } = self;
        id.is_none_or(|id| id == device.id)
            && serial.as_ref().is_none_or(|serial| device.serial.as_ref() == Some(serial))
            && port.as_ref().is_none_or(|port| *port == device.port)
    }

    /// How much is known of it: who knows more has a device before who knows less. A port is there once, a serial number should be.
    fn narrowness(&self) -> u8 {
        let Self { id, serial, port } = self;
        u8::from(port.is_some()) * 4 + u8::from(serial.is_some()) * 2 + u8::from(id.is_some())
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, serial, port } = self;
        let parts = [
            id.map(|id| id.to_string()),
            serial.as_ref().map(|serial| format!("with the serial number {serial}")),
            port.as_ref().map(|port| format!("at port {port}")),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(" "))
    }
}

/// What a choice means on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meant<'a> {
    /// This device.
    One(&'a HostUsbDevice),
    /// None that is there and not another's.
    None,
    /// One of these, and nothing says which.
    Several(Vec<&'a HostUsbDevice>),
}

/// What each of several choices means: the narrowest has its device first, and no device is had by two.
pub fn assign<'a>(choices: &[&Choice], devices: &'a [HostUsbDevice]) -> Vec<Meant<'a>> {
    let mut order: Vec<usize> = (0..choices.len()).collect();
    let narrowness = |index: &usize| choices.get(*index).map_or(0, |choice| choice.narrowness());
    order.sort_by_key(|index| std::cmp::Reverse(narrowness(index)));
    let mut left: Vec<&HostUsbDevice> = devices.iter().collect();
    let mut meant: Vec<_> = choices.iter().map(|_| Meant::None).collect();
    for index in order {
        let (Some(choice), Some(place)) = (choices.get(index), meant.get_mut(index)) else { continue };
        let found: Vec<_> = left.iter().copied().filter(|device| choice.means(device)).collect();
        *place = match found[..] {
            [] => Meant::None,
            [one] => {
                left.retain(|device| !std::ptr::eq(*device, one));
                Meant::One(one)
            }
            _ => Meant::Several(found),
        };
    }
    meant
}

/// The ports of devices, as a message lists them.
pub(super) fn listed(devices: &[&HostUsbDevice]) -> String {
    let each = |device: &&HostUsbDevice| match &device.serial {
        Some(serial) => format!("port {} (serial number {serial})", device.port),
        None => format!("port {}", device.port),
    };
    devices.iter().map(each).collect::<Vec<_>>().join(", ")
}
