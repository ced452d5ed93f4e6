//! `bootorder`: from which devices to boot, first to last.
//!
//! OpenFirmware device paths, one per line, NUL at the end. Only the shapes that OVMF translates to UEFI device paths
//! are produced (edk2 OvmfPkg/Library/QemuBootOrderLib/QemuBootOrderLib.c). Numbers are lower-case hexadecimal without
//! prefix; function 0 is left out.

use std::fmt::{self, Display, Write};

use vocabulary::Devfn;

/// What kind of device to boot from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootKind {
    /// A virtio block device.
    VirtioBlk,
    /// An NVMe namespace, numbered from 1.
    Nvme {
        /// NSID.
        namespace: u32,
    },
    /// A disk or CD drive at a port of an AHCI controller.
    Sata {
        /// The port, from 0.
        port: usize,
    },
    /// A network card of any kind.
    Ethernet,
    /// Any other PCI function that carries a boot option of its own, such as a passed-through one.
    Pci {
        /// Vendor ID.
        vendor: u16,
        /// Device ID.
        device: u16,
    },
}

/// One device to boot from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootDevice {
    /// The root ports and bridges from bus 0 down to the device's bus; empty for a device on bus 0.
    pub bridges: Vec<Devfn>,
    /// The device on its bus.
    pub at: Devfn,
    /// What it is.
    pub kind: BootKind,
}

/// The unit address of OpenFirmware's PCI binding: device, and function unless it is 0.
fn unit(at: Devfn) -> String {
    match at.function() {
        0 => format!("{:x}", at.device()),
        function => format!("{:x},{function:x}", at.device()),
    }
}

impl Display for BootDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("/pci@i0cf8")?;
        for bridge in &self.bridges {
            write!(f, "/pci-bridge@{}", unit(*bridge))?;
        }
        let slot = unit(self.at);
        match self.kind {
            BootKind::VirtioBlk => write!(f, "/scsi@{slot}/disk@0,0"),
            // OVMF knows NVMe by this name of one vendor's device, whatever the device is.
            BootKind::Nvme { namespace } => write!(f, "/pci8086,5845@{slot}/namespace@{namespace:x},0"),
            BootKind::Sata { port } => write!(f, "/pci8086,2922@{slot}/drive@{port:x}/disk@0"),
            BootKind::Ethernet => write!(f, "/ethernet@{slot}/ethernet-phy@0"),
            BootKind::Pci { vendor, device } => write!(f, "/pci{vendor:x},{device:x}@{slot}"),
        }
    }
}

/// The item, or `None` when there is nothing to say, in which case it should not exist at all.
///
/// With `halt`, the firmware tries only these devices: QEMU's `HALT` line, which stops the search.
#[must_use]
pub fn bootorder(devices: &[BootDevice], halt: bool) -> Option<Vec<u8>> {
    if devices.is_empty() && !halt {
        return None;
    }
    let mut text = String::new();
    for device in devices {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{device}");
    }
    text.push_str(if halt { "HALT" } else { "" });
    let mut bytes = text.trim_end().to_owned().into_bytes();
    bytes.push(0);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(device: u8, function: u8) -> Devfn {
        Devfn::new(device, function).unwrap()
    }

    fn line(bridges: &[Devfn], at: Devfn, kind: BootKind) -> String {
        BootDevice { bridges: bridges.to_vec(), at, kind }.to_string()
    }

    #[test]
    fn paths_are_those_that_ovmf_translates() {
        let cases = [
            (vec![], slot(6, 0), BootKind::VirtioBlk, "/pci@i0cf8/scsi@6/disk@0,0"),
            (vec![], slot(6, 3), BootKind::VirtioBlk, "/pci@i0cf8/scsi@6,3/disk@0,0"),
            (
                vec![slot(0x1c, 0), slot(2, 1)],
                slot(0, 0),
                BootKind::VirtioBlk,
                "/pci@i0cf8/pci-bridge@1c/pci-bridge@2,1/scsi@0/disk@0,0",
            ),
            (
                vec![],
                slot(6, 1),
                BootKind::Nvme { namespace: 1 },
                "/pci@i0cf8/pci8086,5845@6,1/namespace@1,0",
            ),
            (
                vec![],
                slot(0x1f, 2),
                BootKind::Sata { port: 5 },
                "/pci@i0cf8/pci8086,2922@1f,2/drive@5/disk@0",
            ),
            (vec![], slot(3, 2), BootKind::Ethernet, "/pci@i0cf8/ethernet@3,2/ethernet-phy@0"),
            (
                vec![slot(1, 0)],
                slot(0, 0),
                BootKind::Pci { vendor: 0x10de, device: 0x1234 },
                "/pci@i0cf8/pci-bridge@1/pci10de,1234@0",
            ),
        ];
        for (bridges, at, kind, expected) in cases {
            assert_eq!(line(&bridges, at, kind), expected);
        }
    }

    #[test]
    fn list_is_newline_separated_and_terminated() {
        let device = |n| BootDevice { bridges: vec![], at: slot(n, 0), kind: BootKind::VirtioBlk };
        assert_eq!(bootorder(&[], false), None);
        assert_eq!(bootorder(&[], true).unwrap(), b"HALT\0");
        let list = bootorder(&[device(3), device(4)], false).unwrap();
        assert_eq!(list, b"/pci@i0cf8/scsi@3/disk@0,0\n/pci@i0cf8/scsi@4/disk@0,0\0");
        let list = bootorder(&[device(31)], true).unwrap();
        assert_eq!(list, b"/pci@i0cf8/scsi@1f/disk@0,0\nHALT\0");
    }
}
