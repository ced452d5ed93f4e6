//! The record on disk of what was changed on the host, from which a later start puts it back after a crash.
//!
//! One JSON file per run, below `/var/lib/optimus-vmm` for root and `$XDG_STATE_HOME/optimus-vmm` (by default
//! `~/.local/state/optimus-vmm`) for others. It is complete and on the disk before the first change, and removed after
//! the last has been undone. A file is replaced as a whole (written aside, synced, renamed, directory synced).
//!
//! Whoever owns a journal holds a lock (flock(2)) on the file: it ends with the process, however that dies, so a
//! journal that can be locked is one to be rolled back. A replacement is locked before it is renamed, so that there is
//! no moment at which a living journal is free. The directory itself is locked for as long as files in it are listed or
//! replaced.
//!
//! A journal that says of itself that it is lasting outlives its process: what it has is given back by `host release` or a reboot alone.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use firmware::input;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use vocabulary::LentDevice;

use super::step::Step;
use crate::host::files::names;

/// The version of the format. Version 1 had no mediated devices, and is read as this one.
const FORMAT: u32 = 2;
/// That of journals with settings, which earlier versions of this program cannot put back.
const SETTINGS: u32 = 3;
/// That of lasting journals, which earlier versions of this program are to leave alone.
const LASTING: u32 = 4;
/// That of journals with virtual functions, which earlier versions of this program cannot remove.
const VIRTUAL: u32 = 5;
/// That of journals with USB devices, which earlier versions of this program cannot give back.
const USB: u32 = 6;
const ENDING: &str = ".json";
/// More than any journal has, in bytes.
const LONGEST: u64 = 4 << 20;
/// How long another start may keep the directory: while it checks its devices, loads a module, or has the kernel look for huge
/// pages, which takes three minutes at most.
const PATIENCE: Duration = Duration::from_secs(240);

/// Why the journal cannot be kept. Without it nothing is changed.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// There is no place for it.
    #[error(
        "cannot tell where to keep the record of changes to the host: set HOME or XDG_STATE_HOME to an absolute path"
    )]
    NoPlace,
    /// Another process has been at it for too long.
    #[error(
        "another optimus-vmm has kept {} locked for {seconds} s; `sudo fuser -v {0}` shows which, see what it waits for",
        path.display()
    )]
    Busy {
        /// The directory.
        path: PathBuf,
        /// How long it was waited for.
        seconds: u64,
    },
    /// A step of keeping it failed.
    #[error("cannot {what} {}, which records the changes to the host: {source}", path.display())]
    File {
        /// The step, in the infinitive.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    move |source| JournalError::File { what, path: path.into(), source }
}

/// What a journal says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::host) struct Record {
    format: u32,
    /// The machine's name.
    pub(in crate::host) machine: String,
    /// The process that made it.
    pub(in crate::host) pid: u32,
    /// The kernel's `boot_id`: a reboot undoes everything by itself.
    pub(in crate::host) boot: String,
    /// The devices that the machine has.
    pub(in crate::host) claims: Vec<LentDevice>,
    /// What was, or was about to be, changed, in order.
    pub(in crate::host) steps: Vec<Step>,
    /// It outlives its process.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::host) lasting: bool,
}

impl Record {
    pub(in crate::host) fn new(
        machine: &str,
        boot: String,
        claims: Vec<LentDevice>,
        steps: Vec<Step>,
    ) -> Self {
        let (machine, pid) = (machine.into(), std::process::id());
        let format_of = |step: &Step| match step {
            Step::VirtualFunction { .. } => VIRTUAL,
            Step::UsbDrivers { .. } => USB,
            step if step.is_shared() => SETTINGS,
            _ => FORMAT,
        };
        let format = steps.iter().map(format_of).max().unwrap_or(FORMAT);
        Self { format, machine, pid, boot, claims, steps, lasting: false }
    }
}

/// A journal of this process, or one whose process is gone: locked either way.
#[derive(Debug)]
pub(in crate::host) struct Journal {
    dir: JournalDir,
    pub(in crate::host) path: PathBuf,
    pub(in crate::host) record: Record,
    /// Keeps the lock on the file.
    file: File,
}

impl Journal {
    /// Replaces the steps.
    pub(in crate::host) fn keep_locked(&mut self, lock: &File, steps: Vec<Step>) -> Result<(), JournalError> {
        self.replace(lock, Record { steps, ..self.record.clone() })
    }

    /// Has it outlive this process.
    pub(in crate::host) fn last(&mut self) -> Result<(), JournalError> {
        let lock = self.dir.lock()?;
        self.replace(
            &lock,
            Record { lasting: true, format: self.record.format.max(LASTING), ..self.record.clone() },
        )
    }

    fn replace(&mut self, lock: &File, record: Record) -> Result<(), JournalError> {
        self.file = replace(lock, &self.path, &record)?;
        self.record = record;
        Ok(())
    }

    /// The directory that it is in.
    pub(in crate::host) fn dir(&self) -> &JournalDir {
        &self.dir
    }

    /// Removes the file: there is nothing left to undo.
    pub(in crate::host) fn remove(self) -> Result<(), JournalError> {
        let lock = self.dir.lock()?;
        self.remove_locked(&lock)
    }

    pub(in crate::host) fn remove_locked(self, lock: &File) -> Result<(), JournalError> {
        fs::remove_file(&self.path).and_then(|()| lock.sync_all()).map_err(failed("remove", &self.path))
    }
}

/// A file in the directory.
#[derive(Debug)]
pub(in crate::host) enum Found {
    /// Of a living process.
    Live(Record),
    /// Of a process that is gone.
    Stale(Journal),
    /// Of `host bind`: its process is gone, and what it has stays.
    Lasting(Journal),
    /// No journal that we understand; where it is now, and why.
    Unusable(PathBuf, String),
}

/// Where what outlives a run of this user is kept; nothing if the user has no home.
pub fn state_folder() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if rustix::process::geteuid().is_root() {
        return Some("/var/lib/optimus-vmm".into());
    }
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    state.map(|state| state.join("optimus-vmm"))
}

/// The directory of the journals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalDir {
    path: PathBuf,
}

impl JournalDir {
    /// In this directory, which is made when it is needed.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where this user's journals are.
    ///
    /// # Errors
    ///
    /// The user has no home.
    pub fn of_user() -> Result<Self, JournalError> {
        state_folder().map(Self::at).ok_or(JournalError::NoPlace)
    }

    pub(in crate::host) fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// Makes the directory if there is none, and waits for its lock.
    pub(in crate::host) fn lock(&self) -> Result<File, JournalError> {
        let locked = self.lock_unless(&|| false)?;
        locked.ok_or_else(|| failed("lock", &self.path)(io::ErrorKind::Interrupted.into()))
    }

    /// As [`Self::lock`], but `None` as soon as `interrupted` says so.
    pub(in crate::host) fn lock_unless(
        &self,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Option<File>, JournalError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)
            .map_err(failed("make the directory", &self.path))?;
        let dir = File::open(&self.path).map_err(failed("open", &self.path))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(dir)),
                Err(rustix::io::Errno::WOULDBLOCK) if interrupted() => return Ok(None),
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(5));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(JournalError::Busy { path: self.path.clone(), seconds: PATIENCE.as_secs() });
                }
                Err(error) => return Err(failed("lock", &self.path)(error.into())),
            }
        }
    }

    /// All journals. What is left of a replacement that was cut short is removed, and what is no journal renamed.
    pub(in crate::host) fn list(&self, _lock: &File) -> Vec<Found> {
        let mut found = Vec::new();
        for name in names(&self.path) {
            let path = self.path.join(&name);
            if name.ends_with(".tmp") {
                // Replacements are made under the lock that we hold: nobody is at it.
                let _ = fs::remove_file(&path);
            } else if name.ends_with(ENDING) {
                found.push(self.inspect(path));
            }
        }
        found
    }

    fn inspect(&self, path: PathBuf) -> Found {
        let (file, metadata) = match input::open(&path) {
            Ok(opened) => opened,
            Err(error) => return Found::Unusable(path, error.to_string()),
        };
        let free = match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => true,
            Err(rustix::io::Errno::WOULDBLOCK) => false,
            Err(error) => return Found::Unusable(path, error.to_string()),
        };
        match (read(&file, &metadata), free) {
            (Ok(record), true) => {
                let lasting = record.lasting;
                let journal = Journal { dir: self.clone(), path, record, file };
                if lasting { Found::Lasting(journal) } else { Found::Stale(journal) }
            }
            (Ok(record), false) => Found::Live(record),
            (Err(Unreadable::Newer(why)), _) | (Err(Unreadable::Corrupt(why)), false) => {
                Found::Unusable(path, why)
            }
            (Err(Unreadable::Corrupt(why)), true) => {
                let mut aside = path.clone().into_os_string();
                aside.push(".corrupt");
                let aside = PathBuf::from(aside);
                match fs::rename(&path, &aside) {
                    Ok(()) => Found::Unusable(aside, why),
                    Err(_) => Found::Unusable(path, why),
                }
            }
        }
    }

    /// Writes a new journal.
    pub(in crate::host) fn create(&self, lock: &File, record: Record) -> Result<Journal, JournalError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let machine: String =
            record.machine.chars().take(64).map(|c| if plain(c) { c } else { '_' }).collect();
        let stem = format!("{machine}-{}", record.pid);
        let free = |path: &PathBuf| !path.exists();
        let path = std::iter::once(stem.clone())
            .chain((1..u32::MAX).map(|n| format!("{stem}-{n}")))
            .map(|stem| self.path.join(stem + ENDING))
            .find(free)
            .ok_or(JournalError::NoPlace)?;
        let file = replace(lock, &path, &record)?;
        Ok(Journal { dir: self.clone(), path, record, file })
    }
}

/// Writes `path`; the result holds its lock.
fn replace(dir: &File, path: &Path, record: &Record) -> Result<File, JournalError> {
    let mut aside = path.to_owned().into_os_string();
    aside.push(".tmp");
    let write = || {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(Path::new(&aside))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let mut text = serde_json::to_vec_pretty(record)?;
        text.push(b'\n');
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        dir.sync_all()?;
        Ok(file)
    };
    write().map_err(failed("write", path))
}

enum Unreadable {
    Newer(String),
    Corrupt(String),
}

fn read(file: &File, metadata: &Metadata) -> Result<Record, Unreadable> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let corrupt = |error: &dyn ToString| Unreadable::Corrupt(error.to_string());
    let text = input::read_open(file, metadata, LONGEST).map_err(|error| corrupt(&error))?;
    let Version { format } = serde_json::from_slice(&text).map_err(|error| corrupt(&error))?;
    if format > USB {
        return Err(Unreadable::Newer(format!("a newer optimus-vmm wrote it (format {format})")));
    }
    serde_json::from_slice(&text).map_err(|error| corrupt(&error))
}
