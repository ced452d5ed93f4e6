//! Medians and the like.

use serde_json::{Value, json};

/// Samples of one metric for both that are compared, in the order they were taken, and the goal.
#[derive(Debug, Clone)]
pub(crate) struct Comparison {
    /// Where it was measured and what it is.
    pub(crate) metric: String,
    /// The unit of the samples.
    pub(crate) unit: String,
    /// What the ratio of the medians is to be at most; `None` for what is only told.
    pub(crate) goal: Option<f64>,
    /// What the median of ours is to be at most, whatever the ratio.
    pub(crate) limit: Option<f64>,
    /// What the ratio is to be at least, where more is better.
    pub(crate) least: Option<f64>,
    /// Samples of optimus-vmm.
    pub(crate) ours: Vec<f64>,
    /// What ours is compared with: QEMU, unless told otherwise.
    pub(crate) peer_name: String,
    /// Samples of the peer.
    pub(crate) peer: Vec<f64>,
}

impl Comparison {
    /// A metric without samples.
    pub(crate) fn new(metric: &str, unit: &str, goal: Option<f64>) -> Self {
        Self {
            metric: metric.into(),
            unit: unit.into(),
            goal,
            limit: None,
            least: None,
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

    /// Makes it a goal that the ratio is not below this.
    pub(crate) fn at_least(self, ratio: f64) -> Self {
        Self { least: Some(ratio), ..self }
    }

    /// What [`Comparison::json`] wrote.
    pub(crate) fn from_json(value: &Value) -> Option<Self> {
        let samples = |of: &str| -> Option<Vec<f64>> {
            value.get(of)?.get("samples")?.as_array()?.iter().map(Value::as_f64).collect()
        };
        Some(Self {
            metric: value.get("metric")?.as_str()?.into(),
            unit: value.get("unit")?.as_str()?.into(),
            goal: value.get("goal").and_then(Value::as_f64),
            limit: value.get("limit").and_then(Value::as_f64),
            least: value.get("least").and_then(Value::as_f64),
            ours: samples("ours")?,
            peer_name: value.get("peer")?.get("name")?.as_str()?.into(),
            peer: samples("peer")?,
        })
    }

    /// Adds a sample of ours, or else of the peer's.
    pub(crate) fn add(&mut self, ours: bool, sample: f64) {
        if ours { self.ours.push(sample) } else { self.peer.push(sample) }
    }

    /// The median of ours by the median of the peer's.
    pub(crate) fn ratio(&self) -> Option<f64> {
        let peer = median(&self.peer)?;
        (peer > 0.0).then_some(median(&self.ours)? / peer)
    }

    /// Whether all goals are reached, if there is one.
    pub(crate) fn reached(&self) -> Option<bool> {
        let within = |goal: Option<f64>, value: Option<f64>, is: fn(&f64, &f64) -> bool| match goal {
            Some(goal) => value.map(|value| Some(is(&value, &goal))),
            None => Some(None),
        };
        let ratio = within(self.goal, self.ratio(), f64::le)?;
        let amount = within(self.limit, median(&self.ours), f64::le)?;
        let least = within(self.least, self.ratio(), f64::ge)?;
        [ratio, amount, least].into_iter().flatten().reduce(|one, other| one && other)
    }

    /// Everything, for machines.
    pub(crate) fn json(&self) -> Value {
        json!({
            "metric": self.metric,
            "unit": self.unit,
            "goal": self.goal,
            "limit": self.limit,
            "least": self.least,
            "ratio": self.ratio(),
            "reached": self.reached(),
            "ours": { "median": median(&self.ours), "samples": self.ours },
            "peer": { "name": self.peer_name, "median": median(&self.peer), "samples": self.peer },
        })
    }
}

/// The value in the middle, or the mean of the two there.
pub(crate) fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(upper, *sorted.get(middle.checked_sub(1)?)?))
}

/// Least and greatest.
pub(crate) fn range(samples: &[f64]) -> Option<(f64, f64)> {
    let least = samples.iter().copied().min_by(f64::total_cmp)?;
    Some((least, samples.iter().copied().max_by(f64::total_cmp)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(range(&[3.0, 1.0, 2.0]), Some((1.0, 3.0)));
        let mut metric = Comparison::new("time", "s", Some(0.25));
        assert_eq!((metric.ratio(), metric.reached()), (None, None));
        metric.ours = vec![1.0];
        metric.peer = vec![4.0];
        assert_eq!((metric.ratio(), metric.reached()), (Some(0.25), Some(true)));
        metric.peer = vec![3.0];
        assert_eq!(metric.reached(), Some(false));
        let again = Comparison::from_json(&metric.json()).unwrap();
        assert_eq!((again.goal, again.ours, again.peer), (Some(0.25), vec![1.0], vec![3.0]));
        metric.peer = vec![0.0];
        assert_eq!(metric.ratio(), None);
        let mut count = Comparison::new("exits", "", None).at_most(0.0);
        assert_eq!(count.reached(), None);
        count.ours = vec![0.0];
        assert_eq!(count.reached(), Some(true));
        count.ours = vec![1.0];
        assert_eq!(Comparison::from_json(&count.json()).unwrap().reached(), Some(false));
    }

    #[test]
    fn more_can_be_better() {
        let mut metric = Comparison::new("throughput", "Mbit/s", None).at_least(1.2);
        assert_eq!(metric.reached(), None);
        metric.peer = vec![100.0];
        for (ours, reached) in [(130.0, true), (120.0, true), (110.0, false), (90.0, false)] {
            metric.ours = vec![ours];
            assert_eq!(Comparison::from_json(&metric.json()).unwrap().reached(), Some(reached), "{ours}");
        }
    }

    #[test]
    fn a_ratio_and_an_amount_are_two_goals() {
        let mut metric = Comparison::new("memory", "MiB", Some(0.15)).at_most(10.0).beside("another");
        metric.ours = vec![9.0];
        assert_eq!(metric.reached(), None);
        for (ours, peer, reached) in [(9.0, 90.0, true), (9.0, 50.0, false), (12.0, 120.0, false)] {
            (metric.ours, metric.peer) = (vec![ours], vec![peer]);
            assert_eq!(metric.reached(), Some(reached), "{ours} {peer}");
        }
        assert_eq!(Comparison::from_json(&metric.json()).unwrap().peer_name, "another");
    }
}
