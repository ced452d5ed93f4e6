//! The command line of `optimus-vmm vbios`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};

/// Help on what the numbers that `vbios` ends with mean.
const EXIT_STATUS: &str = "Exit status:
  0      the ROM is intact, and fits --device if given
  2      the command line or the file is wrong, or the ROM must not be used (the message says why)
  3      the host is in the way";

/// The arguments of `vbios`.
#[derive(Debug, Args)]
pub struct VbiosArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub command: VbiosCommand,
}

/// What to do with a video BIOS.
#[derive(Debug, Subcommand)]
pub enum VbiosCommand {
    /// Show every image of a ROM file, and whether it fits a GPU
    Info(InfoArgs),
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
