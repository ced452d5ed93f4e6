//! `optimus-vmm doctor`: reads what the host is like, changes nothing, and says what stands in the way of lending its dGPU to a
//! machine, or of a certain machine.
//!
//! [`facts`] are read from a root directory, this host's or that of a capture, by a child process that may be left behind when the
//! kernel does not answer ([`gather`]). Each [`check`] is a pure function of the facts. What to do about a finding is written for
//! the host's distribution ([`distribution`]); [`report`] shows all of them, and [`capture`] makes an archive of what was read.
//! `optimus-vmm init` writes a vm.toml from the same facts ([`survey`]).

mod capture;
mod check;
mod distribution;
mod facts;
mod gather;
mod report;
mod survey;
#[cfg(test)]
pub(crate) mod tests;

use std::path::{Path, PathBuf};

use crate::cli::DoctorArgs;
use crate::outcome::status;
use check::CHECKS;
pub(crate) use distribution::Family;
use facts::{Context, Facts, Probe};
use report::Report;
pub(crate) use survey::{DisplayGpu, Host, LentGpu, Survey};

/// Why there is nothing to say.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// No finding has this name.
    #[error("no finding is called `{id}`: there are {}", CHECKS.each_ref().map(|check| check.id).join(", "))]
    UnknownId {
        /// What was asked for.
        id: String,
    },
    /// The other root is none.
    #[error("{} is no directory with a `sys` in it: unpack a capture there with `tar -xf`, or name the root of a mounted system", path.display())]
    NoRoot {
        /// What was named.
        path: PathBuf,
    },
    /// The reading child cannot be started or listened to.
    #[error("cannot read the host in a child process: {0}")]
    Child(#[source] std::io::Error),
    /// The capture is not written.
    #[error("cannot write the capture {}: {why}", path.display())]
    Capture {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl DoctorError {
    /// The exit status.
    pub fn status(&self) -> u8 {
        match self {
            Self::UnknownId { .. } | Self::NoRoot { .. } => status::CONFIG,
            Self::Child(_) | Self::Capture { .. } => status::HOST,
        }
    }
}

/// What to print, and the exit status.
#[derive(Debug)]
pub struct Answer {
    /// Text for people, or JSON.
    pub text: String,
    /// 0 if nothing stands in the way.
    pub status: u8,
}

/// Does what the command line says.
///
/// # Errors
/// The arguments name what is not there, or the host cannot be read at all.
pub fn run(args: &DoctorArgs) -> Result<Answer, DoctorError> {
    if let Some(id) = &args.explain {
        let check = CHECKS.iter().find(|check| check.id == id);
        let check = check.ok_or_else(|| DoctorError::UnknownId { id: id.clone() })?;
        return Ok(Answer { text: report::explain(check), status: status::SUCCESS });
    }
    check_root(args.sysroot.as_deref())?;
    let context = Context {
        sysroot: args.sysroot.clone(),
        config: args.config.clone(),
        capture: args.capture.clone(),
        dgpu: args.dgpu,
    };
    if !args.answer.is_empty() {
        let probes: Vec<_> = args.answer.iter().filter_map(|name| Probe::by_name(name)).collect();
        gather::answer(&context, &probes, &mut std::io::stdout().lock()).map_err(DoctorError::Child)?;
        return Ok(Answer { text: String::new(), status: status::SUCCESS });
    }
    if let Some(file) = &args.capture {
        return captured(&context, file, args.patience);
    }
    let facts = gather::gather(&context, args.patience)?;
    let report = Report::new(&facts);
    let text = match args.json {
        true => report.json(),
        false => report.text(),
    };
    Ok(Answer { text, status: if report.ready { status::SUCCESS } else { status::HOST } })
}

/// Whether another root, if one is named, is the root of a host.
fn check_root(sysroot: Option<&Path>) -> Result<(), DoctorError> {
    match sysroot.filter(|root| !root.join("sys").is_dir()) {
        Some(root) => Err(DoctorError::NoRoot { path: root.into() }),
        None => Ok(()),
    }
}

/// Has the child write an archive, in at most `patience`.
fn captured(context: &Context, file: &Path, patience: std::time::Duration) -> Result<Answer, DoctorError> {
    let failed = |why: String| DoctorError::Capture { path: file.into(), why };
    let mut facts = Facts::default();
    gather::ask(context, &[Probe::Capture], patience, &mut facts)?;
    if let Some(unanswered) = facts.unanswered.first() {
        return Err(failed(format!("reading the host {}", unanswered.why)));
    }
    let done = facts.capture.ok_or_else(|| failed("the child said nothing".into()))?;
    let files = done.map_err(failed)?;
    let text = format!(
        "{}: {files} files of this host, without serial numbers and addresses of network cards. Look into it (`tar -tvf`) before you \
         pass it on; `optimus-vmm doctor --sysroot DIR` reads it elsewhere, unpacked\n",
        file.display()
    );
    Ok(Answer { text, status: status::SUCCESS })
}
