//! Passed-through devices: the choices of `[dgpu]`, `[igpu]` and `[[vfio]]`.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vocabulary::path::check_path;
use vocabulary::printable::shorten;
use vocabulary::scalar::{Complaint, wrong_kind};
use vocabulary::{LentDevice, NewMdev, PciAddress, Scalar, inline_schema};

use crate::finding::Section;

/// Where a function's expansion ROM comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub enum RomSource {
    /// It has none.
    #[default]
    Off,
    /// The device's own.
    Host,
    /// This file.
    File(PathBuf),
}

impl RomSource {
    pub const FORMAT: &str = "rom-source";
    pub const EXPECTED: &str = "\"off\", \"host\" or the path of a ROM file";

    /// The same source, where a relative path starts from `folder`.
    pub fn relative_to(self, folder: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(folder.join(path)),
            other => other,
        }
    }
}

impl TryFrom<Scalar> for RomSource {
    type Error = Complaint;

    fn try_from(value: Scalar) -> Result<Self, Complaint> {
        match value {
            Scalar::Text(text) if text == "off" => Ok(Self::Off),
            Scalar::Text(text) if text == "host" => Ok(Self::Host),
            // A word alone is rather a slip than a file.
            Scalar::Text(text) if !text.is_empty() && !text.contains(['/', '.']) => Err(format!(
                "\"{shown}\" is no source of a ROM: write {}, \"./{shown}\" if this is a file",
                Self::EXPECTED,
                shown = shorten(&text)
            )),
            Scalar::Text(text) => check_path(&text).map(|()| Self::File(text.into())),
            other => Err(wrong_kind(Self::EXPECTED, &other)),
        }
    }
}

impl From<RomSource> for Scalar {
    fn from(rom: RomSource) -> Self {
        Self::Text(match rom {
            RomSource::Off => "off".into(),
            RomSource::Host => "host".into(),
            RomSource::File(path) => path.to_string_lossy().into_owned(),
        })
    }
}

inline_schema!(RomSource, {
    "type": "string",
    "format": Self::FORMAT,
    "pattern": "^(off|host|[^~].*[./].*|[./].*|~[^/]+[./].*)$",
});

/// Which functions of the GPU's slot are passed through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum GpuFunctions {
    /// The GPU alone.
    Gpu,
    /// All: audio, USB and UCSI functions keep their function numbers.
    ///
    /// The default, because the functions of a GPU share its IOMMU group: the host cannot use them while the guest has
    /// the GPU, and a reset of the slot needs all of them in one hand. A 3D controller without outputs has one function
    /// anyway.
    #[default]
    All,
}

/// A passed-through device, whether from `[dgpu]`, `[igpu]` or `[[vfio]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passthrough {
    /// The section that asks for it: `[dgpu]`, `[igpu]` or a `[[vfio]]`.
    pub section: Section,
    /// Which device of the host it is.
    pub host: LentDevice,
    /// What a mediated device is made from if there is none of its UUID.
    pub create: Option<NewMdev>,
    /// `host` is a physical function, and what is meant is its first virtual function, which is made if there is none.
    pub is_parent: bool,
    /// Where the guest finds it; `None` leaves it to the plan.
    pub guest: Option<PciAddress>,
    /// Whether the plan is to put it behind a root port of its own; without meaning if `guest` is given.
    pub root_port: bool,
    /// Whether its header says that its slot has several functions; `None` says what is so.
    pub multifunction: Option<bool>,
    /// Replaces the vendor ID.
    pub vendor: Option<u16>,
    /// Replaces the device ID.
    pub device: Option<u16>,
    /// Replaces subsystem vendor ID and subsystem ID.
    pub subsystem: Option<(u16, u16)>,
    /// Its expansion ROM.
    pub rom: RomSource,
    /// Which functions of its slot come along. Always [`GpuFunctions::Gpu`] but for `[dgpu]`.
    pub functions: GpuFunctions,
    /// Place in the firmware's boot order.
    pub boot_index: Option<u32>,
    /// Whether its functions are bound to vfio-pci at the start and given back at the end.
    pub manage: bool,
}

impl Passthrough {
    /// Whether this is the laptop's GPU, and not just any device.
    pub fn is_dgpu(&self) -> bool {
        self.section == Section::Dgpu
    }

    /// Whether this is the display GPU of `[igpu]`.
    pub fn is_igpu(&self) -> bool {
        self.section == Section::Igpu
    }
}
