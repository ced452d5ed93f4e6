//! The command line of `optimus-vmm host`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use vocabulary::HostPciAddress;

use super::parse_seconds;

/// The arguments of `host`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct HostArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub command: HostCommand,
}

impl HostArgs {
    /// Whether the answer is for programs.
    pub fn json(&self) -> bool {
        matches!(&self.command, HostCommand::Status(HostStatusArgs { json: true, .. }))
    }
}

/// What to do with the host.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum HostCommand {
    /// Make the host ready for good: modules, initramfs, rights, kernel parameters
    Setup(HostSetupArgs),
    /// Take back what `host setup` has made, byte for byte
    Undo(HostUndoArgs),
    /// Show what `host setup` has made, whether it still holds, and what is lent now
    Status(HostStatusArgs),
    /// Bind devices to vfio-pci until `host release` or a reboot
    Bind(HostBindArgs),
    /// Give back to their drivers what `host bind` has bound
    Release(HostReleaseArgs),
}

/// Help on what `host setup` does, and on what the numbers mean.
const SETUP_HELP: &str = "Each change is on record in /var/lib/optimus-vmm-host before it is made, and `host undo` takes all of them back, also after
a kill at any moment. docs/host-setup.md has the files and the commands of each distribution.

Exit status:
  0      it is done, or was before
  2      the command line or the vm.toml is wrong
  3      something is in the way, or a command failed: the message says what to do";

/// When a device comes to vfio-pci.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BindWhen {
    /// When the host boots, before its own driver sees it: it is for guests only
    Boot,
    /// At the start of a machine (`manage = true`) or by `host bind`: the host may use it meanwhile
    Run,
}

/// The arguments of `host setup`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = SETUP_HELP)]
pub struct HostSetupArgs {
    /// The machine whose devices the host is to lend; without one, the NVIDIA GPU
    #[arg(value_name = "VM.TOML")]
    pub config: Option<PathBuf>,

    /// Print each file with its contents and each command, and change nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Do not ask
    #[arg(long)]
    pub yes: bool,

    /// When devices come to vfio-pci [default: boot for those of a vm.toml with `manage = false` and for a GPU without a
    /// vm.toml, unless it drives a screen]
    #[arg(long, value_name = "WHEN", value_enum)]
    pub bind: Option<BindWhen>,

    /// Whose members may open VFIO and lock memory
    #[arg(long, value_name = "GROUP", default_value = "kvm")]
    pub group: String,

    /// The root directory of the system that is set up; commands run in it by chroot(8)
    #[arg(long, visible_alias = "sysroot", value_name = "DIR", default_value = "/")]
    pub root: PathBuf,

    /// How long each command may take
    #[arg(long, value_name = "SECONDS", default_value = "1800", value_parser = parse_seconds)]
    pub patience: Duration,
}

/// The arguments of `host undo`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct HostUndoArgs {
    /// Leave files as they are that were changed since, and take back the rest
    #[arg(long)]
    pub keep_changed: bool,

    /// The root directory of the system
    #[arg(long, visible_alias = "sysroot", value_name = "DIR", default_value = "/")]
    pub root: PathBuf,

    /// How long each command may take
    #[arg(long, value_name = "SECONDS", default_value = "1800", value_parser = parse_seconds)]
    pub patience: Duration,
}

/// Help on what the numbers that `host status` ends with mean.
const STATUS_HELP: &str = "Exit status:
  0      nothing was set up, or all of it holds
  1      a file was changed or is gone, or a setup or undo was cut short
  3      the record cannot be read";

/// The arguments of `host status`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = STATUS_HELP)]
pub struct HostStatusArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,

    /// The root directory of the system
    #[arg(long, visible_alias = "sysroot", value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
}

/// The arguments of `host bind`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct HostBindArgs {
    /// PCI functions, as `lspci -D` shows them, such as 0000:01:00.0. The other functions of a display controller's slot go along
    #[arg(value_name = "DEVICE", required = true)]
    pub devices: Vec<HostPciAddress>,
}

/// The arguments of `host release`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct HostReleaseArgs {
    /// PCI functions; all that were bound together are given back together
    #[arg(value_name = "DEVICE", required = true)]
    pub devices: Vec<HostPciAddress>,
}
