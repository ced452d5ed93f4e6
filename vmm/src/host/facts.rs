//! Gathers what the plan may know of the host.

use super::{HostFacts, HostFiles};
use crate::config::Passthrough;

impl HostFacts {
    /// Reads the functions that `devices` name, and all other functions of their slots. Cannot fail: a function that
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
        Self { functions }
    }
}
