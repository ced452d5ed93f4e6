//! The conditions, in the order in which to mend them: what makes later ones meaningless comes first.

mod gpu;
mod identity;
mod place;
mod rom;
mod system;

use serde::Serialize;

use super::{Driver, Facts};
use crate::finding::{Key, Section};

/// One condition.
pub(super) struct Condition {
    /// Its name, which `docs/code43.md` explains. Names do not change.
    pub(super) id: &'static str,
    /// Why the driver cares.
    pub(super) why: &'static str,
    /// Looks whether it holds; `None` where it has no meaning.
    pub(super) check: fn(&Facts, Driver) -> Option<Verdict>,
}

/// How it is with a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It holds.
    Ok,
    /// It does not.
    Fails,
    /// It holds for some drivers, or in some reports.
    Warning,
    /// What decides it is not known.
    Unknown,
}

/// What was found of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    /// How it is.
    pub(super) state: State,
    /// What was found.
    pub(super) found: String,
    /// What to do, and the key to do it at.
    pub(super) change: Option<Change>,
}

/// What to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// The key of vm.toml.
    pub(super) key: Option<Key>,
    /// What to do.
    pub(super) advice: String,
}

/// What is said of a GPU that the host was not asked for.
const NOT_KNOWN: &str = "the host does not have the GPU, or was not asked";

impl Verdict {
    fn new(state: State, found: impl Into<String>) -> Self {
        Self { state, found: found.into(), change: None }
    }

    fn ok(found: impl Into<String>) -> Self {
        Self::new(State::Ok, found)
    }

    fn fails(found: impl Into<String>) -> Self {
        Self::new(State::Fails, found)
    }

    fn warning(found: impl Into<String>) -> Self {
        Self::new(State::Warning, found)
    }

    fn unknown(found: impl Into<String>) -> Self {
        Self::new(State::Unknown, found)
    }

    /// The same, to be changed at this key.
    fn at(self, key: Key, advice: impl Into<String>) -> Self {
        Self { change: Some(Change { key: Some(key), advice: advice.into() }), ..self }
    }

    /// The same, to be changed elsewhere than in vm.toml.
    fn outside(self, advice: impl Into<String>) -> Self {
        Self { change: Some(Change { key: None, advice: advice.into() }), ..self }
    }
}

/// The keys of vm.toml that conditions name.
pub(super) mod key {
    use super::{Key, Section};

    pub(in crate::code43) const HOST: Key = Section::Dgpu.key("host");
    pub(in crate::code43) const GUEST: Key = Section::Dgpu.key("guest");
    pub(in crate::code43) const VENDOR: Key = Section::Dgpu.key("vendor");
    pub(in crate::code43) const DEVICE: Key = Section::Dgpu.key("device");
    pub(in crate::code43) const SUBSYSTEM: Key = Section::Dgpu.key("subsystem");
    pub(in crate::code43) const VBIOS: Key = Section::Dgpu.key("vbios");
    pub(in crate::code43) const ROM: Key = Section::Dgpu.key("rom");
    pub(in crate::code43) const HIDE: Key = Section::Cpu.key("hide_hypervisor");
    pub(in crate::code43) const NAME: Key = Section::Cpu.key("vendor_id");
    pub(in crate::code43) const PHYS_BITS: Key = Section::Cpu.key("phys_bits");
    pub(in crate::code43) const BATTERY: Key = Section::Battery.key("mode");
    pub(in crate::code43) const CHASSIS: Key = Section::Smbios.key("chassis_type");
    pub(in crate::code43) const FIRMWARE: Key = Section::Firmware.key("kind");
    pub(in crate::code43) const BOOT: Key = Section::Kernel.key("boot");

    /// All of them.
    pub(in crate::code43) const ALL: [Key; 14] = [
        HOST, GUEST, VENDOR, DEVICE, SUBSYSTEM, VBIOS, ROM, HIDE, NAME, PHYS_BITS, BATTERY, CHASSIS,
        FIRMWARE, BOOT,
    ];
}

/// All conditions.
pub(super) const CONDITIONS: [Condition; 19] = [
    Condition {
        id: "gpu",
        why: "the driver looks for a function of NVIDIA's that is a display controller",
        check: gpu::gpu,
    },
    Condition {
        id: "iommu-group",
        why: "a group that the host uses too is not lent, and a GPU that was lent in part is reset in part",
        check: gpu::iommu_group,
    },
    Condition {
        id: "power",
        why: "a GPU without power reads as all ones, and the driver takes it for one that has left the bus",
        check: gpu::power,
    },
    Condition {
        id: "place",
        why: "drivers up to about 2022 were seen to start only where the laptop has the GPU, at 01:00.0 behind 00:01.0; reports \
              of later ones disagree",
        check: place::place,
    },
    Condition {
        id: "function",
        why: "a slot is looked into only if its function 0 answers, and `_ROM` belongs to the device of function 0",
        check: place::function,
    },
    Condition {
        id: "class",
        why: "a 3D controller (0302) has no display of its own, and before Turing no ROM either; a VGA controller (0300) may have both",
        check: identity::class,
    },
    Condition {
        id: "device-id",
        why: "the driver's list is searched for the device ID; what the chip itself answers decides later",
        check: identity::device_id,
    },
    Condition {
        id: "subsystem",
        why: "the driver's list names the laptop by its subsystem; where that is zero, Windows chooses no driver",
        check: identity::subsystem,
    },
    Condition {
        id: "bars",
        why: "a BAR without an address is memory that the driver cannot map",
        check: place::bars,
    },
    Condition {
        id: "decoding",
        why: "the GPU answers at its addresses while memory decoding is on, in it and in the root port",
        check: place::decoding,
    },
    Condition {
        id: "rom-method",
        why: "a laptop's GPU from before Turing has no ROM: its driver asks ACPI's `_ROM` for the video BIOS, and looks nowhere else",
        check: rom::method,
    },
    Condition {
        id: "vbios",
        why: "drivers follow the ROM's chain of images and add up its bytes, and give up on one that is damaged",
        check: rom::vbios,
    },
    Condition {
        id: "vbios-id",
        why: "a ROM for another chip sets up what this one does not have",
        check: rom::vbios_id,
    },
    Condition {
        id: "rom-bar",
        why: "firmware runs what it finds in the ROM BAR; drivers of laptops' GPUs take the video BIOS from `_ROM`",
        check: rom::bar,
    },
    Condition {
        id: "firmware",
        why: "with a BIOS instead of UEFI several owners got Code 43",
        check: system::firmware,
    },
    Condition {
        id: "hypervisor",
        why: "Windows' drivers before 465 give up if CPUID has the name of a hypervisor that they know; 465 and later accept it",
        check: system::hypervisor,
    },
    Condition {
        id: "battery",
        why: "a driver that sees no hypervisor expects a laptop's GPU to be in a laptop, and looks for the battery",
        check: system::battery,
    },
    Condition {
        id: "chassis",
        why: "Linux' driver takes a machine for a notebook by SMBIOS chassis type 9 or 10, or by a rechargeable battery",
        check: system::chassis,
    },
    Condition {
        id: "dsm",
        why: "the driver asks the GPU's `_DSM` about Optimus and skips what does not exist; without it nothing is offloaded to the GPU by \
              itself",
        check: system::dsm,
    },
];
