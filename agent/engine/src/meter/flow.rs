//! One flow at one end: rows of its streams in, rows and the manifest out.

mod merge;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weir_common::id::{FlowId, RunId};
use weir_common::record::{
    Counters, DataPath, DelayColumns, End, Ending, FlowClosed, MoreColumns, Outages, PeerTotals,
    Record, Source, TcpColumns, Window, add_counts,
};
use weir_common::stats::{JitterWindow, Lengths};

use self::merge::{AddStream as _, merge_dscp, merge_histogram};
use super::interval::Span;
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

impl std::fmt::Debug for FlowMeter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlowMeter")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
