//! The account of one receiving UDP stream over all segments of its session.
//!
//! Rows are by time of arrival; the measured window is by cohort, that is by time
//! of sending. Metrics: received, lost, late, duplicate, reordered (from
//! [`LossWindow`]), bursts, outages, `rx_of_tx`, one-way delay, RFC 3550 jitter, TTL,
//! DSCP, CE, corrupt packets, echoes sent.
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

mod clock;
mod row;
mod segment;

use std::collections::VecDeque;

use weir_common::assignment::Segment;
use weir_common::record::{Ending, Flags, PeerTotals};
use weir_common::stats::{Arrival, CohortSpan, FinalCount, Jitter, LossWindow};
use weir_wire::link::SegmentFinal;

pub(crate) use self::clock::SenderClock;
pub(crate) use self::row::Asked;
use self::segment::Open;
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
    /// TOS or traffic class.
    pub(crate) tos: Option<u8>,
}

/// What stays the same for the whole session.
#[derive(Debug, Clone)]
pub(crate) struct DatagramSetup {
    pub(crate) segments: Vec<Segment>,
    pub(crate) interval_ns: u64,
    pub(crate) linger_ns: u64,
    /// T0 on the host's monotonic clock, ns.
    pub(crate) t0_ns: u64,
    /// How the clock that the packets are stamped by stands to this end's.
    pub(crate) clock: SenderClock,
    pub(crate) asked: Asked,
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
    /// TTL of the newest packet that counted.
    ttl: Option<u8>,
    next_cut_ns: u64,
    /// All sequence numbers below it belong to closed segments.
    closed_end: u64,
    /// Counted before the first segment was open.
    control_packets: u64,
    output: Vec<Output>,
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
            ttl: None,
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
            newest.row.enter_host(sample, drops, rcvbuf);
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

    /// A packet came whose payload is not the one that was sent: it counts as not
    /// received, and is told apart.
    pub(crate) fn corrupt(&mut self, cohort: u8) {
        let segment = usize::from(cohort >> 1);
        if let Some(open) = self.open.iter_mut().find(|open| open.index == segment) {
            open.row.corrupt_packets += 1;
            open.cohorts[usize::from(cohort & 1)].corrupt_packets += 1;
        }
    }

    /// A packet was sent back.
    pub(crate) fn echoed(&mut self, cohort: u8) {
        let segment = usize::from(cohort >> 1);
        if let Some(open) = self.open.iter_mut().find(|open| open.index == segment) {
            open.row.echo_packets += 1;
            open.cohorts[usize::from(cohort & 1)].echo_packets += 1;
        }
    }

    /// Takes in a data packet; whether it counts as received.
    pub(crate) fn arrival(&mut self, packet: &Packet) -> bool {
        let segment = usize::from(packet.cohort >> 1);
        if segment >= self.setup.segments.len() {
            return false; // no flow of ours, though the tag is
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
            return false; // closed: the packet was declared lost, or is a copy
        };
        if packet.at_ns >= setup.segments[segment].end_ns() {
            open.row.flags.insert(Flags::LATE_REPORT);
        }
        if verdict != Arrival::New {
            return false;
        }
        open.row.bytes += packet.bytes;
        let cohort = &mut open.cohorts[usize::from(packet.cohort & 1)];
        cohort.bytes += packet.bytes;
        cohort.top = cohort.top.max(Some(packet.sequence));
        if open.first_packet_ns.is_none() {
            let start_ns = setup.segments[segment].start_ns;
            open.first_packet_ns = Some(packet.at_ns.saturating_sub(start_ns));
        }
        // What of the warm-up comes late is in no figure of the measured window.
        let figures = packet.cohort & 1 == 1 || open.grid.is_in_warmup();
        if figures {
            open.row.marks.enter(packet.ttl, packet.tos, self.ttl);
        }
        self.ttl = packet.ttl.or(self.ttl);
        if let Some(send_ns) = packet.send_ns {
            self.jitter.record(send_ns, packet.arrival_ns);
            let delay_ns = self.setup.clock.delay_ns(send_ns, packet.arrival_ns);
            if figures {
                let bound_ns = self.setup.clock.bound_ns(packet.arrival_ns);
                open.row.enter_delay(delay_ns, bound_ns);
            }
            if self.setup.clock.is_comparable() {
                let waits_ns = self.setup.linger_ns.saturating_add(delay_ns);
                self.hold_ns = self.hold_ns.max(waits_ns);
                let sent_ns = packet.at_ns.saturating_sub(delay_ns);
                open.count_by_sending(sent_ns);
                self.latest_sent_ns = self.latest_sent_ns.max(sent_ns);
                if self.latest_sent_ns >= self.release_ns {
                    self.release(packet.at_ns);
                }
            }
        }
        true
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
        let (latest_ns, clock) = (self.latest_sent_ns, self.setup.clock);
        let hold_ns = self.hold_ns;
        let due = |span: &Span| {
            !clock.is_comparable()
                || latest_ns >= span.end_ns().saturating_add(REORDER_SLACK_NS)
                || now_ns >= span.end_ns().saturating_add(hold_ns)
        };
        for open in &mut self.open {
            while open.held.front().is_some_and(|(span, _)| due(span)) {
                open.give_out(clock, &mut self.output);
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
        let ended_ns = last
            .map_or(now_ns, |last| last.ended_ns)
            .min(segment.end_ns());
        let window_start_ns = segment.start_ns + segment.warmup_ns;
        // Packets without a stamp count by their arrival.
        let clock = self.setup.clock;
        let origin_ns = clock.sender_ns(self.setup.t0_ns);
        self.window.set_times(
            open.number(1),
            origin_ns.saturating_add(window_start_ns),
            origin_ns.saturating_add(ended_ns),
        );
        if open.index + 1 == self.setup.segments.len() {
            self.window.close(Some(&count));
        } else {
            self.window.close_segment(&count);
        }
        open.row
            .counts
            .add(&self.window.take_interval(open.index as u8));
        if !open.over {
            open.row.jitter.merge(&self.jitter.take_window());
        }
        open.finish_row(now_ns);
        while !open.held.is_empty() {
            open.give_out(clock, &mut self.output);
        }
        let mut closed = StreamClosed::new(
            ending,
            window_start_ns,
            ended_ns.saturating_sub(window_start_ns),
        );
        open.fill(&mut closed, &self.window, clock, origin_ns);
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
            let mut open = Open::new(self.next, grid, self.setup.asked);
            open.row.control_packets = std::mem::take(&mut self.control_packets);
            self.open.reserve_exact(1);
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
