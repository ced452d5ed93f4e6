//! Whether a USB device can be had: what it is, what the host does with it, and who may.

use std::collections::BTreeSet;
use std::fs;

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;

use super::{HostUsbDevice, UsbRefusal};
use crate::host::nodes::Belongings;
use crate::host::usage::{InUse, Routes};
use crate::host::{Holders, HostFiles};

/// Classes of devices and interfaces (USB-IF, Defined Class Codes).
mod class {
    pub(super) const HUB: u8 = 0x09;
    pub(super) const WIRELESS: u8 = 0xe0;
    /// The sub-class of wireless controllers that Bluetooth is in.
    pub(super) const RADIO: u8 = 0x01;
}

/// The driver that an interface has which another program has claimed.
const USBFS: &str = "usbfs";

impl HostUsbDevice {
    /// Whether it is a hub.
    pub fn is_hub(&self) -> bool {
        self.class == class::HUB
    }

    /// Whether it works but for what needs isochronous transfers: a Bluetooth adapter without voice.
    pub fn lacks_voice(&self) -> bool {
        self.interfaces.iter().any(|interface| interface.isochronous) && self.streaming().is_empty()
    }

    /// The interfaces that are of no use without isochronous transfers.
    fn streaming(&self) -> Vec<u8> {
        let bluetooth = |class: [u8; 3]| matches!(class, [class::WIRELESS, class::RADIO, _]);
        let streaming =
            |interface: &&super::HostInterface| interface.isochronous && !bluetooth(interface.class);
        self.interfaces.iter().filter(streaming).map(|interface| interface.number).collect()
    }
}

impl HostFiles {
    /// What keeps a device from being given to a guest: what weighs most.
    pub fn usb_refusal(&self, device: &HostUsbDevice) -> Option<UsbRefusal> {
        if device.is_hub() {
            return Some(UsbRefusal::Hub);
        }
        if !device.configured || device.interfaces.is_empty() {
            return Some(UsbRefusal::NotConfigured { port: device.port.to_string() });
        }
        let interfaces = device.streaming();
        if !interfaces.is_empty() {
            return Some(UsbRefusal::Isochronous { interfaces });
        }
        if let Some(used) = self.use_of_usb(device) {
            return Some(UsbRefusal::InUse(used));
        }
        if device.drivers().contains(&USBFS) {
            let node = format!("bus/usb/{:03}/{:03}", device.bus, device.number);
            return Some(UsbRefusal::Claimed { holders: self.holders_of(&BTreeSet::from([node])) });
        }
        let node = device.node.clone();
        match accessat(CWD, &node, Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS) {
            Ok(()) => None,
            Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => {
                Some(UsbRefusal::Denied { node, id: device.id })
            }
            Err(_) => Some(UsbRefusal::NoNode(node)),
        }
    }

    /// What the host has of it that must not go away: a mounted disk, the way to the network.
    fn use_of_usb(&self, device: &HostUsbDevice) -> Option<InUse> {
        let home = fs::canonicalize(self.usb_home(&device.port)).ok()?;
        let Belongings { nodes, blocks, interfaces } = Belongings::below(&home);
        let disk = blocks.iter().find_map(|name| self.use_of_block(name));
        let default = |name: &&String| self.routes_through(name) == Routes::Default;
        let route =
            || interfaces.iter().find(default).map(|name| InUse::DefaultRoute { interface: name.clone() });
        let used = disk.or_else(route);
        used.or_else(|| {
            // Who reads keys or a serial port loses them, as the user wants it; who writes to a disk must not.
            let disks = nodes.intersection(&blocks).cloned().collect();
            let holders = self.holders_of(&disks);
            if !holders.found.is_empty() {
                return Some(InUse::Held { holders });
            }
            // Another user's processes are not told, and neither is what the kernel does by itself.
            let exclusive = disks.into_iter().find(|name| self.is_exclusive(name));
            exclusive.map(|device| InUse::Exclusive { device })
        })
    }

    /// What is not known of a device's disks: the processes that could not be looked at, if it has disks and there are such.
    pub(crate) fn unseen_users(&self, device: &HostUsbDevice) -> Option<Holders> {
        let home = fs::canonicalize(self.usb_home(&device.port)).ok()?;
        let Belongings { nodes, blocks, .. } = Belongings::below(&home);
        let disks = nodes.intersection(&blocks).cloned().collect();
        Some(self.holders_of(&disks)).filter(|holders| holders.unseen > 0)
    }
}
