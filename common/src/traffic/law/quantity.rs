//! What a law is about: times or bytes, and numbers without a unit.

use crate::unit::{Span, UnitError};
use std::fmt::{self, Debug, Display};
use std::hash::Hash;
use std::str::FromStr;

/// A number without a unit, exact to nine decimals: a shape, a weight, degrees of freedom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number(u64);

/// A size in bytes, which may have a fraction where it is a parameter: exact to nine decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(Number);

const ONE: u64 = 1_000_000_000;
/// Decimals that are kept.
const PLACES: usize = 9;

impl Number {
    /// A whole number, up to 4,294,967,295.
    pub const fn whole(number: u32) -> Number {
        Number(number as u64 * ONE)
    }

    /// A number of billionths, up to 1.8 x 10^19.
    pub const fn from_billionths(billionths: u64) -> Number {
        Number(billionths)
    }

    /// The nearest double.
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / ONE as f64
    }

    /// True for 0.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl Bytes {
    /// A whole number of bytes.
    pub const fn whole(bytes: u32) -> Bytes {
        Bytes(Number::whole(bytes))
    }

    /// A number of bytes.
    pub const fn new(bytes: Number) -> Bytes {
        Bytes(bytes)
    }

    /// The whole bytes, without the fraction.
    pub const fn whole_part(self) -> u32 {
        // A Number is below 2^32 by its parser; one of billionths is at most 2^64 / 10^9.
        (self.0.0 / ONE) as u32
    }
}

/// Why a text is not a number of a law.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// A length of time.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// No decimal number from 0 up.
    #[error(
        "`{text}` is not a number such as `{example}`: at most nine decimals, below 4 294 967 296"
    )]
    Number {
        /// The text as given.
        text: String,
        /// A valid one.
        example: &'static str,
    },
}

fn number(text: &str, example: &'static str) -> Result<u64, NumberError> {
    let wrong = || NumberError::Number {
        text: text.chars().take(60).collect(),
        example,
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let fraction = fraction.trim_end_matches('0');
    if !digits(whole) || !(fraction.is_empty() || digits(fraction)) || fraction.len() > PLACES {
        return Err(wrong());
    }
    let whole: u32 = whole.parse().map_err(|_| wrong())?;
    let billionths: u64 = format!("{fraction:0<PLACES$}")
        .parse()
        .map_err(|_| wrong())?;
    Ok(u64::from(whole) * ONE + billionths)
}

impl FromStr for Number {
    type Err = NumberError;

    fn from_str(text: &str) -> Result<Number, NumberError> {
        number(text.trim(), "1.5").map(Number)
    }
}

impl Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / ONE, self.0 % ONE);
        if rest == 0 {
            return f.pad(&whole.to_string());
        }
        let fraction = format!("{rest:0PLACES$}");
        f.pad(&format!("{whole}.{}", fraction.trim_end_matches('0')))
    }
}

impl FromStr for Bytes {
    type Err = NumberError;

    fn from_str(text: &str) -> Result<Bytes, NumberError> {
        let text = text.trim();
        let text = text.strip_suffix('B').unwrap_or(text).trim_end();
        number(text, "64.5 B").map(|billionths| Bytes(Number(billionths)))
    }
}

impl Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

/// What the values of a law are.
pub trait Quantity:
    Copy + Debug + Display + FromStr<Err: Into<NumberError>> + Hash + Ord + Sized + 'static
{
    /// Whether a rate may stand for the mean.
    const SPACING: bool;
    /// A valid value, for errors.
    const EXAMPLE: &'static str;

    /// In ns or bytes.
    fn as_f64(self) -> f64;
}

impl Quantity for Span {
    const SPACING: bool = true;
    const EXAMPLE: &'static str = "1 ms";

    fn as_f64(self) -> f64 {
        self.as_nanos() as f64
    }
}

impl Quantity for Bytes {
    const SPACING: bool = false;
    const EXAMPLE: &'static str = "200";

    fn as_f64(self) -> f64 {
        self.0.as_f64()
    }
}
