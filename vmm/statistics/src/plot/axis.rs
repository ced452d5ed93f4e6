//! The axis of time, in decades.

/// The least time that has a place of its own, in nanoseconds; nothing that is measured with a processor's clock takes less.
const LEAST: f64 = 0.1;

/// A logarithmic axis between two decades.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    /// The powers of ten, of nanoseconds, at the ends.
    decades: (i32, i32),
    /// The pixels at the ends.
    field: (f64, f64),
}

impl Axis {
    /// The axis that has room for these ranges, of at least two decades; `None` without a range.
    pub(super) fn around(ranges: impl Iterator<Item = (f64, f64)>, field: (f64, f64)) -> Option<Self> {
        let (min, max) = ranges.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))?;
        let first = min.max(LEAST).log10().floor() as i32;
        let last = (max.max(LEAST).log10().ceil() as i32).max(first + 2);
        Some(Self { decades: (first, last), field })
    }

    /// The pixel of a time in nanoseconds, within the field.
    pub(super) fn place(&self, nanoseconds: f64) -> f64 {
        let (first, last) = (f64::from(self.decades.0), f64::from(self.decades.1));
        let share = (nanoseconds.max(LEAST).log10() - first) / (last - first);
        self.field.0 + share.clamp(0.0, 1.0) * (self.field.1 - self.field.0)
    }

    /// Each decade's pixel and name.
    pub(super) fn labels(&self) -> impl Iterator<Item = (f64, String)> + '_ {
        (self.decades.0..=self.decades.1).map(|decade| {
            let (power, unit) = match decade {
                ..0 => return (self.place(10_f64.powi(decade)), "0.1 ns".into()),
                0..3 => (decade, "ns"),
                3..6 => (decade - 3, "µs"),
                6..9 => (decade - 6, "ms"),
                _ => (decade - 9, "s"),
            };
            (self.place(10_f64.powi(decade)), format!("{:.0} {unit}", 10_f64.powi(power)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_decades_around_what_there_is() {
        let axis = Axis::around([(250.0, 900.0), (1500.0, 2.0e6)].into_iter(), (0.0, 500.0)).unwrap();
        let labels: Vec<_> = axis.labels().collect();
        let texts: Vec<_> = labels.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["100 ns", "1 µs", "10 µs", "100 µs", "1 ms", "10 ms"]);
        assert_eq!((labels[0].0, labels[5].0), (0.0, 500.0));
        assert!((axis.place(10_000.0) - 200.0).abs() < 1e-9);
        assert_eq!((axis.place(0.0), axis.place(1e12)), (0.0, 500.0));
    }

    #[test]
    fn one_time_and_none() {
        let axis = Axis::around([(0.0, 0.0)].into_iter(), (0.0, 1.0)).unwrap();
        assert_eq!(axis.labels().map(|(_, text)| text).collect::<Vec<_>>(), ["0.1 ns", "1 ns", "10 ns"]);
        assert_eq!(Axis::around(std::iter::empty(), (0.0, 1.0)), None);
        let seconds = Axis::around([(2e9, 9e11)].into_iter(), (0.0, 1.0)).unwrap();
        assert_eq!(seconds.labels().last().unwrap().1, "1000 s");
    }
}
