//! TCP: one connection, large writes from one static block at `max`, writes of an
//! adaptive size at a rate.
//!
//! Metrics: offered and written bytes, time without room in the socket, and
//! TCP_INFO at the end of every row.

use std::os::fd::{AsFd, BorrowedFd};

use weir_common::assignment::{Rate, Segment, Transport};
use weir_common::record::{DataPath, Ending, TcpColumns};
use weir_common::traffic::Law;
use weir_wire::link::CohortSpan;

use super::{SegmentEnd, close_segment, draws, pacing_name, rng_name, share};
use crate::arrival::{self, ArrivalError, Packet};
use crate::drive::{self, Next, Scratch};
use crate::meter::host::HostMeter;
use crate::meter::sending::{Fate, RowEnd, SendMeter};
use crate::pacer::{Limits, StreamAction, StreamPacer, write_quantum};
use crate::session::StreamContext;
use crate::socket::{TcpConnection, TcpInfo, Transfer};

/// The block that every write is cut from. Beyond 1 MiB a larger write gains
/// nothing.
static BLOCK: [u8; 1 << 20] = [0x57; 1 << 20];

/// A stream on its way through all its segments; then its connection is finished.
pub(crate) struct Generator {
    stream: Stream,
    path: DataPath,
    /// The segment under way.
    at: usize,
    phase: Phase,
}

/// Where the segment under way stands.
enum Phase {
    /// Not looked at yet.
    Ahead,
    /// Waits for its start.
    Waiting(Writing, Schedule),
    Writing(Writing, Schedule),
}

/// How the bytes of a segment are written.
enum Schedule {
    Paced {
        pacer: StreamPacer,
        /// What the pacer has asked for so far and the meter knows of.
        offered: u64,
    },
    AllOut,
    /// Not at all.
    Problem(String),
}

impl Generator {
    /// A stream with its connection.
    pub(crate) fn new(
        context: StreamContext,
        connection: TcpConnection,
        setup_us: Option<u64>,
    ) -> Self {
        let path = DataPath {
            call: "write".to_owned(),
            pacing: Some(pacing_name(context.session.traffic()).to_owned()),
            cc: connection.congestion_control().ok(),
            setup_us,
            rng: rng_name(&context),
            ..DataPath::default()
        };
        let stream = Stream {
            connection,
            position: 0,
            host: context.host_meter(),
            context,
            info: Sampled::default(),
            wake_ns: None,
            full_ns: None,
        };
        Self {
            stream,
            path,
            at: 0,
            phase: Phase::Ahead,
        }
    }

    fn prepare(&self, segment: Segment) -> Phase {
        let writing = Writing::new(&self.stream, self.at, segment);
        let schedule = match schedule(&self.stream.context, self.at, writing.limits) {
            Ok(Some(pacer)) => Schedule::Paced { pacer, offered: 0 },
            Ok(None) => Schedule::AllOut,
            Err(error) => Schedule::Problem(format!("pace writes: {error}")),
        };
        Phase::Waiting(writing, schedule)
    }

    /// Closes the segment under way, and the rest if the connection is broken.
    fn close(&mut self, mut writing: Writing, segment: Segment, over: Over) {
        let end = self.stream.finish(&mut writing, segment, over);
        let (context, connection) = (&self.stream.context, &self.stream.connection);
        let segments = context.segments().len();
        if self.at + 1 == segments {
            // What was written is delivered, then the end. An error here is that
            // of a connection whose failure was told already.
            let _told = connection.finish();
        }
        let path = DataPath {
            buffer_bytes: connection.buffer_bytes().ok().map(|(send, _)| send as u64),
            mss: connection.info().ok().map(|info| u64::from(info.snd_mss)),
            ..self.path.clone()
        };
        let broken = match &end.ending {
            Ending::Failed { .. } => Some(end.ending.clone()),
            _ => None,
        };
        let Writing { meter, cohorts, .. } = &writing;
        close_segment(context, self.at, meter, end, *cohorts, path, None);
        self.at += 1;
        if let Some(ending) = broken {
            context.close_rest(self.at, &ending);
            self.at = segments;
        }
    }
}

impl drive::Stream for Generator {
    fn step(&mut self, now_ns: u64, _scratch: &mut Scratch) -> Next {
        let Some(segment) = self.stream.context.segments().get(self.at).copied() else {
            return Next::Done;
        };
        let stopped = self.stream.context.run.is_stopped();
        match &mut self.phase {
            Phase::Ahead => {
                self.phase = self.prepare(segment);
                Next::Again
            }
            Phase::Waiting(writing, _) if now_ns < writing.limits.start_ns && !stopped => {
                Next::At(writing.limits.start_ns)
            }
            Phase::Waiting(..) => {
                // The host's figures between segments belong to no row.
                self.stream.host.sample();
                self.stream.host.take_frozen_ns();
                self.stream.columns();
                if let Phase::Waiting(writing, schedule) =
                    std::mem::replace(&mut self.phase, Phase::Ahead)
                {
                    self.phase = Phase::Writing(writing, schedule);
                }
                Next::Again
            }
            Phase::Writing(writing, schedule) => {
                let over = match self.stream.go_on(writing, schedule, segment, now_ns) {
                    Ok(next) => return next,
                    Err(over) => over,
                };
                if let Phase::Writing(writing, _) = std::mem::replace(&mut self.phase, Phase::Ahead)
                {
                    self.close(writing, segment, over);
                }
                Next::Again
            }
        }
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.stream.connection.as_fd()
    }

    fn host(&mut self) -> &mut HostMeter {
        &mut self.stream.host
    }
}

struct Stream {
    context: StreamContext,
    connection: TcpConnection,
    /// Bytes written in all segments.
    position: u64,
    host: HostMeter,
    info: Sampled,
    /// When the stream was to be woken for its next write.
    wake_ns: Option<u64>,
    /// Since when it waits for room in the socket.
    full_ns: Option<u64>,
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
    fn new(stream: &Stream, at: usize, segment: Segment) -> Self {
        let context = &stream.context;
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

/// Why a segment ended.
#[derive(Debug)]
enum Over {
    /// The segment's time is over.
    Time,
    /// Its bytes are written.
    Bytes,
    Stopped,
    Broken(String),
}

impl Stream {
    /// One step of a segment.
    #[inline]
    fn go_on(
        &mut self,
        writing: &mut Writing,
        schedule: &mut Schedule,
        segment: Segment,
        now_ns: u64,
    ) -> Result<Next, Over> {
        if let Some(wake_ns) = self.wake_ns.take() {
            self.host.woke(wake_ns, now_ns);
        }
        if let Some(full_ns) = self.full_ns.take() {
            writing.meter.held_back(now_ns.saturating_sub(full_ns));
        }
        if self.context.run.is_stopped() {
            return Err(Over::Stopped);
        }
        let from_t0_ns = now_ns.saturating_sub(self.context.t0_ns);
        if from_t0_ns >= segment.end_ns() {
            return Err(Over::Time);
        }
        while from_t0_ns >= writing.cut_ns {
            self.cut(writing);
        }
        match schedule {
            Schedule::AllOut => self.all_out(writing, now_ns),
            Schedule::Paced { pacer, offered } => self.paced(writing, pacer, offered, now_ns),
            Schedule::Problem(reason) => Err(Over::Broken(std::mem::take(reason))),
        }
    }

    /// A step without a schedule.
    #[inline]
    fn all_out(&mut self, writing: &mut Writing, now_ns: u64) -> Result<Next, Over> {
        let size = match self.context.session.traffic().size {
            0 => BLOCK.len(),
            size => (size as usize).min(BLOCK.len()),
        };
        let ask = writing.left().min(size as u64);
        if ask == 0 {
            return Err(Over::Bytes);
        }
        let (written, next) = self.write(writing, ask, now_ns)?;
        let from_t0_ns = now_ns.saturating_sub(self.context.t0_ns);
        writing.count(Fate::Offered, written, from_t0_ns);
        Ok(next)
    }

    /// A step of a rate.
    #[inline]
    fn paced(
        &mut self,
        writing: &mut Writing,
        pacer: &mut StreamPacer,
        offered: &mut u64,
        now_ns: u64,
    ) -> Result<Next, Over> {
        let action = pacer.next(now_ns);
        let from_t0_ns = now_ns.saturating_sub(self.context.t0_ns);
        let asked = pacer.offered_bytes() - *offered;
        writing.count(Fate::Offered, asked, from_t0_ns);
        *offered = pacer.offered_bytes();
        let cut_ns = self.context.host_ns(writing.cut_ns);
        match action {
            StreamAction::Write(bytes) => {
                let ask = bytes.min(BLOCK.len() as u64);
                let (written, next) = self.write(writing, ask, now_ns)?;
                pacer.wrote(written);
                Ok(next)
            }
            StreamAction::WaitUntil(due_ns) => {
                let until_ns = due_ns.min(cut_ns);
                self.wake_ns = Some(until_ns);
                Ok(Next::At(until_ns))
            }
            StreamAction::Done if writing.left() == 0 => Err(Over::Bytes),
            // All that fits the time is written; rows go on to its end.
            StreamAction::Done => Ok(Next::At(cut_ns)),
        }
    }

    /// Writes up to `ask` bytes; how many were written, and whether there is room
    /// for more.
    #[inline]
    fn write(&mut self, writing: &mut Writing, ask: u64, now_ns: u64) -> Result<(u64, Next), Over> {
        match self.connection.write(&BLOCK[..ask as usize]) {
            Ok(Transfer::Moved(count)) => {
                self.position += count as u64;
                let from_t0_ns = now_ns.saturating_sub(self.context.t0_ns);
                writing.count(Fate::Sent, count as u64, from_t0_ns);
                Ok((count as u64, Next::Again))
            }
            Ok(_) => {
                self.full_ns = Some(now_ns);
                Ok((0, Next::Writable(self.context.host_ns(writing.cut_ns))))
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
        let ended_ns = match over {
            Over::Time => segment.end_ns(),
            _ => self.context.now_ns().min(segment.end_ns()),
        };
        if ended_ns > segment.start_ns {
            while !writing.meter.is_last_row() && writing.cut_ns <= ended_ns {
                self.cut(writing);
            }
            let end = self.row_end();
            let row = writing.meter.finish(ended_ns, end);
            let at = usize::from(writing.cohorts[0].cohort >> 1);
            self.context.session.flows[at].row(self.context.stream, row);
        }
        let ending = match over {
            Over::Time | Over::Bytes => Ending::Completed,
            Over::Stopped => self.context.ending(),
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
        Rate::Max | Rate::MilliPacketsPerSecond(_) | Rate::Arrival => return Ok(None),
        Rate::BitsPerSecond(rate) => rate,
    };
    let streams = context.streams();
    let share = share(Some(rate), context.stream, streams).unwrap_or(rate);
    if traffic.size == 0 && traffic.arrival == Law::Constant {
        return StreamPacer::new(share, limits).map(Some);
    }
    let write = Packet {
        bytes: match traffic.size {
            0 => write_quantum(share),
            size => size,
        },
        overhead_bytes: 0,
    };
    let writes = arrival::schedule(traffic, write, streams, draws(context, segment))?;
    Ok(writes.map(|writes| StreamPacer::with_schedule(writes, share, limits)))
}
