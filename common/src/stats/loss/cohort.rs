//! A cohort: the packets of a flow that count together.

use super::Arrival;
use super::departures::Point;
use crate::stats::Lengths;
use crate::stats::outage::{LostRun, OutageDetector};

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
    /// Runs of lost packets (RFC 3357 loss periods), cut at the cohort's borders.
    pub bursts: Lengths,
    /// From the last lost packet of a burst to the first of the next: RFC 3357
    /// inter-loss period lengths.
    pub distances: Lengths,
}

/// Where a run of losses begins, or the packet after it.
pub(super) type Border = Point;

/// A cohort while it runs.
#[derive(Debug, Clone, Default)]
pub(super) struct Cohort {
    /// Counters that grow by arrivals; the rest is filled in by closing.
    pub(super) totals: CohortTotals,
    /// The packets of least and greatest sequence number received in time.
    pub(super) seen: Option<(Point, Point)>,
    /// First and last number of all bursts so far, those at the borders apart.
    lost: Option<(u64, u64)>,
    pub(super) outages: OutageDetector,
    /// When it began and ended, if that was said.
    pub(super) times: Option<(u64, u64)>,
    pub(super) closed: bool,
}

impl Cohort {
    #[inline]
    pub(super) fn arrived(&mut self, packet: Point, arrival: Arrival, extent: Option<u64>) {
        let totals = &mut self.totals;
        match arrival {
            Arrival::Duplicate => totals.duplicate += 1,
            Arrival::Late => totals.late += 1,
            Arrival::New => {
                totals.received += 1;
                self.seen = Some(match self.seen {
                    Some((first, last)) if packet.seq > last.seq => (first, packet),
                    Some((first, last)) if packet.seq < first.seq => (packet, last),
                    Some(both) => both,
                    None => (packet, packet),
                });
            }
        }
        if let Some(extent) = extent {
            totals.reordered += 1;
            totals.reorder_extent_max = totals.reorder_extent_max.max(extent);
        }
    }

    /// A run of losses between two packets of the cohort.
    pub(super) fn burst(&mut self, first: Border, next: Border) {
        let packets = next.seq - first.seq;
        self.totals.bursts.record(packets);
        if let Some((_, last)) = self.lost {
            self.totals.distances.record(first.seq - last);
        }
        let begin = self.lost.map_or(first.seq, |(begin, _)| begin);
        self.lost = Some((begin, next.seq - 1));
        let run = LostRun {
            first_seq: first.seq,
            packets,
            from_ns: first.at_ns,
            to_ns: next.at_ns,
            ended: true,
        };
        let seen = self.seen.map(|(first, _)| first);
        let spacing_ns = seen.and_then(|seen| spacing_ns(seen, next));
        self.outages.record(&run, spacing_ns.unwrap_or(u64::MAX));
    }

    /// Mean spacing of departures, ns, from first to last arrival.
    pub(super) fn mean_spacing_ns(&self) -> Option<u64> {
        self.seen.and_then(|(first, last)| spacing_ns(first, last))
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
                seen_first.seq.saturating_sub(first).min(totals.lost),
                end.saturating_sub(seen_last.seq.saturating_add(1)),
            ),
            None => (totals.lost, 0),
        };
        totals.head = head;
        totals.tail = tail.min(totals.lost - head);
        totals.middle = totals.lost - totals.head - totals.tail;
        self.close_bursts(first);
        self.close_outages(first);
        self.closed = true;
        let inside = self
            .seen
            .is_none_or(|(seen_first, seen_last)| first <= seen_first.seq && seen_last.seq < end);
        inside && self.totals.received <= self.totals.sent_packets
    }

    /// Adds the bursts at the borders: before the first and after the last arrival.
    fn close_bursts(&mut self, first: u64) {
        let totals = &mut self.totals;
        totals.bursts.record(totals.head);
        totals.bursts.record(totals.tail);
        let head_end = first.saturating_add(totals.head.saturating_sub(1));
        if let Some((begin, _)) = self.lost.filter(|_| totals.head > 0) {
            totals.distances.record(begin.saturating_sub(head_end));
        }
        let last = match self.lost {
            Some((_, last)) => Some(last),
            None => (totals.head > 0).then_some(head_end),
        };
        if let (Some(last), Some((_, seen))) = (last, self.seen)
            && totals.tail > 0
        {
            let tail = seen.seq.saturating_add(1);
            totals.distances.record(tail.saturating_sub(last));
        }
    }

    /// Adds the outages at the borders. Without a final count there may be
    /// silence after the last arrival: it is one if it is long, though nobody
    /// knows what was sent in it.
    fn close_outages(&mut self, first: u64) {
        let totals = &self.totals;
        let begin = |known: u64| self.times.map_or(known, |(start_ns, _)| start_ns);
        let end = |known: u64| self.times.map_or(known, |(_, end_ns)| end_ns.max(known));
        let (start_ns, end_ns) = self.times.unwrap_or_default();
        let planned_ns = end_ns.saturating_sub(start_ns) / totals.sent_packets.max(1);
        let Some((seen_first, seen_last)) = self.seen else {
            let run = LostRun {
                first_seq: first,
                packets: totals.head,
                from_ns: begin(0),
                to_ns: end(0),
                ended: false,
            };
            let run = (run.packets > 0).then_some(&run);
            self.outages.close(run, planned_ns);
            return;
        };
        let spacing_ns = spacing_ns(seen_first, seen_last).unwrap_or(planned_ns);
        let tail = LostRun {
            first_seq: seen_last.seq.saturating_add(1),
            packets: totals.tail,
            from_ns: seen_last.at_ns.saturating_add(spacing_ns),
            to_ns: end(seen_last.at_ns.saturating_add(spacing_ns)),
            ended: false,
        };
        let silence = !totals.exact && self.times.is_some() && tail.is_long(spacing_ns.max(1));
        if tail.packets > 0 || silence {
            self.outages.record(&tail, spacing_ns);
        }
        let before_ns = totals.head.saturating_mul(spacing_ns);
        let head = LostRun {
            first_seq: first,
            packets: totals.head,
            from_ns: begin(seen_first.at_ns.saturating_sub(before_ns)).min(seen_first.at_ns),
            to_ns: seen_first.at_ns,
            ended: true,
        };
        let head = (head.packets > 0).then_some(&head);
        self.outages.close(head, spacing_ns);
    }
}

/// Mean spacing of departures from one packet to a later one, ns.
fn spacing_ns(first: Point, last: Point) -> Option<u64> {
    let packets = last
        .seq
        .checked_sub(first.seq)
        .filter(|&packets| packets > 0)?;
    Some(last.at_ns.saturating_sub(first.at_ns) / packets)
}
