//! A segment of a receiving stream: its rows, and what of it is measured.

use std::collections::VecDeque;

use weir_common::record::{Counters, FlowOutage, Outages, add_counts};
use weir_common::stats::{CohortSpan, CohortTotals, FinalCount, JitterWindow, LossWindow};

use super::row::{Asked, Building};
use super::{Output, SenderClock};
use crate::meter::flow::StreamClosed;
use crate::meter::interval::{Grid, Span};

/// A segment between its start and its close.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) index: usize,
    pub(super) grid: Grid,
    pub(super) row: Building,
    pub(super) held: VecDeque<(Span, Building)>,
    /// Its time is over: the last row is only waiting for late packets.
    pub(super) over: bool,
    pub(super) first_packet_ns: Option<u64>,
    /// Of warm-up and measured window.
    pub(super) cohorts: [OpenCohort; 2],
    measured: Measured,
    asked: Asked,
}

/// What a loss window does not count of a cohort.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct OpenCohort {
    pub(super) bytes: u64,
    pub(super) top: Option<u64>,
    pub(super) corrupt_packets: u64,
    pub(super) echo_packets: u64,
}

/// What the measured window takes from rows.
#[derive(Debug, Default)]
struct Measured {
    jitter: JitterWindow,
    socket_drops: Option<u64>,
    rx_of_tx: u64,
}

impl Open {
    pub(super) fn new(index: usize, grid: Grid, asked: Asked) -> Self {
        Self {
            index,
            grid,
            row: Building::default(),
            held: VecDeque::new(),
            over: false,
            first_packet_ns: None,
            cohorts: Default::default(),
            measured: Measured::default(),
            asked,
        }
    }

    /// Counts an arrival for the row in which it was sent. What was sent in a row
    /// that has gone out is counted in none.
    pub(super) fn count_by_sending(&mut self, sent_ns: u64) {
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

    pub(super) fn cut(&mut self) {
        let span = self.grid.advance();
        let row = std::mem::take(&mut self.row);
        self.hold(span, row);
    }

    /// Ends the last row, at `now_ns` if the segment's time is not over.
    pub(super) fn finish_row(&mut self, now_ns: u64) {
        let span = self.grid.cut_short(now_ns);
        let row = std::mem::take(&mut self.row);
        self.hold(span, row);
    }

    fn hold(&mut self, mut span: Span, row: Building) {
        span.flags.insert(row.flags);
        if span.is_measured() {
            self.measured.jitter.merge(&row.jitter);
            let drops = &mut self.measured.socket_drops;
            *drops = add_counts(*drops, row.socket_drops);
        }
        // One is held at a time mostly, and it is large: no room for more.
        self.held.reserve_exact(1);
        self.held.push_back((span, row));
    }

    pub(super) fn give_out(&mut self, clock: SenderClock, output: &mut Vec<Output>) {
        if let Some((span, row)) = self.held.pop_front() {
            if span.is_measured() {
                self.measured.rx_of_tx += row.rx_of_tx;
            }
            let row = row.into_row(span, clock, self.asked);
            output.push(Output::Row(self.index, Box::new(row)));
        }
    }

    /// The final count as far as arrivals tell it, for a flow without one.
    pub(super) fn guess(&self, mut first_seq: u64) -> FinalCount {
        let mut cohorts = Vec::new();
        for (measured, cohort) in self.cohorts.iter().enumerate() {
            let Some(end) = cohort.top.map(|top| top + 1).filter(|end| *end > first_seq) else {
                continue;
            };
            cohorts.push(CohortSpan {
                cohort: self.number(measured),
                first_seq,
                packets: end - first_seq,
                bytes: cohort.bytes,
            });
            first_seq = end;
        }
        FinalCount { cohorts }
    }

    /// The cohort number of the warm-up (0) or the measured window (1).
    pub(super) fn number(&self, measured: usize) -> u8 {
        (self.index as u8) << 1 | measured as u8
    }

    /// Fills in what became of the measured cohort; `origin_ns` is T0 on the
    /// clock of its packets.
    pub(super) fn fill(
        &self,
        closed: &mut StreamClosed,
        window: &LossWindow,
        clock: SenderClock,
        origin_ns: u64,
    ) {
        let number = self.number(1);
        let measured = window.cohort_totals(number).copied().unwrap_or_default();
        let CohortTotals {
            bursts, distances, ..
        } = measured;
        let cohort = &self.cohorts[1];
        closed.window = Counters {
            rx_packets: Some(measured.received),
            rx_bytes: Some(cohort.bytes),
            lost_packets: Some(measured.lost),
            late: Some(measured.late),
            duplicate: Some(measured.duplicate),
            reordered: Some(measured.reordered),
            socket_drops: self.measured.socket_drops,
            rx_of_tx_packets: clock.is_comparable().then_some(self.measured.rx_of_tx),
            ..Counters::default()
        };
        closed.jitter = self.measured.jitter;
        closed.reorder_extent_max = Some(measured.reorder_extent_max);
        closed.lost_head = Some(measured.head);
        closed.lost_tail = Some(measured.tail);
        closed.bursts = Some((bursts, distances));
        closed.outages = Some(outages(window, number, origin_ns));
        closed.corrupt_packets = self.asked.verify.then_some(cohort.corrupt_packets);
        closed.echo_packets = self.asked.echo.then_some(cohort.echo_packets);
        closed.first_packet_ns = self.first_packet_ns;
    }
}

/// A cohort's outages, from T0.
fn outages(window: &LossWindow, cohort: u8, origin_ns: u64) -> Outages {
    let resolution_ns = window.mean_spacing_ns(cohort);
    let Some(found) = window.outages(cohort) else {
        return Outages {
            resolution_ns,
            ..Outages::default()
        };
    };
    let kept = found.kept().into_iter().map(|outage| FlowOutage {
        stream: 0,
        from_ns: outage.from_ns.saturating_sub(origin_ns),
        length_ns: outage.length_ns(),
        ended: outage.ended,
        first_seq: outage.first_seq,
        last_seq: outage.last_seq,
        lost_packets: (outage.lost > 0).then_some(outage.lost),
    });
    Outages {
        count: found.count(),
        sum_ns: found.sum_ns(),
        resolution_ns,
        kept: kept.collect(),
    }
}
