//! Why a machine cannot have a virtual function.

use vocabulary::HostPciAddress;

use crate::host::Unready;

/// Why a virtual function cannot be made. Each message ends with what to do.
#[derive(Debug, thiserror::Error)]
pub enum SriovError {
    /// The physical function cannot be used.
    #[error(transparent)]
    Parent(Box<Unready>),
    /// It has no virtual functions.
    #[error(
        "{parent} has no virtual functions (SR-IOV), which Intel's GPUs have from the 12th generation of Core on: write a type of GVT-g in \
         place of \"sriov\" where `mdevctl types` lists one, or leave [igpu] out"
    )]
    Incapable {
        /// The physical function.
        parent: HostPciAddress,
    },
    /// Nobody is there to make one.
    #[error(
        "{parent} has no driver, and its driver makes virtual functions: `sudo modprobe xe`, or i915 with the module i915-sriov-dkms"
    )]
    NoDriver {
        /// The physical function.
        parent: HostPciAddress,
    },
    /// The physical function itself is lent.
    #[error(
        "{parent} is bound to {driver}, and virtual functions are made by the host's own driver: give it back with `optimus-vmm host release \
         {parent}`, or take it out of what binds it at boot"
    )]
    Lent {
        /// The physical function.
        parent: HostPciAddress,
        /// The driver that has it.
        driver: String,
    },
    /// The driver makes none.
    #[error(
        "the driver {driver} of {parent} makes no virtual functions: {}; `sudo dmesg | grep -i -e sr-iov -e {parent}` may tell more",
        offer(driver)
    )]
    NoneOffered {
        /// The physical function.
        parent: HostPciAddress,
        /// Its driver.
        driver: String,
    },
    /// The virtual function is not where it should be.
    #[error(
        "the virtual functions of {parent} begin at another address than {function}: see `ls -l /sys/bus/pci/devices/{parent}/virtfn*`, and \
         write the address of one as `host` in [igpu], with `manage = true`, in place of `parent` and `type`"
    )]
    Moved {
        /// The physical function.
        parent: HostPciAddress,
        /// Where the first virtual function was expected.
        function: HostPciAddress,
    },
    /// The device does not say where its virtual function will be.
    #[error(
        "{parent} does not say at which address its first virtual function will be (sriov_offset): make it beforehand with `echo 1 | sudo tee \
         /sys/bus/pci/devices/{parent}/sriov_numvfs`, and write its address as `host` in [igpu], with `manage = true`, in place of `parent` and \
         `type`"
    )]
    Unforeseen {
        /// The physical function.
        parent: HostPciAddress,
    },
    /// We may not make one.
    #[error(
        "no permission to make virtual functions of {parent}: run with `sudo`, or make one beforehand with `echo 1 | sudo tee \
         /sys/bus/pci/devices/{parent}/sriov_numvfs`, bind it to vfio-pci and write `host = \"{function}\"` in [igpu] (docs/host.md)"
    )]
    Denied {
        /// The physical function.
        parent: HostPciAddress,
        /// Its first virtual function.
        function: HostPciAddress,
    },
}

/// What has a driver offer some.
pub(super) fn offer(driver: &str) -> &'static str {
    match driver {
        "i915" => {
            "only the i915 of the module i915-sriov-dkms does, with `i915.enable_guc=3 i915.max_vfs=7` on the kernel's command line"
        }
        "xe" => "add `xe.max_vfs=7` to the kernel's command line and reboot, or use a newer kernel",
        _ => "see its documentation for a parameter that allows them",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cure_is_the_drivers() {
        let parent = "00:02.0".parse().unwrap();
        for (driver, cure) in
            [("i915", "i915-sriov-dkms"), ("xe", "xe.max_vfs=7"), ("igb", "see its documentation")]
        {
            let error = SriovError::NoneOffered { parent, driver: driver.into() }.to_string();
            assert!(error.contains(cure) && error.contains(driver), "{error}");
        }
    }
}
