//! The command line of `optimus-vmm init`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use vocabulary::{ByteSize, HostPciAddress};

use super::parse_seconds;
use super::vbios::DeviceId;

/// Help on what is done, and on what the numbers mean.
const HELP: &str = "The host is read as by `optimus-vmm doctor`, and nothing of it is changed. What cannot be read is asked on the terminal,
before anything is written; --yes takes the defaults. A disk image that exists is used as it is.
docs/init.md tells what is chosen, and why.

Exit status:
  0      the file is written; the last line names the next command
  2      the command line or an answer is wrong, a file is in the way, or there is nobody to ask
  3      the host cannot be read, or a file cannot be written";

/// The arguments of `init`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = HELP)]
pub struct InitArgs {
    /// The file to write; the machine is called by its name
    #[arg(value_name = "VM.TOML", default_value = "vm.toml")]
    pub config: PathBuf,

    /// Ask nothing, and take the defaults for what no option says
    #[arg(short, long)]
    pub yes: bool,

    /// Replace a vm.toml that exists (never a disk)
    #[arg(long)]
    pub force: bool,

    /// What will run in the machine
    #[arg(long, value_enum)]
    pub os: Option<GuestOs>,

    /// The image of the disc to install from
    #[arg(long, value_name = "FILE.iso")]
    pub iso: Option<PathBuf>,

    /// The disk image: made if it does not exist, raw (.raw, .img) or by qemu-img (.qcow2)
    #[arg(long, value_name = "FILE")]
    pub disk: Option<PathBuf>,

    /// Size of the disk that is made, such as 80G; it takes up space only as the guest writes
    #[arg(long, value_name = "SIZE")]
    pub disk_size: Option<ByteSize>,

    /// Guest memory, such as 8G, in place of what suits the host
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<ByteSize>,

    /// The guest's cores, in place of what suits the host
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=255))]
    pub cores: Option<u32>,

    /// The GPU to pass through, such as 0000:01:00.0, or none; by default the first of NVIDIA's
    #[arg(long, value_name = "ADDRESS|none")]
    pub gpu: Option<GpuChoice>,

    /// The laptop's subsystem, such as 17aa:39d1, where the GPU names none
    #[arg(long, value_name = "VENDOR:DEVICE")]
    pub subsystem: Option<DeviceId>,

    /// The GPU's video BIOS, in place of one that lies beside the file
    #[arg(long, value_name = "FILE.rom")]
    pub vbios: Option<PathBuf>,

    /// Write for another host, whose files are below DIR: an unpacked archive of `doctor --capture`, or a mounted system
    #[arg(long, value_name = "DIR")]
    pub sysroot: Option<PathBuf>,

    /// How long each look at the host may take
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    pub patience: Duration,
}

/// What runs in a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GuestOs {
    /// Windows 10 or 11
    Windows,
    /// Linux
    Linux,
    /// Anything else
    Other,
}

/// Which GPU is passed through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GpuChoice {
    /// None.
    None,
    /// That at this address of the host.
    At(HostPciAddress),
}

impl FromStr for GpuChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            address => {
                let wrong = |error| format!("{error}; `none` passes no GPU through");
                address.parse().map(Self::At).map_err(wrong)
            }
        }
    }
}
