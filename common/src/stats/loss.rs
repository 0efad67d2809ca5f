//! Loss accounting of a receiver: what arrived, what is lost, and when that is
//! said.
//!
//! Works on the flow's own sequence numbers (from 0, without holes) and on the
//! send times in its packets. Metrics: received, lost (RFC 7680 with the linger
//! as waiting time), late, duplicate, reordered and reordering extent
//! (RFC 4737), bursts of lost packets and their distances (RFC 3357), loss at head,
//! middle and tail, outages.

mod bitmap;
mod cohort;
mod departures;
mod reorder;
mod settle;
#[cfg(test)]
mod tests;

use bitmap::{Bitmap, MAX_BITS};
use cohort::{Border, Cohort};
pub use cohort::{CohortSpan, CohortTotals, FinalCount};
use departures::{Departures, Point};
use reorder::Reordering;

use super::outage::OutageDetector;

/// Sequence numbers have 56 bits on the wire.
pub const MAX_SEQUENCE: u64 = (1 << 56) - 1;

/// Points in time remembered per linger: a loss is declared at most 1/64 of the
/// linger later than the definition allows, for 1 KiB of memory.
const CHECKPOINTS_PER_LINGER: u64 = 64;

/// What an arriving packet turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The first copy, in time: it counts as received.
    New,
    /// Arrived before; counts outside received.
    Duplicate,
    /// Its loss was declared before; it stays lost.
    Late,
}

/// Counts of a segment between two calls of [`LossWindow::take_interval`], or of
/// the whole of it: by the time of arrival or declaration, warm-up included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IntervalCounts {
    /// Unique packets in time.
    pub received: u64,
    /// Packets whose loss was declared.
    pub lost: u64,
    /// Arrivals after their loss was declared.
    pub late: u64,
    /// Arrivals of packets that had arrived before.
    pub duplicate: u64,
    /// Received packets that came after a greater sequence number.
    pub reordered: u64,
    /// Largest reordering extent in packets; of the whole: the maximum.
    pub reorder_extent_max: u64,
}

impl IntervalCounts {
    /// Adds the counts of another interval.
    pub fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.lost += other.lost;
        self.late += other.late;
        self.duplicate += other.duplicate;
        self.reordered += other.reordered;
        self.reorder_extent_max = self.reorder_extent_max.max(other.reorder_extent_max);
    }
}

/// The account of one sequence of packets at its receiver.
///
/// Contract: [`arrival`](Self::arrival) for every data packet, in the order they
/// arrive; [`close_segment`](Self::close_segment) in the order of the segments,
/// each no sooner than `linger` after the segment's end, while later segments
/// may already run (its account is final then: nothing is added to it any more); [`close`](Self::close) once, at the end. Send times do not
/// fall as sequence numbers rise, and cohort numbers only rise with them; a
/// sender that breaks this gets wrong figures and the inconsistent mark, never
/// a panic or a negative count.
///
/// A loss is declared once:
/// 1. when a packet of the flow sent `linger` later has arrived (without send
///    times: when one arrived `linger` after a later packet did), or
/// 2. when the bitmap would have to grow beyond 1 MiB (see [`Self::is_cut`]), or
/// 3. at the close of its segment.
///
/// Invariants: every sequence number below `base` is decided, received or lost;
/// the bitmap's span holds `base..top`, and older numbers as far as they fit;
/// `top` (the span's end) is above every number received or decided.
#[derive(Debug, Clone)]
pub struct LossWindow {
    linger_ns: u64,
    bitmap: Bitmap,
    base: u64,
    latest_ns: u64,
    departures: Departures,
    /// The last decided number that was received.
    last_received: Option<u64>,
    reordering: Reordering,
    /// Indexed by cohort number, as far as seen or closed.
    cohorts: Vec<Cohort>,
    /// All numbers below this belong to closed segments, as do all cohorts
    /// below `open_cohort`.
    closed_end: u64,
    open_cohort: usize,
    /// Indexed by segment number, as far as seen or closed.
    segments: Vec<SegmentCounts>,
    /// The segment of the packet at the top.
    newest_segment: usize,
    /// Losses declared, whether or not it is known yet in which segment.
    declared: u64,
    /// Of these, those in the current run of losses that are in no segment yet.
    unassigned: u64,
    closed: bool,
    cut: bool,
    inconsistent: bool,
}

/// What of a segment was reported, and what will be next.
#[derive(Debug, Clone, Copy, Default)]
struct SegmentCounts {
    interval: IntervalCounts,
    taken: IntervalCounts,
}

impl SegmentCounts {
    fn totals(&self) -> IntervalCounts {
        let mut totals = self.taken;
        totals.add(&self.interval);
        totals
    }
}

impl LossWindow {
    /// Nothing received yet. `linger_ns` is the waiting time after which a
    /// packet counts as lost. Allocates with the first packet.
    pub fn new(linger_ns: u64) -> Self {
        Self {
            linger_ns,
            bitmap: Bitmap::default(),
            base: 0,
            latest_ns: 0,
            departures: Departures::default(),
            last_received: None,
            reordering: Reordering::default(),
            cohorts: Vec::new(),
            closed_end: 0,
            open_cohort: 0,
            segments: Vec::new(),
            newest_segment: 0,
            declared: 0,
            unassigned: 0,
            closed: false,
            cut: false,
            inconsistent: false,
        }
    }

    /// Takes in a packet: its sequence number, its send time if it carries one,
    /// the time of arrival and its cohort. The two times are never compared
    /// with each other, so their clocks need not agree.
    ///
    /// Packets of closed segments are late or duplicate, and counted nowhere
    /// any more; so are numbers above [`MAX_SEQUENCE`].
    #[inline]
    pub fn arrival(&mut self, seq: u64, send_ns: Option<u64>, now_ns: u64, cohort: u8) -> Arrival {
        if self.closed || seq > MAX_SEQUENCE {
            self.inconsistent |= seq > MAX_SEQUENCE;
            return Arrival::Late;
        }
        let at_ns = send_ns.unwrap_or(now_ns);
        self.latest_ns = self.latest_ns.max(at_ns);
        self.declare_expired();
        let (arrival, extent) = self.classify(seq, at_ns, cohort);
        if usize::from(cohort) < self.open_cohort {
            return arrival;
        }
        let interval = &mut self.segment(usize::from(cohort) / 2).interval;
        match arrival {
            Arrival::New => interval.received += 1,
            Arrival::Duplicate => interval.duplicate += 1,
            Arrival::Late => interval.late += 1,
        }
        if let Some(extent) = extent {
            interval.reordered += 1;
            interval.reorder_extent_max = interval.reorder_extent_max.max(extent);
        }
        let packet = Point { seq, at_ns };
        self.cohort(cohort).arrived(packet, arrival, extent);
        arrival
    }

    /// Says when a cohort began and when it ended, in the time of its packets:
    /// that dates losses before its first and after its last arrival. To be said
    /// before it is closed.
    pub fn set_times(&mut self, cohort: u8, start_ns: u64, end_ns: u64) {
        self.cohort(cohort).times = Some((start_ns, end_ns));
    }

    /// The outages of one cohort; `None` until its segment was closed, or if
    /// nothing of it was ever sent.
    pub fn outages(&self, cohort: u8) -> Option<&OutageDetector> {
        let cohort = self.cohorts.get(usize::from(cohort))?;
        cohort.closed.then_some(&cohort.outages)
    }

    /// Mean spacing of a cohort's departures, ns; `None` below two arrivals.
    pub fn mean_spacing_ns(&self, cohort: u8) -> Option<u64> {
        self.cohorts.get(usize::from(cohort))?.mean_spacing_ns()
    }

    /// The counts of a segment since the last call for it. Losses whose segment
    /// is not known yet, between the last packet of one that arrived and the
    /// first of the next, are in none until the former is closed.
    pub fn take_interval(&mut self, segment: u8) -> IntervalCounts {
        let Some(counts) = self.segments.get_mut(usize::from(segment)) else {
            return IntervalCounts::default();
        };
        let interval = std::mem::take(&mut counts.interval);
        counts.taken.add(&interval);
        interval
    }

    /// The counts of a segment so far: the sum of its intervals, taken or not.
    /// After its close they equal the sum of its cohorts.
    pub fn segment_totals(&self, segment: u8) -> IntervalCounts {
        let counts = self.segments.get(usize::from(segment));
        counts.map_or_else(IntervalCounts::default, SegmentCounts::totals)
    }

    /// The cohorts settled so far, ascending.
    pub fn cohorts(&self) -> impl Iterator<Item = &CohortTotals> {
        self.cohorts.iter().filter(|c| c.closed).map(|c| &c.totals)
    }

    /// The account of one cohort; `None` until its segment was closed, or if
    /// nothing of it was ever sent.
    pub fn cohort_totals(&self, cohort: u8) -> Option<&CohortTotals> {
        let cohort = self.cohorts.get(usize::from(cohort))?;
        cohort.closed.then_some(&cohort.totals)
    }

    /// Unique packets of a cohort received in time so far.
    pub fn received(&self, cohort: u8) -> u64 {
        let cohort = self.cohorts.get(usize::from(cohort));
        cohort.map_or(0, |cohort| cohort.totals.received)
    }

    /// Whether losses were declared before their time, because rate x linger
    /// exceeds a bitmap of 1 MiB.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// Whether the sender contradicted itself: packets outside their cohort's
    /// span, more received than sent, or final counts that do not fit together.
    pub fn is_inconsistent(&self) -> bool {
        self.inconsistent
    }

    /// Marks the packet in the bitmap; with its extent if it is reordered.
    fn classify(&mut self, seq: u64, at_ns: u64, cohort: u8) -> (Arrival, Option<u64>) {
        let known = self.bitmap.span();
        let of_closed_segment = usize::from(cohort) < self.open_cohort;
        if seq >= known.end {
            if of_closed_segment {
                // Beyond the end that its own segment's final count named.
                self.inconsistent = true;
                return (Arrival::Late, None);
            }
            self.push_top(seq, at_ns, cohort);
            return (Arrival::New, None);
        }
        if seq < known.start {
            // Too old to tell; without any loss it can only be a copy.
            let arrival = match self.declared {
                0 => Arrival::Duplicate,
                _ => Arrival::Late,
            };
            return (arrival, None);
        }
        if self.bitmap.is_set(seq) {
            return (Arrival::Duplicate, None);
        }
        if seq >= self.base && at_ns.saturating_add(self.linger_ns) <= self.latest_ns {
            // Its loss is due, if not declared yet: that of all before it too.
            self.declare_below(seq + 1);
        }
        if seq >= self.base && of_closed_segment {
            self.inconsistent = true;
            return (Arrival::Late, None);
        }
        self.bitmap.set(seq);
        if seq < self.base {
            return (Arrival::Late, None);
        }
        self.departures.reordered(seq, at_ns);
        (Arrival::New, Some(self.reordering.reordered(seq)))
    }

    /// Takes in a packet beyond all before it.
    fn push_top(&mut self, seq: u64, at_ns: u64, cohort: u8) {
        self.newest_segment = usize::from(cohort) / 2;
        let old_top = self.bitmap.span().end;
        let top = seq + 1;
        if top - self.base > MAX_BITS {
            self.cut = true;
            self.declare_below(top - MAX_BITS);
        }
        self.bitmap.reserve(top - self.base);
        self.bitmap.extend_to(top);
        self.bitmap.set(seq);
        self.reordering.in_order(seq, seq > old_top);
        let step_ns = (self.linger_ns / CHECKPOINTS_PER_LINGER).max(1);
        let skipped = seq.saturating_sub(old_top);
        self.departures.push(seq, at_ns, skipped, step_ns);
    }

    /// Declares what was sent `linger` before the latest packet.
    fn declare_expired(&mut self) {
        while let Some(oldest) = self.departures.expired(self.linger_ns, self.latest_ns) {
            self.declare_below(oldest.seq + 1);
            self.departures.take();
        }
    }

    /// Decides all numbers below `end`: what has not arrived is lost.
    fn declare_below(&mut self, end: u64) {
        let top = self.bitmap.span().end;
        let mut at = self.base;
        while let Some((received, count)) = self.bitmap.first_run(at..end.min(top)) {
            if received {
                self.end_burst(at);
                self.last_received = Some(at + count - 1);
            } else {
                self.declare(count);
            }
            at += count;
        }
        if end > top {
            // Of these nothing has been seen: closing tells whose they are.
            self.declared += end - top;
            self.bitmap.extend_to(end);
        }
        self.base = self.base.max(end);
        self.reordering.settle(self.base);
    }

    /// Counts losses just above the last decided number that was received: in
    /// their segment at once, if no other can be between that number and the top.
    fn declare(&mut self, count: u64) {
        self.declared += count;
        self.unassigned += count;
        self.assign(self.newest_segment);
    }

    /// A received packet ends the run of lost ones before it, if there is one.
    /// Runs at a cohort's borders are counted when it is closed, and so are
    /// losses at the borders of segments.
    fn end_burst(&mut self, received: u64) {
        let first_lost = self.last_received.map_or(0, |last| last + 1);
        if first_lost == received {
            return;
        }
        let before = self.last_received.and_then(|last| self.cohort_at(last));
        let after = self.cohort_at(received);
        if before == after
            && let Some(cohort) = before.and_then(|index| self.cohorts.get_mut(index))
        {
            let border = |seq| Border {
                seq,
                at_ns: self.departures.at(seq),
            };
            cohort.burst(border(first_lost), border(received));
        }
        self.assign(after.unwrap_or(0) / 2);
        self.unassigned = 0;
    }

    /// Gives the current run of losses to `segment`, if no older one can own it.
    fn assign(&mut self, segment: usize) {
        let before = self.last_received.and_then(|last| self.cohort_at(last));
        let oldest = before.map_or(self.open_cohort, |cohort| cohort.max(self.open_cohort)) / 2;
        if oldest == segment {
            let lost = std::mem::take(&mut self.unassigned);
            self.segment(segment).interval.lost += lost;
        }
    }

    /// The cohort of a decided number that was received. Where cohorts begin is
    /// final for such numbers.
    fn cohort_at(&self, seq: u64) -> Option<usize> {
        let begun = |c: &Cohort| c.seen.is_some_and(|(first, _)| first.seq <= seq);
        self.cohorts.iter().rposition(begun)
    }

    #[inline]
    fn cohort(&mut self, number: u8) -> &mut Cohort {
        let index = usize::from(number);
        if index >= self.cohorts.len() {
            // There are two for a segment, and each is large: no room for more.
            self.cohorts.reserve_exact(index + 1 - self.cohorts.len());
            self.cohorts.resize_with(index + 1, Cohort::default);
        }
        &mut self.cohorts[index]
    }

    #[inline]
    fn segment(&mut self, index: usize) -> &mut SegmentCounts {
        if index >= self.segments.len() {
            self.segments.reserve_exact(index + 1 - self.segments.len());
            self.segments.resize_with(index + 1, SegmentCounts::default);
        }
        &mut self.segments[index]
    }
}
