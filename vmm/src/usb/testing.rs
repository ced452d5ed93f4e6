//! A host and a controller that only note what is done with them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use devices::usb::device::{Bus, Completion, Speed, Transfer, Upstream, UsbDevice};
use vocabulary::UsbPort;

use super::host::{Gone, Passed};
use super::{Choice, Host, Ports, Server, Start, Wanted};
use crate::host::usb::{HostInterface, HostUsbDevice, LoanError, UsbRefusal};

/// The receiver of a keyboard.
pub(crate) fn receiver() -> HostUsbDevice {
    device("1-4", "046d:c52b", None, "usbhid")
}

/// A device.
pub(crate) fn device(port: &str, id: &str, serial: Option<&str>, driver: &str) -> HostUsbDevice {
    let port: UsbPort = port.parse().unwrap();
    let driver = (!driver.is_empty()).then(|| driver.to_owned());
    HostUsbDevice {
        bus: port.bus(),
        number: 2,
        node: format!("/dev/bus/usb/{:03}/002", port.bus()).into(),
        port,
        id: id.parse().unwrap(),
        serial: serial.map(str::to_owned),
        manufacturer: None,
        product: Some("Thing".into()),
        speed: Speed::Full,
        class: 0,
        configured: true,
        interfaces: vec![HostInterface { number: 0, class: [3, 1, 1], driver, isochronous: false }],
    }
}

/// A choice by vendor and product.
pub(crate) fn by_id(id: &str) -> Choice {
    Choice { id: Some(id.parse().unwrap()), ..Choice::default() }
}

/// A choice by port.
pub(crate) fn by_port(port: &str) -> Choice {
    Choice { port: Some(port.parse().unwrap()), ..Choice::default() }
}

/// A section that wants a device.
pub(crate) fn wanted(index: usize, choice: Choice, optional: bool) -> Wanted {
    Wanted { name: format!("usb_device[{index}]"), section: Some(index), choice, optional }
}

/// What both note, and what the host has.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) log: Vec<String>,
    pub(crate) devices: Vec<HostUsbDevice>,
    pub(crate) refusals: BTreeMap<UsbPort, UsbRefusal>,
    /// Why no device can be opened.
    pub(crate) broken: Option<String>,
    /// No port is free.
    pub(crate) full: bool,
    /// No device lets go of its last transfers.
    pub(crate) stuck: bool,
    pub(crate) gone: BTreeMap<UsbPort, Gone>,
    /// The last port that a device was plugged into.
    ports: usize,
}

/// The host and the controller.
#[derive(Clone, Default)]
pub(crate) struct Both(pub(crate) Arc<Mutex<Notes>>);

impl Both {
    pub(crate) fn with(devices: &[HostUsbDevice]) -> Self {
        let both = Self::default();
        both.0.lock().unwrap().devices = devices.to_vec();
        both
    }

    pub(crate) fn start(
        &self,
        wanted: Vec<Wanted>,
        nodes: &std::path::Path,
    ) -> Result<Server, super::UsbError> {
        let (ports, host) = (Arc::new(self.clone()), Box::new(self.clone()));
        Server::start(Start { ports, host, wanted, nodes: nodes.into() })
    }

    /// What was noted since the last time.
    pub(crate) fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().log)
    }

    fn note(&self, what: String) {
        self.0.lock().unwrap().log.push(what);
    }
}

impl Ports for Both {
    fn plug(&self, _: Arc<dyn UsbDevice>) -> Result<usize, String> {
        let mut notes = self.0.lock().unwrap();
        if notes.full {
            return Err("no port is free".into());
        }
        notes.ports += 1;
        let port = notes.ports;
        notes.log.push(format!("plug {port}"));
        Ok(port)
    }

    fn unplug(&self, port: usize) {
        self.note(format!("unplug {port}"));
    }
}

impl Host for Both {
    fn devices(&self) -> Vec<HostUsbDevice> {
        self.0.lock().unwrap().devices.clone()
    }

    fn is_there(&self, device: &HostUsbDevice) -> bool {
        self.0.lock().unwrap().devices.iter().any(|now| now.is_same(device))
    }

    fn refusal(&self, device: &HostUsbDevice) -> Option<UsbRefusal> {
        self.0.lock().unwrap().refusals.get(&device.port).cloned()
    }

    fn open(&mut self, device: &HostUsbDevice, gone: Gone) -> Result<Arc<dyn Passed>, String> {
        let mut notes = self.0.lock().unwrap();
        if let Some(why) = &notes.broken {
            return Err(why.clone());
        }
        notes.log.push(format!("open {}", device.port));
        notes.gone.insert(device.port.clone(), gone);
        Ok(Arc::new(Fake(self.clone(), device.port.clone())))
    }

    fn give_back(&mut self, port: &UsbPort) -> Result<(), LoanError> {
        self.note(format!("give back {port}"));
        Ok(())
    }
}

/// A device of the host that is open.
struct Fake(Both, UsbPort);

impl Passed for Fake {
    fn close(&self) -> bool {
        self.0.note(format!("close {}", self.1));
        !self.0.0.lock().unwrap().stuck
    }

    fn check(&self) {
        self.0.note(format!("check {}", self.1));
    }
}

impl UsbDevice for Fake {
    fn speed(&self) -> Speed {
        Speed::Full
    }

    fn connect(&self, _: Arc<dyn Upstream>) {}

    fn disconnect(&self) {}

    fn reset(&self) {}

    fn set_bus(&self, _: Bus) {}

    fn submit(&self, _: u8, _: Transfer) -> Option<Completion> {
        None
    }

    fn take(&self, _: u8) -> Option<Completion> {
        None
    }

    fn cancel(&self, _: u8) {}
}
