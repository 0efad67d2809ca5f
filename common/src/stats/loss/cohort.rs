//! A cohort: the packets of a flow that count together.

use super::{Arrival, Bursts};

/// What a generator says it sent of one cohort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CohortSpan {
    /// Cohort number: `2 * i` is the warm-up of segment i, `2 * i + 1` its
    /// measured window.
    pub cohort: u8,
    /// Sequence number of the first packet.
    pub first_seq: u64,
    /// Packets sent; their sequence numbers are contiguous.
    pub packets: u64,
    /// Payload bytes sent.
    pub bytes: u64,
}

impl CohortSpan {
    /// The sequence number after the last one, if it fits.
    pub(super) fn end(&self) -> Option<u64> {
        self.first_seq.checked_add(self.packets)
    }
}

/// A generator's final count of a segment: its cohorts, ascending and without
/// holes between them. It is what makes losses at the tail known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FinalCount {
    /// One span for each cohort that was sent.
    pub cohorts: Vec<CohortSpan>,
}

/// The account of a cohort after its segment was closed.
///
/// `sent_packets = received + lost` and `lost = head + middle + tail` hold
/// exactly unless [`super::LossWindow::is_inconsistent`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CohortTotals {
    /// Cohort number.
    pub cohort: u8,
    /// Whether the generator's final count is known. Without it `sent_packets`
    /// and `lost` end at the last packet that arrived.
    pub exact: bool,
    /// Packets sent.
    pub sent_packets: u64,
    /// Payload bytes sent; known only with a final count.
    pub sent_bytes: Option<u64>,
    /// Unique packets that came before their loss was declared.
    pub received: u64,
    /// Packets declared lost, late ones included.
    pub lost: u64,
    /// Lost before the first received packet; all, if none was received.
    pub head: u64,
    /// Lost between received packets.
    pub middle: u64,
    /// Lost after the last received packet.
    pub tail: u64,
    /// Arrivals after their loss was declared.
    pub late: u64,
    /// Arrivals of packets that had arrived before.
    pub duplicate: u64,
    /// Received packets that came after a greater sequence number (RFC 4737).
    pub reordered: u64,
    /// Largest reordering extent in packets.
    pub reorder_extent_max: u64,
    /// Runs of lost packets, cut at the cohort's borders.
    pub bursts: Bursts,
}

/// A cohort while it runs.
#[derive(Debug, Clone, Default)]
pub(super) struct Cohort {
    /// Counters that grow by arrivals; the rest is filled in by closing.
    pub(super) totals: CohortTotals,
    /// Least and greatest sequence number received in time.
    pub(super) seen: Option<(u64, u64)>,
    pub(super) closed: bool,
}

impl Cohort {
    #[inline]
    pub(super) fn arrived(&mut self, seq: u64, arrival: Arrival, extent: Option<u64>) {
        let totals = &mut self.totals;
        match arrival {
            Arrival::Duplicate => totals.duplicate += 1,
            Arrival::Late => totals.late += 1,
            Arrival::New => {
                totals.received += 1;
                self.seen = Some(match self.seen {
                    Some((first, last)) => (first.min(seq), last.max(seq)),
                    None => (seq, seq),
                });
            }
        }
        if let Some(extent) = extent {
            totals.reordered += 1;
            totals.reorder_extent_max = totals.reorder_extent_max.max(extent);
        }
    }

    /// Whether any packet of it came, in time or not.
    pub(super) fn has_arrivals(&self) -> bool {
        self.totals.received + self.totals.late + self.totals.duplicate > 0
    }

    /// Settles the account for the sequence numbers from `first` to before
    /// `end`, all of them decided. False if more arrived than was sent, or from
    /// outside the span.
    pub(super) fn close(&mut self, number: u8, first: u64, end: u64, bytes: Option<u64>) -> bool {
        let totals = &mut self.totals;
        totals.cohort = number;
        totals.exact = bytes.is_some();
        totals.sent_packets = end.saturating_sub(first);
        totals.sent_bytes = bytes;
        totals.lost = totals.sent_packets.saturating_sub(totals.received);
        let (head, tail) = match self.seen {
            Some((seen_first, seen_last)) => (
                seen_first.saturating_sub(first).min(totals.lost),
                end.saturating_sub(seen_last.saturating_add(1)),
            ),
            None => (totals.lost, 0),
        };
        totals.head = head;
        totals.tail = tail.min(totals.lost - head);
        totals.middle = totals.lost - totals.head - totals.tail;
        totals.bursts.record(totals.head);
        totals.bursts.record(totals.tail);
        self.closed = true;
        let inside = self
            .seen
            .is_none_or(|(seen_first, seen_last)| first <= seen_first && seen_last < end);
        inside && totals.received <= totals.sent_packets
    }
}
