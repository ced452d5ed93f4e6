//! USB devices of the host in the report.

use std::fmt::Write as _;

use serde::Serialize;

use crate::host::usb::HostUsbDevice;
use crate::plan::{Found, PlannedUsb};

/// A section, and what it means on this host, as printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UsbDevice {
    /// The section.
    pub section: String,
    /// What it says.
    pub wanted: String,
    /// The machine also starts without it.
    pub optional: bool,
    /// What it means: one device, none, or several of which one has to be chosen. Nothing where nobody has looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<Vec<FoundUsb>>,
}

/// A device of the host, as printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FoundUsb {
    /// Where it is plugged in.
    pub port: String,
    /// Vendor and product.
    pub id: String,
    /// Its serial number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// What it is called.
    pub name: String,
    /// The drivers of the host that have it, and lose it.
    pub drivers: Vec<String>,
}

impl From<&HostUsbDevice> for FoundUsb {
    fn from(device: &HostUsbDevice) -> Self {
        Self {
            port: device.port.to_string(),
            id: device.id.to_string(),
            serial: device.serial.clone(),
            name: device.name(),
            drivers: device.drivers().into_iter().map(str::to_owned).collect(),
        }
    }
}

impl From<&PlannedUsb> for UsbDevice {
    fn from(PlannedUsb { wanted, found }: &PlannedUsb) -> Self {
        Self {
            section: wanted.name.clone(),
            wanted: wanted.choice.to_string(),
            optional: wanted.optional,
            found: match found {
                Found::Unknown => None,
                Found::Missing => Some(Vec::new()),
                Found::Several(devices) => Some(devices.iter().map(FoundUsb::from).collect()),
                Found::One(device) => Some(vec![device.into()]),
            },
        }
    }
}

pub(super) fn write(all: &[UsbDevice], out: &mut String) -> std::fmt::Result {
    if all.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nUSB devices of the host")?;
    for UsbDevice { section, wanted, optional, found } in all {
        write!(out, "  {section}  {wanted}: ")?;
        match found.as_deref() {
            None => writeln!(out, "whichever the host has")?,
            Some([]) if *optional => writeln!(out, "not plugged in; the guest has it when it comes")?,
            Some([]) => writeln!(out, "not plugged in")?,
            Some([device]) => {
                let FoundUsb { port, id, name, drivers, .. } = device;
                let holder = match &drivers[..] {
                    [] => "no driver of the host has it".to_owned(),
                    drivers => format!("the host's {} loses it", drivers.join(", ")),
                };
                writeln!(out, "{id} at port {port} ({name}); {holder}")?;
            }
            Some(several) => {
                let ports: Vec<_> = several.iter().map(|device| device.port.as_str()).collect();
                writeln!(out, "one of several, at ports {}", ports.join(", "))?;
            }
        }
    }
    Ok(())
}
