//! When packets are to leave: departure offsets in nanoseconds from the start of
//! the flow, never decreasing.
//!
//! - [`ConstantArrival`]: the n-th departure is floor(n x spacing), by integer
//!   arithmetic, so a flow of any length has no drift and no accumulated error.
//!   The first packet leaves at 0; in `[0, D)` exactly ceil(D / spacing) leave.
//! - [`ExponentialArrival`]: a Poisson process. The first packet leaves after the
//!   first draw, so the number in `[0, D)` is Poisson with mean rate x D.
//!
//! Every draw comes from the assignment's seed and depends on nothing but IEEE
//! basic operations: the same seed gives the same departures on every machine.

mod natural_log;
mod schedule;

use rand_chacha::ChaCha12Rng;
use rand_core::Rng;

use self::natural_log::natural_log;
pub use self::schedule::{Departure, Departures, Draws, Packet, schedule};

/// The generator of random numbers behind every law, as provenance names it.
pub const RNG_NAME: &str = "chacha12";

/// No drawn gap is longer than this: a flow whose next packet is more than a
/// minute away looks dead to whoever watches it. Longer draws are drawn again.
pub const GAP_CAP_NS: u64 = 60_000_000_000;

/// Why a law of arrival cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ArrivalError {
    /// Rate or size is 0.
    #[error("a rate and a size above 0 are needed to space packets")]
    NoRate,
    /// The mean gap exceeds [`GAP_CAP_NS`].
    #[error("mean gap of {mean_ns} ns is longer than 60 s; raise the rate or lower the size")]
    TooSlow {
        /// The mean gap asked for, ns.
        mean_ns: u64,
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

/// A law of arrival: an endless iterator of departure offsets in ns (it ends only
/// when an offset no longer fits 64 bits, after 584 years).
#[derive(Debug, Clone)]
pub enum Arrival {
    /// Equal gaps.
    Constant(ConstantArrival),
    /// Exponential gaps: a Poisson process.
    Exponential(Box<ExponentialArrival>),
}

impl Arrival {
    /// Equal gaps of `spacing`.
    pub const fn constant(spacing: MeanSpacing) -> Self {
        Self::Constant(ConstantArrival::new(spacing))
    }

    /// Exponential gaps with mean `spacing`, drawn from `rng`.
    pub fn exponential(spacing: MeanSpacing, rng: ChaCha12Rng) -> Result<Self, ArrivalError> {
        ExponentialArrival::new(spacing, rng).map(|law| Self::Exponential(Box::new(law)))
    }
}

impl Iterator for Arrival {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        match self {
            Self::Constant(law) => law.next(),
            Self::Exponential(law) => law.next(),
        }
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

/// Departures of a Poisson process: independent gaps, exponential with the given
/// mean, conditioned on at most [`GAP_CAP_NS`] by drawing again (for means up to a
/// few seconds no draw is ever that long; at the longest mean allowed, 60 s, the
/// mean of the kept gaps is 25 s).
///
/// The elapsed time is kept in units of 2^-32 ns, so rounding to whole nanoseconds
/// does not bias the rate.
#[derive(Debug, Clone)]
pub struct ExponentialArrival {
    rng: ChaCha12Rng,
    mean_ns: f64,
    elapsed: u128,
}

impl ExponentialArrival {
    /// Gaps with mean `spacing` drawn from `rng`.
    pub fn new(spacing: MeanSpacing, rng: ChaCha12Rng) -> Result<Self, ArrivalError> {
        let mean_ns = spacing.mean_ns();
        if mean_ns > GAP_CAP_NS as f64 {
            return Err(ArrivalError::TooSlow {
                mean_ns: mean_ns as u64,
            });
        }
        Ok(Self {
            rng,
            mean_ns,
            elapsed: 0,
        })
    }

    /// One unit exponential by inversion: -ln(1 - u), u uniform on [0, 1) with 53
    /// bits. 1 - u is exact and never 0, so the logarithm is always finite.
    fn unit(&mut self) -> f64 {
        let bits = self.rng.next_u64() >> 11;
        let complement = ((1_u64 << 53) - bits) as f64 * TWO_POW_MINUS_53;
        -natural_log(complement)
    }
}

const TWO_POW_MINUS_53: f64 = 1.0 / (1_u64 << 53) as f64;
const FRACTION_UNITS_PER_NS: f64 = (1_u64 << 32) as f64;

impl Iterator for ExponentialArrival {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let gap_ns = loop {
            // The mean is at most the cap, so at least 63 % of draws are kept.
            let drawn_ns = self.unit() * self.mean_ns;
            if drawn_ns <= GAP_CAP_NS as f64 {
                break drawn_ns;
            }
        };
        self.elapsed += (gap_ns * FRACTION_UNITS_PER_NS) as u128;
        u64::try_from(self.elapsed >> 32).ok()
    }
}

#[cfg(test)]
mod tests;
