//! The devices behind the hub at the emulated host's controller: QEMU's serial line (that of FTDI), keyboard and tablet.

use std::process::Command;

use serde_json::json;

use super::far::Monitor;
use super::{driver, find, gone, is, load, probe, until};
use crate::Outcome;

/// The serial line as QEMU knows it.
const SERIAL: &str = "lab-usb-serial";
/// The host's drivers, in the order in which they can be unloaded.
const DRIVERS: [&str; 4] = ["ftdi_sio", "usbserial", "hid_generic", "usbhid"];

/// The ports that they are plugged into, as the kernel names them. While this lives, the host has drivers for them; without, its
/// keyboards are as other scenarios expect them.
#[derive(Debug)]
pub struct Behind {
    /// The serial line: 0403:6001.
    pub serial: String,
    /// The keyboard: 0627:0001.
    pub keyboard: String,
    /// The tablet: 0627:0001.
    pub tablet: String,
}

impl Behind {
    /// Finds them, with their drivers at work.
    pub fn find() -> Outcome<Self> {
        load(&["xhci_pci", "usbhid", "hid_generic", "ftdi_sio"])?;
        let at = |product: &str| find(&format!("the '{product}'"), |path| is(path, "product", product));
        let this = Self {
            serial: at("QEMU USB SERIAL")?,
            keyboard: at("QEMU USB Keyboard")?,
            tablet: at("QEMU USB Tablet")?,
        };
        for port in [&this.serial, &this.keyboard, &this.tablet] {
            probe(port);
        }
        this.wait_for_drivers()?;
        Ok(this)
    }

    /// Waits until the host's drivers have all of them.
    pub fn wait_for_drivers(&self) -> Outcome {
        until("the host's drivers have the devices behind the hub", || {
            let has = |port: &str, name| driver(port).as_deref() == Some(name);
            let all =
                has(&self.serial, "ftdi_sio") && has(&self.keyboard, "usbhid") && has(&self.tablet, "usbhid");
            all.then_some(())
        })
    }

    /// Pulls the serial line's plug, as the hub sees it too.
    pub fn unplug_serial(&self, monitor: &mut Monitor) -> Outcome {
        monitor.execute("device_del", &json!({ "id": SERIAL }))?;
        gone(&self.serial)
    }

    /// Plugs it in again, where it was.
    pub fn plug_serial(&self, monitor: &mut Monitor) -> Outcome {
        let device = json!({ "driver": "usb-serial", "id": SERIAL, "bus": "lab-usb.0", "port": "2.1", "chardev": "lab-line" });
        monitor.execute("device_add", &device)?;
        find("the serial line again", |path| path.ends_with(&self.serial)).map(drop)
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        // One that was in use stays, and does no harm.
        let _ = Command::new("modprobe").arg("-r").args(DRIVERS).status();
    }
}
