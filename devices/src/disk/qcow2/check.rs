//! What `qemu-img check` would find, looked for before an image is written to.
//!
//! All references are counted and compared with the refcounts. A refcount that is too high leaks space and does no
//! harm. One that is too low, metadata that overlaps something, and references to nowhere are damage: the next write
//! could land on what it must not touch. Each table is read once, in order of place and large pieces, however many
//! snapshots share it.

use std::collections::BTreeMap;
use std::io;

use super::entry::{Cluster, Geometry, L1Entry, L2Entry};
use super::header::{Header, read_table};
use super::image_file::ImageFile;
use super::l1::L1Table;
use super::refcounts::{Refcounts, load, per_block};
use super::snapshots::Snapshots;
use super::sparse::{ClusterSet, Sparse};
use super::{OpenError, damaged};

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;
/// Bits of a refcount table's entry that are no offset.
const REFCOUNT_TABLE_RESERVED: u64 = 0x1ff;

/// Checks the metadata of the image in `file`. Returns its refcounts.
pub(super) fn check(file: &ImageFile, header: &Header, l1: &L1Table) -> Result<Refcounts, OpenError> {
    let geometry = header.geometry;
    let snapshots = Snapshots::read(file, header)?;
    let mut check = Check {
        file,
        geometry,
        counts: Sparse::default(),
        metadata: ClusterSet::default(),
        once: ClusterSet::default(),
        l2_tables: BTreeMap::new(),
    };
    check.metadata("header", 0, geometry.cluster())?;
    check.metadata("L1 table", header.l1_offset, header.l1_entries * 8)?;
    let table_len = header.refcount_table_clusters << geometry.cluster_bits;
    check.metadata("refcount table", header.refcount_table_offset, table_len)?;
    check.metadata("table of snapshots", header.snapshots_offset, snapshots.len)?;
    let table = read_table(file, "refcount table", header.refcount_table_offset, table_len / 8)?;
    for &block in table.iter().filter(|block| **block != 0) {
        if block & REFCOUNT_TABLE_RESERVED != 0 {
            return Err(damaged(format!("{block:#x} is no entry of a refcount table")).into());
        }
        check.metadata("refcount block", block, geometry.cluster())?;
    }
    for &(offset, entries) in &snapshots.l1_tables {
        check.metadata("L1 table of a snapshot", offset, entries * 8)?;
    }
    check.l1_table(l1.entries(), true)?;
    for &(offset, entries) in &snapshots.l1_tables {
        let entries = read_table(file, "L1 table of a snapshot", offset, entries)?;
        check.l1_table(&entries, false)?;
    }
    check.l2_tables()?;
    let next = check.compare(&table)?;
    Ok(Refcounts::new(file, geometry, (header.refcount_table_offset, table), check.metadata, next))
}

/// An L2 table as it is referred to.
#[derive(Default)]
struct Referred {
    times: u16,
    /// By the active L1 table, which says what may be changed in place.
    active: bool,
}

struct Check<'a> {
    file: &'a ImageFile,
    geometry: Geometry,
    /// References to each cluster.
    counts: Sparse<u16>,
    metadata: ClusterSet,
    /// Clusters that an entry claims as its own.
    once: ClusterSet,
    l2_tables: BTreeMap<u64, Referred>,
}

impl Check<'_> {
    /// Counts `times` references to the clusters of these bytes.
    fn count(&mut self, name: &str, offset: u64, len: u64, times: u16) -> io::Result<()> {
        let bits = self.geometry.cluster_bits;
        // The last cluster need not be there as a whole.
        let end = offset.saturating_add(len);
        let missing = end.saturating_sub(self.file.len());
        if offset >= self.file.len() || missing >= self.geometry.cluster() {
            return Err(damaged(format!("its {name} at {offset:#x} lies beyond the end of the file")));
        }
        for cluster in offset >> bits..=(end - 1) >> bits {
            let count = self.counts.entry(cluster)?;
            *count = count.checked_add(times).ok_or_else(|| {
                damaged(format!("the cluster at {:#x} is used too many times", cluster << bits))
            })?;
        }
        Ok(())
    }

    /// Counts metadata of `len` bytes at `offset`.
    fn metadata(&mut self, name: &str, offset: u64, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        if !self.geometry.is_aligned(offset) {
            return Err(damaged(format!("its {name} at {offset:#x} is not where a cluster begins")));
        }
        self.count(name, offset, len, 1)?;
        let bits = self.geometry.cluster_bits;
        for cluster in offset >> bits..=(offset + len - 1) >> bits {
            if !self.metadata.insert(cluster)? {
                return Err(damaged(format!("its {name} at {offset:#x} overlaps other metadata")));
            }
        }
        Ok(())
    }

    /// Counts the L2 tables that `entries` refer to.
    fn l1_table(&mut self, entries: &[u64], active: bool) -> io::Result<()> {
        for &entry in entries {
            let Some(L1Entry { offset, copied }) = L1Entry::decode(entry, &self.geometry)? else { continue };
            if !self.l2_tables.contains_key(&offset) {
                self.metadata("L2 table", offset, self.geometry.cluster())?;
            } else {
                self.count("L2 table", offset, self.geometry.cluster(), 1)?;
            }
            let table = self.l2_tables.entry(offset).or_default();
            table.times += 1;
            table.active |= active;
            if copied && active {
                self.once.insert(offset >> self.geometry.cluster_bits)?;
            }
        }
        Ok(())
    }

    /// Counts what all L2 tables refer to.
    fn l2_tables(&mut self) -> io::Result<()> {
        let tables: Vec<_> = std::mem::take(&mut self.l2_tables).into_iter().collect();
        let cluster = self.geometry.cluster();
        let mut rest = tables.as_slice();
        let mut piece = Vec::new();
        while let Some((first, _)) = rest.first() {
            let max = (PIECE >> self.geometry.cluster_bits).max(1);
            let in_a_row = (0..).map(|at| first + at * cluster).zip(rest).take(max);
            let count = in_a_row.take_while(|(expected, (offset, _))| expected == offset).count();
            piece.resize(count << self.geometry.cluster_bits, 0);
            self.file.read_at(&mut piece, *first)?;
            let (now, later) = rest.split_at(count);
            for (bytes, (_, table)) in piece.chunks(cluster as usize).zip(now) {
                self.l2_table(bytes, table)?;
            }
            rest = later;
        }
        Ok(())
    }

    fn l2_table(&mut self, bytes: &[u8], table: &Referred) -> io::Result<()> {
        let (entries, _) = bytes.as_chunks::<8>();
        for entry in entries.iter().map(|entry| u64::from_be_bytes(*entry)).filter(|entry| *entry != 0) {
            let entry = L2Entry::decode(entry, &self.geometry)?;
            let Some((offset, len)) = entry.extent(&self.geometry) else { continue };
            self.count("data", offset, len, table.times)?;
            let bits = self.geometry.cluster_bits;
            if (offset >> bits..=(offset + len - 1) >> bits).any(|cluster| self.metadata.contains(cluster)) {
                return Err(damaged(format!("data at {offset:#x} overlaps metadata")));
            }
            if let L2Entry::Data(Cluster { copied: true, .. })
            | L2Entry::Zero { kept: Some(Cluster { copied: true, .. }) } = entry
                && table.active
            {
                self.once.insert(offset >> bits)?;
            }
        }
        Ok(())
    }

    /// Compares the refcounts with what was counted. Returns the first unused cluster.
    fn compare(&mut self, table: &[u64]) -> io::Result<u64> {
        let (order, bits) = (self.geometry.refcount_order, self.geometry.cluster_bits);
        let per_block = per_block(&self.geometry);
        let mut next = None;
        let mut block = vec![0; self.geometry.cluster() as usize];
        // The last cluster may reach beyond the end of the file. What is behind it nothing refers to, and its refcounts, which
        // need not take room in the file, can be many.
        let end = (self.file.len() >> bits) + 2;
        for (&offset, first) in table.iter().zip((0..).step_by(per_block as usize)) {
            if offset == 0 || first >= end {
                next.get_or_insert(first.min(end));
                continue;
            }
            self.file.read_at(&mut block, offset)?;
            for (at, cluster) in (0..per_block).zip(first..end) {
                let stored = load(&block, at, order);
                let counted = self.counts.get(cluster);
                if stored == 0 {
                    next.get_or_insert(cluster);
                }
                if stored < counted.into() {
                    return Err(damaged(format!(
                        "the cluster at {:#x} is used {counted} times and has refcount {stored}",
                        cluster << bits
                    )));
                }
                if stored != 1 && self.once.contains(cluster) {
                    return Err(damaged(format!(
                        "the cluster at {:#x} has refcount {stored} and is to be written in place",
                        cluster << bits
                    )));
                }
            }
        }
        // Clusters without a refcount.
        let described =
            |cluster: u64| table.get((cluster / per_block) as usize).is_some_and(|block| *block != 0);
        if let Some((cluster, _)) = self.counts.iter().find(|(cluster, _)| !described(*cluster)) {
            return Err(damaged(format!(
                "the cluster at {:#x} is used and has no refcount",
                cluster << bits
            )));
        }
        Ok(next.unwrap_or(end.min(table.len() as u64 * per_block)))
    }
}
