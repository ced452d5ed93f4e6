//! The command line of `optimus-vmm vbios`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use vocabulary::HostPciAddress;

/// Help on what the numbers that `vbios` ends with mean.
const EXIT_STATUS: &str = "Exit status:
  0      the ROM is intact, and fits --device if given
  2      the command line or the file is wrong, or the ROM must not be used (the output says why)
  3      the output cannot be written";

/// The arguments of `vbios`.
#[derive(Debug, Args)]
pub struct VbiosArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub command: VbiosCommand,
}

impl VbiosArgs {
    /// Whether the answer is for programs.
    pub fn json(&self) -> bool {
        matches!(&self.command, VbiosCommand::Info(InfoArgs { json: true, .. }))
    }
}

/// What to do with a video BIOS.
#[derive(Debug, Subcommand)]
pub enum VbiosCommand {
    /// Show every image of a ROM file, and whether it fits a GPU
    Info(InfoArgs),
    /// Find every video ROM in a BIOS update, an archive or a dump of the flash chip, and write each to a file
    Find(FindArgs),
    /// Read the video BIOS of a GPU of this host
    Dump(DumpArgs),
}

/// The arguments of `vbios info`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = EXIT_STATUS)]
pub struct InfoArgs {
    /// The ROM file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// The GPU that it must be for, such as 10de:1c8d, as `lspci -n` shows it
    #[arg(long, value_name = "VENDOR:DEVICE")]
    pub device: Option<DeviceId>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Help on what the numbers that `vbios find` ends with mean.
const FIND_EXIT_STATUS: &str = "Exit status:
  0      at least one ROM was found, and all of the file was looked at
  2      none was found (the output says where else to look), not all was looked at,
         or a file is in the way
  3      a ROM cannot be written

Files are named by the IDs of the GPU: vbios_10de_1c8d.rom. Inno Setup installers, programs packed
with UPX and cabinets of LZX are opened with innoextract, upx and cabextract where these are
installed. Of a folder, all files are searched, and a table of them ends the output.";

/// The arguments of `vbios find`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = FIND_EXIT_STATUS)]
pub struct FindArgs {
    /// Where to look: a file, or a folder with files
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Where to write the ROMs
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub output: PathBuf,

    /// Replace files of the same name that hold something else
    #[arg(long)]
    pub force: bool,
}

/// Help on what the numbers that `vbios dump` ends with mean.
const DUMP_EXIT_STATUS: &str = "Exit status:
  0      the ROM was read, is intact and for this GPU, and was written
  2      the command line is wrong, or a file is in the way
  3      there is no such GPU, no source gives its ROM (the message says why each does not),
         or the ROM cannot be written

Tried are, one after the other, the ROM BAR by way of sysfs, the EEPROM of NVIDIA's GPUs by way of
VFIO (which takes a GPU that is bound to vfio-pci), and the host's ACPI method _ROM by way of the
kernel module acpi_call. The first and the last take root.";

/// The arguments of `vbios dump`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = DUMP_EXIT_STATUS)]
pub struct DumpArgs {
    /// The GPU, as `lspci -D` shows it, such as 0000:01:00.0
    #[arg(long, value_name = "ADDRESS")]
    pub host: HostPciAddress,

    /// Where to write the ROM [default: vbios_VENDOR_DEVICE.rom]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Replace a file that holds something else
    #[arg(long)]
    pub force: bool,
}

/// Vendor and device ID of a PCI function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceId {
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor, self.device)
    }
}

/// A text is no pair of IDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write vendor and device ID as four hexadecimal digits each, such as 10de:1c8d")]
pub struct ParseDeviceIdError;

impl FromStr for DeviceId {
    type Err = ParseDeviceIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = |digits: &str| match digits.len() {
            4 if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
                u16::from_str_radix(digits, 16).ok()
            }
            _ => None,
        };
        let (vendor, device) = text.split_once(':').ok_or(ParseDeviceIdError)?;
        match (id(vendor), id(device)) {
            (Some(vendor), Some(device)) => Ok(Self { vendor, device }),
            _ => Err(ParseDeviceIdError),
        }
    }
}
