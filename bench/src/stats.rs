//! Figures out of samples: percentiles of round trips, and the median and range over rounds.
//!
//! The median and not the mean stands for several rounds, because a machine that does something else for a moment
//! spoils one round and not the figure.

/// The median of some rounds, with the least and the greatest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub greatest: f64,
}

impl Spread {
    /// None where there are no values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let upper = *sorted.get(middle)?;
        let lower = if sorted.len().is_multiple_of(2) { sorted[middle - 1] } else { upper };
        Some(Self { median: (lower + upper) / 2.0, least: sorted[0], greatest: sorted[sorted.len() - 1] })
    }
}

/// The least sample that `percent` of the samples do not exceed (nearest rank); 0 where there are none.
pub fn percentile(samples: &mut [u32], percent: usize) -> u32 {
    if samples.is_empty() {
        return 0;
    }
    let rank = (samples.len() * percent).div_ceil(100).clamp(1, samples.len());
    *samples.select_nth_unstable(rank - 1).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let mut samples: Vec<u32> = (1..=100).rev().collect();
        assert_eq!(percentile(&mut samples, 50), 50);
        assert_eq!(percentile(&mut samples, 99), 99);
        assert_eq!(percentile(&mut samples, 100), 100);
        assert_eq!(percentile(&mut samples, 0), 1);
    }

    #[test]
    fn percentiles_of_few_samples_are_the_nearest() {
        assert_eq!(percentile(&mut [], 50), 0);
        assert_eq!(percentile(&mut [7], 99), 7);
        assert_eq!(percentile(&mut [9, 3], 50), 3);
        assert_eq!(percentile(&mut [9, 3], 99), 9);
    }

    #[test]
    fn a_spread_has_its_median_in_the_middle() {
        let odd = Spread { median: 2.0, least: 1.0, greatest: 9.0 };
        assert_eq!(Spread::of([9.0, 1.0, 2.0]), Some(odd));
        let even = Spread { median: 2.5, least: 1.0, greatest: 9.0 };
        assert_eq!(Spread::of([9.0, 1.0, 2.0, 3.0]), Some(even));
        assert_eq!(Spread::of([]), None);
    }
}
