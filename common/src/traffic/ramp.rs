use super::{Rate, RateError};
use crate::unit::{Span, UnitError};
use std::{fmt, str::FromStr};

/// Rates over a phase: linear between points, a step where two points have one time.
///
/// Invariant: times never fall, and all rates are bit/s or all are pkt/s.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ramp {
    points: Vec<(Span, Rate)>,
}

/// Most points of a ramp.
const POINTS_MOST: usize = 1_000;

/// Why points are not a ramp.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RampError {
    /// No time and rate.
    #[error("`{text}` is not a point of a ramp: write a time and a rate, such as `30s 50 Mbit/s`")]
    Form {
        /// The point as given.
        text: String,
    },
    /// The time.
    #[error(transparent)]
    Time(#[from] UnitError),
    /// The rate.
    #[error(transparent)]
    Rate(#[from] RateError),
    /// A time before the one before it.
    #[error("{at} comes after {before}: put the points in the order of time")]
    Order {
        /// The earlier time.
        at: Span,
        /// What stands before it.
        before: Span,
    },
    /// Bits and packets mixed, or no rate at all.
    #[error("the rates of a ramp are all bit/s or all pkt/s")]
    Mixed,
    /// Too many.
    #[error("at most {POINTS_MOST} points")]
    Count,
}

impl Ramp {
    /// A ramp through these points.
    ///
    /// # Errors
    /// Times out of order, units mixed, too many points.
    pub fn new(points: Vec<(Span, Rate)>) -> Result<Ramp, RampError> {
        if points.len() > POINTS_MOST {
            return Err(RampError::Count);
        }
        for pair in points.windows(2) {
            let ((before, _), (at, _)) = (pair[0], pair[1]);
            if at < before {
                return Err(RampError::Order { at, before });
            }
        }
        let ramp = Ramp { points };
        if ramp.points.is_empty() || ramp.is_bits() || ramp.is_packets() {
            Ok(ramp)
        } else {
            Err(RampError::Mixed)
        }
    }

    /// One point: `30s 50 Mbit/s`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn point(text: &str) -> Result<(Span, Rate), RampError> {
        let form = || RampError::Form {
            text: text.chars().take(60).collect(),
        };
        let (time, rate) = text.trim().split_once(' ').ok_or_else(form)?;
        // `30 s 50 Mbit/s`: the unit of the time stands apart.
        let (time, rate) = match rate.trim_start().split_once(' ') {
            Some((unit, rest))
                if time.ends_with(|c: char| c.is_ascii_digit())
                    && unit.chars().all(char::is_alphabetic) =>
            {
                (format!("{time}{unit}"), rest)
            }
            _ => (time.to_owned(), rate),
        };
        Ok((Span::from_str(&time)?, Rate::from_str(rate)?))
    }

    /// The points.
    pub fn points(&self) -> &[(Span, Rate)] {
        &self.points
    }

    /// Without points there is no ramp.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Whether there are points and all are bit rates.
    pub fn is_bits(&self) -> bool {
        let bits = |(_, rate): &(Span, Rate)| matches!(rate, Rate::Bits(_));
        !self.is_empty() && self.points.iter().all(bits)
    }

    /// Whether there are points and all are packet rates.
    pub fn is_packets(&self) -> bool {
        let packets = |(_, rate): &(Span, Rate)| matches!(rate, Rate::Packets(_));
        !self.is_empty() && self.points.iter().all(packets)
    }
}

impl fmt::Display for Ramp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (at, rate)) in self.points.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{at} {rate}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_and_their_order() {
        let point = |text: &str| Ramp::point(text);
        let ramp = Ramp::new(vec![
            point("0s 1 Mbit/s").unwrap(),
            point("30 s 50 Mbit/s").unwrap(),
            point("30s 5M").unwrap(),
        ])
        .unwrap();
        assert!(ramp.is_bits() && !ramp.is_packets());
        assert_eq!(ramp.points()[1].0, Span::from_secs(30));
        let back: Vec<_> = ramp
            .to_string()
            .split(", ")
            .map(|text| point(text).unwrap())
            .collect();
        assert_eq!(back, ramp.points());
        let late = vec![point("2s 1M").unwrap(), point("1s 2M").unwrap()];
        assert!(matches!(Ramp::new(late), Err(RampError::Order { .. })));
        let mixed = vec![point("1s 1M").unwrap(), point("2s 2 pkt/s").unwrap()];
        assert_eq!(Ramp::new(mixed), Err(RampError::Mixed));
        let max = vec![point("1s max").unwrap()];
        assert_eq!(Ramp::new(max), Err(RampError::Mixed));
        for text in ["", "1s", "x 1M", "1s 1X", "1M 1s"] {
            assert!(point(text).is_err(), "{text}");
        }
    }
}
