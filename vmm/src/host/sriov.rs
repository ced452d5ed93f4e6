//! Virtual functions of the host's GPUs and other devices (SR-IOV): functions that a driver makes on request, such as those of Intel's
//! GPUs from the 12th generation of Core on.
//!
//! PCIe 6.0 §9; Linux `Documentation/PCI/pci-iov-howto.rst` and `Documentation/ABI/testing/sysfs-bus-pci`: a number written to
//! `sriov_numvfs` of the physical function makes so many, and 0 removes all. There is no way from one number to another but through
//! 0, so a machine makes exactly one where there is none, and takes the first where there are some.

mod error;
mod make;

use vocabulary::HostPciAddress;

use super::HostFiles;
use super::check::reachable;
use super::files::{link_name, names};
use super::sysfs::lends;

pub use error::SriovError;

/// What the i915 of the module i915-sriov-dkms has and the kernel's own lacks.
pub(crate) const I915_VIRTUAL: &str = "sys/module/i915/parameters/max_vfs";

/// The virtual function that a machine needs: the first of its physical function, which is made if there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantedVirtual {
    /// The physical function.
    pub parent: HostPciAddress,
    /// Where its first virtual function is, or will be.
    pub function: HostPciAddress,
}

impl HostFiles {
    /// Where the first virtual function of `parent` is, or will be; `None` if `parent` has none, or does not say.
    ///
    /// The offset may depend on how many there are (PCIe 6.0 §9.3.3.9). What the kernel shows while there is none is checked against what
    /// it makes.
    pub(super) fn first_virtual(&self, parent: HostPciAddress) -> Option<HostPciAddress> {
        self.made_virtual(parent).or_else(|| {
            let offset: u16 = self.attribute(parent, "sriov_offset").ok()?.parse().ok()?;
            if offset == 0 { None } else { parent.after(offset) }
        })
    }

    /// The first virtual function of `parent`, if there is one.
    pub(super) fn made_virtual(&self, parent: HostPciAddress) -> Option<HostPciAddress> {
        link_name(&self.function_path(parent).join("virtfn0"))?.parse().ok()
    }

    /// Whether it is a virtual function.
    pub(crate) fn is_virtual(&self, address: HostPciAddress) -> bool {
        // A captured host has no link there.
        self.function_path(address).join("physfn").symlink_metadata().is_ok()
    }

    /// How many virtual functions `parent` has; 0 if it can have none. By the links to them: `sriov_numvfs` says the same, but some kernels
    /// (5.5 to 6.8 or so) let its reader wait while functions are made or removed, which may be for ever.
    pub(crate) fn virtual_count(&self, parent: HostPciAddress) -> u32 {
        let links = names(&self.function_path(parent));
        links.iter().filter(|name| name.starts_with("virtfn")).count().try_into().unwrap_or(u32::MAX)
    }

    /// Whether this driver can make virtual functions as far as can be told beforehand. `sriov_totalvfs` does not tell it: without the
    /// driver's word the kernel shows there what the hardware could have.
    pub(crate) fn makes_virtual(&self, driver: &str) -> bool {
        driver != "i915" || self.path(I915_VIRTUAL).exists()
    }

    /// Whether the virtual function has to be made. Everything that stands against that is found without a change.
    pub(super) fn virtual_to_make(&self, wanted: WantedVirtual) -> Result<bool, SriovError> {
        let WantedVirtual { parent, function } = wanted;
        let own = reachable(self, parent).map_err(|why| SriovError::Parent(Box::new(why)))?;
        let Ok(total) = self.attribute(parent, "sriov_totalvfs") else {
            return Err(SriovError::Incapable { parent });
        };
        if self.virtual_count(parent) > 0 {
            return match self.first_virtual(parent) {
                Some(found) if found == function => Ok(false),
                _ => Err(SriovError::Moved { parent, function }),
            };
        }
        match own.driver {
            None => return Err(SriovError::NoDriver { parent }),
            Some(driver) if lends(&driver) => return Err(SriovError::Lent { parent, driver }),
            Some(driver) if total == "0" || !self.makes_virtual(&driver) => {
                return Err(SriovError::NoneOffered { parent, driver });
            }
            Some(_) => {}
        }
        if self.first_virtual(parent) != Some(function) {
            return Err(SriovError::Unforeseen { parent });
        }
        let file = self.function_path(parent).join("sriov_numvfs");
        let access = rustix::fs::accessat(
            rustix::fs::CWD,
            &file,
            rustix::fs::Access::WRITE_OK,
            rustix::fs::AtFlags::EACCESS,
        );
        access.map_err(|_| SriovError::Denied { parent, function })?;
        Ok(true)
    }
}
