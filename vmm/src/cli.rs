//! The command line of `optimus-vmm`: its subcommands and options, and what they mean.
//!
//! Only definitions and pure conversions live here; nothing is opened or run. A wrong command line ends
//! with status 2 (clap's own), the status of a wrong configuration.

mod advice;
mod bench;
mod ctl;
mod doctor;
mod explain;
mod host;
mod init;
mod script;
#[cfg(test)]
mod tests;
mod vbios;

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PathBufValueParser, TypedValueParser as _};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use vocabulary::{ByteSize, ConsoleSpec};

use crate::config::{ControlSpec, Overrides};
use crate::watch::Pattern;

pub use bench::{BenchArgs, DeviceAddress, ElsewhereArgs, StartArgs};
pub use ctl::{
    Awaited, Chord, CtlArgs, CtlCommand, DiscAction, DiskAction, GrabAction, LinkAction, MouseAction,
    PointerButton, UsbAction, UsbDeviceArgs, UsbName,
};
pub use doctor::DoctorArgs;
pub use explain::{Code43Args, ExplainCommand};
pub use host::{BindWhen, HostArgs, HostCommand, HostSetupArgs, HostUndoArgs};
pub use init::{GpuChoice, GuestOs, InitArgs};
pub use script::Script;
pub use vbios::{DeviceId, DumpArgs, FindArgs, InfoArgs, VbiosArgs, VbiosCommand};

/// Boot UEFI guests with stock OVMF on a Q35 machine.
#[derive(Debug, Parser)]
#[command(name = "optimus-vmm", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// Tell more: -v what is done, -vv what the guest does, -vvv everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,

    /// Append messages to FILE instead of standard error
    #[arg(long, global = true, value_name = "FILE")]
    pub log: Option<PathBuf>,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// The command line of this process.
    ///
    /// # Errors
    ///
    /// It is wrong, or asks for help or the version.
    pub fn of_process() -> Result<Self, clap::Error> {
        Self::try_parse().map_err(|error| {
            let words: Vec<_> =
                std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
            advice::advise(error, &words)
        })
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the virtual machine that a vm.toml describes
    Run(Box<RunArgs>),
    /// Show the machine that a vm.toml describes, its conflicts, and what is wrong with its files, without opening /dev/kvm
    Plan(PlanArgs),
    /// Measure latencies of a machine and of its device from inside the guest
    Bench(BenchArgs),
    /// Measure with the guest of `bench` in another program's machine
    #[command(hide = true)]
    BenchElsewhere(ElsewhereArgs),
    /// Start the machine of `bench` once, and print what happened when
    #[command(hide = true)]
    BenchStart(StartArgs),
    /// Look at the ACPI tables of a machine
    Acpi {
        /// What to do with them.
        #[command(subcommand)]
        command: AcpiCommand,
    },
    /// Control a running machine, or list those that run
    Ctl(CtlArgs),
    /// Say why a guest's driver may refuse a device
    Explain {
        /// What to explain.
        #[command(subcommand)]
        command: ExplainCommand,
    },
    /// Say what of this host stands in the way of a machine, and how to mend it
    Doctor(Box<DoctorArgs>),
    /// Write a commented vm.toml for this laptop, and make the machine's disk
    Init(Box<InitArgs>),
    /// Make this host ready to lend devices, and take that back
    Host(Box<HostArgs>),
    /// Print the JSON schema of vm.toml
    Schema,
    /// Look into a GPU's video BIOS, find it in a BIOS update, or read it from the GPU
    Vbios(VbiosArgs),
}

/// Help on what the numbers that `run` ends with mean.
const EXIT_STATUS: &str = "Exit status:
  0      the guest powered itself off, or all of --expect was seen
  2      the configuration or the command line is wrong
  3      the host is not ready, or something else has the place of a passed-through
         device (the message says what to do)
  4      --timeout ran out
  5      the guest crashed, or --fail-on was seen
  6      a device or the host failed while the guest was running
  128+N  ended by signal N, because the guest did not power off in time

SIGINT and SIGTERM press the guest's power button; after the grace period of [machine],
or at another signal a second later or more, the machine ends.";

/// The arguments of `run`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_STATUS)]
pub struct RunArgs {
    /// The machine's configuration
    #[arg(value_name = "VM.TOML")]
    pub config: PathBuf,

    /// Start this Linux kernel, in place of `kernel.image`
    #[arg(long, value_name = "FILE", help_heading = "Instead of vm.toml")]
    pub kernel: Option<PathBuf>,

    /// Initial RAM disk of the kernel, in place of `kernel.initrd`
    #[arg(long, value_name = "FILE", help_heading = "Instead of vm.toml")]
    pub initrd: Option<PathBuf>,

    /// Command line of the kernel, in place of the whole `kernel.cmdline`
    #[arg(long, value_name = "STRING", allow_hyphen_values = true, help_heading = "Instead of vm.toml")]
    pub append: Option<String>,

    /// Start the kernel without firmware, in place of `kernel.boot`
    #[arg(long, help_heading = "Instead of vm.toml")]
    pub direct: bool,

    /// Guest memory such as 2G, in place of `machine.memory`
    #[arg(long, value_name = "SIZE", help_heading = "Instead of vm.toml")]
    pub memory: Option<ByteSize>,

    /// Where the serial port leads: stdio, file:PATH, unix:PATH, pty or none
    #[arg(long, value_name = "SPEC", help_heading = "Instead of vm.toml")]
    pub serial: Option<ConsoleSpec>,

    /// Where the firmware's debug port leads: stdio, file:PATH, unix:PATH, pty or none
    #[arg(long, value_name = "SPEC", help_heading = "Instead of vm.toml")]
    pub debugcon: Option<ConsoleSpec>,

    /// `none` leaves all `[[net]]` sections out
    #[arg(long, value_name = "none", value_enum, help_heading = "Instead of vm.toml")]
    pub net: Option<NoNet>,

    /// The control socket: auto, on, off or unix:PATH, in place of `machine.control`
    #[arg(long, value_name = "SPEC", help_heading = "Instead of vm.toml")]
    pub control: Option<ControlSpec>,

    /// Leave standard input and the terminal alone: the serial port only writes to standard output, and Ctrl-C
    /// presses the power button
    #[arg(long, help_heading = "Scripted runs")]
    pub headless: bool,

    /// Return when the machine runs, with status 0, and leave it in the background: for `ctl`, without the terminal, its
    /// messages in the file of --log or in one that is told
    #[arg(long, conflicts_with_all = ["expect", "send", "fail_on"])]
    pub detach: bool,

    /// End the machine after so many seconds with status 4
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, help_heading = "Scripted runs")]
    pub timeout: Option<Duration>,

    /// What is waited for on the serial port, and answered.
    #[command(flatten)]
    pub script: Script,

    /// Fail as soon as this regular expression appears on the serial port; may be repeated
    #[arg(long, value_name = "REGEX", allow_hyphen_values = true, help_heading = "Scripted runs")]
    pub fail_on: Vec<Pattern>,

    /// Write what the guest's screen shows to FILE, as PNG: when all of --expect was seen, or else at the end.
    /// The machine has a screen even without [display]
    #[arg(long, value_name = "FILE.png", value_parser = PathBufValueParser::new().try_map(png), help_heading = "Scripted runs")]
    pub screenshot: Option<PathBuf>,

    /// Write what happens to FILE, as JSON lines with monotonic nanoseconds
    #[arg(long, value_name = "FILE", help_heading = "Scripted runs")]
    pub events: Option<PathBuf>,
}

/// The arguments of `plan`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct PlanArgs {
    /// The machine's configuration
    #[arg(value_name = "VM.TOML")]
    pub config: PathBuf,

    /// Plan for whatever host: look neither at this one's devices, files, CPUs and clock nor at its KVM, and leave open what depends on them
    #[arg(long)]
    pub offline: bool,

    /// Print instead what CPUID says in the guest on this host, all of it as `cpuid -r` does, or what is different from
    /// the host's
    #[arg(long, value_name = "VIEW", num_args = 0..=1, require_equals = true, default_missing_value = "guest", conflicts_with = "offline")]
    pub cpuid: Option<CpuidView>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What is shown of CPUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CpuidView {
    /// All of the guest's, vCPU by vCPU
    Guest,
    /// What the first vCPU has different from the host's processor
    Diff,
}

/// What to do with ACPI tables.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum AcpiCommand {
    /// Write the tables that the guest of a vm.toml would get, without running it
    Dump(AcpiDumpArgs),
}

/// Help on what `acpi dump` cannot know.
const DUMP_LIMITS: &str =
    "The firmware has a say in the tables, and is not asked here. They are written as if it had put
the PCIe configuration window (ECAM) at 0xE0000000, as OVMF since 2023 does, and its PCI
window where OVMF puts it on this host's processor, with nothing in it yet. Addresses of
other tables (FACS and DSDT in the FADT, the image in the SSDT with _ROM) are offsets
into the blobs that the firmware loads. RSDP, RSDT and XSDT are the firmware's own.

The files are called as by `acpidump -b`: dsdt.dat, facp.dat, ssdt1.dat.";

/// The arguments of `acpi dump`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = DUMP_LIMITS)]
pub struct AcpiDumpArgs {
    /// The machine's configuration
    #[arg(value_name = "VM.TOML")]
    pub config: PathBuf,

    /// Write the files into this folder, which is made if need be
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub output: PathBuf,

    /// Decompile them too, into dsdt.dsl and so on (needs iasl)
    #[arg(long)]
    pub dsl: bool,
}

/// How to run a machine: what `run` was told beside the configuration.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The configuration file.
    pub config: PathBuf,
    /// What replaces values of the file, for [`crate::config::load`].
    pub overrides: Overrides,
    /// Whether standard input and the terminal are left alone.
    pub headless: bool,
    /// The time after which the machine ends, from the start of the process.
    pub timeout: Option<Duration>,
    /// What must appear on the serial port, one after the other, and what is sent then.
    pub script: Script,
    /// What must not appear on the serial port.
    pub fail_on: Vec<Pattern>,
    /// Where a picture of the screen is written.
    pub screenshot: Option<PathBuf>,
    /// Where events are written.
    pub events: Option<PathBuf>,
}

/// The one network that replaces those of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NoNet {
    /// None.
    None,
}

impl From<RunArgs> for RunOptions {
    fn from(args: RunArgs) -> Self {
        let RunArgs {
            config,
            kernel,
            initrd,
            append,
            direct,
            memory,
            serial,
            debugcon,
            control,
            net,
            headless,
            detach,
            timeout,
            script,
            fail_on,
            screenshot,
            events,
        } = args;
        let headless = headless || detach;
        let screen = screenshot.is_some();
        let no_net = net.is_some();
        let overrides = Overrides {
            memory,
            kernel,
            initrd,
            append,
            direct,
            serial,
            debugcon,
            control,
            no_net,
            payload: None,
            screen,
            detach,
        };
        Self { config, overrides, headless, timeout, script, fail_on, screenshot, events }
    }
}

/// A file whose name says that it is what is written there.
fn png(path: PathBuf) -> Result<PathBuf, &'static str> {
    let ending = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("png"));
    if ending { Ok(path) } else { Err("pictures are PNG files: write a name that ends in .png") }
}

/// Seconds, with a fraction if need be.
fn parse_seconds(text: &str) -> Result<Duration, String> {
    let not_seconds = || "write a number of seconds, such as 60 or 0.5".to_owned();
    let seconds: f64 = text.parse().map_err(|_| not_seconds())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if !time.is_zero() => Ok(time),
        Ok(_) => Err("the time must be more than 0 seconds".into()),
        Err(_) => Err(not_seconds()),
    }
}
