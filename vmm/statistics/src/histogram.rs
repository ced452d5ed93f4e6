//! Distributions of times, as log-linear histograms: 128 buckets of equal width for each power of two, so that each value keeps two
//! significant digits over all sizes, and only buckets with events are kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::rank_of;

/// From how many events on the 99.9th percentile is told: among fewer it is the largest few, which say little of the next run.
pub const SAMPLES_FOR_P999: u64 = 10_000;

/// Buckets for each power of two; a power of two itself.
const PER_OCTAVE: u64 = 128;
/// A nanosecond in what buckets count, picoseconds.
const NANOSECOND: f64 = 1e3;
/// The greatest value that is told from greater ones: 1000 s.
const MOST: u64 = 1_000_000_000_000_000;

/// How often events took how long, in nanoseconds.
///
/// Values are kept within 0.4 %, from a picosecond to 1000 s; the least and the greatest are exact.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram {
    buckets: BTreeMap<u64, u64>,
    samples: u64,
    range: Option<(f64, f64)>,
}

/// A distribution in a few numbers, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The least.
    pub min: f64,
    /// Half of the events took no longer.
    pub median: f64,
    /// 99 of 100 events took no longer.
    pub p99: f64,
    /// 999 of 1000 events took no longer; `None` below [`SAMPLES_FOR_P999`] events.
    pub p999: Option<f64>,
    /// The greatest.
    pub max: f64,
    /// The number of events.
    pub samples: u64,
}

impl Histogram {
    /// Adds an event that took so many nanoseconds. Less than nothing, as a measured overhead that was subtracted may leave, counts as
    /// nothing; what is no finite number is left out.
    pub fn record(&mut self, nanoseconds: f64) {
        self.record_many(nanoseconds, 1);
    }

    /// Adds `count` events of the same time, as [`Histogram::record`] adds one.
    pub fn record_many(&mut self, nanoseconds: f64, count: u64) {
        if !nanoseconds.is_finite() || count == 0 {
            return;
        }
        let value = nanoseconds.max(0.0);
        let bucket = self.buckets.entry(index(value)).or_default();
        *bucket = bucket.saturating_add(count);
        self.samples = self.samples.saturating_add(count);
        self.widen(value, value);
    }

    /// Adds all events of another.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.buckets {
            let mine = self.buckets.entry(*bucket).or_default();
            *mine = mine.saturating_add(*count);
        }
        self.samples = self.samples.saturating_add(other.samples);
        if let Some((min, max)) = other.range {
            self.widen(min, max);
        }
    }

    /// The number of events.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// The least and the greatest time, exactly.
    pub fn range(&self) -> Option<(f64, f64)> {
        self.range
    }

    /// The time that a share of the events, 0 to 1, did not exceed.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let (min, max) = self.range?;
        let wanted = rank_of(share, self.samples);
        if wanted == 1 {
            return Some(min);
        }
        if wanted == self.samples {
            return Some(max);
        }
        let mut seen = 0_u64;
        let bucket = self.buckets.iter().find(|(_, count)| {
            seen = seen.saturating_add(**count);
            seen >= wanted
        });
        bucket.map(|(bucket, _)| middle(*bucket).clamp(min, max))
    }

    /// The whole in a few numbers; `None` without events.
    pub fn summary(&self) -> Option<Summary> {
        let (min, max) = self.range?;
        Some(Summary {
            min,
            median: self.quantile(0.5)?,
            p99: self.quantile(0.99)?,
            p999: (self.samples >= SAMPLES_FOR_P999).then(|| self.quantile(0.999)).flatten(),
            max,
            samples: self.samples,
        })
    }

    /// All events' times together, within 0.4 %.
    pub fn sum(&self) -> f64 {
        self.buckets().map(|(nanoseconds, count)| nanoseconds * count as f64).sum()
    }

    /// The buckets with events: the time in the middle of each, and how many events it has, from the least time on.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.buckets.iter().map(|(bucket, count)| (middle(*bucket), *count))
    }

    /// From [`Histogram::buckets`] and [`Histogram::range`]. `None` if they do not fit each other: events without a range or the other way
    /// round, a range beyond the buckets, times that are no finite numbers or below zero, or too many events to count.
    pub(crate) fn from_parts(buckets: &[(f64, u64)], range: Option<(f64, f64)>) -> Option<Self> {
        let mut this = Self::default();
        let mut total = 0_u64;
        for (nanoseconds, count) in buckets {
            total = total.checked_add(*count)?;
            if !nanoseconds.is_finite() || *nanoseconds < 0.0 {
                return None;
            }
            this.record_many(*nanoseconds, *count);
        }
        if let Some((min, max)) = range {
            let ends = (this.buckets.keys().next()?, this.buckets.keys().next_back()?);
            let fits = min.is_finite() && max.is_finite() && (0.0..=max).contains(&min);
            if !fits || ends != (&index(min), &index(max)) {
                return None;
            }
        } else if total > 0 {
            return None;
        }
        this.range = range;
        Some(this)
    }

    fn widen(&mut self, min: f64, max: f64) {
        let (least, greatest) = self.range.unwrap_or((min, max));
        self.range = Some((least.min(min), greatest.max(max)));
    }
}

/// The bucket of a time. Below two octaves' worth of buckets each picosecond has its own.
fn index(nanoseconds: f64) -> u64 {
    let value = ((nanoseconds * NANOSECOND).round() as u64).min(MOST);
    let shift = shift_of(value);
    // Each shift's values go from PER_OCTAVE to twice that.
    PER_OCTAVE * u64::from(shift) + (value >> shift)
}

/// By how many bits a value is shortened.
fn shift_of(value: u64) -> u32 {
    (value / (2 * PER_OCTAVE)).checked_ilog2().map_or(0, |octave| octave + 1)
}

/// The time in the middle of a bucket, in nanoseconds.
fn middle(bucket: u64) -> f64 {
    let shift = (bucket / PER_OCTAVE).saturating_sub(1).min(63);
    let first = (bucket - PER_OCTAVE * shift) << shift;
    let width = (1_u64 << shift) - 1;
    (first as f64 + width as f64 / 2.0) / NANOSECOND
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(times: &[f64]) -> Histogram {
        let mut histogram = Histogram::default();
        times.iter().for_each(|time| histogram.record(*time));
        histogram
    }

    #[test]
    fn nothing_has_no_summary() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.summary(), histogram.quantile(0.5), histogram.range()), (None, None, None));
        histogram.record(f64::NAN);
        histogram.record(f64::INFINITY);
        histogram.record_many(3.0, 0);
        assert_eq!(histogram, Histogram::default());
    }

    #[test]
    fn one_time_is_all_of_them() {
        let mut histogram = Histogram::default();
        histogram.record_many(1234.567, 9_999);
        let expected = Summary {
            min: 1234.567,
            median: 1234.567,
            p99: 1234.567,
            p999: None,
            max: 1234.567,
            samples: 9_999,
        };
        assert_eq!(histogram.summary(), Some(expected));
        histogram.record(1234.567);
        assert_eq!(histogram.summary().unwrap().p999, Some(1234.567));
        assert_eq!(of(&[-3.0]).range(), Some((0.0, 0.0)));
    }

    #[test]
    fn known_distribution() {
        // 1 to 100,000 ns, each once.
        let histogram = of(&(1..=100_000).map(f64::from).collect::<Vec<_>>());
        let summary = histogram.summary().unwrap();
        assert_eq!((summary.min, summary.max, summary.samples), (1.0, 100_000.0, 100_000));
        for (found, expected) in
            [(summary.median, 50_000.0), (summary.p99, 99_000.0), (summary.p999.unwrap(), 99_900.0)]
        {
            assert!((found / expected - 1.0_f64).abs() < 0.004, "{found} for {expected}");
        }
        assert!((histogram.sum() / 5_000_050_000.0 - 1.0).abs() < 0.001);
    }

    #[test]
    fn buckets_follow_each_other_without_gaps() {
        let mut last = index(0.0);
        for value in 1..200_000_u32 {
            let next = index(f64::from(value) / NANOSECOND);
            assert!(next == last || next == last + 1, "{value}");
            last = next;
        }
        assert_eq!(index(1e30), index(1e12));
    }

    proptest! {
        #[test]
        fn a_bucket_is_narrow(nanoseconds in 0.001_f64..1e12) {
            let found = middle(index(nanoseconds));
            prop_assert!((found - nanoseconds).abs() <= 0.004 * nanoseconds + 0.000_51, "{found} for {nanoseconds}");
            prop_assert_eq!(index(found), index(nanoseconds));
        }

        /// HdrHistogram's own, with two significant digits too.
        #[test]
        fn as_hdrhistogram_has_it(
            times in prop::collection::vec((1_u64..1_000_000_000_000, 1_u64..50), 1..200),
            share in 0.0_f64..=1.0,
        ) {
            let mut theirs = hdrhistogram::Histogram::<u64>::new_with_bounds(1, 1_000_000_000_000_000, 2).unwrap();
            let mut ours = Histogram::default();
            for (picoseconds, count) in times {
                theirs.record_n(picoseconds, count).unwrap();
                ours.record_many(picoseconds as f64 / NANOSECOND, count);
            }
            prop_assert_eq!(ours.samples(), theirs.len());
            let expected = theirs.value_at_quantile(share) as f64 / NANOSECOND;
            let found = ours.quantile(share).unwrap();
            prop_assert!((found / expected - 1.0).abs() < 0.012, "{found} for {expected}");
        }

        #[test]
        fn parts_make_the_same_again(times in prop::collection::vec(0.0_f64..1e11, 0..50)) {
            let histogram = of(&times);
            let parts: Vec<_> = histogram.buckets().collect();
            prop_assert_eq!(Histogram::from_parts(&parts, histogram.range()), Some(histogram));
        }

        #[test]
        fn merged_is_recorded_together(
            one in prop::collection::vec(0.0_f64..1e9, 0..50),
            other in prop::collection::vec(0.0_f64..1e9, 0..50),
        ) {
            let mut merged = of(&one);
            merged.merge(&of(&other));
            prop_assert_eq!(merged, of(&[one, other].concat()));
        }
    }

    #[test]
    fn parts_that_do_not_fit() {
        assert_eq!(Histogram::from_parts(&[], None), Some(Histogram::default()));
        for (buckets, range) in [
            (vec![(5.0, 1)], None),
            (vec![], Some((1.0, 2.0))),
            (vec![(5.0, 1)], Some((5.0, 50.0))),
            (vec![(5.0, 1)], Some((f64::NAN, 5.0))),
            (vec![(-5.0, 1)], Some((0.0, 0.0))),
            (vec![(f64::INFINITY, 1)], Some((0.0, 0.0))),
            (vec![(5.0, u64::MAX), (6.0, 1)], Some((5.0, 6.0))),
        ] {
            assert_eq!(Histogram::from_parts(&buckets, range), None, "{buckets:?} {range:?}");
        }
    }
}
