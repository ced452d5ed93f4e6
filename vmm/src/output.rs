//! Files that a run writes: serial log, debug output, events, the program's own log.
//!
//! They are opened before the host is changed and emptied only when the machine is sure to start ([`Output::begin`]), so a
//! start that is refused leaves those of a running machine as they are. Opening never waits: of a FIFO somebody must have
//! the other end open already. A file that is made is its user's alone, whatever the umask says.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use firmware::input::{FLAGS, kind_name};
use firmware::new_file::may_make;
use rustix::fs::{Access, AtFlags, CWD, FlockOperation, accessat, flock};
use rustix::io::Errno;

/// Why a socket is refused.
const SOCKET: &str = "it is a socket, not a file";
/// Permissions of a file that is made.
const MODE: u32 = 0o600;

/// What tells a file from all others, whatever it is called: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity(u64, u64);

impl Identity {
    /// Of what this describes, if it is a regular file: two may write to one terminal or to `/dev/null`.
    pub fn of(metadata: &fs::Metadata) -> Option<Self> {
        metadata.is_file().then(|| Self(metadata.dev(), metadata.ino()))
    }

    /// Of the file that `path` leads to.
    pub fn at(path: &Path) -> Option<Self> {
        Self::of(&fs::metadata(path).ok()?)
    }
}

/// A file that is open for writing and still has its former contents.
#[derive(Debug)]
pub struct Output {
    file: File,
    path: PathBuf,
    identity: Option<Identity>,
}

impl Output {
    /// Opens the file at `path`, or makes it. A regular file is locked: no two machines write to it.
    ///
    /// # Errors
    ///
    /// The kernel refuses, there is a block device or a socket, a FIFO has no reader, or another program has the lock.
    pub fn open(path: &Path) -> io::Result<Self> {
        let (file, metadata) = open(path, false)?;
        let identity = Identity::of(&metadata);
        if identity.is_some() {
            lock(&file, FlockOperation::NonBlockingLockExclusive)?;
        }
        Ok(Self { file, path: path.into(), identity })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which file it is; `None` of a device or FIFO.
    pub fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// Empties the file, to be written from its beginning.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn begin(self) -> io::Result<File> {
        if self.identity.is_some() {
            self.file.set_len(0)?;
        }
        Ok(self.file)
    }
}

/// Whether [`Output::open`] would have the file at `path`, as far as that can be known without making or changing anything. A FIFO is
/// not opened, since its reader would notice, nor is a device.
///
/// # Errors
///
/// As of [`Output::open`].
pub fn look(path: &Path) -> io::Result<()> {
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return may_make(path),
        there => there?,
    };
    let kind = metadata.file_type();
    if kind.is_socket() {
        return Err(refusal(SOCKET.into()));
    }
    refuse_block_device(&metadata)?;
    if kind.is_dir() {
        return Err(Errno::ISDIR.into());
    }
    if !kind.is_file() {
        return Ok(accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS)?);
    }
    let file = File::options().write(true).custom_flags(FLAGS).open(path)?;
    // Shared, and given up at once: who looks at the same time is not refused.
    lock(&file, FlockOperation::NonBlockingLockShared)
}

/// Locks a file, or says who is in the way. File systems without locks have none to be violated.
fn lock(file: &File, operation: FlockOperation) -> io::Result<()> {
    if flock(file, operation) == Err(Errno::WOULDBLOCK) {
        let why = "another program writes to it, perhaps a running machine; choose another file";
        return Err(io::Error::new(io::ErrorKind::ResourceBusy, why));
    }
    Ok(())
}

/// Opens the file at `path` to write behind its contents, or makes it.
///
/// # Errors
///
/// As of [`Output::open`], but for the lock.
pub fn append(path: &Path) -> io::Result<File> {
    open(path, true).map(|(file, _)| file)
}

fn open(path: &Path, append: bool) -> io::Result<(File, fs::Metadata)> {
    let mut options = File::options();
    options.create(true).write(true).append(append).mode(MODE).custom_flags(FLAGS);
    let file = options.open(path).map_err(|error| explain(path, error))?;
    let metadata = file.metadata()?;
    refuse_block_device(&metadata)?;
    Ok((file, metadata))
}

fn refuse_block_device(metadata: &fs::Metadata) -> io::Result<()> {
    let kind = metadata.file_type();
    if kind.is_block_device() {
        return Err(refusal(format!("it is {}, whose contents would be lost", kind_name(kind))));
    }
    Ok(())
}

fn refusal(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// ENXIO has several reasons: open(2).
fn explain(path: &Path, error: io::Error) -> io::Error {
    if Errno::from_io_error(&error) != Some(Errno::NXIO) {
        return error;
    }
    match fs::metadata(path).map(|there| there.file_type()) {
        Ok(kind) if kind.is_fifo() => refusal(format!(
            "nobody reads this FIFO: start its reader first, such as `cat {}`",
            path.display()
        )),
        Ok(kind) if kind.is_socket() => refusal(SOCKET.into()),
        _ => error,
    }
}

/// The regular files that this process has open, such as the backing images of disks and the log: proc_pid_fd(5). What it
/// was started with, as a shell's redirection, is the caller's business: only our own are closed on exec.
pub fn open_files() -> Vec<(Identity, PathBuf)> {
    const CLOEXEC: u32 = libc::O_CLOEXEC.cast_unsigned();
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let Some(identity) = Identity::at(&entry.path()) else { continue };
        let info = fs::read_to_string(PathBuf::from("/proc/self/fdinfo").join(entry.file_name()));
        let flags = info.ok().and_then(|info| {
            let line = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
            u32::from_str_radix(line.trim(), 8).ok()
        });
        if flags.is_some_and(|flags| flags & CLOEXEC != 0) {
            let path = fs::read_link(entry.path()).unwrap_or_else(|_| entry.path());
            found.push((identity, path));
        }
    }
    found
}

#[cfg(test)]
mod tests;
