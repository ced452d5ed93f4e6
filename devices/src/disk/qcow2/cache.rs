//! A write-back cache of tables of one cluster each: L2 tables or refcount blocks.
//!
//! Tables that were changed stay until they are written, which only the image knows the time for ([`super::write_back`]):
//! the cache grows beyond its size meanwhile, and says so.

use std::collections::HashMap;
use std::io;
use std::ops::Range;

use super::image_file::ImageFile;

/// Tables kept at least.
const MIN_TABLES: u64 = 16;

/// A table in memory.
struct Table {
    offset: u64,
    bytes: Box<[u8]>,
    /// Bytes that the file does not have yet.
    dirty: Range<usize>,
    /// Used since the clock's hand came by.
    used: bool,
}

/// Tables by their offsets in the file.
pub(super) struct TableCache {
    table_len: usize,
    capacity: usize,
    tables: Vec<Table>,
    places: HashMap<u64, usize>,
    hand: usize,
    dirty: usize,
}

impl TableCache {
    /// A cache of about `bytes` for tables of `table_len` bytes.
    pub(super) fn new(table_len: u64, bytes: u64) -> Self {
        Self {
            table_len: table_len as usize,
            capacity: (bytes / table_len).max(MIN_TABLES) as usize,
            tables: Vec::new(),
            places: HashMap::new(),
            hand: 0,
            dirty: 0,
        }
    }

    /// Whether changes have to be written to make room.
    pub(super) fn is_overfull(&self) -> bool {
        // Evicting one by one would cost a flush each.
        self.dirty > self.capacity / 2
    }

    /// Whether any table has been changed since it was written.
    pub(super) fn is_dirty(&self) -> bool {
        self.dirty > 0
    }

    /// The table at `offset`, read from `file` unless it is here.
    pub(super) fn get(&mut self, file: &ImageFile, offset: u64) -> io::Result<&[u8]> {
        let place = match self.places.get(&offset) {
            Some(place) => *place,
            None => {
                let mut bytes = vec![0; self.table_len];
                file.read_at(&mut bytes, offset)?;
                self.put(offset, bytes.into_boxed_slice())
            }
        };
        let table = self.tables.get_mut(place).ok_or(io::ErrorKind::NotFound)?;
        table.used = true;
        Ok(&table.bytes)
    }

    /// Puts the new table `bytes` at `offset`, where it has been written.
    pub(super) fn insert(&mut self, offset: u64, bytes: Vec<u8>) {
        self.put(offset, bytes.into_boxed_slice());
    }

    /// Changes bytes `at` of the table at `offset`.
    pub(super) fn change(
        &mut self,
        file: &ImageFile,
        offset: u64,
        at: Range<usize>,
        change: impl FnOnce(&mut [u8]),
    ) -> io::Result<()> {
        self.get(file, offset)?;
        let table = self.places.get(&offset).and_then(|place| self.tables.get_mut(*place));
        let table = table.ok_or(io::ErrorKind::NotFound)?;
        let bytes = table.bytes.get_mut(at.clone()).ok_or(io::ErrorKind::InvalidInput)?;
        change(bytes);
        if table.dirty.is_empty() {
            self.dirty += 1;
            table.dirty = at;
        } else {
            table.dirty = table.dirty.start.min(at.start)..table.dirty.end.max(at.end);
        }
        Ok(())
    }

    /// Forgets the table at `offset`, whose cluster has another use now.
    pub(super) fn forget(&mut self, offset: u64) {
        if let Some(place) = self.places.get(&offset).copied() {
            self.remove(place);
        }
    }

    /// Writes what has changed.
    pub(super) fn write(&mut self, file: &mut ImageFile) -> io::Result<()> {
        if self.dirty > 0 {
            for table in self.tables.iter_mut().filter(|table| !table.dirty.is_empty()) {
                let bytes = table.bytes.get(table.dirty.clone()).unwrap_or_default();
                file.write_at(bytes, table.offset + table.dirty.start as u64)?;
                table.dirty = 0..0;
                self.dirty -= 1;
            }
        }
        Ok(())
    }

    fn put(&mut self, offset: u64, bytes: Box<[u8]>) -> usize {
        self.forget(offset);
        if self.tables.len() >= self.capacity {
            self.evict();
        }
        self.tables.push(Table { offset, bytes, dirty: 0..0, used: true });
        let place = self.tables.len() - 1;
        self.places.insert(offset, place);
        place
    }

    /// Drops a table that the file has and that was not used for long, if there is one.
    fn evict(&mut self) {
        for _ in 0..2 * self.tables.len() {
            self.hand = (self.hand + 1) % self.tables.len().max(1);
            let Some(table) = self.tables.get_mut(self.hand) else { return };
            if !table.dirty.is_empty() {
                continue;
            }
            if !std::mem::take(&mut table.used) {
                return self.remove(self.hand);
            }
        }
    }

    fn remove(&mut self, place: usize) {
        if place >= self.tables.len() {
            return;
        }
        let table = self.tables.swap_remove(place);
        self.places.remove(&table.offset);
        self.dirty -= usize::from(!table.dirty.is_empty());
        if let Some(moved) = self.tables.get(place) {
            self.places.insert(moved.offset, place);
        }
    }
}
