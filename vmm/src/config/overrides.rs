//! What the command line may say in place of `vm.toml`.

use std::path::PathBuf;

use vocabulary::{ByteSize, ConsoleSpec};

use super::sections::control::ControlSpec;

/// Values that replace those of the file, each for the key it names. Relative paths are those of the
/// process, not of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `machine.memory`, by `--memory`.
    pub memory: Option<ByteSize>,
    /// `kernel.image`, by `--kernel`.
    pub kernel: Option<PathBuf>,
    /// `kernel.initrd`, by `--initrd`.
    pub initrd: Option<PathBuf>,
    /// `kernel.cmdline`, by `--append`.
    pub append: Option<String>,
    /// `kernel.boot` is `"direct"`, by `--direct`.
    pub direct: bool,
    /// `serial.output`, by `--serial`.
    pub serial: Option<ConsoleSpec>,
    /// `debugcon.output`, by `--debugcon`.
    pub debugcon: Option<ConsoleSpec>,
    /// `machine.control`, by `--control`.
    pub control: Option<ControlSpec>,
    /// No network cards, by `--net none`.
    pub no_net: bool,
    /// Nobody is at the terminal, and the control socket is needed, for `--detach`.
    pub detach: bool,
    /// A program of our own that starts without firmware, in place of all of `[kernel]`, for `bench`.
    pub payload: Option<PathBuf>,
    /// A screen without `[display]`, for `--screenshot`.
    pub screen: bool,
}
