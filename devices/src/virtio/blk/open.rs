//! Opening disk images: what can be wrong with one is found here, and said in words that lead to a fix.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};

use imago::StorageOpenOptions;
use rustix::fs::{AtFlags, OFlags, StatxFlags, fcntl_getfl, fcntl_setfl, statx};

use super::backend::{BlockBackend, SECTOR};
use super::locks::{self, Locked};
use super::qcow2::{OpenError, Qcow2Image};
use super::raw::{Mode, RawFile};

/// Formats of disk images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFormat {
    /// The file's bytes are the disk's.
    Raw,
    /// QEMU's copy-on-write format, version 2 or 3.
    Qcow2,
}

impl DiskFormat {
    /// The format that a file's name claims: `.qcow2` (or `.qcow`) is qcow2, all else raw. A name, unlike contents,
    /// is not in the guest's hands.
    pub fn of_path(path: &Path) -> Self {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if ["qcow2", "qcow"].iter().any(|known| extension.eq_ignore_ascii_case(known)) {
            Self::Qcow2
        } else {
            Self::Raw
        }
    }
}

impl std::fmt::Display for DiskFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        })
    }
}

/// Which image, and how to use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskOptions {
    /// An image file, or a block device for raw.
    pub path: PathBuf,
    /// Its format; `None` goes by the file's name ([`DiskFormat::of_path`]).
    pub format: Option<DiskFormat>,
    /// Never write to it.
    pub read_only: bool,
    /// Bypass the host's page cache (O_DIRECT).
    pub direct: bool,
    /// Free space that the guest discards.
    pub discard: bool,
    /// Let a qcow2 image read from the backing file that its header names.
    pub allow_backing: bool,
}

impl DiskOptions {
    /// A writable image at `path` through the page cache, with discards, without backing files.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            format: None,
            read_only: false,
            direct: false,
            discard: true,
            allow_backing: false,
        }
    }
}

/// Why a disk image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// There is no such file.
    #[error(
        "the disk image {path} does not exist; correct its path, or create it, \
         for example with `qemu-img create -f {format} {path} 20G`"
    )]
    Missing {
        /// The image.
        path: String,
        /// Its claimed format.
        format: DiskFormat,
    },
    /// The path leads to something else than a file.
    #[error("{path} is {what}, not a disk image")]
    NotAFile {
        /// The path.
        path: String,
        /// What is there.
        what: &'static str,
    },
    /// Permissions forbid reading.
    #[error(
        "no permission to open the disk image {path}; change its owner or mode, or run as a user who may read it"
    )]
    NotPermitted {
        /// The image.
        path: String,
    },
    /// Permissions or the file system forbid writing.
    #[error(
        "the disk image {path} cannot be written ({reason}); make it writable, or set `readonly = true` for this disk"
    )]
    NotWritable {
        /// The image.
        path: String,
        /// The kernel's word.
        reason: &'static str,
    },
    /// Somebody else uses the image.
    #[error(
        "the disk image {path} is in use by another process, such as another VM or qemu-nbd; \
         stop that first (only disks that all users set `readonly = true` for can be shared)"
    )]
    InUse {
        /// The image.
        path: String,
    },
    /// It is no image of the claimed format.
    #[error(
        "the disk image {path} is not a qcow2 image; if its contents are the disk's bytes, set `format = \"raw\"`"
    )]
    NotQcow2 {
        /// The image.
        path: String,
    },
    /// A raw disk that starts like a qcow2 image.
    #[error(
        "the disk image {path} is to be used as raw but is a qcow2 image; set `format = \"qcow2\"` \
         (if it really is a raw disk, its first sector has been overwritten)"
    )]
    NotRaw {
        /// The image.
        path: String,
    },
    /// A known format that is not supported.
    #[error(
        "the disk image {path} is in the {format} format; convert it: \
         `qemu-img convert -O qcow2 {path} {converted}`"
    )]
    Foreign {
        /// The image.
        path: String,
        /// The format's name.
        format: &'static str,
        /// What to call the result.
        converted: String,
    },
    /// Not whole sectors.
    #[error(
        "the disk image {path} has {size} bytes, which is not a multiple of {multiple}; \
         is it complete? If so, extend it with `truncate -s %{multiple} {path}`"
    )]
    OddSize {
        /// The image.
        path: String,
        /// Its size in bytes.
        size: u64,
        /// What the size must be a multiple of.
        multiple: u64,
    },
    /// Nothing in it.
    #[error("the disk image {path} is empty; give it a size, for example with `truncate -s 20G {path}`")]
    Empty {
        /// The image.
        path: String,
    },
    /// A qcow2 image wants another file, which is not allowed.
    #[error(
        "the disk image {path} reads from the backing file {backing}; if you trust the image to name that file, \
         allow it with `backing = \"allow\"` for this disk, else merge them with `qemu-img rebase -b \"\" {path}`"
    )]
    Backing {
        /// The image.
        path: String,
        /// The other file, as the header names it.
        backing: String,
    },
    /// A qcow2 image that is damaged or uses features that are not supported.
    #[error("the qcow2 image {path} cannot be used: {reason}; `qemu-img check {path}` may tell more")]
    Qcow2 {
        /// The image.
        path: String,
        /// What was found.
        reason: String,
    },
    /// O_DIRECT is not possible.
    #[error(
        "the file system of the disk image {path} does not support direct I/O; remove `cache = \"direct\"` for this disk"
    )]
    NoDirect {
        /// The image.
        path: String,
    },
    /// Anything else.
    #[error("cannot {doing} the disk image {path}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The image.
        path: String,
        /// The kernel's error.
        source: io::Error,
    },
}

/// Opens and locks the image that `options` describe. The lock holds until the backend is dropped.
pub fn open_disk(options: &DiskOptions) -> Result<Box<dyn BlockBackend>, DiskError> {
    let format = options.format.unwrap_or_else(|| DiskFormat::of_path(&options.path));
    let image = Image { path: options.path.display().to_string(), options, format };
    let mut file = image.open()?;
    match locks::lock(&file, options.read_only).map_err(image.failed("lock"))? {
        Locked::Yes => {}
        Locked::InUse => return Err(DiskError::InUse { path: image.path }),
        Locked::Unsupported => {
            tracing::warn!(
                "the file system of {} has no locks: nothing keeps a second VM off it",
                image.path
            );
        }
    }
    image.check_format(&file)?;
    let size = file.seek(SeekFrom::End(0)).map_err(image.failed("find the size of"))?;
    if options.direct {
        let flags = fcntl_getfl(&file).and_then(|flags| fcntl_setfl(&file, flags | OFlags::DIRECT));
        flags.map_err(|_| DiskError::NoDirect { path: image.path.clone() })?;
    }
    match format {
        DiskFormat::Raw => image.raw(file, size),
        DiskFormat::Qcow2 => image.qcow2(file),
    }
}

struct Image<'a> {
    path: String,
    options: &'a DiskOptions,
    format: DiskFormat,
}

impl Image<'_> {
    fn failed(&self, doing: &'static str) -> impl FnOnce(io::Error) -> DiskError + use<> {
        let path = self.path.clone();
        move |source| DiskError::Io { doing, path, source }
    }

    fn open(&self) -> Result<File, DiskError> {
        let path = || self.path.clone();
        let explain = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                DiskError::Missing { path: path(), format: self.format }
            }
            io::ErrorKind::PermissionDenied => DiskError::NotPermitted { path: path() },
            _ => self.failed("open")(error),
        };
        // Looked at before it is opened: a FIFO would block, a directory gives an unclear error.
        let kind = std::fs::metadata(&self.options.path).map_err(explain)?.file_type();
        let what = if kind.is_dir() {
            Some("a directory")
        } else if kind.is_char_device() {
            Some("a character device")
        } else if kind.is_file() || kind.is_block_device() {
            None
        } else {
            Some("a pipe or socket")
        };
        if let Some(what) = what {
            return Err(DiskError::NotAFile { path: path(), what });
        }
        if self.options.read_only {
            return File::open(&self.options.path).map_err(explain);
        }
        let opened = OpenOptions::new().read(true).write(true).open(&self.options.path);
        opened.map_err(|error| match error.kind() {
            // Tell "may not write" from "may not open at all".
            io::ErrorKind::PermissionDenied if File::open(&self.options.path).is_ok() => {
                DiskError::NotWritable { path: path(), reason: "permission denied" }
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                DiskError::NotWritable { path: path(), reason: "its file system is mounted read-only" }
            }
            _ => explain(error),
        })
    }

    /// Compares what the file starts with to what it is said to be.
    fn check_format(&self, file: &File) -> Result<(), DiskError> {
        let mut head = [0; 72];
        let mut len = 0;
        while let Some(rest) = head.get_mut(len..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, len as u64).map_err(self.failed("read"))? {
                0 => break,
                count => len += count,
            }
        }
        let path = self.path.clone();
        let magic = |at: usize, magic: &[u8]| head.get(at..).is_some_and(|bytes| bytes.starts_with(magic));
        let foreign = [
            (0, &b"KDMV"[..], "VMDK"),
            (0, b"# Disk DescriptorFile", "VMDK"),
            (0, b"vhdxfile", "VHDX"),
            (0, b"conectix", "VHD"),
            (0x40, b"\x7f\x10\xda\xbe", "VDI"),
            (0, b"QED\0", "QED"),
        ];
        if let Some((_, _, format)) = foreign.into_iter().find(|(at, bytes, _)| magic(*at, bytes)) {
            let converted = self.options.path.with_extension("qcow2").display().to_string();
            return Err(DiskError::Foreign { path, format, converted });
        }
        match (self.format, magic(0, b"QFI\xfb")) {
            (DiskFormat::Qcow2, false) => Err(DiskError::NotQcow2 { path }),
            (DiskFormat::Raw, true) => Err(DiskError::NotRaw { path }),
            _ => Ok(()),
        }
    }

    fn check_size(&self, size: u64, multiple: u64) -> Result<(), DiskError> {
        let path = self.path.clone();
        match size {
            0 => Err(DiskError::Empty { path }),
            size if !size.is_multiple_of(multiple) => Err(DiskError::OddSize { path, size, multiple }),
            _ => Ok(()),
        }
    }

    fn raw(&self, file: File, size: u64) -> Result<Box<dyn BlockBackend>, DiskError> {
        let mode = if self.options.direct { Mode::Direct(direct_alignment(&file)) } else { Mode::Cached };
        let multiple = match mode {
            Mode::Cached => SECTOR,
            // Beyond an unaligned end, O_DIRECT could not write without growing the file.
            Mode::Direct(alignment) => u64::from(alignment).max(SECTOR),
        };
        self.check_size(size, multiple)?;
        Ok(Box::new(RawFile::new(file, size, self.options.read_only, mode, self.options.discard)))
    }

    fn qcow2(&self, file: File) -> Result<Box<dyn BlockBackend>, DiskError> {
        let DiskOptions { path, format: _, read_only, direct, discard, allow_backing } = self.options;
        let options = StorageOpenOptions::new().write(!read_only).direct(*direct).filename(path);
        let image =
            Qcow2Image::open(file, options, *read_only, *allow_backing, *discard).map_err(|error| {
                let path = self.path.clone();
                match error {
                    OpenError::Backing(backing) => DiskError::Backing { path, backing },
                    OpenError::ExternalData => {
                        DiskError::Qcow2 { path, reason: "its data is in an external file".to_owned() }
                    }
                    OpenError::Image(error) => DiskError::Qcow2 { path, reason: error.to_string() },
                }
            })?;
        self.check_size(image.bytes(), SECTOR)?;
        Ok(Box::new(image))
    }
}

/// What O_DIRECT demands of `file`, in bytes: the stricter of memory and offset alignment.
fn direct_alignment(file: &File) -> u32 {
    // Kernels before 6.1 and some file systems do not tell; a page satisfies all of them.
    const SAFE: u32 = 4096;
    let told = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN);
    match told.map(|told| told.stx_dio_mem_align.max(told.stx_dio_offset_align)) {
        Ok(alignment) if alignment.is_power_of_two() && alignment <= SAFE => alignment.max(SECTOR as u32),
        _ => SAFE,
    }
}
