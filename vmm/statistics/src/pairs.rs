//! Two programs that are measured in turns, in pairs, and whether a goal for their ratio is reached.

use std::fmt;

use crate::{bootstrap, median, rank};

/// What a ratio of 1 may be missed by: that something is not slower at all cannot be shown of two that are equal, by however many pairs.
pub const MARGIN: f64 = 1.05;

/// From how many pairs on intervals are made by the bootstrap; below, by ranks.
const RESAMPLED: usize = 10;
/// How sure an interval is.
const LEVEL: f64 = 0.95;

/// The order of a pair, counted from 0: whether the first one of the pair is taken first, for both that are taken. In ABBA order, which takes
/// out what grows or shrinks evenly while all of them run: a machine that becomes warm, a disk that becomes full.
pub fn abba(pair: usize) -> [bool; 2] {
    let first = pair.is_multiple_of(2);
    [first, !first]
}

/// What ratios the samples do not rule out, at 95 %.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The least of them.
    pub low: f64,
    /// The greatest of them.
    pub high: f64,
}

/// How two compare.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Paired {
    /// The median of the pairs' ratios (by their logarithms, so that it is the inverse with both exchanged).
    pub ratio: f64,
    /// Where the ratio is but for chance; `None` with fewer than six pairs, which cannot say that at 95 %.
    pub interval: Option<Interval>,
    /// How many pairs there are.
    pub pairs: usize,
}

/// Why there is no ratio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unpaired {
    /// There is no pair.
    #[error("there is no pair of samples")]
    Empty,
    /// A sample of nothing has no ratio to another.
    #[error("a sample is zero, and has no ratio")]
    Zero,
}

/// Compares samples of one program with those of another that were taken in the same pairs. Samples without a partner do not count.
///
/// The interval is that of the bootstrap over pairs from ten pairs on, and of Wilcoxon's signed-rank test below.
///
/// # Errors
/// If there is no pair, or a pair without a ratio.
pub fn paired(ours: &[f64], peer: &[f64]) -> Result<Paired, Unpaired> {
    let logs: Vec<f64> = ours
        .iter()
        .zip(peer)
        .map(|(ours, peer)| log_ratio(*ours, *peer))
        .collect::<Option<_>>()
        .ok_or(Unpaired::Zero)?;
    let middle = median(&logs).ok_or(Unpaired::Empty)?;
    let interval = if logs.len() < RESAMPLED {
        rank::of_pairs(&logs, LEVEL)
    } else {
        bootstrap::of_median(&logs, LEVEL)
    };
    let interval = interval.map(|(low, high)| Interval { low: low.exp(), high: high.exp() });
    Ok(Paired { ratio: middle.exp(), interval, pairs: logs.len() })
}

/// The logarithm of a ratio; `None` if there is none.
pub(crate) fn log_ratio(one: f64, other: f64) -> Option<f64> {
    let positive = |value: f64| value.is_finite() && value > 0.0;
    (positive(one) && positive(other)).then(|| (one / other).ln())
}

/// What a ratio is to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// No greater than this. 1 is told with a margin, [`MARGIN`].
    AtMost(f64),
    /// No less than this, where more is better. 1 is told with the same margin.
    AtLeast(f64),
    /// Equal but for the margin, in both directions.
    Equal,
}

impl Goal {
    /// Whether a goal is reached by all ratios of an interval, or by none of them.
    pub fn verdict(self, interval: Option<Interval>) -> Verdict {
        let Some(Interval { low, high }) = interval else { return Verdict::Undecided };
        let (least, greatest) = self.accepted();
        let missed = match self {
            Self::AtMost(ratio) => low > ratio,
            Self::AtLeast(ratio) => high < ratio,
            Self::Equal => low > greatest || high < least,
        };
        match (least <= low && high <= greatest, missed) {
            (true, _) => Verdict::Passed,
            (false, true) => Verdict::Missed,
            (false, false) => Verdict::Undecided,
        }
    }

    /// The ratios that all must lie between.
    fn accepted(self) -> (f64, f64) {
        match self {
            Self::AtMost(1.0) => (0.0, MARGIN),
            Self::AtMost(ratio) => (0.0, ratio),
            Self::AtLeast(1.0) => (1.0 / MARGIN, f64::INFINITY),
            Self::AtLeast(ratio) => (ratio, f64::INFINITY),
            Self::Equal => (1.0 / MARGIN, MARGIN),
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(ratio) => write!(out, "≤ {}", Short(*ratio)),
            Self::AtLeast(ratio) => write!(out, "≥ {}", Short(*ratio)),
            Self::Equal => write!(out, "= 1"),
        }
    }
}

/// A number with at most three decimals.
struct Short(f64);

impl fmt::Display for Short {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.3}", self.0);
        out.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// What is known of a goal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It is reached, by all that the samples do not rule out.
    Passed,
    /// More or better samples are needed.
    Undecided,
    /// It is not reached, by any of that.
    Missed,
}

impl Verdict {
    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Undecided => "undecided",
            Self::Missed => "missed",
        }
    }

    /// Its inverse: the one with this word.
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Passed, Self::Undecided, Self::Missed].into_iter().find(|verdict| verdict.word() == word)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn interval(low: f64, high: f64) -> Option<Interval> {
        Some(Interval { low, high })
    }

    #[test]
    fn verdicts_are_about_the_whole_interval() {
        use Verdict::{Missed, Passed, Undecided};
        for (goal, interval, verdict) in [
            (Goal::AtMost(0.5), interval(0.3, 0.5), Passed),
            (Goal::AtMost(0.5), interval(0.3, 0.51), Undecided),
            (Goal::AtMost(0.5), interval(0.51, 0.6), Missed),
            (Goal::AtMost(0.5), interval(0.5, 0.6), Undecided),
            (Goal::AtMost(0.5), None, Undecided),
            // Not slower, but for the margin: also what is slower for certain, if by less than that.
            (Goal::AtMost(1.0), interval(0.9, 1.05), Passed),
            (Goal::AtMost(1.0), interval(1.01, 1.04), Passed),
            (Goal::AtMost(1.0), interval(0.9, 1.06), Undecided),
            (Goal::AtMost(1.0), interval(1.01, 1.06), Missed),
            (Goal::AtLeast(1.2), interval(1.2, 1.9), Passed),
            (Goal::AtLeast(1.2), interval(1.1, 1.9), Undecided),
            (Goal::AtLeast(1.2), interval(1.0, 1.1), Missed),
            (Goal::AtLeast(1.0), interval(0.96, 1.1), Passed),
            (Goal::AtLeast(1.0), interval(0.9, 0.99), Missed),
            (Goal::Equal, interval(0.97, 1.04), Passed),
            (Goal::Equal, interval(0.9, 1.04), Undecided),
            (Goal::Equal, interval(0.5, 0.6), Missed),
            (Goal::Equal, interval(1.06, 1.2), Missed),
        ] {
            assert_eq!(goal.verdict(interval), verdict, "{goal} {interval:?}");
        }
    }

    #[test]
    fn words_and_goals() {
        for verdict in [Verdict::Passed, Verdict::Missed, Verdict::Undecided] {
            assert_eq!(Verdict::of_word(verdict.word()), Some(verdict));
        }
        assert_eq!(Verdict::of_word("reached"), None);
        let goals = [Goal::AtMost(1.0 / 1.2), Goal::AtMost(1.0), Goal::AtLeast(0.95), Goal::Equal];
        assert_eq!(goals.map(|goal| goal.to_string()), ["≤ 0.833", "≤ 1", "≥ 0.95", "= 1"]);
    }

    #[test]
    fn order_is_abba() {
        let order: Vec<bool> = (0..4).flat_map(abba).collect();
        assert_eq!(order, [true, false, false, true, true, false, false, true]);
    }

    #[test]
    fn what_has_no_ratio() {
        assert_eq!(paired(&[], &[1.0]), Err(Unpaired::Empty));
        assert_eq!(paired(&[0.0, 1.0], &[1.0, 1.0]), Err(Unpaired::Zero));
        assert_eq!(paired(&[1.0], &[f64::NAN]), Err(Unpaired::Zero));
        assert_eq!(paired(&[0.0; 6], &[0.0; 6]), Err(Unpaired::Zero));
    }

    /// Whatever they show: chance alone gives the same with five pairs more often than once in twenty.
    #[test]
    fn five_pairs_decide_nothing() {
        let compared = paired(&[1.0; 5], &[100.0; 5]).unwrap();
        assert_eq!((compared.interval, compared.pairs), (None, 5));
        assert!((compared.ratio - 0.01).abs() < 1e-12);
        let six = paired(&[1.0; 6], &[100.0; 6]).unwrap();
        assert_eq!(Goal::AtMost(0.5).verdict(six.interval), Verdict::Passed);
    }

    /// Runs of programs whose true ratio is known: intervals contain it about as often as they say, with either method.
    #[test]
    fn intervals_contain_the_truth() {
        let mut seed = 1_u64;
        // The sum of twelve even distributions is nearly normal, with a deviation of 1.
        let mut normal = || {
            let mut sum = -6.0;
            for _ in 0..12 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                sum += (seed >> 11) as f64 / (1_u64 << 53) as f64;
            }
            sum
        };
        for (pairs, runs) in [(7, 400), (12, 80)] {
            let (mut contained, mut told_apart) = (0, 0);
            for _ in 0..runs {
                // Both drift alike, and each run strays by a tenth.
                let drift: Vec<f64> = (0..pairs).map(|_| (0.5 * normal()).exp()).collect();
                let ours: Vec<f64> = drift.iter().map(|drift| 0.8 * drift * (0.1 * normal()).exp()).collect();
                let peer: Vec<f64> = drift.iter().map(|drift| drift * (0.1 * normal()).exp()).collect();
                let Interval { low, high } = paired(&ours, &peer).unwrap().interval.unwrap();
                contained += usize::from((low..=high).contains(&0.8));
                told_apart += usize::from(high < 1.0);
            }
            assert!(contained * 100 >= runs * 90 && contained < runs, "{pairs} pairs: {contained} of {runs}");
            assert!(told_apart * 2 > runs, "{pairs} pairs: {told_apart} of {runs}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50))]
        #[test]
        fn exchanged_is_inverse(pairs in prop::collection::vec((0.01_f64..100.0, 0.01_f64..100.0), 6..10)) {
            let (ours, peer): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
            let (one, other) = (paired(&ours, &peer).unwrap(), paired(&peer, &ours).unwrap());
            prop_assert!((one.ratio * other.ratio - 1.0).abs() < 1e-9);
            let (one, other) = (one.interval.unwrap(), other.interval.unwrap());
            prop_assert!((one.low * other.high - 1.0).abs() < 1e-9 && one.low <= one.high);
        }

        #[test]
        fn the_ratio_lies_in_its_interval(pairs in prop::collection::vec((0.01_f64..100.0, 0.01_f64..100.0), 6..16)) {
            let (ours, peer): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
            let Paired { ratio, interval, .. } = paired(&ours, &peer).unwrap();
            let Interval { low, high } = interval.unwrap();
            prop_assert!(low <= ratio * 1.000_001 && ratio <= high * 1.000_001);
        }
    }
}
