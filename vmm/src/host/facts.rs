//! Gathers what the plan may know of the host.

use std::collections::BTreeMap;

use vocabulary::LentDevice;

use super::{HardwareApic, HostCpus, HostFacts, HostFiles, WantedIdentity};

/// The kernel's present clocksource.
const CLOCKSOURCE: &str = "sys/devices/system/clocksource/clocksource0/current_clocksource";

impl HostFacts {
    /// Of a host that nobody asks.
    pub fn unasked() -> Self {
        Self { unasked: true, ..Self::default() }
    }

    /// Reads what `devices` name, all other functions of the slots of functions and their first virtual functions, parameters of KVM, and the clocksource. Cannot fail: a device that
    /// is not there is not in the result, and the plan says what that means.
    pub fn gather(devices: impl Iterator<Item = LentDevice> + Clone) -> Self {
        Self::gather_from(&HostFiles::default(), devices)
    }

    /// The same, and the host's CPUs.
    #[must_use]
    pub fn with_cpus(self) -> Self {
        Self { cpus: HostCpus::gather().into(), ..self }
    }

    /// With the host's USB devices, if they are `wanted`.
    #[must_use]
    pub fn with_usb(self, files: &HostFiles, wanted: bool) -> Self {
        Self { usb: wanted.then(|| files.usb()), ..self }
    }

    /// With what the host calls itself, as far as that is wanted.
    #[must_use]
    pub fn with_identity(self, wanted: WantedIdentity) -> Self {
        let identity = (!wanted.is_empty()).then(|| HostFiles::default().identity(wanted));
        Self { identity, ..self }
    }

    /// As [`Self::gather`], from another root.
    pub fn gather_from(files: &HostFiles, devices: impl Iterator<Item = LentDevice> + Clone) -> Self {
        let named = || devices.clone().filter_map(LentDevice::function);
        let virtual_functions: BTreeMap<_, _> =
            named().filter_map(|parent| Some((parent, files.first_virtual(parent)?))).collect();
        let functions = named()
            .flat_map(|address| files.slot(address))
            .chain(virtual_functions.values().filter_map(|address| files.function(*address)))
            .map(|function| (function.address, function))
            .collect();
        let mdevs = devices.filter_map(|device| files.mdev(device.uuid()?));
        let mdevs = mdevs.map(|device| (device.uuid, device)).collect();
        let clocksource = files.text(CLOCKSOURCE).ok();
        let apic = HardwareApic::read(files);
        Self { functions, mdevs, virtual_functions, apic, clocksource, ..Self::default() }
    }
}
