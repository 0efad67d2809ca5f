//! Streams of a flow into one: their rows into its sum row, their ends into its manifest.

use weir_common::record::{DscpSet, Ending, Flags, FlowClosed, MoreColumns, Window, add_counts};
use weir_common::stats::Histogram;

use super::{Row, StreamClosed};
use crate::cpus::CpuList;

impl Row {
    /// Adds another stream's row of the same `k`. What cannot be added keeps the
    /// larger value (the least TTL, the least `min_rtt`).
    pub(super) fn add(&mut self, other: Row) {
        if other.span.length_ns > self.span.length_ns {
            let late = self.span.flags;
            self.span = other.span;
            keep_marks(&mut self.span.flags, late);
        } else {
            keep_marks(&mut self.span.flags, other.span.flags);
        }
        self.counters.add(&other.counters);
        if let Some(theirs) = other.delay {
            let ours = self.delay.get_or_insert_default();
            merge_histogram(&mut ours.delay, theirs.delay.as_ref());
            merge_histogram(&mut ours.rtt, theirs.rtt.as_ref());
            ours.delay_bound_ns = ours.delay_bound_ns.max(theirs.delay_bound_ns);
        }
        match (&mut self.tcp, other.tcp) {
            (Some(ours), Some(theirs)) => ours.add_stream(&theirs),
            (ours @ None, theirs) => *ours = theirs,
            (Some(_), None) => {}
        }
        match (&mut self.more, other.more) {
            (Some(ours), Some(theirs)) => add_more(ours, &theirs),
            (ours @ None, theirs) => *ours = theirs,
            (Some(_), None) => {}
        }
    }
}

/// Carries over the marks that one stream is enough to set; `WARMUP` and `SHORT`
/// belong to the row that lent its length.
fn keep_marks(flags: &mut Flags, other: Flags) {
    for mark in [Flags::ESTIMATED, Flags::LATE_REPORT, Flags::CLOCK_STEP] {
        if other.contains(mark) {
            flags.insert(mark);
        }
    }
}

fn add_more(ours: &mut MoreColumns, theirs: &MoreColumns) {
    merge_histogram(&mut ours.lateness, theirs.lateness.as_ref());
    ours.blocked_us = add_counts(ours.blocked_us, theirs.blocked_us);
    ours.control_packets = add_counts(ours.control_packets, theirs.control_packets);
    ours.sndbuf_bytes = add_counts(ours.sndbuf_bytes, theirs.sndbuf_bytes);
    ours.rcvbuf_bytes = add_counts(ours.rcvbuf_bytes, theirs.rcvbuf_bytes);
    ours.reorder_extent_max = ours.reorder_extent_max.max(theirs.reorder_extent_max);
    ours.jitter_ns = ours.jitter_ns.max(theirs.jitter_ns);
    ours.ttl_min = match (ours.ttl_min, theirs.ttl_min) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    ours.ttl_max = ours.ttl_max.max(theirs.ttl_max);
    ours.ttl_changes = add_counts(ours.ttl_changes, theirs.ttl_changes);
    merge_dscp(&mut ours.dscp_seen, theirs.dscp_seen);
    ours.ce = add_counts(ours.ce, theirs.ce);
    ours.corrupt_packets = add_counts(ours.corrupt_packets, theirs.corrupt_packets);
    ours.echo_packets = add_counts(ours.echo_packets, theirs.echo_packets);
    ours.cpu_us = add_counts(ours.cpu_us, theirs.cpu_us);
    ours.runq_wait_us = add_counts(ours.runq_wait_us, theirs.runq_wait_us);
    ours.throttled_us = ours.throttled_us.max(theirs.throttled_us);
}

pub(super) fn merge_dscp(into: &mut Option<DscpSet>, from: Option<DscpSet>) {
    if let Some(from) = from {
        into.get_or_insert_default().merge(from);
    }
}

pub(super) fn merge_histogram(into: &mut Option<Histogram>, from: Option<&Histogram>) {
    if let Some(from) = from {
        into.get_or_insert_default().merge(from);
    }
}

/// Adds figures of two streams in a manifest.
pub(super) trait AddStream {
    fn add_stream(&mut self, stream: &StreamClosed);
}

impl AddStream for Window {
    fn add_stream(&mut self, stream: &StreamClosed) {
        self.start_ns = stream.window_start_ns;
        self.length_ns = self.length_ns.max(stream.window_length_ns);
        self.counters.add(&stream.window);
        self.reorder_extent_max = self.reorder_extent_max.max(stream.reorder_extent_max);
        self.lost_head = add_counts(self.lost_head, stream.lost_head);
        self.lost_tail = add_counts(self.lost_tail, stream.lost_tail);
        self.segs_in = add_counts(self.segs_in, stream.segs_in);
        if let Some((lengths, distances)) = &stream.bursts {
            let all = self.loss_burst_lengths.get_or_insert_default();
            all.merge(lengths);
            (self.loss_bursts, self.loss_burst_max) = (Some(all.count), Some(all.max));
            self.loss_burst_distances
                .get_or_insert_default()
                .merge(distances);
        }
        if let Some(outages) = &stream.outages {
            self.outages.get_or_insert_default().merge(outages);
        }
        self.corrupt_packets = add_counts(self.corrupt_packets, stream.corrupt_packets);
        self.echo_packets = add_counts(self.echo_packets, stream.echo_packets);
    }
}

impl AddStream for FlowClosed {
    fn add_stream(&mut self, stream: &StreamClosed) {
        let severity = |ending: &Ending| match ending {
            Ending::Completed => 0,
            Ending::Stopped { .. } => 1,
            Ending::Failed { .. } => 2,
        };
        if severity(&stream.ending) > severity(&self.ending) {
            self.ending = stream.ending.clone();
        }
        self.drained_bytes = add_counts(self.drained_bytes, stream.drained_bytes);
        self.unread_bytes = add_counts(self.unread_bytes, stream.unread_bytes);
        self.corrupt_bytes = add_counts(self.corrupt_bytes, stream.corrupt_bytes);
        self.control_packets = add_counts(self.control_packets, stream.control_packets);
        self.first_packet_ns = match (self.first_packet_ns, stream.first_packet_ns) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        if self.path.call.is_empty() {
            self.path = stream.path.clone();
        } else {
            self.path.buffer_bytes = self.path.buffer_bytes.min(stream.path.buffer_bytes);
            self.path.setup_us = self.path.setup_us.max(stream.path.setup_us);
            self.path.cpus = both_lists(self.path.cpus.take(), stream.path.cpus.as_deref());
        }
        for warning in &stream.warnings {
            if !self.warnings.iter().any(|known| known == warning) {
                self.warnings.push((*warning).to_owned());
            }
        }
        if let Some(peer) = stream.peer {
            let sum = self.peer.get_or_insert_default();
            sum.packets += peer.packets;
            sum.bytes += peer.bytes;
        }
    }
}

/// The CPUs of either list.
fn both_lists(ours: Option<String>, theirs: Option<&str>) -> Option<String> {
    let (Some(ours), Some(theirs)) = (&ours, theirs) else {
        return ours.or_else(|| theirs.map(ToOwned::to_owned));
    };
    let both: CpuList = format!("{ours},{theirs}").parse().ok()?;
    Some(both.to_string())
}
