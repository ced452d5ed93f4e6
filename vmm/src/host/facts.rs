//! What sysfs says of the functions that are to be passed through.

use std::fs;
use std::path::Path;

use super::{HostFacts, HostFunction};
use crate::config::{HostPciAddress, Passthrough};

const DEVICES: &str = "/sys/bus/pci/devices";

impl HostFacts {
    /// Reads what the host says of the wanted functions and of those that share their slots.
    pub fn gather(wanted: &[Passthrough]) -> Self {
        let slot = |address: HostPciAddress| (address.segment(), address.bus(), address.device());
        let functions = wanted
            .iter()
            .flat_map(|device| {
                let (segment, bus, number) = slot(device.host);
                (0..8).filter_map(move |function| HostPciAddress::new(segment, bus, number, function))
            })
            .filter_map(|address| Some((address, read(address)?)))
            .collect();
        Self { functions }
    }
}

fn read(address: HostPciAddress) -> Option<HostFunction> {
    let folder = Path::new(DEVICES).join(address.to_string());
    let number = |file: &str| {
        let text = fs::read_to_string(folder.join(file)).ok()?;
        u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()
    };
    let id = |file: &str| number(file).and_then(|id| u16::try_from(id).ok());
    let target = |link: &str| {
        let path = fs::read_link(folder.join(link)).ok()?;
        Some(path.file_name()?.to_string_lossy().into_owned())
    };
    Some(HostFunction {
        address,
        vendor: id("vendor")?,
        device: id("device")?,
        subsystem_vendor: id("subsystem_vendor").unwrap_or_default(),
        subsystem: id("subsystem_device").unwrap_or_default(),
        class: number("class")?,
        driver: target("driver"),
        iommu_group: target("iommu_group").and_then(|group| group.parse().ok()),
    })
}
