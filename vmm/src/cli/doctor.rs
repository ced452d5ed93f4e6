//! The command line of `optimus-vmm doctor`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use vocabulary::HostPciAddress;

use super::parse_seconds;

/// Help on what is done, and on what the numbers mean.
const HELP: &str = "Nothing is changed, no module loaded, and no device that sleeps is woken. Without a vm.toml the host is judged by
whether it can lend its NVIDIA GPU; with one, by what the file asks for, and all that `run` would refuse is told.
docs/doctor.md has each finding.

Exit status:
  0      nothing stands in the way
  2      the command line is wrong
  3      something does; or the host cannot be read, or the archive not written";

/// The arguments of `doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = HELP)]
pub struct DoctorArgs {
    /// The machine that is to run on this host
    #[arg(value_name = "VM.TOML")]
    pub config: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,

    /// Read another host's files below DIR: an unpacked archive of --capture, or a mounted system
    #[arg(long, value_name = "DIR")]
    pub sysroot: Option<PathBuf>,

    /// Write what is read to an archive, for a report: without serial numbers and addresses of network cards
    #[arg(long, value_name = "FILE.tar", conflicts_with_all = ["config", "json"])]
    pub capture: Option<PathBuf>,

    /// Say what a finding is about: what is read, what it means, and what helps
    #[arg(long, value_name = "ID", conflicts_with_all = ["config", "json", "sysroot", "capture"])]
    pub explain: Option<String>,

    /// How long each probe may take
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    pub patience: Duration,

    /// The child's part: the probes to look at
    #[arg(long, hide = true, value_delimiter = ',')]
    pub answer: Vec<String>,

    /// The child's part: the GPU that the vm.toml names
    #[arg(long, hide = true)]
    pub dgpu: Option<HostPciAddress>,
}
