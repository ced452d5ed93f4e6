//! Opening disk images: what can be wrong with one is found here, and said in words that lead to a fix.
//!
//! An image and the backing files behind it form a chain, each member of which is opened, locked and looked at the same
//! way. Which files belong to it is in headers that strangers may have written: nothing about them is guessed.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, OFlags, StatxFlags, fcntl_getfl, fcntl_setfl, statx};
use vocabulary::DiskFormat;

use super::backend::{BlockBackend, SECTOR};
use super::error::DiskError;
use super::file::{self, Identity};
use super::locks::{self, Locked};
use super::qcow2::{self, Access, Header, HeaderError, ImageFile, OpenError, Qcow2Image};
use super::raw::{Mode, RawFile};

/// Most backing files behind an image.
const MAX_BACKING: usize = 100;

/// Which image, and how to use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskOptions {
    /// An image file, or a block device for raw.
    pub path: PathBuf,
    /// Its format; `None` goes by the file's name ([`DiskFormat::of_path`]), and is raw if that does not say.
    pub format: Option<DiskFormat>,
    /// Never write to it.
    pub read_only: bool,
    /// Bypass the host's page cache (O_DIRECT).
    pub direct: bool,
    /// Free space that the guest discards.
    pub discard: bool,
    /// Let a qcow2 image read from the backing file that its header names.
    pub allow_backing: bool,
    /// Only look whether it could be used: nobody is kept off it, and it must not be written to.
    pub look: bool,
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
            look: false,
        }
    }
}

/// Opens and locks the image that `options` describe, and the backing files behind it. The locks hold until the backend
/// is dropped.
pub fn open_disk(options: &DiskOptions) -> Result<Box<dyn BlockBackend>, DiskError> {
    let format = options.format.or_else(|| DiskFormat::of_path(&options.path)).unwrap_or(DiskFormat::Raw);
    let mut chain = Chain { members: Vec::new(), allow_backing: options.allow_backing };
    let image = Image { path: options.path.display().to_string(), options, format };
    image.open_checked(&mut chain)
}

/// Opens and locks the image of an optical disc. Returns it with its size in bytes.
pub(super) fn open_raw(path: &Path, look: bool) -> Result<(File, u64), DiskError> {
    let options = DiskOptions { read_only: true, look, ..DiskOptions::new(path) };
    let image = Image { path: path.display().to_string(), options: &options, format: DiskFormat::Raw };
    let mut chain = Chain { members: Vec::new(), allow_backing: false };
    image.open_file(&mut chain).map_err(|error| match error {
        DiskError::Missing { path, .. } => DiskError::NoSuchDisc { path },
        DiskError::Foreign { path, format, .. } => DiskError::NotADisc { path, format },
        DiskError::NotRaw { path } => DiskError::NotADisc { path, format: "qcow2" },
        other => other,
    })
}

/// The images that were opened on the way to this one.
struct Chain {
    members: Vec<Identity>,
    allow_backing: bool,
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

    /// A disk: an image of whole sectors, at least one.
    fn open_checked(&self, chain: &mut Chain) -> Result<Box<dyn BlockBackend>, DiskError> {
        let image = self.open(chain)?;
        let multiple = match (self.format, self.options.direct) {
            (DiskFormat::Raw, true) => u64::from(image.topology().physical_block),
            _ => SECTOR,
        };
        let path = self.path.clone();
        match image.size() {
            0 => {
                let command = match self.format {
                    DiskFormat::Raw => format!("truncate -s 20G {path}"),
                    DiskFormat::Qcow2 => format!("qemu-img resize {path} 20G"),
                };
                Err(DiskError::Empty { path, command })
            }
            size if !size.is_multiple_of(multiple) => {
                let command = match self.format {
                    DiskFormat::Raw => format!("truncate -s %{multiple} {path}"),
                    DiskFormat::Qcow2 => {
                        format!("qemu-img resize {path} {}", size.next_multiple_of(multiple))
                    }
                };
                Err(DiskError::OddSize { path, size, multiple, command })
            }
            _ => Ok(image),
        }
    }

    fn open(&self, chain: &mut Chain) -> Result<Box<dyn BlockBackend>, DiskError> {
        let (file, size) = self.open_file(chain)?;
        match self.format {
            DiskFormat::Raw => self.raw(file, size),
            DiskFormat::Qcow2 => self.qcow2(file, chain),
        }
    }

    /// The file, locked, and its size in bytes.
    fn open_file(&self, chain: &mut Chain) -> Result<(File, u64), DiskError> {
        let mut file = file::open(&self.options.path, self.format, self.options.read_only)?;
        let identity = Identity::of(&file).map_err(self.failed("look at"))?;
        if chain.members.contains(&identity) {
            return Err(DiskError::BackingLoop { path: self.path.clone() });
        }
        chain.members.push(identity);
        match locks::lock(&file, self.options.read_only, self.options.look).map_err(self.failed("lock"))? {
            Locked::Yes => {}
            Locked::InUse => return Err(DiskError::InUse { path: self.path.clone() }),
            Locked::Unsupported => {
                tracing::warn!(
                    "the file system of {} has no locks: nothing keeps a second VM off it",
                    self.path
                );
            }
        }
        self.check_format(&file)?;
        let size = file.seek(SeekFrom::End(0)).map_err(self.failed("find the size of"))?;
        Ok((file, size))
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

    fn no_direct(&self) -> impl Fn(io::Error) -> DiskError + use<> {
        let path = self.path.clone();
        move |_| DiskError::NoDirect { path: path.clone() }
    }

    fn raw(&self, file: File, size: u64) -> Result<Box<dyn BlockBackend>, DiskError> {
        let mode = if self.options.direct {
            make_direct(&file).map_err(self.no_direct())?;
            // Beyond an unaligned end, O_DIRECT could not write without growing the file.
            Mode::Direct(direct_alignment(&file))
        } else {
            Mode::Cached
        };
        Ok(Box::new(RawFile::new(file, size, self.options.read_only, mode, self.options.discard)))
    }

    fn qcow2(&self, file: File, chain: &mut Chain) -> Result<Box<dyn BlockBackend>, DiskError> {
        let header = Header::read(&file).map_err(|error| self.header_error(error))?;
        let backing = match header.backing.as_ref() {
            None => None,
            Some(backing) => Some(self.backing(backing, chain)?),
        };
        let direct = if self.options.direct {
            // A second description of the same file: tables and what is not aligned go through the page cache.
            let again = ImageFile::again(&file, !self.options.read_only).map_err(self.failed("open"))?;
            make_direct(&again).map_err(self.no_direct())?;
            let alignment = direct_alignment(&again);
            Some((again, alignment))
        } else {
            None
        };
        let file = ImageFile::new(file, direct).map_err(self.failed("find the size of"))?;
        let access = Access { read_only: self.options.read_only, discard: self.options.discard };
        let image = Qcow2Image::open(file, header, access, backing, &self.path).map_err(|error| {
            let path = self.path.clone();
            match error {
                OpenError::Damaged(reason) => DiskError::Damaged { path, reason },
                OpenError::Io(source) => DiskError::Io { doing: "read the metadata of", path, source },
            }
        })?;
        Ok(Box::new(image))
    }

    /// What to call the result of a conversion.
    fn converted(&self) -> String {
        self.options.path.with_extension("converted.qcow2").display().to_string()
    }

    fn header_error(&self, error: HeaderError) -> DiskError {
        let (path, converted) = (self.path.clone(), self.converted());
        match error {
            HeaderError::Io(source) => DiskError::Io { doing: "read the header of", path, source },
            HeaderError::Invalid(reason) => DiskError::Header { path, reason },
            HeaderError::Unsupported(feature) => DiskError::Unsupported { path, feature, converted },
            HeaderError::Encrypted(method) => DiskError::Encrypted { path, method, converted },
        }
    }

    /// Opens the backing file that this image's header names: read-only, locked against writers.
    fn backing(
        &self,
        backing: &qcow2::Backing,
        chain: &mut Chain,
    ) -> Result<Box<dyn BlockBackend>, DiskError> {
        let (path, name) = (self.path.clone(), backing.name.clone());
        if !chain.allow_backing {
            return Err(DiskError::Backing { path, backing: name });
        }
        let unsupported = |what: String| DiskError::BackingKind {
            path: self.path.clone(),
            backing: backing.name.clone(),
            what,
            converted: self.converted(),
        };
        let format = match backing.format.as_deref() {
            None => return Err(DiskError::BackingFormat { path, backing: name }),
            Some("raw") => DiskFormat::Raw,
            Some("qcow2") => DiskFormat::Qcow2,
            Some(other) => {
                return Err(unsupported(format!("whose format is {other}, neither raw nor qcow2")));
            }
        };
        if has_protocol(&name) {
            return Err(unsupported("which is not the plain path of a file".to_owned()));
        }
        if chain.members.len() > MAX_BACKING {
            return Err(DiskError::BackingDepth { path, limit: MAX_BACKING, converted: self.converted() });
        }
        let file = resolve(&self.options.path, &name);
        let options = DiskOptions {
            read_only: true,
            format: Some(format),
            look: self.options.look,
            ..DiskOptions::new(file)
        };
        let image = Image { path: options.path.display().to_string(), options: &options, format };
        image.open(chain).map_err(|source| match source {
            // Each of these names its own image, at whatever depth.
            source @ DiskError::BackingFile { .. } => source,
            source => DiskError::BackingFile { path, source: Box::new(source) },
        })
    }
}

/// Whether QEMU takes `name` for more than a path (util/path `path_has_protocol`): `nbd://…`, `json:{…}`.
fn has_protocol(name: &str) -> bool {
    name.find([':', '/']).is_some_and(|at| name.get(at..).is_some_and(|rest| rest.starts_with(':')))
}

/// The file that an image at `image` calls `name`: relative to the image's folder, as QEMU does it
/// (`path_combine`), whichever links lead there.
fn resolve(image: &Path, name: &str) -> PathBuf {
    image.parent().unwrap_or_else(|| Path::new("")).join(name)
}

fn make_direct(file: &File) -> io::Result<()> {
    Ok(fcntl_getfl(file).and_then(|flags| fcntl_setfl(file, flags | OFlags::DIRECT))?)
}

/// What O_DIRECT demands of `file`, in bytes: the stricter of memory and offset alignment.
fn direct_alignment(file: &File) -> u32 {
    // Kernels before 6.1 and some file systems do not say; a page satisfies all of them.
    const SAFE: u32 = 4096;
    let reported = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN);
    match reported.map(|stat| stat.stx_dio_mem_align.max(stat.stx_dio_offset_align)) {
        Ok(alignment) if alignment.is_power_of_two() && alignment <= SAFE => alignment.max(SECTOR as u32),
        _ => SAFE,
    }
}
