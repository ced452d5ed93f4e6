//! USB devices of the host as sysfs shows them (Linux, Documentation/ABI/stable/sysfs-bus-usb; drivers/usb/core/sysfs.c), and their nodes below
//! `/dev/bus/usb`; what keeps one from being given to a guest; and the record of those that a machine has.

mod abi;
mod descriptors;
mod loan;
mod refusal;
mod using;

use std::fmt;
use std::path::PathBuf;

use devices::usb::device::Speed;
use vocabulary::{UsbId, UsbPort};

use super::HostFiles;
use super::files::{link_name, names, text};

pub(super) use abi::connect;
pub use loan::{LoanError, UsbLoans};
pub use refusal::UsbRefusal;

/// A device that is plugged into the host, hubs included and root hubs not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostUsbDevice {
    /// The number of its bus.
    pub bus: u8,
    /// Its address there, which is another one each time that it is plugged in.
    pub number: u8,
    /// Where it is plugged in.
    pub port: UsbPort,
    /// Vendor and product.
    pub id: UsbId,
    /// Its serial number, if it has one.
    pub serial: Option<String>,
    /// Who makes it, in the device's words.
    pub manufacturer: Option<String>,
    /// What it is, in the device's words.
    pub product: Option<String>,
    /// How fast it talks; what is faster than 5 Gbit/s counts as that.
    pub speed: Speed,
    /// bDeviceClass; 0 leaves it to the interfaces.
    pub class: u8,
    /// The host has chosen a configuration. It has interfaces only then.
    pub configured: bool,
    /// The interfaces of that configuration.
    pub interfaces: Vec<HostInterface>,
    /// Its node: `/dev/bus/usb/001/004`.
    pub node: PathBuf,
}

/// An interface of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostInterface {
    /// bInterfaceNumber.
    pub number: u8,
    /// bInterfaceClass, bInterfaceSubClass and bInterfaceProtocol.
    pub class: [u8; 3],
    /// The host's driver that has it; `usbfs` is another program.
    pub driver: Option<String>,
    /// One of its alternate settings has an isochronous endpoint.
    pub isochronous: bool,
}

impl HostUsbDevice {
    /// The drivers that have its interfaces, each once.
    pub fn drivers(&self) -> Vec<&str> {
        let mut drivers: Vec<&str> =
            self.interfaces.iter().filter_map(|interface| interface.driver.as_deref()).collect();
        drivers.sort_unstable();
        drivers.dedup();
        drivers
    }

    /// Its names in its own words; its kind where it has none.
    pub fn name(&self) -> String {
        let words: Vec<&str> =
            [&self.manufacturer, &self.product].into_iter().flatten().map(String::as_str).collect();
        // Many a product has its maker's name in it.
        match words[..] {
            [maker, product] if product.starts_with(maker) => product.to_owned(),
            [] => "a device without a name".to_owned(),
            _ => words.join(" "),
        }
    }

    /// Whether this is the same device, plugged in at the same time, as `other`.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.bus, self.number, &self.port, self.id) == (other.bus, other.number, &other.port, other.id)
    }
}

impl fmt::Display for HostUsbDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at port {} ({})", self.id, self.port, self.name())?;
        match &self.serial {
            Some(serial) => write!(f, " with the serial number {serial}"),
            None => Ok(()),
        }
    }
}

/// What the plan may know of the host's USB devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostUsb {
    /// All of them, by port.
    pub devices: Vec<HostUsbDevice>,
    /// The host's keyboards, each with the port that it is plugged into if it is a USB device.
    pub keyboards: Vec<Option<UsbPort>>,
}

/// Where the kernel lists them.
const DEVICES: &str = "sys/bus/usb/devices";

impl HostFiles {
    /// All devices, by port; none where the kernel has no USB. One that is unplugged meanwhile is left out.
    pub fn usb_devices(&self) -> Vec<HostUsbDevice> {
        let mut devices: Vec<_> =
            self.names(DEVICES).into_iter().filter_map(|name| self.usb_device(&name.parse().ok()?)).collect();
        devices.sort_by(|a, b| a.port.cmp(&b.port));
        devices
    }

    /// The device at a port.
    pub fn usb_device(&self, port: &UsbPort) -> Option<HostUsbDevice> {
        let home = self.usb_home(port);
        let attribute = |name: &str| text(&home.join(name)).ok().filter(|value| !value.is_empty());
        let decimal = |name| attribute(name)?.trim().parse::<u8>().ok();
        let hex = |name| u16::from_str_radix(attribute(name)?.trim(), 16).ok();
        let (bus, number) = (decimal("busnum")?, decimal("devnum")?);
        let value = decimal("bConfigurationValue").filter(|value| *value != 0);
        let raw = std::fs::read(home.join("descriptors")).unwrap_or_default();
        let isochronous = value.map(|value| descriptors::isochronous(&raw, value)).unwrap_or_default();
        let prefix = format!("{port}:");
        let folders = names(&home).into_iter().filter(|name| name.starts_with(&prefix));
        let interface = |name: String| {
            let home = home.join(name);
            let hex = |name| u8::from_str_radix(text(&home.join(name)).ok()?.trim(), 16).ok();
            let number = hex("bInterfaceNumber")?;
            Some(HostInterface {
                number,
                class: [hex("bInterfaceClass")?, hex("bInterfaceSubClass")?, hex("bInterfaceProtocol")?],
                driver: link_name(&home.join("driver")),
                isochronous: isochronous.contains(&number),
            })
        };
        Some(HostUsbDevice {
            bus,
            number,
            port: port.clone(),
            id: UsbId { vendor: hex("idVendor")?, product: hex("idProduct")? },
            serial: attribute("serial"),
            manufacturer: attribute("manufacturer"),
            product: attribute("product"),
            speed: match attribute("speed")?.trim() {
                "1.5" => Speed::Low,
                "12" => Speed::Full,
                "480" => Speed::High,
                _ => Speed::Super,
            },
            class: u8::try_from(hex("bDeviceClass")?).ok()?,
            configured: value.is_some(),
            interfaces: folders.filter_map(interface).collect(),
            node: self.path(format!("dev/bus/usb/{bus:03}/{number:03}")),
        })
    }

    /// A device's directory, through the bus's link.
    fn usb_home(&self, port: &UsbPort) -> PathBuf {
        self.path(DEVICES).join(port.to_string())
    }

    /// What the plan may know.
    pub fn usb(&self) -> HostUsb {
        HostUsb { devices: self.usb_devices(), keyboards: self.keyboards() }
    }

    /// The host's keyboards: the kernel offers its emergency keys (SysRq) on each.
    fn keyboards(&self) -> Vec<Option<UsbPort>> {
        let list = self.text("proc/bus/input/devices").unwrap_or_default();
        let keyboard = |block: &str| {
            let value = |key| block.lines().find_map(|line| line.strip_prefix(key));
            let handlers = value("H: Handlers=")?;
            handlers.split_whitespace().any(|handler| handler == "sysrq").then_some(())?;
            // The innermost is the device's own; those before are of hubs.
            let parts = value("S: Sysfs=").unwrap_or_default().rsplit('/');
            Some(parts.into_iter().find_map(|part| part.parse().ok()))
        };
        list.split("\n\n").filter_map(keyboard).collect()
    }
}
