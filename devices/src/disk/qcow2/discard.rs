//! Discards and zeroes: whole clusters by their entries, parts by writing.

use std::io;

use vm_memory::VolatileSlice;

use super::Qcow2Image;
use super::entry::{COPIED, Cluster, L2Entry, ZERO};

/// Zeroes written at once.
const PIECE: u64 = 1 << 16;

/// What becomes of the clusters of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    /// Contents are given up, zeroes where that is possible.
    Discard,
    /// Zeroes, without a cluster.
    Free,
    /// Zeroes, and the cluster is kept for later writes.
    Keep,
}

impl Qcow2Image {
    /// Gives up whole clusters in the range. Parts of clusters keep their contents.
    pub(super) fn discard_clusters(&mut self, offset: u64, len: u64) -> io::Result<()> {
        let (start, end) = self.whole_clusters(offset, len);
        if start < end { self.change_range(start, end, Goal::Discard) } else { Ok(()) }
    }

    /// Makes the range read as zeroes.
    pub(super) fn zero_clusters(&mut self, offset: u64, len: u64, unmap: bool) -> io::Result<()> {
        let end = offset + len;
        let (start, stop) = self.whole_clusters(offset, len);
        if start >= stop {
            return self.write_out(offset, end);
        }
        self.write_out(offset, start)?;
        let goal = if unmap && self.writable()?.discard { Goal::Free } else { Goal::Keep };
        self.change_range(start, stop, goal)?;
        // The disk may end within its last cluster.
        self.write_out(stop.min(end), end)
    }

    /// The clusters that lie in the range as a whole, or as far as the disk goes.
    fn whole_clusters(&self, offset: u64, len: u64) -> (u64, u64) {
        let end = offset + len;
        let stop = if end == self.geometry.size {
            end.next_multiple_of(self.geometry.cluster())
        } else {
            end - self.geometry.within(end)
        };
        (offset.next_multiple_of(self.geometry.cluster()), stop)
    }

    fn change_range(&mut self, start: u64, end: u64, goal: Goal) -> io::Result<()> {
        let mut at = start;
        while at < end {
            self.before_change()?;
            let stop = end.min((at / self.geometry.l2_span() + 1) * self.geometry.l2_span());
            // Whatever is not in the image and has nothing behind it is zeroes already.
            if self.l2_table(at)?.is_none()
                && (goal == Goal::Discard || self.reads_as_zeroes(at, stop - at)?)
            {
                at = stop;
                continue;
            }
            let table = self.l2_table_to_change(at)?;
            while at < stop {
                self.change_cluster(table, at, goal)?;
                at = self.cluster_end(at);
            }
        }
        Ok(())
    }

    fn change_cluster(&mut self, table: u64, at: u64, goal: Goal) -> io::Result<()> {
        let old = self.entry(table, at)?;
        let backed = self.backing.as_ref().is_some_and(|backing| backing.size() > at);
        let zero = match (old, backed) {
            (L2Entry::Zero { kept: None }, _) | (L2Entry::Unallocated, false) => return Ok(()),
            (L2Entry::Unallocated, true) if goal == Goal::Discard => return Ok(()),
            // An entry of its own keeps what is behind from showing through.
            (_, true) => ZERO,
            (_, false) => 0,
        };
        match (old, goal) {
            (L2Entry::Zero { kept: Some(_) }, Goal::Keep) => Ok(()),
            (L2Entry::Data(Cluster { offset, copied: true }), Goal::Keep) if self.geometry.version >= 3 => {
                self.set_entry(table, at, offset | COPIED | ZERO, None)
            }
            _ if zero == 0 || self.geometry.version >= 3 => {
                // A kept cluster that is shared or compressed is given up all the same.
                self.set_entry(table, at, zero, Some(old))
            }
            // Version 2 cannot say "zero" over a backing image.
            (_, Goal::Discard) => Ok(()),
            _ => self.write_out(at, self.cluster_end(at).min(self.geometry.size)),
        }
    }

    /// Writes zeroes to the disk from `at` to `end`.
    fn write_out(&mut self, mut at: u64, end: u64) -> io::Result<()> {
        let mut zeroes = Vec::new();
        while at < end {
            let len = (end - at).min(PIECE);
            if !self.reads_as_zeroes(at, len)? {
                zeroes.resize(len as usize, 0u8);
                self.write_clusters(at, &[VolatileSlice::from(zeroes.as_mut_slice())])?;
            }
            at += len;
        }
        Ok(())
    }
}
