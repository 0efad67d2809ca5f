//! Offsets of departures from the start of a flow, ns, never decreasing.

use std::sync::Arc;

use super::draw::Draw;
use super::{ArrivalError, ConstantArrival};

/// Fractions of a nanosecond that are kept, so that rounding does not bias a rate.
const FRACTION_UNITS_PER_NS: f64 = (1_u64 << 32) as f64;

/// What the offsets follow.
#[derive(Debug, Clone)]
pub(super) enum Times {
    Constant(ConstantArrival),
    Bits(BitClock),
    Drawn(Box<Renewal>),
    Listed(Listed),
}

impl Times {
    /// The offset of the next packet, which has `bytes` of payload.
    #[inline]
    pub(super) fn next(&mut self, bytes: u32) -> Option<u64> {
        match self {
            Self::Constant(arrival) => arrival.next(),
            Self::Bits(clock) => clock.next(bytes),
            Self::Drawn(renewal) => renewal.next(),
            Self::Listed(values) => values.next_sum(),
        }
    }
}

/// A bit rate over packets of any size: each leaves when the bits before it are over,
/// rounded down, by integer arithmetic.
///
/// Invariant: the next offset is `offset_ns + remainder / rate`, `remainder < rate`.
#[derive(Debug, Clone)]
pub(super) struct BitClock {
    offset_ns: u64,
    remainder: u64,
    overhead_bytes: u64,
    /// Of all streams; each has the `streams`-th part.
    rate: u64,
    streams: u64,
}

impl BitClock {
    pub(super) fn new(overhead_bytes: u32, rate: u64, streams: u64) -> Result<Self, ArrivalError> {
        if rate == 0 || streams == 0 {
            return Err(ArrivalError::NoRate);
        }
        Ok(Self {
            offset_ns: 0,
            remainder: 0,
            overhead_bytes: u64::from(overhead_bytes),
            rate,
            streams,
        })
    }

    #[inline]
    fn next(&mut self, bytes: u32) -> Option<u64> {
        let offset_ns = self.offset_ns;
        let counted = u64::from(bytes) + self.overhead_bytes;
        // 2^33 bytes at most, times 2^33 ns bits and 128 streams: below 2^74.
        let work = u128::from(counted * 8_000_000_000) * u128::from(self.streams)
            + u128::from(self.remainder);
        let rate = u128::from(self.rate);
        self.remainder = (work % rate) as u64;
        self.offset_ns = u64::try_from(work / rate)
            .ok()
            .and_then(|gap_ns| offset_ns.checked_add(gap_ns))?;
        Some(offset_ns)
    }
}

/// Independent gaps, one before each departure.
#[derive(Debug, Clone)]
pub(super) struct Renewal {
    draw: Draw,
    /// In units of 2^-32 ns.
    elapsed: u128,
}

impl Renewal {
    pub(super) fn new(draw: Draw) -> Self {
        Self { draw, elapsed: 0 }
    }

    #[inline]
    fn next(&mut self) -> Option<u64> {
        let gap_ns = self.draw.next();
        self.elapsed += (gap_ns * FRACTION_UNITS_PER_NS) as u128;
        u64::try_from(self.elapsed >> 32).ok()
    }
}

/// The values of a file.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    values: Arc<[u64]>,
    at: usize,
    repeat: bool,
    sum: u64,
}

impl Listed {
    pub(super) fn new(values: &Arc<[u64]>, repeat: bool) -> Self {
        Self {
            values: Arc::clone(values),
            at: 0,
            repeat,
            sum: 0,
        }
    }

    #[inline]
    pub(super) fn next_value(&mut self) -> Option<u64> {
        if self.at == self.values.len() && self.repeat {
            self.at = 0;
        }
        let value = self.values.get(self.at).copied()?;
        self.at += 1;
        Some(value)
    }

    /// The sum so far, the next value included: a gap before each departure.
    #[inline]
    fn next_sum(&mut self) -> Option<u64> {
        let value = self.next_value()?;
        self.sum = self.sum.checked_add(value)?;
        Some(self.sum)
    }
}

/// Periods in turn: a clock that runs in the sending ones and stands in the silent ones.
#[derive(Debug, Clone)]
pub(super) struct Silence {
    on: Draw,
    off: Draw,
    /// End of the sending period under way, by the clock that stands in the silent ones, in ns.
    on_until_ns: f64,
    /// All silent periods so far, in ns.
    silent_ns: f64,
}

impl Silence {
    /// Begins with a sending period.
    pub(super) fn new(mut on: Draw, off: Draw) -> Self {
        let on_until_ns = on.next();
        Self {
            on,
            off,
            on_until_ns,
            silent_ns: 0.0,
        }
    }

    /// The offset that is `sending_ns` by the clock of the sending periods.
    ///
    /// Lengths are summed in doubles: exact to 1 ns for 104 days.
    #[inline]
    pub(super) fn after(&mut self, sending_ns: u64) -> Option<u64> {
        while sending_ns as f64 >= self.on_until_ns {
            self.silent_ns += self.off.next();
            self.on_until_ns += self.on.next();
            if self.silent_ns > LONGEST_NS {
                return None;
            }
        }
        sending_ns.checked_add(self.silent_ns as u64)
    }
}

/// Beyond 2^53 ns doubles lose whole nanoseconds; no run is a hundred days long.
const LONGEST_NS: f64 = (1_u64 << 53) as f64;
