//! What is said of measurements: distributions of events, comparisons of runs with verdicts, the report that `optimus-vmm bench` writes, and
//! plots of it. Pure functions, without input or output.
//!
//! Three rules of it are worth knowing before a number is believed:
//!
//! - **Events of one moment are not independent.** Whatever disturbs one disturbs its neighbours. A measure is therefore taken in rounds, each
//!   of which gives one figure, and comparisons look at rounds or runs, never at events.
//! - **A verdict is about an interval, not about a median.** A goal is reached if all ratios that the samples do not rule out reach it, missed
//!   if none does, and undecided otherwise.
//! - **Too few samples are undecided.** Five pairs cannot rule out chance at 95 %, whatever they show.

mod bootstrap;
mod compare;
mod histogram;
mod pairs;
mod plot;
mod rank;
mod report;
mod units;

pub use compare::{Change, Row, compare};
pub use histogram::{Histogram, SAMPLES_FOR_P999, Summary};
pub use pairs::{Goal, Interval, MARGIN, Paired, Unpaired, Verdict, abba, paired};
pub use plot::Plot;
pub use report::{
    Advice, AdviceKind, Counter, Figure, Host, MOST_BYTES, Machine, Measure, Missing, Owner, ReadError,
    Report,
};
pub use units::time;

/// The value in the middle, or the mean of the two there; `None` of nothing.
pub fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(upper, *sorted.get(middle.checked_sub(1)?)?))
}

/// Least and greatest; `None` of nothing.
pub fn range(samples: &[f64]) -> Option<(f64, f64)> {
    let least = samples.iter().copied().min_by(f64::total_cmp)?;
    Some((least, samples.iter().copied().max_by(f64::total_cmp)?))
}

/// The sample that a share of all samples, 0 to 1, does not exceed: the least such one (the inverse of the empirical distribution).
/// `None` of nothing.
pub fn quantile(samples: &[f64], share: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(rank_of(share, sorted.len() as u64).checked_sub(1)? as usize).copied()
}

/// Which of `count` sorted samples, from 1 on, a share of all does not exceed; 0 where there are none.
fn rank_of(share: f64, count: u64) -> u64 {
    // Products such as 0.07 × 100 come out a little above the whole number that is meant.
    let exact = share * count as f64;
    let rank =
        if (exact - exact.round()).abs() < 1e-9 * exact.max(1.0) { exact.round() } else { exact.ceil() };
    (rank as u64).max(1).min(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ranges() {
        assert_eq!((median(&[]), range(&[]), quantile(&[], 0.5)), (None, None, None));
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(range(&[3.0, 1.0, 2.0]), Some((1.0, 3.0)));
    }

    /// As numpy 2.4 says with `quantile(…, method="inverted_cdf")`.
    #[test]
    fn quantiles_are_samples() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        for (share, expected) in
            [(0.0, 1.0), (0.07, 7.0), (0.5, 50.0), (0.505, 51.0), (0.99, 99.0), (0.991, 100.0), (1.0, 100.0)]
        {
            assert_eq!(quantile(&hundred, share), Some(expected), "{share}");
        }
    }
}
