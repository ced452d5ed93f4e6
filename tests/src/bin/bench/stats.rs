//! Samples of two that are compared, the goals for them, and what is known of these.

use serde_json::{Value, json};
use statistics::{Goal, Interval, Paired, Unpaired, Verdict, median, paired};

/// Samples of one metric for both that are compared, in the order they were taken, and the goal.
#[derive(Debug, Clone)]
pub(crate) struct Comparison {
    /// Where it was measured and what it is.
    pub(crate) metric: String,
    /// The unit of the samples.
    pub(crate) unit: String,
    /// What the ratio is to be; `None` for what is only told.
    pub(crate) goal: Option<Goal>,
    /// What ours is to be at most, whatever the ratio.
    pub(crate) limit: Option<f64>,
    /// Samples of optimus-vmm, one for each run.
    pub(crate) ours: Vec<f64>,
    /// What ours is compared with: QEMU, unless told otherwise.
    pub(crate) peer_name: String,
    /// Samples of the peer, one for each run, in the same pairs.
    pub(crate) peer: Vec<f64>,
}

impl Comparison {
    /// A metric without samples, and what its ratio is to be at most.
    pub(crate) fn new(metric: &str, unit: &str, goal: Option<f64>) -> Self {
        Self {
            metric: metric.into(),
            unit: unit.into(),
            goal: goal.map(Goal::AtMost),
            limit: None,
            ours: Vec::new(),
            peer_name: "QEMU".into(),
            peer: Vec::new(),
        }
    }

    /// Names another peer.
    pub(crate) fn beside(self, name: &str) -> Self {
        Self { peer_name: name.into(), ..self }
    }

    /// Makes an amount of ours a goal, beside that of the ratio if there is one.
    pub(crate) fn at_most(self, limit: f64) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Makes it the goal that the ratio is not below this.
    pub(crate) fn at_least(self, ratio: f64) -> Self {
        Self { goal: Some(Goal::AtLeast(ratio)), ..self }
    }

    /// Makes it the goal that both are equal, but for 5 %.
    pub(crate) fn equal(self) -> Self {
        Self { goal: Some(Goal::Equal), ..self }
    }

    /// What [`Comparison::json`] wrote.
    pub(crate) fn from_json(value: &Value) -> Option<Self> {
        let samples = |of: &str| -> Option<Vec<f64>> {
            value.get(of)?.get("samples")?.as_array()?.iter().map(Value::as_f64).collect()
        };
        let number = |key: &str| value.get(key).and_then(Value::as_f64);
        let equal = value.get("equal").and_then(Value::as_bool).unwrap_or(false);
        let goal = [
            number("goal").map(Goal::AtMost),
            number("least").map(Goal::AtLeast),
            equal.then_some(Goal::Equal),
        ];
        Some(Self {
            metric: value.get("metric")?.as_str()?.into(),
            unit: value.get("unit")?.as_str()?.into(),
            goal: goal.into_iter().flatten().next(),
            limit: number("limit"),
            ours: samples("ours")?,
            peer_name: value.get("peer")?.get("name")?.as_str()?.into(),
            peer: samples("peer")?,
        })
    }

    /// Adds a sample of ours, or else of the peer's.
    pub(crate) fn add(&mut self, ours: bool, sample: f64) {
        if ours { self.ours.push(sample) } else { self.peer.push(sample) }
    }

    /// What the pairs say of the ratio.
    pub(crate) fn paired(&self) -> Result<Paired, Unpaired> {
        paired(&self.ours, &self.peer)
    }

    /// Ours by the peer's: the median of the pairs, or the ratio of the medians where a pair has no ratio.
    pub(crate) fn ratio(&self) -> Option<f64> {
        self.paired().ok().map(|paired| paired.ratio).or_else(|| {
            let peer = median(&self.peer)?;
            (peer > 0.0).then_some(median(&self.ours)? / peer)
        })
    }

    /// Where the ratio is but for chance.
    pub(crate) fn interval(&self) -> Option<Interval> {
        self.paired().ok()?.interval
    }

    /// What is known of all goals together, if there is one.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        let goal = self.goal.map(|goal| goal.verdict(self.interval()));
        // An amount is judged sample by sample: it has no peer that could be disturbed alike.
        let limit = self.limit.map(|limit| {
            let within = self.ours.iter().filter(|sample| **sample <= limit).count();
            match within {
                _ if self.ours.is_empty() => Verdict::Undecided,
                0 => Verdict::Missed,
                _ if within == self.ours.len() => Verdict::Passed,
                _ => Verdict::Undecided,
            }
        });
        goal.into_iter().chain(limit).max()
    }

    /// Everything, for machines.
    pub(crate) fn json(&self) -> Value {
        let (goal, least) = match self.goal {
            Some(Goal::AtMost(ratio)) => (Some(ratio), None),
            Some(Goal::AtLeast(ratio)) => (None, Some(ratio)),
            Some(Goal::Equal) | None => (None, None),
        };
        json!({
            "metric": self.metric,
            "unit": self.unit,
            "goal": goal,
            "limit": self.limit,
            "least": least,
            "equal": self.goal == Some(Goal::Equal),
            "ratio": self.ratio(),
            "interval": self.interval().map(|interval| [interval.low, interval.high]),
            "pairs": self.ours.len().min(self.peer.len()),
            "verdict": self.verdict().map(Verdict::word),
            "ours": { "median": median(&self.ours), "samples": self.ours },
            "peer": { "name": self.peer_name, "median": median(&self.peer), "samples": self.peer },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(comparison: &Comparison) -> Comparison {
        Comparison::from_json(&comparison.json()).unwrap()
    }

    #[test]
    fn a_goal_wants_pairs() {
        let mut metric = Comparison::new("time", "s", Some(0.25));
        assert_eq!((metric.ratio(), metric.verdict()), (None, Some(Verdict::Undecided)));
        for (pairs, ours, verdict) in [
            (5, 1.0, Verdict::Undecided),
            (7, 1.0, Verdict::Passed),
            (7, 3.0, Verdict::Missed),
            (12, 1.0, Verdict::Passed),
        ] {
            (metric.ours, metric.peer) = (vec![ours; pairs], vec![5.0; pairs]);
            assert_eq!(metric.verdict(), Some(verdict), "{pairs} {ours}");
            let again = again(&metric);
            assert_eq!((again.goal, again.verdict()), (Some(Goal::AtMost(0.25)), Some(verdict)));
            assert_eq!((again.ours, again.peer), (metric.ours.clone(), metric.peer.clone()));
        }
        // Half of the pairs say one thing, the others another.
        metric.ours = vec![1.0, 3.0, 1.0, 3.0, 1.0, 3.0, 1.0];
        metric.peer = vec![5.0; 7];
        assert_eq!(metric.verdict(), Some(Verdict::Undecided));
        assert_eq!(metric.json().get("verdict").unwrap(), "undecided");
        assert_eq!(Comparison::new("told", "s", None).verdict(), None);
    }

    #[test]
    fn an_amount_is_judged_by_its_samples() {
        let mut count = Comparison::new("exits", "", None).at_most(0.0);
        assert_eq!(count.verdict(), Some(Verdict::Undecided));
        for (ours, verdict) in [
            (vec![0.0], Verdict::Passed),
            (vec![0.0, 1.0], Verdict::Undecided),
            (vec![1.0, 2.0], Verdict::Missed),
        ] {
            count.ours = ours;
            assert_eq!(again(&count).verdict(), Some(verdict));
        }
        // No ratio of a pair, but of the medians.
        (count.ours, count.peer) = (vec![0.0; 3], vec![4.0; 3]);
        assert_eq!((count.ratio(), count.interval()), (Some(0.0), None));
    }

    #[test]
    fn more_can_be_better() {
        let mut metric = Comparison::new("throughput", "Mbit/s", None).at_least(1.2);
        metric.peer = vec![100.0; 7];
        for (ours, verdict) in [(130.0, Verdict::Passed), (110.0, Verdict::Missed), (90.0, Verdict::Missed)] {
            metric.ours = vec![ours; 7];
            assert_eq!(again(&metric).verdict(), Some(verdict), "{ours}");
        }
    }

    #[test]
    fn equal_is_a_goal() {
        let mut metric = Comparison::new("a read of the device", "ns", None).equal();
        metric.peer = vec![100.0; 7];
        for (ours, verdict) in [(103.0, Verdict::Passed), (110.0, Verdict::Missed), (90.0, Verdict::Missed)] {
            metric.ours = vec![ours; 7];
            assert_eq!(again(&metric).verdict(), Some(verdict), "{ours}");
        }
    }

    #[test]
    fn a_ratio_and_an_amount_are_two_goals() {
        let mut metric = Comparison::new("memory", "MiB", Some(0.15)).at_most(10.0).beside("another");
        for (ours, peer, verdict) in
            [(9.0, 90.0, Verdict::Passed), (9.0, 50.0, Verdict::Missed), (12.0, 120.0, Verdict::Missed)]
        {
            (metric.ours, metric.peer) = (vec![ours; 6], vec![peer; 6]);
            assert_eq!(metric.verdict(), Some(verdict), "{ours} {peer}");
        }
        assert_eq!(again(&metric).peer_name, "another");
    }
}
