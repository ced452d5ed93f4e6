//! The active L1 table, which is in memory as a whole.

use std::collections::BTreeSet;
use std::io;

use super::entry::{COPIED, Geometry, L1Entry};
use super::header::{Header, read_table};
use super::image_file::ImageFile;

/// The L1 table and which of its entries the file does not have yet.
pub(super) struct L1Table {
    offset: u64,
    entries: Vec<u64>,
    dirty: BTreeSet<usize>,
}

impl L1Table {
    pub(super) fn read(file: &ImageFile, header: &Header) -> io::Result<Self> {
        let entries = read_table(file, "L1 table", header.l1_offset, header.l1_entries)?;
        Ok(Self { offset: header.l1_offset, entries, dirty: BTreeSet::new() })
    }

    /// The entries as they are in the file's format.
    pub(super) fn entries(&self) -> &[u64] {
        &self.entries
    }

    pub(super) fn get(&self, index: usize, geometry: &Geometry) -> io::Result<Option<L1Entry>> {
        L1Entry::decode(self.entries.get(index).copied().unwrap_or(0), geometry)
    }

    /// Points entry `index` to the L2 table at `offset`, which nothing else refers to.
    pub(super) fn set(&mut self, index: usize, offset: u64) {
        if let Some(entry) = self.entries.get_mut(index) {
            *entry = offset | COPIED;
            self.dirty.insert(index);
        }
    }

    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Writes what has changed.
    pub(super) fn write(&mut self, file: &mut ImageFile) -> io::Result<()> {
        while let Some(&index) = self.dirty.first() {
            let entry = self.entries.get(index).copied().unwrap_or(0);
            file.write_at(&entry.to_be_bytes(), self.offset + index as u64 * 8)?;
            self.dirty.pop_first();
        }
        Ok(())
    }
}
