//! The schedule of one stream: what its traffic asks for, as departures with their
//! sizes.

use std::sync::Arc;

use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use weir_common::assignment::{Rate, SocketTraffic};
use weir_common::traffic::{Law, SizeLaw, Trace, TraceOf};

use super::draw::Draw;
use super::times::{BitClock, Listed, Renewal, Silence, Times};
use super::{ArrivalError, ConstantArrival, MeanSpacing};

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
    /// The size of a packet.
    Size = 1,
    /// The length of a sending period.
    On = 2,
    /// The length of a silent period.
    Off = 3,
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
    /// Payload bytes of each packet or write; not 0. A law of sizes goes before it.
    pub bytes: u32,
    /// What a bit rate counts besides the payload, bytes a packet.
    pub overhead_bytes: u32,
}

/// The departures of one of `streams` streams, which share the rate evenly; `None`
/// without a schedule ([`Rate::Max`]). Laws that name files find them in `traces`.
/// A ramp is not part of it: this is the schedule at [`SocketTraffic::rate`].
///
/// 1. Constant spacing at a bit rate: each packet is followed by the time of its own
///    bits, so that the rate is exact whatever the sizes. At a packet rate the n-th
///    leaves at floor(n x spacing). Streams take turns.
/// 2. Any other law draws the gap before each packet, the first included. At a rate
///    the conditioned mean of the law is the mean spacing, which at a bit rate is
///    that of the mean size.
/// 3. An on/off law lets this time pass in its sending periods only, of which one
///    begins the flow.
pub fn schedule(
    traffic: &SocketTraffic,
    packet: Packet,
    streams: u64,
    draws: Draws,
    traces: &[Trace],
) -> Result<Option<Departures>, ArrivalError> {
    if traffic.rate == Rate::Max {
        return Ok(None);
    }
    let sizes = Sizes::new(traffic, packet, draws, traces)?;
    let (arrival, silence) = match traffic.arrival.uncapped().0 {
        Law::OnOff { on, off, arrival } => {
            let of = |law: &Law, purpose| {
                let law = law.conditioned(None)?;
                Ok::<Draw, ArrivalError>(Draw::new(&law, draws.rng(purpose)))
            };
            // Refuses periods too short for any packet.
            mean_spacing(traffic, packet, streams, traces)?;
            let silence = Silence::new(of(on, Purpose::On)?, of(off, Purpose::Off)?);
            (&**arrival, Some(Box::new(silence)))
        }
        _ => (&traffic.arrival, None),
    };
    let (times, put_off_ns) = times(traffic, arrival, (packet, &sizes), streams, draws, traces)?;
    Ok(Some(Departures {
        times,
        sizes,
        put_off_ns,
        silence,
    }))
}

fn mean_spacing(
    traffic: &SocketTraffic,
    packet: Packet,
    streams: u64,
    traces: &[Trace],
) -> Result<f64, ArrivalError> {
    // Adapted writes of TCP have their size from the caller.
    let adapted = SocketTraffic {
        size: packet.bytes,
        ..traffic.clone()
    };
    let means = adapted
        .means(streams, packet.overhead_bytes, traces)
        .map_err(|(_, error)| error)?;
    means.spacing_ns.ok_or(ArrivalError::NoRate)
}

fn times(
    traffic: &SocketTraffic,
    law: &Law,
    (packet, sizes): (Packet, &Sizes),
    streams: u64,
    draws: Draws,
    traces: &[Trace],
) -> Result<(Times, u64), ArrivalError> {
    let turn = |spacing_ns: f64| (spacing_ns / streams as f64 * f64::from(draws.stream)) as u64;
    match law {
        Law::Constant => {
            let spacing = match (traffic.rate, sizes) {
                (Rate::BitsPerSecond(rate), Sizes::Fixed(bytes)) => {
                    let counted = u64::from(*bytes) + u64::from(packet.overhead_bytes);
                    MeanSpacing::new((counted * 8_000_000_000).saturating_mul(streams), rate)?
                }
                (Rate::BitsPerSecond(rate), _) => {
                    let clock = BitClock::new(packet.overhead_bytes, rate, streams)?;
                    // A turn of the mean size.
                    let counted = f64::from(packet.bytes) + f64::from(packet.overhead_bytes);
                    let spacing_ns = counted * 8e9 * streams as f64 / rate as f64;
                    return Ok((Times::Bits(clock), turn(spacing_ns)));
                }
                (Rate::MilliPacketsPerSecond(rate), _) => {
                    MeanSpacing::new(1_000_000_000_000_u64.saturating_mul(streams), rate)?
                }
                (Rate::Max | Rate::Arrival, _) => return Err(ArrivalError::NoRate),
            };
            let times = Times::Constant(ConstantArrival::new(spacing));
            Ok((times, turn(spacing.mean_ns())))
        }
        Law::Fixed { value } => {
            law.conditioned(None)?;
            let spacing = MeanSpacing::new(value.as_nanos(), 1)?;
            let times = Times::Constant(ConstantArrival::new(spacing));
            Ok((times, turn(spacing.mean_ns())))
        }
        Law::Trace { file, repeat } => {
            let values = find(traces, file, TraceOf::Arrival)?;
            Ok((Times::Listed(Listed::new(values, *repeat)), 0))
        }
        law => {
            let rate_ns = if law.is_open() {
                let inner = SocketTraffic {
                    arrival: Law::Constant,
                    ..traffic.clone()
                };
                Some(mean_spacing(&inner, packet, streams, traces)?)
            } else {
                None
            };
            let law = law.conditioned(rate_ns)?;
            let draw = Draw::new(&law, draws.rng(Purpose::Arrival));
            Ok((Times::Drawn(Box::new(Renewal::new(draw))), 0))
        }
    }
}

fn find<'a>(traces: &'a [Trace], file: &str, of: TraceOf) -> Result<&'a Arc<[u64]>, ArrivalError> {
    let found = traces
        .iter()
        .find(|trace| trace.file == file && trace.of == of);
    let found = found.ok_or_else(|| ArrivalError::NoTrace {
        file: file.to_owned(),
    })?;
    Ok(&found.values)
}

/// Payloads, packet by packet.
#[derive(Debug, Clone)]
enum Sizes {
    Fixed(u32),
    Drawn(Box<Draw>),
    Listed(Listed),
}

impl Sizes {
    fn new(
        traffic: &SocketTraffic,
        packet: Packet,
        draws: Draws,
        traces: &[Trace],
    ) -> Result<Self, ArrivalError> {
        match &traffic.size_law {
            None => Ok(Self::Fixed(packet.bytes)),
            Some(SizeLaw::Trace { file, repeat }) => {
                let values = find(traces, file, TraceOf::Size)?;
                let least = u64::from(traffic.size_least());
                if let Some(bytes) = values.iter().find(|bytes| **bytes < least) {
                    return Err(ArrivalError::TooSmall {
                        file: file.clone(),
                        bytes: *bytes,
                        least,
                    });
                }
                Ok(Self::Listed(Listed::new(values, *repeat)))
            }
            Some(law) => {
                let law = law.conditioned(traffic.size_least())?;
                Ok(Self::Drawn(Box::new(Draw::new(
                    &law,
                    draws.rng(Purpose::Size),
                ))))
            }
        }
    }

    /// The next one; `None` at the end of a file.
    #[inline]
    fn next(&mut self) -> Option<u32> {
        match self {
            Self::Fixed(bytes) => Some(*bytes),
            // Within a packet's sizes, which are whole numbers.
            Self::Drawn(draw) => Some((draw.next() + 0.5) as u32),
            Self::Listed(values) => values
                .next_value()
                .and_then(|value| u32::try_from(value).ok()),
        }
    }
}

/// The departures of one stream, until an offset no longer fits 64 bits or a file ends.
#[derive(Debug, Clone)]
pub struct Departures {
    times: Times,
    sizes: Sizes,
    put_off_ns: u64,
    silence: Option<Box<Silence>>,
}

impl Departures {
    /// Equally spaced departures, each of `bytes`.
    pub const fn of_size(arrival: ConstantArrival, bytes: u32) -> Self {
        Self {
            times: Times::Constant(arrival),
            sizes: Sizes::Fixed(bytes),
            put_off_ns: 0,
            silence: None,
        }
    }
}

impl Iterator for Departures {
    type Item = Departure;

    #[inline]
    fn next(&mut self) -> Option<Departure> {
        let bytes = self.sizes.next()?;
        let offset_ns = self.times.next(bytes)?.saturating_add(self.put_off_ns);
        let offset_ns = match &mut self.silence {
            None => offset_ns,
            Some(silence) => silence.after(offset_ns)?,
        };
        Some(Departure { offset_ns, bytes })
    }
}
