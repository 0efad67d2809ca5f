//! One flow at one end: rows of its streams in, rows and the manifest out.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weir_common::id::{FlowId, RunId};
use weir_common::record::{
    Counters, DataPath, DelayColumns, DscpSet, End, Ending, Flags, FlowClosed, MoreColumns,
    Outages, PeerTotals, Record, Source, TcpColumns, Window, add_counts,
};
use weir_common::stats::{Histogram, JitterWindow, Lengths};

use super::interval::Span;
use crate::cpus::CpuList;
use crate::engine::{Event, Sink};

/// What one stream saw in one row.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) span: Span,
    pub(crate) counters: Counters,
    pub(crate) delay: Option<DelayColumns>,
    pub(crate) tcp: Option<TcpColumns>,
    pub(crate) more: Option<MoreColumns>,
}

/// How one stream ended, with what its rows do not tell.
#[derive(Debug, Clone)]
pub(crate) struct StreamClosed {
    pub(crate) ending: Ending,
    /// Start of the measured window from T0, ns.
    pub(crate) window_start_ns: u64,
    /// Its length, ns.
    pub(crate) window_length_ns: u64,
    /// Counters of the measured window.
    pub(crate) window: Counters,
    pub(crate) jitter: JitterWindow,
    pub(crate) reorder_extent_max: Option<u64>,
    pub(crate) lost_head: Option<u64>,
    pub(crate) lost_tail: Option<u64>,
    /// Lengths of bursts, and the distances between them.
    pub(crate) bursts: Option<(Lengths, Lengths)>,
    pub(crate) outages: Option<Outages>,
    pub(crate) corrupt_packets: Option<u64>,
    pub(crate) echo_packets: Option<u64>,
    pub(crate) frozen_ns: u64,
    /// Largest step of the wall clock, where its stamps are used.
    pub(crate) clock_step_ns: Option<u64>,
    pub(crate) drained_bytes: Option<u64>,
    pub(crate) unread_bytes: Option<u64>,
    /// Bytes read that are not those written (with `verify`).
    pub(crate) corrupt_bytes: Option<u64>,
    /// TCP segments that arrived in the window.
    pub(crate) segs_in: Option<u64>,
    pub(crate) control_packets: Option<u64>,
    pub(crate) first_packet_ns: Option<u64>,
    pub(crate) path: DataPath,
    pub(crate) warnings: Vec<&'static str>,
    /// What the generator said it sent (at the receiver).
    pub(crate) peer: Option<PeerTotals>,
}

impl StreamClosed {
    /// A stream of which nothing is known but how it ended.
    pub(crate) fn new(ending: Ending, window_start_ns: u64, window_length_ns: u64) -> Self {
        Self {
            ending,
            window_start_ns,
            window_length_ns,
            window: Counters::default(),
            jitter: JitterWindow::default(),
            reorder_extent_max: None,
            lost_head: None,
            lost_tail: None,
            bursts: None,
            outages: None,
            corrupt_packets: None,
            echo_packets: None,
            frozen_ns: 0,
            clock_step_ns: None,
            drained_bytes: None,
            unread_bytes: None,
            corrupt_bytes: None,
            segs_in: None,
            control_packets: None,
            first_packet_ns: None,
            path: DataPath::default(),
            warnings: Vec::new(),
            peer: None,
        }
    }
}

/// Which flow, at which end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FlowKey {
    pub(crate) run: RunId,
    pub(crate) flow: FlowId,
    pub(crate) end: End,
}

/// Collects one flow at one end.
///
/// Contract: each stream gives its rows in rising `k` without holes, then closes
/// once. Rows go out at once: a stream's own (with several streams), and the sum
/// row of a `k` as soon as every stream gave it or closed before it. Events of a
/// flow leave in order whichever thread brings them.
pub(crate) struct FlowMeter {
    key: FlowKey,
    sink: Arc<dyn Sink>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Rows each stream gave so far, and whether it closed.
    streams: Vec<Stream>,
    /// Sum rows not yet complete; the first has `k = next_sum`.
    pending: VecDeque<Row>,
    next_sum: u32,
    rows: u32,
    total: Counters,
    window: Window,
    ended: Vec<StreamClosed>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Stream {
    next_k: u32,
    closed: bool,
}

impl FlowMeter {
    /// A flow of `streams` streams.
    pub(crate) fn new(key: FlowKey, streams: usize, sink: Arc<dyn Sink>) -> Self {
        let state = State {
            streams: vec![Stream::default(); streams],
            pending: VecDeque::new(),
            next_sum: 0,
            rows: 0,
            total: Counters::default(),
            window: Window::default(),
            ended: Vec::new(),
        };
        Self {
            key,
            sink,
            state: Mutex::new(state),
        }
    }

    /// Which flow.
    pub(crate) fn key(&self) -> FlowKey {
        self.key
    }

    /// Takes in the next row of a stream.
    pub(crate) fn row(&self, stream: u16, row: Row) {
        let mut state = self.lock();
        let k = row.span.k;
        state.streams[usize::from(stream)].next_k = k + 1;
        if row.span.is_measured() {
            state.measure(&row);
        }
        if state.streams.len() == 1 {
            // Its row is the sum: nothing waits.
            state.next_sum = k + 1;
            state.rows += 1;
            state.total.add(&row.counters);
            self.emit(None, row);
            return;
        }
        state.rows += 1;
        self.emit(Some(stream), row.clone());
        let at = (k - state.next_sum) as usize;
        match state.pending.get_mut(at) {
            Some(sum) => sum.add(row),
            None => state.pending.push_back(row),
        }
        self.release(&mut state);
    }

    /// A stream gives no more rows. The manifest, when it was the last one; `link`
    /// and `peer` of it are the caller's to complete.
    pub(crate) fn close_stream(&self, stream: u16, mut closed: StreamClosed) -> Option<FlowClosed> {
        let outages = closed.outages.iter_mut();
        for outage in outages.flat_map(|outages| &mut outages.kept) {
            outage.stream = stream;
        }
        let mut state = self.lock();
        state.streams[usize::from(stream)].closed = true;
        state.ended.push(closed);
        self.release(&mut state);
        let all = state.streams.iter().all(|stream| stream.closed);
        all.then(|| self.manifest(&mut state))
    }

    /// The streams that have not closed.
    pub(crate) fn unclosed(&self) -> Vec<u16> {
        let state = self.lock();
        let streams = state.streams.iter().zip(0..);
        let open = streams.filter(|(stream, _)| !stream.closed);
        open.map(|(_, number)| number).collect()
    }

    /// Sends a manifest, after everything else of the flow.
    pub(crate) fn emit_closed(&self, closed: FlowClosed) {
        let _order = self.lock();
        self.sink
            .event(self.key.run, Event::Closed(Box::new(closed)));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves counters that are still worth reporting.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the sum rows that are complete.
    fn release(&self, state: &mut State) {
        while !state.pending.is_empty()
            && state
                .streams
                .iter()
                .all(|stream| stream.closed || stream.next_k > state.next_sum)
        {
            let sum = state.pending.pop_front().expect("checked not to be empty");
            state.next_sum += 1;
            state.rows += 1;
            state.total.add(&sum.counters);
            self.emit(None, sum);
        }
    }

    fn emit(&self, stream: Option<u16>, row: Row) {
        let record = Record {
            run: self.key.run,
            flow: self.key.flow,
            stream,
            end: self.key.end,
            k: row.span.k,
            source: Source::Measured,
            start_ns: row.span.start_ns,
            length_ns: row.span.length_ns,
            flags: row.span.flags,
            counters: row.counters,
            delay: row.delay,
            tcp: row.tcp,
            more: row.more,
        };
        self.sink
            .event(self.key.run, Event::Record(Box::new(record)));
    }

    fn manifest(&self, state: &mut State) -> FlowClosed {
        let mut window = std::mem::take(&mut state.window);
        let mut closed = FlowClosed {
            run: self.key.run,
            flow: self.key.flow,
            end: self.key.end,
            rows: state.rows,
            ending: Ending::Completed,
            total: state.total,
            window: Window::default(),
            drained_bytes: None,
            unread_bytes: None,
            corrupt_bytes: None,
            control_packets: None,
            tuples: Vec::new(),
            first_packet_ns: None,
            path: DataPath::default(),
            link: false,
            peer: None,
            warnings: Vec::new(),
        };
        let mut jitter = JitterWindow::default();
        let mut frozen_ns = 0;
        for stream in std::mem::take(&mut state.ended) {
            closed.add_stream(&stream);
            window.add_stream(&stream);
            let last_ns = jitter.last_ns.max(stream.jitter.last_ns);
            jitter.merge(&stream.jitter);
            jitter.last_ns = last_ns;
            frozen_ns = frozen_ns.max(stream.frozen_ns);
            window.clock_step_ns = window.clock_step_ns.max(stream.clock_step_ns);
        }
        if jitter.count > 0 {
            window.jitter_ns = Some(jitter.last_ns as u64);
            window.jitter_mean_ns = jitter.mean_ns().map(|ns| ns as u64);
            window.ipdv_mean_abs_ns = jitter.ipdv_mean_abs_ns().map(|ns| ns as u64);
        }
        window.frozen_us = Some(frozen_ns / 1000);
        closed.window = window;
        closed
    }
}

impl State {
    /// Adds what the window takes from rows rather than from cohorts.
    fn measure(&mut self, row: &Row) {
        let window = &mut self.window;
        if let Some(columns) = &row.delay {
            merge_histogram(&mut window.delay, columns.delay.as_ref());
            merge_histogram(&mut window.rtt, columns.rtt.as_ref());
            window.delay_bound_ns = window.delay_bound_ns.max(columns.delay_bound_ns);
        }
        if let Some(tcp) = &row.tcp {
            window.retransmits = add_counts(window.retransmits, tcp.retransmits);
            window.retrans_bytes = add_counts(window.retrans_bytes, tcp.retrans_bytes);
            window.acked_bytes = add_counts(window.acked_bytes, tcp.acked_bytes);
            window.segs_out = add_counts(window.segs_out, tcp.segs_out);
            window.busy_us = add_counts(window.busy_us, tcp.busy_us);
            window.rwnd_limited_us = add_counts(window.rwnd_limited_us, tcp.rwnd_limited_us);
            window.sndbuf_limited_us = add_counts(window.sndbuf_limited_us, tcp.sndbuf_limited_us);
        }
        if let Some(more) = &row.more {
            merge_histogram(&mut window.lateness, more.lateness.as_ref());
            window.cpu_us = add_counts(window.cpu_us, more.cpu_us);
            window.runq_wait_us = add_counts(window.runq_wait_us, more.runq_wait_us);
            window.ce = add_counts(window.ce, more.ce);
            window.ttl_changes = add_counts(window.ttl_changes, more.ttl_changes);
            merge_dscp(&mut window.dscp_seen, more.dscp_seen);
            if let (Some(low), Some(high)) = (more.ttl_min, more.ttl_max) {
                let (low, high) = (low as u8, high as u8);
                window.ttl = Some(match window.ttl {
                    Some((least, most)) => (least.min(low), most.max(high)),
                    None => (low, high),
                });
            }
        }
    }
}

impl Row {
    /// Adds another stream's row of the same `k`. What cannot be added keeps the
    /// larger value (the least TTL, the least `min_rtt`).
    fn add(&mut self, other: Row) {
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

fn merge_dscp(into: &mut Option<DscpSet>, from: Option<DscpSet>) {
    if let Some(from) = from {
        into.get_or_insert_default().merge(from);
    }
}

fn merge_histogram(into: &mut Option<Histogram>, from: Option<&Histogram>) {
    if let Some(from) = from {
        into.get_or_insert_default().merge(from);
    }
}

/// Adds figures of two streams in a manifest.
trait AddStream {
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

impl std::fmt::Debug for FlowMeter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlowMeter")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
