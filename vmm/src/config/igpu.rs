//! `[igpu]`: the guest's display GPU, a virtual one that the host's Intel GPU makes (GVT-g), or a function of its own
//! (SR-IOV).
//!
//! A mediated device is known by its UUID (Linux Documentation/driver-api/vfio-mediated-device.rst): one that exists
//! already, or one that is made for the time of a run from a parent device and one of the types that this offers.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::passthrough::{GpuFunctions, LentDevice, NewMdev, Passthrough, RomSource};
use super::pci_address::{HostPciAddress, PciAddress};
use super::resolve::Resolver;
use super::scalar::{inline_schema, shorten, text_scalar};
use crate::finding::Section;

/// The namespace of UUIDs of mediated devices that are derived from a machine's name (RFC 9562 §5.5).
const UUID_NAMESPACE: Uuid = Uuid::from_u128(0x2b7e_9c44_58a1_4d0e_8c35_71f6_d90a_4be3);

/// The display GPU of the machine: a virtual GPU that the host's Intel GPU makes (GVT-g), by exactly one of `mdev` and
/// `parent`, or by `host` a whole function, such as a virtual function of the Intel GPU (SR-IOV).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["mdev"] }, { "required": ["parent"] }, { "required": ["host"] }]))]
pub(super) struct IgpuSection {
    /// The UUID of a mediated device that exists already and is left as it is at the end, or of one that mdevctl has
    /// defined and that is made for the time of a run.
    #[schemars(extend("format" = "mdev-uuid", "x-default" = "none"))]
    pub mdev: Option<String>,
    /// The GPU that the virtual GPU is made from at the start; it is removed again at the end. The PCI address of the host's
    /// Intel GPU, `"0000:00:02.0"`, or another name in `/sys/class/mdev_bus`.
    #[schemars(extend("x-default" = "none"))]
    pub parent: Option<MdevParent>,
    /// With `parent`, required: the type of the virtual GPU, one of those in `mdev_supported_types` of the parent, such as
    /// `"i915-GVTg_V5_4"`. `mdevctl types` lists them.
    #[serde(rename = "type")]
    #[schemars(extend("x-default" = "none"))]
    pub kind: Option<MdevType>,
    /// With `parent`: the UUID of the virtual GPU. If there is one of this UUID already, it is used, and left as it is at
    /// the end.
    #[schemars(extend("format" = "mdev-uuid", "x-default" = "derived from the machine's `name`, always the same"))]
    pub uuid: Option<String>,
    /// The address of a PCI function on the host, such as `"0000:00:02.1"`, a virtual function of the Intel GPU. Needs an
    /// IOMMU, as `[dgpu]` does.
    #[schemars(extend("x-default" = "none"))]
    pub host: Option<HostPciAddress>,
    /// With `host`: whether optimus-vmm binds the function to vfio-pci at the start and gives it back at the end.
    #[schemars(extend("x-default" = "`false`"))]
    pub manage: Option<bool>,
    /// The address in the guest. An Intel GPU is at 00:02.0 on real laptops, and its ACPI device is called `GFX0` there. The
    /// plan adds the root port that another bus needs.
    #[schemars(extend("x-default" = "`\"00:02.0\"`"))]
    pub guest: Option<PciAddress>,
    /// With `mdev` or `parent`: the monitor's preferred mode, WIDTHxHEIGHT, from 640x480 to 3840x2400. A virtual GPU has a
    /// limit of its own, to which this is lowered.
    #[schemars(extend("x-default" = "`\"1920x1080\"`"))]
    pub resolution: Option<Resolution>,
    /// Whether the guest finds the OpRegion, from which Intel's drivers learn what displays there are.
    #[schemars(extend("x-default" = "`true` if the device has one"))]
    pub opregion: Option<bool>,
    /// The expansion ROM: `"off"` or the path of a file; with `host` also `"host"`, the device's own.
    #[serde(default)]
    pub rom: RomSource,
    /// Whether the firmware has a picture before the GPU's driver starts (ramfb).
    #[serde(default = "yes")]
    pub ramfb: bool,
}

fn yes() -> bool {
    true
}

/// What is special about the display GPU. The device itself is among [`super::Config::passthrough`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Igpu {
    /// The mode that its monitor prefers; `None` if its displays are no business of ours, as those of a whole function.
    pub resolution: Option<Resolution>,
    /// Whether the guest finds the OpRegion; `None` if it does when the device has one.
    pub opregion: Option<bool>,
    /// Whether the machine has a framebuffer for the firmware.
    pub ramfb: bool,
}

/// Width and height of a display mode in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "super::Scalar", into = "super::Scalar")]
pub struct Resolution {
    /// Pixels of a line: 640 to 3840.
    pub width: u16,
    /// Lines: 480 to 2400.
    pub height: u16,
}

impl Resolution {
    pub(super) const FORMAT: &str = "resolution";
    pub(super) const EXPECTED: &str = "a resolution such as \"1920x1080\"";
    /// The smallest that drivers and firmware have windows for.
    const LEAST: Self = Self { width: 640, height: 480 };
    /// The largest of laptops' panels, and about what the pixel clock of an EDID's detailed timing allows at 60 Hz
    /// (VESA E-EDID A.2 §3.10.2: 655.35 MHz).
    const MOST: Self = Self { width: 3840, height: 2400 };
}

impl Default for Resolution {
    fn default() -> Self {
        Self { width: 1920, height: 1080 }
    }
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl FromStr for Resolution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let digits = (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse::<u32>().ok()).flatten()
        };
        let pair = text.split_once('x').and_then(|(width, height)| Some((number(width)?, number(height)?)));
        let Some((width, height)) = pair else {
            return Err(format!("\"{}\" is not {}", shorten(text), Self::EXPECTED));
        };
        let within = |value: u32, least: u16, most: u16| {
            u16::try_from(value).ok().filter(|value| (least..=most).contains(value))
        };
        let (least, most) = (Self::LEAST, Self::MOST);
        match (within(width, least.width, most.width), within(height, least.height, most.height)) {
            (Some(width), Some(height)) => Ok(Self { width, height }),
            _ => Err(format!("{width}x{height} is not between {least} and {most}")),
        }
    }
}

text_scalar!(Resolution);

inline_schema!(Resolution, {
    "type": "string",
    "format": Self::FORMAT,
    "pattern": "^(6[4-9][0-9]|[7-9][0-9]{2}|[12][0-9]{3}|3[0-7][0-9]{2}|38[0-3][0-9]|3840)x(4[89][0-9]|[5-9][0-9]{2}|1[0-9]{3}|2[0-3][0-9]{2}|2400)$",
});

/// The name of a device that mediated devices are made from, as a directory of `/sys/class/mdev_bus`. An address of a PCI
/// function has its segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "super::Scalar", into = "super::Scalar")]
pub struct MdevParent(String);

/// Whether `text` is a plain name of a directory: it must not lead elsewhere when it becomes part of a path.
fn plain(text: &str) -> bool {
    let fits = (1..=255).contains(&text.len()) && !text.starts_with('.');
    fits && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:_-+".contains(&byte))
}

impl MdevParent {
    pub(super) const FORMAT: &str = "mdev-parent";
    pub(super) const EXPECTED: &str = "the GPU's PCI address on the host such as \"0000:00:02.0\"";

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MdevParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for MdevParent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<HostPciAddress>() {
            Ok(address) => Ok(Self(address.to_string())),
            // What has a colon was meant for an address.
            Err(error) if text.contains(':') => Err(error.to_string()),
            Err(_) if plain(text) => Ok(Self(text.into())),
            Err(_) => Err(format!(
                "\"{}\" is neither a PCI address such as \"0000:00:02.0\" nor a name in /sys/class/mdev_bus",
                shorten(text)
            )),
        }
    }
}

text_scalar!(MdevParent);

inline_schema!(MdevParent, {
    "type": "string",
    "format": Self::FORMAT,
    "pattern": "^(([0-9a-fA-F]{1,4}:)?[0-9a-fA-F]{1,2}:(0?|1)[0-9a-fA-F]\\.[0-7]|[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,254})$",
});

/// The name of a type of mediated devices, as a directory of `mdev_supported_types`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "super::Scalar", into = "super::Scalar")]
pub struct MdevType(String);

impl MdevType {
    pub(super) const FORMAT: &str = "mdev-type";
    pub(super) const EXPECTED: &str = "the type of a virtual GPU such as \"i915-GVTg_V5_4\"";

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MdevType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for MdevType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if plain(text) && !text.contains(':') {
            return Ok(Self(text.into()));
        }
        Err(format!("\"{}\" is not {}", shorten(text), Self::EXPECTED))
    }
}

text_scalar!(MdevType);

inline_schema!(MdevType, {
    "type": "string",
    "format": Self::FORMAT,
    "pattern": "^[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,254}$",
});

/// Where Intel GPUs are on real machines.
const GUEST: Option<PciAddress> = PciAddress::new(0, 2, 0);

impl Resolver {
    /// The display GPU and the device that it is. `None` also for a section that says something wrong.
    pub(super) fn igpu(&mut self, section: IgpuSection, machine: &str) -> Option<(Igpu, Passthrough)> {
        self.check_igpu(&section);
        let uuid = |text: &Option<String>| text.as_deref().and_then(|text| Uuid::try_parse(text).ok());
        let (host, create) = if let Some(host) = section.host {
            (LentDevice::Function(host), None)
        } else if let (Some(parent), Some(kind)) = (section.parent, section.kind) {
            let derived = || Uuid::new_v5(&UUID_NAMESPACE, machine.as_bytes());
            let uuid = uuid(&section.uuid).unwrap_or_else(derived);
            (LentDevice::Mediated(uuid), Some(NewMdev { parent, kind }))
        } else {
            (LentDevice::Mediated(uuid(&section.mdev)?), None)
        };
        let mediated = matches!(host, LentDevice::Mediated(_));
        let igpu = Igpu {
            resolution: mediated.then(|| section.resolution.unwrap_or_default()),
            opregion: section.opregion,
            ramfb: section.ramfb,
        };
        let device = Passthrough {
            section: Section::Igpu,
            host,
            create,
            guest: section.guest.or(GUEST),
            root_port: false,
            multifunction: None,
            vendor: None,
            device: None,
            subsystem: None,
            rom: section.rom.relative_to(self.folder()),
            functions: GpuFunctions::Gpu,
            boot_index: None,
            manage: section.manage.unwrap_or_default(),
        };
        Some((igpu, device))
    }

    /// Complains about keys that contradict each other.
    fn check_igpu(&mut self, section: &IgpuSection) {
        let sources = [
            ("mdev", section.mdev.is_some()),
            ("parent", section.parent.is_some()),
            ("host", section.host.is_some()),
        ];
        let given: Vec<&'static str> =
            sources.into_iter().filter_map(|(key, given)| given.then_some(key)).collect();
        let [source] = given[..] else {
            if let [first, second, ..] = given[..] {
                self.problem_with_help(
                    Section::Igpu.key(second),
                    format!("`{first}` and `{second}` both say which GPU it is"),
                    "leave one of them out",
                );
            }
            return;
        };
        if source == "parent" && section.kind.is_none() {
            self.problem_with_help(
                Section::Igpu.key("parent"),
                "`type` is missing, which says what is made from the parent",
                "add `type = \"…\"`; `mdevctl types` lists those that this host offers",
            );
        }
        let about = [
            ("type", "parent", section.kind.is_some() && source != "parent"),
            ("uuid", "parent", section.uuid.is_some() && source != "parent"),
            ("manage", "host", section.manage.is_some() && source != "host"),
        ];
        for (key, owner, _) in about.into_iter().filter(|(.., wrong)| *wrong) {
            self.problem_with_help(
                Section::Igpu.key(key),
                format!("`{key}` belongs to `{owner}`, and this GPU is given by `{source}`"),
                "leave it out",
            );
        }
        if source == "host" && section.resolution.is_some() {
            self.problem_with_help(
                Section::Igpu.key("resolution"),
                "only a virtual GPU of `mdev` or `parent` has a monitor whose resolution can be chosen",
                "leave it out, and choose the resolution in the guest",
            );
        }
        if source != "host" && section.rom == RomSource::Host {
            self.problem_with_help(
                Section::Igpu.key("rom"),
                "a virtual GPU has no ROM of its own",
                "write \"off\" or the path of a file",
            );
        }
    }
}
