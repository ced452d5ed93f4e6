//! A report beside an earlier one, its baseline: which measures have become slower.
//!
//! The two were not taken in turns, so there are no pairs: their rounds are two groups, compared by rank (Mann and Whitney). Two things keep
//! equal programs from being told apart. All measures together are wrong once in twenty reports, not each of them (Bonferroni). And a
//! difference counts from where it exceeds what a run differs from itself, but at least [`MARGIN`]: rounds of one run have more in common
//! with each other than with those of another, by where memory lies and what else the machine did.

use crate::pairs::{Interval, MARGIN, Verdict, log_ratio};
use crate::report::{Measure, Report};
use crate::{Summary, median, rank};

/// How sure all verdicts of a report are together.
const LEVEL: f64 = 0.95;

/// So many rounds in either report are the fewest that can differ for certain, at [`LEVEL`].
const LEAST_ROUNDS: usize = 4;

/// A measure in both reports.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// As in [`Measure::id`].
    pub id: String,
    /// As in [`Measure::title`].
    pub title: String,
    /// All events of the new report.
    pub now: Summary,
    /// All events of the baseline.
    pub before: Summary,
    /// What has changed.
    pub change: Change,
}

/// How a measure has changed. The goal is that it is no slower.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The new report's figure by the baseline's; `None` if a round of either took no time.
    pub ratio: Option<f64>,
    /// What ratios the rounds do not rule out; `None` where there are too few rounds.
    pub interval: Option<Interval>,
    /// From which ratio on the two would be told apart.
    pub margin: f64,
    /// Passed: no slower. Missed: slower.
    pub verdict: Verdict,
}

impl Change {
    /// In a word or two.
    pub fn word(&self) -> &'static str {
        match self.verdict {
            Verdict::Passed if self.interval.is_some_and(|interval| interval.high < 1.0 / self.margin) => {
                "faster"
            }
            Verdict::Passed => "no slower",
            Verdict::Missed => "slower",
            Verdict::Undecided => "undecided",
        }
    }

    /// Why it is undecided, and what would help; `None` if it is decided.
    pub fn reason(&self) -> Option<&'static str> {
        match (self.verdict, self.ratio, self.interval) {
            (Verdict::Passed | Verdict::Missed, ..) => None,
            (_, None, _) => Some("a round took no time, which has no ratio"),
            (_, _, None) => Some("too few rounds, as of what a run does once"),
            _ => Some("the rounds spread too much: measure for longer, with less else to do"),
        }
    }
}

/// Compares what both reports have measured, in the order of the first one.
pub fn compare(now: &Report, before: &Report) -> Vec<Row> {
    let both = || {
        now.measures.iter().filter_map(|measure| {
            let before = before.measure(&measure.id)?;
            // Figures of another kind say nothing about these.
            (before.figure == measure.figure).then_some((measure, before))
        })
    };
    // Those that can be decided at all.
    let enough = |measure: &Measure| measure.rounds.len() >= LEAST_ROUNDS;
    let decided = both().filter(|(now, before)| enough(now) && enough(before)).count();
    let level = 1.0 - (1.0 - LEVEL) / decided.max(1) as f64;
    both()
        .filter_map(|(now, before)| {
            Some(Row {
                id: now.id.clone(),
                title: now.title.clone(),
                now: now.summary()?,
                before: before.summary()?,
                change: change(&now.rounds, &before.rounds, level),
            })
        })
        .collect()
}

fn change(now: &[f64], before: &[f64], level: f64) -> Change {
    let margin = [MARGIN, drift(now), drift(before)].into_iter().fold(1.0, f64::max);
    let undecided = Change { ratio: None, interval: None, margin, verdict: Verdict::Undecided };
    let all = || now.iter().chain(before);
    if all().next().is_some() && all().all(|figure| *figure == 0.0) {
        let interval = Some(Interval { low: 1.0, high: 1.0 });
        return Change { ratio: Some(1.0), interval, verdict: Verdict::Passed, ..undecided };
    }
    let logs =
        |rounds: &[f64]| rounds.iter().map(|figure| log_ratio(*figure, 1.0)).collect::<Option<Vec<_>>>();
    let (Some(now), Some(before)) = (logs(now), logs(before)) else { return undecided };
    let Some((middle, (low, high))) = rank::of_groups(&now, &before, level) else {
        let ratio = median(&now).zip(median(&before)).map(|(now, before)| (now - before).exp());
        return Change { ratio, ..undecided };
    };
    let interval = Interval { low: low.exp(), high: high.exp() };
    let verdict = if interval.high <= margin {
        Verdict::Passed
    } else if interval.low > margin {
        Verdict::Missed
    } else {
        Verdict::Undecided
    };
    Change { ratio: Some(middle.exp()), interval: Some(interval), margin, verdict }
}

/// By what ratio, 1 or more, the two halves of a run differ.
fn drift(rounds: &[f64]) -> f64 {
    let (first, second) = rounds.split_at(rounds.len() / 2);
    let halves = median(first).zip(median(second));
    halves.and_then(|(first, second)| log_ratio(first, second)).map_or(1.0, |log| log.abs().exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::report;

    /// Rounds about this time, which stray by up to a percent.
    fn rounds(time: f64) -> Vec<f64> {
        (0..12).map(|round| time * (1.0 + f64::from(round * 7 % 12 - 6) / 600.0)).collect()
    }

    fn word(now: &[f64], before: &[f64]) -> &'static str {
        let rows = compare(&report(now), &report(before));
        rows.first().unwrap().change.word()
    }

    #[test]
    fn a_slower_program_is_told_from_the_same_one() {
        let before = rounds(1000.0);
        for (time, expected) in [
            (1000.0, "no slower"),
            (1020.0, "no slower"),
            (980.0, "no slower"),
            (1050.0, "undecided"),
            (1080.0, "slower"),
            (51_000.0, "slower"),
            (900.0, "faster"),
        ] {
            assert_eq!(word(&rounds(time), &before), expected, "{time}");
        }
        let row = compare(&report(&rounds(51_000.0)), &report(&before)).remove(0);
        assert_eq!((row.id.as_str(), row.title.as_str()), ("exit.cpuid", "empty exit (CPUID)"));
        assert!((row.change.ratio.unwrap() / 51.0 - 1.0).abs() < 0.01);
        assert!(row.now.median > 50.0 * row.before.median);
    }

    #[test]
    fn too_few_rounds_are_undecided() {
        let change = compare(&report(&[5000.0; 3]), &report(&[1000.0; 3])).remove(0).change;
        assert_eq!((change.word(), change.interval), ("undecided", None));
        assert!(change.reason().unwrap().starts_with("too few rounds"));
        assert!((change.ratio.unwrap() - 5.0).abs() < 0.1);
        assert_eq!(word(&[5000.0; 4], &[1000.0; 4]), "slower");
    }

    #[test]
    fn a_run_that_differs_from_itself_proves_less() {
        // The machine became slower by a half in the middle of the baseline.
        let mut before = rounds(1000.0);
        before.truncate(6);
        before.extend(rounds(1500.0).into_iter().take(6));
        let change = compare(&report(&rounds(1580.0)), &report(&before)).remove(0).change;
        assert!(change.margin > 1.4 && change.word() == "undecided", "{change:?}");
        assert_eq!(word(&rounds(5000.0), &before), "slower");
    }

    #[test]
    fn times_of_nothing() {
        let nothing = change(&[0.0; 10], &[0.0; 10], 0.95);
        assert_eq!((nothing.ratio, nothing.word()), (Some(1.0), "no slower"));
        let something = change(&[5.0; 10], &[0.0; 10], 0.95);
        assert_eq!((something.ratio, something.word()), (None, "undecided"));
        assert!(something.reason().unwrap().contains("no time"));
        assert_eq!(change(&[], &[], 0.95).word(), "undecided");
    }

    #[test]
    fn only_what_both_have_measured() {
        let now = report(&rounds(1000.0));
        let mut other = now.clone();
        other.measures[0].id = "exit.port".into();
        assert_eq!(compare(&now, &other), []);
        let mut other = now.clone();
        other.measures[0].figure = crate::Figure::Sum;
        assert_eq!(compare(&now, &other), []);
    }

    /// However many measures there are: two runs of one program are told apart in no more than a twentieth of the reports. Each report
    /// here has 25 measures.
    #[test]
    fn the_same_program_is_not_told_apart() {
        let mut random = 1_u64;
        let mut next = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // Skewed, as times are: mostly near the least, with a long tail.
            1000.0 * (1.0 + 0.05 / (0.05 + (random >> 11) as f64 / (1_u64 << 53) as f64))
        };
        let mut told_apart = 0;
        for _ in 0..40 {
            let slower = (0..25).any(|_| {
                let (now, before): (Vec<f64>, Vec<f64>) = (0..10).map(|_| (next(), next())).unzip();
                change(&now, &before, 1.0 - 0.05 / 25.0).verdict == Verdict::Missed
            });
            told_apart += usize::from(slower);
        }
        assert!(told_apart <= 2, "{told_apart} of 40");
    }
}
