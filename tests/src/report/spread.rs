//! Median and range of repeated measurements.

use std::fmt;

/// The values of one figure, sorted; at least one.
#[derive(Debug, Clone)]
pub struct Spread(Vec<f64>);

impl Spread {
    /// `None` without values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        (!values.is_empty()).then_some(Self(values))
    }

    /// Of one value.
    pub fn one(value: f64) -> Self {
        Self(vec![value])
    }

    /// The middle one, of an even number the lower of the two.
    pub fn median(&self) -> f64 {
        self.0[(self.0.len() - 1) / 2]
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = (self.0[0], self.0[self.0.len() - 1]);
        write!(out, "{}", Digits(self.median()))?;
        if self.0.len() > 1 {
            write!(out, " ({} to {})", Digits(low), Digits(high))?;
        }
        Ok(())
    }
}

/// A number with as many decimals as its size deserves.
#[derive(Debug, Clone, Copy)]
pub struct Digits(pub f64);

impl fmt::Display for Digits {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0;
        let decimals = match value.abs() {
            size if size >= 1000.0 => 0,
            size if size >= 100.0 => 1,
            size if size >= 1.0 || size == 0.0 => 2,
            size if size >= 0.01 => 3,
            _ => 4,
        };
        write!(out, "{value:.decimals$}")
    }
}

/// The value below which so much of a sorted list lies (nearest rank).
pub fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_range() {
        let spread = Spread::of([3.0, 1.0, 200.0]).unwrap();
        assert_eq!(spread.median(), 3.0);
        assert_eq!(spread.to_string(), "3.00 (1.00 to 200.0)");
        assert_eq!(Spread::one(0.0123).to_string(), "0.012");
        assert!(Spread::of([]).is_none());
    }

    #[test]
    fn quantiles_are_of_the_nearest_rank() {
        let sorted = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(quantile(&sorted, 0.5), Some(2.0));
        assert_eq!(quantile(&sorted, 0.9), Some(4.0));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
