//! When to send next, decided by absolute departure times.
//!
//! [`Pacer`] keeps a schedule by one of two policies ([`Policy`]):
//!
//! - `keep-mean`: a late wake-up does not shift the schedule; what became due
//!   meanwhile leaves at once, so the mean rate holds. The burst is bounded: a
//!   packet still unsent [`CATCH_UP_NS`] after its departure time is *behind*:
//!   offered, never sent.
//! - `keep-gap`: a delay shifts all that follows, so that packets are never closer
//!   than asked. What the end of the flow leaves no time for is behind.
//!
//! [`AllOut`] is `max`: no schedule, only the limits. [`StreamPacer`] turns a byte
//! rate over TCP into writes of an adaptive size. [`Ramp`] moves departures to
//! where a changing rate wants them, and [`EarlyWake`] helps a thread to be there
//! in time.
//!
//! All are pure: `now` in, an action out. Times are host monotonic nanoseconds
//! ([`Clock`](crate::clock::Clock)).
//!
//! ```text
//!             now < due                 due <= now <= due + catch-up
//!  ┌──────── WaitUntil(due) ◄── next departures ──► Send ──► handled ─┐
//!  │                             │     │                              │
//!  └────── (caller waits) ──────►│     └─ now > due + catch-up ──► Behind
//!                                ▼
//!                     schedule or limits exhausted: Done
//! ```

mod all_out;
mod budget;
mod early_wake;
mod ramp;
mod stream;

use std::iter::Fuse;

use weir_common::assignment::Pacing;

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

/// What was due before the end of a flow still leaves so long after it, ns, and
/// nothing later: ten times as late as an ordinary wake-up, so that the planned
/// total is met, and too little to be seen in a second.
pub const END_GRACE_NS: u64 = 5_000_000;

/// Less than so much of the schedule leaves in one bundle, ns: about the lateness
/// of a wake-up, beyond which bundles would be what shapes the traffic.
pub const BUNDLE_NS: u64 = 100_000;

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

impl Limits {
    /// Where the time ends, host monotonic ns.
    pub fn end_ns(&self) -> u64 {
        self.duration_ns
            .and_then(|duration_ns| self.start_ns.checked_add(duration_ns))
            .unwrap_or(u64::MAX)
    }
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

/// How a pacer answers a delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Catches up with what is not older than this, ns.
    KeepMean {
        /// The bound.
        catch_up_ns: u64,
    },
    /// Shifts all that follows.
    KeepGap,
}

impl Policy {
    /// The policy of a datagram flow.
    pub const fn of(pacing: Pacing) -> Self {
        match pacing {
            Pacing::KeepMean => Self::KeepMean {
                catch_up_ns: CATCH_UP_NS,
            },
            Pacing::KeepGap => Self::KeepGap,
        }
    }
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send the packets of [`Pacer::due`], say with [`Pacer::handled`] how many of
    /// them are done with, then ask again.
    Send,
    /// Count this packet as offered and behind; do not send it. Ask again.
    Behind(Departure),
    /// Nothing is due before this host monotonic instant, ns.
    WaitUntil(u64),
    /// The schedule is exhausted: every packet of it was answered by `Send` or
    /// `Behind`.
    Done,
}

/// The pacing of one stream; see the module.
///
/// Each departure within the limits is answered exactly once, in order of its due
/// time, as part of a `Send` or as `Behind`; so where nothing stalls, the planned
/// total is met exactly. What was due before the flow's end and not sent
/// [`END_GRACE_NS`] after it is behind.
///
/// Bundles ([`with_bundles`](Self::with_bundles)) are cut from the schedule alone,
/// whatever the wake-ups do: a bundle is due with its last packet, and holds less
/// than [`BUNDLE_NS`] of the schedule.
#[derive(Debug, Clone)]
pub struct Pacer<A: Iterator<Item = arrival::Departure>> {
    departures: Fuse<A>,
    limits: Limits,
    end_ns: u64,
    policy: Policy,
    most: usize,
    budget: Budget,
    /// Drawn, within the time, not shifted and not trimmed yet.
    next: Option<Departure>,
    /// The packets to leave next, together.
    due: Vec<Departure>,
    /// By how much delays have shifted the schedule (keep-gap).
    shift_ns: u64,
}

impl<A: Iterator<Item = arrival::Departure>> Pacer<A> {
    /// Paces `departures` within `limits`. A trimmed last packet keeps at least `floor`
    /// bytes (the probe header over UDP; 1 over TCP).
    pub fn new(departures: A, floor: u32, limits: Limits, policy: Policy) -> Self {
        Self::with_bundles(departures, floor, limits, policy, 1)
    }

    /// As [`new`](Self::new), where up to `most` packets leave together. A policy of
    /// `keep-gap` has no bundles: their packets are closer than asked.
    pub fn with_bundles(
        departures: A,
        floor: u32,
        limits: Limits,
        policy: Policy,
        most: u32,
    ) -> Self {
        let most = if policy == Policy::KeepGap {
            1
        } else {
            most.max(1) as usize
        };
        let mut pacer = Self {
            departures: departures.fuse(),
            limits,
            end_ns: limits.end_ns(),
            policy,
            most,
            budget: Budget::new(floor, limits.packets, limits.bytes),
            next: None,
            due: Vec::with_capacity(most),
            shift_ns: 0,
        };
        pacer.draw();
        pacer
    }

    /// The action at `now_ns`. An earlier `now` than before only delays actions.
    #[inline]
    pub fn next(&mut self, now_ns: u64) -> Action {
        if self.due.is_empty() {
            self.fill();
        }
        let (Some(first), Some(last)) = (self.due.first(), self.due.last()) else {
            return Action::Done;
        };
        let lost = match self.policy {
            // The shifted schedule has no place left for it.
            Policy::KeepGap => first.due_ns >= self.end_ns || now_ns >= self.end_ns,
            Policy::KeepMean { catch_up_ns } => {
                now_ns.saturating_sub(first.due_ns) > catch_up_ns
                    || now_ns > self.end_ns.saturating_add(END_GRACE_NS.min(catch_up_ns))
            }
        };
        if lost {
            Action::Behind(self.due.remove(0))
        } else if now_ns < last.due_ns {
            Action::WaitUntil(last.due_ns)
        } else {
            Action::Send
        }
    }

    /// The packets that [`Action::Send`] speaks of, in order, all of one size.
    #[inline]
    pub fn due(&self) -> &[Departure] {
        &self.due
    }

    /// The first `packets` of [`due`](Self::due) left at `now_ns` or were given up;
    /// the others are due still.
    #[inline]
    pub fn handled(&mut self, packets: usize, now_ns: u64) {
        if let (Policy::KeepGap, Some(first)) = (self.policy, self.due.first()) {
            self.shift_ns += now_ns.saturating_sub(first.due_ns);
        }
        self.due.drain(..packets.min(self.due.len()));
    }

    /// Takes the next packets that leave together.
    #[inline]
    fn fill(&mut self) {
        while let Some(next) = self.next {
            let due_ns = next.due_ns.saturating_add(self.shift_ns);
            let Some(bytes) = self.budget.next_bytes(next.bytes) else {
                self.next = None;
                return;
            };
            if let Some(first) = self.due.first() {
                let together = self.due.len() < self.most
                    && bytes == first.bytes
                    && due_ns - first.due_ns < BUNDLE_NS;
                if !together {
                    return;
                }
            }
            self.budget.take(1, bytes);
            self.due.push(Departure { due_ns, bytes });
            self.draw();
            if self.due.len() == self.most {
                return;
            }
        }
    }

    #[inline]
    fn draw(&mut self) {
        let next = self.departures.next();
        self.next = next.and_then(|next| {
            let due_ns = self.limits.start_ns.checked_add(next.offset_ns)?;
            (due_ns < self.end_ns).then_some(Departure {
                due_ns,
                bytes: next.bytes,
            })
        });
    }
}

#[cfg(test)]
mod tests;
