//! Brings the shadow up to date with a surface, and reads as little as it can for that.

use std::io;
use std::ops::Range;

use super::surface::Surface;
use super::tiles::{Shadow, TILE};
use super::written::{WriteTracker, WrittenPages};

/// Of so many rows one is compared when nothing has happened for long, each time another one. A change of more than a
/// line of text is found at once, any at all after as many refreshes.
const SAMPLE: u32 = 16;

/// Refreshes in a row that found most pages written, after which watching costs the guest more than it spares us.
const BUSY: u32 = 8;

/// How much of the surface is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effort {
    /// All of it, whatever is believed to be unwritten.
    Everything,
    /// What was written since the last time, or all where that is not known.
    Written,
    /// As `Written`, but a sample is enough where it is not known.
    Sample,
}

enum Watch {
    /// Not tried.
    None,
    /// The host reported which pages were written.
    Armed(Box<dyn WrittenPages>),
    /// It is not possible for this surface.
    Impossible,
}

/// The state of scanning one surface.
pub(super) struct Scan {
    watch: Watch,
    /// See [`BUSY`].
    busy: u32,
    /// Which rows the next sample takes.
    phase: u32,
    bytes: Vec<u8>,
    row: Vec<u32>,
    written: Vec<Range<u64>>,
}

impl Scan {
    pub(super) fn new() -> Self {
        let (bytes, row, written) = (Vec::new(), Vec::new(), Vec::new());
        Self { watch: Watch::None, busy: 0, phase: 0, bytes, row, written }
    }

    /// Stops watching. Everything has to be compared the next time.
    pub(super) fn unwatch(&mut self) {
        self.watch = Watch::None;
        self.busy = 0;
    }

    /// Begins to watch if that is possible and, after a time of many writes, the screen is `idle` again. What was written
    /// before is not known: everything has to be compared once. Says whether a watch has begun.
    pub(super) fn watch(&mut self, surface: &Surface, tracker: &dyn WriteTracker, idle: bool) -> bool {
        let (Watch::None, Some(base)) = (&self.watch, surface.watched_address()) else { return false };
        if self.busy >= BUSY && !idle {
            return false;
        }
        self.watch = match tracker.watch(base, surface.bytes()) {
            Ok(pages) => Watch::Armed(pages),
            Err(error) => {
                crate::limited_debug!(%error, "the screen is compared: written pages cannot be told");
                Watch::Impossible
            }
        };
        self.busy = 0;
        matches!(self.watch, Watch::Armed(_))
    }

    /// Updates `shadow`, which has the size of `surface`, and says whether anything has changed.
    pub(super) fn run(
        &mut self,
        surface: &Surface,
        shadow: &mut Shadow,
        effort: Effort,
        generation: u64,
    ) -> io::Result<bool> {
        let all = 0..surface.height;
        // The pages are taken in any case, so that what is compared now is not compared again.
        let armed = matches!(self.watch, Watch::Armed(_));
        let written = self.take_written(surface);
        // A watch that has just failed keeps to itself what was written.
        let effort = if armed && written.is_none() { Effort::Everything } else { effort };
        match (effort, written) {
            (Effort::Written | Effort::Sample, Some(rows)) => {
                self.compare_all(surface, shadow, &rows, generation)
            }
            (Effort::Sample, None) => {
                self.phase = (self.phase + 1) % SAMPLE;
                let rows = (self.phase..surface.height).step_by(SAMPLE as usize);
                let mut changed = false;
                for row in rows {
                    changed |= self.compare(surface, shadow, row..row + 1, generation)?;
                }
                if changed {
                    self.compare(surface, shadow, all, generation)?;
                }
                Ok(changed)
            }
            (Effort::Everything, _) | (_, None) => self.compare(surface, shadow, all, generation),
        }
    }

    fn compare_all(
        &mut self,
        surface: &Surface,
        shadow: &mut Shadow,
        ranges: &[Range<u32>],
        generation: u64,
    ) -> io::Result<bool> {
        let mut changed = false;
        for rows in ranges {
            changed |= self.compare(surface, shadow, rows.clone(), generation)?;
        }
        Ok(changed)
    }

    fn compare(
        &mut self,
        surface: &Surface,
        shadow: &mut Shadow,
        rows: Range<u32>,
        generation: u64,
    ) -> io::Result<bool> {
        self.row.resize(surface.width as usize, 0);
        let mut changed = false;
        let mut start = rows.start;
        while start < rows.end {
            // To the end of a row of tiles: what fits the processor's cache.
            let end = ((start / TILE + 1) * TILE).min(rows.end);
            let pitch = surface.read_rows(start..end, &mut self.bytes)?;
            for (y, line) in (start..end).zip(self.bytes.chunks(pitch.max(1) as usize)) {
                surface.format.convert(line, &mut self.row);
                changed |= shadow.update_row(y, &self.row, generation);
            }
            start = end;
        }
        Ok(changed)
    }

    /// Rows that were written since the last time; `None` if that is not known.
    fn take_written(&mut self, surface: &Surface) -> Option<Vec<Range<u32>>> {
        let Watch::Armed(pages) = &mut self.watch else { return None };
        self.written.clear();
        if let Err(error) = pages.take(&mut self.written) {
            crate::limited_debug!(%error, "the screen is compared from now on: written pages are not told any more");
            self.watch = Watch::Impossible;
            return None;
        }
        let bytes: u64 = self.written.iter().map(|range| range.end.saturating_sub(range.start)).sum();
        self.busy = if bytes > surface.bytes() / 2 { self.busy + 1 } else { 0 };
        let rows = rows_of(&self.written, surface);
        if self.busy >= BUSY {
            // Begins again when the screen has come to rest.
            self.watch = Watch::None;
        }
        Some(rows)
    }
}

/// The rows that lie in ranges of bytes, at least in part; ascending and apart.
fn rows_of(ranges: &[Range<u64>], surface: &Surface) -> Vec<Range<u32>> {
    let stride = u64::from(surface.stride.max(1));
    let height = u64::from(surface.height);
    let row = |at: u64| u32::try_from(at.min(height)).unwrap_or(surface.height);
    let mut rows: Vec<Range<u32>> = Vec::with_capacity(ranges.len());
    for range in ranges.iter().filter(|range| range.start < range.end) {
        let (start, end) = (row(range.start / stride), row(range.end.div_ceil(stride)));
        match rows.last_mut() {
            Some(last) if last.end >= start => last.end = last.end.max(end),
            _ => rows.push(start..end),
        }
    }
    rows
}
