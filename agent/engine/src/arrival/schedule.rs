//! The schedule of one stream: what its traffic asks for, as departures with their
//! sizes.

use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use weir_common::assignment::{Rate, SocketTraffic};
use weir_common::traffic::Law;

use super::{Arrival, ArrivalError, MeanSpacing};

/// One packet (or write) of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Departure {
    /// When it is to leave, ns from the start of the flow; never less than the one before.
    pub offset_ns: u64,
    /// Payload bytes.
    pub bytes: u32,
}

/// Whose draws: keeps those of all streams and segments of a run apart, and within a
/// stream those of different purposes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draws {
    /// The assignment's seed.
    pub seed: u64,
    /// The session's number.
    pub session: u32,
    /// The segment, from 0; below 2^16.
    pub segment: usize,
    /// The stream, from 0; below 2^8.
    pub stream: u16,
}

/// What a number is drawn for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The gap before a departure.
    Arrival = 0,
}

impl Draws {
    /// The generator for one purpose.
    ///
    /// The ChaCha key is the seed, little-endian, followed by zeros. The ChaCha
    /// stream number is session, segment, purpose and stream, in 32, 16, 8 and 8 bit.
    /// Both are part of what makes a run repeatable.
    pub(super) fn rng(self, purpose: Purpose) -> ChaCha12Rng {
        let mut key = [0_u8; 32];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        let mut rng = ChaCha12Rng::from_seed(key);
        rng.set_stream(
            u64::from(self.session) << 32
                | (self.segment as u64) << 16
                | (purpose as u64) << 8
                | u64::from(self.stream),
        );
        rng
    }
}

/// What a packet is made of where its traffic leaves that open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Payload bytes of each packet or write; not 0.
    pub bytes: u32,
    /// What a bit rate counts besides the payload, bytes a packet.
    pub overhead_bytes: u32,
}

/// The departures of one of `streams` streams, which share the rate evenly; `None`
/// without a schedule ([`Rate::Max`]). Where the spacing is constant the streams
/// take turns. A ramp is not part of it: this is the schedule at [`SocketTraffic::rate`].
pub fn schedule(
    traffic: &SocketTraffic,
    packet: Packet,
    streams: u64,
    draws: Draws,
) -> Result<Option<Departures>, ArrivalError> {
    let (period_ns, packets) = match traffic.rate {
        Rate::Max | Rate::Arrival => return Ok(None),
        Rate::BitsPerSecond(rate) => {
            let counted = u64::from(packet.bytes) + u64::from(packet.overhead_bytes);
            (counted * 8_000_000_000, rate)
        }
        Rate::MilliPacketsPerSecond(rate) => (1_000_000_000_000, rate),
    };
    let spacing = MeanSpacing::new(period_ns.saturating_mul(streams), packets)?;
    let (arrival, put_off_ns) = match &traffic.arrival {
        Law::Constant => {
            let turn_ns = spacing.mean_ns() / streams as f64 * f64::from(draws.stream);
            (Arrival::constant(spacing), turn_ns as u64)
        }
        Law::Exponential { .. } => (
            Arrival::exponential(spacing, draws.rng(Purpose::Arrival))?,
            0,
        ),
    };
    Ok(Some(Departures {
        arrival,
        put_off_ns,
        bytes: packet.bytes,
    }))
}

/// The departures of one stream, until an offset no longer fits 64 bits.
#[derive(Debug, Clone)]
pub struct Departures {
    arrival: Arrival,
    put_off_ns: u64,
    bytes: u32,
}

impl Departures {
    /// Departures by `arrival`, each of `bytes`.
    pub const fn of_size(arrival: Arrival, bytes: u32) -> Self {
        Self {
            arrival,
            put_off_ns: 0,
            bytes,
        }
    }
}

impl Iterator for Departures {
    type Item = Departure;

    #[inline]
    fn next(&mut self) -> Option<Departure> {
        let offset_ns = self.arrival.next()?;
        Some(Departure {
            offset_ns: offset_ns.saturating_add(self.put_off_ns),
            bytes: self.bytes,
        })
    }
}
