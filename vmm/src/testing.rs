//! What tests of several modules share, and what fuzzing drives.

#[cfg(feature = "testing")]
pub use crate::control::testing::Conversation;
#[cfg(feature = "testing")]
pub use crate::vnc::testing::converse;

/// Tests that need a process of their own, since limits, signals and the environment are those of all threads.
#[cfg(test)]
pub(crate) mod own_process {
    use std::process::Command;

    /// The command that runs one test alone. `module` is its `module_path!()`.
    pub(crate) fn command(module: &str, test: &str) -> Command {
        let (_, module) = module.split_once("::").unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", &format!("{module}::{test}")]);
        command
    }

    /// Runs it. It must be there, and pass.
    pub(crate) fn pass(command: &mut Command) {
        let done = command.output().unwrap();
        let output = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success() && output.contains("1 passed"), "{}: {output}", done.status);
    }
}
