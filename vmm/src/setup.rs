//! `optimus-vmm host`: makes a host ready for good to lend devices, takes that back, and binds devices for the moment.
//!
//! What the host is ([`devices`], [`system`]) leads to a [`plan`], a pure function: files of our own, whose texts are in [`contents`], and
//! commands of the distribution. [`apply`] makes the changes through [`hands`], each on [`record`] before; [`undo`] takes them back.
//! [`lending`] binds and releases devices with the means of a run ([`crate::host::Manager`]).

mod apply;
mod contents;
mod devices;
mod hands;
mod holding;
mod lending;
mod plan;
mod record;
mod report;
mod root;
mod system;
#[cfg(test)]
mod tests;
mod undo;

use std::io;
use std::path::{Path, PathBuf};

use crate::cli::{HostArgs, HostCommand, HostSetupArgs, HostUndoArgs};
use crate::config::ConfigError;
use crate::host::{BindError, JournalError, ReleaseError};
use crate::outcome::status;
use devices::Earlier;
use hands::{RunError, SystemHands};
use plan::Plan;
use record::Records;
use root::Root;
use system::System;

/// Files that somebody else changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Where they are, below the root.
    paths: Vec<String>,
    /// It is an undo that they are in the way of.
    undo: bool,
}

impl std::fmt::Display for Changed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let paths: Vec<_> = self.paths.iter().map(|path| format!("/{path}")).collect();
        let (these, them) = if paths.len() == 1 { ("it was", "it") } else { ("they were", "them") };
        write!(
            f,
            "{}: {these} changed since `host setup` wrote {them}, and nothing is touched. ",
            paths.join(", ")
        )?;
        match self.undo {
            true => write!(
                f,
                "`optimus-vmm host undo --keep-changed` takes the rest back and leaves {them} to you; a file that is removed first counts as taken back"
            ),
            false => write!(
                f,
                "Take the change out again, or give {them} up: `optimus-vmm host undo --keep-changed`, and set up anew"
            ),
        }
    }
}

/// Why the host is not as it was to be.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The root is none.
    #[error("{} is no root of a system: it has no {missing}", path.display())]
    NoRoot {
        /// What was named.
        path: PathBuf,
        /// What is missing.
        missing: &'static str,
    },
    /// The name is not one of a group.
    #[error("\"{0}\" is no name of a group: letters, digits, `_` and `-`")]
    GroupName(String),
    /// There is no such group.
    #[error(
        "there is no group {group} in /etc/group: `sudo groupadd --system {group}`, and `sudo usermod -aG {group} USER` for who is to run machines"
    )]
    NoGroup {
        /// Its name.
        group: String,
    },
    /// The vm.toml is wrong.
    #[error(transparent)]
    Config(Box<ConfigError>),
    /// Only root may.
    #[error(
        "the system's files are root's: `sudo optimus-vmm host {0}`; `host setup --dry-run` shows what would be done"
    )]
    NotRoot(&'static str),
    /// There is nobody to ask.
    #[error(
        "standard input is no terminal, so nobody can be asked: look at `optimus-vmm host setup --dry-run`, and add `--yes`"
    )]
    NobodyToAsk,
    /// The user does not want it.
    #[error("nothing was changed")]
    Declined,
    /// Files were changed by others.
    #[error("{0}")]
    Changed(Changed),
    /// An undo was cut short.
    #[error("`host undo` was begun and has not ended: run `sudo optimus-vmm host undo` again first")]
    HalfUndone,
    /// A file or folder cannot be read or changed.
    #[error("cannot {what} {}: {source}. What was done before is on record: `sudo optimus-vmm host undo` takes it back", path.display())]
    File {
        /// The step, in the infinitive.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Another process is at it.
    #[error(
        "another `optimus-vmm host`, or a command that it has started, has kept {} locked for {seconds} s; `sudo fuser -v {0}` shows which",
        path.display()
    )]
    Busy {
        /// The folder of the record.
        path: PathBuf,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The record is not for everybody.
    #[error("what was set up is on a record that root alone may read: use `sudo`")]
    Private,
    /// The record cannot be understood.
    #[error(
        "cannot understand the record of what was set up, {}: {why}. The files that a setup makes have `optimus-vmm-setup` in their names; remove \
         them and the record by hand, and renew the initramfs",
        path.display()
    )]
    Record {
        /// The record.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A command failed.
    #[error("`{command}` failed: {source}\n{then}")]
    Command {
        /// Its words.
        command: String,
        /// How.
        #[source]
        source: RunError,
        /// What is left, and what to do.
        then: &'static str,
    },
    /// Devices on record that vfio-pci no longer has.
    #[error(
        "bound by an earlier `host bind`, and taken from vfio-pci since: {0}. Run `sudo optimus-vmm host release {0}` first, and bind again"
    )]
    TakenSince(String),
    /// A device is not bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The record of bound devices cannot be kept.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A device cannot be released.
    #[error(transparent)]
    Release(#[from] ReleaseError),
}

impl SetupError {
    /// The exit status.
    pub fn status(&self) -> u8 {
        match self {
            Self::NoRoot { .. } | Self::GroupName(_) | Self::Config(_) | Self::NobodyToAsk => status::CONFIG,
            _ => status::HOST,
        }
    }
}

/// An error of a step with a file.
fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SetupError {
    move |source| SetupError::File { what, path: path.into(), source }
}

/// Whoever has asked.
pub trait Dialogue {
    /// Is told what happens now.
    fn say(&mut self, text: &str);

    /// Is shown what is planned, and says whether to do it; `None` if there is nobody.
    ///
    /// # Errors
    /// The answer cannot be read.
    fn confirm(&mut self, plan: &str) -> io::Result<Option<bool>>;
}

/// What to print, and the exit status.
#[derive(Debug)]
pub struct Answer {
    /// Text for people, or JSON.
    pub text: String,
    /// 0 if all is well.
    pub status: u8,
}

impl Answer {
    fn fine(text: String) -> Self {
        Self { text, status: status::SUCCESS }
    }
}

/// Does what the command line says.
///
/// # Errors
/// See [`SetupError`].
pub fn run(args: &HostArgs, dialogue: &mut dyn Dialogue) -> Result<Answer, SetupError> {
    match &args.command {
        HostCommand::Setup(args) => set_up(args, dialogue),
        HostCommand::Undo(args) => take_back(args, dialogue),
        HostCommand::Status(args) => {
            let root = root(&args.root)?;
            let status = holding::read(&root)?;
            let text = if args.json { status.json() } else { status.text() };
            Ok(Answer { text, status: status.exit() })
        }
        HostCommand::Bind(args) => lending::bind(&args.devices).map(Answer::fine),
        HostCommand::Release(args) => lending::release(&args.devices).map(Answer::fine),
    }
}

/// The root, if it is one.
fn root(path: &Path) -> Result<Root, SetupError> {
    let no_root = |missing| SetupError::NoRoot { path: path.into(), missing };
    let path = path.canonicalize().map_err(|_| no_root("folder of this name"))?;
    for missing in ["etc", "var/lib"] {
        if !path.join(missing).is_dir() {
            return Err(no_root(missing));
        }
    }
    Ok(Root::at(path))
}

/// Whether changes are root's alone to make: those of the system that runs, and by commands in another.
fn refuse_without_root(root: &Root, command: &'static str) -> Result<(), SetupError> {
    match root.is_live() && !rustix::process::geteuid().is_root() {
        true => Err(SetupError::NotRoot(command)),
        false => Ok(()),
    }
}

/// The plan for a system. A record that cannot be read is told by [`apply`] later.
fn plan_of(root: &Root, args: &HostSetupArgs) -> Result<Plan, SetupError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if args.group.is_empty() || args.group.starts_with('-') || !args.group.bytes().all(plain) {
        return Err(SetupError::GroupName(args.group.clone()));
    }
    // Nobody but root may read the record; what a dry run of another user shows is that of a first setup.
    let record = Records::of(root, &SystemHands).load();
    let private = matches!(record, Err(SetupError::Private));
    let record = match record {
        Err(SetupError::Record { .. } | SetupError::Private) if args.dry_run => None,
        other => other?,
    };
    let files = root.files();
    let old = record.as_ref().and_then(|record| record.file(plan::MODPROBE)).filter(|step| step.begun);
    let text = old.and_then(|step| step.wanted.as_ref()?.text()).unwrap_or_default();
    let earlier =
        Earlier { at_boot: !text.is_empty(), rivals: contents::rivals(text).map(str::to_owned).collect() };
    let devices = devices::find(&files, args.config.as_deref(), args.bind, &earlier)?;
    let system = System::read(root, &args.group, devices.gvt, record.as_ref())?;
    let mut plan = plan::plan(&system, &devices, &args.group);
    if private {
        plan.notes.push(
            "what an earlier setup made is not known without root: this is what a first one would do. `sudo optimus-vmm host setup --dry-run` knows"
                .into(),
        );
    }
    (plan.taken_back, plan.renewed) = apply::taken_back(root, record.as_ref(), &plan);
    if !system.group && plan.nixos.is_none() {
        let missing = SetupError::NoGroup { group: args.group.clone() };
        if !args.dry_run {
            return Err(missing);
        }
        plan.notes.push(missing.to_string());
    }
    Ok(plan)
}

fn set_up(args: &HostSetupArgs, dialogue: &mut dyn Dialogue) -> Result<Answer, SetupError> {
    let root = root(&args.root)?;
    let plan = plan_of(&root, args)?;
    let shown = report::plan(&root, &plan);
    if args.dry_run || plan.nixos.is_some() {
        return Ok(Answer::fine(shown));
    }
    refuse_without_root(&root, "setup")?;
    if !args.yes {
        let answer = dialogue.confirm(&shown).map_err(failed("read", Path::new("standard input")))?;
        if !answer.ok_or(SetupError::NobodyToAsk)? {
            return Err(SetupError::Declined);
        }
    }
    let done = apply::apply(&root, &SystemHands, &plan, args.patience, &mut |text| dialogue.say(text))?;
    Ok(Answer::fine(report::done(&plan, &done)))
}

fn take_back(args: &HostUndoArgs, dialogue: &mut dyn Dialogue) -> Result<Answer, SetupError> {
    let root = root(&args.root)?;
    refuse_without_root(&root, "undo")?;
    let undone =
        undo::undo(&root, &SystemHands, args.keep_changed, args.patience, &mut |text| dialogue.say(text))?;
    Ok(Answer::fine(report::undone(&undone)))
}
