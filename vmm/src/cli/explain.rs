//! The command line of `optimus-vmm explain`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};

/// What to explain.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum ExplainCommand {
    /// Say, condition by condition, why NVIDIA's driver may refuse the GPU ("Code 43"), and what to change
    Code43(Code43Args),
}

/// Help on where the machine comes from, and on what the numbers mean.
const CODE43_HELP: &str =
    "A vm.toml is looked at as by `plan`. With the name of a running machine, or the path of its
control socket, what its firmware and its guest have done is looked at. A file wins over a machine
of the same name.

Exit status:
  0      no condition fails; some may be unknown, or hold for some drivers only
  1      a condition fails
  2      the command line or the vm.toml is wrong, or the vm.toml cannot be read
  3      there is no file and no running machine of this name, the machine does not
         answer, or the host lacks what the vm.toml asks for
  5      the machine refuses to answer";

/// The arguments of `explain code43`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = CODE43_HELP)]
pub struct Code43Args {
    /// The machine's configuration, or the name of a running machine
    #[arg(value_name = "VM.TOML|MACHINE")]
    pub machine: PathBuf,

    /// Ask about this driver, by its version such as 551.86, or by Windows' number for it, such as 31.0.15.5186
    #[arg(long, value_name = "VERSION")]
    pub driver: Option<DriverVersion>,

    /// Ask the host for nothing: what depends on it is unknown
    #[arg(long)]
    pub offline: bool,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The version of an NVIDIA driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriverVersion {
    /// Its branch: 551 of 551.86.
    pub branch: u32,
}

/// A text is no version of a driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "write the driver's version as NVIDIA does, such as 551.86, or as Windows' Device Manager does, such as 31.0.15.5186"
)]
pub struct ParseDriverVersionError;

impl FromStr for DriverVersion {
    type Err = ParseDriverVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('.').collect();
        let numeric =
            |part: &&str| (1..=5).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        if !parts.iter().all(numeric) {
            return Err(ParseDriverVersionError);
        }
        let branch = match parts.as_slice() {
            // The last five digits of Windows' number are NVIDIA's.
            [_, _, third, fourth] => {
                let digits = format!("{third}{fourth:0>4}");
                let start = digits.len().checked_sub(5).ok_or(ParseDriverVersionError)?;
                digits.get(start..start + 3).and_then(|digits| digits.parse().ok())
            }
            [branch, ..] if parts.len() <= 3 => branch.parse().ok(),
            _ => None,
        };
        // The first drivers for the GPUs that have `_ROM` are of 2010.
        branch
            .filter(|branch| (200..10_000).contains(branch))
            .map(|branch| Self { branch })
            .ok_or(ParseDriverVersionError)
    }
}

impl fmt::Display for DriverVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.branch.fmt(f)
    }
}
