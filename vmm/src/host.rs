//! The Linux host beneath the machine, as far as passed-through devices are concerned: its PCI functions in sysfs, who
//! uses them, and lending them to vfio-pci for the time of a run. And what the host's firmware calls the machine.
//!
//! [`HostFiles`] only reads. [`check`] says what keeps a device from being passed through without changing anything.
//! [`Manager`] is what `manage = true` and `[host]` ask for: it changes the host, and puts it back.

mod apic;
mod binding;
mod check;
mod cpus;
mod device;
mod drm;
mod facts;
mod files;
mod holders;
mod identity;
mod look;
mod mdev;
mod nodes;
mod obstacle;
mod power;
mod sriov;
mod sysfs;
#[cfg(test)]
mod tests;
mod tuning;
mod usage;
pub mod usb;

use std::collections::BTreeMap;

use uuid::Uuid;
use vocabulary::HostPciAddress;

use usb::HostUsb;

pub use apic::HardwareApic;
pub use binding::bind::{BindError, Bound, GiveBackError, Manager};
pub use binding::journal::{JournalError, state_folder};
pub use binding::kernel::{ChildWriter, Kernel, WriteError};
pub use binding::lasting::{Lending, ReleaseError};
pub use binding::setting::Pool;
pub use check::{Culprit, Unready, check};
pub(crate) use check::{all_ones, list};
pub use cpus::{HostCpu, HostCpus, KnownCpus};
pub use files::HostFiles;
#[cfg(test)]
pub use holders::Holder;
pub use holders::Holders;
pub use identity::{HostIdentity, WantedIdentity};
pub(crate) use look::look;
pub(crate) use mdev::{GuestGraphics, guest_graphics};
pub use mdev::{HostMdev, MdevError, WantedMdev};
pub use obstacle::{NotLent, Obstacle, Wanted};
pub(crate) use sriov::I915_VIRTUAL;
pub use sriov::{SriovError, WantedVirtual};
pub use sysfs::GroupMember;
pub(crate) use sysfs::{is_dead, leaves_dma, lends};
pub use tuning::{NotTuned, WantedPages, WantedTuning};
pub(crate) use usage::InUse;

/// A PCI function of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFunction {
    /// Where it is.
    pub address: HostPciAddress,
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Subsystem vendor ID; 0 when the function has none or has not been initialised.
    pub subsystem_vendor: u16,
    /// Subsystem ID.
    pub subsystem: u16,
    /// Class code: base class in bits 23:16, sub-class in 15:8, programming interface in 7:0.
    pub class: u32,
    /// The driver that has it.
    pub driver: Option<String>,
    /// Its IOMMU group.
    pub iommu_group: Option<u32>,
}

/// What the plan may know of the host: the PCI functions that the configuration names, and the other functions of
/// their slots, the mediated devices, its CPUs if vCPUs are to be pinned, what its processors do for guests, and what it calls
/// itself. What does not exist is not in here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// Nobody has asked this host for anything, so that what is not in here may be there all the same.
    pub unasked: bool,
    /// By address.
    pub functions: BTreeMap<HostPciAddress, HostFunction>,
    /// By UUID.
    pub mdevs: BTreeMap<Uuid, HostMdev>,
    /// By the physical function: where its first virtual function is, or will be.
    pub virtual_functions: BTreeMap<HostPciAddress, HostPciAddress>,
    /// APIC virtualization.
    pub apic: HardwareApic,
    /// Its CPUs, if they matter.
    pub cpus: KnownCpus,
    /// What the kernel reads the time from, by its name in sysfs; `None` if it does not say.
    pub clocksource: Option<String>,
    /// Its USB devices; `None` if nobody has looked.
    pub usb: Option<HostUsb>,
    /// What the host calls itself; `None` if nobody has looked.
    pub identity: Option<HostIdentity>,
}
