//! What a parent device offers, and why a device is none.

use std::fmt;
use std::path::PathBuf;

use vocabulary::{HostPciAddress, MdevParent};

use super::graphics::{GuestGraphics, guest_graphics};
use super::{HostMdev, MdevError};
use crate::host::HostFiles;
use crate::host::files::{names, text};

/// A type of mediated devices that a parent offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its name.
    pub kind: String,
    /// How many more there is room for; `None` if the parent does not say.
    pub available: Option<u32>,
    /// What it has, in one line; for GVT-g its shares of graphics memory, its fences and its largest resolution.
    pub description: String,
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, available, description } = self;
        write!(f, "{kind}")?;
        match available {
            Some(available) => write!(f, " (room for {available}")?,
            None => write!(f, " (room unknown")?,
        }
        if description.is_empty() { write!(f, ")") } else { write!(f, "; {description})") }
    }
}

impl HostFiles {
    /// The directory of a parent's types.
    pub(super) fn mdev_types(&self, parent: &str) -> PathBuf {
        self.path(format!("sys/class/mdev_bus/{parent}/mdev_supported_types"))
    }

    pub(super) fn is_mdev_parent(&self, parent: &MdevParent) -> bool {
        self.mdev_types(parent.as_str()).is_dir()
    }

    /// The types that a parent offers.
    pub(crate) fn offers(&self, parent: &MdevParent) -> Vec<Offer> {
        let types = self.mdev_types(parent.as_str());
        let offer = |kind: String| {
            let attribute = |name| text(&types.join(&kind).join(name)).ok();
            let description = attribute("description").unwrap_or_default();
            let lines: Vec<_> = description.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            Offer {
                available: attribute("available_instances").and_then(|number| number.parse().ok()),
                description: lines.join(", "),
                kind,
            }
        };
        names(&types).into_iter().map(offer).collect()
    }

    /// The mediated devices that were made from a parent.
    pub(super) fn children(&self, parent: &MdevParent) -> Vec<HostMdev> {
        self.mdevs().into_iter().filter(|device| device.parent == parent.as_str()).collect()
    }

    /// The first thing that keeps a device from making others.
    pub(super) fn no_parent(&self, parent: &MdevParent) -> MdevError {
        let because = |why: &str, cure: &str| MdevError::NoParent {
            parent: parent.clone(),
            why: why.into(),
            cure: cure.into(),
        };
        let Ok(address) = parent.as_str().parse::<HostPciAddress>() else {
            let others = names(&self.path("sys/class/mdev_bus"));
            let cure = match others.as_slice() {
                [] => "no device of this host does; is its driver's module loaded?".to_owned(),
                others => format!("those that do are {}", others.join(", ")),
            };
            return because("there is no such name in /sys/class/mdev_bus", &cure);
        };
        let Some(function) = self.function(address) else {
            return because("this host has no such PCI device", "`lspci -D -d ::03xx` lists its GPUs");
        };
        if function.vendor != 0x8086 || function.class >> 16 != 0x03 {
            return because(
                "it is not an Intel GPU",
                "`lspci -D -d 8086::03xx` shows its address, usually 0000:00:02.0",
            );
        }
        match guest_graphics(function.device) {
            GuestGraphics::TooOld => {
                return because(
                    "this GPU is too old for GVT-g, which begins with the 5th generation of Intel Core (Broadwell)",
                    "leave [igpu] out",
                );
            }
            GuestGraphics::TooNew => {
                return because(
                    "this GPU is of a generation that has no GVT-g, which ends with the 10th of Intel Core (Comet Lake)",
                    "`type = \"sriov\"` makes a virtual function instead, where the host's driver has them (docs/host.md)",
                );
            }
            GuestGraphics::Supported | GuestGraphics::Unknown => {}
        }
        let (why, cure) = self.no_gvt(function.driver.as_deref());
        because(&why, &cure)
    }

    /// What is missing for GVT-g on a GPU that can do it, and what to do.
    pub(crate) fn no_gvt(&self, driver: Option<&str>) -> (String, String) {
        const ADD: &str = "to the kernel's command line, and reboot (docs/host.md)";
        let parameter = |name| self.text(format!("sys/module/i915/parameters/{name}")).ok();
        match driver {
            Some("i915") => {}
            Some(driver) => {
                let why = format!("its driver is {driver}, and GVT-g is a part of i915");
                return (why, "give it back to i915".into());
            }
            None => return ("it has no driver".into(), "load its driver with `sudo modprobe i915`".into()),
        }
        if parameter("enable_gvt").is_some_and(|value| matches!(value.as_str(), "N" | "0")) {
            return ("GVT-g is switched off".into(), format!("add `i915.enable_gvt=1` {ADD}"));
        }
        // Bit 0: GuC submission.
        let guc = parameter("enable_guc").and_then(|value| value.parse::<i32>().ok());
        if guc.is_some_and(|guc| guc > 0 && guc & 1 != 0) {
            let why =
                "i915 lets the GPU's microcontroller schedule (GuC submission), with which it has no GVT-g";
            return (why.into(), format!("add `i915.enable_guc=0` {ADD}"));
        }
        if !self.path("sys/module/kvmgt").exists() {
            return (
                "the kernel module kvmgt is not loaded".into(),
                format!(
                    "`sudo modprobe kvmgt`; if there is none, this kernel was built without CONFIG_DRM_I915_GVT_KVMGT. If \
                     it loads and nothing changes, add `i915.enable_gvt=1` {ADD}"
                ),
            );
        }
        (
            "i915 has not switched GVT-g on".into(),
            format!(
                "`sudo dmesg | grep -i gvt` tells why; if it tells nothing, add `i915.enable_gvt=1` {ADD}"
            ),
        )
    }
}
