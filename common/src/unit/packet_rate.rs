use super::UnitError;
use super::decimal::{Kind, write_decimal};
use std::{fmt, str::FromStr};

/// A rate in packets per second, in steps of 0.001 pkt/s up to 1,000,000,000 pkt/s.
///
/// ```
/// use weir_common::unit::PacketRate;
/// let rate: PacketRate = "3000pkt/s".parse()?;
/// assert_eq!(rate.packets_per_second(), 3000.0);
/// assert_eq!(rate.to_string(), "3000 pkt/s");
/// # Ok::<(), weir_common::unit::UnitError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketRate(u64);

const PER_SECOND: u64 = 1_000;

const KIND: Kind = Kind {
    what: "a packet rate",
    example: "3000 pkt/s",
    units: &[
        ("pkt/s", PER_SECOND),
        ("kpkt/s", 1_000 * PER_SECOND),
        ("Mpkt/s", 1_000_000 * PER_SECOND),
    ],
    short: &[],
    bare: None,
    least: "0.001 pkt/s",
    most: (PacketRate::MAX.0, "1000 Mpkt/s"),
};

impl PacketRate {
    /// The largest rate: 10^9 packets per second.
    pub const MAX: PacketRate = PacketRate(1_000_000_000 * PER_SECOND);

    /// A rate from thousandths of a packet per second; `None` for 0 and above [`PacketRate::MAX`].
    pub const fn from_millis(millipackets_per_second: u64) -> Option<PacketRate> {
        if millipackets_per_second == 0 || millipackets_per_second > PacketRate::MAX.0 {
            None
        } else {
            Some(PacketRate(millipackets_per_second))
        }
    }

    /// Thousandths of a packet per second: exact.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Packets per second: finite and above 0.
    pub fn packets_per_second(self) -> f64 {
        self.0 as f64 / PER_SECOND as f64
    }
}

impl FromStr for PacketRate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<PacketRate, UnitError> {
        KIND.parse_positive(text).map(PacketRate)
    }
}

impl fmt::Display for PacketRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(f, self.0, ("pkt/s", PER_SECOND))
    }
}
