//! The host's PCI functions: which driver they have, and what must be as before after a machine has used them.
//!
//! Everything goes through sysfs, as Documentation/ABI/testing/sysfs-bus-pci of the kernel describes it.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::{Outcome, ensure};

const FUNCTIONS: &str = "/sys/bus/pci/devices";
const DRIVERS: &str = "/sys/bus/pci/drivers";

/// IDs of the devices of `scripts/lab exec --gpu`.
pub mod ids {
    /// `ati-vga`.
    pub const GPU: (u16, u16) = (0x1002, 0x5046);
    /// `intel-hda`, the second function of its slot.
    pub const AUDIO: (u16, u16) = (0x8086, 0x2668);
    /// `edu`.
    pub const EDU: (u16, u16) = (0x1234, 0x11e8);
    /// `e1000e`.
    pub const E1000E: (u16, u16) = (0x8086, 0x10d3);
    /// `igb`.
    pub const IGB: (u16, u16) = (0x8086, 0x10c9);
    /// A virtual function of `igb`.
    pub const IGB_VIRTUAL: (u16, u16) = (0x8086, 0x10ca);
    /// `nvme`.
    pub const NVME: (u16, u16) = (0x1b36, 0x0010);
    /// `ivshmem-plain`.
    pub const SHARED_MEMORY: (u16, u16) = (0x1af4, 0x1110);
}

/// A function of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFunction {
    /// Its address: `0000:03:00.0`.
    pub address: String,
}

/// A function of the host as it is to be found again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    function: HostFunction,
    driver: Option<String>,
    driver_override: String,
    runtime: String,
    enabled: String,
    config: Vec<u8>,
}

impl HostFunction {
    /// The only function with these IDs.
    pub fn find((vendor, device): (u16, u16)) -> Outcome<Self> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(FUNCTIONS)? {
            let path = entry?.path();
            let is = |name: &str, id: u16| read(&path.join(name)).is_ok_and(|it| it == format!("{id:#06x}"));
            if is("vendor", vendor) && is("device", device) {
                found.push(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
            }
        }
        match found.as_slice() {
            [address] => Ok(Self { address: address.clone() }),
            _ => Err(format!(
                "{} functions of this host are {vendor:04x}:{device:04x}; run the lab with --gpu",
                found.len()
            )
            .into()),
        }
    }

    /// Its directory below /sys.
    pub fn path(&self) -> PathBuf {
        Path::new(FUNCTIONS).join(&self.address)
    }

    /// The driver that it is bound to.
    pub fn driver(&self) -> Option<String> {
        let link = std::fs::read_link(self.path().join("driver")).ok()?;
        Some(link.file_name()?.to_string_lossy().into_owned())
    }

    /// The number of its IOMMU group.
    pub fn group(&self) -> Outcome<String> {
        let link = std::fs::read_link(self.path().join("iommu_group"))?;
        Ok(link.file_name().unwrap_or_default().to_string_lossy().into_owned())
    }

    /// The port that it is behind.
    pub fn port(&self) -> Outcome<Self> {
        let home = std::fs::canonicalize(self.path())?;
        let port = home.parent().and_then(Path::file_name).ok_or("a function is in no directory")?;
        let port = Self { address: port.to_string_lossy().into_owned() };
        ensure(port.path().exists(), format!("{} is behind no port", self.address))?;
        Ok(port)
    }

    /// Makes so many virtual functions of it. Its driver must support that.
    pub fn make_virtual(&self, count: u32) -> Outcome {
        write(&self.path().join("sriov_numvfs"), &count.to_string())
    }

    /// Has the kernel switch its memory on, which it does for the first driver and doesn't take back. It must have no
    /// driver.
    pub fn enable_memory(&self) -> Outcome {
        let enable = self.path().join("enable");
        write(&enable, "1")?;
        write(&enable, "0")
    }

    /// Takes it from its driver, if it has one.
    pub fn unbind(&self) -> Outcome {
        if self.driver().is_some() {
            write(&self.path().join("driver/unbind"), &self.address)?;
        }
        Ok(())
    }

    /// Gives it to a driver, whose module is loaded. The driver of no preference is `None`.
    pub fn bind(&self, driver: Option<&str>) -> Outcome {
        if self.driver().as_deref() == driver {
            return Ok(());
        }
        self.unbind()?;
        let Some(driver) = driver else {
            // An empty line takes the preference back.
            return write(&self.path().join("driver_override"), "\n");
        };
        if !Path::new(DRIVERS).join(driver).exists() {
            crate::lab::call("modprobe", &[driver])?;
        }
        let preferred = if driver == VFIO { driver } else { "\n" };
        write(&self.path().join("driver_override"), preferred)?;
        if self.driver().is_none() {
            write(Path::new("/sys/bus/pci/drivers_probe"), &self.address)?;
        }
        if driver == LATE {
            self.started()?;
        }
        ensure(
            self.driver().as_deref() == Some(driver),
            format!("{} has the driver {:?} now, not {driver}", self.address, self.driver()),
        )
    }

    /// Waits until a driver that starts its device in the background leaves the registers as they are.
    fn started(&self) -> Outcome {
        let config = self.path().join("config");
        let began = Instant::now();
        let (mut last, mut since) = (std::fs::read(&config)?, began);
        while since.elapsed() < Duration::from_secs(2) && began.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(100));
            let now = std::fs::read(&config)?;
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        Ok(())
    }

    /// Its expansion ROM, as long as the images in it say. The function must have no driver, which could let it
    /// sleep: its memory is switched on for this.
    pub fn rom(&self) -> Outcome<Vec<u8>> {
        let (rom, enable) = (self.path().join("rom"), self.path().join("enable"));
        write(&enable, "1")?;
        write(&rom, "1")?;
        let content = std::fs::read(&rom);
        write(&rom, "0")?;
        write(&enable, "0")?;
        Ok(content.map_err(|error| format!("cannot read {}: {error}", rom.display()))?)
    }

    /// Waits until power management, which acts with a delay, has come to rest.
    fn settled(&self) -> Outcome<String> {
        let began = Instant::now();
        loop {
            let status = read(&self.path().join("power/runtime_status"))?;
            // vfio-pci lets a function sleep that nobody uses.
            let rest = self.driver().as_deref() != Some(VFIO) || status == "suspended";
            if (rest && !status.ends_with("ing")) || began.elapsed() > Duration::from_secs(60) {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What is to be found again.
    pub fn view(&self) -> Outcome<View> {
        let path = self.path();
        // Reading configuration space wakes the function, so its state is read first.
        let runtime = self.settled()?;
        Ok(View {
            function: self.clone(),
            driver: self.driver(),
            driver_override: read(&path.join("driver_override"))?,
            runtime,
            enabled: read(&path.join("enable"))?,
            config: std::fs::read(path.join("config"))?,
        })
    }
}

/// The kernel's driver for passing functions through.
pub const VFIO: &str = "vfio-pci";
/// A driver that is bound before it has set its device up: that follows in a work queue.
const LATE: &str = "snd_hda_intel";

impl View {
    /// Requires that the function is as it was. Runtime power management acts with a delay, so its state
    /// may take some seconds to come back.
    pub fn compare(&self) -> Outcome {
        let began = Instant::now();
        let mut now = self.function.view()?;
        while now.runtime != self.runtime && began.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(200));
            now = self.function.view()?;
        }
        let messages = message_registers(&self.config);
        let mut wrong = String::new();
        let mut differ = |what: &str, before: &str, after: &str| {
            if before != after {
                let _ = writeln!(wrong, "  {what}: '{before}' before, '{after}' after");
            }
        };
        differ("driver", &format!("{:?}", self.driver), &format!("{:?}", now.driver));
        differ("driver_override", &self.driver_override, &now.driver_override);
        differ("power/runtime_status", &self.runtime, &now.runtime);
        differ("enable", &self.enabled, &now.enabled);
        differ("size of config", &self.config.len().to_string(), &now.config.len().to_string());
        for (offset, (before, after)) in self.config.iter().zip(&now.config).enumerate() {
            if !VOLATILE.contains(&offset) && !messages.contains(&offset) {
                differ(&format!("config {offset:#05x}"), &format!("{before:02x}"), &format!("{after:02x}"));
            }
        }
        ensure(wrong.is_empty(), format!("{} is not as it was:\n{wrong}", self.function.address))
    }
}

/// Address and data of the MSI capability (PCIe 6.0, 7.7.1), by which a driver that was bound anew is sent another
/// interrupt of the host's.
fn message_registers(config: &[u8]) -> std::ops::Range<usize> {
    let byte = |at: usize| config.get(at).copied().unwrap_or_default();
    let mut at = usize::from(byte(0x34));
    for _ in 0..48 {
        if at == 0 {
            break;
        }
        if byte(at) == 0x05 {
            let wide = byte(at + 2) & 0x80 != 0;
            return at + 4..at + if wide { 14 } else { 10 };
        }
        at = usize::from(byte(at + 1));
    }
    0..0
}

/// The status register tells events of the past, and the interrupt line is scratch memory for firmware.
const VOLATILE: [usize; 3] = [0x06, 0x07, 0x3c];

/// Functions lent to the tests: bound to vfio-pci, and given back at the end.
#[derive(Debug)]
pub struct Lent {
    functions: Vec<(HostFunction, Option<String>)>,
    views: Vec<View>,
}

impl Lent {
    /// Binds the functions with these IDs to vfio-pci and looks at them.
    pub fn take(ids: &[(u16, u16)]) -> Outcome<Self> {
        let mut lent = Self { functions: Vec::new(), views: Vec::new() };
        for id in ids {
            let function = HostFunction::find(*id)?;
            lent.functions.push((function.clone(), function.driver()));
            function.bind(Some(VFIO))?;
        }
        // All at once: binding one resets the others of its slot.
        for (function, _) in &lent.functions {
            lent.views.push(function.view()?);
        }
        Ok(lent)
    }

    /// The address of each.
    pub fn addresses(&self) -> Vec<&str> {
        self.functions.iter().map(|(function, _)| function.address.as_str()).collect()
    }

    /// Requires that the host sees them as it did.
    pub fn unchanged(&self) -> Outcome {
        self.views.iter().try_for_each(View::compare)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        for (function, driver) in &self.functions {
            // A failing test has said what matters already.
            let _ = function.bind(driver.as_deref());
        }
    }
}

fn read(path: &Path) -> Outcome<String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(text.trim().to_owned())
}

fn write(path: &Path, text: &str) -> Outcome {
    std::fs::write(path, text)
        .map_err(|error| format!("cannot write '{}' to {}: {error}", text.trim(), path.display()).into())
}
