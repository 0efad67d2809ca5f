//! When packets are to leave, and how large they are: departure offsets in
//! nanoseconds from the start of the flow, never decreasing ([`schedule`]).
//!
//! - Constant spacing ([`ConstantArrival`]): the n-th departure is floor(n x
//!   spacing), by integer arithmetic, so a flow of any length has no drift and no
//!   accumulated error. The first packet leaves at 0; in `[0, D)` exactly
//!   ceil(D / spacing) leave.
//! - Drawn gaps: the first packet leaves after the first draw, so the number in
//!   `[0, D)` of a Poisson process is Poisson with mean rate x D.
//!
//! Every draw comes from the assignment's seed and depends on nothing but IEEE
//! basic operations: the same seed gives the same departures on every machine.

mod draw;
mod schedule;
mod times;

use weir_common::traffic::LawError;

pub use self::schedule::{Departure, Departures, Draws, Packet, schedule};

/// The generator of random numbers behind every law, as provenance names it.
pub const RNG_NAME: &str = "chacha12";

/// Why a schedule cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArrivalError {
    /// Rate or size is 0.
    #[error("a rate and a size above 0 are needed to space packets")]
    NoRate,
    /// A law that cannot be drawn from.
    #[error(transparent)]
    Law(#[from] LawError),
    /// A law names a file that did not come with the assignment.
    #[error("trace file `{file}` did not come with the assignment")]
    NoTrace {
        /// The file.
        file: String,
    },
    /// A size in a file.
    #[error(
        "trace file `{file}` has a size of {bytes} B, and packets here have at least {least} B"
    )]
    TooSmall {
        /// The file.
        file: String,
        /// The size.
        bytes: u64,
        /// The least that is possible.
        least: u64,
    },
}

/// The mean time between departures as an exact fraction of nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeanSpacing {
    numerator_ns: u64,
    denominator: u64,
}

impl MeanSpacing {
    /// `bytes` of payload each at `bits_per_second` of payload. `bytes` up to
    /// 2 GiB are exact; nothing near that is ever written at once.
    pub fn from_bit_rate(bytes: u32, bits_per_second: u64) -> Result<Self, ArrivalError> {
        Self::new(
            u64::from(bytes).saturating_mul(8_000_000_000),
            bits_per_second,
        )
    }

    /// So many thousandths of a packet in a second.
    pub fn from_milli_packet_rate(milli_packets_per_second: u64) -> Result<Self, ArrivalError> {
        Self::new(1_000_000_000_000, milli_packets_per_second)
    }

    /// `packets_per_second` packets in a second.
    pub fn from_packet_rate(packets_per_second: u64) -> Result<Self, ArrivalError> {
        Self::new(1_000_000_000, packets_per_second)
    }

    /// `packets` departures in every `period_ns` nanoseconds (for rates that are
    /// not a whole number a second).
    pub fn new(period_ns: u64, packets: u64) -> Result<Self, ArrivalError> {
        if period_ns == 0 || packets == 0 {
            return Err(ArrivalError::NoRate);
        }
        Ok(Self {
            numerator_ns: period_ns,
            denominator: packets,
        })
    }

    /// The mean gap in nanoseconds, rounded to the nearest double.
    pub fn mean_ns(&self) -> f64 {
        self.numerator_ns as f64 / self.denominator as f64
    }

    /// How many departures of a constant law fall into `[0, duration_ns)`.
    pub fn departures_in(&self, duration_ns: u64) -> u64 {
        let scaled = u128::from(duration_ns) * u128::from(self.denominator);
        u64::try_from(scaled.div_ceil(u128::from(self.numerator_ns))).unwrap_or(u64::MAX)
    }
}

/// Departures at floor(n x spacing), n = 0, 1, 2, ...
///
/// Invariant: the next offset is `offset_ns + remainder / denominator`, and
/// `remainder < denominator`. Whole and fractional parts are advanced apart, which
/// is the same number as the multiplication without a 128-bit division a packet.
#[derive(Debug, Clone)]
pub struct ConstantArrival {
    offset_ns: Option<u64>,
    remainder: u64,
    whole_ns: u64,
    fraction: u64,
    denominator: u64,
}

impl ConstantArrival {
    /// Equal gaps of `spacing`, the first departure at 0.
    pub const fn new(spacing: MeanSpacing) -> Self {
        Self {
            offset_ns: Some(0),
            remainder: 0,
            whole_ns: spacing.numerator_ns / spacing.denominator,
            fraction: spacing.numerator_ns % spacing.denominator,
            denominator: spacing.denominator,
        }
    }
}

impl Iterator for ConstantArrival {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let offset_ns = self.offset_ns?;
        // remainder and fraction are below the denominator, so their sum less the
        // denominator fits, and is taken without an overflow in between.
        let carries = self.remainder >= self.denominator - self.fraction;
        self.remainder = if carries {
            self.remainder - (self.denominator - self.fraction)
        } else {
            self.remainder + self.fraction
        };
        self.offset_ns = offset_ns
            .checked_add(self.whole_ns)
            .and_then(|next_ns| next_ns.checked_add(u64::from(carries)));
        Some(offset_ns)
    }
}

#[cfg(test)]
mod tests;
