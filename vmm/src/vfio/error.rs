//! Why a function of the host cannot be passed through, with what to do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::iova::Ranges;
use crate::config::{ByteSize, LentDevice};

/// A process that has a device open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its process ID.
    pub pid: u32,
    /// Its name, as in `/proc/PID/comm`.
    pub name: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.name, self.pid)
    }
}

/// A device of an IOMMU group that has a driver of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Its name on its bus: a PCI address.
    pub name: String,
    /// Its driver.
    pub driver: String,
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has the driver {}", self.name, self.driver)
    }
}

/// `a, b, c`.
pub(super) fn list<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

fn which_there_are(device: LentDevice) -> &'static str {
    match device {
        LentDevice::Function(_) => "`lspci -D` lists the devices; the address changes when cards are added",
        LentDevice::Mediated(_) => "`ls /sys/bus/mdev/devices` lists the mediated ones",
    }
}

fn bound_to(driver: Option<&str>) -> String {
    driver.map_or_else(|| "it has no driver".to_owned(), |driver| format!("it has the driver {driver}"))
}

fn in_use_by(path: &std::path::Path, holders: &[Holder]) -> String {
    if holders.is_empty() {
        let path = path.display();
        format!("another process: find it with `sudo fuser -v {path}`, and end it")
    } else {
        format!("{}: end it first", list(holders))
    }
}

fn not_viable(others: &[Neighbour]) -> String {
    if others.is_empty() {
        "another driver of the host uses DMA in it; `sudo dmesg` may tell which".to_owned()
    } else {
        format!(
            "{}. Devices of one group can reach each other's memory, so the guest must have all of them: pass them \
             through as well, or take them from their drivers (for each: `echo ADDRESS | sudo tee \
             /sys/bus/pci/devices/ADDRESS/driver/unbind`)",
            list(others)
        )
    }
}

/// Why a function cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum VfioError {
    /// The host has no such function.
    #[error(
        "cannot pass {device} through: this host has no such device. {}",
        which_there_are(*device)
    )]
    NoSuchDevice {
        /// The device.
        device: LentDevice,
    },
    /// The function has another driver, or none.
    #[error(
        "cannot pass {address} through: {}, and vfio-pci is needed. Let the machine do that with `manage = true`, or: \
         `echo vfio-pci | sudo tee /sys/bus/pci/devices/{address}/driver_override; echo {address} | sudo tee \
         /sys/bus/pci/devices/{address}/driver/unbind; echo {address} | sudo tee /sys/bus/pci/drivers_probe`",
        bound_to(.driver.as_deref())
    )]
    NotBound {
        /// The function.
        address: LentDevice,
        /// What has it instead.
        driver: Option<String>,
    },
    /// The driver of a mediated device has not given it to VFIO.
    #[error(
        "cannot pass {0} through: it has no driver that lends it. Remove it with `echo 1 | sudo tee \
         /sys/bus/mdev/devices/UUID/remove` and make it anew; `sudo dmesg` may tell more"
    )]
    NotLent(LentDevice),
    /// The function is behind no IOMMU.
    #[error(
        "cannot pass {0} through: it is in no IOMMU group, so nothing would keep its DMA inside the guest. Turn on VT-d \
         or AMD-Vi in the firmware setup; on Intel also add `intel_iommu=on` to the kernel's command line"
    )]
    NoIommu(LentDevice),
    /// The kernel's VFIO is not there.
    #[error(
        "cannot pass {0} through: this host has no /dev/vfio/vfio. Load the module with `sudo modprobe vfio-pci`"
    )]
    NoVfio(LentDevice),
    /// The kernel's VFIO has no driver for IOMMUs.
    #[error(
        "cannot pass {0} through: VFIO knows no IOMMU of this host. Load the module with `sudo modprobe \
         vfio_iommu_type1`"
    )]
    NoType1(LentDevice),
    /// The configuration asks for iommufd and the host does not have it.
    #[error(
        "cannot pass {address} through by iommufd: {path} does not exist. Kernels from 6.6 on have it when built with \
         CONFIG_IOMMUFD and CONFIG_VFIO_DEVICE_CDEV (`sudo modprobe iommufd`); `backend = \"group\"` needs neither",
        path = .path.display()
    )]
    NoIommufd {
        /// The function.
        address: LentDevice,
        /// What is missing.
        path: PathBuf,
    },
    /// The kernel has no file for the group.
    #[error(
        "cannot pass {address} through by its IOMMU group: {path} does not exist. This kernel may have been built without \
         CONFIG_VFIO_GROUP; then use `backend = \"iommufd\"`",
        path = .path.display()
    )]
    NoGroup {
        /// The function.
        address: LentDevice,
        /// What is missing.
        path: PathBuf,
    },
    /// A device file may not be opened.
    #[error(
        "cannot pass {address} through: no permission to open {path}. Give it to a group of yours, such as kvm, with the \
         line `{rule}, GROUP=\"kvm\", MODE=\"0660\"` in \
         /etc/udev/rules.d/70-vfio.rules and `sudo udevadm control --reload; sudo udevadm trigger`, or run as root",
        path = .path.display()
    )]
    Forbidden {
        /// The function.
        address: LentDevice,
        /// The file.
        path: PathBuf,
        /// How a udev rule recognises it.
        rule: &'static str,
    },
    /// Another process has the function or its group.
    #[error("cannot pass {address} through: {} is in use by {}", .path.display(), in_use_by(path, holders))]
    Busy {
        /// The function.
        address: LentDevice,
        /// The file that is in use.
        path: PathBuf,
        /// By whom, as far as this user may know.
        holders: Vec<Holder>,
    },
    /// Drivers of the host have other functions of the group.
    #[error("cannot pass {address} through: of its IOMMU group {group}, {}", not_viable(others))]
    NotViable {
        /// The function.
        address: LentDevice,
        /// Its group.
        group: u32,
        /// The functions in the way; empty when sysfs does not tell.
        others: Vec<Neighbour>,
    },
    /// The IOMMU does not remap interrupts.
    #[error(
        "cannot pass {address} through: the IOMMU does not remap interrupts, so the guest could send any to the host. \
         Turn on interrupt remapping (x2APIC, VT-d) in the firmware setup. If you trust the guest: `echo Y | sudo tee \
         /sys/module/{module}/parameters/allow_unsafe_interrupts`"
    )]
    UnsafeInterrupts {
        /// The function.
        address: LentDevice,
        /// The module that refuses.
        module: &'static str,
    },
    /// The firmware has reserved memory for the function's DMA.
    #[error(
        "cannot pass {0} through: the IOMMU refuses it. The host's firmware may demand that memory stays reserved for its \
         DMA (RMRR): `sudo dmesg | grep -i -e iommu -e dmar` tells"
    )]
    IommuRefuses(LentDevice),
    /// The function does not answer.
    #[error(
        "cannot pass {0} through: it does not answer (its configuration space reads as all ones), as when it sleeps in \
         D3cold and cannot be woken, or a reset has failed. Keep it and its root port awake: `echo 0 | sudo tee \
         /sys/bus/pci/devices/{0}/d3cold_allowed; echo on | sudo tee /sys/bus/pci/devices/{0}/power/control`; if it stays \
         dead, switch the host off and on"
    )]
    Gone(LentDevice),
    /// A virtual function needs the token of its physical function.
    #[error(
        "cannot pass {0} through: it is a virtual function whose physical function belongs to another VFIO user and \
         demands a token. Give the physical function back to its driver"
    )]
    Token(LentDevice),
    /// The host is working on the function.
    #[error(
        "cannot pass {0} through: the host is resetting or reconfiguring it. Try again; if that does not help, see \
         `sudo dmesg`"
    )]
    Locked(LentDevice),
    /// Anything else.
    #[error("cannot pass {address} through: cannot {what}: {source}; `sudo dmesg` may tell more")]
    Setup {
        /// The function.
        address: LentDevice,
        /// The step, in the infinitive.
        what: &'static str,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// KVM has no VFIO device.
    #[error("cannot make KVM's VFIO device: {0}; load the modules with `sudo modprobe -a vfio kvm`")]
    Kvm(#[source] io::Error),
    /// The event of failures cannot be had.
    #[error(
        "cannot create an event for passed-through devices: {0}; raise the limit of open files (`ulimit -n`)"
    )]
    Event(#[source] io::Error),
    /// Guest memory cannot be opened to DMA.
    #[error(transparent)]
    Dma(#[from] DmaError),
}

/// Rounded up to whole MiB, which reads better than bytes.
fn size(bytes: u64) -> ByteSize {
    ByteSize::from_mib(bytes.div_ceil(1 << 20))
}

/// Why guest memory cannot be opened to the DMA of devices.
#[derive(Debug, thiserror::Error)]
pub enum DmaError {
    /// The process may not lock as much memory.
    #[error(
        "passed-through devices need the guest's memory locked, which takes {}, but this process may lock only {}. \
         Raise the limit: in this shell `sudo prlimit --pid $$ --memlock={needed}:{needed}`; for a user the line \
         `USER - memlock {}` in /etc/security/limits.d/optimus-vmm.conf, which `ulimit -l` shows after the next login; \
         for a service `LimitMEMLOCK={needed}` in its unit. Or lower `memory` in [machine]",
        size(*needed), ByteSize::from_bytes(*limit), needed.div_ceil(1024)
    )]
    Memlock {
        /// Bytes.
        needed: u64,
        /// Bytes (`RLIMIT_MEMLOCK`).
        limit: u64,
    },
    /// The IOMMU cannot translate addresses at which the guest has memory.
    #[error(
        "the guest has memory at {address:#x}, which the host's IOMMU cannot give to its devices: they reach {ranges}. \
         Lower `memory` in [machine] until it fits"
    )]
    OutOfReach {
        /// The first such address.
        address: u64,
        /// What devices reach.
        ranges: Ranges,
    },
    /// The host is out of memory.
    #[error(
        "the host ran out of memory while it locked {} of the guest's for passed-through devices (at {address:#x}): \
         lower `memory` in [machine] or close programs",
        size(*len)
    )]
    NoMemory {
        /// Guest-physical.
        address: u64,
        /// Bytes.
        len: u64,
    },
    /// The pages cannot be pinned.
    #[error(
        "the kernel cannot pin {} of guest memory at {address:#x} for passed-through devices: {source}. Memory of \
         ordinary files cannot be pinned; `sudo dmesg` may tell more",
        size(*len)
    )]
    Fault {
        /// Guest-physical.
        address: u64,
        /// Bytes.
        len: u64,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Anything else.
    #[error(
        "cannot open {} of guest memory at {address:#x} to passed-through devices: {source}; `sudo dmesg` may tell more",
        size(*len)
    )]
    Map {
        /// Guest-physical.
        address: u64,
        /// Bytes.
        len: u64,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The thread that maps cannot be started.
    #[error("cannot start the thread that opens guest memory to passed-through devices: {0}")]
    Thread(#[source] io::Error),
}
