//! The header of a qcow2 image and its extensions: understood in full, or refused.
//!
//! Limits are those of QEMU (block/qcow2.c, `qcow2_do_open`).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::entry::{Compression, Geometry};
use super::image_file::ImageFile;
use super::{OpenError, damaged};

/// Sizes of the header in version 2, and at least in version 3.
const V2_LEN: usize = 72;
const V3_LEN: usize = 104;
/// Clusters have 512 bytes to 2 MiB.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;
/// Largest L1 table and refcount table, in bytes.
const MAX_L1: u64 = 32 << 20;
pub(super) const MAX_REFCOUNT_TABLE: u64 = 8 << 20;
const MAX_SNAPSHOTS: u32 = 65536;
const MAX_BACKING_NAME: u64 = 1023;

/// Offsets of fields that are written.
pub(super) const REFCOUNT_TABLE_AT: u64 = 48;
const INCOMPATIBLE_AT: u64 = 72;
pub(super) const AUTOCLEAR_AT: u64 = 88;

/// Incompatible features.
const DIRTY: u64 = 1 << 0;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;

/// Types of header extensions.
const EXT_END: u32 = 0;
const EXT_BACKING_FORMAT: u32 = 0xe279_2aca;
const EXT_FEATURE_NAMES: u32 = 0x6803_f857;
const EXT_ENCRYPTION: u32 = 0x0537_be77;

/// Why a header is refused.
#[derive(Debug)]
pub(in crate::disk) enum HeaderError {
    /// It cannot be read.
    Io(io::Error),
    /// It makes no sense.
    Invalid(String),
    /// It asks for something that is not supported: "its data is in an external file".
    Unsupported(String),
    /// Data is encrypted, by this method.
    Encrypted(String),
}

impl From<io::Error> for HeaderError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The backing file as the header names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::disk) struct Backing {
    pub(in crate::disk) name: String,
    pub(in crate::disk) format: Option<String>,
}

/// A header that makes sense.
#[derive(Debug)]
pub(in crate::disk) struct Header {
    pub(in crate::disk) backing: Option<Backing>,
    pub(super) geometry: Geometry,
    pub(super) l1_offset: u64,
    /// Entries in the L1 table, enough for the whole disk.
    pub(super) l1_entries: u64,
    pub(super) refcount_table_offset: u64,
    pub(super) refcount_table_clusters: u64,
    pub(super) snapshots: u32,
    pub(super) snapshots_offset: u64,
    pub(super) autoclear: u64,
    incompatible: u64,
}

impl Header {
    /// Reads the header of `file`.
    pub(in crate::disk) fn read(file: &File) -> Result<Self, HeaderError> {
        let mut bytes = read_up_to(file, V3_LEN)?;
        // The header's extensions may fill the first cluster.
        if let Some(bits) = Fields(&bytes).u32(20).filter(|bits| CLUSTER_BITS.contains(bits)) {
            bytes = read_up_to(file, 1 << bits)?;
        }
        Self::parse(&bytes)
    }

    /// Parses the first cluster, or as much of it as the file has.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        let fields = Fields(bytes);
        let short = || invalid(format!("its header ends after {} bytes", bytes.len()));
        let u32_at = |at: usize| fields.u32(at).ok_or_else(short);
        let u64_at = |at: usize| fields.u64(at).ok_or_else(short);
        let version = match u32_at(4)? {
            version @ (2 | 3) => version,
            other => return Err(HeaderError::Unsupported(format!("it has version {other} of the format"))),
        };
        let cluster_bits = u32_at(20)?;
        if !CLUSTER_BITS.contains(&cluster_bits) {
            return Err(invalid(format!("its header gives clusters of 2^{cluster_bits} bytes")));
        }
        let header_len = if version == 2 { V2_LEN } else { u32_at(100)? as usize };
        if version == 3 && !(V3_LEN..=1 << cluster_bits).contains(&header_len) {
            return Err(invalid(format!("its header claims a length of {header_len} bytes")));
        }
        if bytes.len() < header_len {
            return Err(short());
        }
        let extensions_end = match u64_at(8)? {
            0 => bytes.len(),
            at => usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len()),
        };
        let extensions = Extensions::parse(bytes, header_len, extensions_end)?;
        match u32_at(32)? {
            0 if extensions.encryption => {
                return Err(invalid("its header is half that of an encrypted image"));
            }
            0 => {}
            1 => return Err(HeaderError::Encrypted("AES".to_owned())),
            2 => return Err(HeaderError::Encrypted("LUKS".to_owned())),
            other => return Err(HeaderError::Encrypted(format!("by the unknown method {other}"))),
        }
        let (incompatible, autoclear, refcount_order) = match version {
            2 => (0, 0, 4),
            _ => (u64_at(72)?, u64_at(88)?, u32_at(96)?),
        };
        let compression_type = if header_len > V3_LEN { bytes.get(V3_LEN).copied().unwrap_or(0) } else { 0 };
        let compression = check_features(incompatible, compression_type, &extensions.names)?;
        if refcount_order > 6 {
            return Err(invalid(format!("its header gives refcounts of 2^{refcount_order} bits")));
        }
        let geometry = Geometry { version, cluster_bits, refcount_order, size: u64_at(24)?, compression };
        let header = Self {
            backing: backing(bytes, u64_at(8)?, u32_at(16)?, geometry.cluster(), extensions.backing_format)?,
            geometry,
            l1_offset: u64_at(40)?,
            l1_entries: u32_at(36)?.into(),
            refcount_table_offset: u64_at(48)?,
            refcount_table_clusters: u32_at(56)?.into(),
            snapshots: u32_at(60)?,
            snapshots_offset: u64_at(64)?,
            autoclear,
            incompatible,
        };
        header.check_tables()?;
        Ok(header)
    }

    fn check_tables(&self) -> Result<(), HeaderError> {
        let geometry = &self.geometry;
        let needed = geometry.l1_entries();
        if geometry.size > i64::MAX as u64 || needed > MAX_L1 / 8 {
            return Err(invalid(format!(
                "its disk of {} bytes is too large for its clusters",
                geometry.size
            )));
        }
        if self.l1_entries > MAX_L1 / 8 {
            return Err(invalid("its L1 table is too large"));
        }
        if self.l1_entries < needed {
            return Err(invalid(format!(
                "its L1 table has {} entries, and its disk of {} bytes needs {needed}",
                self.l1_entries, geometry.size
            )));
        }
        if self.refcount_table_clusters == 0 {
            return Err(invalid("it has no refcount table"));
        }
        if self.refcount_table_clusters > MAX_REFCOUNT_TABLE >> geometry.cluster_bits {
            return Err(invalid("its refcount table is too large"));
        }
        if self.snapshots > MAX_SNAPSHOTS {
            return Err(invalid("it has too many snapshots"));
        }
        let tables = [
            ("L1 table", self.l1_offset, self.l1_entries * 8),
            (
                "refcount table",
                self.refcount_table_offset,
                self.refcount_table_clusters << geometry.cluster_bits,
            ),
            ("table of snapshots", self.snapshots_offset, self.snapshots.into()),
        ];
        for (name, offset, len) in tables {
            let fits = offset.checked_add(len).is_some_and(|end| end <= i64::MAX as u64);
            if len > 0 && !(fits && offset > 0 && geometry.is_aligned(offset)) {
                return Err(invalid(format!("its {name} is at the impossible offset {offset:#x}")));
            }
        }
        Ok(())
    }

    /// Whether the image is marked as corrupt.
    pub(super) fn is_corrupt(&self) -> bool {
        self.incompatible & CORRUPT != 0
    }

    /// Refuses to write to an image that says of itself that its metadata is wrong.
    pub(super) fn check_writable(&self) -> Result<(), OpenError> {
        if self.is_corrupt() {
            return Err(OpenError::Damaged("it is marked as corrupt".to_owned()));
        }
        if self.incompatible & DIRTY != 0 {
            let reason = "it was not closed properly and its refcounts are out of date";
            return Err(OpenError::Damaged(reason.to_owned()));
        }
        Ok(())
    }
}

/// Sets the bit that says to all users that the image is corrupt. Version 2 has none.
pub(super) fn mark_corrupt(file: &mut ImageFile, version: u32) -> io::Result<()> {
    if version < 3 {
        return Ok(());
    }
    let mut bits = [0; 8];
    file.read_at(&mut bits, INCOMPATIBLE_AT)?;
    file.write_at(&(u64::from_be_bytes(bits) | CORRUPT).to_be_bytes(), INCOMPATIBLE_AT)?;
    file.sync()
}

fn invalid(reason: impl Into<String>) -> HeaderError {
    HeaderError::Invalid(reason.into())
}

/// Refuses what changes the meaning of the image in a way that is not supported. Returns how clusters are compressed.
fn check_features(
    incompatible: u64,
    compression_type: u8,
    names: &[(u8, String)],
) -> Result<Compression, HeaderError> {
    let unsupported = |what: &str| Err(HeaderError::Unsupported(what.to_owned()));
    if incompatible & EXTERNAL_DATA != 0 {
        return unsupported("its data is in an external file");
    }
    if incompatible & EXTENDED_L2 != 0 {
        return unsupported("it has extended L2 entries (subclusters)");
    }
    let unknown = incompatible & !(DIRTY | CORRUPT | COMPRESSION);
    if unknown != 0 {
        let bits = (0..64u8).filter(|bit| unknown >> bit & 1 != 0);
        let name = |bit| match names.iter().find(|(named, _)| *named == bit) {
            Some((_, name)) => format!("\"{name}\""),
            None => format!("number {bit}"),
        };
        let list = bits.map(name).collect::<Vec<_>>().join(", ");
        return Err(HeaderError::Unsupported(format!("it has the unknown incompatible feature {list}")));
    }
    match (compression_type, incompatible & COMPRESSION != 0) {
        (0, false) => Ok(Compression::Deflate),
        (1, true) => Ok(Compression::Zstd),
        (0 | 1, _) => Err(invalid("its compression type contradicts its features")),
        (other, _) => {
            Err(HeaderError::Unsupported(format!("it is compressed by the unknown method {other}")))
        }
    }
}

fn backing(
    bytes: &[u8],
    offset: u64,
    len: u32,
    cluster: u64,
    format: Option<String>,
) -> Result<Option<Backing>, HeaderError> {
    let len = u64::from(len);
    if offset == 0 || len == 0 && offset <= cluster {
        return Ok(None);
    }
    if len > MAX_BACKING_NAME || offset.checked_add(len).is_none_or(|end| end > cluster) {
        return Err(invalid("the name of its backing file is too long or lies outside of the header"));
    }
    let name = bytes.get(offset as usize..(offset + len) as usize);
    let name = name.ok_or_else(|| invalid("it ends within the name of its backing file"))?;
    let name = String::from_utf8(name.to_vec());
    match name {
        Ok(name) if !name.contains('\0') => Ok(Some(Backing { name, format })),
        _ => Err(invalid("the name of its backing file is not valid text")),
    }
}

/// What is of use in the header's extensions.
#[derive(Debug, Default)]
struct Extensions {
    backing_format: Option<String>,
    /// Bits of incompatible features and their names.
    names: Vec<(u8, String)>,
    encryption: bool,
}

impl Extensions {
    fn parse(bytes: &[u8], mut at: usize, end: usize) -> Result<Self, HeaderError> {
        let mut found = Self::default();
        let fields = Fields(bytes);
        while at.saturating_add(8) <= end {
            let (Some(kind), Some(len)) = (fields.u32(at), fields.u32(at + 4)) else { break };
            if kind == EXT_END {
                break;
            }
            let start = at + 8;
            let stop = start.checked_add(len as usize).filter(|stop| *stop <= end);
            let data = stop.and_then(|stop| bytes.get(start..stop));
            let data = data.ok_or_else(|| invalid("an extension of its header does not fit"))?;
            match kind {
                EXT_BACKING_FORMAT => {
                    found.backing_format = Some(String::from_utf8_lossy(data).into_owned());
                }
                EXT_FEATURE_NAMES => found.names = feature_names(data),
                EXT_ENCRYPTION => found.encryption = true,
                _ => {}
            }
            at = start.saturating_add(data.len().next_multiple_of(8));
        }
        Ok(found)
    }
}

/// Incompatible features (kind 0) in a table of names.
fn feature_names(data: &[u8]) -> Vec<(u8, String)> {
    let (entries, _) = data.as_chunks::<48>();
    let incompatible = entries.iter().filter_map(|entry| match entry {
        [0, bit, name @ ..] => {
            let text = name.split(|&byte| byte == 0).next().unwrap_or_default();
            Some((*bit, String::from_utf8_lossy(text).into_owned()))
        }
        _ => None,
    });
    incompatible.collect()
}

/// Big-endian values at byte offsets.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    pub(super) fn u16(&self, at: usize) -> Option<u16> {
        self.0.get(at..at.checked_add(2)?)?.try_into().ok().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&self, at: usize) -> Option<u32> {
        self.0.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&self, at: usize) -> Option<u64> {
        self.0.get(at..at.checked_add(8)?)?.try_into().ok().map(u64::from_be_bytes)
    }
}

fn read_up_to(file: &File, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Reads a table of `entries` big-endian values at `offset`, which must all be in the file.
pub(super) fn read_table(file: &ImageFile, name: &str, offset: u64, entries: u64) -> io::Result<Vec<u64>> {
    let len = entries * 8;
    if offset.checked_add(len).is_none_or(|end| end > file.len()) {
        return Err(damaged(format!("its {name} at {offset:#x} reaches beyond the end of the file")));
    }
    let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    file.read_at(&mut bytes, offset)?;
    let (chunks, _) = bytes.as_chunks::<8>();
    Ok(chunks.iter().map(|chunk| u64::from_be_bytes(*chunk)).collect())
}
