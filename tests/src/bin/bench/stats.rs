//! Medians and the like.

use serde_json::{Value, json};

/// Samples of one metric for both monitors, in the order they were taken, and the goal.
#[derive(Debug, Clone)]
pub(crate) struct Comparison {
    /// Where it was measured and what it is.
    pub(crate) metric: String,
    /// The unit of the samples.
    pub(crate) unit: String,
    /// What the ratio of the medians is to be at most; `None` for what is only told.
    pub(crate) goal: Option<f64>,
    /// What the median of ours is to be at most, where it is counted and not compared.
    pub(crate) limit: Option<f64>,
    /// Samples of optimus-vmm.
    pub(crate) ours: Vec<f64>,
    /// Samples of QEMU.
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
            ours: Vec::new(),
            peer: Vec::new(),
        }
    }

    /// Makes a count of ours the goal.
    pub(crate) fn at_most(self, limit: f64) -> Self {
        Self { limit: Some(limit), ..self }
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
            ours: samples("ours")?,
            peer: samples("qemu")?,
        })
    }

    /// Adds a sample of ours, or else of QEMU's.
    pub(crate) fn add(&mut self, ours: bool, sample: f64) {
        if ours { self.ours.push(sample) } else { self.peer.push(sample) }
    }

    /// The median of ours by the median of QEMU's.
    pub(crate) fn ratio(&self) -> Option<f64> {
        let peer = median(&self.peer)?;
        (peer > 0.0).then_some(median(&self.ours)? / peer)
    }

    /// Whether the goal is reached, if there is one.
    pub(crate) fn reached(&self) -> Option<bool> {
        match self.limit {
            Some(limit) => Some(median(&self.ours)? <= limit),
            None => Some(self.ratio()? <= self.goal?),
        }
    }

    /// Everything, for machines.
    pub(crate) fn json(&self) -> Value {
        json!({
            "metric": self.metric,
            "unit": self.unit,
            "goal": self.goal,
            "limit": self.limit,
            "ratio": self.ratio(),
            "reached": self.reached(),
            "ours": { "median": median(&self.ours), "samples": self.ours },
            "qemu": { "median": median(&self.peer), "samples": self.peer },
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
}
