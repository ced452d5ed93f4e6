//! Passed-through functions in the report: what the host has, and what the guest is to see.

use std::fmt::Write as _;

use serde::Serialize;

use super::super::PlannedPassthrough;
use crate::config::RomSource;

/// What is said of a device that nobody has asked the host for.
const UNASKED: &str = "the host was not asked";

/// A passed-through function, as printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Passthrough {
    /// The section of the configuration.
    pub section: String,
    /// Address on the host, or `mdev` and the UUID.
    pub host: String,
    /// What a mediated device is made from, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mdev: Option<Mdev>,
    /// The physical function of a virtual one that is made if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Whether the host has it; null if it was not asked.
    pub present: Option<bool>,
    /// Its own IDs, if the host has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own: Option<FunctionIds>,
    /// The IDs that the guest sees; the device's own where nothing is said.
    pub shown: ShownIds,
    /// Class code, if the host has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The driver that has it on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Its IOMMU group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iommu_group: Option<u32>,
    /// Where its expansion ROM comes from.
    pub rom: String,
    /// Its place in the firmware's boot order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_index: Option<u32>,
    /// Whether it is bound to vfio-pci at the start and given back at the end.
    pub manage: bool,
}

/// A mediated device, as printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mdev {
    /// The device that makes it.
    pub parent: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it is made at the start and removed at the end, because there is none now.
    pub made: bool,
}

impl Mdev {
    fn of(planned: &PlannedPassthrough) -> Option<Self> {
        match (&planned.mdev, &planned.create) {
            (Some(now), _) => Some(Self { parent: now.parent.clone(), kind: now.kind.clone(), made: false }),
            (None, Some(new)) => {
                Some(Self { parent: new.parent.to_string(), kind: new.kind.to_string(), made: true })
            }
            (None, None) => None,
        }
    }
}

/// IDs of a function, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FunctionIds {
    /// `vendor:device`.
    pub function: String,
    /// `vendor:device` of the subsystem.
    pub subsystem: String,
}

/// IDs that are replaced, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownIds {
    /// Vendor ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// Device ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// `vendor:device` of the subsystem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subsystem: Option<String>,
}

impl From<&PlannedPassthrough> for Passthrough {
    fn from(planned: &PlannedPassthrough) -> Self {
        let PlannedPassthrough { section, host, identity, rom, boot_index, manage, facts, .. } = planned;
        let facts = facts.as_ref();
        Self {
            section: section.to_string(),
            host: host.to_string(),
            mdev: Mdev::of(planned),
            parent: planned.parent.map(|parent| parent.to_string()),
            present: (!planned.unasked).then(|| facts.is_some() || planned.mdev.is_some()),
            own: facts.map(|own| FunctionIds {
                function: pair(own.vendor, own.device),
                subsystem: pair(own.subsystem_vendor, own.subsystem),
            }),
            shown: ShownIds {
                vendor: identity.vendor.map(|id| format!("{id:04x}")),
                device: identity.device.map(|id| format!("{id:04x}")),
                subsystem: identity.subsystem.map(|(vendor, device)| pair(vendor, device)),
            },
            class: facts.map(|own| format!("{:06x}", own.class)),
            driver: match &planned.mdev {
                Some(own) => own.driver.clone(),
                None => facts.and_then(|own| own.driver.clone()),
            },
            iommu_group: match &planned.mdev {
                Some(own) => own.iommu_group,
                None => facts.and_then(|own| own.iommu_group),
            },
            rom: match rom {
                RomSource::Off => "off".into(),
                RomSource::Host => "host".into(),
                RomSource::File(path) => path.display().to_string(),
            },
            boot_index: *boot_index,
            manage: *manage,
        }
    }
}

pub(super) fn pair(vendor: u16, device: u16) -> String {
    format!("{vendor:04x}:{device:04x}")
}

impl Passthrough {
    /// `ID`, or `ID → ID` where the guest sees another.
    fn ids(&self) -> String {
        let changed = |own: Option<&str>, shown: Option<String>| match (own, shown) {
            (Some(own), Some(shown)) if own != shown => format!("{own} → {shown}"),
            (Some(same), _) => same.to_owned(),
            (None, Some(shown)) => format!("→ {shown}"),
            (None, None) => "own".to_owned(),
        };
        let own = self.own.as_ref();
        let (vendor, device) = own.and_then(|own| own.function.split_once(':')).unwrap_or(("own", "own"));
        let ShownIds { vendor: new_vendor, device: new_device, subsystem } = &self.shown;
        let function = (new_vendor.is_some() || new_device.is_some()).then(|| {
            let (vendor, device) =
                (new_vendor.as_deref().unwrap_or(vendor), new_device.as_deref().unwrap_or(device));
            format!("{vendor}:{device}")
        });
        format!(
            "IDs {}, subsystem {}",
            changed(own.map(|own| own.function.as_str()), function),
            changed(own.map(|own| own.subsystem.as_str()), subsystem.clone())
        )
    }

    fn write_mdev(&self, out: &mut String, indent: usize) -> std::fmt::Result {
        let what = match &self.mdev {
            Some(Mdev { parent, kind, made: true }) if self.present.is_none() => {
                format!("{kind} of {parent}, made at the start unless it exists")
            }
            Some(Mdev { parent, kind, made: true }) => {
                format!("{kind} of {parent}, made at the start and removed at the end")
            }
            Some(Mdev { parent, kind, made: false }) => format!("{kind} of {parent}, which exists already"),
            None if self.present.is_none() => UNASKED.into(),
            None => "not on this host, unless mdevctl has defined it".into(),
        };
        write!(out, "{:indent$}{what}; ROM {}", "", self.rom)?;
        match self.iommu_group {
            Some(group) => writeln!(out, ", IOMMU group {group}"),
            None => writeln!(out),
        }
    }

    /// Writes the lines below the function's own.
    pub(super) fn write(&self, out: &mut String, indent: usize) -> std::fmt::Result {
        if self.host.starts_with("mdev") {
            return self.write_mdev(out, indent);
        }
        let managed = if self.manage { "; bound to vfio-pci while the machine runs" } else { "" };
        writeln!(out, "{:indent$}{}, ROM {}{managed}", "", self.ids(), self.rom)?;
        if let Some(parent) = &self.parent {
            let what = match self.present {
                Some(true) => "which exists already",
                Some(false) => "made at the start and removed at the end",
                None => "made at the start unless it exists",
            };
            writeln!(out, "{:indent$}first virtual function of {parent}, {what}", "")?;
            // What it will be is not known before.
            if self.class.is_none() {
                return Ok(());
            }
        }
        let Some(class) = &self.class else {
            let found = if self.present.is_none() { UNASKED } else { "not on this host" };
            return writeln!(out, "{:indent$}{found}", "");
        };
        let driver = self.driver.as_deref().unwrap_or("none");
        write!(out, "{:indent$}class {class}, driver on the host: {driver}", "")?;
        match self.iommu_group {
            Some(group) => writeln!(out, ", IOMMU group {group}"),
            None => writeln!(out, ", in no IOMMU group"),
        }
    }
}
