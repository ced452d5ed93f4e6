//! The host's `/dev/kvm`: opening it, the VM with its in-kernel interrupt controllers, memory slots, interrupt routes
//! and doorbells (Linux `Documentation/virt/kvm/api.rst`).

pub mod chips;
pub mod clock;
pub mod hyperv;
pub mod irq;
pub mod probe;
pub mod slots;
pub mod statistics;

mod doorbell;
mod pit;

use std::io;
use std::path::Path;
use std::sync::Arc;

use kvm_bindings::{KVM_CAP_HALT_POLL, kvm_enable_cap};
use kvm_ioctls::{Cap, Kvm, VmFd};
use vocabulary::memory::KVM_PAGES;

pub use doorbell::Doorbells;

/// KVM's identity-map page, and behind it its three TSS pages.
const IDENTITY_MAP: u64 = KVM_PAGES.base();
const TSS: usize = KVM_PAGES.base() as usize + 0x1000;

/// Why this host cannot run a guest. Each message ends with what to do.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// There is no `/dev/kvm`.
    #[error(
        "this machine has no /dev/kvm: turn on virtualization (VT-x or AMD-V) in the firmware setup, then load the \
         module with `modprobe kvm_intel` or `modprobe kvm_amd`"
    )]
    NoKvm,
    /// It may not be opened.
    #[error(
        "no permission to open /dev/kvm: add yourself to its group with `sudo usermod -aG kvm $USER` and log in again"
    )]
    Forbidden,
    /// It cannot be opened for another reason.
    #[error("cannot open /dev/kvm: {0}")]
    Open(#[source] io::Error),
    /// The kernel speaks another API version.
    #[error("the kernel's KVM API has version {0}; version 12 is needed, which every kernel since 2007 has")]
    ApiVersion(i32),
    /// A capability is missing.
    #[error("the kernel's KVM lacks {0}, which the machine needs: use a kernel of version 5.10 or newer")]
    Missing(&'static str),
    /// KVM runs guests, but not firmware.
    #[error(
        "KVM on this host cannot run firmware: it stopped at an ordinary x87 instruction ({0}). A paravirtual KVM \
         without hardware virtualization does this; run on a host whose CPU has VT-x or AMD-V"
    )]
    CannotRunFirmware(String),
    /// More vCPUs than KVM gives.
    #[error("the machine has {wanted} vCPUs, but KVM on this host allows {limit}: lower [cpu] topology")]
    TooManyCpus {
        /// vCPUs of the plan.
        wanted: usize,
        /// KVM's limit.
        limit: usize,
    },
    /// An APIC ID beyond those that KVM gives. Each core and each socket begins at a multiple of a power of two.
    #[error(
        "the machine's [cpu] topology needs APIC IDs up to {wanted}, but KVM on this host allows those up to {limit}: lower \
         it, or make cores and threads powers of two, which leaves no gaps between the IDs"
    )]
    ApicIdTooHigh {
        /// The highest of the plan.
        wanted: u32,
        /// The highest of KVM.
        limit: usize,
    },
    /// The CPU has more CPUID leaves than KVM takes.
    #[error("KVM does not take as many CPUID leaves as this CPU has")]
    TooManyLeaves,
    /// A step of building the VM failed.
    #[error("cannot {what}: {source}")]
    Setup {
        /// The step, in the infinitive.
        what: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// Turns a KVM errno into a [`HostError::Setup`].
pub(crate) fn setup(what: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> HostError {
    move |error| HostError::Setup { what, source: io_error(error) }
}

pub(crate) fn io_error(error: kvm_ioctls::Error) -> io::Error {
    io::Error::from_raw_os_error(error.errno())
}

/// Opens `/dev/kvm` and checks that it can do what the machine needs.
pub fn open() -> Result<Kvm, HostError> {
    open_at(Path::new("/dev/kvm"))
}

fn open_at(path: &Path) -> Result<Kvm, HostError> {
    let c_path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())
        .map_err(|error| HostError::Open(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    let kvm = Kvm::new_with_path(c_path.as_c_str()).map_err(|error| match error.errno() {
        libc::ENOENT | libc::ENODEV | libc::ENXIO => HostError::NoKvm,
        libc::EACCES | libc::EPERM => HostError::Forbidden,
        _ => HostError::Open(io_error(error)),
    })?;
    let version = kvm.get_api_version();
    if version != 12 {
        return Err(HostError::ApiVersion(version));
    }
    for (capability, name) in [
        (Cap::UserMemory, "user memory slots"),
        (Cap::Irqchip, "the in-kernel interrupt controllers"),
        (Cap::Irqfd, "irqfd"),
        (Cap::Ioeventfd, "ioeventfd"),
        (Cap::IrqRouting, "interrupt routing"),
        (Cap::Pit2, "the in-kernel PIT"),
        (Cap::ReinjectControl, "the control of lost PIT ticks"),
        (Cap::ReadonlyMem, "read-only memory slots"),
        (Cap::ImmediateExit, "immediate exit"),
        (Cap::ExtCpuid, "CPUID setting"),
    ] {
        if !kvm.check_extension(capability) {
            return Err(HostError::Missing(name));
        }
    }
    Ok(kvm)
}

/// Checks that a VM can have vCPUs of these APIC IDs, at most `most` of them, and IDs below `ids` (`KVM_CAP_MAX_VCPUS` and
/// `KVM_CAP_MAX_VCPU_ID`).
pub(crate) fn check_vcpus(apic_ids: &[u32], most: usize, ids: usize) -> Result<(), HostError> {
    if apic_ids.len() > most {
        return Err(HostError::TooManyCpus { wanted: apic_ids.len(), limit: most });
    }
    match apic_ids.iter().max() {
        Some(&wanted) if wanted as usize >= ids => {
            Err(HostError::ApicIdTooHigh { wanted, limit: ids.saturating_sub(1) })
        }
        _ => Ok(()),
    }
}

/// Creates a VM that has neither memory nor [chips](chips::Chips).
pub fn create_vm(kvm: &Kvm) -> Result<Arc<VmFd>, HostError> {
    let vm = kvm.create_vm().map_err(setup("create a virtual machine with KVM"))?;
    // Both before the first vCPU.
    vm.set_identity_map_address(IDENTITY_MAP).map_err(setup("place KVM's identity map"))?;
    vm.set_tss_address(TSS).map_err(setup("place KVM's TSS"))?;
    Ok(Arc::new(vm))
}

/// Whether a VM can have a limit of halt polling of its own.
pub(crate) fn limits_halt_polling(kvm: &Kvm) -> bool {
    kvm.check_extension_raw(KVM_CAP_HALT_POLL.into()) > 0
}

/// Has KVM keep the CPU of a halted vCPU for `nanoseconds` at most while it looks for an interrupt, in place of the module's
/// `halt_poll_ns` (kvm/api.rst, KVM_CAP_HALT_POLL).
///
/// # Errors
/// EINVAL on a KVM without that capability.
pub fn limit_halt_polling(vm: &VmFd, nanoseconds: u32) -> io::Result<()> {
    let capability =
        kvm_enable_cap { cap: KVM_CAP_HALT_POLL, args: [nanoseconds.into(), 0, 0, 0], ..Default::default() };
    vm.enable_cap(&capability).map_err(io_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_device_is_told() {
        let error = open_at(Path::new("/dev/there-is-no-kvm-here")).map(|_| ()).unwrap_err();
        assert!(matches!(error, HostError::NoKvm), "{error}");
        assert!(error.to_string().contains("modprobe"));
    }

    #[test]
    fn too_many_vcpus_and_too_high_ids_are_told_apart() {
        // 5 sockets of 9 cores: a socket has 16 IDs.
        let sparse: Vec<u32> = (0..45).map(|index| index / 9 * 16 + index % 9).collect();
        let dense: Vec<u32> = (0..45).collect();
        for (ids, most, below, expected) in [
            (&dense, 45, 45, None),
            (&sparse, 45, 73, None),
            (&dense, 44, 4096, Some("has 45 vCPUs, but KVM on this host allows 44")),
            // Fewer than both limits, and yet not all of them can be.
            (&sparse, 64, 72, Some("APIC IDs up to 72, but KVM on this host allows those up to 71")),
        ] {
            let told = check_vcpus(ids, most, below).map_err(|error| error.to_string());
            match expected {
                None => assert_eq!(told, Ok(())),
                Some(expected) => {
                    assert!(told.as_ref().is_err_and(|told| told.contains(expected)), "{told:?}")
                }
            }
        }
    }
}
