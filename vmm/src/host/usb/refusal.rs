//! What keeps a USB device of the host from being given to a guest.

use std::path::PathBuf;

use vocabulary::UsbId;

use crate::host::Holders;
use crate::host::usage::InUse;

/// Why a device is not given to a guest. Each message ends with what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsbRefusal {
    /// Its devices are the host's.
    #[error(
        "it is a hub, and the devices at it are what a guest can have: name those, or pass the whole USB controller through with [[vfio]]"
    )]
    Hub,
    /// Nothing is known of its interfaces.
    #[error(
        "the host has not configured it, and may not have authorized it: `echo 1 | sudo tee /sys/bus/usb/devices/{port}/authorized`, \
         or plug it in again"
    )]
    NotConfigured {
        /// Where it is.
        port: String,
    },
    /// It sends or takes a stream.
    #[error(
        "it needs isochronous transfers (interface {}), as cameras and sound devices do, which cannot be passed on: pass the whole USB controller \
         that it is plugged into through with [[vfio]] (`lspci -d ::0c03` lists them), or for sound use [audio]",
        interfaces.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    Isochronous {
        /// The interfaces that do.
        interfaces: Vec<u8>,
    },
    /// The host uses what is on it.
    #[error("{0}")]
    InUse(InUse),
    /// Another program drives it.
    #[error("another program uses it{}: end that first", if holders.found.is_empty() { String::new() } else { format!(": {holders}") })]
    Claimed {
        /// Who.
        holders: Holders,
    },
    /// It has no node.
    #[error("there is no {}: containers need /dev/bus/usb of the host", .0.display())]
    NoNode(PathBuf),
    /// This user may not.
    #[error("this user may not use {}: {}", node.display(), udev_advice(*id))]
    Denied {
        /// The node.
        node: PathBuf,
        /// The device.
        id: UsbId,
    },
}

/// The rule by which udev gives a device to users at the host's screen and to those of the group kvm.
fn udev_advice(UsbId { vendor, product }: UsbId) -> String {
    format!(
        "write the line `SUBSYSTEM==\"usb\", ATTR{{idVendor}}==\"{vendor:04x}\", ATTR{{idProduct}}==\"{product:04x}\", GROUP=\"kvm\", MODE=\"0660\", \
         TAG+=\"uaccess\"` to /etc/udev/rules.d/70-guest-usb.rules, run `sudo udevadm control --reload`, and plug the device in again; it is then open \
         to whoever is logged in at this computer, and to the group kvm"
    )
}

impl UsbRefusal {
    /// Whether it may be over in a moment, when the device was plugged in just now: udev looks at disks, and gives nodes to their groups.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::NotConfigured { .. } | Self::Denied { .. } | Self::NoNode(_) | Self::Claimed { .. } => true,
            // Another machine's look at it takes a moment, too.
            Self::InUse(used) => matches!(used, InUse::Held { .. } | InUse::Exclusive { .. }),
            Self::Hub | Self::Isochronous { .. } => false,
        }
    }
}
