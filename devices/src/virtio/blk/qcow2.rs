//! qcow2 images, through the `imago` crate.
//!
//! imago keeps tables in memory and writes them in an order in which pointers to data follow the refcounts of what
//! they point at; [`Ordered`] does the same for pointers to tables. So an image whose process is killed has at worst
//! leaked clusters. A flush writes all tables and syncs the file.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use imago::file::File as ImagoFile;
use imago::format::builder::FormatDriverBuilder;
use imago::format::gate::ImplicitOpenGate;
use imago::io_buffers::{IoVector, IoVectorMut};
use imago::qcow2::Qcow2;
use imago::{FormatAccess, StorageOpenOptions};
use vm_memory::VolatileSlice;

use super::backend::{BlockBackend, SECTOR, Topology};
use super::locks;
use super::ordered::Ordered;

/// Buffers in one system call at most (IOV_MAX), which imago does not split.
const MAX_BUFFERS: usize = 1024;
/// Zeroes written at once where the image cannot say "zero".
static ZEROES: [u8; 1 << 16] = [0; 1 << 16];

/// Why a qcow2 image cannot be used.
#[derive(Debug)]
pub(super) enum OpenError {
    /// It refers to this other file, which was not allowed.
    Backing(String),
    /// It keeps its data in another file.
    ExternalData,
    /// imago's reason.
    Image(io::Error),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Image(error)
    }
}

/// An open qcow2 image.
pub(super) struct Qcow2Image {
    access: FormatAccess<Ordered>,
    /// New tables wait for a flush to be referred to.
    holding: Arc<AtomicBool>,
    read_only: bool,
    discard: bool,
    cluster: u32,
}

impl Qcow2Image {
    /// Opens the image in `file`, which `options` describe.
    pub(super) fn open(
        file: std::fs::File,
        options: StorageOpenOptions,
        read_only: bool,
        allow_backing: bool,
        discard: bool,
    ) -> Result<Self, OpenError> {
        let storage = Ordered::new(ImagoFile::from_open_file(file, options)?)?;
        let holding = storage.holding();
        let mut image = Qcow2::<Ordered>::open_image(storage, !read_only)?;
        if image.requires_external_data_file() {
            return Err(OpenError::ExternalData);
        }
        image.set_data_file(None);
        match image.implicit_backing_file() {
            Some(name) if !allow_backing => return Err(OpenError::Backing(name.clone())),
            _ => image.open_implicit_dependencies_gated(BackingGate)?,
        }
        let access = FormatAccess::new(image);
        // What version 2 images do not tell is at least this.
        let cluster =
            access.inner().zero_granularity().and_then(|size| u32::try_from(size).ok()).unwrap_or(1 << 16);
        Ok(Self { access, holding, read_only, discard, cluster })
    }

    /// The capacity, which need not be whole sectors.
    pub(super) fn bytes(&self) -> u64 {
        self.access.size()
    }

    /// Completes the set-up of new tables, if the last change needed any: each serves hundreds of megabytes.
    fn settle(&self) -> io::Result<()> {
        if self.holding.load(Ordering::Acquire) { self.access.flush() } else { Ok(()) }
    }

    fn write_out_zeroes(&self, mut offset: u64, mut len: u64) -> io::Result<()> {
        while len > 0 {
            let piece = usize::try_from(len).unwrap_or(usize::MAX).min(ZEROES.len());
            self.access.write(ZEROES.get(..piece).unwrap_or_default(), offset)?;
            offset += piece as u64;
            len -= piece as u64;
        }
        Ok(())
    }
}

impl BlockBackend for Qcow2Image {
    fn size(&self) -> u64 {
        self.access.size()
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn can_discard(&self) -> bool {
        self.discard && !self.read_only
    }

    fn topology(&self) -> Topology {
        let physical_block = 4096.max(SECTOR as u32);
        Topology { physical_block, optimal_io: self.cluster, discard_granularity: self.cluster }
    }

    fn read(&mut self, mut offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        for batch in buffers.chunks(MAX_BUFFERS) {
            let (vector, guard) = IoVectorMut::from_volatile_slice(batch);
            let len = vector.len();
            self.access.readv(vector, offset)?;
            drop(guard);
            offset += len;
        }
        Ok(())
    }

    fn write(&mut self, mut offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        for batch in buffers.chunks(MAX_BUFFERS) {
            let (vector, guard) = IoVector::from_volatile_slice(batch);
            let len = vector.len();
            self.access.writev(vector, offset)?;
            drop(guard);
            offset += len;
        }
        self.settle()
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.read_only {
            return Ok(());
        }
        // Tables from memory to the file, then the file to the disk.
        self.access.flush()?;
        self.access.sync()
    }

    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        if !self.can_discard() {
            return Ok(());
        }
        match self.access.discard_to_any(offset, len) {
            // Version 2 images cannot, and a discard is advice.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
            done => done?,
        }
        self.settle()
    }

    fn write_zeroes(&mut self, offset: u64, len: u64, unmap: bool) -> io::Result<()> {
        let done = if unmap && self.can_discard() {
            self.access.discard_to_zero(offset, len)
        } else {
            self.access.write_zeroes(offset, len)
        };
        match done {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => self.write_out_zeroes(offset, len)?,
            done => done?,
        }
        self.settle()
    }
}

/// Opens backing files, which are allowed, read-only and locked against writers.
struct BackingGate;

impl ImplicitOpenGate<Ordered> for BackingGate {
    fn open_format<F: FormatDriverBuilder<Ordered>>(
        &mut self,
        builder: F,
    ) -> io::Result<FormatAccess<Ordered>> {
        Ok(FormatAccess::new(builder.open(BackingGate)?))
    }

    fn open_storage(&mut self, options: StorageOpenOptions) -> io::Result<Ordered> {
        let path: PathBuf = options.get_filename().map(Into::into).unwrap_or_default();
        let file = std::fs::File::open(&path)?;
        if locks::lock(&file, true)? == locks::Locked::InUse {
            return Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                format!("the backing file {} is being written by another process", path.display()),
            ));
        }
        Ordered::new(ImagoFile::from_open_file(file, StorageOpenOptions::new().filename(path))?)
    }
}
