//! qcow2 images, versions 2 and 3 (QEMU's docs/interop/qcow2.rst).
//!
//! The disk is cut into clusters, which lie in the file wherever there was room. The L1 table, in memory, points to L2
//! tables, whose entries say where each cluster is ([`entry`]); refcounts say how often each cluster of the file is
//! used ([`refcounts`]). Both are kept in write-back caches ([`cache`]).
//!
//! # Trust
//!
//! An image may be damaged or forged. Its header ([`header`]) is understood in full or refused. Before the first write,
//! all metadata is compared with the refcounts ([`check`]); where metadata lies is remembered, and no data is written
//! there whatever an entry says. What turns out wrong later fails the request, marks the image corrupt and ends all
//! writing ([`Qcow2Image::guarded`]).
//!
//! # Order
//!
//! At any moment the process may be killed, or the host lose power, and the image must be consistent but for clusters
//! that count as used and are not. So what points at a cluster reaches the file after the cluster's refcount, and a
//! refcount is lowered after the last pointer is gone for good ([`write_back`]).

mod cache;
mod change;
mod check;
mod compressed;
mod discard;
mod entry;
mod header;
mod image_file;
mod l1;
mod read;
mod refcounts;
mod snapshots;
mod sparse;
mod write;
mod write_back;

use std::io;

use vm_memory::VolatileSlice;

use super::backend::{BlockBackend, Topology};
use super::engine::for_good;

pub(super) use header::{Backing, Header, HeaderError};
pub(super) use image_file::ImageFile;

use cache::TableCache;
use compressed::Decompressor;
use entry::Geometry;
use l1::L1Table;
use refcounts::Refcounts;

/// L2 tables in memory, in bytes: 32 MiB describe 256 GiB of clusters of the usual 64 KiB.
const L2_CACHE: u64 = 32 << 20;

/// How an image may be used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Access {
    pub(super) read_only: bool,
    /// Whether space that is discarded goes back to the file system.
    pub(super) discard: bool,
}

/// Why an image cannot be used although its header is right.
#[derive(Debug)]
pub(super) enum OpenError {
    /// Its metadata is wrong.
    Damaged(String),
    /// It cannot be read.
    Io(io::Error),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        match damage(&error) {
            Some(reason) => Self::Damaged(reason),
            None => Self::Io(error),
        }
    }
}

/// Metadata that is wrong, as the reason of an [`io::Error`].
#[derive(Debug, thiserror::Error)]
#[error("the qcow2 image is damaged: {0}")]
struct Damage(String);

fn damaged(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Damage(what.into()))
}

/// What is damaged, if `error` says so.
fn damage(error: &io::Error) -> Option<String> {
    error.get_ref()?.downcast_ref::<Damage>().map(|Damage(what)| what.clone())
}

/// What is needed to change an image.
struct Writable {
    refcounts: Refcounts,
    /// The header's autoclear bits, for data that each change makes stale.
    autoclear: u64,
    discard: bool,
    /// Refcounts or copied data have changed, and have to be durable before tables refer to them.
    barrier_due: bool,
}

/// Whether an image can be changed.
enum State {
    ReadOnly,
    Writable(Box<Writable>),
    /// Its metadata turned out to be wrong; what was known about its clusters is worth nothing.
    Corrupt,
}

/// An open image.
pub(super) struct Qcow2Image {
    file: ImageFile,
    geometry: Geometry,
    l1: L1Table,
    l2: TableCache,
    backing: Option<Box<dyn BlockBackend>>,
    state: State,
    decompressor: Decompressor,
    /// For the log.
    path: String,
}

impl Qcow2Image {
    /// Uses the image in `file`, whose header is `header`, over `backing`.
    pub(super) fn open(
        file: ImageFile,
        header: Header,
        access: Access,
        backing: Option<Box<dyn BlockBackend>>,
        path: &str,
    ) -> Result<Self, OpenError> {
        let geometry = header.geometry;
        let l1 = L1Table::read(&file, &header)?;
        let state = if access.read_only {
            if header.is_corrupt() {
                tracing::warn!("{path} is marked as corrupt; what is read from it may be wrong");
            }
            State::ReadOnly
        } else {
            header.check_writable()?;
            let refcounts = check::check(&file, &header, &l1)?;
            State::Writable(Box::new(Writable {
                refcounts,
                autoclear: header.autoclear,
                discard: access.discard,
                barrier_due: false,
            }))
        };
        let l2 = TableCache::new(geometry.cluster(), L2_CACHE);
        let decompressor = Decompressor::new(geometry.compression);
        Ok(Self { file, geometry, l1, l2, backing, state, decompressor, path: path.to_owned() })
    }

    fn writable(&mut self) -> io::Result<&mut Writable> {
        match &mut self.state {
            State::Writable(writable) => Ok(writable),
            State::ReadOnly => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            State::Corrupt => Err(for_good(
                io::ErrorKind::Other,
                "the image has been found damaged; nothing is written until it is repaired with `qemu-img check -r all`"
                    .into(),
            )),
        }
    }

    /// Performs `work`. If it finds damage, the image is marked as corrupt, as QEMU does it, and is not changed again.
    fn guarded<T>(&mut self, work: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        let done = work(self);
        if let Err(error) = &done
            && let Some(reason) = damage(error)
            && matches!(self.state, State::Writable(_))
        {
            self.state = State::Corrupt;
            tracing::error!(
                "the qcow2 image {} is damaged: {reason}; nothing more is written to it. \
                 Stop the virtual machine and repair the image with `qemu-img check -r all {}`",
                self.path,
                self.path
            );
            if let Err(error) = header::mark_corrupt(&mut self.file, self.geometry.version) {
                tracing::error!("the qcow2 image {} cannot be marked as corrupt: {error}", self.path);
            }
        }
        done
    }
}

impl BlockBackend for Qcow2Image {
    fn size(&self) -> u64 {
        self.geometry.size
    }

    fn read_only(&self) -> bool {
        matches!(self.state, State::ReadOnly)
    }

    fn can_discard(&self) -> bool {
        matches!(&self.state, State::Writable(writable) if writable.discard)
    }

    fn topology(&self) -> Topology {
        let cluster = self.geometry.cluster() as u32;
        Topology { physical_block: 4096, optimal_io: cluster, discard_granularity: cluster }
    }

    fn read(&mut self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        self.guarded(|image| image.read_clusters(offset, buffers))
    }

    fn write(&mut self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        self.guarded(|image| image.write_clusters(offset, buffers))
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.read_only() {
            return Ok(());
        }
        self.guarded(Self::flush_all)
    }

    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        if !self.can_discard() {
            return Ok(());
        }
        self.guarded(|image| image.discard_clusters(offset, len))
    }

    fn write_zeroes(&mut self, offset: u64, len: u64, unmap: bool) -> io::Result<()> {
        self.guarded(|image| image.zero_clusters(offset, len, unmap))
    }
}

impl Drop for Qcow2Image {
    fn drop(&mut self) {
        if let State::Writable(_) = self.state
            && let Err(error) = self.guarded(Self::write_back)
        {
            tracing::error!("what the guest had written last is not all in {}: {error}", self.path);
        }
    }
}
