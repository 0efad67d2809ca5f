//! One segment of a stream: what is written when, and its rows.

use weir_common::assignment::{Rate, Segment, SocketTraffic, Transport};
use weir_common::record::{Ending, TcpColumns};
use weir_common::traffic::Law;
use weir_wire::link::CohortSpan;

use super::columns::Sampled;
use super::way::{Way, WayTrial};
use crate::arrival::{self, ArrivalError, Packet};
use crate::drive::Next;
use crate::generator::{SegmentEnd, draws, share};
use crate::meter::host::HostMeter;
use crate::meter::sending::{Fate, RowEnd, SendMeter};
use crate::pacer::{Limits, Ramp, StreamAction, StreamPacer, write_quantum};
use crate::session::StreamContext;
use crate::socket::{PatternWriter, TcpConnection, WRITE_BYTES};

/// What a stream keeps through all its segments.
pub(super) struct Stream {
    pub(super) context: StreamContext,
    pub(super) connection: TcpConnection,
    pub(super) writer: PatternWriter,
    /// Of writes without a schedule.
    trial: WayTrial,
    pub(super) host: HostMeter,
    info: Sampled,
    /// When the stream was to be woken for its next write.
    wake_ns: Option<u64>,
    /// Since when it waits for room in the socket.
    full_ns: Option<u64>,
    /// Until when the socket last held it back.
    held_until_ns: u64,
}

/// One segment under way.
pub(super) struct Writing {
    pub(super) meter: SendMeter,
    /// Warm-up and measured window, by byte position.
    pub(super) cohorts: [CohortSpan; 2],
    pub(super) limits: Limits,
    /// End of the current row, the last one included.
    cut_ns: u64,
    written: u64,
}

impl Writing {
    pub(super) fn new(stream: &Stream, at: usize, segment: Segment) -> Self {
        let context = &stream.context;
        let meter = SendMeter::new(Transport::Tcp, segment, context.run.assignment.interval_ns);
        let cohort = |measured: u8| CohortSpan {
            cohort: (at as u8) << 1 | measured,
            first_seq: stream.writer.position(),
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

/// How the bytes of a segment are written.
pub(super) enum Schedule {
    Paced {
        pacer: Box<StreamPacer>,
        /// What the pacer has asked for so far and the meter knows of.
        offered: u64,
    },
    AllOut,
    /// Not at all.
    Problem(String),
}

impl Schedule {
    pub(super) fn new(context: &StreamContext, segment: usize, limits: Limits) -> Self {
        match pacer(context, segment, limits) {
            Ok(Some(pacer)) => Self::Paced {
                pacer: Box::new(pacer),
                offered: 0,
            },
            Ok(None) => Self::AllOut,
            Err(error) => Self::Problem(format!("pace writes: {error}")),
        }
    }
}

/// The writes of this stream in a segment; `None` without a schedule.
fn pacer(
    context: &StreamContext,
    segment: usize,
    limits: Limits,
) -> Result<Option<StreamPacer>, ArrivalError> {
    let traffic = context.session.traffic();
    let Some(rate) = stream_rate(context) else {
        return Ok(None);
    };
    if let (Rate::BitsPerSecond(all), false) = (traffic.rate, traffic.ramp.is_empty()) {
        return ramped(context, segment, limits, all).map(Some);
    }
    if traffic.size == 0 && traffic.arrival == Law::Constant {
        return StreamPacer::new(rate, limits).map(Some);
    }
    let write = Packet {
        bytes: match traffic.size {
            0 => write_quantum(rate),
            size => size,
        },
        overhead_bytes: 0,
    };
    let traces = &context.run.assignment.traces;
    let draws = draws(context, segment);
    let writes = arrival::schedule(traffic, write, context.streams(), draws, traces)?;
    Ok(writes.map(|writes| StreamPacer::with_schedule(writes, rate, limits)))
}

/// The writes of this stream where the session's rate, `all` at first, changes.
fn ramped(
    context: &StreamContext,
    segment: usize,
    limits: Limits,
    all: u64,
) -> Result<StreamPacer, ArrivalError> {
    let (traffic, streams) = (context.session.traffic(), context.streams());
    let ramp = Ramp::new(all, &traffic.ramp);
    let top = share(Some(ramp.top()), context.stream, streams).unwrap_or(all);
    if traffic.size == 0 && traffic.arrival == Law::Constant {
        let fitting = limits
            .duration_ns
            .map(|duration_ns| ramp.planned(duration_ns, BYTE_AT_BPS_NS));
        let fitting = share(fitting, context.stream, streams);
        let bytes = match (limits.bytes, fitting) {
            (Some(asked), Some(fitting)) => Some(asked.min(fitting)),
            (asked, fitting) => asked.or(fitting),
        };
        return StreamPacer::ramped(ramp, streams, Limits { bytes, ..limits });
    }
    let write = Packet {
        bytes: match traffic.size {
            0 => write_quantum(top),
            size => size,
        },
        overhead_bytes: 0,
    };
    let at_top = SocketTraffic {
        rate: Rate::BitsPerSecond(ramp.top()),
        ..traffic.clone()
    };
    let traces = &context.run.assignment.traces;
    let writes = arrival::schedule(&at_top, write, streams, draws(context, segment), traces)?;
    writes
        .map(|writes| StreamPacer::with_ramp(writes, ramp, top, limits))
        .ok_or(ArrivalError::NoRate)
}

/// A byte in units of bit/s and ns.
const BYTE_AT_BPS_NS: u64 = 8_000_000_000;

/// This stream's share of the session's bit rate, or the mean one of a law that is said of each stream.
fn stream_rate(context: &StreamContext) -> Option<u64> {
    let traffic = context.session.traffic();
    match traffic.rate {
        Rate::Max | Rate::MilliPacketsPerSecond(_) => None,
        Rate::Arrival => {
            // A law without a mean is refused where its schedule is made.
            let means = traffic.means(1, 0, &context.run.assignment.traces).ok();
            let mean = means.and_then(|means| Some(means.bytes? * 8e9 / means.spacing_ns?));
            Some(mean.map_or(0, |rate| rate as u64))
        }
        Rate::BitsPerSecond(rate) => {
            Some(share(Some(rate), context.stream, context.streams()).unwrap_or(rate))
        }
    }
}

/// Why a segment ended.
#[derive(Debug)]
pub(super) enum Over {
    /// The segment's time is over.
    Time,
    /// Its bytes are written.
    Bytes,
    Stopped,
    Broken(String),
}

impl Stream {
    pub(super) fn new(context: StreamContext, connection: TcpConnection) -> Self {
        Self {
            writer: PatternWriter::copying(),
            trial: WayTrial::new(),
            host: context.host_meter(),
            context,
            connection,
            info: Sampled::default(),
            wake_ns: None,
            full_ns: None,
            held_until_ns: 0,
        }
    }

    /// A segment's time has come: the host's figures until now belong to no row.
    pub(super) fn begin(&mut self) {
        self.host.sample();
        self.host.take_frozen_ns();
        self.columns();
    }

    /// One step of a segment.
    #[inline]
    pub(super) fn go_on(
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
            self.held_until_ns = now_ns;
        }
        if self.context.run.is_stopped() {
            return Err(Over::Stopped);
        }
        let from_t0_ns = now_ns.saturating_sub(self.context.t0_ns);
        if from_t0_ns >= segment.end_ns() {
            self.offer_rest(writing, schedule, segment);
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

    /// What became due before the end and was not looked at in time was asked for too.
    fn offer_rest(&mut self, writing: &mut Writing, schedule: &mut Schedule, segment: Segment) {
        let Schedule::Paced { pacer, offered } = schedule else {
            return;
        };
        while !writing.meter.is_last_row() {
            self.cut(writing);
        }
        pacer.next(self.context.host_ns(segment.end_ns()));
        let asked = pacer.offered_bytes() - *offered;
        writing.count(Fate::Offered, asked, segment.end_ns());
        *offered = pacer.offered_bytes();
    }

    /// A step without a schedule.
    #[inline]
    fn all_out(&mut self, writing: &mut Writing, now_ns: u64) -> Result<Next, Over> {
        let size = match self.context.session.traffic().size {
            0 => WRITE_BYTES as u64,
            size => u64::from(size),
        };
        let ask = writing.left().min(size);
        if ask == 0 {
            return Err(Over::Bytes);
        }
        match self.trial.turn(now_ns, self.writer.position()) {
            Some(Way::Lend) if !self.writer.lend() => self.trial.give_up(),
            Some(Way::Copy) => self.writer.copy(),
            _ => {}
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
        let (held_until_ns, meter) = (self.held_until_ns, &mut writing.meter);
        let action = pacer.next_and_tell(now_ns, |due_ns| {
            // What became due while the link held the stream back is not the CPU's lateness.
            if due_ns > held_until_ns {
                meter.late_by(now_ns.saturating_sub(due_ns));
            }
        });
        let from_t0_ns = now_ns.saturating_sub(self.context.t0_ns);
        let asked = pacer.offered_bytes() - *offered;
        writing.count(Fate::Offered, asked, from_t0_ns);
        *offered = pacer.offered_bytes();
        let cut_ns = self.context.host_ns(writing.cut_ns);
        match action {
            StreamAction::Write(bytes) => {
                let (written, next) = self.write(writing, bytes, now_ns)?;
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

    /// Writes up to `ask` bytes; how many were written, and what to wait for.
    #[inline]
    fn write(&mut self, writing: &mut Writing, ask: u64, now_ns: u64) -> Result<(u64, Next), Over> {
        let written = match self.writer.write(&self.connection, ask) {
            Ok(written) => written,
            Err(error) => return Err(Over::Broken(crate::session::describe(&error))),
        };
        if written.bytes > 0 {
            let from_t0_ns = now_ns.saturating_sub(self.context.t0_ns);
            writing.count(Fate::Sent, written.bytes, from_t0_ns);
        }
        if !written.is_full {
            return Ok((written.bytes, Next::Again));
        }
        self.full_ns = Some(now_ns);
        let until_ns = self.context.host_ns(writing.cut_ns);
        Ok((written.bytes, Next::Writable(until_ns)))
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

    pub(super) fn finish(
        &mut self,
        writing: &mut Writing,
        segment: Segment,
        over: Over,
    ) -> SegmentEnd {
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
            echo_packets: None,
        }
    }
}
