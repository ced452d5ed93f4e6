//! Times as people read them.

/// A time in nanoseconds with three digits that count and the unit that suits it: `0.31 ns`, `1.23 µs`, `45.6 ms`, `1200 s`.
pub fn time(nanoseconds: f64) -> String {
    let (value, unit) = scale(nanoseconds);
    // What rounds to 1000 belongs to the next unit.
    let (value, unit) = if value.abs() >= 999.5 && unit != "s" {
        scale(nanoseconds.signum() * next(unit))
    } else {
        (value, unit)
    };
    match value.abs() {
        ..9.995 => format!("{value:.2} {unit}"),
        ..99.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// One of the unit after this one, in nanoseconds.
fn next(unit: &str) -> f64 {
    match unit {
        "ns" => 1e3,
        "µs" => 1e6,
        _ => 1e9,
    }
}

fn scale(nanoseconds: f64) -> (f64, &'static str) {
    match nanoseconds.abs() {
        ..1e3 => (nanoseconds, "ns"),
        ..1e6 => (nanoseconds / 1e3, "µs"),
        ..1e9 => (nanoseconds / 1e6, "ms"),
        _ => (nanoseconds / 1e9, "s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_unit() {
        for (nanoseconds, text) in [
            (0.0, "0.00 ns"),
            (0.314, "0.31 ns"),
            (9.996, "10.0 ns"),
            (191.4, "191 ns"),
            (999.6, "1.00 µs"),
            (1234.0, "1.23 µs"),
            (45_600_000.0, "45.6 ms"),
            (999_700_000.0, "1.00 s"),
            (1.2e12, "1200 s"),
            (-1500.0, "-1.50 µs"),
        ] {
            assert_eq!(time(nanoseconds), text);
        }
    }
}
