//! A USB disk of the host: QEMU's, at the emulated host's own controller.
//!
//! Everything goes through sysfs, as Documentation/ABI/stable/sysfs-bus-usb of the kernel describes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::{Outcome, ensure};

const DEVICES: &str = "/sys/bus/usb/devices";
const HUBS: &str = "/sys/bus/usb/drivers/hub";
/// As `[[usb_device]]` takes it: of `usb-storage` of `scripts/lab exec --gpu`.
pub const DISK: &str = "46f4:0001";

/// How long the host's kernel may take to find a device, or to lose it.
const SOON: Duration = Duration::from_secs(60);

/// The disk, by the port that it is plugged into.
#[derive(Debug, Clone)]
pub struct UsbDisk {
    /// As the kernel names it: `2-1`.
    pub port: String,
}

impl UsbDisk {
    /// Finds it, with its driver at work.
    pub fn find() -> Outcome<Self> {
        for module in ["xhci_pci", "usb_storage", "sd_mod"] {
            ensure(
                Command::new("modprobe").arg(module).status()?.success(),
                format!("the host has no module {module}"),
            )?;
        }
        let found = until("the host finds its USB disk; run the lab with --gpu", || {
            let names = fs::read_dir(DEVICES).ok()?.flatten().map(|entry| entry.path());
            names.into_iter().find(|path| {
                DISK.split_once(':').is_some_and(|(vendor, product)| {
                    is(path, "idVendor", vendor) && is(path, "idProduct", product)
                })
            })
        })?;
        let port = found.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let disk = Self { port };
        disk.block()?;
        Ok(disk)
    }

    /// The driver of its interface.
    pub fn driver(&self) -> Option<String> {
        let link = fs::read_link(format!("{DEVICES}/{}:1.0/driver", self.port)).ok()?;
        Some(link.file_name()?.to_string_lossy().into_owned())
    }

    /// Its block device, once its driver has it.
    pub fn block(&self) -> Outcome<PathBuf> {
        until("the host's driver finds the USB disk", || {
            let children = |path: &Path| {
                let entries = fs::read_dir(path).ok().into_iter().flatten().flatten();
                entries.map(|entry| entry.path()).collect::<Vec<_>>()
            };
            let only = |path: &Path, prefix: &str| {
                let is = |path: &PathBuf| {
                    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
                };
                children(path).into_iter().find(is)
            };
            let interface = PathBuf::from(format!("{DEVICES}/{}:1.0", self.port));
            let target = only(&only(&interface, "host")?, "target")?;
            let lun = children(&target).into_iter().find(|path| path.join("block").exists())?;
            let name = only(&lun.join("block"), "sd")?.file_name()?.to_owned();
            let node = Path::new("/dev").join(name);
            node.exists().then_some(node)
        })
    }

    /// Pulls it out, as far as the kernel sees: whatever is at the root hub is gone.
    pub fn unplug(&self) -> Outcome {
        fs::write(format!("{HUBS}/unbind"), self.hub())?;
        until("the USB disk is gone", || {
            (!Path::new(&format!("{DEVICES}/{}", self.port)).exists()).then_some(())
        })
    }

    /// Plugs it in again.
    pub fn plug(&self) -> Outcome {
        fs::write(format!("{HUBS}/bind"), self.hub())?;
        until("the USB disk is back", || {
            Path::new(&format!("{DEVICES}/{}", self.port)).exists().then_some(())
        })
    }

    fn hub(&self) -> String {
        format!("{}-0:1.0", self.port.split('-').next().unwrap_or_default())
    }
}

fn is(device: &Path, attribute: &str, value: &str) -> bool {
    fs::read_to_string(device.join(attribute)).is_ok_and(|text| text.trim() == value)
}

/// Looks until there is something.
fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> Outcome<T> {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        ensure(Instant::now() < deadline, format!("in vain: {what}"))?;
        thread::sleep(Duration::from_millis(50));
    }
}
