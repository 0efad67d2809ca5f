use super::UnitError;
use super::decimal::{Kind, write_decimal};
use std::{fmt, str::FromStr};

/// A share from 0 % to 100 %, in steps of 0.0000001 %.
///
/// ```
/// use weir_common::unit::Ratio;
/// let loss: Ratio = "1%".parse()?;
/// assert_eq!(loss.value(), 0.01);
/// assert!("200%".parse::<Ratio>().is_err());
/// # Ok::<(), weir_common::unit::UnitError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ratio(u32);

const WHOLE: u32 = 1_000_000_000;
const PERCENT: u64 = 10_000_000;

const KIND: Kind = Kind {
    what: "a share",
    example: "1 %",
    units: &[("%", PERCENT)],
    short: &[],
    bare: None,
    least: "0.0000001 %",
    most: (WHOLE as u64, "100 %"),
};

impl Ratio {
    /// 0 %.
    pub const ZERO: Ratio = Ratio(0);
    /// 100 %.
    pub const ONE: Ratio = Ratio(WHOLE);

    /// A share of whole percents; `None` above 100.
    pub const fn from_percent(percent: u32) -> Option<Ratio> {
        if percent > 100 {
            None
        } else {
            Some(Ratio(percent * 10_000_000))
        }
    }

    /// The share as 0..1.
    pub fn value(self) -> f64 {
        f64::from(self.0) / f64::from(WHOLE)
    }

    /// The share in parts per billion: exact.
    pub const fn parts_per_billion(self) -> u32 {
        self.0
    }
}

impl FromStr for Ratio {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Ratio, UnitError> {
        KIND.parse(text).map(|parts| Ratio(parts as u32))
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(f, u64::from(self.0), ("%", PERCENT))
    }
}
