//! `optimus-vmm explain code43`: finds out about a machine, planned or running, and has the conditions of [`code43`](crate::code43)
//! say what NVIDIA's driver makes of it.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use crate::cli::Code43Args;
use crate::code43::{Driver, Facts, Report, planned};
use crate::config::Overrides;
use crate::ctl::{self, CtlError};
use crate::host::HostFiles;
use crate::machine;
use crate::outcome::{Failure, status};

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The configuration is wrong, or cannot be read.
    #[error(transparent)]
    Plan(#[from] Failure),
    /// The running machine does not say.
    #[error(transparent)]
    Machine(#[from] CtlError),
    /// There is neither.
    #[error("there is no file {name}, and {why}")]
    Nothing {
        /// What was asked for.
        name: String,
        /// What is said of running machines.
        why: CtlError,
    },
    /// It says nothing that we understand.
    #[error(
        "{name} runs another version of optimus-vmm, which does not tell what this one asks for ({why}): start it anew, or give \
         its vm.toml"
    )]
    Version {
        /// The machine.
        name: String,
        /// What is wrong with its answer.
        why: String,
    },
}

impl ExplainError {
    /// The exit status.
    pub fn status(&self) -> u8 {
        match self {
            Self::Plan(failure) => failure.status(),
            Self::Machine(error) => error.status(),
            Self::Nothing { .. } | Self::Version { .. } => status::HOST,
        }
    }
}

/// What was found out.
#[derive(Debug)]
pub struct Explained {
    /// The conditions.
    pub report: Report,
    /// How many files of a planned machine `run` would refuse.
    pub refused: usize,
}

/// What a word of the command line means.
#[derive(Debug, PartialEq, Eq)]
enum Target<'a> {
    /// A vm.toml.
    File,
    /// A running machine's name or socket.
    Machine(&'a str),
}

/// A file wins over a machine of its name; a folder is neither.
fn target(word: &Path) -> Target<'_> {
    let found = fs::metadata(word).ok();
    let name = word.to_str();
    match (found, name) {
        (Some(found), Some(name)) if found.file_type().is_socket() => Target::Machine(name),
        (Some(found), Some(name)) if found.is_dir() && !name.contains('/') => Target::Machine(name),
        (None, Some(name))
            if !name.contains('/') && word.extension().is_none_or(|ending| ending != "toml") =>
        {
            Target::Machine(name)
        }
        _ => Target::File,
    }
}

/// Explains a machine.
///
/// # Errors
/// There is no such machine, or it cannot be understood.
pub fn code43(args: &Code43Args) -> Result<Explained, ExplainError> {
    let driver = args.driver.map_or(Driver::Any, |version| Driver::Branch(version.branch));
    let (facts, refused) = match target(&args.machine) {
        Target::File => planned(&args.machine, args.offline)?,
        Target::Machine(name) => (running(name)?, 0),
    };
    Ok(Explained { report: Report::new(&facts, driver), refused })
}

fn planned(path: &Path, offline: bool) -> Result<(Facts, usize), ExplainError> {
    if offline {
        let plan = machine::offline_plan_of(path)?;
        let mut facts = planned::facts(&plan);
        planned::leave_out_identity(&mut facts, &plan);
        return Ok((facts, 0));
    }
    let plan = machine::plan_of(path, &Overrides::default())?;
    let mut facts = planned::facts(&plan);
    planned::look(&mut facts, &plan, &HostFiles::default(), machine::high_window(&plan));
    Ok((facts, machine::refused_files(&plan).len()))
}

fn running(name: &str) -> Result<Facts, ExplainError> {
    // A path without `/` is a name to `ctl`; of a socket that exists, it is one of this folder.
    let here = Path::new(name).exists() && !name.contains('/') && !Path::new(name).is_dir();
    let place = if here { format!("./{name}") } else { name.to_owned() };
    let version = |why: String| ExplainError::Version { name: name.into(), why };
    let answer = ctl::ask(&place, "x-query-dgpu").map_err(|error| match error {
        why @ CtlError::NotRunning(_) if !here => ExplainError::Nothing { name: name.into(), why },
        CtlError::Refused { why, .. } if why.contains("has not been found") => version(why),
        error => error.into(),
    })?;
    let mut facts: Facts = serde_json::from_value(answer).map_err(|error| version(error.to_string()))?;
    planned::look_at_battery(&mut facts);
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn files_win_over_names_and_folders_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("work"), "").unwrap();
        assert_eq!(target(&path("work")), Target::File);
        let _socket = UnixListener::bind(path("vm.sock")).unwrap();
        assert_eq!(target(&path("vm.sock")), Target::Machine(path("vm.sock").to_str().unwrap()));
        // The loader says what is wrong with these.
        assert_eq!(target(&path("none")), Target::File);
        assert_eq!(target(folder.path()), Target::File);
        assert_eq!(target(Path::new("no-such-vm.toml")), Target::File);
        assert_eq!(target(Path::new("no-such-machine")), Target::Machine("no-such-machine"));
        // A folder of this package.
        assert_eq!(target(Path::new("src")), Target::Machine("src"));
    }
}
