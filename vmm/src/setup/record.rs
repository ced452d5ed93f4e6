//! The record of what was changed, from which it is undone: what was there before, byte for byte, is in it before anything is changed.
//!
//! One JSON file in a folder of its own below the system's root, `var/lib/optimus-vmm-host/record.json`. It is replaced as a whole and on the
//! disk before each step. The folder is locked (flock(2)) for as long as somebody reads or changes the system, commands that were
//! started included: one that outlives a kill keeps the lock.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use firmware::input::{self, InputError};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::hands::{self, Hands};
use super::root::{Content, Root};
use super::{SetupError, failed};

/// Where it is, below the root.
pub(super) const FOLDER: &str = "var/lib/optimus-vmm-host";
const NAME: &str = "record.json";
/// The version of the format.
const FORMAT: u32 = 1;
/// More than a record has, in bytes.
const LONGEST: u64 = 16 << 20;
/// How long another process may have the lock. A command that a killed setup has left behind may take as long.
const PATIENCE: Duration = Duration::from_secs(300);

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Phase {
    /// Changes are being made.
    Setup,
    /// All are made.
    Complete,
    /// They are being taken back.
    Undo,
}

/// A file that is made or changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileStep {
    /// Where, below the root.
    pub(super) path: String,
    /// What was there.
    pub(super) former: Option<Content>,
    /// What is to be there.
    pub(super) wanted: Option<Content>,
    /// What earlier setups wanted there, as long as it may still be there.
    pub(super) earlier: Vec<Content>,
    /// Whether it may have been written.
    pub(super) begun: bool,
}

impl FileStep {
    /// Whether what is there now is what was there before, or ours.
    pub(super) fn explains(&self, now: Option<&Content>) -> bool {
        now == self.former.as_ref()
            || (self.begun
                && (now == self.wanted.as_ref() || now.is_some_and(|now| self.earlier.contains(now))))
    }
}

/// A command that is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CommandStep {
    /// Its words.
    pub(super) run: Vec<String>,
    /// Those of what takes it back, once the files are as before.
    pub(super) undo: Vec<String>,
    /// What is to be there for that, below the root: without it, there is nothing left to undo.
    pub(super) needs: Option<String>,
    /// Whether it may have been run.
    pub(super) begun: bool,
    /// Whether it has succeeded since what it reads was changed last.
    pub(super) done: bool,
}

/// What the record says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    format: u32,
    pub(super) phase: Phase,
    pub(super) files: Vec<FileStep>,
    /// Folders that are made for them, outermost first.
    pub(super) folders: Vec<String>,
    pub(super) commands: Vec<CommandStep>,
    /// Words on the kernel's command line.
    pub(super) parameters: Vec<String>,
}

impl Record {
    pub(super) fn new() -> Self {
        Self {
            format: FORMAT,
            phase: Phase::Setup,
            files: Vec::new(),
            folders: Vec::new(),
            commands: Vec::new(),
            parameters: Vec::new(),
        }
    }

    pub(super) fn file(&self, path: &str) -> Option<&FileStep> {
        self.files.iter().find(|step| step.path == path)
    }

    pub(super) fn command(&self, run: &[String]) -> Option<&CommandStep> {
        self.commands.iter().find(|step| step.run == run)
    }
}

/// The folder of the record.
#[derive(Debug)]
pub(super) struct Records<'a> {
    root: &'a Root,
    hands: &'a dyn Hands,
}

/// The lock, for as long as it lives.
#[derive(Debug)]
pub(super) struct Lock(pub(super) File);

impl<'a> Records<'a> {
    pub(super) fn of(root: &'a Root, hands: &'a dyn Hands) -> Self {
        Self { root, hands }
    }

    fn folder(&self) -> PathBuf {
        self.root.path(FOLDER)
    }

    fn path(&self) -> PathBuf {
        self.folder().join(NAME)
    }

    /// Waits for the lock; `None` where there is no record and never was.
    pub(super) fn lock(&self) -> Result<Option<Lock>, SetupError> {
        let path = self.folder();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let folder = match File::open(&path) {
                Ok(folder) => folder,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(failed("open", &path)(error)),
            };
            match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
                // Another process may have removed the folder while we waited.
                Ok(()) if self.is_at(&folder) => return Ok(Some(Lock(folder))),
                Ok(()) => continue,
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(20));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(SetupError::Busy { path, seconds: PATIENCE.as_secs() });
                }
                Err(error) => return Err(failed("lock", &path)(error.into())),
            }
        }
    }

    /// As [`Self::lock`], with a folder that is made if need be.
    pub(super) fn lock_made(&self) -> Result<Lock, SetupError> {
        loop {
            self.hands.make_folder(&self.folder(), 0o700).map_err(failed("make", &self.folder()))?;
            if let Some(lock) = self.lock()? {
                return Ok(lock);
            }
        }
    }

    fn is_at(&self, folder: &File) -> bool {
        let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        let now = std::fs::metadata(self.folder()).map(identity);
        folder.metadata().map(identity).is_ok_and(|own| now.is_ok_and(|now| now == own))
    }

    /// What is on record.
    pub(super) fn load(&self) -> Result<Option<Record>, SetupError> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let path = self.path();
        let unreadable = |why: String| SetupError::Record { path: path.clone(), why };
        let text = match input::open(&path) {
            Ok((file, metadata)) => input::read_open(&file, &metadata, LONGEST),
            Err(InputError::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(InputError::Io(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(SetupError::Private);
            }
            Err(error) => Err(error),
        };
        let text = text.map_err(|error| unreadable(error.to_string()))?;
        let parse = |error: serde_json::Error| unreadable(error.to_string());
        let Version { format } = serde_json::from_slice(&text).map_err(parse)?;
        if format > FORMAT {
            return Err(unreadable(format!("a newer optimus-vmm wrote it (format {format})")));
        }
        serde_json::from_slice(&text).map(Some).map_err(parse)
    }

    /// Has it on the disk.
    pub(super) fn save(&self, record: &Record) -> Result<(), SetupError> {
        let path = self.path();
        let mut text = serde_json::to_string_pretty(record)
            .map_err(|error| failed("write", &path)(io::Error::other(error)))?;
        text.push('\n');
        hands::replace(self.hands, &path, &Content::new(&text, 0o600)).map_err(failed("write", &path))
    }

    /// Removes it, and its folder: there is nothing to undo any more.
    pub(super) fn remove(&self, _lock: &Lock) -> Result<(), SetupError> {
        let path = self.path();
        let gone = |path: &PathBuf| hands::remove(self.hands, path).map_err(failed("remove", path));
        gone(&hands::aside(&path))?;
        gone(&path)?;
        let folder = self.folder();
        self.hands.remove_folder(&folder).map_err(failed("remove", &folder))?;
        folder.parent().map_or(Ok(()), |above| self.hands.sync_folder(above).map_err(failed("sync", above)))
    }
}
