//! USB devices of the host: which one each section means, and what the host loses with it.

use std::collections::BTreeSet;

use vocabulary::UsbPort;

use crate::config::Config;
use crate::device::UsbHost;
use crate::device::usb_device::key_of;
use crate::finding::Finding;
use crate::host::HostFacts;
use crate::host::usb::{HostUsb, HostUsbDevice};
use crate::usb::{Meant, Wanted, assign};

/// A section, and what it means on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedUsb {
    /// What is wanted.
    pub wanted: Wanted,
    /// What that is.
    pub found: Found,
}

/// What is wanted, on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nobody has looked.
    Unknown,
    /// It is not plugged in.
    Missing,
    /// One of these.
    Several(Vec<HostUsbDevice>),
    /// This device.
    One(HostUsbDevice),
}

/// What each section means, and what the user should know of that.
pub(super) fn plan(config: &Config, facts: &HostFacts, warnings: &mut Vec<Finding>) -> Vec<PlannedUsb> {
    let Some(host) = config.devices.one::<UsbHost>() else { return Vec::new() };
    let Some(HostUsb { devices, keyboards }) = &facts.usb else {
        let unknown = |wanted: &Wanted| PlannedUsb { wanted: wanted.clone(), found: Found::Unknown };
        return host.wanted.iter().map(unknown).collect();
    };
    let meant = assign(&host.choices(), devices).into_iter().map(|meant| match meant {
        Meant::None => Found::Missing,
        Meant::One(device) => Found::One(device.clone()),
        Meant::Several(devices) => Found::Several(devices.into_iter().cloned().collect()),
    });
    let planned: Vec<_> =
        host.wanted.iter().cloned().zip(meant).map(|(wanted, found)| PlannedUsb { wanted, found }).collect();
    let found = || {
        planned.iter().enumerate().filter_map(|(index, planned)| match &planned.found {
            Found::One(device) => Some((key_of(index, &planned.wanted.choice), device)),
            _ => None,
        })
    };
    let taken: BTreeSet<&UsbPort> = found().map(|(_, device)| &device.port).collect();
    let is_taken = |keyboard: &Option<UsbPort>| keyboard.as_ref().is_some_and(|port| taken.contains(port));
    if !keyboards.is_empty() && keyboards.iter().all(is_taken) {
        let has_one = |device: &HostUsbDevice| keyboards.contains(&Some(device.port.clone()));
        if let Some((key, device)) = found().find(|(_, device)| has_one(device)) {
            let message =
                format!("the host has no other keyboard than {device}, and none while the machine runs");
            let help = "[[evdev]] gives a keyboard to the guest and back to the host by a press of both Ctrl keys; else keep a way to end the machine without a \
                        keyboard, such as ssh";
            warnings.push(config.origin.problem(key, message).with_help(help));
        }
    }
    for (key, device) in found().filter(|(_, device)| device.lacks_voice()) {
        let message = format!(
            "{device} has no voice in the guest: that takes isochronous transfers, which cannot be passed on"
        );
        let help = "everything else of Bluetooth works; for headsets pass the whole USB controller through with [[vfio]]";
        warnings.push(config.origin.problem(key, message).with_help(help));
    }
    planned
}
