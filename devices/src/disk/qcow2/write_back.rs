//! Metadata from memory to the file, in an order that leaves a consistent image at any moment.
//!
//! First refcounts, then what they count the references of, then L2 tables, then the L1 table's pointers to these. What
//! lost its last reference is counted as free only when the file does not refer to it any more. Between each two stages
//! everything is made durable, for the order of writes alone does not survive the host's end.

use std::io;

use super::{Qcow2Image, State};

impl Qcow2Image {
    /// Makes everything that was written durable.
    pub(super) fn flush_all(&mut self) -> io::Result<()> {
        self.write_tables()?;
        self.file.sync()?;
        self.settle_freed()
    }

    /// Brings the file's metadata up to date, without waiting for the disk more than order demands.
    pub(super) fn write_back(&mut self) -> io::Result<()> {
        self.write_tables()?;
        if self.writable()?.refcounts.freed() > 0 {
            self.file.sync()?;
        }
        self.settle_freed()
    }

    fn write_tables(&mut self) -> io::Result<()> {
        self.writable()?;
        let Self { file, l1, l2, state, .. } = self;
        let State::Writable(writable) = state else { return Ok(()) };
        writable.refcounts.write(file)?;
        if !(l2.is_dirty() || l1.is_dirty()) {
            return Ok(());
        }
        if writable.barrier_due {
            file.sync()?;
            writable.barrier_due = false;
        }
        l2.write(file)?;
        if l1.is_dirty() {
            file.sync()?;
            l1.write(file)?;
        }
        Ok(())
    }

    /// Counts as free what the file does not refer to any more.
    fn settle_freed(&mut self) -> io::Result<()> {
        let State::Writable(writable) = &mut self.state else { return Ok(()) };
        if writable.refcounts.freed() == 0 {
            return Ok(());
        }
        let unused = writable.refcounts.settle(&self.file)?;
        let bits = self.geometry.cluster_bits;
        for run in unused.chunk_by(|before, after| before + 1 == *after) {
            for cluster in run {
                self.l2.forget(cluster << bits);
            }
            if let (true, Some(first)) = (writable.discard, run.first()) {
                self.file.punch(first << bits, (run.len() as u64) << bits);
            }
        }
        writable.refcounts.write(&mut self.file)
    }
}
