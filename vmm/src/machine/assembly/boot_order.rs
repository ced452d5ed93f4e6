//! What the firmware is told to boot from, and in which order.

use crate::device::{Ahci, Boot, Spec};
use crate::plan::{MachinePlan, PlannedPassthrough};
use crate::topology::{Placed, Role};
use firmware::fw_cfg::bootorder::{BootDevice, BootKind, bootorder};

/// The devices that have a place in the order; without any, our own as they stand in the file. `None` leaves the order
/// to the firmware.
pub(in crate::machine) fn of(plan: &MachinePlan) -> Option<Vec<u8>> {
    let own: Vec<Boot> = plan.devices.iter().filter_map(Spec::boot).collect();
    let ordered = own.iter().any(|boot| boot.index.is_some())
        || plan.passthrough.iter().any(|device| device.boot_index.is_some());
    let mut devices: Vec<(u32, BootDevice)> = Vec::new();
    let mut add = |rank: Option<u32>, kind, placed: Option<Placed<'_>>| {
        if let (Some(rank), Some(Placed { function, port })) = (rank, placed) {
            devices.push((rank, BootDevice { bridges: port.into_iter().collect(), at: function.at, kind }));
        }
    };
    for (index, device) in plan.devices.iter().enumerate() {
        let Some(boot) = device.boot() else { continue };
        let rank = if ordered { boot.index } else { u32::try_from(index).ok() };
        let function = match boot.kind {
            // They share one.
            BootKind::Sata { .. } => plan.devices.number_of::<Ahci>(),
            _ => Some(index),
        };
        add(rank, boot.kind, function.and_then(|index| plan.pci.of_role(Role::Device(index))));
    }
    for (index, device) in plan.passthrough.iter().enumerate() {
        add(device.boot_index, kind(device), plan.pci.of_role(Role::Passthrough(index)));
    }
    devices.sort_by_key(|(rank, _)| *rank);
    let devices: Vec<BootDevice> = devices.into_iter().map(|(_, device)| device).collect();
    bootorder(&devices, false)
}

/// By the class of the device (PCI Code and ID Assignment Specification, 1.2 and 1.3).
fn kind(device: &PlannedPassthrough) -> BootKind {
    let class = device.facts.as_ref().map_or(0, |facts| facts.class);
    match (class >> 8, class >> 16) {
        (0x0108, _) => BootKind::Nvme { namespace: 1 },
        (_, 0x02) => BootKind::Ethernet,
        _ => {
            let own = device.facts.as_ref().map_or((0, 0), |facts| (facts.vendor, facts.device));
            BootKind::Pci {
                vendor: device.identity.vendor.unwrap_or(own.0),
                device: device.identity.device.unwrap_or(own.1),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;
    use crate::host::{HostFacts, HostFunction};
    use crate::plan;

    fn order(sections: &str, class: u32) -> String {
        let text = format!(
            "[firmware]\ncode = \"c.fd\"\nvars = \"v.fd\"\nvars_template = \"t.fd\"\n[[disk]]\npath = \"a.raw\"\n\
             boot_index = 1\n{sections}"
        );
        let config = config::parse(&text, Path::new("/vm/test.toml")).unwrap();
        let address = "0000:03:00.0".parse().unwrap();
        let function = HostFunction {
            address,
            vendor: 0x144d,
            device: 0xa808,
            subsystem_vendor: 0x144d,
            subsystem: 0xa801,
            class,
            driver: None,
            iommu_group: Some(7),
        };
        let facts = HostFacts { functions: [(address, function)].into(), ..HostFacts::default() };
        let plan = plan::plan(config, &facts).unwrap();
        String::from_utf8(of(&plan).unwrap()).unwrap()
    }

    #[test]
    fn passed_devices_stand_among_the_disks() {
        let passed = "[[vfio]]\nhost = \"0000:03:00.0\"\nboot_index = 0\n";
        let disk = "/pci@i0cf8/scsi@3/disk@0,0\0";
        for (class, path) in [
            (0x01_08_02, "pci8086,5845@0/namespace@1,0"),
            (0x02_00_00, "ethernet@0/ethernet-phy@0"),
            (0x0c_03_30, "pci144d,a808@0"),
        ] {
            let order = order(passed, class);
            let (first, rest) = order.split_once('\n').unwrap();
            assert!(first.starts_with(&format!("/pci@i0cf8/pci-bridge@1c/{path}")), "{first}");
            assert_eq!(rest, disk);
        }
        let drives =
            "[[cdrom]]\npath = \"a.iso\"\nboot_index = 0\n[[cdrom]]\npath = \"b.iso\"\nboot_index = 7\n";
        let at = |port| format!("/pci@i0cf8/pci8086,2922@1f,2/drive@{port}/disk@0");
        assert_eq!(order(drives, 0x02_00_00), format!("{}\n/pci@i0cf8/scsi@3/disk@0,0\n{}\0", at(5), at(4)));
        assert_eq!(order("[[vfio]]\nhost = \"0000:03:00.0\"\n", 0x01_08_02), disk);
    }
}
