//! Outages: when a network carried nothing, from the losses of a probing flow.
//!
//! Definition (after the packet-loss method of RFC 6413; RFC 7747 uses it for
//! BGP convergence):
//! 1. A run of at least three lost packets begins an outage. So does a silence of
//!    at least three times the mean spacing of departures, where nobody knows what
//!    was sent in it. How long a run took says nothing: between a lost packet and
//!    the next one the sender may have paused or stalled.
//! 2. The outage lasts from the first lost send to the first send after which
//!    nothing is lost for a second ([`QUIET_NS`]); every loss until then belongs
//!    to it, however short its run.
//! 3. An outage that the flow did not outlive has no end; its length counts to
//!    the end of the flow.
//!
//! All times are times of sending on the sender's clock. When a lost packet was
//! sent is known only between its neighbours that arrived; an outage is
//! therefore known to about the mean spacing, its resolution.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Without any loss for so long after a send, an outage ended with that send.
pub const QUIET_NS: u64 = 1_000_000_000;

/// Outages that are kept one by one: the longest of a flow.
pub const KEPT_OUTAGES: usize = 1_000;

/// A run of so many packets is long, and a silence of so many mean spacings.
const LONG: u64 = 3;

/// Lost packets in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostRun {
    /// Sequence number of the first.
    pub first_seq: u64,
    /// How many; 0 = a silence of which nobody knows what was sent in it.
    pub packets: u64,
    /// When the first was sent, ns.
    pub from_ns: u64,
    /// When the next packet that arrived was sent, ns; where none did, the end
    /// of the flow.
    pub to_ns: u64,
    /// Whether a later packet arrived.
    pub ended: bool,
}

impl LostRun {
    /// Whether the run begins an outage, at this mean spacing.
    pub fn is_long(&self, spacing_ns: u64) -> bool {
        let length_ns = self.to_ns.saturating_sub(self.from_ns);
        match self.packets {
            0 => length_ns > 0 && length_ns >= spacing_ns.saturating_mul(LONG),
            packets => packets >= LONG,
        }
    }
}

/// One outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// First lost send, ns.
    pub from_ns: u64,
    /// First send after which nothing was lost for a second, or the end of the
    /// flow, ns.
    pub to_ns: u64,
    /// Whether the flow outlived it.
    pub ended: bool,
    /// First sequence number lost.
    pub first_seq: u64,
    /// Last sequence number lost; where nobody knows, the first.
    pub last_seq: u64,
    /// Packets lost, not always all between these two; 0 = not known.
    pub lost: u64,
}

impl Outage {
    /// How long it lasted, ns.
    pub fn length_ns(&self) -> u64 {
        self.to_ns.saturating_sub(self.from_ns)
    }

    fn of(run: &LostRun) -> Self {
        Self {
            from_ns: run.from_ns,
            to_ns: run.to_ns,
            ended: run.ended,
            first_seq: run.first_seq,
            last_seq: run.first_seq.saturating_add(run.packets.saturating_sub(1)),
            lost: run.packets,
        }
    }

    /// Appends what was lost later, within the second.
    fn append(&mut self, later: &Self) {
        self.to_ns = later.to_ns;
        self.ended = later.ended;
        self.last_seq = later.last_seq;
        self.lost = self.lost.saturating_add(later.lost);
    }
}

/// Losses with less than [`QUIET_NS`] between them.
///
/// Invariant: `outage` ends where `losses` does.
#[derive(Debug, Clone, Copy)]
struct Chain {
    losses: Outage,
    /// From the first long run on.
    outage: Option<Outage>,
}

impl Chain {
    fn of(run: &LostRun, spacing_ns: u64) -> Self {
        let losses = Outage::of(run);
        Self {
            losses,
            outage: run.is_long(spacing_ns).then_some(losses),
        }
    }

    fn reaches(&self, from_ns: u64) -> bool {
        from_ns < self.losses.to_ns.saturating_add(QUIET_NS)
    }

    fn append(&mut self, later: &Self) {
        self.losses.append(&later.losses);
        match &mut self.outage {
            Some(outage) => outage.append(&later.losses),
            none => *none = later.outage,
        }
    }
}

/// Finds the outages of one flow (or of a part of it that counts by itself).
///
/// Contract: [`record`](Self::record) for each run of losses in the order of
/// sequence, all but one before the first packet that arrived; then
/// [`close`](Self::close) once, with that one.
#[derive(Debug, Clone, Default)]
pub struct OutageDetector {
    /// Until the close: the first chain, which losses at the head may reach.
    first: Option<Chain>,
    current: Option<Chain>,
    count: u64,
    sum_ns: u64,
    kept: BinaryHeap<Reverse<ByLength>>,
}

/// Outages in the order of their length, the earlier one greater of equals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ByLength(Outage);

impl Ord for ByLength {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |outage: &Outage| (outage.length_ns(), Reverse(outage.from_ns));
        key(&self.0).cmp(&key(&other.0))
    }
}

impl PartialOrd for ByLength {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl OutageDetector {
    /// Takes in a run of losses.
    pub fn record(&mut self, run: &LostRun, spacing_ns: u64) {
        let chain = Chain::of(run, spacing_ns);
        match &mut self.current {
            Some(current) if current.reaches(run.from_ns) => current.append(&chain),
            _ => {
                self.end_current();
                self.current = Some(chain);
            }
        }
    }

    /// Ends the account, with the losses before the first packet that arrived.
    pub fn close(&mut self, head: Option<&LostRun>, spacing_ns: u64) {
        self.end_current();
        let first = self.first.take();
        let Some(mut chain) = head.map(|run| Chain::of(run, spacing_ns)) else {
            self.settle(first.and_then(|chain| chain.outage));
            return;
        };
        match first {
            Some(first) if chain.reaches(first.losses.from_ns) => chain.append(&first),
            first => self.settle(first.and_then(|chain| chain.outage)),
        }
        self.settle(chain.outage);
    }

    /// How many outages there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// All of them together, ns.
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// The longest [`KEPT_OUTAGES`], in the order of time.
    pub fn kept(&self) -> Vec<Outage> {
        let mut kept: Vec<Outage> = self.kept.iter().map(|Reverse(kept)| kept.0).collect();
        kept.sort_by_key(|outage| outage.from_ns);
        kept
    }

    fn end_current(&mut self) {
        let Some(chain) = self.current.take() else {
            return;
        };
        if self.first.is_none() && self.count == 0 {
            self.first = Some(chain);
        } else {
            self.settle(chain.outage);
        }
    }

    fn settle(&mut self, outage: Option<Outage>) {
        let Some(outage) = outage else { return };
        self.count += 1;
        self.sum_ns = self.sum_ns.saturating_add(outage.length_ns());
        self.kept.push(Reverse(ByLength(outage)));
        if self.kept.len() > KEPT_OUTAGES {
            self.kept.pop();
        }
    }
}

#[cfg(test)]
mod tests;
