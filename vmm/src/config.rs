//! The configuration of a virtual machine: `vm.toml` (TOML 1.0), read strictly.
//!
//! A file goes through three stages, each of which reports everything it finds:
//!
//! 1. syntax: the TOML parser, with recovery;
//! 2. shape (`shape`): unknown and missing keys and wrong values, by the JSON schema of `file`;
//! 3. meaning (`resolve`): what values must have to do with each other, defaults, relative paths.
//!
//! The result is a [`Config`] of plain values. What can only be known from the host or from the whole
//! machine (whether files exist, whether PCI addresses collide) is left to the machine plan and to the
//! devices, who point at the lines of the file through [`Config::origin`].

mod error;
mod file;
mod overrides;
mod reading;
mod resolve;
mod sections;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use ::firmware::input::{self, InputError};
use toml::de::DeTable;
use uuid::Uuid;
use vocabulary::{ConsoleSpec, LentDevice, PciAddress};

use self::reading::{schema as written_schema, shape, syntax};
use crate::device::Devices;
use crate::finding::{Finding, Findings, Key, Origin};

pub use error::ConfigError;
pub use overrides::Overrides;
pub(crate) use reading::text::{check_name, check_smbios, check_uuid};
pub use sections::control::ControlSpec;
pub use sections::cpu::{CpuIdentity, Os, UnknownMsrs};
pub use sections::firmware::FirmwareKind;
pub(crate) use sections::firmware_paths::{files as firmware_files, installed as installed_firmware};
pub use sections::host::{HostSection, OnSleep, PageSource};
pub use sections::hyperv::Hyperv;
pub use sections::igpu::Igpu;
pub use sections::kernel::{Boot, Kernel};
pub use sections::machine::{Action, Machine, Rtc, RtcTickPolicy};
pub use sections::passthrough::{GpuFunctions, Passthrough, RomSource};
pub use sections::scheduling::{Pin, Scheduling};
pub use sections::smbios::{ChassisType, Smbios};

/// A virtual machine as the user wants it. Paths are absolute, or as resolved as the file's own path is.
#[derive(Debug, Clone)]
pub struct Config {
    /// The machine's name: ASCII letters, digits, `.`, `_`, `-`; at most 63 bytes.
    pub name: String,
    /// The machine's UUID.
    pub uuid: Uuid,
    /// Memory, clock, and what ends the machine.
    pub machine: Machine,
    /// The processors.
    pub cpu: Cpu,
    /// What they say of themselves.
    pub identity: CpuIdentity,
    /// Where and how the host runs them.
    pub scheduling: Scheduling,
    /// What is changed on the host for the time of a run.
    pub host: HostSection,
    /// The firmware's files; `None` where a kernel starts without firmware.
    pub firmware: Option<Firmware>,
    /// SMBIOS strings.
    pub smbios: Smbios,
    /// Disks and all other optional devices that are models of ours.
    pub devices: Devices,
    /// PCIe root ports in the order of the file.
    pub root_ports: Vec<RootPort>,
    /// Passed-through devices: those of `[dgpu]` and `[igpu]`, then those of `[[vfio]]` in the order of the file.
    pub passthrough: Vec<Passthrough>,
    /// What is special about the device of `[igpu]`.
    pub igpu: Option<Igpu>,
    /// The user's fw_cfg items in the order of the file.
    pub fw_cfg: Vec<FwCfgItem>,
    /// The user's ACPI tables in the order of the file.
    pub acpi_tables: Vec<PathBuf>,
    /// Where COM1 leads.
    pub serial: ConsoleSpec,
    /// Where the firmware's debug port leads.
    pub debugcon: ConsoleSpec,
    /// The kernel that is started, if the firmware is not to boot from a disk.
    pub kernel: Option<Kernel>,
    /// Where the values come from.
    pub origin: Origin,
}

/// The processors. The product of the three is the number of vCPUs, 1 to 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpu {
    /// Processor packages.
    pub sockets: u32,
    /// Cores in each socket.
    pub cores: u32,
    /// Hardware threads of each core.
    pub threads: u32,
    /// Width of guest physical addresses in bits (36 to 52); `None` is the host's.
    pub phys_bits: Option<u8>,
}

impl Cpu {
    /// The number of vCPUs.
    pub const fn count(self) -> u32 {
        self.sockets.saturating_mul(self.cores).saturating_mul(self.threads)
    }
}

/// The firmware's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firmware {
    /// What the code image is.
    pub kind: FirmwareKind,
    /// The code image.
    pub code: PathBuf,
    /// This machine's variables; not used by a raw image.
    pub vars: PathBuf,
    /// What the variables are made from at the first run; `None` if neither the file nor the name of the
    /// code image tells.
    pub vars_template: Option<PathBuf>,
}

/// A PCIe root port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootPort {
    /// Its own address, on bus 0.
    pub address: PciAddress,
}

/// A fw_cfg item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FwCfgItem {
    /// Its name: `opt/…`, at most 55 bytes of printable ASCII.
    pub name: String,
    /// Its content.
    pub content: FwCfgContent,
}

/// Where the content of a fw_cfg item is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FwCfgContent {
    /// Here.
    Bytes(Vec<u8>),
    /// In this file.
    File(PathBuf),
}

impl Config {
    /// The devices of the host to pass through.
    pub fn lent_devices(&self) -> impl Iterator<Item = LentDevice> + Clone {
        self.passthrough.iter().map(|device| device.host)
    }

    /// Whether it names USB devices of the host.
    pub fn wants_usb_devices(&self) -> bool {
        self.devices.one::<crate::device::UsbHost>().is_some_and(|host| !host.wanted.is_empty())
    }

    /// Where the value of a key is written, if it is in the file: `config.locate(Section::Disk(1).key("address"))`.
    #[cfg(test)]
    pub fn locate(&self, key: impl Into<Key>) -> Option<crate::finding::Location> {
        self.origin.locate(key)
    }

    /// A problem with the value of a key, to be reported with the line of the file.
    pub fn problem(&self, key: impl Into<Key>, message: impl Into<String>) -> Finding {
        self.origin.problem(key, message)
    }
}

/// Longest configuration that is read.
const LONGEST: u64 = 1 << 20;

/// Reads a configuration file, of which the command line replaces some values.
///
/// # Errors
/// The file cannot be read, or it is wrong, or the replaced values are.
pub fn load(path: &Path, overrides: &Overrides) -> Result<Config, ConfigError> {
    let failed = |source: io::Error| ConfigError::Read { path: path.into(), source };
    let bytes = match input::read(path, LONGEST) {
        Err(InputError::TooLarge { .. }) => {
            let why = "it is longer than 1 MiB and cannot be a configuration";
            return Err(failed(io::Error::new(io::ErrorKind::InvalidData, why)));
        }
        read => read.map_err(|error| failed(error.into()))?,
    };
    let text = match str::from_utf8(&bytes) {
        Ok(text) => text,
        Err(error) => {
            let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = good.iter().filter(|byte| **byte == b'\n').count().saturating_add(1);
            let why = format!("line {line} is not UTF-8 text");
            return Err(failed(io::Error::new(io::ErrorKind::InvalidData, why)));
        }
    };
    parse_with(text, path, overrides)
}

/// Parses the text of a configuration. `path` names the file: for messages, for the default name, and for
/// the folder that relative paths start from.
///
/// # Errors
/// The text is wrong.
#[cfg(test)]
pub fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
    parse_with(text, path, &Overrides::default())
}

/// [`parse`] with values that the command line replaces.
///
/// # Errors
/// The text or the replaced values are wrong.
pub fn parse_with(text: &str, path: &Path, overrides: &Overrides) -> Result<Config, ConfigError> {
    Ok(parse_on(text, path, overrides, &Path::exists)?)
}

/// [`parse_with`] on a host that has the files that `exists` says.
pub(crate) fn parse_on(
    text: &str,
    path: &Path,
    overrides: &Overrides,
    exists: &dyn Fn(&Path) -> bool,
) -> Result<Config, Findings> {
    let mut origin = Origin::new(path, text);

    let (document, errors) = DeTable::parse_recoverable(text);
    let mut problems: Vec<Finding> = Vec::new();
    let mut lines = HashSet::new();
    for error in errors {
        let span = error.span().unwrap_or_default();
        let (message, help) = syntax::explain(error.message(), text.get(span.clone()).unwrap_or_default());
        let mut problem = origin.problem_at(&span, message);
        if let Some(help) = help {
            problem = problem.with_help(help);
        }
        // Recovery inside a broken line reports its consequences as well, and not always next to each other.
        if lines.insert(problem.line()) {
            problems.push(problem);
        }
    }
    Findings::check(problems)?;

    Findings::check(shape::check(&document, &mut origin))?;

    // The shape check leaves serde nothing to find; should it find something all the same, that is told.
    let file: file::VmFile = toml::from_str(text).map_err(|error| {
        Findings::from(origin.problem_at(&error.span().unwrap_or_default(), error.message()))
    })?;
    resolve::resolve(file, path, overrides, origin, exists)
}

/// Whether a text is a configuration, on a host that has the firmware.
///
/// # Errors
/// It is wrong.
pub fn check_text(text: &str, path: &Path) -> Result<(), Findings> {
    parse_on(text, path, &Overrides::default(), &|_| true).map(drop)
}

/// The JSON schema of `vm.toml` (draft 2020-12).
pub fn schema() -> String {
    let mut text = format!("{:#}", written_schema::value());
    text.push('\n');
    text
}
