//! TCP: one connection, large writes from one static block at `max`, writes of an
//! adaptive size at a rate.
//!
//! Metrics: offered and written bytes, time without room in the socket, and
//! TCP_INFO at the end of every row.

use weir_common::assignment::{Arrival as Law, Rate, Segment, Transport};
use weir_common::record::{DataPath, Ending, TcpColumns};
use weir_wire::link::CohortSpan;

use super::{SegmentEnd, close_segment, draw_stream, pacing_name, rng_name, share};
use crate::arrival::{Arrival, ArrivalError, MeanSpacing};
use crate::meter::host::HostMeter;
use crate::meter::sending::{Fate, RowEnd, SendMeter};
use crate::pacer::{Limits, StreamAction, StreamPacer, write_quantum};
use crate::session::StreamContext;
use crate::socket::{TcpConnection, TcpInfo, Transfer, Woke};
use crate::wait::{wait_until, wait_writable};

/// The block that every write is cut from. Beyond 1 MiB a larger write gains
/// nothing.
static BLOCK: [u8; 1 << 20] = [0x57; 1 << 20];

/// Runs a stream through all its segments, then finishes the connection.
pub(crate) fn run(context: &StreamContext, connection: &TcpConnection, setup_us: Option<u64>) {
    let rate = context.session.traffic().rate;
    let path = DataPath {
        call: "write".to_owned(),
        pacing: Some(pacing_name(rate).to_owned()),
        cc: connection.congestion_control().ok(),
        setup_us,
        rng: rng_name(context),
        ..DataPath::default()
    };
    let mut stream = Stream {
        context,
        connection,
        position: 0,
        host: HostMeter::new(),
        info: Sampled::default(),
    };
    let segments = context.segments();
    for (at, segment) in segments.iter().enumerate() {
        let mut writing = Writing::new(&stream, at, *segment);
        let end = stream.segment(&mut writing, at, *segment);
        if at + 1 == segments.len() {
            // What was written is delivered, then the end. An error here is that
            // of a connection whose failure was told already.
            let _told = connection.finish();
        }
        let path = DataPath {
            buffer_bytes: connection.buffer_bytes().ok().map(|(send, _)| send as u64),
            mss: connection.info().ok().map(|info| u64::from(info.snd_mss)),
            ..path.clone()
        };
        let broken = match &end.ending {
            Ending::Failed { .. } => Some(end.ending.clone()),
            _ => None,
        };
        close_segment(
            context,
            at,
            &writing.meter,
            end,
            writing.cohorts,
            path,
            None,
        );
        if let Some(ending) = broken {
            context.close_rest(at + 1, &ending);
            return;
        }
    }
}

struct Stream<'a> {
    context: &'a StreamContext,
    connection: &'a TcpConnection,
    /// Bytes written in all segments.
    position: u64,
    host: HostMeter,
    info: Sampled,
}

/// One segment under way.
struct Writing {
    meter: SendMeter,
    /// Warm-up and measured window, by byte position.
    cohorts: [CohortSpan; 2],
    limits: Limits,
    /// End of the current row, the last one included.
    cut_ns: u64,
    written: u64,
}

impl Writing {
    fn new(stream: &Stream<'_>, at: usize, segment: Segment) -> Self {
        let context = stream.context;
        let meter = SendMeter::new(Transport::Tcp, segment, context.run.assignment.interval_ns);
        let cohort = |measured: u8| CohortSpan {
            cohort: (at as u8) << 1 | measured,
            first_seq: stream.position,
            packets: 0,
            bytes: 0,
        };
        let traffic = context.session.traffic();
        let limits = Limits {
            start_ns: context.host_ns(segment.start_ns),
            duration_ns: Some(segment.length_ns),
            packets: None,
            bytes: share(traffic.bytes, context.stream, context.streams()),
        };
        let cut_ns = meter.next_cut_ns();
        Self {
            meter,
            cohorts: [cohort(0), cohort(1)],
            limits,
            cut_ns,
            written: 0,
        }
    }

    fn left(&self) -> u64 {
        self.limits
            .bytes
            .map_or(u64::MAX, |bytes| bytes.saturating_sub(self.written))
    }

    fn count(&mut self, fate: Fate, bytes: u64, from_t0_ns: u64) {
        let measured = self.meter.is_measured(from_t0_ns);
        self.meter.count(fate, 0, bytes, measured);
        if fate == Fate::Sent {
            self.meter.sent_first(from_t0_ns);
            self.written += bytes;
            self.cohorts[usize::from(measured)].bytes += bytes;
            if !measured {
                self.cohorts[1].first_seq += bytes;
            }
        }
    }
}

/// Why a hot loop ended.
#[derive(Debug)]
enum Over {
    /// The segment's time is over.
    Time,
    /// Its bytes are written.
    Bytes,
    Stopped,
    Broken(String),
}

impl Stream<'_> {
    fn segment(&mut self, writing: &mut Writing, at: usize, segment: Segment) -> SegmentEnd {
        let context = self.context;
        let start_ns = context.host_ns(segment.start_ns);
        let stopped = context.run.is_stopped()
            || wait_until(context.clock(), &context.run.stop, start_ns) == Woke::Stopped;
        self.host.sample();
        self.host.take_frozen_ns();
        self.columns();
        let over = if stopped {
            Over::Stopped
        } else {
            match schedule(context, at, writing.limits) {
                Ok(Some(pacer)) => self.paced(writing, segment, pacer),
                Ok(None) => self.all_out(writing, segment),
                Err(error) => Over::Broken(format!("pace writes: {error}")),
            }
        };
        self.finish(writing, segment, over)
    }

    /// The hot loop without a schedule.
    fn all_out(&mut self, writing: &mut Writing, segment: Segment) -> Over {
        let size = match self.context.session.traffic().size {
            0 => BLOCK.len(),
            size => (size as usize).min(BLOCK.len()),
        };
        loop {
            let now_ns = match self.look(writing, segment) {
                Ok(now_ns) => now_ns,
                Err(over) => return over,
            };
            let ask = writing.left().min(size as u64);
            if ask == 0 {
                return Over::Bytes;
            }
            match self.write(writing, ask, now_ns) {
                Ok(written) => writing.count(Fate::Offered, written, now_ns),
                Err(over) => return over,
            }
        }
    }

    /// The hot loop of a rate.
    fn paced(&mut self, writing: &mut Writing, segment: Segment, mut pacer: StreamPacer) -> Over {
        let context = self.context;
        let mut offered = 0;
        loop {
            let now_ns = match self.look(writing, segment) {
                Ok(now_ns) => now_ns,
                Err(over) => return over,
            };
            let action = pacer.next(context.host_ns(now_ns));
            writing.count(Fate::Offered, pacer.offered_bytes() - offered, now_ns);
            offered = pacer.offered_bytes();
            match action {
                StreamAction::Write(bytes) => {
                    match self.write(writing, bytes.min(BLOCK.len() as u64), now_ns) {
                        Ok(written) => pacer.wrote(written),
                        Err(over) => return over,
                    }
                }
                StreamAction::WaitUntil(due_ns) => {
                    let until_ns = due_ns.min(context.host_ns(writing.cut_ns));
                    wait_until(context.clock(), &context.run.stop, until_ns);
                    self.host.woke(until_ns, context.clock().now_ns());
                }
                StreamAction::Done if writing.left() == 0 => return Over::Bytes,
                StreamAction::Done => {
                    // All that fits the time is written; rows go on to its end.
                    let until_ns = context.host_ns(writing.cut_ns);
                    wait_until(context.clock(), &context.run.stop, until_ns);
                }
            }
        }
    }

    /// Cuts the rows that are due and says what time it is, unless it is over.
    fn look(&mut self, writing: &mut Writing, segment: Segment) -> Result<u64, Over> {
        if self.context.run.is_stopped() {
            return Err(Over::Stopped);
        }
        let now_ns = self.context.now_ns();
        if now_ns >= segment.end_ns() {
            return Err(Over::Time);
        }
        while now_ns >= writing.cut_ns {
            self.cut(writing);
        }
        Ok(now_ns)
    }

    /// Writes up to `ask` bytes, or waits for room; how many were written.
    fn write(&mut self, writing: &mut Writing, ask: u64, now_ns: u64) -> Result<u64, Over> {
        let context = self.context;
        match self.connection.write(&BLOCK[..ask as usize]) {
            Ok(Transfer::Moved(count)) => {
                self.position += count as u64;
                writing.count(Fate::Sent, count as u64, now_ns);
                Ok(count as u64)
            }
            Ok(_) => {
                let until_ns = context.host_ns(writing.cut_ns);
                wait_writable(
                    context.clock(),
                    self.connection,
                    Some(&context.run.stop),
                    until_ns,
                );
                writing
                    .meter
                    .held_back(context.now_ns().saturating_sub(now_ns));
                Ok(0)
            }
            Err(error) => Err(Over::Broken(crate::session::describe(&error))),
        }
    }

    fn cut(&mut self, writing: &mut Writing) {
        let end = self.row_end();
        let row = writing.meter.cut(end);
        writing.cut_ns = writing.meter.next_cut_ns();
        let at = usize::from(writing.cohorts[0].cohort >> 1);
        self.context.session.flows[at].row(self.context.stream, row);
    }

    fn row_end(&mut self) -> RowEnd {
        let (tcp, rtt_ns) = self.columns();
        RowEnd {
            host: self.host.sample(),
            sndbuf_bytes: self
                .connection
                .buffer_bytes()
                .ok()
                .map(|(send, _)| send as u64),
            tcp,
            rtt_ns,
        }
    }

    /// TCP's figures now and their changes since the last call.
    fn columns(&mut self) -> (Option<TcpColumns>, Option<u64>) {
        let Ok(info) = self.connection.info() else {
            return (None, None);
        };
        let unacked = self.connection.unacked_bytes().ok();
        let columns = self.info.columns(&info, unacked);
        (
            Some(columns),
            (info.rtt_us > 0).then(|| u64::from(info.rtt_us) * 1000),
        )
    }

    fn finish(&mut self, writing: &mut Writing, segment: Segment, over: Over) -> SegmentEnd {
        let context = self.context;
        let ended_ns = match over {
            Over::Time => segment.end_ns(),
            _ => context.now_ns().min(segment.end_ns()),
        };
        if ended_ns > segment.start_ns {
            while !writing.meter.is_last_row() && writing.cut_ns <= ended_ns {
                self.cut(writing);
            }
            let end = self.row_end();
            let row = writing.meter.finish(ended_ns, end);
            let at = usize::from(writing.cohorts[0].cohort >> 1);
            context.session.flows[at].row(context.stream, row);
        }
        let ending = match over {
            Over::Time | Over::Bytes => Ending::Completed,
            Over::Stopped => context.ending(),
            Over::Broken(reason) => Ending::Failed { reason },
        };
        SegmentEnd {
            ended_ns,
            ending,
            egress_packets: 0,
            warnings: Vec::new(),
            frozen_ns: self.host.take_frozen_ns(),
        }
    }
}

/// TCP_INFO's running totals at the last row.
#[derive(Debug, Default)]
struct Sampled {
    last: TcpInfo,
}

impl Sampled {
    fn columns(&mut self, info: &TcpInfo, unacked_bytes: Option<u64>) -> TcpColumns {
        let last = std::mem::replace(&mut self.last, *info);
        let change = |now: Option<u64>, then: Option<u64>| {
            now.map(|now| now.saturating_sub(then.unwrap_or(0)))
        };
        TcpColumns {
            acked_bytes: change(info.bytes_acked, last.bytes_acked),
            retransmits: Some(u64::from(
                info.total_retrans.saturating_sub(last.total_retrans),
            )),
            retrans_bytes: change(info.bytes_retrans, last.bytes_retrans),
            cwnd_bytes: Some(info.cwnd_bytes()),
            srtt_us: Some(u64::from(info.rtt_us)),
            min_rtt_us: info.min_rtt_us.map(u64::from),
            rttvar_us: Some(u64::from(info.rttvar_us)),
            delivery_bps: info.delivery_rate.map(|bytes| bytes.saturating_mul(8)),
            busy_us: change(info.busy_us, last.busy_us),
            rwnd_limited_us: change(info.rwnd_limited_us, last.rwnd_limited_us),
            sndbuf_limited_us: change(info.sndbuf_limited_us, last.sndbuf_limited_us),
            unacked_bytes,
        }
    }
}

/// The writes of this stream in a segment; `None` without a schedule.
fn schedule(
    context: &StreamContext,
    segment: usize,
    limits: Limits,
) -> Result<Option<StreamPacer>, ArrivalError> {
    let traffic = context.session.traffic();
    let rate = match traffic.rate {
        Rate::Max | Rate::MilliPacketsPerSecond(_) => return Ok(None),
        Rate::BitsPerSecond(rate) => rate,
    };
    let rate = share(Some(rate), context.stream, context.streams()).unwrap_or(rate);
    if traffic.size == 0 && traffic.arrival == Law::Constant {
        return StreamPacer::new(rate, limits).map(Some);
    }
    let quantum = if traffic.size == 0 {
        write_quantum(rate)
    } else {
        traffic.size
    };
    let spacing = MeanSpacing::from_bit_rate(quantum, rate)?;
    let arrival = match traffic.arrival {
        Law::Constant => Arrival::constant(spacing),
        Law::Exponential => Arrival::exponential(
            spacing,
            context.run.assignment.seed,
            draw_stream(context, segment),
        )?,
    };
    Ok(Some(StreamPacer::with_law(arrival, quantum, rate, limits)))
}
