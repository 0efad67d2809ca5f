use super::UnitError;
use super::decimal::{Kind, fitting, write_decimal};
use std::{fmt, str::FromStr, time::Duration};

/// A length of time in whole nanoseconds, up to about 292 years.
///
/// ```
/// use weir_common::unit::Span;
/// let span: Span = "1.5 min".parse()?;
/// assert_eq!(span, Span::from_secs(90));
/// assert_eq!(span.to_string(), "90 s");
/// # Ok::<(), weir_common::unit::UnitError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u64);

const SECOND: u64 = 1_000_000_000;

/// Printed with these when it is no round number of minutes or hours.
const PRINTED: &[(&str, u64)] = &[("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", SECOND)];

const KIND: Kind = Kind {
    what: "a length of time",
    example: "60 s",
    units: &[
        ("s", SECOND),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
        ("min", 60 * SECOND),
        ("h", 3_600 * SECOND),
    ],
    short: &[],
    bare: None,
    least: "1 ns",
    most: (i64::MAX as u64, "2562047 h"),
};

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);

    /// A span of whole seconds (saturating, far beyond any run).
    pub const fn from_secs(seconds: u64) -> Span {
        Span(seconds.saturating_mul(SECOND))
    }

    /// A span of whole milliseconds (saturating).
    pub const fn from_millis(milliseconds: u64) -> Span {
        Span(milliseconds.saturating_mul(1_000_000))
    }

    /// A span of nanoseconds.
    pub const fn from_nanos(nanoseconds: u64) -> Span {
        Span(nanoseconds)
    }

    /// Nanoseconds.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Seconds, for display and statistics.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / SECOND as f64
    }

    /// True for a span of no time.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Duration {
        Duration::from_nanos(span.0)
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Span, UnitError> {
        KIND.parse(text).map(Span)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hour, minute) = (3_600 * SECOND, 60 * SECOND);
        if self.0 == 0 {
            f.pad("0 s")
        } else if self.0.is_multiple_of(hour) {
            write_decimal(f, self.0, ("h", hour))
        } else if self.0 >= 10 * minute && self.0.is_multiple_of(minute) {
            write_decimal(f, self.0, ("min", minute))
        } else {
            write_decimal(f, self.0, fitting(self.0, PRINTED))
        }
    }
}
