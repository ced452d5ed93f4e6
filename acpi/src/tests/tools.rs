//! The ACPICA tools as oracles. A test without them fails: skipping it would prove nothing.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs a tool in a folder and returns whether it succeeded, with all of its output.
pub(crate) fn run(tool: &str, folder: &Path, arguments: &[&str]) -> (bool, String) {
    run_with_input(tool, folder, arguments, "")
}

/// [`run`] with this on its standard input.
pub(crate) fn run_with_input(tool: &str, folder: &Path, arguments: &[&str], input: &str) -> (bool, String) {
    let mut command = Command::new(tool);
    command.args(arguments).current_dir(folder).stdin(Stdio::piped());
    let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.unwrap_or_else(|error| {
        panic!("cannot run {tool}: {error}. These tests need it; install the package acpica-tools")
    });
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    // A tool that does not read its input may be gone before it is written.
    let _ = writer.join().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}
