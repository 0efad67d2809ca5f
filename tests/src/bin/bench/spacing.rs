//! How well departures keep their law, from the instants at which they were seen.

use weir_tests::report::quantile;

/// A silence that parts two windows: no law used here has such a gap.
const PAUSE_NS: u64 = 500_000_000;

/// Gaps of each window, us.
pub(crate) fn gaps_by_window(instants_ns: &[u64]) -> Vec<Vec<f64>> {
    instants_ns
        .chunk_by(|earlier, later| later.saturating_sub(*earlier) < PAUSE_NS)
        .map(|window| {
            let pairs = window.windows(2);
            pairs
                .map(|pair| pair[1].saturating_sub(pair[0]) as f64 / 1e3)
                .collect()
        })
        .filter(|gaps: &Vec<f64>| !gaps.is_empty())
        .collect()
}

/// For each window, how far a share of its gaps is at most from what it is to be, us.
pub(crate) fn gap_errors(windows: &[Vec<f64>], nominal_us: f64, share: f64) -> Vec<f64> {
    let errors = windows.iter().filter_map(|gaps| {
        let mut errors: Vec<f64> = gaps.iter().map(|gap| (gap - nominal_us).abs()).collect();
        errors.sort_by(f64::total_cmp);
        quantile(&errors, share)
    });
    errors.collect()
}

/// The Kolmogorov-Smirnov statistic D: the largest distance between the distribution
/// of `gaps` and the exponential one with this mean.
pub(crate) fn distance_from_exponential(mut gaps: Vec<f64>, mean: f64) -> Option<f64> {
    gaps.sort_by(f64::total_cmp);
    let count = gaps.len() as f64;
    let distances = gaps.iter().enumerate().map(|(rank, gap)| {
        let below = 1.0 - (-gap / mean).exp();
        let rank = rank as f64;
        (below - rank / count).max((rank + 1.0) / count - below)
    });
    distances.max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_parted_by_a_pause() {
        let instants = [
            0,
            1_000_000,
            2_100_000,
            2_000_000_000,
            2_000_900_000,
            9_000_000_000,
        ];
        let windows = gaps_by_window(&instants);
        assert_eq!(windows, [vec![1000.0, 1100.0], vec![900.0]]);
        assert_eq!(gap_errors(&windows, 1000.0, 0.5), [0.0, 100.0]);
        assert_eq!(gap_errors(&windows, 1000.0, 0.9), [100.0, 100.0]);
    }

    #[test]
    fn exponential_gaps_are_near_and_equal_ones_far() {
        let count = 1000;
        let drawn = |rank: i32| -(1.0 - (f64::from(rank) + 0.5) / f64::from(count)).ln() * 2.0;
        let near = distance_from_exponential((0..count).map(drawn).collect(), 2.0).unwrap();
        assert!((near - 0.0005).abs() < 1e-9, "{near}");
        let far = distance_from_exponential(vec![2.0; 1000], 2.0).unwrap();
        assert!((far - (1.0 - (-1.0_f64).exp())).abs() < 1e-9, "{far}");
        assert_eq!(distance_from_exponential(Vec::new(), 1.0), None);
    }
}
