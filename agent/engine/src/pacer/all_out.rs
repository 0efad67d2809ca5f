//! `max`: as fast as the host can, within the limits. There is no schedule, so
//! nothing is ever behind.

use super::budget::Budget;
use super::{Limits, PacketSize};

/// What to do now at `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllOutAction {
    /// Send `packets` packets of `bytes` each, then report them with
    /// [`AllOut::sent`].
    Send {
        /// How many, at least 1 and at most what was asked for.
        packets: u32,
        /// Payload bytes of each.
        bytes: u32,
    },
    /// The flow has not begun; host monotonic ns of its start.
    WaitUntil(u64),
    /// Time, packets or bytes are used up.
    Done,
}

/// Pacing without a schedule. What could not be sent (a full socket) is simply
/// offered again: the budget is spent by [`sent`](Self::sent) only.
#[derive(Debug, Clone)]
pub struct AllOut {
    start_ns: u64,
    end_ns: u64,
    size: u32,
    budget: Budget,
}

impl AllOut {
    /// Unlimited rate within `limits`.
    pub fn new(size: PacketSize, limits: Limits) -> Self {
        let budget = Budget::new(size.floor, limits.packets, limits.bytes);
        Self {
            start_ns: limits.start_ns,
            end_ns: limits.end_ns(),
            size: size.bytes,
            budget,
        }
    }

    /// The action at `now_ns`, with a bundle of at most `at_most` equal packets (a
    /// value of 0 is taken as 1).
    pub fn next(&self, now_ns: u64, at_most: u32) -> AllOutAction {
        if now_ns < self.start_ns {
            return AllOutAction::WaitUntil(self.start_ns);
        }
        match self.budget.next_bytes(self.size) {
            Some(bytes) if now_ns < self.end_ns => AllOutAction::Send {
                packets: self.budget.equal_packets(self.size, at_most.max(1)),
                bytes,
            },
            _ => AllOutAction::Done,
        }
    }

    /// Spends `packets` packets of `bytes` each that reached IP.
    pub fn sent(&mut self, packets: u32, bytes: u32) {
        self.budget.take(packets, bytes);
    }
}
