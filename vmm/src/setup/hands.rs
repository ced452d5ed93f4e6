//! What changes a system: a few operations on files, and commands. Each is one step for a crash: it has happened, or it has not.

use std::fmt::Debug;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_process_group};

use super::root::{Content, Root};
use super::{SetupError, failed};
use crate::programs;

/// How many bytes of a command's output are told: its end, where errors are.
const TOLD: u64 = 4096;
/// How long a command that is asked to end may take.
const LAST_CHANCE: Duration = Duration::from_secs(5);

/// Why a command has not done its work.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It is not there, or cannot be started.
    #[error("it cannot be started: {0}")]
    Start(#[source] io::Error),
    /// It took too long.
    #[error("it has not ended within {} s, and was ended{}", patience.as_secs_f32(), said(output))]
    TimedOut {
        /// How long it was waited for.
        patience: Duration,
        /// The end of what it said.
        output: String,
    },
    /// It failed.
    #[error("{status}{}", said(output))]
    Failed {
        /// How it ended.
        status: String,
        /// The end of what it said.
        output: String,
    },
}

fn said(output: &str) -> String {
    match output.trim() {
        "" => ", and said nothing".into(),
        output => format!("; it said:\n{output}"),
    }
}

/// The changes that are made to a system.
pub(super) trait Hands: Debug {
    /// Makes a folder, unless there is one.
    fn make_folder(&self, path: &Path, mode: u32) -> io::Result<()>;
    /// Writes a file and has it on the disk. What was there is lost.
    fn write(&self, path: &Path, content: &Content) -> io::Result<()>;
    /// Gives a file the name of another, which is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file, if there is one.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder, if there is one and nothing is in it; whether it is gone.
    fn remove_folder(&self, path: &Path) -> io::Result<bool>;
    /// Has the names in a folder on the disk.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// Runs a command in the system, at most for `patience`. It keeps `lock`, so that nobody else begins while it runs.
    fn run(&self, root: &Root, words: &[String], patience: Duration, lock: &File) -> Result<(), RunError>;
}

/// Where a new file is until it has its name. What a crash leaves there is known by that, and does not end as those files that are read.
pub(super) fn aside(path: &Path) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    path.with_file_name(format!(".{name}.optimus-vmm-new"))
}

/// Makes `path` a file with this content, at once and on the disk.
pub(super) fn replace(hands: &dyn Hands, path: &Path, content: &Content) -> io::Result<()> {
    let aside = aside(path);
    hands.write(&aside, content)?;
    hands.rename(&aside, path)?;
    sync_folder_of(hands, path)
}

/// Removes a file for good.
pub(super) fn remove(hands: &dyn Hands, path: &Path) -> io::Result<()> {
    hands.remove_file(path)?;
    sync_folder_of(hands, path)
}

/// Removes what a crash has left aside of a file.
pub(super) fn remove_leftover(hands: &dyn Hands, path: &Path) -> Result<(), SetupError> {
    let aside = aside(path);
    match aside.symlink_metadata() {
        Ok(_) => remove(hands, &aside).map_err(failed("remove", &aside)),
        Err(_) => Ok(()),
    }
}

fn sync_folder_of(hands: &dyn Hands, path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| hands.sync_folder(folder))
}

/// The kernel's.
#[derive(Debug, Clone, Copy)]
pub(super) struct SystemHands;

impl Hands for SystemHands {
    fn make_folder(&self, path: &Path, mode: u32) -> io::Result<()> {
        match DirBuilder::new().mode(mode).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            // Whatever the umask says.
            Ok(()) => fs::set_permissions(path, Permissions::from_mode(mode)),
            done => done,
        }
    }

    fn write(&self, path: &Path, content: &Content) -> io::Result<()> {
        // One that is left of a crash may be anything.
        self.remove_file(path)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(content.bytes())?;
        if let Some((user, group)) = content.owner {
            let now = file.metadata()?;
            if (now.uid(), now.gid()) != (user, group) {
                fchown(&file, Some(user), Some(group))?;
            }
        }
        file.set_permissions(Permissions::from_mode(content.mode))?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn remove_folder(&self, path: &Path) -> io::Result<bool> {
        match fs::remove_dir(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        match File::open(path) {
            Ok(folder) => folder.sync_all(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn run(&self, root: &Root, words: &[String], patience: Duration, lock: &File) -> Result<(), RunError> {
        let [program, arguments @ ..] = words else { return Ok(()) };
        let mut command = if root.is_live() {
            programs::system(program).map_err(RunError::Start)?
        } else {
            let mut command = programs::system("chroot").map_err(RunError::Start)?;
            command.arg(root.dir()).arg(program);
            command
        };
        // A file, because a pipe has room for so much only, and is kept open by daemons that a command may leave behind.
        let mut output = tempfile::tempfile().map_err(RunError::Start)?;
        let ends = output.try_clone().and_then(|first| Ok((first, output.try_clone()?)));
        let (out, err) = ends.map_err(RunError::Start)?;
        // A group of its own: Ctrl-C on our terminal must not end it halfway.
        command.args(arguments).stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        fcntl_setfd(lock, FdFlags::empty()).map_err(|error| RunError::Start(error.into()))?;
        let child = command.spawn();
        fcntl_setfd(lock, FdFlags::CLOEXEC).map_err(|error| RunError::Start(error.into()))?;
        let mut child = child.map_err(RunError::Start)?;
        let pid = Pid::from_child(&child);
        if !programs::ends_within(pid, patience).map_err(RunError::Start)? {
            for signal in [Signal::TERM, Signal::KILL] {
                let _ = kill_process_group(pid, signal);
                if programs::ends_within(pid, LAST_CHANCE).unwrap_or(false) {
                    break;
                }
            }
            let _ = child.try_wait();
            return Err(RunError::TimedOut { patience, output: end_of(&mut output) });
        }
        let status = child.wait().map_err(RunError::Start)?;
        if status.success() {
            return Ok(());
        }
        Err(RunError::Failed { status: status.to_string(), output: end_of(&mut output) })
    }
}

/// The last lines of what a command said.
fn end_of(output: &mut File) -> String {
    let length = output.metadata().map_or(0, |metadata| metadata.len());
    let mut bytes = Vec::new();
    let read = output
        .seek(SeekFrom::Start(length.saturating_sub(TOLD)))
        .and_then(|_| output.take(TOLD).read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes).into_owned();
    match (read, length > TOLD) {
        (Err(error), _) => format!("(its output cannot be read: {error})"),
        // From the first whole line on.
        (Ok(_), true) => text.split_once('\n').map(|(_, rest)| format!("…\n{rest}")).unwrap_or(text),
        (Ok(_), false) => text,
    }
}
