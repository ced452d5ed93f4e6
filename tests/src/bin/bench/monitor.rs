//! The two monitors, told to run the same machine.
//!
//! | module | what it does |
//! |---|---|
//! | [`machine`] | the machine, whoever runs it |
//! | [`ours`] | our configuration of it |
//! | [`qemu`] | QEMU's command line for it |
//! | [`board`] | QEMU's machine types |

mod board;
mod machine;
mod ours;
mod qemu;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
pub(crate) use board::Board;
pub(crate) use machine::{Bus, Data, Flash, Inside, MTU, Machine, Way};

/// One of the two.
#[derive(Debug, Clone)]
pub(crate) enum Monitor {
    /// optimus-vmm.
    Ours {
        /// The program.
        program: PathBuf,
    },
    /// QEMU with KVM.
    Qemu {
        /// The program and what must come first on its command line.
        command: Vec<String>,
        /// The CPU model: `host`, with what KVM here needs changed.
        cpu: &'static str,
        /// Machine type and BIOS.
        board: Board,
    },
}

impl Monitor {
    /// QEMU, always the lab's: on the emulated host, whose root file system it is in, as it stands there; on this machine with
    /// the libraries of that file system. One that the path leads to may be of any age, and results could not be compared.
    pub(crate) fn find_qemu(lab: &Path, cpu: &'static str) -> Result<Self> {
        let in_lab = std::env::var_os("OPTIMUS_IN_LAB").is_some();
        let command = qemu::command(&if in_lab { "/usr".into() } else { lab.join("root/usr") })?;
        Ok(Self::Qemu { command, cpu, board: Board::Q35 })
    }

    /// Where the program is.
    pub(crate) fn program(&self) -> String {
        match self {
            Self::Ours { program } => program.display().to_string(),
            Self::Qemu { command, .. } => {
                let program = command.iter().find(|word| word.ends_with("/qemu-system-x86_64"));
                program.cloned().unwrap_or_default()
            }
        }
    }

    /// The same with another board, which is QEMU's alone.
    pub(crate) fn with_board(mut self, new: Board) -> Self {
        if let Self::Qemu { board, .. } = &mut self {
            *board = new;
        }
        self
    }

    /// The same with another CPU model, which is QEMU's alone.
    pub(crate) fn with_cpu(mut self, new: &'static str) -> Self {
        if let Self::Qemu { cpu, .. } = &mut self {
            *cpu = new;
        }
        self
    }

    /// What it calls itself.
    pub(crate) fn version(&self) -> Result<String> {
        let mut command = match self {
            Self::Ours { program } => Command::new(program),
            Self::Qemu { command, .. } => start(command)?,
        };
        let output = command.arg("--version").output()?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
    }

    /// Writes our configuration of the machine.
    pub(crate) fn configuration(machine: &Machine) -> Result<PathBuf> {
        fs::create_dir_all(&machine.directory)?;
        let config = machine.directory.join("bench.toml");
        fs::write(&config, ours::vm_toml(machine))?;
        Ok(config)
    }

    /// The command that runs the machine.
    pub(crate) fn command(&self, machine: &Machine) -> Result<Command> {
        fs::create_dir_all(&machine.directory)?;
        match self {
            Self::Ours { program } => {
                let config = Self::configuration(machine)?;
                let mut command = Command::new(program);
                command.args(["run", "--headless"]).arg(config);
                Ok(command)
            }
            Self::Qemu { command, cpu, board } => {
                let mut command = start(command)?;
                command.args(qemu::arguments(machine, cpu, board));
                Ok(command)
            }
        }
    }
}

fn start(command: &[String]) -> Result<Command> {
    let (program, arguments) = command.split_first().ok_or("no command for QEMU")?;
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}
