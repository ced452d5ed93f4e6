//! A measure: the same thing done often, in rounds.

use serde::{Deserialize, Serialize};

use crate::histogram::{Histogram, Summary};
use crate::{median, quantile};

/// A distribution of times, with a figure for each round of it. Less is better.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub struct Measure {
    /// A name for programs, the same in all versions: lower case letters, digits, `.`, `_` and `-`.
    pub id: String,
    /// What is measured.
    pub title: String,
    /// Whose number it is.
    pub owner: Owner,
    /// What a round's figure is.
    pub figure: Figure,
    /// The figure of each round, in nanoseconds, in the order they were taken.
    pub rounds: Vec<f64>,
    /// All events of all rounds.
    pub histogram: Histogram,
    /// What is to be known about it.
    pub note: Option<String>,
}

/// Whose number a measure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// The device's and the bus's.
    Hardware,
    /// The processor's and the kernel's, KVM and VFIO included.
    Kernel,
    /// The program's that runs the machine.
    Monitor,
    /// What else the host does.
    Host,
}

/// What a round's figure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Figure {
    /// The median of its events.
    Median,
    /// The 99th percentile of its events.
    P99,
    /// All of its events together; rounds are of the same length.
    Sum,
}

impl Measure {
    /// A measure without rounds yet.
    pub fn new(id: &str, title: &str, owner: Owner, figure: Figure) -> Self {
        Self {
            id: id.into(),
            title: title.into(),
            owner,
            figure,
            rounds: Vec::new(),
            histogram: Histogram::default(),
            note: None,
        }
    }

    /// Adds a round. One without events adds a figure only where that is a sum.
    pub fn round(&mut self, events: &Histogram) {
        let figure = match self.figure {
            Figure::Median => events.quantile(0.5),
            Figure::P99 => events.quantile(0.99),
            Figure::Sum => Some(events.sum()),
        };
        self.rounds.extend(figure);
        self.histogram.merge(events);
    }

    /// Adds a round of events in nanoseconds, whose figure is exact. What is below zero counts as zero, and what is no finite number
    /// not at all, as in [`Histogram::record`].
    pub fn round_of(&mut self, events: &[f64]) {
        let events: Vec<f64> =
            events.iter().filter(|event| event.is_finite()).map(|event| event.max(0.0)).collect();
        let figure = match self.figure {
            Figure::Median => median(&events),
            Figure::P99 => quantile(&events, 0.99),
            Figure::Sum => Some(events.iter().sum()),
        };
        self.rounds.extend(figure);
        events.into_iter().for_each(|event| self.histogram.record(event));
    }

    /// All events in a few numbers; `None` without any.
    pub fn summary(&self) -> Option<Summary> {
        self.histogram.summary()
    }
}

/// A measure in a file.
#[derive(Serialize, Deserialize)]
struct Written {
    id: String,
    title: String,
    owner: Owner,
    figure: Figure,
    /// For readers of the file; ours makes it from the histogram.
    #[serde(default, skip_deserializing)]
    summary: Option<Summary>,
    rounds: Vec<f64>,
    /// The least and the greatest time.
    range: Option<(f64, f64)>,
    /// Times in nanoseconds, and how many events took them.
    histogram: Vec<(f64, u64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

impl From<Measure> for Written {
    fn from(measure: Measure) -> Self {
        Self {
            summary: measure.summary(),
            range: measure.histogram.range(),
            histogram: measure.histogram.buckets().collect(),
            id: measure.id,
            title: measure.title,
            owner: measure.owner,
            figure: measure.figure,
            rounds: measure.rounds,
            note: measure.note,
        }
    }
}

impl TryFrom<Written> for Measure {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let histogram = Histogram::from_parts(&written.histogram, written.range).ok_or_else(|| {
            format!("the histogram of '{}' does not fit its range", written.id.escape_debug())
        })?;
        if written.rounds.iter().any(|figure| !figure.is_finite() || *figure < 0.0) {
            return Err(format!("a round of '{}' is no time", written.id.escape_debug()));
        }
        Ok(Self {
            id: written.id,
            title: written.title,
            owner: written.owner,
            figure: written.figure,
            rounds: written.rounds,
            histogram,
            note: written.note,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_for_each_round() {
        let events = [5.0, 1.0, 3.0, f64::NAN, -2.0, 900.0];
        for (figure, expected) in [(Figure::Median, 3.0), (Figure::P99, 900.0), (Figure::Sum, 909.0)] {
            let mut measure = Measure::new("a", "a", Owner::Host, figure);
            measure.round_of(&events);
            assert_eq!((measure.rounds.as_slice(), measure.histogram.samples()), (&[expected][..], 5));
            let round = measure.histogram.clone();
            measure.round(&round);
            let found = measure.rounds.last().unwrap();
            assert!((found / expected - 1.0).abs() < 0.004, "{figure:?}: {found}");
            assert_eq!(measure.histogram.samples(), 10);
        }
    }

    #[test]
    fn a_round_without_events() {
        for (figure, rounds) in [(Figure::Median, 0), (Figure::P99, 0), (Figure::Sum, 2)] {
            let mut measure = Measure::new("a", "a", Owner::Host, figure);
            measure.round(&Histogram::default());
            measure.round_of(&[]);
            assert_eq!((measure.rounds.len(), measure.summary()), (rounds, None));
        }
    }
}
