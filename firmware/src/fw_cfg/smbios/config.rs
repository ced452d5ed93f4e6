//! What the user and the machine plan say about the machine, and whether tables can hold it.

use uuid::Uuid;

use super::cache::CacheInfo;

/// Longest string in characters. DSP0134 sets no limit since 2.7, but readers have buffers.
const MAX_STRING: usize = 255;

/// Who the machine is. `None` leaves a string out ("Not Specified" to its reader).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct SmbiosConfig {
    /// BIOS Information (type 0); without it the firmware describes itself, as is best.
    pub bios: Option<BiosInfo>,
    /// System Information (type 1).
    pub system: SystemInfo,
    /// Baseboard Information (type 2).
    pub baseboard: BaseboardInfo,
    /// System Enclosure (type 3).
    pub chassis: ChassisInfo,
}

/// BIOS Information (type 0).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct BiosInfo {
    /// Vendor.
    pub vendor: Option<String>,
    /// Version.
    pub version: Option<String>,
    /// Release date, as MM/DD/YYYY.
    pub date: Option<String>,
    /// System BIOS release: major and minor.
    pub release: Option<(u8, u8)>,
    /// It is UEFI firmware.
    pub uefi: bool,
    /// Leave out that this is a virtual machine.
    pub not_virtual: bool,
}

/// System Information (type 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemInfo {
    /// Manufacturer; the baseboard and the chassis take it too unless they have their own.
    pub manufacturer: String,
    /// Product name; the baseboard takes it too unless it has its own.
    pub product: String,
    /// Version.
    pub version: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// UUID of the machine.
    pub uuid: Uuid,
    /// SKU number.
    pub sku: Option<String>,
    /// Family.
    pub family: Option<String>,
}

impl Default for SystemInfo {
    fn default() -> Self {
        Self {
            manufacturer: "optimus-vmm".into(),
            product: "Standard PC (Q35 + ICH9)".into(),
            version: None,
            serial: None,
            uuid: Uuid::nil(),
            sku: None,
            family: None,
        }
    }
}

/// Baseboard Information (type 2).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct BaseboardInfo {
    /// Manufacturer.
    pub manufacturer: Option<String>,
    /// Product.
    pub product: Option<String>,
    /// Version.
    pub version: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// Asset tag.
    pub asset: Option<String>,
}

/// System Enclosure or Chassis (type 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChassisInfo {
    /// Chassis type of DSP0134 table 17: 1 other, 3 desktop, 9 laptop, 10 notebook, 31 convertible, …
    pub kind: u8,
    /// Manufacturer.
    pub manufacturer: Option<String>,
    /// Version.
    pub version: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// Asset tag.
    pub asset: Option<String>,
    /// SKU number.
    pub sku: Option<String>,
}

impl Default for ChassisInfo {
    fn default() -> Self {
        Self { kind: 1, manufacturer: None, version: None, serial: None, asset: None, sku: None }
    }
}

/// The processors, all sockets alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessorInfo {
    /// Sockets, at least 1.
    pub sockets: u16,
    /// Cores in each socket, at least 1.
    pub cores: u16,
    /// Threads of each core, at least 1.
    pub threads: u16,
    /// Processor ID: CPUID leaf 1 EAX in bits 31:0, EDX in bits 63:32.
    pub id: u64,
    /// Manufacturer, as CPUID leaf 0 spells it.
    pub manufacturer: String,
    /// Version, as the CPUID brand string spells it; surrounding white space is dropped.
    pub version: String,
    /// Clock in MHz; 0 if unknown.
    pub mhz: u16,
    /// Caches of each socket, one for each level.
    pub caches: Vec<CacheInfo>,
}

/// The guest's RAM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryInfo {
    /// Ranges of guest-physical addresses: base and length in bytes, each a multiple of 1 MiB.
    pub ranges: Vec<(u64, u64)>,
}

/// A value that no table can hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SmbiosError {
    /// The string would end the structure, or be no string at all.
    #[error("the SMBIOS value {0} must not be empty; leave it out instead")]
    Empty(&'static str),
    /// The string has characters that readers do not expect.
    #[error("the SMBIOS value {field} contains '{}'; only printable ASCII is possible", character.escape_default())]
    Character {
        /// Which value.
        field: &'static str,
        /// The first such character.
        character: char,
    },
    /// The string is too long.
    #[error("the SMBIOS value {field} has {length} characters; at most {MAX_STRING} are possible")]
    TooLong {
        /// Which value.
        field: &'static str,
        /// Its length in characters.
        length: usize,
    },
    /// A number without meaning.
    #[error("the SMBIOS chassis type {0} does not exist: types are 1 to 36")]
    ChassisType(u8),
    /// A date that its readers cannot parse.
    #[error("the SMBIOS BIOS date \"{0}\" must have the form MM/DD/YYYY")]
    Date(String),
    /// No processor, or more than handles.
    #[error("SMBIOS describes 1 to 256 processor sockets with at least one core and thread each")]
    Processors,
    /// Not whole MiB, or none.
    #[error("SMBIOS describes memory in whole MiB: the range of {length:#x} bytes at {base:#x} is not")]
    Memory {
        /// First address.
        base: u64,
        /// Length in bytes.
        length: u64,
    },
    /// More than the entry point can name.
    #[error("the SMBIOS tables are too large")]
    TooLarge,
}

fn check(field: &'static str, value: &str) -> Result<(), SmbiosError> {
    // A string of blanks reads as an empty one with some readers.
    if value.trim().is_empty() {
        return Err(SmbiosError::Empty(field));
    }
    if let Some(character) = value.chars().find(|character| !matches!(character, ' '..='~')) {
        return Err(SmbiosError::Character { field, character });
    }
    match value.len() {
        0..=MAX_STRING => Ok(()),
        length => Err(SmbiosError::TooLong { field, length }),
    }
}

/// Whether text is a date as BIOS Information has it: MM/DD/YYYY.
pub fn is_date(date: &str) -> bool {
    match date.as_bytes() {
        [m0, m1, b'/', d0, d1, b'/', year @ ..] => {
            year.len() == 4 && [m0, m1, d0, d1].into_iter().chain(year).all(u8::is_ascii_digit)
        }
        _ => false,
    }
}

impl SmbiosConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// The first value that no table can hold.
    pub fn validate(&self) -> Result<(), SmbiosError> {
        let Self { bios, system, baseboard, chassis } = self;
        let no_bios = BiosInfo::default();
        let bios = bios.as_ref().unwrap_or(&no_bios);
        check("system manufacturer", &system.manufacturer)?;
        check("system product", &system.product)?;
        let optional = [
            ("BIOS vendor", &bios.vendor),
            ("BIOS version", &bios.version),
            ("BIOS date", &bios.date),
            ("system version", &system.version),
            ("system serial", &system.serial),
            ("system sku", &system.sku),
            ("system family", &system.family),
            ("baseboard manufacturer", &baseboard.manufacturer),
            ("baseboard product", &baseboard.product),
            ("baseboard version", &baseboard.version),
            ("baseboard serial", &baseboard.serial),
            ("baseboard asset", &baseboard.asset),
            ("chassis manufacturer", &chassis.manufacturer),
            ("chassis version", &chassis.version),
            ("chassis serial", &chassis.serial),
            ("chassis asset", &chassis.asset),
            ("chassis sku", &chassis.sku),
        ];
        for (field, value) in optional {
            if let Some(value) = value {
                check(field, value)?;
            }
        }
        if let Some(date) = bios.date.as_ref().filter(|date| !is_date(date)) {
            return Err(SmbiosError::Date(date.clone()));
        }
        match chassis.kind {
            1..=36 => Ok(()),
            kind => Err(SmbiosError::ChassisType(kind)),
        }
    }
}
