//! The files: the disk image, made once and never replaced, and vm.toml. Each is complete before it has its name.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use firmware::input::kind_name;
use firmware::new_file::{NewFile, folder_of};
use vocabulary::{ByteSize, DiskFormat};

use super::InitError;
use crate::programs;

/// Permissions of a disk image: what a guest writes is nobody else's business.
const DISK_MODE: u32 = 0o600;
/// Permissions of vm.toml, from which the umask is taken.
const TEXT_MODE: u32 = 0o666;
/// The unit of a new disk's size in bytes, that of partitions.
const UNIT: ByteSize = ByteSize::from_mib(1);

/// What becomes the machine's disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Disk {
    /// There is one.
    There(PathBuf),
    /// It is to be made.
    New(PathBuf, DiskFormat),
}

impl Disk {
    /// Looks at what is at `path`.
    ///
    /// # Errors
    /// It is no disk, or none can be made there.
    pub(super) fn at(path: &Path) -> Result<Self, InitError> {
        let format = DiskFormat::of_path(path).ok_or_else(|| InitError::DiskFormat { path: path.into() })?;
        match fs::metadata(path) {
            Ok(there) if there.is_file() || there.file_type().is_block_device() => {
                Ok(Self::There(path.into()))
            }
            Ok(there) => Err(InitError::NoDisk { path: path.into(), kind: kind_name(there.file_type()) }),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(InitError::MakeDisk { path: path.into(), why: error.to_string() })
            }
            Err(_) if path.starts_with("/dev") => Err(InitError::NoBlockDevice { path: path.into() }),
            Err(_) if path.is_symlink() => {
                let why = "there is a symbolic link of this name that leads to nothing".to_owned();
                Err(InitError::MakeDisk { path: path.into(), why })
            }
            Err(_) => {
                check_folder(path)?;
                Ok(Self::New(path.into(), format))
            }
        }
    }

    /// Where it is or will be.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::There(path) | Self::New(path, _) => path,
        }
    }
}

/// Whether there is the folder that a file is to be made in.
///
/// # Errors
/// There is none.
pub(super) fn check_folder(path: &Path) -> Result<(), InitError> {
    let folder = folder_of(path);
    if folder.is_dir() { Ok(()) } else { Err(InitError::NoFolder { path: folder.into() }) }
}

/// Whether a new disk may have this size.
///
/// # Errors
/// It may not.
pub(super) fn check_size(size: ByteSize) -> Result<(), InitError> {
    let sound = size.bytes() > 0 && size.is_multiple_of(UNIT);
    if sound { Ok(()) } else { Err(InitError::DiskSize { size: size.bytes() }) }
}

/// Makes an empty disk that takes up space only as it is written.
///
/// # Errors
/// The kernel or qemu-img refuses, or there is a file of this name by now.
pub(super) fn make_disk(path: &Path, format: DiskFormat, size: ByteSize) -> Result<(), InitError> {
    let failed = |why: String| InitError::MakeDisk { path: path.into(), why };
    let io_failed = |error: io::Error| failed(error.to_string());
    let mut new = NewFile::for_place(path, DISK_MODE).map_err(io_failed)?;
    match format {
        DiskFormat::Raw => new.file().set_len(size.bytes()).map_err(io_failed)?,
        DiskFormat::Qcow2 => qcow2(new.file(), size).map_err(failed)?,
    }
    new.file().sync_all().map_err(io_failed)?;
    match new.link(path).map_err(io_failed)? {
        Some(_) => sync_folder(path).map_err(io_failed),
        None => Err(InitError::DiskExists { path: path.into() }),
    }
}

/// Has qemu-img write an empty image into a file that has no name yet: it opens what this process has open.
fn qcow2(file: &File, size: ByteSize) -> Result<(), String> {
    let install = "install it (Debian and Ubuntu: qemu-utils; Fedora and Arch: qemu-img; openSUSE: qemu-tools), or let the name \
                   end in `.raw`";
    let program = programs::find("qemu-img", &programs::user_path())
        .ok_or_else(|| format!("qcow2 images are made by `qemu-img`, which is not installed: {install}"))?;
    let here = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let made = programs::command(&program)
        .args(["create", "-q", "-f", "qcow2", &here, &size.bytes().to_string()])
        .output()
        .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
    if made.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&made.stderr).trim().replace(&here, "the new file");
    Err(format!("`qemu-img create` ended with {}: {said}", made.status))
}

/// Writes vm.toml; in place of one that exists only if `replace` says so.
///
/// # Errors
/// The kernel refuses, or there is a file of this name.
pub(super) fn write_text(path: &Path, text: &str, replace: bool) -> Result<(), InitError> {
    let failed = |source| InitError::Write { path: path.into(), source };
    let mut new = NewFile::for_place(path, TEXT_MODE).map_err(failed)?;
    new.file().write_all(text.as_bytes()).map_err(failed)?;
    new.file().sync_all().map_err(failed)?;
    let named = if replace { new.replace(path).map(Some) } else { new.link(path) };
    if named.map_err(failed)?.is_none() {
        return Err(InitError::Exists { path: path.into() });
    }
    sync_folder(path).map_err(failed)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

/// A path as vm.toml in `folder` is to have it: the name alone of what is beside it, else the absolute path.
///
/// # Errors
/// It is no text.
pub(super) fn written(path: &Path, folder: &Path) -> Result<String, InitError> {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.into());
    let (path, folder) = (absolute(path), absolute(folder));
    // By name, and by the place that a link in the path leads to.
    let beside = path.parent().is_some_and(|parent| {
        parent == folder
            || fs::canonicalize(parent)
                .ok()
                .is_some_and(|parent| fs::canonicalize(&folder).ok() == Some(parent))
    });
    let shown = match path.file_name() {
        Some(name) if beside => Path::new(name),
        _ => path.as_path(),
    };
    shown.to_str().map(str::to_owned).ok_or_else(|| InitError::NotText { path: shown.into() })
}
