//! A row of a receiving stream while it is filled.

use weir_common::record::{Counters, DelayColumns, DscpSet, Flags, MoreColumns, add_counts};
use weir_common::stats::{Histogram, IntervalCounts, JitterWindow};

use super::SenderClock;
use crate::meter::flow::Row;
use crate::meter::host::HostSample;
use crate::meter::interval::Span;

/// ECN codepoint Congestion Experienced (RFC 3168).
const CE: u8 = 0b11;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Building {
    pub(super) counts: IntervalCounts,
    pub(super) bytes: u64,
    pub(super) rx_of_tx: u64,
    pub(super) socket_drops: Option<u64>,
    pub(super) delay: Histogram,
    /// Largest bound of the clocks' error among the samples, ns.
    delay_bound_ns: Option<u64>,
    pub(super) jitter: JitterWindow,
    pub(super) marks: Marks,
    pub(super) corrupt_packets: u64,
    pub(super) echo_packets: u64,
    host: HostSample,
    sampled: bool,
    pub(super) control_packets: u64,
    rcvbuf_bytes: Option<u64>,
    pub(super) flags: Flags,
}

/// What stood in the IP headers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Marks {
    ttl: Option<(u8, u8)>,
    ttl_changes: u64,
    dscp_seen: DscpSet,
    congested: u64,
}

impl Marks {
    /// Enters a packet's TTL and TOS; `before` is the TTL of the one before.
    #[inline]
    pub(super) fn enter(&mut self, ttl: Option<u8>, tos: Option<u8>, before: Option<u8>) {
        if let Some(ttl) = ttl {
            let (low, high) = self.ttl.unwrap_or((ttl, ttl));
            self.ttl = Some((low.min(ttl), high.max(ttl)));
            self.ttl_changes += u64::from(before.is_some_and(|before| before != ttl));
        }
        if let Some(tos) = tos {
            self.dscp_seen.insert_tos(tos);
            self.congested += u64::from(tos & CE == CE);
        }
    }
}

impl Building {
    /// What the host says of a part of the row's time.
    pub(super) fn enter_host(
        &mut self,
        sample: &HostSample,
        drops: Option<u64>,
        rcvbuf: Option<u64>,
    ) {
        self.host.add(sample);
        self.sampled = true;
        self.socket_drops = add_counts(self.socket_drops, drops);
        self.rcvbuf_bytes = rcvbuf;
    }

    /// A sample of one-way delay by clocks that may differ by `bound_ns` from what
    /// is known of them; `None` = by any amount.
    #[inline]
    pub(super) fn enter_delay(&mut self, delay_ns: u64, bound_ns: Option<u64>) {
        self.delay.record(delay_ns);
        self.delay_bound_ns = self.delay_bound_ns.max(bound_ns);
    }

    pub(super) fn into_row(self, span: Span, clock: SenderClock, asked: Asked) -> Row {
        let counters = Counters {
            rx_packets: Some(self.counts.received),
            rx_bytes: Some(self.bytes),
            rx_of_tx_packets: clock.is_comparable().then_some(self.rx_of_tx),
            lost_packets: Some(self.counts.lost),
            socket_drops: self.socket_drops,
            late: Some(self.counts.late),
            duplicate: Some(self.counts.duplicate),
            reordered: Some(self.counts.reordered),
            ..Counters::default()
        };
        let delay = (!self.delay.is_empty()).then_some(DelayColumns {
            delay: Some(self.delay),
            delay_bound_ns: self.delay_bound_ns,
            rtt: None,
        });
        let marks = self.marks;
        let more = MoreColumns {
            rcvbuf_bytes: self.rcvbuf_bytes,
            control_packets: (self.control_packets > 0).then_some(self.control_packets),
            reorder_extent_max: Some(self.counts.reorder_extent_max),
            jitter_ns: (self.jitter.count > 0).then_some(self.jitter.last_ns as u64),
            ttl_min: marks.ttl.map(|(low, _)| u64::from(low)),
            ttl_max: marks.ttl.map(|(_, high)| u64::from(high)),
            ttl_changes: marks.ttl.map(|_| marks.ttl_changes),
            dscp_seen: (!marks.dscp_seen.is_empty()).then_some(marks.dscp_seen),
            ce: Some(marks.congested),
            corrupt_packets: asked.verify.then_some(self.corrupt_packets),
            echo_packets: asked.echo.then_some(self.echo_packets),
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

/// What the flow asked of its receiver beyond counting.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asked {
    /// To compare the payload.
    pub(crate) verify: bool,
    /// To send packets back.
    pub(crate) echo: bool,
}
