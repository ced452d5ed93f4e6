//! The file of shared memory: made, or taken as it is if it is what a client expects.
//!
//! A client maps as much as the file is long, so a file of another size is refused; and it is never cut, since whoever has mapped it would
//! then be killed by SIGBUS.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use nix::unistd::{Gid, Group, Uid};
use rustix::fs::{FallocateFlags, fallocate};
use vocabulary::ByteSize;

use super::mapping::Mapping;
use super::{LOOKING_GLASS, Shmem};
use crate::device::Purpose;

/// Who may use a file that is made: its owner and its group.
const MODE: u32 = 0o660;

/// Why there is no shared memory.
#[derive(Debug, thiserror::Error)]
pub(super) enum ShmemError {
    /// It is there and cannot be opened.
    #[error("cannot open {path}: {source}")]
    Open { path: String, source: io::Error },
    /// It is not there, and its folder has no place for it.
    #[error("cannot make {path}: {source}")]
    Make { path: String, source: io::Error },
    /// A device of the host that no module has made.
    #[error("{path} is not there")]
    NoDevice { path: String },
    /// A folder, for example.
    #[error("{path} is neither a file nor a character device")]
    Kind { path: String },
    #[error("{path} belongs to the user with the number {owner}, who could read what the guest shows")]
    Owner { path: String, owner: u32 },
    /// Another machine's guest would write to it, too.
    #[error("{path} is the memory of a machine that runs")]
    Used { path: String },
    /// Anybody may.
    #[error("every user of this host may open {path} (mode {mode:o}), and see what the guest shows")]
    Mode { path: String, mode: u32 },
    /// It was made for another machine, or another screen.
    #[error("{path} has {found} bytes, and {wanted} are wanted")]
    Size { path: String, found: u64, wanted: u64 },
    /// The file system is full, or has no such files.
    #[error("cannot take {wanted} of memory for {path}: {source}")]
    Reserve { path: String, wanted: ByteSize, source: io::Error },
    /// No such group, or no right to give a file to it.
    #[error("cannot give {path} to the group {group}: {why}")]
    Group { path: String, group: String, why: String },
    #[error("cannot map {wanted} of {path}: {source}")]
    Map { path: String, wanted: ByteSize, source: io::Error },
}

impl ShmemError {
    /// The key that is to blame.
    pub(super) fn key(&self) -> &'static str {
        match self {
            Self::Group { .. } => "group",
            _ => "path",
        }
    }

    /// What to do.
    pub(super) fn help(&self, shmem: &Shmem) -> String {
        let path = shmem.path.display();
        match self {
            Self::Open { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                format!(
                    "`ls -l {path}` shows who may; its owner can remove it, and the next run makes it for you"
                )
            }
            Self::Open { .. } | Self::Kind { .. } => {
                format!("give another `path`, such as \"{LOOKING_GLASS}\"")
            }
            Self::Make { .. } => format!(
                "its folder must exist and be yours to write to; \"{LOOKING_GLASS}\" is where the client looks"
            ),
            Self::NoDevice { .. } => format!(
                "`sudo modprobe kvmfr static_size_mb={}` loads Looking Glass' module; without it, \"{LOOKING_GLASS}\" does",
                shmem.size.bytes() >> 20
            ),
            Self::Used { .. } => "give each machine a `path` of its own".into(),
            Self::Mode { .. } => format!("`chmod 660 {path}`"),
            Self::Owner { .. } => format!("`sudo rm {path}`, or give another `path`"),
            Self::Size { .. } => format!("end Looking Glass' client and remove it: `rm {path}`"),
            Self::Reserve { .. } => {
                "free memory on that file system (`df -h /dev/shm`), or ask for less".into()
            }
            Self::Group { .. } => {
                "name a group that you are a member of (`id -Gn`), or leave `group` out".into()
            }
            Self::Map { .. } if is_device(&shmem.path) => {
                format!(
                    "the module's memory must not be smaller: `static_size_mb={}` is its option",
                    shmem.size.bytes() >> 20
                )
            }
            Self::Map { .. } => "give another `path`".into(),
        }
    }
}

type Result<T> = std::result::Result<T, Box<ShmemError>>;

fn text(shmem: &Shmem) -> String {
    shmem.path.display().to_string()
}

/// Opens what is there, or makes it, for a run; `None` where it is only looked at.
pub(super) fn open(shmem: &Shmem, purpose: Purpose) -> Result<Option<File>> {
    match (existing(shmem)?, purpose) {
        (Some(_), Purpose::Look) => Ok(None),
        (Some(file), Purpose::Run) => {
            lock(shmem, &file)?;
            reserve(shmem, file).map(Some)
        }
        // A file in /dev would keep the module from making its device.
        (None, _) if is_device(&shmem.path) => Err(Box::new(ShmemError::NoDevice { path: text(shmem) })),
        (None, Purpose::Look) => look_at_folder(shmem).map(|()| None),
        (None, Purpose::Run) => make(shmem).map(Some),
    }
}

/// Whether this is the place of a device.
fn is_device(path: &Path) -> bool {
    path.starts_with("/dev") && !path.starts_with("/dev/shm")
}

/// Keeps the file for this machine for as long as it is open.
fn lock(shmem: &Shmem, file: &File) -> Result<()> {
    match rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Box::new(ShmemError::Used { path: text(shmem) })),
        // A file system without locks, or a device's driver.
        _ => Ok(()),
    }
}

/// What is there already.
fn existing(shmem: &Shmem) -> Result<Option<File>> {
    let failed = |source| Box::new(ShmemError::Open { path: text(shmem), source });
    // Who may make files in /dev/shm may make links there, too; and a FIFO must not hold up the start.
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(&shmem.path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    check(shmem, &metadata, Uid::effective().as_raw(), caller().0)?;
    Ok(Some(file))
}

/// Whether this is what it should be for a process of the user `me`, whom `caller` has become by sudo(8).
fn check(shmem: &Shmem, metadata: &Metadata, me: u32, caller: Option<u32>) -> Result<()> {
    let path = text(shmem);
    if metadata.file_type().is_char_device() {
        return Ok(());
    }
    if !metadata.is_file() {
        return Err(Box::new(ShmemError::Kind { path }));
    }
    let (owner, root) = (metadata.uid(), 0);
    // Everybody may make files in /dev/shm, and whoever has made one reads what is in it.
    if owner != me && owner != root && Some(owner) != caller {
        return Err(Box::new(ShmemError::Owner { path, owner }));
    }
    let (found, wanted) = (metadata.len(), shmem.size.bytes());
    // An empty one was made by systemd-tmpfiles(8), for its owner and mode.
    if found != 0 && found != wanted {
        return Err(Box::new(ShmemError::Size { path, found, wanted }));
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o006 != 0 {
        return Err(Box::new(ShmemError::Mode { path, mode }));
    }
    Ok(())
}

fn look_at_folder(shmem: &Shmem) -> Result<()> {
    let folder = shmem.path.parent().unwrap_or(Path::new("/"));
    let failed = |source| Box::new(ShmemError::Make { path: text(shmem), source });
    if !folder.metadata().map_err(failed)?.is_dir() {
        return Err(failed(io::ErrorKind::NotADirectory.into()));
    }
    rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).map_err(|error| failed(error.into()))?;
    group(shmem).map(drop)
}

/// The number of the group that is asked for.
fn group(shmem: &Shmem) -> Result<Option<Gid>> {
    let Some(name) = &shmem.group else { return Ok(None) };
    let failed = |why: String| Box::new(ShmemError::Group { path: text(shmem), group: name.clone(), why });
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(Some(group.gid)),
        Ok(None) => Err(failed("this host has no such group".into())),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// The user and the group who have called sudo(8), if this is root's process.
fn caller() -> (Option<u32>, Option<u32>) {
    if !Uid::effective().is_root() {
        return (None, None);
    }
    let number = |name| std::env::var(name).ok()?.parse().ok();
    (number("SUDO_UID"), number("SUDO_GID"))
}

fn make(shmem: &Shmem) -> Result<File> {
    let failed = |source| Box::new(ShmemError::Make { path: text(shmem), source });
    let wanted_group = group(shmem)?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(MODE)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&shmem.path)
        .map_err(failed)?;
    let made = lock(shmem, &file)
        .and_then(|()| prepare(shmem, &file, wanted_group))
        .and_then(|()| reserve(shmem, file));
    if made.is_err() {
        // It is ours, and nobody has been told of it.
        let _ = std::fs::remove_file(&shmem.path);
    }
    made
}

/// Sees to it that those may use a file which are meant to.
fn prepare(shmem: &Shmem, file: &File, wanted: Option<Gid>) -> Result<()> {
    let failed = |source| Box::new(ShmemError::Make { path: text(shmem), source });
    let (user, group) = caller();
    if user.is_some() || group.is_some() {
        fchown(file, user, group).map_err(failed)?;
    }
    if let (Some(gid), Some(name)) = (wanted, &shmem.group) {
        fchown(file, None, Some(gid.as_raw())).map_err(|error| {
            Box::new(ShmemError::Group { path: text(shmem), group: name.clone(), why: error.to_string() })
        })?;
    }
    // The umask has taken away what the mode of its making gave.
    file.set_permissions(PermissionsExt::from_mode(MODE)).map_err(failed)
}

/// Takes all of the memory now: a guest that finds none when it writes would be killed.
fn reserve(shmem: &Shmem, file: File) -> Result<File> {
    let is_device = file.metadata().is_ok_and(|metadata| metadata.file_type().is_char_device());
    if !is_device {
        fallocate(&file, FallocateFlags::empty(), 0, shmem.size.bytes()).map_err(|error| {
            Box::new(ShmemError::Reserve { path: text(shmem), wanted: shmem.size, source: error.into() })
        })?;
    }
    Ok(file)
}

/// Maps it.
pub(super) fn map(shmem: &Shmem, file: &File) -> Result<Mapping> {
    Mapping::new(file, shmem.size.bytes())
        .map_err(|source| Box::new(ShmemError::Map { path: text(shmem), wanted: shmem.size, source }))
}

#[cfg(test)]
mod tests;
