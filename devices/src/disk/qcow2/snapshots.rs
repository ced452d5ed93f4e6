//! Where the L1 tables of an image's snapshots are ("Snapshots"): what they refer to must not be overwritten.

use std::io;

use super::header::{Fields, Header};
use super::image_file::ImageFile;
use super::{OpenError, damaged};

/// Bytes of an entry before its extra data and names.
const FIXED: usize = 40;
/// Largest L1 table of a snapshot, in bytes.
const MAX_L1: u64 = 32 << 20;
/// Most bytes of all of them. The entries are looked at when the image is opened, and take no room in a sparse file.
const MAX_L1_OF_ALL: u64 = 1 << 30;

/// The table of snapshots.
pub(super) struct Snapshots {
    /// Bytes of the table.
    pub(super) len: u64,
    /// Offsets and numbers of entries of the snapshots' L1 tables.
    pub(super) l1_tables: Vec<(u64, u64)>,
}

impl Snapshots {
    pub(super) fn read(file: &ImageFile, header: &Header) -> Result<Self, OpenError> {
        let mut l1_tables = Vec::new();
        let mut at = header.snapshots_offset;
        let mut total = 0_u64;
        for _ in 0..header.snapshots {
            if at.saturating_add(FIXED as u64) > file.len() {
                return Err(damaged("its table of snapshots reaches beyond the end of the file").into());
            }
            let mut entry = [0; FIXED];
            file.read_at(&mut entry, at)?;
            let short = || io::Error::from(io::ErrorKind::UnexpectedEof);
            let fields = Fields(&entry);
            let (l1_offset, l1_entries) = fields.u64(0).zip(fields.u32(8)).ok_or_else(short)?;
            let (id_len, name_len) = fields.u16(12).zip(fields.u16(14)).ok_or_else(short)?;
            let extra_len = fields.u32(36).ok_or_else(short)?;
            if u64::from(l1_entries) * 8 > MAX_L1 {
                return Err(damaged("the L1 table of a snapshot is too large").into());
            }
            total = total.saturating_add(u64::from(l1_entries) * 8);
            if total > MAX_L1_OF_ALL {
                return Err(damaged("the L1 tables of its snapshots are too large").into());
            }
            if l1_entries > 0 {
                l1_tables.push((l1_offset, l1_entries.into()));
            }
            let len = FIXED as u64 + u64::from(extra_len) + u64::from(id_len) + u64::from(name_len);
            at = at.saturating_add(len.next_multiple_of(8));
        }
        Ok(Self { len: at - header.snapshots_offset, l1_tables })
    }
}
