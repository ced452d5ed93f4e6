//! What keeps devices of the host from being lent to a machine.

use std::fmt;

use vocabulary::{HostPciAddress, LentDevice};

use super::check::Unready;
use super::mdev::{MdevError, WantedMdev};
use super::sriov::{SriovError, WantedVirtual};
use super::usage::InUse;
use crate::host::binding::step::StepError;

/// A device that a machine needs, and that is made if it does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A mediated device.
    Mediated(WantedMdev),
    /// A virtual function, which is bound to vfio-pci, too.
    Virtual(WantedVirtual),
}

impl Wanted {
    /// The device.
    pub(super) fn device(&self) -> LentDevice {
        match self {
            Self::Mediated(mdev) => LentDevice::Mediated(mdev.uuid),
            Self::Virtual(wanted) => LentDevice::Function(wanted.function),
        }
    }
}

impl From<WantedMdev> for Wanted {
    fn from(mdev: WantedMdev) -> Self {
        Self::Mediated(mdev)
    }
}

impl From<WantedVirtual> for Wanted {
    fn from(wanted: WantedVirtual) -> Self {
        Self::Virtual(wanted)
    }
}

/// Why a device is not lent. Each message ends with what to do.
#[derive(Debug, thiserror::Error)]
pub enum NotLent {
    /// A function, or what it needs of the host.
    #[error(transparent)]
    Function(#[from] Unready),
    /// A mediated device.
    #[error(transparent)]
    Mdev(#[from] MdevError),
    /// A virtual function cannot be made.
    #[error(transparent)]
    Virtual(#[from] SriovError),
    /// The host uses a function.
    #[error("{address} cannot be taken from its driver {driver}: {source}")]
    InUse {
        /// The function.
        address: HostPciAddress,
        /// The driver that has it.
        driver: String,
        /// Who uses it.
        #[source]
        source: InUse,
    },
    /// Another machine has it.
    #[error(
        "{device} belongs to the machine {machine}, which is running (process {pid}): shut that down first"
    )]
    Taken {
        /// The device.
        device: LentDevice,
        /// The other machine's name.
        machine: String,
        /// Its process.
        pid: u32,
    },
    /// Its driver may not be changed.
    #[error(transparent)]
    Fixed(#[from] StepError),
}

/// Something that is in the way of a device, found before anything is changed.
#[derive(Debug)]
pub struct Obstacle {
    /// The device that is wanted.
    pub device: LentDevice,
    /// Why it is not lent.
    pub why: NotLent,
}

impl Obstacle {
    pub(super) fn new(device: impl Into<LentDevice>, why: impl Into<NotLent>) -> Self {
        Self { device: device.into(), why: why.into() }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)
    }
}
