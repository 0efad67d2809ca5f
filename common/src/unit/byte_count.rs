use super::UnitError;
use super::decimal::Kind;
use std::{fmt, str::FromStr};

/// A number of bytes. `10M` and `10 MB` are 10^7, `10 MiB` is 10 x 2^20, a bare number is bytes.
///
/// ```
/// use weir_common::unit::ByteCount;
/// let size: ByteCount = "10 MiB".parse()?;
/// assert_eq!(size.bytes(), 10 << 20);
/// assert_eq!(size.to_string(), "10 MiB");
/// # Ok::<(), weir_common::unit::UnitError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteCount(u64);

/// Printed with these when they divide the count, the first that does.
const PRINTED: &[(&str, u64)] = &[
    ("TB", 1_000_000_000_000),
    ("TiB", 1 << 40),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("kB", 1_000),
    ("KiB", 1 << 10),
];

const KIND: Kind = Kind {
    what: "a number of bytes",
    example: "10 MB",
    units: &[
        ("B", 1),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
    ],
    short: &[
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
    ],
    bare: Some(1),
    least: "1 B",
    // i64::MAX: SQLite and many formats have no larger integer.
    most: (i64::MAX as u64, "9223372 TB"),
};

impl ByteCount {
    /// A count from bytes.
    pub const fn new(bytes: u64) -> ByteCount {
        ByteCount(bytes)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteCount {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<ByteCount, UnitError> {
        KIND.parse(text).map(ByteCount)
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let divides = |(_, factor): &&(&str, u64)| self.0 > 0 && self.0.is_multiple_of(*factor);
        let (unit, factor) = PRINTED.iter().find(divides).copied().unwrap_or(("B", 1));
        f.pad(&format!("{} {unit}", self.0 / factor))
    }
}
