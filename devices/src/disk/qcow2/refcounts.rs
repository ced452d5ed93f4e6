//! Refcounts and the allocation of clusters ("Host cluster management").
//!
//! The refcount table points to blocks, each of which counts the users of a range of clusters. A range without a block
//! is unused. A new block describes itself: it takes the first cluster of the range that it is for, so nothing recurs.

use std::collections::BTreeSet;
use std::io;

use super::cache::TableCache;
use super::damaged;
use super::entry::Geometry;
use super::header::{MAX_REFCOUNT_TABLE, REFCOUNT_TABLE_AT};
use super::image_file::ImageFile;
use super::sparse::ClusterSet;

/// Refcount blocks in memory, in bytes: 4 MiB describe 128 GiB of clusters of the usual 64 KiB.
const CACHE: u64 = 4 << 20;

/// Clusters in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) offset: u64,
    pub(super) clusters: u64,
    /// They read as zeroes: nothing was there before.
    pub(super) fresh: bool,
}

/// The refcounts of an image.
pub(super) struct Refcounts {
    geometry: Geometry,
    table_offset: u64,
    /// Offsets of blocks, 0 for none.
    table: Vec<u64>,
    /// Entries that the file does not have yet.
    table_dirty: BTreeSet<usize>,
    blocks: TableCache,
    /// Clusters that hold metadata: data never goes there.
    metadata: ClusterSet,
    /// All clusters before this one are in use.
    next: u64,
    /// Where the part of the file begins that nothing was written to.
    fresh_from: u64,
    /// Clusters with a user less, which counts once the file does not refer to them any more.
    freed: Vec<u64>,
}

impl Refcounts {
    /// The refcounts in the blocks that `table` points to, itself at `table_offset`. `metadata` lies in these clusters,
    /// and those before `next` are in use.
    pub(super) fn new(
        file: &ImageFile,
        geometry: Geometry,
        (table_offset, table): (u64, Vec<u64>),
        metadata: ClusterSet,
        next: u64,
    ) -> Self {
        let fresh_from = if file.grows() { file.len() } else { u64::MAX };
        Self {
            geometry,
            table_offset,
            table,
            table_dirty: BTreeSet::new(),
            blocks: TableCache::new(geometry.cluster(), CACHE),
            metadata,
            next,
            fresh_from,
            freed: Vec::new(),
        }
    }

    /// Finds up to `wanted` free clusters in a row, at least one, and counts them as used.
    pub(super) fn allocate(&mut self, file: &mut ImageFile, wanted: u64) -> io::Result<Run> {
        let per_block = per_block(&self.geometry);
        let mut index = self.next;
        loop {
            let place = (index / per_block) as usize;
            match self.table.get(place) {
                None => self.grow_table(file)?,
                Some(0) => {
                    self.add_block(file, place, index)?;
                    index += 1;
                }
                Some(&block) => match self.find_free(file, block, index % per_block, wanted)? {
                    None => {
                        index = (place as u64 + 1) * per_block;
                        self.next = index;
                    }
                    Some((start, count)) => return self.take(file, index - index % per_block + start, count),
                },
            }
        }
    }

    /// Takes a cluster for metadata, which begins with `bytes`. They are written at once: where there is no room, the
    /// guest's request fails, and not each flush after it.
    pub(super) fn allocate_metadata(&mut self, file: &mut ImageFile, bytes: &[u8]) -> io::Result<u64> {
        let run = self.allocate(file, 1)?;
        if let Err(error) = file.write_at(bytes, run.offset) {
            self.release(file, run)?;
            return Err(error);
        }
        self.metadata.insert(run.offset >> self.geometry.cluster_bits)?;
        Ok(run.offset)
    }

    /// Takes clusters back to which nothing has ever referred.
    pub(super) fn release(&mut self, file: &ImageFile, run: Run) -> io::Result<()> {
        let first = run.offset >> self.geometry.cluster_bits;
        for cluster in first..first + run.clusters {
            self.set(file, cluster, 0)?;
        }
        self.next = self.next.min(first);
        Ok(())
    }

    /// Notes that one user of the clusters in these bytes is gone.
    pub(super) fn free(&mut self, (offset, len): (u64, u64)) {
        let first = offset >> self.geometry.cluster_bits;
        let last = (offset + len - 1) >> self.geometry.cluster_bits;
        self.freed.extend(first..=last);
    }

    /// How many clusters wait to be counted as free.
    pub(super) fn freed(&self) -> usize {
        self.freed.len()
    }

    /// Lowers the refcounts of what was freed. Returns the clusters that are unused now, in ascending order.
    pub(super) fn settle(&mut self, file: &ImageFile) -> io::Result<Vec<u64>> {
        let mut unused = Vec::new();
        while let Some(&cluster) = self.freed.last() {
            let count = self.get(file, cluster)?;
            let Some(left) = count.checked_sub(1) else {
                return Err(damaged(format!("cluster {cluster} was in use and has refcount 0")));
            };
            self.set(file, cluster, left)?;
            self.freed.pop();
            if left == 0 {
                self.metadata.remove(cluster);
                self.next = self.next.min(cluster);
                unused.push(cluster);
            }
        }
        unused.sort_unstable();
        Ok(unused)
    }

    /// Refuses to write data to what holds metadata, or where no cluster was ever given away.
    pub(super) fn check_data(&self, offset: u64, len: u64) -> io::Result<()> {
        let bits = self.geometry.cluster_bits;
        let last = (offset + len - 1) >> bits;
        if last << bits >= self.fresh_from {
            return Err(damaged(format!("data at {offset:#x} lies beyond all clusters")));
        }
        let mut clusters = offset >> bits..=last;
        match clusters.find(|cluster| self.metadata.contains(*cluster)) {
            Some(cluster) => {
                Err(damaged(format!("a cluster of data at {:#x} holds metadata", cluster << bits)))
            }
            None => Ok(()),
        }
    }

    /// Whether the cluster at `offset` is known to hold metadata.
    pub(super) fn is_metadata(&self, offset: u64) -> bool {
        self.metadata.contains(offset >> self.geometry.cluster_bits)
    }

    pub(super) fn is_overfull(&self) -> bool {
        self.blocks.is_overfull()
    }

    /// Writes what has changed: blocks, then what points to them.
    pub(super) fn write(&mut self, file: &mut ImageFile) -> io::Result<()> {
        self.blocks.write(file)?;
        if self.table_dirty.is_empty() {
            return Ok(());
        }
        file.sync()?;
        while let Some(&place) = self.table_dirty.first() {
            let entry = self.table.get(place).copied().unwrap_or(0);
            file.write_at(&entry.to_be_bytes(), self.table_offset + place as u64 * 8)?;
            self.table_dirty.pop_first();
        }
        Ok(())
    }

    /// Counts `count` free clusters from `first` on as used.
    fn take(&mut self, file: &ImageFile, first: u64, count: u64) -> io::Result<Run> {
        let run = self.claim(file, first, count)?;
        for cluster in first..first + count {
            self.set(file, cluster, 1)?;
        }
        self.next = first + count;
        Ok(run)
    }

    /// Checks that `count` clusters from `first` on can be used.
    fn claim(&mut self, file: &ImageFile, first: u64, count: u64) -> io::Result<Run> {
        let bits = self.geometry.cluster_bits;
        if let Some(cluster) = (first..first + count).find(|cluster| self.metadata.contains(*cluster)) {
            return Err(damaged(format!("metadata at {:#x} has refcount 0", cluster << bits)));
        }
        let end = (first + count).checked_mul(self.geometry.cluster());
        // Entries have room for 56 bits.
        let Some(end) = end.filter(|end| *end <= file.capacity().min(1 << 56)) else {
            return Err(io::ErrorKind::StorageFull.into());
        };
        let offset = first << bits;
        let fresh = offset >= self.fresh_from;
        self.fresh_from = self.fresh_from.max(end);
        Ok(Run { offset, clusters: count, fresh })
    }

    /// The first free clusters of a block from entry `from` on: their place and number.
    fn find_free(
        &mut self,
        file: &ImageFile,
        block: u64,
        from: u64,
        wanted: u64,
    ) -> io::Result<Option<(u64, u64)>> {
        let order = self.geometry.refcount_order;
        let bytes = self.blocks.get(file, block)?;
        let Some(start) = (from..per_block(&self.geometry)).find(|at| load(bytes, *at, order) == 0) else {
            return Ok(None);
        };
        let end = start.saturating_add(wanted).min(per_block(&self.geometry));
        let count = (start..end).take_while(|at| load(bytes, *at, order) == 0).count();
        Ok(Some((start, count as u64)))
    }

    /// Gives a range of clusters a block, in its cluster `index`.
    fn add_block(&mut self, file: &mut ImageFile, place: usize, index: u64) -> io::Result<()> {
        let run = self.claim(file, index, 1)?;
        let mut bytes = vec![0; self.geometry.cluster() as usize];
        store(&mut bytes, index % per_block(&self.geometry), self.geometry.refcount_order, 1);
        file.write_at(&bytes, run.offset)?;
        self.metadata.insert(index)?;
        self.blocks.insert(run.offset, bytes);
        if let Some(entry) = self.table.get_mut(place) {
            *entry = run.offset;
            self.table_dirty.insert(place);
        }
        Ok(())
    }

    /// Replaces the table, all of whose ranges are in use, by a larger one behind them, with blocks for itself.
    fn grow_table(&mut self, file: &mut ImageFile) -> io::Result<()> {
        let geometry = self.geometry;
        let (per_block, per_cluster) = (per_block(&geometry), geometry.cluster() / 8);
        let old_entries = self.table.len() as u64;
        let first = old_entries * per_block;
        let wanted = (old_entries + old_entries / 2).max(old_entries + 1);
        let (mut table_clusters, mut blocks) = (wanted.div_ceil(per_cluster), 1);
        // Each block that is needed makes the area larger, by less than it describes.
        while (table_clusters + blocks).div_ceil(per_block) > blocks
            || old_entries + blocks > table_clusters * per_cluster
        {
            blocks = (table_clusters + blocks).div_ceil(per_block).max(blocks);
            table_clusters = (old_entries + blocks).div_ceil(per_cluster).max(table_clusters);
        }
        if table_clusters * geometry.cluster() > MAX_REFCOUNT_TABLE {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the image's refcount table is full"));
        }
        // The new table has entries for blocks that must be in the file with it.
        self.write(file)?;
        let count = table_clusters + blocks;
        let area = self.claim(file, first, count)?;
        let offset_of = |cluster: u64| area.offset + (cluster << geometry.cluster_bits);
        let mut table = self.table.clone();
        for block in 0..blocks {
            let mut bytes = vec![0; geometry.cluster() as usize];
            for at in 0..per_block.min(count - block * per_block) {
                store(&mut bytes, at, geometry.refcount_order, 1);
            }
            let offset = offset_of(table_clusters + block);
            file.write_at(&bytes, offset)?;
            table.push(offset);
        }
        table.resize((table_clusters * per_cluster) as usize, 0);
        let bytes: Vec<u8> = table.iter().flat_map(|entry| entry.to_be_bytes()).collect();
        file.write_at(&bytes, area.offset)?;
        file.sync()?;
        for cluster in first..first + count {
            self.metadata.insert(cluster)?;
        }
        // Offset and length in one sector, at once.
        let mut fields = area.offset.to_be_bytes().to_vec();
        fields.extend((table_clusters as u32).to_be_bytes());
        if let Err(error) = file.write_at(&fields, REFCOUNT_TABLE_AT) {
            (first..first + count).for_each(|cluster| self.metadata.remove(cluster));
            return Err(error);
        }
        self.free((self.table_offset, old_entries * 8));
        self.table_offset = area.offset;
        self.table = table;
        file.sync()
    }

    fn get(&mut self, file: &ImageFile, cluster: u64) -> io::Result<u64> {
        let (block, at) = self.block_of(cluster)?;
        Ok(load(self.blocks.get(file, block)?, at, self.geometry.refcount_order))
    }

    fn set(&mut self, file: &ImageFile, cluster: u64, count: u64) -> io::Result<()> {
        let (block, at) = self.block_of(cluster)?;
        let order = self.geometry.refcount_order;
        let first = (at << order >> 3) as usize;
        let len = (1 << order >> 3usize).max(1);
        // The byte or bytes of this entry, as a block that begins with them.
        let at = if order < 3 { at % (8 >> order) } else { 0 };
        self.blocks.change(file, block, first..first + len, |bytes| store(bytes, at, order, count))
    }

    /// The block of `cluster` and its place therein.
    fn block_of(&self, cluster: u64) -> io::Result<(u64, u64)> {
        let per_block = per_block(&self.geometry);
        let block = usize::try_from(cluster / per_block).ok().and_then(|place| self.table.get(place));
        match block {
            Some(block) if *block != 0 => Ok((*block, cluster % per_block)),
            _ => Err(damaged(format!("cluster {cluster} is in use and has no refcount"))),
        }
    }
}

/// How many refcounts a block has.
pub(super) fn per_block(geometry: &Geometry) -> u64 {
    geometry.cluster() << 3 >> geometry.refcount_order
}

/// Refcount `at` of a block, of 2^`order` bits.
pub(super) fn load(block: &[u8], at: u64, order: u32) -> u64 {
    let first = (at << order >> 3) as usize;
    match order {
        0..3 => {
            let byte = block.get(first).copied().unwrap_or(0);
            let (bits, shift) = (1u32 << order, (at << order & 7) as u32);
            u64::from(byte >> shift) & ((1 << bits) - 1)
        }
        _ => {
            let bytes = block.get(first..first + (1 << (order - 3))).unwrap_or_default();
            bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
        }
    }
}

/// Sets refcount `at` of a block to `count`, which fits.
fn store(block: &mut [u8], at: u64, order: u32, count: u64) {
    let first = (at << order >> 3) as usize;
    match order {
        0..3 => {
            let (bits, shift) = (1u32 << order, (at << order & 7) as u32);
            let mask = ((1u8 << bits) - 1) << shift;
            if let Some(byte) = block.get_mut(first) {
                *byte = *byte & !mask | (count as u8) << shift & mask;
            }
        }
        _ => {
            let len = 1usize << (order - 3);
            let bytes = count.to_be_bytes();
            let tail = bytes.get(bytes.len() - len..).unwrap_or_default();
            if let Some(place) = block.get_mut(first..first + len) {
                place.copy_from_slice(tail);
            }
        }
    }
}
