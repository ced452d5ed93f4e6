//! The ACPICA tools as oracles. A test without them fails: skipping it would prove nothing.

use std::path::Path;
use std::process::Command;

/// Runs a tool in a folder and returns whether it succeeded, with all of its output.
pub(crate) fn run(tool: &str, folder: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(tool).args(arguments).current_dir(folder).output().unwrap_or_else(|error| {
        panic!("cannot run {tool}: {error}. These tests need it; install the package acpica-tools")
    });
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}
