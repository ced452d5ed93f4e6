//! Making files as a whole: nobody sees half of one, and a kill leaves none behind.
//!
//! A new file has no name until it is complete (`O_TMPFILE`, open(2)): the kernel frees it when the process dies before. File
//! systems that cannot do that get a file with a temporary name beside the place. One that a process left behind is removed
//! when the next file is made there, once it is an hour old: a living process has its own for less than a second.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, RenameFlags, accessat, linkat, open, renameat_with};
use rustix::io::Errno;

/// How temporary names begin.
const PREFIX: &str = ".optimus-vmm-new-";
/// How those of earlier versions began.
const FORMER_PREFIX: &str = ".optimus-vmm-nvram-";
/// From which age on a file with a temporary name is nobody's.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A file that is being made.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    /// The folder in which it will have its name.
    folder: PathBuf,
    /// Its temporary name, if it needs one.
    named: Option<Named>,
}

/// A temporary name, which is removed in the end.
#[derive(Debug)]
struct Named(PathBuf);

impl Drop for Named {
    fn drop(&mut self) {
        // After a rename there is nothing left.
        let _ = fs::remove_file(&self.0);
    }
}

/// The folder that a file at `path` is in.
#[must_use]
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

impl NewFile {
    /// An empty file for the place `path`, with the permissions `mode`, from which the umask is taken.
    ///
    /// # Errors
    /// The folder does not exist, or nothing can be made in it.
    pub fn for_place(path: &Path, mode: u32) -> io::Result<Self> {
        let folder = folder_of(path);
        remove_leftovers(folder);
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match open(folder, flags, Mode::from_raw_mode(mode)) {
            Ok(fd) => Ok(Self { file: fd.into(), folder: folder.into(), named: None }),
            // Older kernels take the flag for a directory that is to be written.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => Self::with_name(folder, mode),
            Err(error) => Err(error.into()),
        }
    }

    /// With a temporary name from the beginning.
    fn with_name(folder: &Path, mode: u32) -> io::Result<Self> {
        let made = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(folder)?;
        let (file, path) = made.keep().map_err(|error| error.error)?;
        Ok(Self { file, folder: folder.into(), named: Some(Named(path)) })
    }

    /// The file, to be written.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives the file its name, unless there is something of this name: then `None`.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn link(self, path: &Path) -> io::Result<Option<File>> {
        let given = match &self.named {
            None => linkat(CWD, own_path(&self.file), CWD, path, AtFlags::SYMLINK_FOLLOW),
            Some(Named(temporary)) => rename_to_free(temporary, path),
        };
        match given {
            Ok(()) => Ok(Some(self.file)),
            Err(Errno::EXIST) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the file its name, in place of another file of this name.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn replace(self, path: &Path) -> io::Result<File> {
        let named = match self.named {
            Some(named) => named,
            None => {
                match linkat(CWD, own_path(&self.file), CWD, path, AtFlags::SYMLINK_FOLLOW) {
                    Ok(()) => return Ok(self.file),
                    Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                // A file without a name can take nobody's place: it has one for the moment between two system calls.
                let mut name = OsString::from(PREFIX);
                name.push(format!("{}-{}", std::process::id(), self.file.as_raw_fd()));
                let temporary = self.folder.join(name);
                linkat(CWD, own_path(&self.file), CWD, &temporary, AtFlags::SYMLINK_FOLLOW)?;
                Named(temporary)
            }
        };
        fs::rename(&named.0, path)?;
        Ok(self.file)
    }
}

/// Whether this process may make a file at `path`, where there is none: its folder exists and can be written to.
///
/// # Errors
/// There is no such folder, or the kernel refuses.
pub fn may_make(path: &Path) -> io::Result<()> {
    let folder = folder_of(path);
    if !folder.is_dir() {
        let why = format!("there is no folder {}", folder.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, why));
    }
    Ok(accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?)
}

/// Replaces the file at `path` by one with these contents.
///
/// # Errors
/// The kernel refuses.
pub fn replace(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let mut new = NewFile::for_place(path, mode)?;
    new.file().write_all(contents)?;
    new.replace(path).map(drop)
}

/// Renames unless the name is taken. Not every file system that needs temporary names has hard links (vfat), and not every
/// one has such a rename (NFS).
fn rename_to_free(temporary: &Path, path: &Path) -> rustix::io::Result<()> {
    match renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => linkat(CWD, temporary, CWD, path, AtFlags::empty()),
        done => done,
    }
}

/// The name that the kernel has for a descriptor of ours.
fn own_path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Removes what processes left in `folder` that are gone.
fn remove_leftovers(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let ours =
            name.to_str().is_some_and(|name| name.starts_with(PREFIX) || name.starts_with(FORMER_PREFIX));
        let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
        if ours && age().is_some_and(|age| age > ABANDONED) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests;
