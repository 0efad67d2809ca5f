//! Records on their way to the controller.

mod memory;

use weir_common::record::Entry;
use weir_proto::types::v1 as pb;

pub use memory::MemoryOutbox;

/// Keeps entries until the controller has stored them.
///
/// Sequence numbers rise by one from 1 per boot, over all flows. Entries leave
/// only by [`ack`](Outbox::ack): nothing is ever dropped. An outbox that is
/// [full](Outbox::is_full) still takes what the generators have left to say
/// while they stop, so its owner stops them and does not refuse entries.
pub trait Outbox: Send {
    /// Takes an entry and gives it the next sequence number.
    fn append(&mut self, entry: &Entry) -> u64;

    /// The consecutive entries from `seq` on, or from the first unacknowledged
    /// one if that is later: as many as `most` allows, at least one if there is one.
    fn unacked_from(&self, seq: u64, most: BatchLimit) -> Batch;

    /// Everything up to `seq` is stored: forgets it. A `seq` below what was
    /// acknowledged before changes nothing.
    fn ack(&mut self, seq: u64);

    /// The last sequence given out; 0 = none.
    fn last_seq(&self) -> u64;

    /// The highest sequence acknowledged; 0 = none.
    fn acked_seq(&self) -> u64;

    /// Bytes kept.
    fn bytes(&self) -> usize;

    /// Whether the limit is passed: time to stop making more.
    fn is_full(&self) -> bool;

    /// Whether everything is acknowledged.
    fn is_empty(&self) -> bool {
        self.acked_seq() == self.last_seq()
    }
}

/// How large a batch may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimit {
    /// Entries.
    pub entries: usize,
    /// Encoded bytes.
    pub bytes: usize,
}

/// Consecutive entries.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// Sequence of the first; meaningless when empty.
    pub first_seq: u64,
    /// The entries, as they travel.
    pub entries: Vec<pb::Entry>,
}

#[cfg(test)]
mod tests;
