//! When to send next, decided by absolute departure times.
//!
//! [`Pacer`] is the policy `keep-mean`: a late wake-up does not shift the
//! schedule; what became due meanwhile leaves at once, so the mean rate holds. The
//! burst is bounded by the cohort rule: a packet still unsent [`CATCH_UP_NS`] after
//! its departure time is *behind*: offered, never sent.
//! [`AllOut`] is `max`: no schedule, only the limits. [`StreamPacer`] turns a byte
//! rate over TCP into writes of an adaptive size.
//!
//! All are pure: `now` in, an action out. Times are host monotonic nanoseconds
//! ([`Clock`](crate::clock::Clock)).
//!
//! ```text
//!            now < due                 due <= now <= due + catch-up
//!  ┌──────── WaitUntil(due) ◄── next departure ──► Send ────────┐
//!  │                             │     │                        │
//!  └────── (caller waits) ──────►│     └─ now > due + catch-up ─► Behind
//!                                ▼
//!                     schedule or limits exhausted: Done
//! ```

mod all_out;
mod budget;
mod early_wake;
mod ramp;
mod stream;

use std::iter::Fuse;

use crate::arrival;

pub use self::all_out::{AllOut, AllOutAction};
use self::budget::Budget;
pub use self::early_wake::{Approach, EarlyWake, Precision};
pub use self::ramp::{Ramp, RampClock};
pub use self::stream::{STREAM_CATCH_UP_NS, StreamAction, StreamPacer, write_quantum};

/// How much of the schedule may be caught up at once, ns. 50 ms bridges the
/// longest ordinary stall of a virtual machine (20 ms measured) twice over, and at
/// 10 kpkt/s keeps the burst to 500 packets, less than a default queue of 1000.
pub const CATCH_UP_NS: u64 = 50_000_000;

/// Where a flow begins and what ends it; the first limit reached does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// T0 plus the phase's offset: departure offset 0, host monotonic ns.
    pub start_ns: u64,
    /// Departures at `start_ns + duration_ns` or later are not part of the flow.
    pub duration_ns: Option<u64>,
    /// At most so many packets, counting those behind.
    pub packets: Option<u64>,
    /// At most so many payload bytes, counting those behind; the last packet is
    /// trimmed so that the total is met exactly.
    pub bytes: Option<u64>,
}

/// The payload size of a flow's packets where there is no schedule.
///
/// Invariant: `0 < floor <= bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketSize {
    bytes: u32,
    floor: u32,
}

impl PacketSize {
    /// Packets of `bytes` of payload, where a trimmed last packet must keep at
    /// least `floor` bytes (the probe header over UDP; 1 over TCP). Out of range
    /// values are brought into it: `bytes` is at least 1, `floor` in `1..=bytes`.
    pub const fn new(bytes: u32, floor: u32) -> Self {
        let bytes = if bytes == 0 { 1 } else { bytes };
        let floor = if floor == 0 { 1 } else { floor };
        Self {
            bytes,
            floor: if floor > bytes { bytes } else { floor },
        }
    }

    /// Payload bytes of an untrimmed packet.
    pub const fn bytes(&self) -> u32 {
        self.bytes
    }
}

/// One packet of the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Departure {
    /// When it is to leave, host monotonic ns; lateness is measured from here and
    /// the packet belongs to the interval that holds this instant.
    pub due_ns: u64,
    /// Payload bytes.
    pub bytes: u32,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send this packet, then ask again (with the same or a later `now`).
    Send(Departure),
    /// Count this packet as offered and behind; do not send it. Ask again.
    Behind(Departure),
    /// Nothing is due before this host monotonic instant, ns.
    WaitUntil(u64),
    /// The schedule is exhausted: every packet of it was answered by `Send` or
    /// `Behind`.
    Done,
}

/// The `keep-mean` pacing of one stream; see the module.
///
/// Each departure within the limits is answered exactly once, in order of its due
/// time, as `Send` or `Behind`; so where nothing stalls, the planned total is met
/// exactly. `Done` may come up to the catch-up time after the flow's end: what was
/// due before the end still leaves.
#[derive(Debug, Clone)]
pub struct Pacer<A: Iterator<Item = arrival::Departure>> {
    departures: Fuse<A>,
    limits: Limits,
    catch_up_ns: u64,
    budget: Budget,
    next: Option<Departure>,
}

impl<A: Iterator<Item = arrival::Departure>> Pacer<A> {
    /// Paces `departures` within `limits`. A trimmed last packet keeps at least `floor`
    /// bytes (the probe header over UDP; 1 over TCP).
    pub fn new(departures: A, floor: u32, limits: Limits) -> Self {
        Self::with_catch_up(departures, floor, limits, CATCH_UP_NS)
    }

    /// As [`new`](Self::new), with another bound on what may be caught up.
    pub fn with_catch_up(departures: A, floor: u32, limits: Limits, catch_up_ns: u64) -> Self {
        let mut pacer = Self {
            departures: departures.fuse(),
            limits,
            catch_up_ns,
            budget: Budget::new(floor, limits.packets, limits.bytes),
            next: None,
        };
        pacer.draw();
        pacer
    }

    /// The action at `now_ns`. An earlier `now` than before only delays actions.
    pub fn next(&mut self, now_ns: u64) -> Action {
        let Some(Departure { due_ns, bytes }) = self.next else {
            return Action::Done;
        };
        let Some(bytes) = self.budget.next_bytes(bytes) else {
            return Action::Done;
        };
        if now_ns < due_ns {
            return Action::WaitUntil(due_ns);
        }
        self.budget.take(1, bytes);
        self.draw();
        let departure = Departure { due_ns, bytes };
        if now_ns - due_ns > self.catch_up_ns {
            Action::Behind(departure)
        } else {
            Action::Send(departure)
        }
    }

    fn draw(&mut self) {
        let end_ns = self.limits.duration_ns.unwrap_or(u64::MAX);
        let next = self.departures.next();
        self.next = next
            .filter(|next| next.offset_ns < end_ns)
            .and_then(|next| {
                Some(Departure {
                    due_ns: self.limits.start_ns.checked_add(next.offset_ns)?,
                    bytes: next.bytes,
                })
            });
    }
}

#[cfg(test)]
mod tests;
