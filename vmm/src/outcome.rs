//! How a run ends, and the exit status that says so.

mod direct;
mod files;
mod passthrough;

use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::ConfigError;
use crate::console::ConsoleError;
use crate::detach::DetachError;
use crate::device::DeviceError;
use crate::finding::Findings;
use crate::kvm::HostError;
use crate::memory::MemoryError;
use crate::signals::Signal;

pub use direct::TablesError;
pub use files::{DecompileError, OverwriteError};
pub use passthrough::PassthroughError;

/// Exit statuses.
pub mod status {
    /// The guest powered off, or the expectation was met.
    pub const SUCCESS: u8 = 0;
    /// What was asked about is not so.
    pub const CONDITION: u8 = 1;
    /// The configuration is wrong.
    pub const CONFIG: u8 = 2;
    /// The host is not ready.
    pub const HOST: u8 = 3;
    /// Time ran out.
    pub const TIMEOUT: u8 = 4;
    /// The guest crashed.
    pub const CRASH: u8 = 5;
    /// A device or the host failed while running.
    pub const RUNTIME: u8 = 6;
    /// Plus the number of the signal that ended the run.
    pub const SIGNAL: u8 = 128;
}

/// How a machine that ran came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The guest powered itself off.
    PoweredOff,
    /// The guest rebooted, and the configuration says that this ends the machine.
    Rebooted,
    /// Every expected pattern was seen.
    ExpectationMet,
    /// Time ran out; what the guest was doing.
    TimedOut(String),
    /// A pattern that must not appear did.
    FailPatternSeen(String),
    /// The guest crashed; what happened, with registers.
    Crashed(String),
    /// The guest powered off before all expected patterns were seen; the first that is missing.
    ExpectationMissed(String),
    /// A device or the host failed.
    Failed(String),
    /// This host cannot run firmware.
    HostUnfit(String),
    /// Ended by this signal.
    Signalled(i32),
    /// The user closed the console.
    Quit,
}

impl Outcome {
    /// The exit status.
    pub fn status(&self) -> u8 {
        match self {
            Self::PoweredOff | Self::Rebooted | Self::ExpectationMet | Self::Quit => status::SUCCESS,
            Self::TimedOut(_) => status::TIMEOUT,
            Self::Crashed(_) | Self::FailPatternSeen(_) | Self::ExpectationMissed(_) => status::CRASH,
            Self::Failed(_) => status::RUNTIME,
            Self::HostUnfit(_) => status::HOST,
            Self::Signalled(signal) => status::SIGNAL.wrapping_add(*signal as u8),
        }
    }

    /// A word for the event log.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::PoweredOff => "poweroff",
            Self::Rebooted => "reboot",
            Self::ExpectationMet => "expectation_met",
            Self::TimedOut(_) => "timeout",
            Self::FailPatternSeen(_) => "fail_pattern",
            Self::Crashed(_) => "crash",
            Self::ExpectationMissed(_) => "expectation_missed",
            Self::Failed(_) => "failure",
            Self::HostUnfit(_) => "host",
            Self::Signalled(_) => "signal",
            Self::Quit => "quit",
        }
    }

    /// What to tell the user; nothing for an ordinary end.
    pub fn message(&self) -> Option<String> {
        match self {
            Self::PoweredOff | Self::Rebooted | Self::ExpectationMet | Self::Signalled(_) | Self::Quit => {
                None
            }
            Self::TimedOut(what) => Some(format!("time ran out: {what}")),
            Self::FailPatternSeen(what) => Some(format!("the guest printed what --fail-on forbids: {what}")),
            Self::ExpectationMissed(pattern) => {
                Some(format!("the guest powered off before it printed what --expect waits for: {pattern}"))
            }
            Self::Crashed(what) | Self::Failed(what) | Self::HostUnfit(what) => Some(what.clone()),
        }
    }
}

/// Why a command could not do its work at all.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There is no configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configuration contradicts itself, the user's files, or the host.
    #[error(transparent)]
    Findings(#[from] Findings),
    /// The host cannot run a machine.
    #[error(transparent)]
    Host(#[from] HostError),
    /// There is no memory for it.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A file of the firmware is wrong.
    #[error(transparent)]
    Image(#[from] firmware::image::ImageError),
    /// The variable store cannot be used.
    #[error(transparent)]
    Nvram(#[from] firmware::nvram::NvramError),
    /// A device of the host cannot be passed through.
    #[error(transparent)]
    Passthrough(PassthroughError),
    /// A device has no place in the machine, or the host lacks something for it.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A console cannot be started.
    #[error(transparent)]
    Console(#[from] ConsoleError),
    /// The ACPI tables cannot be built.
    #[error(transparent)]
    Tables(#[from] acpi::Error),
    /// Tables cannot be decompiled.
    #[error(transparent)]
    Decompile(#[from] DecompileError),
    /// The flash cannot be shown to the guest.
    #[error(transparent)]
    Flash(#[from] devices::pflash::Error),
    /// An output of the run would destroy another file of it.
    #[error(transparent)]
    Overwrite(#[from] OverwriteError),
    /// The kernel that is to start without firmware has changed since it was opened.
    #[error(transparent)]
    Kernel(#[from] firmware::fw_cfg::kernel::KernelError),
    /// There is no room for tables without firmware.
    #[error(transparent)]
    DirectTables(#[from] TablesError),
    /// The firmware cannot be told of the memory.
    #[error(transparent)]
    MemoryMap(#[from] firmware::fw_cfg::e820::E820Error),
    /// The firmware cannot be given a fw_cfg item.
    #[error(transparent)]
    FwCfg(#[from] devices::fw_cfg::Error),
    /// The machine cannot be left in the background.
    #[error(transparent)]
    Detach(#[from] DetachError),
    /// A signal ended the start.
    #[error("{} ended the start", .0.name())]
    Signalled(Signal),
    /// The plan cannot be told as JSON.
    #[error("cannot write the plan as JSON: {0}")]
    Json(#[source] serde_json::Error),
    /// A file of ours cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
}

impl Failure {
    /// The exit status.
    pub fn status(&self) -> u8 {
        match self {
            Self::Findings(findings) if findings.are_about_host() => status::HOST,
            // The files are right; somebody else is in the way.
            Self::Nvram(firmware::nvram::NvramError::InUse { .. }) => status::HOST,
            Self::Config(_)
            | Self::Findings(_)
            | Self::Image(_)
            | Self::Tables(_)
            | Self::Overwrite(_)
            | Self::Kernel(_)
            | Self::DirectTables(_)
            | Self::MemoryMap(_)
            | Self::FwCfg(_)
            | Self::Nvram(_) => status::CONFIG,
            Self::Signalled(signal) => status::SIGNAL.wrapping_add(signal.number() as u8),
            Self::Host(_)
            | Self::Memory(_)
            | Self::Passthrough(_)
            | Self::Device(_)
            | Self::Console(_)
            | Self::Decompile(_)
            | Self::Detach(_)
            | Self::Flash(_)
            | Self::Json(_)
            | Self::Write { .. } => status::HOST,
        }
    }
}

impl From<PassthroughError> for Failure {
    fn from(error: PassthroughError) -> Self {
        match error {
            PassthroughError::Findings(findings) => Self::Findings(findings),
            error => Self::Passthrough(error),
        }
    }
}

impl From<&Failure> for ExitCode {
    fn from(failure: &Failure) -> Self {
        Self::from(failure.status())
    }
}
