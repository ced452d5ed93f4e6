//! USB devices of the host: QEMU's, at the emulated host's own controller. A disk, and what is behind a hub.
//!
//! Everything goes through sysfs, as Documentation/ABI/stable/sysfs-bus-usb of the kernel describes it.

mod far;
mod hub;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::{Outcome, ensure};

pub use far::{Line, Monitor};
pub use hub::Behind;

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
        load(&["xhci_pci", "usb_storage", "sd_mod"])?;
        let port = find("its USB disk", |path| {
            DISK.split_once(':').is_some_and(|(vendor, product)| {
                is(path, "idVendor", vendor) && is(path, "idProduct", product)
            })
        })?;
        probe(&port);
        let disk = Self { port };
        disk.block()?;
        Ok(disk)
    }

    /// The driver of its interface.
    pub fn driver(&self) -> Option<String> {
        driver(&self.port)
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
        gone(&self.port)
    }

    /// Plugs it in again.
    pub fn plug(&self) -> Outcome {
        fs::write(format!("{HUBS}/bind"), self.hub())?;
        find("its USB disk again", |path| path.ends_with(&self.port)).map(drop)
    }

    fn hub(&self) -> String {
        format!("{}-0:1.0", self.port.split('-').next().unwrap_or_default())
    }
}

/// Loads modules of the host.
fn load(modules: &[&str]) -> Outcome {
    let loaded = Command::new("modprobe").arg("-a").args(modules).status()?;
    ensure(loaded.success(), format!("the host lacks one of the modules {modules:?}"))
}

/// Waits for a device of the host: the port that it is plugged into.
fn find(what: &str, is_it: impl Fn(&Path) -> bool) -> Outcome<String> {
    let found = until(&format!("the host finds {what}; run the lab with --gpu"), || {
        let mut paths = fs::read_dir(DEVICES).ok()?.flatten().map(|entry| entry.path());
        paths.find(|path| is_it(path))
    })?;
    Ok(found.file_name().unwrap_or_default().to_string_lossy().into_owned())
}

/// Has the kernel look for a driver for the device at a port, which an earlier scenario's killed machine may have left without.
fn probe(port: &str) {
    // A device that is only coming gets its drivers by itself.
    let _ = fs::write("/sys/bus/usb/drivers_probe", format!("{port}:1.0"));
}

/// Waits until nothing is plugged into a port.
fn gone(port: &str) -> Outcome {
    until("the USB device is gone", || (!Path::new(&format!("{DEVICES}/{port}")).exists()).then_some(()))
}

/// The driver of the first interface of the device at a port.
pub fn driver(port: &str) -> Option<String> {
    let link = fs::read_link(format!("{DEVICES}/{port}:1.0/driver")).ok()?;
    Some(link.file_name()?.to_string_lossy().into_owned())
}

/// An attribute of the device at a port.
pub fn attribute(port: &str, name: &str) -> Outcome<String> {
    Ok(fs::read_to_string(format!("{DEVICES}/{port}/{name}"))?.trim().to_owned())
}

/// The node of the device at a port.
pub fn node(port: &str) -> Outcome<PathBuf> {
    let number = |name| -> Outcome<u8> { Ok(attribute(port, name)?.parse()?) };
    let node: PathBuf = format!("/dev/bus/usb/{:03}/{:03}", number("busnum")?, number("devnum")?).into();
    until("the node of a USB device", || Path::exists(&node).then_some(()))?;
    Ok(node)
}

/// Does for the device at a port what udev does by the rule of docs/usb.md: gives its node to a group.
pub fn open_to(port: &str, group: u32) -> Outcome {
    let node = node(port)?;
    chown(&node, None, Some(group))?;
    Ok(fs::set_permissions(&node, fs::Permissions::from_mode(0o660))?)
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
