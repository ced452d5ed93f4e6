//! The changes to the host, each with what is needed to undo it.
//!
//! To undo a step means to bring about the former state from whatever the present one is: it is right for a step that
//! was never taken, was taken by half, or has been undone before. So one journal, written before the first step, serves
//! a crash at any point.

mod error;
mod subject;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Access, AtFlags, CWD};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vocabulary::{CpuList, HostPciAddress, LentDevice, MdevParent, MdevType, UsbPort};

use super::setting::{Group, Line, Pool, Setting};
use crate::host::sysfs::{VFIO_PCI, lends};
use crate::host::{HostFiles, Kernel, WantedVirtual, WriteError};

pub use error::StepError;
pub use subject::{Shared, Subject};

/// How long a driver may take to let go of a device.
pub(in crate::host) const UNBIND: Duration = Duration::from_secs(10);
/// How long a driver may take to start a device; those of GPUs load firmware and train links.
const PROBE: Duration = Duration::from_secs(30);
/// How long an attribute may take; waking a device is the longest.
pub(super) const ATTRIBUTE: Duration = Duration::from_secs(10);

/// The name of a driver, as a directory in sysfs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(in crate::host) struct DriverName(String);

impl TryFrom<String> for DriverName {
    type Error = &'static str;

    /// A name from a file must not lead elsewhere when it becomes part of a path.
    fn try_from(name: String) -> Result<Self, Self::Error> {
        let leads_away = name.contains('/') || name.contains(char::is_control);
        if leads_away || matches!(name.as_str(), "" | "." | "..") || name.len() > 255 {
            return Err("not the name of a driver");
        }
        Ok(Self(name))
    }
}

impl From<DriverName> for String {
    fn from(name: DriverName) -> Self {
        name.0
    }
}

/// `power/control` of a device (Linux `Documentation/ABI/testing/sysfs-devices-power`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::host) enum PowerControl {
    /// The device stays awake.
    On,
    /// The kernel may suspend it when idle.
    Auto,
}

impl PowerControl {
    fn text(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Auto => "auto",
        }
    }
}

/// A change to one device or one setting, with the state before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::host) enum Step {
    /// `d3cold_allowed` becomes 0: the device's power is not cut.
    D3cold { address: HostPciAddress, former: bool },
    /// `power/control` becomes `on`.
    Power { address: HostPciAddress, former: PowerControl },
    /// The driver becomes vfio-pci.
    Driver { address: HostPciAddress, former: Option<DriverName>, former_override: Option<DriverName> },
    /// A mediated device is made. There was none of its UUID before.
    Mdev { uuid: Uuid, parent: MdevParent, kind: MdevType },
    /// A virtual function is made, of which there was none; `autoprobe` says whether drivers were tried for new ones before.
    VirtualFunction { parent: HostPciAddress, function: HostPciAddress, autoprobe: bool },
    /// A guest has a USB device, of which these interfaces had drivers; `number` is its address on the bus.
    UsbDrivers { port: UsbPort, number: u8, interfaces: Vec<u8> },
    /// A setting becomes `value`.
    Set { setting: Setting, former: Line, value: Line },
    /// Groups below this one get CPUs of their own. They had none before.
    CpusOfGroups { group: Group },
    /// A pool gets so many more pages than the `former` ones, which no machine has added.
    HugePages { pool: Pool, former: u64, pages: u64 },
}

impl Step {
    /// What it changes.
    pub(in crate::host) fn subject(&self) -> Subject {
        match self {
            Self::D3cold { address, .. } | Self::Power { address, .. } | Self::Driver { address, .. } => {
                Subject::Device(LentDevice::Function(*address))
            }
            Self::Mdev { uuid, .. } => Subject::Device(LentDevice::Mediated(*uuid)),
            Self::VirtualFunction { parent, .. } => Subject::Device(LentDevice::Function(*parent)),
            Self::UsbDrivers { port, .. } => Subject::Usb(port.clone()),
            Self::Set { setting, .. } => Subject::Shared(Shared::Setting(setting.clone())),
            Self::CpusOfGroups { group } => Subject::Shared(Shared::CpusOfGroups(group.clone())),
            Self::HugePages { pool, .. } => Subject::Shared(Shared::HugePages(*pool)),
        }
    }

    /// Whether others may change the same, too.
    pub(in crate::host) fn is_shared(&self) -> bool {
        matches!(self.subject(), Subject::Shared(_))
    }

    /// The PCI function or mediated device that it changes.
    pub(in crate::host) fn device(&self) -> Option<LentDevice> {
        match self.subject() {
            Subject::Device(device) => Some(device),
            Subject::Usb(_) | Subject::Shared(_) => None,
        }
    }

    /// Whether it changes this device, or whether there is one.
    pub(in crate::host) fn concerns(&self, device: LentDevice) -> bool {
        let made = match self {
            Self::VirtualFunction { function, .. } => Some(LentDevice::Function(*function)),
            _ => None,
        };
        self.device() == Some(device) || made == Some(device)
    }

    /// Whether both change the same thing.
    pub(in crate::host) fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other) && self.subject() == other.subject()
    }
}

/// The host's files, and the way to change them.
#[derive(Debug, Clone)]
pub(in crate::host) struct Host {
    pub(in crate::host) files: HostFiles,
    pub(in crate::host) kernel: Arc<dyn Kernel>,
}

impl Host {
    /// The steps that bring `functions` to vfio-pci and keep them and the ports above them awake; before that, those that
    /// make `virtual_functions`, which are among `functions`, and keep their physical ones awake. Those that would change nothing
    /// are left out.
    pub(in crate::host) fn steps(
        &self,
        functions: &[HostPciAddress],
        virtual_functions: &[WantedVirtual],
    ) -> Vec<Step> {
        let parents: BTreeSet<_> = virtual_functions.iter().map(|wanted| wanted.parent).collect();
        let below = functions.iter().chain(&parents);
        let ports: BTreeSet<_> = below.filter_map(|address| self.files.upstream_port(*address)).collect();
        let mut steps = Vec::new();
        for address in ports.into_iter().chain(parents) {
            steps.extend(self.d3cold(address));
            steps.extend(
                self.power(address)
                    .filter(|step| matches!(step, Step::Power { former: PowerControl::Auto, .. })),
            );
        }
        steps.extend(virtual_functions.iter().map(|wanted| self.virtual_step(*wanted)));
        for address in functions.iter().copied() {
            let driver = self.files.driver(address);
            let lent = driver.as_deref().is_some_and(lends);
            steps.extend(self.d3cold(address));
            // Drivers set `power/control` when they come and go, so it is put back even if it is right now.
            steps.extend(
                self.power(address)
                    .filter(|step| !lent || matches!(step, Step::Power { former: PowerControl::Auto, .. })),
            );
            if !lent {
                let name = |name: Option<String>| name.and_then(|name| DriverName::try_from(name).ok());
                let former_override = name(self.files.driver_override(address));
                steps.push(Step::Driver { address, former: name(driver), former_override });
            }
        }
        steps
    }

    fn d3cold(&self, address: HostPciAddress) -> Option<Step> {
        let allowed = self.files.attribute(address, "d3cold_allowed").ok()? == "1";
        allowed.then_some(Step::D3cold { address, former: true })
    }

    fn power(&self, address: HostPciAddress) -> Option<Step> {
        let former = match self.files.attribute(address, "power/control").ok()?.as_str() {
            "on" => PowerControl::On,
            "auto" => PowerControl::Auto,
            _ => return None,
        };
        Some(Step::Power { address, former })
    }

    /// Whether this process may change the function's driver, found without a change.
    pub(in crate::host) fn may_change(&self, address: HostPciAddress) -> Result<(), StepError> {
        let path = self.files.function_path(address).join("driver_override");
        let access = rustix::fs::accessat(CWD, &path, Access::WRITE_OK, AtFlags::EACCESS);
        access.map_err(|error| StepError::Denied {
            doing: format!("taking {address} from its driver"),
            source: WriteError::Io(error.into()),
        })
    }

    /// Takes a step, beside those of `others` that run.
    pub(in crate::host) fn take(&self, step: &Step, others: &[Step]) -> Result<(), StepError> {
        match step {
            Step::D3cold { address, .. } => self.set(*address, "d3cold_allowed", "0"),
            Step::Power { address, .. } => self.set(*address, "power/control", "on"),
            Step::Driver { address, .. } => self.lend(*address),
            Step::Mdev { uuid, parent, kind } => self.make(*uuid, parent, kind),
            Step::VirtualFunction { parent, function, autoprobe } => {
                self.make_virtual(*parent, *function, *autoprobe)
            }
            // Whoever opens its node does.
            Step::UsbDrivers { .. } => Ok(()),
            Step::Set { setting, value, .. } => self.change(setting, value),
            Step::CpusOfGroups { group } => self.control_cpus(group, true),
            Step::HugePages { pool, former, pages } => self.add_pages(*pool, *former, *pages, others),
        }
    }

    fn lend(&self, address: HostPciAddress) -> Result<(), StepError> {
        // First, so that nothing else can take it in between.
        self.set(address, "driver_override", VFIO_PCI)?;
        match self.files.driver(address) {
            Some(driver) if lends(&driver) => {}
            driver => {
                if let Some(driver) = driver {
                    self.unbind(address, &driver)?;
                }
                let doing = format!("binding {address} to {VFIO_PCI}");
                let probe = self.files.path("sys/bus/pci/drivers_probe");
                self.write(&probe, &address.to_string(), PROBE, doing, || reboot_cure(address))?;
            }
        }
        let now = self.files.driver(address);
        if !now.as_deref().is_some_and(lends) {
            return Err(StepError::NotTaken { address, driver: VFIO_PCI.into(), now });
        }
        // vfio-pci allows the device to be suspended when it takes it.
        if self.files.attribute(address, "power/control").is_ok() {
            self.set(address, "power/control", "on")?;
        }
        Ok(())
    }

    /// Undoes a step, if it was taken, as far as the steps of `others` that run allow. What has left the host needs nothing.
    pub(in crate::host) fn undo(&self, step: &Step, others: &[Step]) -> Result<(), StepError> {
        if let Some(LentDevice::Function(address)) = step.device()
            && !self.files.function_path(address).exists()
        {
            return Ok(());
        }
        match step {
            Step::Mdev { uuid, parent, kind } => self.unmake(*uuid, parent, kind),
            Step::VirtualFunction { parent, function, autoprobe } => {
                self.unmake_virtual(*parent, *function, *autoprobe)
            }
            Step::UsbDrivers { port, number, interfaces } => self.give_usb_back(port, *number, interfaces),
            Step::D3cold { address, former } => {
                self.set(*address, "d3cold_allowed", if *former { "1" } else { "0" })
            }
            Step::Power { address, former } => self.set(*address, "power/control", former.text()),
            Step::Driver { address, former, former_override } => {
                self.give_back(*address, former.as_ref(), former_override.as_ref())
            }
            Step::Set { setting, former, value } => {
                let theirs = others.iter().filter_map(|other| match other {
                    Step::Set { setting: same, value, .. } if same == setting => Some(value),
                    _ => None,
                });
                // Each machine narrows what it finds, so the fewest CPUs are what all of them want. Other settings are no lists.
                let count = |value: &&Line| CpuList::from_kernel(value.text()).map_or(0, |cpus| cpus.len());
                let theirs = theirs.min_by_key(count);
                self.put_back(setting, theirs.unwrap_or(former), value)
            }
            Step::CpusOfGroups { .. } if others.iter().any(|other| other.is_like(step)) => Ok(()),
            Step::CpusOfGroups { group } => self.control_cpus(group, false),
            Step::HugePages { pool, former, pages } => self.remove_pages(*pool, *former, *pages, others),
        }
    }

    fn give_back(
        &self,
        address: HostPciAddress,
        former: Option<&DriverName>,
        former_override: Option<&DriverName>,
    ) -> Result<(), StepError> {
        // Only what we did is undone: another driver got it from somebody else since.
        if self.files.driver(address).is_some_and(|driver| driver == VFIO_PCI) {
            self.unbind(address, VFIO_PCI)?;
        }
        if self.files.driver_override(address).is_some_and(|driver| driver == VFIO_PCI) {
            // The kernel takes an empty line for none.
            self.set(address, "driver_override", former_override.map_or("\n", |name| &name.0))?;
        }
        let Some(DriverName(former)) = former else { return Ok(()) };
        if self.files.driver(address).is_some() {
            return Ok(());
        }
        // By name: others may match the device as well.
        let bind = self.files.path(format!("sys/bus/pci/drivers/{former}/bind"));
        if !bind.exists() {
            tracing::warn!(
                "{former}, the former driver of {address}, is no longer loaded: `sudo modprobe {former}` gives it the \
                 device back"
            );
            return Ok(());
        }
        let doing = format!("giving {address} back to {former}");
        self.write(&bind, &address.to_string(), PROBE, doing, || reboot_cure(address))?;
        match self.files.driver(address) {
            Some(now) if now == *former => Ok(()),
            now => Err(StepError::NotTaken { address, driver: former.clone(), now }),
        }
    }

    fn unbind(&self, address: HostPciAddress, driver: &str) -> Result<(), StepError> {
        let path = self.files.function_path(address).join("driver/unbind");
        let doing = format!("taking {address} from {driver}");
        self.write(&path, &address.to_string(), UNBIND, doing, || unbind_cure(address, driver))
    }

    pub(in crate::host) fn set(
        &self,
        address: HostPciAddress,
        name: &str,
        value: &str,
    ) -> Result<(), StepError> {
        if self.files.attribute(address, name).is_ok_and(|now| now == value) {
            return Ok(());
        }
        let path = self.files.function_path(address).join(name);
        let doing = format!("setting {name} of {address} to {:?}", value.trim_end());
        self.write(&path, value, ATTRIBUTE, doing, || reboot_cure(address))
    }

    pub(in crate::host) fn write(
        &self,
        path: &Path,
        value: &str,
        patience: Duration,
        doing: String,
        cure: impl FnOnce() -> String,
    ) -> Result<(), StepError> {
        tracing::debug!("{doing}");
        self.kernel.write(path, value, patience).map_err(|source| match source {
            WriteError::TimedOut(patience) => StepError::Hung { doing, patience, cure: cure() },
            source if source.is_denial() => StepError::Denied { doing, source },
            source => StepError::Refused { doing, source },
        })
    }
}

fn unbind_cure(address: HostPciAddress, driver: &str) -> String {
    let first = match driver {
        "nvidia" => {
            "stop what uses the GPU, also inside the kernel, before the next try: `sudo systemctl stop \
             nvidia-persistenced; sudo modprobe -r nvidia_drm nvidia_uvm nvidia_modeset`"
                .into()
        }
        VFIO_PCI => "end the process that still has it open, as shown by `sudo fuser -v /dev/vfio/*`".into(),
        other => format!("stop what uses {other} before the next try"),
    };
    format!("{first}; {}", reboot_cure(address))
}

fn reboot_cure(address: HostPciAddress) -> String {
    format!(
        "`sudo dmesg | grep {address}` shows where it waits, and only a reboot helps if that does not end"
    )
}
