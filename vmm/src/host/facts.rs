//! Gathers what the plan may know of the host.

use super::{HostFacts, HostFiles};
use crate::config::Passthrough;

impl HostFacts {
    /// Reads what `devices` name, and all other functions of the slots of functions. Cannot fail: a device that
    /// is not there is not in the result, and the plan says what that means.
    pub fn gather(devices: &[Passthrough]) -> Self {
        Self::gather_from(&HostFiles::default(), devices)
    }

    /// As [`Self::gather`], from another root.
    pub fn gather_from(files: &HostFiles, devices: &[Passthrough]) -> Self {
        let functions = devices
            .iter()
            .filter_map(|device| device.host.function())
            .flat_map(|address| files.slot(address))
            .map(|function| (function.address, function))
            .collect();
        let mdevs = devices.iter().filter_map(|device| files.mdev(device.host.uuid()?));
        let mdevs = mdevs.map(|device| (device.uuid, device)).collect();
        Self { functions, mdevs }
    }
}
