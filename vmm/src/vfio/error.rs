//! Why a function of the host cannot be passed through, with what to do about it.

use std::io;
use std::path::PathBuf;

use vocabulary::{ByteSize, LentDevice};

use super::dma::Ranges;
use crate::host::{Holders, NotLent, Unready};

fn in_use_by(path: &std::path::Path, holders: &Holders) -> String {
    if holders.found.is_empty() {
        let path = path.display();
        format!("another process has {path}: find it with `sudo fuser -v {path}`, and end it")
    } else {
        format!("{holders}: {}", holders.cure())
    }
}

/// Why a function cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum VfioError {
    /// The host is not prepared for it, or the function does not answer.
    #[error(transparent)]
    Unready(#[from] Unready),
    /// No driver of the host lends it.
    #[error(transparent)]
    NotLent(#[from] NotLent),
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
         CONFIG_IOMMUFD and CONFIG_VFIO_DEVICE_CDEV (`sudo modprobe iommufd`); `vfio_backend = \"group\"` needs neither",
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
         CONFIG_VFIO_GROUP; then use `vfio_backend = \"iommufd\"`",
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
    #[error("cannot pass {address} through: it is in use: {}", in_use_by(path, holders))]
    Busy {
        /// The function.
        address: LentDevice,
        /// The file that is in use.
        path: PathBuf,
        /// By whom, as far as this user may know.
        holders: Holders,
    },
    /// The kernel says that other functions of the group are in use, and nothing in sysfs shows by what.
    #[error(
        "cannot pass {address} through: another driver of the host uses DMA in its IOMMU group {group}; `sudo dmesg` may \
         tell which"
    )]
    NotViable {
        /// The function.
        address: LentDevice,
        /// Its group.
        group: u32,
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
