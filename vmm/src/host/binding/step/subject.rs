//! What the changes to the host are made to.

use std::fmt;

use vocabulary::{LentDevice, UsbPort};

use crate::host::binding::setting::{Group, Pool, Setting};

/// What a step changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A device, or a port above a function: one machine's alone.
    Device(LentDevice),
    /// The USB device at a port: one machine's alone.
    Usb(UsbPort),
    /// Something of the host's that several machines may change.
    Shared(Shared),
}

/// Something of the host's that several machines may change: the last of them puts it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shared {
    /// One setting.
    Setting(Setting),
    /// The controller for CPUs, for groups below this one.
    CpusOfGroups(Group),
    /// A pool of huge pages.
    HugePages(Pool),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(device) => device.fmt(f),
            Self::Usb(port) => write!(f, "the USB device at port {port}"),
            Self::Shared(Shared::Setting(setting)) => setting.fmt(f),
            Self::Shared(Shared::CpusOfGroups(group)) => write!(f, "the controller for CPUs of {group}"),
            Self::Shared(Shared::HugePages(pool)) => pool.fmt(f),
        }
    }
}
