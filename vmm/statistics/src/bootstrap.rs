//! The bootstrap of a median (Efron's percentile interval): how far the median of samples drawn from these, with repetition, strays.

/// How often samples are drawn.
const RESAMPLES: usize = 10_000;
/// Where the random numbers begin: the same samples give the same interval, in each report of them.
const SEED: u64 = 0x6f70_7469_6d75_7321;

/// The interval of the median at a level such as 0.95; `None` of nothing.
pub(crate) fn of_median(samples: &[f64], level: f64) -> Option<(f64, f64)> {
    let mut random = SplitMix(SEED);
    let mut drawn = vec![0.0; samples.len()];
    let mut medians = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        for place in &mut drawn {
            *place = *samples.get(random.below(samples.len()))?;
        }
        medians.push(crate::median(&drawn)?);
    }
    let tail = (1.0 - level) / 2.0;
    Some((crate::quantile(&medians, tail)?, crate::quantile(&medians, 1.0 - tail)?))
}

/// Steele, Lea and Flood's generator SplitMix64.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `count`, 0 if there is none: the upper half of a product, which prefers no number noticeably.
    fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.next()) * count as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The generator's first numbers for the seed 1234567, as its authors' and Java's have them.
    #[test]
    fn the_generator_is_splitmix64() {
        let mut random = SplitMix(1_234_567);
        let numbers = [(); 5].map(|()| random.next());
        assert_eq!(
            numbers,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
                16_408_922_859_458_223_821
            ]
        );
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn nothing_and_the_same() {
        assert_eq!(of_median(&[], 0.95), None);
        assert_eq!(of_median(&[3.0; 12], 0.95), Some((3.0, 3.0)));
    }

    /// `scipy.stats.bootstrap(…, numpy.median, n_resamples=100000, method="percentile")`, scipy 1.17.1, for three sets of ratios.
    #[test]
    fn as_scipy_has_it() {
        for (samples, (low, high)) in SCIPY {
            let found = of_median(samples, 0.95).unwrap();
            assert!(
                (found.0 - low).abs() < 0.02 && (found.1 - high).abs() < 0.02,
                "{found:?} for {low} {high}"
            );
        }
    }

    const SCIPY: [(&[f64], (f64, f64)); 3] = [
        (&[0.91, 1.02, 0.97, 1.10, 0.88, 0.95, 1.01, 0.99, 0.93, 1.05], (0.93, 1.03)),
        (&[0.52, 0.61, 0.55, 0.49, 0.58, 0.60, 0.47, 0.53, 0.56, 0.54, 0.51, 0.62], (0.515, 0.59)),
        (
            &[
                1.2, 0.8, 1.5, 0.7, 1.1, 1.0, 0.9, 1.3, 2.0, 0.6, 1.05, 0.95, 1.15, 0.85, 1.25, 0.75, 1.4,
                1.6, 0.65, 1.02,
            ],
            (0.875, 1.225),
        ),
    ];
}
