//! The account of a sending stream in one segment, UDP or TCP.
//!
//! A row holds what was handled in it, so that `offered = tx + behind + blocked +
//! refused` in every row; the measured window holds the packets that were *due* in
//! it, whenever they were handled.

use weir_common::assignment::{Segment, Transport};
use weir_common::record::{Counters, DelayColumns, MoreColumns, TcpColumns};
use weir_common::stats::Histogram;

use super::flow::Row;
use super::host::HostSample;
use super::interval::{Grid, Span};

/// What became of one or more packets (UDP), or of bytes (TCP, with `packets` 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Reached IP, or was written.
    Sent,
    /// Reached IP, and the host's own queue dropped it.
    Egress,
    /// Given up: the CPU was late.
    Behind,
    /// Given up: the socket's buffer was full.
    Blocked,
    /// The host would not send it.
    Refused,
    /// TCP: asked for by the schedule; what is written counts as `Sent`.
    Offered,
}

/// See the module. Instants are ns from T0.
#[derive(Debug)]
pub(crate) struct SendMeter {
    transport: Transport,
    grid: Grid,
    segment: Segment,
    row: Building,
    window: Tally,
    first_packet_ns: Option<u64>,
    /// The receiver sends packets back.
    echo: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    offered: Amount,
    sent: Amount,
    behind: u64,
    blocked: u64,
    refused: u64,
    egress: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Amount {
    packets: u64,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Building {
    tally: Tally,
    lateness: Histogram,
    blocked_ns: u64,
    control_packets: u64,
    rtt: Histogram,
    replies: u64,
}

/// What is read at the end of a row.
#[derive(Debug, Default)]
pub(crate) struct RowEnd {
    pub(crate) host: HostSample,
    pub(crate) sndbuf_bytes: Option<u64>,
    pub(crate) tcp: Option<TcpColumns>,
    /// Smoothed round-trip time, ns.
    pub(crate) rtt_ns: Option<u64>,
}

impl SendMeter {
    pub(crate) fn new(transport: Transport, segment: Segment, interval_ns: u64) -> Self {
        Self {
            transport,
            grid: Grid::new(segment, interval_ns),
            segment,
            row: Building::default(),
            window: Tally::default(),
            first_packet_ns: None,
            echo: false,
        }
    }

    /// Rows tell how many replies came back.
    pub(crate) fn expect_replies(&mut self) {
        self.echo = true;
    }

    /// A reply came back after so long.
    pub(crate) fn reply(&mut self, rtt_ns: u64) {
        self.row.rtt.record(rtt_ns);
        self.row.replies += 1;
    }

    /// End of the current row.
    pub(crate) fn next_cut_ns(&self) -> u64 {
        self.grid.row_end_ns()
    }

    /// Whether the current row is the segment's last, to be ended by
    /// [`finish`](Self::finish) only.
    pub(crate) fn is_last_row(&self) -> bool {
        self.grid.is_last()
    }

    /// Where the measured window begins.
    pub(crate) fn window_start_ns(&self) -> u64 {
        self.segment.start_ns + self.segment.warmup_ns
    }

    /// Whether what is due at `due_ns` belongs to the measured window.
    #[inline]
    pub(crate) fn is_measured(&self, due_ns: u64) -> bool {
        due_ns >= self.window_start_ns()
    }

    /// Counts packets and their bytes.
    #[inline]
    pub(crate) fn count(&mut self, fate: Fate, packets: u64, bytes: u64, measured: bool) {
        self.row.tally.count(self.transport, fate, packets, bytes);
        if measured {
            self.window.count(self.transport, fate, packets, bytes);
        }
    }

    /// A departure at `now_ns` that was due at `due_ns`.
    #[inline]
    pub(crate) fn departed(&mut self, due_ns: u64, now_ns: u64) {
        self.late_by(now_ns.saturating_sub(due_ns));
        self.sent_first(now_ns);
    }

    /// Something was attempted so long after it was due.
    #[inline]
    pub(crate) fn late_by(&mut self, ns: u64) {
        self.row.lateness.record(ns);
    }

    /// Something was sent at `now_ns`.
    #[inline]
    pub(crate) fn sent_first(&mut self, now_ns: u64) {
        if self.first_packet_ns.is_none() {
            self.first_packet_ns = Some(now_ns.saturating_sub(self.segment.start_ns));
        }
    }

    /// Time spent waiting for room in the socket.
    pub(crate) fn held_back(&mut self, ns: u64) {
        self.row.blocked_ns += ns;
    }

    /// Packets of the pre-flow exchange: part of the current row.
    pub(crate) fn control(&mut self, packets: u64) {
        self.row.control_packets += packets;
    }

    /// First departure from the segment's start, ns.
    pub(crate) fn first_packet_ns(&self) -> Option<u64> {
        self.first_packet_ns
    }

    /// Ends the current row as planned.
    pub(crate) fn cut(&mut self, end: RowEnd) -> Row {
        let span = self.grid.advance();
        self.build(span, end)
    }

    /// Ends the last row, at `now_ns` if the segment's time is not over.
    pub(crate) fn finish(&mut self, now_ns: u64, end: RowEnd) -> Row {
        let span = self.grid.cut_short(now_ns);
        self.build(span, end)
    }

    /// Counters of the measured window.
    pub(crate) fn window(&self) -> Counters {
        self.window.counters(self.transport)
    }

    fn build(&mut self, span: Span, end: RowEnd) -> Row {
        let row = std::mem::take(&mut self.row);
        let mut rtt = row.rtt;
        if let Some(rtt_ns) = end.rtt_ns {
            rtt.record(rtt_ns);
        }
        let delay = (!rtt.is_empty()).then(|| DelayColumns {
            rtt: Some(rtt),
            ..DelayColumns::default()
        });
        let more = MoreColumns {
            lateness: (!row.lateness.is_empty()).then_some(row.lateness),
            blocked_us: Some(row.blocked_ns / 1000),
            control_packets: (row.control_packets > 0).then_some(row.control_packets),
            sndbuf_bytes: end.sndbuf_bytes,
            echo_packets: self.echo.then_some(row.replies),
            cpu_us: Some(end.host.cpu_ns / 1000),
            runq_wait_us: end.host.runq_wait_ns.map(|ns| ns / 1000),
            ..MoreColumns::default()
        };
        let counters = row.tally.counters(self.transport);
        Row {
            span,
            counters,
            delay,
            tcp: end.tcp,
            more: Some(more),
        }
    }
}

impl Tally {
    #[inline]
    fn count(&mut self, transport: Transport, fate: Fate, packets: u64, bytes: u64) {
        if transport == Transport::Udp || fate == Fate::Offered {
            self.offered.packets += packets;
            self.offered.bytes += bytes;
        }
        match fate {
            Fate::Sent | Fate::Egress => {
                self.sent.packets += packets;
                self.sent.bytes += bytes;
                self.egress += if fate == Fate::Egress { packets } else { 0 };
            }
            Fate::Behind => self.behind += packets,
            Fate::Blocked => self.blocked += packets,
            Fate::Refused => self.refused += packets,
            Fate::Offered => {}
        }
    }

    fn counters(&self, transport: Transport) -> Counters {
        let udp = |count: u64| (transport == Transport::Udp).then_some(count);
        Counters {
            offered_packets: udp(self.offered.packets),
            offered_bytes: Some(self.offered.bytes),
            tx_packets: udp(self.sent.packets),
            tx_bytes: Some(self.sent.bytes),
            behind_packets: udp(self.behind),
            blocked_packets: udp(self.blocked),
            refused_packets: udp(self.refused),
            egress_packets: udp(self.egress),
            ..Counters::default()
        }
    }
}
