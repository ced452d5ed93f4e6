//! How long it takes to open memory to a passed-through device, in small pages and in huge ones: what a start waits for.

use std::time::{Duration, Instant};

use statistics::{Figure, Measure, Missing, Owner};

use crate::machine::Inside;
use crate::vfio::Pages;

const GIB: u64 = 1 << 30;
/// What is pinned at once: as much as this, or as the host can spare.
const MOST: u64 = GIB / 4;
const LEAST: u64 = 32 << 20;
/// What even a slow host opens in a second.
const IN_A_SECOND: u64 = 64 << 20;
/// The part of the host's free memory that may be taken.
const PART: u64 = 4;

/// One kind of pages.
struct Kind {
    pages: Pages,
    measure: Measure,
    failed: Option<String>,
}

/// Both kinds, over the rounds of a course.
pub(super) struct Pinning {
    kinds: [Kind; 2],
    bytes: u64,
    spent: Duration,
    /// No round begins once so much is spent.
    limit: Duration,
}

impl Pinning {
    /// `available`: free memory of the host in bytes.
    pub(super) fn new(available: u64, limit: Duration) -> Self {
        let in_time = (limit.as_secs_f64() * IN_A_SECOND as f64) as u64;
        let bytes = (available / PART).min(in_time).clamp(LEAST, MOST) >> 21 << 21;
        let note = format!("in pieces of {} MiB", bytes >> 20);
        let kind = |id, title, pages| {
            let mut measure = Measure::new(id, title, Owner::Kernel, Figure::Median);
            measure.note = Some(note.clone());
            Kind { pages, measure, failed: None }
        };
        let kinds = [
            kind("pin.small.1g", "pinning 1 GiB in pages of 4 KiB", Pages::Small),
            kind("pin.huge.1g", "pinning 1 GiB in huge pages", Pages::Huge),
        ];
        Self { kinds, bytes, spent: Duration::ZERO, limit }
    }

    /// One of each, if there is time.
    pub(super) fn round(&mut self, inside: &Inside) {
        for kind in self.kinds.iter_mut().filter(|kind| kind.failed.is_none()) {
            if !kind.measure.rounds.is_empty() && self.spent >= self.limit || inside.is_over() {
                return;
            }
            let began = Instant::now();
            match inside.pin(self.bytes, kind.pages) {
                Ok(took) => {
                    let whole = took.as_nanos() as f64 * (GIB as f64 / self.bytes as f64);
                    kind.measure.round_of(&[whole]);
                }
                Err(why) => kind.failed = Some(why),
            }
            self.spent += began.elapsed();
        }
    }

    /// What there is, and why there is nothing.
    pub(super) fn finish(self) -> Vec<Result<Measure, Missing>> {
        let finish = |Kind { measure, failed, .. }: Kind| {
            if measure.rounds.is_empty() {
                let why = failed.unwrap_or_else(|| "the course ended before".into());
                return Err(Missing { id: measure.id, title: measure.title, why });
            }
            Ok(measure)
        };
        self.kinds.into_iter().map(finish).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_suit_the_host() {
        for (available, seconds, mib) in [
            (16 * GIB, 6, 256),
            (512 << 20, 6, 128),
            (0, 6, 32),
            (u64::MAX, 3600, 256),
            (16 * GIB, 1, 64),
            (GIB, 0, 32),
        ] {
            assert_eq!(
                Pinning::new(available, Duration::from_secs(seconds)).bytes >> 20,
                mib,
                "{available} {seconds}"
            );
        }
    }

    #[test]
    fn what_was_not_pinned_is_missing() {
        let mut pinning = Pinning::new(GIB, Duration::ZERO);
        pinning.kinds[0].measure.round_of(&[5e9]);
        pinning.kinds[1].failed = Some("no".into());
        let done = pinning.finish();
        assert!(done[0].as_ref().is_ok_and(|measure| measure.rounds == [5e9]));
        assert!(done[1].as_ref().is_err_and(|missing| missing.id == "pin.huge.1g" && missing.why == "no"));
    }
}
