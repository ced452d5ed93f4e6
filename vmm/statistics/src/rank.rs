//! Exact intervals from ranks, for samples too few to be resampled: those shifts that a test does not rule out.
//!
//! - Pairs: Wilcoxon's signed-rank test; its interval lies between Walsh averages, the means of any two differences (Tukey).
//! - Two groups: the test of Mann and Whitney; its interval lies between differences of any two samples (Hodges and Lehmann, Moses).
//!
//! Both are exact for any distribution that is symmetric about its middle (pairs), or the same in both groups but for a shift, and no
//! assumption of a normal one is made. Ties make the intervals a little wider than they would have to be.

/// Above so many samples in a group the distribution of [`group_distribution`] is no longer counted, but taken as normal.
const COUNTED: usize = 50;

/// The distribution of Wilcoxon's W for so many pairs: the share of all signs with each sum of ranks.
fn pair_distribution(pairs: usize) -> Vec<f64> {
    let mut shares = vec![1.0];
    for rank in 1..=pairs {
        let mut next = vec![0.0; shares.len() + rank];
        for (sum, share) in shares.iter().enumerate() {
            for target in [sum, sum + rank] {
                if let Some(place) = next.get_mut(target) {
                    *place += share / 2.0;
                }
            }
        }
        shares = next;
    }
    shares
}

/// The distribution of Mann and Whitney's U for two groups: the share of all orders with each number of inversions.
///
/// The greatest sample of all is one of the first group with the probability a / (a + b), and then adds b to U (Mann and Whitney's recurrence).
fn group_distribution(first: usize, second: usize) -> Vec<f64> {
    // One row for each size of the first group, for a second group that grows.
    let mut rows: Vec<Vec<f64>> = vec![vec![1.0]; first + 1];
    for b in 1..=second {
        let mut next = vec![vec![1.0]];
        for a in 1..=first {
            let mut row = vec![0.0; a * b + 1];
            let (of_first, of_second) = (a as f64 / (a + b) as f64, b as f64 / (a + b) as f64);
            let smaller = next.get(a - 1).cloned().unwrap_or_default();
            for (value, share) in smaller.iter().enumerate() {
                if let Some(place) = row.get_mut(value + b) {
                    *place += share * of_first;
                }
            }
            for (place, share) in row.iter_mut().zip(rows.get(a).into_iter().flatten()) {
                *place += share * of_second;
            }
            next.push(row);
        }
        rows = next;
    }
    rows.pop().unwrap_or_default()
}

/// The greatest value that is so rare, with all below it, that its share is at most `tail`.
fn critical(distribution: &[f64], tail: f64) -> Option<usize> {
    let mut sum = 0.0;
    // The sums of halves are exact for pairs, and right to the last digits for groups.
    let rare = distribution.iter().take_while(|share| {
        sum += **share;
        sum <= tail * (1.0 + 1e-9)
    });
    rare.count().checked_sub(1)
}

/// The interval of the middle of these differences, at a level such as 0.95; `None` where they are too few for it: six are
/// enough for 0.95.
pub(crate) fn of_pairs(differences: &[f64], level: f64) -> Option<(f64, f64)> {
    let cut = critical(&pair_distribution(differences.len()), (1.0 - level) / 2.0)?;
    let mut walsh: Vec<f64> = Vec::new();
    for (index, one) in differences.iter().enumerate() {
        walsh.extend(differences.iter().skip(index).map(|other| f64::midpoint(*one, *other)));
    }
    ends(walsh, cut)
}

/// The middle shift from the second group to the first one, and its interval at a level such as 0.95; `None` where they are too few
/// for it: four in each group are enough for 0.95.
pub(crate) fn of_groups(first: &[f64], second: &[f64], level: f64) -> Option<(f64, (f64, f64))> {
    let (a, b) = (first.len(), second.len());
    let tail = (1.0 - level) / 2.0;
    let cut = if a.max(b) <= COUNTED {
        critical(&group_distribution(a, b), tail)?
    } else {
        let (a, b) = (a as f64, b as f64);
        let deviation = (a * b * (a + b + 1.0) / 12.0).sqrt();
        let cut = a * b / 2.0 - normal_quantile(tail) * deviation - 1.0;
        // Too few in the smaller group for this level.
        if cut < 0.0 {
            return None;
        }
        cut as usize
    };
    let shifts: Vec<f64> = first.iter().flat_map(|one| second.iter().map(move |other| one - other)).collect();
    let middle = crate::median(&shifts)?;
    Some((middle, ends(shifts, cut)?))
}

/// What is left between `cut` values cut off at either end.
fn ends(mut values: Vec<f64>, cut: usize) -> Option<(f64, f64)> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(cut + 1)?;
    Some((*values.get(cut)?, *values.get(last)?))
}

/// How many standard deviations below the mean a share of `tail` of a normal distribution begins, for tails from 1e-12 to 0.5: by
/// halving, with the complementary error function's continued fraction (Abramowitz and Stegun 7.1.14) and series (7.1.5).
fn normal_quantile(tail: f64) -> f64 {
    let (mut low, mut high) = (0.0, 8.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if normal_tail(middle) > tail { low = middle } else { high = middle }
    }
    low
}

/// The share of a normal distribution beyond so many standard deviations.
fn normal_tail(deviations: f64) -> f64 {
    let density = (-deviations * deviations / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    if deviations < 2.0 {
        let (mut term, mut sum) = (deviations, deviations);
        for step in 1..60 {
            term *= deviations * deviations / (2 * step + 1) as f64;
            sum += term;
        }
        0.5 - density * sum
    } else {
        let fraction = (1..200).rev().fold(0.0, |fraction, step| f64::from(step) / (deviations + fraction));
        density / (deviations + fraction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_sided(distribution: &[f64], least: usize) -> f64 {
        2.0 * distribution.iter().take(least + 1).sum::<f64>()
    }

    /// p of `scipy.stats.wilcoxon(…, mode="exact")`, scipy 1.17.1, for the number of pairs and the smaller sum of ranks.
    #[test]
    fn wilcoxon_as_scipy_has_it() {
        for (pairs, least, p) in [
            (6, 0, 0.03125),
            (6, 1, 0.0625),
            (7, 2, 0.046875),
            (8, 3, 0.0390625),
            (9, 5, 0.0390625),
            (12, 10, 0.02099609375),
            (20, 52, 0.04844093322753906),
        ] {
            assert_eq!(two_sided(&pair_distribution(pairs), least), p, "{pairs} {least}");
        }
    }

    /// p of `scipy.stats.mannwhitneyu(…, method="exact")`, scipy 1.17.1, for the sizes and U.
    #[test]
    fn mann_whitney_as_scipy_has_it() {
        for (first, second, least, p) in [
            (3, 3, 0, 0.1),
            (5, 5, 2, 0.031746031746031744),
            (6, 6, 5, 0.04112554112554113),
            (10, 10, 23, 0.04325705254497823),
            (7, 12, 20, 0.06834960704929745),
            (12, 7, 20, 0.06834960704929745),
        ] {
            let found: f64 = two_sided(&group_distribution(first, second), least);
            assert!((found - p).abs() < 1e-14, "{first} {second} {least}: {found}");
        }
    }

    #[test]
    fn distributions_are_whole_and_symmetric() {
        for distribution in [pair_distribution(13), group_distribution(9, 4), group_distribution(50, 50)] {
            assert!((distribution.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            let mirrored = distribution.iter().rev();
            assert!(distribution.iter().zip(mirrored).all(|(one, other)| (one - other).abs() < 1e-12));
        }
    }

    #[test]
    fn too_few_have_no_interval() {
        let ten: Vec<f64> = (1..=10).map(f64::from).collect();
        for (count, level, enough) in [(5, 0.95, false), (6, 0.95, true), (7, 0.99, false), (8, 0.99, true)] {
            assert_eq!(of_pairs(&ten[..count], level).is_some(), enough, "{count}");
        }
        for (count, enough) in [(3, false), (4, true)] {
            assert_eq!(of_groups(&ten[..count], &ten[..count], 0.95).is_some(), enough, "{count}");
        }
        assert_eq!((of_pairs(&[], 0.95), of_groups(&[], &ten, 0.95)), (None, None));
        let many: Vec<f64> = (0..60).map(f64::from).collect();
        assert_eq!(of_groups(&many, &[1.0], 0.95), None);
    }

    /// `scipy.stats.norm.isf`.
    #[test]
    fn normal_quantiles_as_scipy_has_them() {
        for (tail, expected) in [
            (0.025, 1.9599639845400545),
            (0.005, 2.5758293035489004),
            (0.00125, 3.023341439739154),
            (1e-6, 4.753424308822899),
            (0.4, 0.2533471031357997),
        ] {
            let found: f64 = normal_quantile(tail);
            assert!((found - expected).abs() < 1e-9, "{tail}: {found}");
        }
    }

    /// Those shifts that scipy 1.17.1's tests do not reject at 0.05, found by trying shifts between all candidates.
    #[test]
    fn intervals_are_what_scipy_does_not_reject() {
        let close = |found: (f64, f64), expected: (f64, f64)| {
            assert!(
                (found.0 - expected.0).abs() < 1e-9 && (found.1 - expected.1).abs() < 1e-9,
                "{found:?} {expected:?}"
            );
        };
        let pairs: [(&[f64], _); 3] = [
            (&[0.11, -0.04, 0.27, 0.19, 0.03, 0.35, 0.08], (0.02, 0.27)),
            (&[0.5, 0.1, 0.9, 0.3, 0.7, 0.2, 0.65, 0.45], (0.2, 0.7)),
            (&[1.0, 2.5, -0.7, 4.1, 3.3, 0.2, 1.8, 2.9, 0.6], (0.4, 3.1)),
        ];
        for (differences, expected) in pairs {
            close(of_pairs(differences, 0.95).unwrap(), expected);
        }
        let groups: [(&[f64], &[f64], _, _); 2] = [
            (&[1.1, 2.3, 0.7, 1.9, 3.1], &[0.2, 0.9, 1.35, 0.4, 1.0], 0.95, (-0.25, 2.2)),
            (
                &[10.2, 11.7, 9.4, 10.9, 12.3, 10.05, 11.1],
                &[9.1, 8.7, 9.95, 10.4, 8.2, 9.3],
                1.55,
                (0.25, 2.9),
            ),
        ];
        for (first, second, middle, expected) in groups {
            let (found, interval) = of_groups(first, second, 0.95).unwrap();
            close(interval, expected);
            assert!((found - middle).abs() < 1e-9, "{found} for {middle}");
        }
    }

    #[test]
    fn counted_and_normal_agree_where_they_meet() {
        let at = |count: usize| {
            // The same two distributions in finer steps.
            let first: Vec<f64> = (0..count).map(|step| step as f64 / count as f64).collect();
            of_groups(&first, &first, 0.95).unwrap().1.1
        };
        assert!((at(COUNTED) / at(COUNTED + 1) - 1.0).abs() < 0.05, "{} {}", at(COUNTED), at(COUNTED + 1));
    }
}
