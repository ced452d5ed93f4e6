//! Reading: where each part of a range is, and from there.

use std::io;

use vm_memory::VolatileSlice;

use crate::disk::cursor::{Cursor, total, zero};

use super::entry::L2Entry;
use super::header::Fields;
use super::{Qcow2Image, damaged};

/// Where bytes of the disk are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the backing image, else zeroes.
    Unallocated,
    Zero,
    /// At this offset of the file.
    Data(u64),
    /// Compressed, at this offset and with this length at most.
    Compressed(u64, u64),
}

impl Qcow2Image {
    /// The entry of the L2 table at `table` for `offset`.
    pub(super) fn entry(&mut self, table: u64, offset: u64) -> io::Result<L2Entry> {
        let bytes = self.l2.get(&self.file, table)?;
        let entry = Fields(bytes).u64(self.geometry.l2_index(offset) * 8).unwrap_or(0);
        L2Entry::decode(entry, &self.geometry)
    }

    /// The L2 table for `offset`, if there is one.
    pub(super) fn l2_table(&self, offset: u64) -> io::Result<Option<u64>> {
        let Some(entry) = self.l1.get(self.geometry.l1_index(offset), &self.geometry)? else {
            return Ok(None);
        };
        // New tables are in memory before the file reaches that far.
        let known = match &self.state {
            super::State::Writable(writable) => writable.refcounts.is_metadata(entry.offset),
            _ => entry.offset < self.file.len(),
        };
        if !known {
            return Err(damaged(format!("there is no L2 table at {:#x}", entry.offset)));
        }
        Ok(Some(entry.offset))
    }

    /// Where the disk's bytes from `offset` on are, and how many of the next `len` are there in one piece.
    pub(super) fn locate(&mut self, offset: u64, len: u64) -> io::Result<(Place, u64)> {
        let span_end = (offset / self.geometry.l2_span() + 1) * self.geometry.l2_span();
        let end = offset.saturating_add(len).min(span_end);
        let Some(table) = self.l2_table(offset)? else {
            return Ok((Place::Unallocated, end - offset));
        };
        let place = self.place(table, offset)?;
        let mut at = self.cluster_end(offset);
        while at < end {
            let joins = match (place, self.place(table, at)?) {
                (Place::Unallocated, Place::Unallocated) | (Place::Zero, Place::Zero) => true,
                (Place::Data(start), Place::Data(next)) => start + (at - offset) == next,
                _ => false,
            };
            if !joins {
                break;
            }
            at = self.cluster_end(at);
        }
        Ok((place, at.min(end) - offset))
    }

    fn place(&mut self, table: u64, offset: u64) -> io::Result<Place> {
        Ok(match self.entry(table, offset)? {
            L2Entry::Unallocated => Place::Unallocated,
            L2Entry::Zero { .. } => Place::Zero,
            L2Entry::Data(cluster) => {
                if cluster.offset >= self.file.len() {
                    let at = cluster.offset;
                    return Err(damaged(format!("data at {at:#x} lies beyond the end of the file")));
                }
                Place::Data(cluster.offset + self.geometry.within(offset))
            }
            L2Entry::Compressed { offset, len } => Place::Compressed(offset, len),
        })
    }

    /// Where the cluster that `offset` lies in ends.
    pub(super) fn cluster_end(&self, offset: u64) -> u64 {
        offset - self.geometry.within(offset) + self.geometry.cluster()
    }

    /// Fills `buffers` from `offset` on.
    pub(super) fn read_clusters(&mut self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        let end = offset + total(buffers);
        let mut cursor = Cursor::new(buffers);
        let mut part = Vec::new();
        let mut at = offset;
        while at < end {
            let (place, len) = self.locate(at, end - at)?;
            cursor.take(len, &mut part);
            self.read_place(place, at, &part)?;
            at += len;
        }
        Ok(())
    }

    fn read_place(&mut self, place: Place, offset: u64, part: &[VolatileSlice<'_>]) -> io::Result<()> {
        match place {
            Place::Unallocated => self.read_backing(offset, part)?,
            Place::Zero => zero(part),
            Place::Data(at) => self.file.read(at, part)?,
            Place::Compressed(at, len) => {
                let within = self.geometry.within(offset) as usize;
                let cluster = self.decompressor.get(&self.file, &self.geometry, (at, len))?;
                let bytes = cluster.get(within..within + total(part) as usize);
                Cursor::new(part).fill_from(bytes.unwrap_or_default());
            }
        }
        Ok(())
    }

    /// Fills `part` from the backing image, and with zeroes beyond its end.
    fn read_backing(&mut self, offset: u64, part: &[VolatileSlice<'_>]) -> io::Result<()> {
        let len = total(part);
        let Some(backing) = &mut self.backing else {
            zero(part);
            return Ok(());
        };
        // Damage there is no damage of this image.
        let foreign = |error: io::Error| io::Error::new(error.kind(), format!("in a backing file, {error}"));
        let there = backing.size().saturating_sub(offset);
        if there >= len {
            return backing.read(offset, part).map_err(foreign);
        }
        let mut cursor = Cursor::new(part);
        let mut piece = Vec::new();
        if there > 0 {
            cursor.take(there, &mut piece);
            backing.read(offset, &piece).map_err(foreign)?;
        }
        cursor.take(len - there, &mut piece);
        zero(&piece);
        Ok(())
    }
}
