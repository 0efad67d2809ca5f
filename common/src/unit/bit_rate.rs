use super::UnitError;
use super::decimal::{Kind, fitting, write_decimal};
use std::{fmt, str::FromStr};

/// A rate in whole bits per second, from 1 bit/s to 10 Tbit/s.
///
/// ```
/// use weir_common::unit::BitRate;
/// let rate: BitRate = "10M".parse()?;
/// assert_eq!(rate.bits_per_second(), 10_000_000);
/// assert_eq!(rate.to_string(), "10 Mbit/s");
/// # Ok::<(), weir_common::unit::UnitError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BitRate(u64);

/// Printed with these, small to large.
const PRINTED: &[(&str, u64)] = &[
    ("bit/s", 1),
    ("kbit/s", 1_000),
    ("Mbit/s", 1_000_000),
    ("Gbit/s", 1_000_000_000),
    ("Tbit/s", 1_000_000_000_000),
];

const KIND: Kind = Kind {
    what: "a rate",
    example: "10 Mbit/s",
    units: &[
        ("bit/s", 1),
        ("kbit/s", 1_000),
        ("Mbit/s", 1_000_000),
        ("Gbit/s", 1_000_000_000),
        ("Tbit/s", 1_000_000_000_000),
        ("Kibit/s", 1 << 10),
        ("Mibit/s", 1 << 20),
        ("Gibit/s", 1 << 30),
    ],
    short: &[
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
    ],
    bare: None,
    least: "1 bit/s",
    // A hundred times the fastest links there are: more is a slip, and sums of many flows still fit 64 bits.
    most: (BitRate::MAX.0, "10 Tbit/s"),
};

impl BitRate {
    /// The largest rate: 10 Tbit/s.
    pub const MAX: BitRate = BitRate(10_000_000_000_000);

    /// A rate from bits per second; `None` for 0 and above [`BitRate::MAX`].
    pub const fn new(bits_per_second: u64) -> Option<BitRate> {
        if bits_per_second == 0 || bits_per_second > BitRate::MAX.0 {
            None
        } else {
            Some(BitRate(bits_per_second))
        }
    }

    /// Bits per second.
    pub const fn bits_per_second(self) -> u64 {
        self.0
    }
}

impl FromStr for BitRate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<BitRate, UnitError> {
        KIND.parse_positive(text).map(BitRate)
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(f, self.0, fitting(self.0, PRINTED))
    }
}
