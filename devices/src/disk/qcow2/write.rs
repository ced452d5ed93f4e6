//! Writing: in place where the cluster is the image's own, else to a new cluster with what was there around the data.

use std::io;

use vm_memory::VolatileSlice;

use crate::disk::cursor::{Cursor, total};

use super::entry::{COPIED, Cluster, L2Entry};
use super::refcounts::Run;
use super::{Qcow2Image, State};

/// What to do for the next part of a write.
enum Step {
    /// Write this many bytes at this offset of the file.
    InPlace(u64, u64),
    /// The cluster is kept and reads as zeroes so far.
    Revive(u64),
    /// New clusters for this many of the disk.
    Allocate(u64),
}

impl Qcow2Image {
    /// Writes `buffers` from `offset` on.
    pub(super) fn write_clusters(&mut self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        let end = offset + total(buffers);
        let mut cursor = Cursor::new(buffers);
        let mut part = Vec::new();
        let mut at = offset;
        while at < end {
            self.before_change()?;
            let table = self.l2_table_to_change(at)?;
            let span_end = (at / self.geometry.l2_span() + 1) * self.geometry.l2_span();
            let stop = end.min(span_end);
            at = match self.step(table, at, stop)? {
                Step::InPlace(host, len) => {
                    cursor.take(len, &mut part);
                    self.write_data(host, &part)?;
                    at + len
                }
                Step::Revive(host) => {
                    let next = self.cluster_end(at).min(stop);
                    cursor.take(next - at, &mut part);
                    // The entry hides what the cluster held. It is not to show before that is overwritten for good.
                    self.writable()?.barrier_due = true;
                    self.surround(host, at, next, None)?;
                    self.write_data(host + self.geometry.within(at), &part)?;
                    self.set_entry(table, at, host | COPIED, None)?;
                    next
                }
                Step::Allocate(clusters) => {
                    let run = self.allocate(clusters)?;
                    let begin = at - self.geometry.within(at);
                    let next = (begin + (run.clusters << self.geometry.cluster_bits)).min(stop);
                    cursor.take(next - at, &mut part);
                    if let Err(error) = self.write_new(run, at, next, &part) {
                        self.release(run)?;
                        return Err(error);
                    }
                    self.point_to(table, begin, run)?;
                    next
                }
            };
        }
        Ok(())
    }

    /// What to do at `at`, for a write up to `stop` within one L2 table.
    fn step(&mut self, table: u64, at: u64, stop: u64) -> io::Result<Step> {
        match self.entry(table, at)? {
            L2Entry::Data(Cluster { offset, copied: true }) => {
                let host = offset + self.geometry.within(at);
                let mut next = self.cluster_end(at);
                while next < stop
                    && self.entry(table, next)?
                        == L2Entry::Data(Cluster { offset: host + (next - at), copied: true })
                {
                    next = self.cluster_end(next);
                }
                Ok(Step::InPlace(host, next.min(stop) - at))
            }
            L2Entry::Zero { kept: Some(Cluster { offset, copied: true }) } => Ok(Step::Revive(offset)),
            _ => {
                let mut next = self.cluster_end(at);
                let mut clusters = 1;
                while next < stop && self.needs_cluster(table, next)? {
                    next = self.cluster_end(next);
                    clusters += 1;
                }
                Ok(Step::Allocate(clusters))
            }
        }
    }

    fn needs_cluster(&mut self, table: u64, at: u64) -> io::Result<bool> {
        let cluster = match self.entry(table, at)? {
            L2Entry::Data(cluster) | L2Entry::Zero { kept: Some(cluster) } => cluster,
            _ => return Ok(true),
        };
        Ok(!cluster.copied)
    }

    fn allocate(&mut self, clusters: u64) -> io::Result<Run> {
        let State::Writable(writable) = &mut self.state else {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        };
        let run = writable.refcounts.allocate(&mut self.file, clusters)?;
        writable.barrier_due = true;
        Ok(run)
    }

    fn release(&mut self, run: Run) -> io::Result<()> {
        match &mut self.state {
            State::Writable(writable) => writable.refcounts.release(&self.file, run),
            _ => Ok(()),
        }
    }

    /// Fills the clusters of `run` for the disk's bytes from `at` to `next`: with `part`, and around it with what is
    /// there now.
    fn write_new(&mut self, run: Run, at: u64, next: u64, part: &[VolatileSlice<'_>]) -> io::Result<()> {
        self.surround(run.offset, at, next, Some(run.fresh))?;
        self.write_data(run.offset + self.geometry.within(at), part)
    }

    /// Writes to the clusters from `host` on what belongs before `at` and behind `next`, the disk's bytes that are
    /// written otherwise: the present contents for new clusters, for which it is given whether they are `fresh`, and
    /// zeroes for a kept one.
    fn surround(&mut self, host: u64, at: u64, next: u64, fresh: Option<bool>) -> io::Result<()> {
        let begin = at - self.geometry.within(at);
        let end = next.next_multiple_of(self.geometry.cluster());
        for (from, to) in [(begin, at), (next, end)] {
            if from < to {
                let mut bytes = vec![0; (to - from) as usize];
                let old = fresh.is_some() && self.read_old(from, &mut bytes)?;
                // Nothing has to be written where nothing was and is.
                if old || fresh != Some(true) {
                    self.check_data(host + (from - begin), to - from)?;
                    self.file.write_at(&bytes, host + (from - begin))?;
                }
            }
        }
        Ok(())
    }

    /// Reads the disk at `offset`, where a part may lie behind its end; says whether anything but zeroes can be there.
    fn read_old(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<bool> {
        let end = (offset + bytes.len() as u64).min(self.geometry.size);
        let Some(len) = end.checked_sub(offset).filter(|len| *len > 0) else { return Ok(false) };
        if self.reads_as_zeroes(offset, len)? {
            return Ok(false);
        }
        let bytes = bytes.get_mut(..len as usize).unwrap_or_default();
        self.read_clusters(offset, &[VolatileSlice::from(bytes)])?;
        Ok(true)
    }

    /// Whether the disk's next `len` bytes are known to be zeroes without a look at data.
    pub(super) fn reads_as_zeroes(&mut self, offset: u64, len: u64) -> io::Result<bool> {
        let (place, there) = self.locate(offset, len)?;
        let backed = self.backing.as_ref().is_some_and(|backing| backing.size() > offset);
        Ok(there == len
            && match place {
                super::read::Place::Zero => true,
                super::read::Place::Unallocated => !backed,
                _ => false,
            })
    }

    /// Points the entries from `begin` on to the clusters of `run`.
    fn point_to(&mut self, table: u64, begin: u64, run: Run) -> io::Result<()> {
        for cluster in 0..run.clusters {
            let ahead = cluster << self.geometry.cluster_bits;
            let old = self.entry(table, begin + ahead)?;
            self.set_entry(table, begin + ahead, (run.offset + ahead) | COPIED, Some(old))?;
        }
        Ok(())
    }

    fn write_data(&mut self, host: u64, part: &[VolatileSlice<'_>]) -> io::Result<()> {
        self.check_data(host, total(part))?;
        self.file.write(host, part)
    }

    /// Refuses to write data where metadata is.
    fn check_data(&mut self, host: u64, len: u64) -> io::Result<()> {
        self.writable()?.refcounts.check_data(host, len)
    }
}
