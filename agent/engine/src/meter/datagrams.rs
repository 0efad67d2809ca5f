//! The account of one receiving UDP stream over all segments of its session.
//!
//! Rows are by time of arrival; the measured window is by cohort, that is by time
//! of sending. Metrics: received, lost, late, duplicate, reordered (from
//! [`LossWindow`]), `rx_of_tx`, one-way delay, RFC 3550 jitter, TTL, CE.
//!
//! ```text
//!            start            end                end + linger
//!  segment i   |─ rows by time ─|─ last row held ───|  close
//!  segment i+1                  |─ rows ─ ...
//! ```
//!
//! 1. A row is cut at its end and given out when the packets sent in it have had
//!    their chance to arrive, so that its `rx_of_tx` is complete: when a packet sent
//!    [`REORDER_SLACK_NS`] after its end has arrived, or, in a silence, when the
//!    linger and the longest delay so far are over. Where
//!    packets carry no comparable time there is no such count, and rows go out at
//!    once.
//! 2. The last row of a segment stays open until the segment is closed; what
//!    arrives after the segment's end marks it `LATE_REPORT`.

use std::collections::VecDeque;

use weir_common::assignment::Segment;
use weir_common::record::{Counters, DelayColumns, Ending, Flags, MoreColumns, PeerTotals};
use weir_common::stats::{
    Arrival, CohortSpan, CohortTotals, FinalCount, Histogram, IntervalCounts, Jitter, JitterWindow,
    LossWindow,
};
use weir_wire::link::SegmentFinal;

use super::flow::{Row, StreamClosed};
use super::host::HostSample;
use super::interval::{Grid, Span};

/// How far a packet may fall behind later ones and still be counted in the row in
/// which it was sent.
pub(crate) const REORDER_SLACK_NS: u64 = 20_000_000;

/// One arrival.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet {
    pub(crate) sequence: u64,
    pub(crate) cohort: u8,
    /// Payload bytes.
    pub(crate) bytes: u64,
    /// Time of arrival from T0, ns.
    pub(crate) at_ns: u64,
    /// Time of arrival on the host's monotonic clock, ns.
    pub(crate) arrival_ns: u64,
    /// The sender's stamp on its own monotonic clock, ns.
    pub(crate) send_ns: Option<u64>,
    pub(crate) ttl: Option<u8>,
    pub(crate) congested: bool,
}

/// What stays the same for the whole session.
#[derive(Debug, Clone)]
pub(crate) struct DatagramSetup {
    pub(crate) segments: Vec<Segment>,
    pub(crate) interval_ns: u64,
    pub(crate) linger_ns: u64,
    /// T0 on the host's monotonic clock, ns.
    pub(crate) t0_ns: u64,
    /// Packets carry a time of the clock that this end reads: delay and `rx_of_tx`
    /// mean something.
    pub(crate) same_clock: bool,
}

/// Something to hand on.
#[derive(Debug)]
pub(crate) enum Output {
    /// The next row of a segment.
    Row(usize, Box<Row>),
    /// The end of a segment.
    Closed(usize, Box<StreamClosed>),
}

/// See the module.
///
/// Contract: before an arrival with `at_ns >= next_cut_ns()`, and whenever the
/// clock passes it, give a [`HostSample`] and call [`advance`](Self::advance).
/// Segments are closed in order with [`close_front`](Self::close_front).
#[derive(Debug)]
pub(crate) struct DatagramMeter {
    setup: DatagramSetup,
    /// The latest time of sending seen, and the one that completes a held row; from
    /// T0, ns.
    latest_sent_ns: u64,
    release_ns: u64,
    /// How long a row may be held in a silence: the linger and the longest delay.
    hold_ns: u64,
    /// First segment not opened yet.
    next: usize,
    open: VecDeque<Open>,
    window: LossWindow,
    jitter: Jitter,
    next_cut_ns: u64,
    /// All sequence numbers below it belong to closed segments.
    closed_end: u64,
    /// Counted before the first segment was open.
    control_packets: u64,
    output: Vec<Output>,
}

/// A segment between its start and its close.
#[derive(Debug)]
struct Open {
    index: usize,
    grid: Grid,
    row: Building,
    held: VecDeque<(Span, Building)>,
    /// Its time is over: the last row is only waiting for late packets.
    over: bool,
    first_packet_ns: Option<u64>,
    cohort_bytes: [u64; 2],
    cohort_top: [Option<u64>; 2],
    measured: Measured,
}

/// What the measured window takes from rows.
#[derive(Debug, Default)]
struct Measured {
    jitter: JitterWindow,
    socket_drops: Option<u64>,
    rx_of_tx: u64,
}

/// A row that is being filled.
#[derive(Debug, Default)]
struct Building {
    counts: IntervalCounts,
    bytes: u64,
    rx_of_tx: u64,
    socket_drops: Option<u64>,
    delay: Histogram,
    jitter: JitterWindow,
    ttl: Option<(u8, u8)>,
    congested: u64,
    host: HostSample,
    sampled: bool,
    control_packets: u64,
    rcvbuf_bytes: Option<u64>,
    flags: Flags,
}

impl DatagramMeter {
    pub(crate) fn new(setup: DatagramSetup) -> Self {
        let mut meter = Self {
            window: LossWindow::new(setup.linger_ns),
            latest_sent_ns: 0,
            release_ns: u64::MAX,
            hold_ns: setup.linger_ns,
            setup,
            next: 0,
            open: VecDeque::new(),
            jitter: Jitter::new(),
            next_cut_ns: 0,
            closed_end: 0,
            control_packets: 0,
            output: Vec::new(),
        };
        meter.next_cut_ns = meter.following_cut();
        meter
    }

    /// The next instant from T0 at which something is to be cut, opened or given out.
    pub(crate) fn next_cut_ns(&self) -> u64 {
        self.next_cut_ns
    }

    /// The segment that is open longest: the one to be closed next.
    pub(crate) fn front(&self) -> Option<usize> {
        self.open.front().map(|open| open.index)
    }

    /// Rows and ends since the last call.
    pub(crate) fn take_output(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.output)
    }

    /// What the host says of the time until now; it counts for the current row of
    /// the newest segment.
    pub(crate) fn host(&mut self, sample: &HostSample, drops: Option<u64>, rcvbuf: Option<u64>) {
        if let Some(newest) = self.open.back_mut() {
            let row = &mut newest.row;
            row.host.add(sample);
            row.sampled = true;
            row.socket_drops = weir_common::record::add_counts(row.socket_drops, drops);
            row.rcvbuf_bytes = rcvbuf;
        }
    }

    /// Packets of the pre-flow exchange: part of the first row.
    pub(crate) fn control(&mut self, packets: u64) {
        match self.open.front_mut() {
            Some(first) => first.row.control_packets += packets,
            None => self.control_packets += packets,
        }
    }

    /// Marks the current row of the newest segment.
    pub(crate) fn mark(&mut self, flags: Flags) {
        if let Some(newest) = self.open.back_mut() {
            newest.row.flags.insert(flags);
        }
    }

    /// Takes in a data packet.
    pub(crate) fn arrival(&mut self, packet: &Packet) {
        let segment = usize::from(packet.cohort >> 1);
        if segment >= self.setup.segments.len() {
            return; // no flow of ours, though the tag is
        }
        self.open_until(segment);
        let verdict = self.window.arrival(
            packet.sequence,
            packet.send_ns,
            packet.arrival_ns,
            packet.cohort,
        );
        let setup = &self.setup;
        let Some(open) = self.open.iter_mut().find(|open| open.index == segment) else {
            return; // closed: the packet was declared lost, or is a copy
        };
        if packet.at_ns >= setup.segments[segment].end_ns() {
            open.row.flags.insert(Flags::LATE_REPORT);
        }
        if verdict != Arrival::New {
            return;
        }
        open.row.bytes += packet.bytes;
        let measured = usize::from(packet.cohort & 1);
        open.cohort_bytes[measured] += packet.bytes;
        open.cohort_top[measured] = open.cohort_top[measured].max(Some(packet.sequence));
        if open.first_packet_ns.is_none() {
            let start_ns = setup.segments[segment].start_ns;
            open.first_packet_ns = Some(packet.at_ns.saturating_sub(start_ns));
        }
        if let Some(ttl) = packet.ttl {
            let (low, high) = open.row.ttl.unwrap_or((ttl, ttl));
            open.row.ttl = Some((low.min(ttl), high.max(ttl)));
        }
        open.row.congested += u64::from(packet.congested);
        if let Some(send_ns) = packet.send_ns {
            self.jitter.record(send_ns, packet.arrival_ns);
            if setup.same_clock {
                let delay_ns = packet.arrival_ns.saturating_sub(send_ns);
                open.row.delay.record(delay_ns);
                self.hold_ns = self.hold_ns.max(setup.linger_ns.saturating_add(delay_ns));
                let sent_ns = send_ns.saturating_sub(setup.t0_ns);
                open.count_by_sending(sent_ns);
                self.latest_sent_ns = self.latest_sent_ns.max(sent_ns);
                if self.latest_sent_ns >= self.release_ns {
                    self.release(packet.at_ns);
                }
            }
        }
    }

    /// Cuts, opens and gives out what is due at `now_ns` from T0.
    pub(crate) fn advance(&mut self, now_ns: u64) {
        self.settle_counts();
        for at in 0..self.open.len() {
            let open = &mut self.open[at];
            while !open.grid.is_last() && open.grid.row_end_ns() <= now_ns {
                open.row.jitter.merge(&self.jitter.take_window());
                open.cut();
            }
            if !open.over && open.grid.row_end_ns() <= now_ns {
                open.row.jitter.merge(&self.jitter.take_window());
                open.over = true;
            }
        }
        self.release(now_ns);
        while self
            .setup
            .segments
            .get(self.next)
            .is_some_and(|next| next.start_ns <= now_ns)
        {
            self.open_until(self.next);
        }
        self.next_cut_ns = self.following_cut();
    }

    /// Gives out the rows that are complete at `now_ns`.
    fn release(&mut self, now_ns: u64) {
        let (latest_ns, same_clock) = (self.latest_sent_ns, self.setup.same_clock);
        let hold_ns = self.hold_ns;
        let due = |span: &Span| {
            !same_clock
                || latest_ns >= span.end_ns().saturating_add(REORDER_SLACK_NS)
                || now_ns >= span.end_ns().saturating_add(hold_ns)
        };
        for open in &mut self.open {
            while open.held.front().is_some_and(|(span, _)| due(span)) {
                open.give_out(same_clock, &mut self.output);
            }
        }
        let held = self.open.iter().filter_map(|open| open.held.front());
        let ends = held.map(|(span, _)| span.end_ns().saturating_add(REORDER_SLACK_NS));
        self.release_ns = ends.min().unwrap_or(u64::MAX);
    }

    /// Whether every packet of the front segment has arrived, by its generator's
    /// final count.
    pub(crate) fn has_all(&self, last: &SegmentFinal) -> bool {
        let got: u64 = last
            .cohorts
            .iter()
            .map(|span| self.window.received(span.cohort))
            .sum();
        got >= last.packets()
    }

    /// Closes the front segment at `now_ns`, with its generator's final count if it
    /// is known, and gives out its last row and its end.
    pub(crate) fn close_front(&mut self, now_ns: u64, last: Option<&SegmentFinal>, ending: Ending) {
        self.advance(now_ns);
        let Some(mut open) = self.open.pop_front() else {
            return;
        };
        let segment = self.setup.segments[open.index];
        let count = last.map_or_else(|| open.guess(self.closed_end), final_count);
        let count_end = count
            .cohorts
            .last()
            .map(|span| span.first_seq.saturating_add(span.packets));
        self.closed_end = self.closed_end.max(count_end.unwrap_or(0));
        if open.index + 1 == self.setup.segments.len() {
            self.window.close(Some(&count));
        } else {
            self.window.close_segment(&count);
        }
        let number = (open.index as u8) << 1 | 1;
        let measured = self
            .window
            .cohort_totals(number)
            .copied()
            .unwrap_or_default();
        open.row
            .counts
            .add(&self.window.take_interval(open.index as u8));
        if !open.over {
            open.row.jitter.merge(&self.jitter.take_window());
        }
        let ended_ns = last
            .map_or(now_ns, |last| last.ended_ns)
            .min(segment.end_ns());
        open.finish_row(now_ns);
        while !open.held.is_empty() {
            open.give_out(self.setup.same_clock, &mut self.output);
        }
        let window_start_ns = segment.start_ns + segment.warmup_ns;
        let mut closed = StreamClosed::new(
            ending,
            window_start_ns,
            ended_ns.saturating_sub(window_start_ns),
        );
        open.fill(&mut closed, &measured, self.setup.same_clock);
        closed.peer = last.map(|last| PeerTotals {
            packets: last.packets(),
            bytes: last.bytes(),
        });
        let warnings = [
            (last.is_none(), "no-final-count"),
            (self.window.is_cut(), "loss-window-cut"),
            (self.window.is_inconsistent(), "inconsistent-counters"),
        ];
        closed.warnings.extend(
            warnings
                .iter()
                .filter(|(holds, _)| *holds)
                .map(|(_, code)| *code),
        );
        self.output
            .push(Output::Closed(open.index, Box::new(closed)));
        self.next_cut_ns = self.following_cut();
    }

    /// Gives the loss window's counts to the current rows.
    fn settle_counts(&mut self) {
        for open in &mut self.open {
            open.row
                .counts
                .add(&self.window.take_interval(open.index as u8));
        }
    }

    fn open_until(&mut self, segment: usize) {
        while self.next <= segment && self.next < self.setup.segments.len() {
            let grid = Grid::new(self.setup.segments[self.next], self.setup.interval_ns);
            let mut open = Open::new(self.next, grid);
            open.row.control_packets = std::mem::take(&mut self.control_packets);
            self.open.push_back(open);
            self.next += 1;
            self.next_cut_ns = self.following_cut();
        }
    }

    fn following_cut(&self) -> u64 {
        let cuts = self
            .open
            .iter()
            .filter(|open| !open.over)
            .map(|open| open.grid.row_end_ns());
        let held = self.open.iter().filter_map(|open| open.held.front());
        let held = held.map(|(span, _)| span.end_ns().saturating_add(self.hold_ns));
        let start = self.setup.segments.get(self.next).map(|next| next.start_ns);
        cuts.chain(held).chain(start).min().unwrap_or(u64::MAX)
    }
}

impl Open {
    fn new(index: usize, grid: Grid) -> Self {
        Self {
            index,
            grid,
            row: Building::default(),
            held: VecDeque::new(),
            over: false,
            first_packet_ns: None,
            cohort_bytes: [0; 2],
            cohort_top: [None; 2],
            measured: Measured::default(),
        }
    }

    /// Counts an arrival for the row in which it was sent. What was sent in a row
    /// that has gone out is counted in none.
    fn count_by_sending(&mut self, sent_ns: u64) {
        if sent_ns >= self.grid.row_start_ns() {
            self.row.rx_of_tx += 1;
        } else if let Some((_, row)) = self
            .held
            .iter_mut()
            .rev()
            .find(|(span, _)| sent_ns >= span.start_ns)
        {
            row.rx_of_tx += 1;
        }
    }

    fn cut(&mut self) {
        let span = self.grid.advance();
        let row = std::mem::take(&mut self.row);
        self.hold(span, row);
    }

    /// Ends the last row, at `now_ns` if the segment's time is not over.
    fn finish_row(&mut self, now_ns: u64) {
        let span = self.grid.cut_short(now_ns);
        let row = std::mem::take(&mut self.row);
        self.hold(span, row);
    }

    fn hold(&mut self, mut span: Span, row: Building) {
        span.flags.insert(row.flags);
        if span.is_measured() {
            self.measured.jitter.merge(&row.jitter);
            let drops = &mut self.measured.socket_drops;
            *drops = weir_common::record::add_counts(*drops, row.socket_drops);
        }
        self.held.push_back((span, row));
    }

    fn give_out(&mut self, same_clock: bool, output: &mut Vec<Output>) {
        if let Some((span, row)) = self.held.pop_front() {
            if span.is_measured() {
                self.measured.rx_of_tx += row.rx_of_tx;
            }
            output.push(Output::Row(
                self.index,
                Box::new(row.into_row(span, same_clock)),
            ));
        }
    }

    /// The final count as far as arrivals tell it, for a flow without one.
    fn guess(&self, mut first_seq: u64) -> FinalCount {
        let mut cohorts = Vec::new();
        for (measured, top) in self.cohort_top.iter().enumerate() {
            let Some(end) = top.map(|top| top + 1).filter(|end| *end > first_seq) else {
                continue;
            };
            cohorts.push(CohortSpan {
                cohort: (self.index as u8) << 1 | measured as u8,
                first_seq,
                packets: end - first_seq,
                bytes: self.cohort_bytes[measured],
            });
            first_seq = end;
        }
        FinalCount { cohorts }
    }

    fn fill(&self, closed: &mut StreamClosed, measured: &CohortTotals, same_clock: bool) {
        closed.window = Counters {
            rx_packets: Some(measured.received),
            rx_bytes: Some(self.cohort_bytes[1]),
            lost_packets: Some(measured.lost),
            late: Some(measured.late),
            duplicate: Some(measured.duplicate),
            reordered: Some(measured.reordered),
            socket_drops: self.measured.socket_drops,
            rx_of_tx_packets: same_clock.then_some(self.measured.rx_of_tx),
            ..Counters::default()
        };
        closed.jitter = self.measured.jitter;
        closed.reorder_extent_max = Some(measured.reorder_extent_max);
        closed.lost_head = Some(measured.head);
        closed.lost_tail = Some(measured.tail);
        closed.loss_bursts = Some(measured.bursts.count);
        closed.loss_burst_max = Some(measured.bursts.max);
        closed.first_packet_ns = self.first_packet_ns;
    }
}

impl Building {
    fn into_row(self, span: Span, same_clock: bool) -> Row {
        let counters = Counters {
            rx_packets: Some(self.counts.received),
            rx_bytes: Some(self.bytes),
            rx_of_tx_packets: same_clock.then_some(self.rx_of_tx),
            lost_packets: Some(self.counts.lost),
            socket_drops: self.socket_drops,
            late: Some(self.counts.late),
            duplicate: Some(self.counts.duplicate),
            reordered: Some(self.counts.reordered),
            ..Counters::default()
        };
        let delay = (!self.delay.is_empty()).then_some(DelayColumns {
            delay: Some(self.delay),
            delay_bound_ns: Some(0),
            rtt: None,
        });
        let more = MoreColumns {
            rcvbuf_bytes: self.rcvbuf_bytes,
            control_packets: (self.control_packets > 0).then_some(self.control_packets),
            reorder_extent_max: Some(self.counts.reorder_extent_max),
            jitter_ns: (self.jitter.count > 0).then_some(self.jitter.last_ns as u64),
            ttl_min: self.ttl.map(|(low, _)| u64::from(low)),
            ttl_max: self.ttl.map(|(_, high)| u64::from(high)),
            ce: Some(self.congested),
            cpu_us: self.sampled.then_some(self.host.cpu_ns / 1000),
            runq_wait_us: self.host.runq_wait_ns.map(|ns| ns / 1000),
            ..MoreColumns::default()
        };
        Row {
            span,
            counters,
            delay,
            tcp: None,
            more: Some(more),
        }
    }
}

/// The wire's final count in the words of the loss window.
fn final_count(last: &SegmentFinal) -> FinalCount {
    let span = |span: &weir_wire::link::CohortSpan| CohortSpan {
        cohort: span.cohort,
        first_seq: span.first_seq,
        packets: span.packets,
        bytes: span.bytes,
    };
    FinalCount {
        cohorts: last.cohorts.iter().map(span).collect(),
    }
}

#[cfg(test)]
mod tests;
