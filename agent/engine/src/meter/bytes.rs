//! The account of one receiving TCP stream over all segments of its session.
//!
//! A byte stream has no marks: which segment a byte belongs to is told by its
//! position. The generator's final count of a segment names the position P at
//! which the segment ends.
//!
//! 1. Bytes read before the segment's end (by this end's clock) are its
//!    `rx_bytes`, row by row.
//! 2. Bytes read after it, up to P, are `drained`.
//! 3. Bytes from P on belong to the next segment, by the time they were read. While
//!    P is not known they wait, and so do the rows of the next segment.
//! 4. Bytes beyond P that were read just before the segment's end (the generator's
//!    clock is ahead) are taken out of its last row, which is why that row goes out
//!    only when P is known, or will not be.
//! 5. A segment is closed when all its bytes are read, or the stream has ended, or
//!    its time is up; what is missing up to P is `unread`, and is skipped if it
//!    comes after all.
//!
//! So sent = received + drained + unread holds to the byte for every segment.
//! Without a final count (no flow link) a segment ends where the read position was
//! at its end; for the last one everything read after it is `drained`.

use std::collections::VecDeque;

use weir_common::assignment::Segment;
use weir_common::record::{Counters, Ending, MoreColumns, PeerTotals, add_counts};
use weir_wire::link::SegmentFinal;

use super::datagrams::Output;
use super::flow::{Row, StreamClosed};
use super::host::HostSample;
use super::interval::{Grid, Span};

/// Reads that wait for their segment to be known are added up over so much time.
const WAITING_STEP_NS: u64 = 1_000_000;

/// See the module. Instants are ns from T0.
///
/// Contract: as [`DatagramMeter`](super::datagrams::DatagramMeter): sample and
/// advance at [`next_cut_ns`](Self::next_cut_ns), close segments in order.
///
/// Invariant: `position` = bytes of closed segments (`base` and `skip` aside) +
/// attributed to the front segment + waiting.
#[derive(Debug)]
pub(crate) struct ByteMeter {
    segments: Vec<Segment>,
    interval_ns: u64,
    front: usize,
    open: Open,
    /// Position at which the front segment begins.
    base: u64,
    /// Bytes of a closed segment that are still to come.
    skip: u64,
    /// Position at which the front segment ends, once known.
    boundary: Option<u64>,
    waiting: VecDeque<(u64, u64)>,
    output: Vec<Output>,
}

#[derive(Debug)]
struct Open {
    grid: Grid,
    over: bool,
    bytes: u64,
    in_rows: u64,
    measured: u64,
    drained: u64,
    host: HostSample,
    rcvbuf_bytes: Option<u64>,
    first_packet_ns: Option<u64>,
    /// Segments that arrived in the current row, and in the window's rows.
    segments: Option<u64>,
    measured_segments: Option<u64>,
    /// Bytes that are not those written, if anyone looked.
    corrupt: Option<u64>,
}

impl ByteMeter {
    /// The account of a stream whose session has at least one segment.
    pub(crate) fn new(segments: Vec<Segment>, interval_ns: u64) -> Self {
        let open = Open::new(segments[0], interval_ns);
        Self {
            segments,
            interval_ns,
            front: 0,
            open,
            base: 0,
            skip: 0,
            boundary: None,
            waiting: VecDeque::new(),
            output: Vec::new(),
        }
    }

    /// When the current row is to be cut.
    pub(crate) fn next_cut_ns(&self) -> u64 {
        if self.is_done() || self.open.over {
            u64::MAX
        } else {
            self.open.grid.row_end_ns()
        }
    }

    /// The segment to be closed next; `None` when all are.
    pub(crate) fn front(&self) -> Option<usize> {
        (!self.is_done()).then_some(self.front)
    }

    fn is_done(&self) -> bool {
        self.front >= self.segments.len()
    }

    /// Rows and ends since the last call.
    pub(crate) fn take_output(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.output)
    }

    /// What the host says of the time until now.
    pub(crate) fn host(
        &mut self,
        sample: &HostSample,
        rcvbuf_bytes: Option<u64>,
        segments: Option<u64>,
    ) {
        self.open.host.add(sample);
        self.open.rcvbuf_bytes = rcvbuf_bytes;
        self.open.segments = add_counts(self.open.segments, segments);
    }

    /// So many of the bytes read last are not those written.
    pub(crate) fn corrupt(&mut self, bytes: u64) {
        self.open.corrupt = add_counts(self.open.corrupt, Some(bytes));
    }

    /// Takes in `count` bytes read at `at_ns`.
    pub(crate) fn read(&mut self, at_ns: u64, count: u64) {
        let skipped = count.min(self.skip);
        self.skip -= skipped;
        self.attribute(at_ns, count - skipped);
    }

    /// Cuts what is due at `now_ns`.
    pub(crate) fn advance(&mut self, now_ns: u64) {
        if self.is_done() {
            return;
        }
        while !self.open.over && self.open.grid.row_end_ns() <= now_ns {
            if self.open.grid.is_last() {
                self.open.over = true; // the row waits for the boundary
                break;
            }
            let span = self.open.grid.advance();
            let row = self.open.take_row(span);
            self.output.push(Output::Row(self.front, Box::new(row)));
        }
    }

    /// The generator's final count of the front segment. Says whether all its bytes
    /// are read.
    pub(crate) fn finish_at(&mut self, last: &SegmentFinal) -> bool {
        if self.boundary.is_none() {
            let boundary = self
                .base
                .saturating_add(last.bytes())
                .max(self.base + self.open.in_rows);
            self.boundary = Some(boundary);
            let early = (self.base + self.open.attributed()).saturating_sub(boundary);
            self.open.bytes -= early;
            let waiting = std::mem::take(&mut self.waiting);
            self.wait(self.segments[self.front].end_ns(), early);
            for (at_ns, count) in waiting {
                self.attribute(at_ns, count);
            }
        }
        self.boundary == Some(self.base + self.open.attributed())
    }

    /// Closes the front segment at `now_ns` and goes on to the next one.
    pub(crate) fn close_front(&mut self, now_ns: u64, last: Option<&SegmentFinal>, ending: Ending) {
        if self.is_done() {
            return;
        }
        self.advance(now_ns);
        if let Some(last) = last {
            self.finish_at(last);
        } else if self.front + 1 == self.segments.len() {
            self.open.drained += self.waiting.drain(..).map(|(_, count)| count).sum::<u64>();
        }
        let segment = self.segments[self.front];
        // Stopped before its start, a segment has no row.
        let begun = now_ns > segment.start_ns || self.open.attributed() > 0;
        if begun {
            let span = self.open.grid.cut_short(now_ns);
            let row = self.open.take_row(span);
            self.output.push(Output::Row(self.front, Box::new(row)));
        }
        let end = self.base + self.open.attributed();
        let unread = self.boundary.map(|boundary| boundary - end);
        let ended_ns = last
            .map_or(now_ns, |last| last.ended_ns)
            .min(segment.end_ns());
        let window_start_ns = segment.start_ns + segment.warmup_ns;
        let mut closed = StreamClosed::new(
            ending,
            window_start_ns,
            ended_ns.saturating_sub(window_start_ns),
        );
        closed.window = received(self.open.measured);
        closed.drained_bytes = Some(self.open.drained);
        closed.unread_bytes = unread;
        closed.corrupt_bytes = self.open.corrupt;
        closed.segs_in = self.open.measured_segments;
        closed.first_packet_ns = self.open.first_packet_ns;
        closed.peer = last.map(|last| PeerTotals {
            packets: 0,
            bytes: last.bytes(),
        });
        if last.is_none() {
            closed.warnings.push("no-final-count");
        }
        self.output
            .push(Output::Closed(self.front, Box::new(closed)));
        self.go_on(end, unread.unwrap_or(0), now_ns);
    }

    /// Begins the next segment and gives it what was read in the meantime.
    fn go_on(&mut self, end: u64, unread: u64, now_ns: u64) {
        self.base = end;
        self.skip += unread;
        self.boundary = None;
        self.front += 1;
        let Some(next) = self.segments.get(self.front) else {
            return;
        };
        self.open = Open::new(*next, self.interval_ns);
        for (at_ns, count) in std::mem::take(&mut self.waiting) {
            self.advance(at_ns);
            self.read(at_ns, count);
        }
        self.advance(now_ns);
    }

    /// Gives bytes to the front segment as far as they are known to be its own.
    fn attribute(&mut self, at_ns: u64, count: u64) {
        if self.is_done() || count == 0 {
            return;
        }
        let in_time = at_ns < self.segments[self.front].end_ns() && !self.open.over;
        let own = match self.boundary {
            Some(boundary) => count.min(boundary - self.base - self.open.attributed()),
            None if in_time => count,
            None => 0,
        };
        if own > 0 {
            self.open
                .take(own, at_ns, in_time, &self.segments[self.front]);
        }
        self.wait(at_ns, count - own);
    }

    fn wait(&mut self, at_ns: u64, count: u64) {
        if count == 0 {
            return;
        }
        match self.waiting.back_mut() {
            Some((since_ns, sum)) if at_ns < since_ns.saturating_add(WAITING_STEP_NS) => {
                *sum += count;
            }
            _ => self.waiting.push_back((at_ns, count)),
        }
    }
}

impl Open {
    fn new(segment: Segment, interval_ns: u64) -> Self {
        Self {
            grid: Grid::new(segment, interval_ns),
            over: false,
            bytes: 0,
            in_rows: 0,
            measured: 0,
            drained: 0,
            host: HostSample::default(),
            rcvbuf_bytes: None,
            first_packet_ns: None,
            segments: None,
            measured_segments: None,
            corrupt: None,
        }
    }

    /// Bytes that this segment has so far, however they were read.
    fn attributed(&self) -> u64 {
        self.in_rows + self.bytes + self.drained
    }

    fn take(&mut self, count: u64, at_ns: u64, in_time: bool, segment: &Segment) {
        if in_time {
            self.bytes += count;
        } else {
            self.drained += count;
        }
        if self.first_packet_ns.is_none() {
            self.first_packet_ns = Some(at_ns.saturating_sub(segment.start_ns));
        }
    }

    fn take_row(&mut self, span: Span) -> Row {
        let bytes = std::mem::take(&mut self.bytes);
        let segments = self.segments.take();
        self.in_rows += bytes;
        if span.is_measured() {
            self.measured += bytes;
            self.measured_segments = add_counts(self.measured_segments, segments);
        }
        let host = std::mem::take(&mut self.host);
        let more = MoreColumns {
            rcvbuf_bytes: self.rcvbuf_bytes,
            cpu_us: Some(host.cpu_ns / 1000),
            runq_wait_us: host.runq_wait_ns.map(|ns| ns / 1000),
            ..MoreColumns::default()
        };
        Row {
            span,
            counters: received(bytes),
            delay: None,
            tcp: None,
            more: Some(more),
        }
    }
}

fn received(bytes: u64) -> Counters {
    Counters {
        rx_bytes: Some(bytes),
        ..Counters::default()
    }
}

#[cfg(test)]
mod tests;
