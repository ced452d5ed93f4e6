//! `optimus-vmm-manual DIR`: writes the man pages of `optimus-vmm` and its completions for bash, zsh and fish below DIR, for
//! `scripts/install` and for packages.

use std::path::Path;
use std::process::ExitCode;

const USAGE: &str =
    "write one folder, as in `optimus-vmm-manual target/manual`: man pages and completions come below it";

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let (Some(folder), None) = (words.next(), words.next()) else {
        return fail(USAGE, 2);
    };
    // An option that somebody hopes for, and hardly a folder.
    if folder.as_encoded_bytes().starts_with(b"-") {
        return fail(USAGE, 2);
    }
    match vmm::write_manual(Path::new(&folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string(), 1),
    }
}

#[allow(clippy::print_stderr, reason = "a tool for builds, with no terminal of a guest to share")]
fn fail(why: &str, status: u8) -> ExitCode {
    eprintln!("optimus-vmm-manual: {why}");
    ExitCode::from(status)
}
