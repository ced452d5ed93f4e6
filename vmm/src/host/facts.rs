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
            .flat_map(|device| files.slot(device.host))
            .map(|function| (function.address, function))
            .collect();
        Self { functions }
    }
}
