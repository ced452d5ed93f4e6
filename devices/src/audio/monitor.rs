//! What there is to tell of a machine's sound.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Counters of one machine's sound, which all who have part in it keep.
#[derive(Debug, Default)]
pub struct Monitor {
    /// Frames per second, 0 while nothing plays.
    playing: AtomicU32,
    /// The same of what is recorded.
    recording: AtomicU32,
    /// The loudest sample of late.
    peak: AtomicU32,
    /// Milliseconds, 0 for those that are wanted.
    latency: AtomicU32,
    underruns: AtomicU64,
    dropped: AtomicU64,
    lost: AtomicU64,
    trouble: Mutex<Option<String>>,
}

/// What a [`Monitor`] has seen.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// Frames per second of what plays; `None` while nothing does.
    pub playing: Option<u32>,
    /// The same of what is recorded.
    pub recording: Option<u32>,
    /// The loudest of late, in decibels below full scale: 0 at most. `None` in silence.
    pub level: Option<f64>,
    /// Milliseconds of sound that wait for the host's mixer, where that is more than is wanted because there were gaps.
    pub latency: Option<u32>,
    /// How often the host had to wait for sound while the guest played, or the guest for sound that it records.
    pub underruns: u64,
    /// Frames that there was no room for.
    pub dropped: u64,
    /// Time that the device stood still because the machine or the host was late, in nanoseconds.
    pub lost: u64,
    /// Why nothing is heard.
    pub trouble: Option<String>,
}

fn some(of: &AtomicU32) -> Option<u32> {
    match of.load(Ordering::Relaxed) {
        0 => None,
        number => Some(number),
    }
}

impl Monitor {
    fn trouble(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is to tell now.
    pub fn report(&self) -> Report {
        let peak = self.peak.load(Ordering::Relaxed);
        let playing = some(&self.playing);
        let level = 20.0 * (f64::from(peak) / f64::from(i32::MAX)).log10();
        Report {
            playing,
            recording: some(&self.recording),
            level: (playing.is_some() && peak > 0).then_some(level),
            latency: some(&self.latency),
            underruns: self.underruns.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            trouble: self.trouble().clone(),
        }
    }

    pub(crate) fn set_playing(&self, rate: Option<u32>) {
        self.playing.store(rate.unwrap_or(0), Ordering::Relaxed);
        self.peak.store(0, Ordering::Relaxed);
    }

    pub(crate) fn set_recording(&self, rate: Option<u32>) {
        self.recording.store(rate.unwrap_or(0), Ordering::Relaxed);
    }

    /// Samples were played, the loudest of this magnitude. What was louder before fades.
    pub(crate) fn heard(&self, peak: u32) {
        let before = self.peak.load(Ordering::Relaxed);
        self.peak.store(peak.min(i32::MAX as u32).max(before - before / 16), Ordering::Relaxed);
    }

    /// So many milliseconds of sound wait now.
    pub(crate) fn set_latency(&self, milliseconds: u32) {
        self.latency.store(milliseconds, Ordering::Relaxed);
    }

    pub(crate) fn underrun(&self) {
        self.underruns.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn dropped(&self, frames: u64) {
        self.dropped.fetch_add(frames, Ordering::Relaxed);
    }

    pub(crate) fn lost(&self, nanoseconds: u64) {
        self.lost.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Why nothing is heard, or that something is again.
    pub(crate) fn set_trouble(&self, why: Option<String>) {
        *self.trouble() = why;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_that_of_the_loudest_sample_and_fades() {
        let monitor = Monitor::default();
        assert_eq!(monitor.report(), Report::default());
        monitor.set_playing(Some(48_000));
        assert_eq!(monitor.report().level, None);
        monitor.heard(u32::MAX);
        assert_eq!(monitor.report().level, Some(0.0));
        (0..100).for_each(|_| monitor.heard(i32::MAX as u32 / 10));
        let level = monitor.report().level.unwrap();
        assert!((level + 20.0).abs() < 0.6, "{level}");
        monitor.set_playing(None);
        assert_eq!(monitor.report().level, None, "nothing plays");
    }
}
