//! A byte rate over TCP as writes of an adaptive size.

use super::{Action, Limits, Pacer, Policy, Ramp, RampClock};
use crate::arrival::{ArrivalError, ConstantArrival, Departure, Departures, MeanSpacing};

/// How much of a stream's schedule may wait for the socket, ns.
///
/// TCP holds a writer back for its own recovery (a retransmission time-out is at
/// least 200 ms and doubles), and its congestion control shapes the burst that
/// follows, so a stream may catch up far more than a datagram flow. Beyond a second
/// the path, not the schedule, sets the rate: the rest is forgone and shows as
/// offered above sent.
pub const STREAM_CATCH_UP_NS: u64 = 1_000_000_000;

/// What to do now on a paced stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamAction {
    /// Write up to so many bytes, then report what the socket took with
    /// [`StreamPacer::wrote`].
    Write(u64),
    /// Nothing to write before this host monotonic instant, ns.
    WaitUntil(u64),
    /// Everything planned was written or forgone.
    Done,
}

/// Paces one TCP stream, write by write.
///
/// Invariant: `offered_bytes = written_bytes + forgone_bytes + pending_bytes`.
/// Where the socket takes every write, the total is exactly
/// floor(rate x duration), or the byte limit if that is less.
#[derive(Debug, Clone)]
pub struct StreamPacer {
    pacer: Pacer<Writes>,
    pending_limit: u64,
    offered_bytes: u64,
    written_bytes: u64,
    forgone_bytes: u64,
}

impl StreamPacer {
    /// Paces `bits_per_second` of payload within `limits` (whose packet limit means
    /// nothing for a stream and is ignored), in writes of [`write_quantum`]. A rate
    /// of 0 is refused.
    pub fn new(bits_per_second: u64, limits: Limits) -> Result<Self, ArrivalError> {
        let quantum = write_quantum(bits_per_second);
        let spacing = MeanSpacing::from_bit_rate(quantum, bits_per_second)?;
        let scheduled = limits
            .duration_ns
            .map(|span_ns| bytes_in(bits_per_second, span_ns));
        let bytes = match (limits.bytes, scheduled) {
            (Some(asked), Some(fitting)) => Some(asked.min(fitting)),
            (asked, fitting) => asked.or(fitting),
        };
        let limits = Limits { bytes, ..limits };
        let writes = Departures::of_size(ConstantArrival::new(spacing), quantum);
        Ok(Self::with_schedule(writes, bits_per_second, limits))
    }

    /// Paces one of `streams` equal streams by a ramp of their bit rate together.
    /// Its bytes are `limits.bytes`.
    pub fn ramped(ramp: Ramp, streams: u64, limits: Limits) -> Result<Self, ArrivalError> {
        let (least, top) = (ramp.least() / streams, ramp.top() / streams);
        let quantum = ramp_quantum(least, top);
        let period_ns = u64::from(quantum).saturating_mul(8_000_000_000);
        let spacing = MeanSpacing::new(period_ns.saturating_mul(streams), ramp.top())?;
        let writes = Departures::of_size(ConstantArrival::new(spacing), quantum);
        Ok(Self::with_ramp(writes, ramp, top, limits))
    }

    /// Paces `writes`, a schedule at the ramp's top rate, as the ramp wants them; `top`
    /// is this stream's share of that rate.
    pub fn with_ramp(writes: Departures, ramp: Ramp, top: u64, limits: Limits) -> Self {
        Self::over(
            Writes {
                departures: writes,
                clock: Some(RampClock::new(ramp)),
            },
            top,
            limits,
        )
    }

    /// Paces `writes`, whose mean rate is `bits_per_second`. The total is what they
    /// have within `limits`.
    pub fn with_schedule(writes: Departures, bits_per_second: u64, limits: Limits) -> Self {
        Self::over(
            Writes {
                departures: writes,
                clock: None,
            },
            bits_per_second,
            limits,
        )
    }

    fn over(writes: Writes, bits_per_second: u64, limits: Limits) -> Self {
        let pacer = Pacer::new(
            writes,
            1,
            Limits {
                packets: None,
                ..limits
            },
            Policy::KeepMean {
                catch_up_ns: STREAM_CATCH_UP_NS,
            },
        );
        let pending_limit = bytes_in(bits_per_second, STREAM_CATCH_UP_NS);
        Self {
            pacer,
            pending_limit,
            offered_bytes: 0,
            written_bytes: 0,
            forgone_bytes: 0,
        }
    }

    /// The action at `now_ns`.
    pub fn next(&mut self, now_ns: u64) -> StreamAction {
        self.next_and_tell(now_ns, |_| {})
    }

    /// As [`next`](Self::next); `told` gets, once for each write that is to be made
    /// now, the instant at which it was due.
    pub fn next_and_tell(&mut self, now_ns: u64, mut told: impl FnMut(u64)) -> StreamAction {
        let otherwise = loop {
            match self.pacer.next(now_ns) {
                Action::Send => {
                    for due in self.pacer.due() {
                        told(due.due_ns);
                        // A single write may be more than a second of the rate.
                        self.pending_limit = self.pending_limit.max(u64::from(due.bytes));
                        self.offered_bytes += u64::from(due.bytes);
                    }
                    self.pacer.handled(1, now_ns);
                }
                Action::Behind(due) => {
                    self.offered_bytes += u64::from(due.bytes);
                    self.forgone_bytes += u64::from(due.bytes);
                }
                Action::WaitUntil(due_ns) => break StreamAction::WaitUntil(due_ns),
                Action::Done => break StreamAction::Done,
            }
        };
        self.forgone_bytes += self.pending_bytes().saturating_sub(self.pending_limit);
        match self.pending_bytes() {
            0 => otherwise,
            pending => StreamAction::Write(pending),
        }
    }

    /// The socket took `bytes` of the last [`StreamAction::Write`].
    pub fn wrote(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.pending_bytes(), "more written than was due");
        self.written_bytes += bytes.min(self.pending_bytes());
    }

    /// Bytes that the schedule asked for so far.
    pub fn offered_bytes(&self) -> u64 {
        self.offered_bytes
    }

    /// Bytes that the socket took so far.
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Bytes offered that will never be written: older than
    /// [`STREAM_CATCH_UP_NS`] when the socket, or the CPU, was free again.
    pub fn forgone_bytes(&self) -> u64 {
        self.forgone_bytes
    }

    /// Bytes due and not yet written.
    pub fn pending_bytes(&self) -> u64 {
        self.offered_bytes - self.written_bytes - self.forgone_bytes
    }
}

/// Writes of a steady schedule, moved to where a ramp wants them.
#[derive(Debug, Clone)]
struct Writes {
    departures: Departures,
    clock: Option<RampClock>,
}

impl Iterator for Writes {
    type Item = Departure;

    fn next(&mut self) -> Option<Departure> {
        let next = self.departures.next()?;
        let Some(clock) = &mut self.clock else {
            return Some(next);
        };
        Some(Departure {
            offset_ns: clock.due_ns(next.offset_ns),
            ..next
        })
    }
}

/// Bytes per write for a rate that changes: smooth where it is least, and at its top
/// at most 32 times as many writes as a steady rate has.
fn ramp_quantum(least: u64, top: u64) -> u32 {
    write_quantum(least).max(write_quantum(top) / 32).max(1)
}

/// Bytes per write for a payload rate.
///
/// 1. What is due in 10 ms: 100 writes a second are smooth at any time scale a
///    record shows (100 ms), and cost next to nothing.
/// 2. Slow streams: not below 64 bytes, about a segment's own headers, unless that
///    makes fewer than 10 writes a second (3 kbit/s: 37 bytes ten times a second).
/// 3. Fast streams: at most 128 KiB (iperf3's block) until that makes 1000 writes
///    a second (1.05 Gbit/s); then what is due in 1 ms, up to 1 MiB, beyond which
///    a larger write gains nothing.
pub fn write_quantum(bits_per_second: u64) -> u32 {
    let smooth = bytes_in(bits_per_second, 10_000_000);
    let trickle = bytes_in(bits_per_second, 100_000_000).min(SMALL_WRITE);
    let fast = bytes_in(bits_per_second, 1_000_000).min(LARGE_WRITE);
    let quantum = smooth.max(trickle).min(BLOCK_WRITE).max(fast).max(1);
    u32::try_from(quantum).expect("at most 1 MiB")
}

const SMALL_WRITE: u64 = 64;
const BLOCK_WRITE: u64 = 128 << 10;
const LARGE_WRITE: u64 = 1 << 20;

/// floor(rate x time / 8), saturating.
fn bytes_in(bits_per_second: u64, span_ns: u64) -> u64 {
    let bytes = u128::from(bits_per_second) * u128::from(span_ns) / 8_000_000_000;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
