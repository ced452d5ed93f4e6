//! The `[smbios]` section: what the machine says it is.
//!
//! The strings are those of the SMBIOS reference specification (DMTF DSP0134) 3.x: type 0 (§7.1), type 1
//! (§7.2), type 2 (§7.3) and type 3 (§7.4).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vocabulary::printable::shorten;
use vocabulary::scalar::{Complaint, wrong_kind};
use vocabulary::{Scalar, inline_schema};

/// What the machine calls itself in its SMBIOS tables. An empty string is "not specified".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Smbios {
    /// Take over what this host's firmware calls the machine (`/sys/class/dmi/id`): all values of this section but serial
    /// numbers, as far as the host has them. Keys that are written here win. `optimus-vmm plan` shows what is taken over.
    pub mirror_host: bool,
    /// Take over the host's serial numbers, and its UUID unless `uuid` is written, too. Only root may read them. Who knows them
    /// can recognise this very computer.
    pub mirror_serials: bool,
    /// System manufacturer (type 1).
    #[schemars(extend("format" = "smbios-string"))]
    pub manufacturer: String,
    /// System product name (type 1).
    #[schemars(extend("format" = "smbios-string"))]
    pub product: String,
    /// System version (type 1).
    #[schemars(extend("format" = "smbios-string"))]
    pub version: String,
    /// System serial number (type 1).
    #[schemars(extend("format" = "smbios-string"))]
    pub serial: String,
    /// System SKU number (type 1).
    #[schemars(extend("format" = "smbios-string"))]
    pub sku: String,
    /// System family (type 1).
    #[schemars(extend("format" = "smbios-string"))]
    pub family: String,
    /// Kind of enclosure (type 3): a number from 1 to 36 or its name, such as `"desktop"` (3), `"laptop"` (9)
    /// or `"notebook"` (10). A machine with a `[dgpu]` is a notebook unless this is given
    /// or the host's.
    pub chassis_type: ChassisType,
    /// Chassis manufacturer (type 3); `manufacturer` if this is empty.
    #[schemars(extend("format" = "smbios-string"))]
    pub chassis_manufacturer: String,
    /// Chassis version (type 3).
    #[schemars(extend("format" = "smbios-string"))]
    pub chassis_version: String,
    /// Chassis serial number (type 3); `serial` if this is empty.
    #[schemars(extend("format" = "smbios-string"))]
    pub chassis_serial: String,
    /// Chassis asset tag (type 3).
    #[schemars(extend("format" = "smbios-string"))]
    pub chassis_asset: String,
    /// Baseboard manufacturer (type 2); `manufacturer` if this is empty.
    #[schemars(extend("format" = "smbios-string"))]
    pub board_manufacturer: String,
    /// Baseboard product name (type 2); `product` if this is empty.
    #[schemars(extend("format" = "smbios-string"))]
    pub board_product: String,
    /// Baseboard version (type 2).
    #[schemars(extend("format" = "smbios-string"))]
    pub board_version: String,
    /// Baseboard serial number (type 2).
    #[schemars(extend("format" = "smbios-string"))]
    pub board_serial: String,
    /// Baseboard asset tag (type 2).
    #[schemars(extend("format" = "smbios-string"))]
    pub board_asset: String,
    /// Firmware vendor (type 0). While this, `bios_version` and `bios_date` are all empty, the firmware
    /// describes itself.
    #[schemars(extend("format" = "smbios-string"))]
    pub bios_vendor: String,
    /// Firmware version (type 0).
    #[schemars(extend("format" = "smbios-string"))]
    pub bios_version: String,
    /// Firmware release date (type 0), as `MM/DD/YYYY`.
    #[schemars(extend("format" = "smbios-string"))]
    pub bios_date: String,
}

impl Default for Smbios {
    fn default() -> Self {
        Self {
            mirror_host: false,
            mirror_serials: false,
            manufacturer: "optimus-vmm".into(),
            product: "Q35".into(),
            version: String::new(),
            serial: String::new(),
            sku: String::new(),
            family: String::new(),
            chassis_type: ChassisType(1),
            chassis_manufacturer: String::new(),
            chassis_version: String::new(),
            chassis_serial: String::new(),
            chassis_asset: String::new(),
            board_manufacturer: String::new(),
            board_product: String::new(),
            board_version: String::new(),
            board_serial: String::new(),
            board_asset: String::new(),
            bios_vendor: String::new(),
            bios_version: String::new(),
            bios_date: String::new(),
        }
    }
}

impl Smbios {
    /// Whether the user describes the firmware, so that a type 0 structure is due.
    pub fn describes_bios(&self) -> bool {
        !(self.bios_vendor.is_empty() && self.bios_version.is_empty() && self.bios_date.is_empty())
    }
}

/// The names of the chassis types 1 to 36 in order (DSP0134 §7.4.1).
const CHASSIS_NAMES: [&str; 36] = [
    "other",
    "unknown",
    "desktop",
    "low-profile-desktop",
    "pizza-box",
    "mini-tower",
    "tower",
    "portable",
    "laptop",
    "notebook",
    "hand-held",
    "docking-station",
    "all-in-one",
    "sub-notebook",
    "space-saving",
    "lunch-box",
    "main-server-chassis",
    "expansion-chassis",
    "sub-chassis",
    "bus-expansion-chassis",
    "peripheral-chassis",
    "raid-chassis",
    "rack-mount-chassis",
    "sealed-case-pc",
    "multi-system-chassis",
    "compact-pci",
    "advanced-tca",
    "blade",
    "blade-enclosure",
    "tablet",
    "convertible",
    "detachable",
    "iot-gateway",
    "embedded-pc",
    "mini-pc",
    "stick-pc",
];

/// The kind of enclosure of SMBIOS type 3: 1 to 36.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub struct ChassisType(u8);

impl ChassisType {
    pub const FORMAT: &str = "chassis-type";
    pub const EXPECTED: &str = "a chassis type from 1 to 36 or its name, such as \"laptop\"";

    /// A notebook.
    pub const NOTEBOOK: Self = Self(10);

    /// The byte of the SMBIOS structure, without the chassis lock bit.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Whether a person carries the machine: portable, laptop, notebook, hand held, sub-notebook, tablet, convertible,
    /// detachable.
    pub const fn is_portable(self) -> bool {
        matches!(self.0, 8..=11 | 14 | 30..=32)
    }

    /// The name by which `vm.toml` knows the type.
    pub fn name(self) -> &'static str {
        CHASSIS_NAMES.get(usize::from(self.0).wrapping_sub(1)).copied().unwrap_or("unknown")
    }
}

impl TryFrom<Scalar> for ChassisType {
    type Error = Complaint;

    fn try_from(value: Scalar) -> Result<Self, Complaint> {
        match value {
            Scalar::Integer(number) => u8::try_from(number)
                .ok()
                .filter(|number| (1..=36).contains(number))
                .map(Self)
                .ok_or_else(|| format!("{number} is no chassis type: they go from 1 to 36")),
            Scalar::Text(text) => (1..=36_u8)
                .zip(CHASSIS_NAMES)
                .find(|(_, name)| *name == text)
                .map(|(number, _)| Self(number))
                .ok_or_else(|| match crate::config::reading::suggest::closest(&text, CHASSIS_NAMES) {
                    Some(name) => {
                        format!("\"{}\" is no chassis type: did you mean \"{name}\"?", shorten(&text))
                    }
                    None => format!("\"{}\" is no chassis type: write {}", shorten(&text), Self::EXPECTED),
                }),
            other @ Scalar::Bool(_) => Err(wrong_kind(Self::EXPECTED, &other)),
        }
    }
}

impl From<ChassisType> for Scalar {
    fn from(chassis: ChassisType) -> Self {
        Self::Text(chassis.name().into())
    }
}

inline_schema!(ChassisType, {
    "format": Self::FORMAT,
    "anyOf": [
        { "type": "integer", "minimum": 1, "maximum": 36 },
        { "enum": CHASSIS_NAMES.as_slice() },
    ],
});
