//! Where things are: the sizes that the header gives, and entries of L1 and L2 tables ("Cluster mapping").

use super::damaged;

/// The entry's cluster is used once: it may be changed in place.
pub(super) const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
/// The cluster reads as zeroes, whatever it holds (version 3).
pub(super) const ZERO: u64 = 1;
/// Bits of offsets in entries of either table.
pub(super) const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const L1_RESERVED: u64 = !(COPIED | OFFSET);
const L2_RESERVED: u64 = !(COPIED | COMPRESSED | OFFSET | ZERO);
/// Unit of the lengths of compressed data.
const SECTOR: u64 = 512;

/// How compressed clusters are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    /// Deflate without a header (RFC 1951).
    Deflate,
    /// A Zstandard frame (RFC 8878).
    Zstd,
}

/// Sizes, from the header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Geometry {
    pub(super) version: u32,
    pub(super) cluster_bits: u32,
    /// Base-2 logarithm of the bits of a refcount.
    pub(super) refcount_order: u32,
    /// Bytes of the disk.
    pub(super) size: u64,
    pub(super) compression: Compression,
}

impl Geometry {
    /// Bytes of a cluster.
    pub(super) fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Entries of an L2 table.
    pub(super) fn l2_entries(&self) -> u64 {
        self.cluster() / 8
    }

    /// Bytes of the disk that one L2 table describes.
    pub(super) fn l2_span(&self) -> u64 {
        self.cluster() * self.l2_entries()
    }

    /// Entries of an L1 table for the whole disk.
    pub(super) fn l1_entries(&self) -> u64 {
        self.size.div_ceil(self.l2_span())
    }

    /// Whether `offset` is where a cluster begins.
    pub(super) fn is_aligned(&self, offset: u64) -> bool {
        offset.is_multiple_of(self.cluster())
    }

    /// Where in its cluster `offset` lies.
    pub(super) fn within(&self, offset: u64) -> u64 {
        offset & (self.cluster() - 1)
    }

    /// The index of the entry for `offset` in its L2 table.
    pub(super) fn l2_index(&self, offset: u64) -> usize {
        ((offset >> self.cluster_bits) & (self.l2_entries() - 1)) as usize
    }

    /// The index of the entry for `offset` in the L1 table.
    pub(super) fn l1_index(&self, offset: u64) -> usize {
        (offset / self.l2_span()) as usize
    }
}

/// An entry of an L1 table: where an L2 table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct L1Entry {
    pub(super) offset: u64,
    pub(super) copied: bool,
}

impl L1Entry {
    /// `None` where there is no L2 table.
    pub(super) fn decode(entry: u64, geometry: &Geometry) -> std::io::Result<Option<Self>> {
        let offset = entry & OFFSET;
        if entry & L1_RESERVED != 0 || !geometry.is_aligned(offset) {
            return Err(damaged(format!("{entry:#x} is no entry of an L1 table")));
        }
        Ok((offset != 0).then_some(Self { offset, copied: entry & COPIED != 0 }))
    }
}

/// An entry of an L2 table: where a cluster's contents are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum L2Entry {
    /// In the backing image, else zeroes.
    Unallocated,
    /// Zeroes, without or with a cluster kept for later.
    Zero { kept: Option<Cluster> },
    /// In a cluster of the file.
    Data(Cluster),
    /// Compressed, at `offset`, in `len` bytes at most.
    Compressed { offset: u64, len: u64 },
}

/// A cluster of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cluster {
    pub(super) offset: u64,
    /// It may be written in place.
    pub(super) copied: bool,
}

impl L2Entry {
    pub(super) fn decode(entry: u64, geometry: &Geometry) -> std::io::Result<Self> {
        if entry & COMPRESSED != 0 {
            return Ok(Self::compressed(entry, geometry));
        }
        let offset = entry & OFFSET;
        let zero = entry & ZERO != 0;
        if entry & L2_RESERVED != 0 || !geometry.is_aligned(offset) || zero && geometry.version < 3 {
            return Err(damaged(format!("{entry:#x} is no entry of an L2 table")));
        }
        let cluster = Cluster { offset, copied: entry & COPIED != 0 };
        Ok(match (offset, zero) {
            (0, false) => Self::Unallocated,
            (0, true) => Self::Zero { kept: None },
            (_, true) => Self::Zero { kept: Some(cluster) },
            (_, false) => Self::Data(cluster),
        })
    }

    fn compressed(entry: u64, geometry: &Geometry) -> Self {
        let length_at = 62 - (geometry.cluster_bits - 8);
        let offset = entry & ((1 << length_at) - 1);
        let sectors = (entry >> length_at & ((1 << (geometry.cluster_bits - 8)) - 1)) + 1;
        Self::Compressed { offset, len: sectors * SECTOR - offset % SECTOR }
    }

    /// The bytes of the file that the entry refers to.
    pub(super) fn extent(&self, geometry: &Geometry) -> Option<(u64, u64)> {
        match *self {
            Self::Unallocated | Self::Zero { kept: None } => None,
            Self::Zero { kept: Some(cluster) } | Self::Data(cluster) => {
                Some((cluster.offset, geometry.cluster()))
            }
            Self::Compressed { offset, len } => Some((offset, len)),
        }
    }
}
