//! A laptop with a receiver, a stick, a camera, Bluetooth and a network adapter, as real listings have them (`lsusb -v`, /sys/bus/usb/devices,
//! /proc/bus/input/devices).

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use vocabulary::UsbPort;

use crate::host::HostFiles;
use crate::host::tests::fake::{Fake, FakeKernel};
use crate::host::usb::{HostUsbDevice, UsbRefusal};

/// Where the controller is in the tree of devices.
const HOME: &str = "sys/devices/pci0000:00/0000:00:14.0";

/// A device of a listing.
struct Listed {
    port: &'static str,
    number: u8,
    /// In Mbit/s.
    speed: &'static str,
    id: &'static str,
    /// bDeviceClass.
    class: &'static str,
    /// Manufacturer, product, serial number; empty where it has none.
    names: [&'static str; 3],
    /// Each: number, class, driver, and a mark for isochronous endpoints.
    interfaces: &'static [&'static str],
}

const LISTING: &[Listed] = &[
    Listed {
        port: "1-4",
        number: 3,
        speed: "12",
        id: "046d:c52b",
        class: "00",
        names: ["Logitech", "USB Receiver", ""],
        interfaces: &["00 03/01/01 usbhid", "01 03/01/02 usbhid", "02 03/00/00 usbhid"],
    },
    Listed {
        port: "1-5",
        number: 4,
        speed: "480",
        id: "05e3:0608",
        class: "09",
        names: ["", "USB2.0 Hub", ""],
        interfaces: &["00 09/00/00 hub"],
    },
    Listed {
        port: "1-5.2",
        number: 9,
        speed: "480",
        id: "0781:5567",
        class: "00",
        names: ["SanDisk", "Cruzer Blade", "4C530001230608119073"],
        interfaces: &["00 08/06/50 usb-storage"],
    },
    Listed {
        port: "1-7",
        number: 5,
        speed: "480",
        id: "5986:9102",
        class: "ef",
        names: ["SunplusIT Inc", "BisonCam,NB Pro", ""],
        interfaces: &["00 0e/01/00 uvcvideo", "01 0e/02/00 uvcvideo isochronous"],
    },
    Listed {
        port: "1-10",
        number: 6,
        speed: "12",
        id: "8087:0aaa",
        class: "e0",
        names: ["", "", ""],
        interfaces: &["00 e0/01/01 btusb", "01 e0/01/01 btusb isochronous"],
    },
    Listed {
        port: "2-1",
        number: 2,
        speed: "5000",
        id: "0bda:8153",
        class: "00",
        names: ["Realtek", "USB 10/100/1000 LAN", "000001"],
        interfaces: &["00 ff/ff/00 r8152"],
    },
    Listed {
        port: "1-8",
        number: 7,
        speed: "12",
        id: "27c6:5395",
        class: "ef",
        names: ["Goodix", "Goodix Fingerprint Device", ""],
        interfaces: &["00 ff/00/00 -"],
    },
];

/// The keyboards of the laptop and of the receiver, and two devices that are none.
const INPUT: &str = "\
I: Bus=0011 Vendor=0001 Product=0001 Version=ab41
N: Name=\"AT Translated Set 2 keyboard\"
P: Phys=isa0060/serio0/input0
S: Sysfs=/devices/platform/i8042/serio0/input/input3
H: Handlers=sysrq kbd event3 leds
B: EV=120013

I: Bus=0019 Vendor=0000 Product=0001 Version=0000
N: Name=\"Power Button\"
S: Sysfs=/devices/LNXSYSTM:00/LNXPWRBN:00/input/input2
H: Handlers=kbd event2
B: EV=3

I: Bus=0003 Vendor=046d Product=c52b Version=0111
N: Name=\"Logitech USB Receiver\"
S: Sysfs=/devices/pci0000:00/0000:00:14.0/usb1/1-4/1-4:1.0/0003:046D:C52B.0001/input/input8
H: Handlers=sysrq kbd leds event8
B: EV=120013

I: Bus=0003 Vendor=046d Product=c52b Version=0111
N: Name=\"Logitech USB Receiver Mouse\"
S: Sysfs=/devices/pci0000:00/0000:00:14.0/usb1/1-4/1-4:1.1/0003:046D:C52B.0002/input/input9
H: Handlers=mouse0 event9
B: EV=17

";

pub(in crate::host::tests) fn port(text: &str) -> UsbPort {
    text.parse().unwrap()
}

impl Fake {
    /// A laptop with the devices of the listing.
    pub(in crate::host::tests) fn with_usb() -> Self {
        let fake = Self::new();
        for device in LISTING {
            fake.plug(device.port, device.number);
        }
        fake.file("sys/bus/usb/devices/usb1", "");
        fake.file("proc/bus/input/devices", INPUT);
        fake
    }

    /// Plugs the device of a port in, with this address.
    pub(in crate::host::tests) fn plug(&self, name: &str, number: u8) {
        let listed = LISTING.iter().find(|device| device.port == name).unwrap();
        let Listed { speed, id, class, names, interfaces, .. } = listed;
        let home = home(name);
        let bus = port(name).bus();
        let (vendor, product) = id.split_once(':').unwrap();
        for (attribute, text) in [
            ("busnum", bus.to_string().as_str()),
            ("devnum", &number.to_string()),
            ("speed", speed),
            ("idVendor", vendor),
            ("idProduct", product),
            ("bDeviceClass", class),
            // As the kernel pads numbers.
            ("bConfigurationValue", "1"),
            ("bNumInterfaces", &format!("{:2}", interfaces.len())),
        ] {
            self.file(&format!("{home}/{attribute}"), &format!("{text}\n"));
        }
        for (attribute, text) in ["manufacturer", "product", "serial"].iter().zip(names) {
            if !text.is_empty() {
                self.file(&format!("{home}/{attribute}"), &format!("{text}\n"));
            }
        }
        let mut descriptors = vec![18, 1, 0, 2, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        descriptors.extend([9, 2, 0, 0, 0, 1, 0, 0x80, 250]);
        for interface in *interfaces {
            let words: Vec<_> = interface.split(' ').collect();
            let folder = format!("{home}/{name}:1.{}", words[0].trim_start_matches('0').parse().unwrap_or(0));
            let class: Vec<_> = words[1].split('/').collect();
            for (attribute, text) in
                ["bInterfaceClass", "bInterfaceSubClass", "bInterfaceProtocol"].iter().zip(class)
            {
                self.file(&format!("{folder}/{attribute}"), &format!("{text}\n"));
            }
            self.file(&format!("{folder}/bInterfaceNumber"), &format!("{}\n", words[0]));
            if words[2] != "-" {
                self.link(&format!("{folder}/driver"), &format!("../drivers/{}", words[2]));
            }
            let number = words[0].parse().unwrap();
            descriptors.extend([9, 4, number, 0, 1, 0, 0, 0, 0, 7, 5, 0x81, 3, 16, 0, 4]);
            if words.get(3) == Some(&"isochronous") {
                descriptors.extend([9, 4, number, 1, 1, 0, 0, 0, 0, 7, 5, 0x82, 5, 0, 2, 1]);
            }
        }
        fs::write(self.root().join(&home).join("descriptors"), descriptors).unwrap();
        self.link(&format!("sys/bus/usb/devices/{name}"), &format!("../../../../{home}"));
        self.file(&format!("dev/bus/usb/{bus:03}/{number:03}"), "");
    }

    /// Pulls it out.
    pub(in crate::host::tests) fn pull(&self, name: &str) {
        let device = self.usb(name);
        fs::remove_file(device.node).unwrap();
        fs::remove_file(self.root().join(format!("sys/bus/usb/devices/{name}"))).unwrap();
        fs::remove_dir_all(self.root().join(home(name))).unwrap();
    }

    pub(in crate::host::tests) fn usb(&self, name: &str) -> HostUsbDevice {
        self.files().usb_device(&port(name)).unwrap()
    }

    pub(in crate::host::tests) fn refusal(&self, name: &str) -> Option<UsbRefusal> {
        self.files().usb_refusal(&self.usb(name))
    }

    /// The stick's disk.
    pub(super) fn disk(&self) {
        let block = format!("{}/1-5.2:1.0/host6/target6:0:0/6:0:0:0/block/sdb", home("1-5.2"));
        for (folder, name, kind, number) in
            [(block.clone(), "sdb", "disk", "8:16"), (format!("{block}/sdb1"), "sdb1", "partition", "8:17")]
        {
            self.file(&format!("{folder}/uevent"), &format!("DEVNAME={name}\nDEVTYPE={kind}\n"));
            self.file(&format!("{folder}/dev"), &format!("{number}\n"));
            self.link(&format!("sys/class/block/{name}"), &format!("../../../{folder}"));
        }
    }
}

/// A device's folder in the tree of devices: below those of its hubs.
pub(super) fn home(name: &str) -> String {
    let bus = port(name).bus();
    match name.split_once('.') {
        Some((hub, _)) => format!("{HOME}/usb{bus}/{hub}/{name}"),
        None => format!("{HOME}/usb{bus}/{name}"),
    }
}

/// The kernel finds a driver for an interface.
pub(in crate::host::tests) fn react(kernel: &FakeKernel, node: &Path, interface: u8) -> io::Result<()> {
    let files = HostFiles::at(&kernel.root);
    let device = files.usb_devices().into_iter().find(|device| device.node == node);
    let device = device.ok_or(io::ErrorKind::NotFound)?;
    let described = format!("connect {} {interface}", device.port);
    if kernel.faults.lock().unwrap().iter().any(|(text, _)| described.contains(text)) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    kernel.log.lock().unwrap().push(described);
    let folder = kernel.root.join(format!("sys/bus/usb/devices/{0}/{0}:1.{interface}", device.port));
    if folder.join("driver").is_symlink() {
        return Err(io::ErrorKind::ResourceBusy.into());
    }
    symlink("../drivers/usbhid", folder.join("driver"))
}
