//! UDP: one connected socket, open loop unless asked to wait: a send never waits,
//! and what became of every packet is counted.
//!
//! Metrics: offered, tx (with egress), behind, blocked, refused, lateness; round-trip
//! times by echo.

mod replies;
mod schedule;
mod segment;
mod sender;

use std::os::fd::{AsFd, BorrowedFd};

use weir_common::assignment::{OnFull, Rate, Segment, SocketTraffic};
use weir_common::record::{DataPath, Ending};

use self::replies::{Replies, Trailing};
use self::schedule::{Schedule, Streams, Timed, bundle_most};
use self::segment::Sending;
use self::sender::{Sender, refusal_code};
use super::{SegmentEnd, close_segment, draws, pacing_name, rng_name, say_final};
use crate::drive::{self, Next, Scratch};
use crate::meter::flow::Row;
use crate::meter::host::HostMeter;
use crate::meter::sending::{Fate, RowEnd};
use crate::pacer::{Action, AllOut, AllOutAction, Departure, Pacer, Precision};
use crate::session::StreamContext;
use crate::socket::{SendOutcome, UdpSocket};

/// A stream on its way through all its segments.
pub(crate) struct Generator {
    stream: Stream,
    setup_us: Option<u64>,
    control_packets: u64,
    /// The segment under way.
    at: usize,
    phase: Phase,
    /// Of an echo flow.
    replies: Option<Replies>,
}

/// Where the segment under way stands.
enum Phase {
    /// Not looked at yet.
    Ahead,
    /// Waits for its start.
    Waiting(Sending, Schedule),
    Sending(Sending, Schedule),
}

impl Generator {
    /// A stream with its connected socket; `control_packets` were sent before T0.
    pub(crate) fn new(
        context: StreamContext,
        socket: UdpSocket,
        (control_packets, buffer, _gro): (u64, Option<(u64, bool)>, bool),
        setup_us: Option<u64>,
    ) -> Self {
        let traffic = context.session.traffic();
        let streams = Streams {
            count: context.streams(),
            ipv6: socket.local_addr().is_ipv6(),
        };
        let wanted = bundle_most(traffic, streams);
        let most = if wanted > 1 && socket.enable_bundles() {
            wanted
        } else {
            1
        };
        let sender = Sender::new(socket, context.tag(), buffer, traffic, most);
        let stream = Stream {
            waits: traffic.on_full == OnFull::Wait,
            host: context.host_meter(),
            context,
            sender,
            streams,
            most,
            lacks_bundles: most < wanted,
            wake_ns: None,
            full_ns: None,
            held_until_ns: 0,
        };
        let context = &stream.context;
        let echo = context.session.traffic().echo;
        Self {
            replies: echo.then(|| Replies::new(context)),
            stream,
            setup_us,
            control_packets,
            at: 0,
            phase: Phase::Ahead,
        }
    }

    fn prepare(&self, segment: Segment) -> Phase {
        let stream = &self.stream;
        let (context, sequence) = (&stream.context, stream.sender.sequence);
        let sending = Sending::new(context, sequence, self.at, segment, self.control());
        let schedule = Schedule::new(
            context.session.traffic(),
            stream.streams,
            draws(context, self.at),
            (sending.limits, stream.most),
            &context.run.assignment.traces,
        );
        Phase::Waiting(sending, schedule)
    }

    /// Packets of the pre-flow exchange, which belong to the first segment.
    fn control(&self) -> u64 {
        if self.at == 0 {
            self.control_packets
        } else {
            0
        }
    }

    fn close(&mut self, mut sending: Sending, segment: Segment, problem: Option<String>) {
        let control = self.control();
        let stream = &mut self.stream;
        let (end, row) = stream.finish(&mut sending, segment, problem);
        let traffic = stream.context.session.traffic();
        let (call, gso) = if sending.bundled {
            ("gso", "on")
        } else {
            ("send", "off")
        };
        let buffer = stream.sender.buffer;
        let path = DataPath {
            call: call.to_owned(),
            gso: Some(gso.to_owned()),
            pacing: Some(pacing_name(traffic).to_owned()),
            buffer_bytes: buffer.map(|(bytes, _)| bytes),
            buffer_forced: buffer.map(|(_, forced)| forced),
            setup_us: self.setup_us,
            rng: rng_name(&stream.context),
            ..DataPath::default()
        };
        let (context, at) = (&stream.context, self.at);
        self.at += 1;
        if let Some(replies) = &mut self.replies {
            say_final(context, at, &end, sending.cohorts);
            replies.trail(Trailing {
                at,
                row,
                meter: sending.meter,
                cohorts: sending.cohorts,
                returned: sending.returned,
                end,
                path,
                control_packets: control,
            });
            return;
        }
        if let Some(row) = row {
            context.session.flows[at].row(context.stream, row);
        }
        let Sending { meter, cohorts, .. } = &sending;
        close_segment(context, at, meter, end, *cohorts, path, Some(control));
    }

    /// Reads replies, if there may be any and it is time.
    fn read_replies(&mut self, now_ns: u64, scratch: &mut Scratch) {
        let Some(replies) = &mut self.replies else {
            return;
        };
        let context = &self.stream.context;
        let segment = context.segments().get(self.at);
        let sending = match &mut self.phase {
            Phase::Sending(sending, _) => Some(sending),
            _ => None,
        };
        let from_t0_ns = now_ns.saturating_sub(context.t0_ns);
        let row_over = sending
            .as_ref()
            .is_some_and(|sending| from_t0_ns >= sending.cut_ns);
        let over = segment.is_none_or(|segment| from_t0_ns >= segment.end_ns());
        if row_over || over || replies.are_due(now_ns) {
            replies.read(context, &self.stream.sender.socket, sending, scratch);
        }
    }

    /// Until the last replies of a segment have come, or `until_ns`.
    fn await_replies(&self, until_ns: u64) -> Option<Next> {
        let replies = self.replies.as_ref()?;
        let deadline_ns = replies.deadline_ns(&self.stream.context)?;
        Some(Next::Readable(deadline_ns.min(until_ns)))
    }
}

impl drive::Stream for Generator {
    fn step(&mut self, now_ns: u64, scratch: &mut Scratch) -> Next {
        self.read_replies(now_ns, scratch);
        let Some(segment) = self.stream.context.segments().get(self.at).copied() else {
            return self.await_replies(u64::MAX).unwrap_or(Next::Done);
        };
        let stopped = self.stream.context.run.is_stopped();
        match &mut self.phase {
            Phase::Ahead => {
                self.phase = self.prepare(segment);
                Next::Again
            }
            Phase::Waiting(sending, _) if now_ns < sending.limits.start_ns && !stopped => {
                let start_ns = sending.limits.start_ns;
                self.await_replies(start_ns).unwrap_or(Next::At(start_ns))
            }
            Phase::Waiting(..) => {
                // The host's figures between segments belong to no row.
                self.stream.host.sample();
                self.stream.host.take_frozen_ns();
                if let Phase::Waiting(sending, schedule) =
                    std::mem::replace(&mut self.phase, Phase::Ahead)
                {
                    self.phase = Phase::Sending(sending, schedule);
                }
                Next::Again
            }
            Phase::Sending(sending, schedule) => {
                self.stream.woke(sending, now_ns);
                let next = if stopped {
                    None
                } else {
                    self.stream.go_on(sending, schedule, segment, now_ns)
                };
                if let Some(next) = next {
                    return next;
                }
                if let Phase::Sending(sending, schedule) =
                    std::mem::replace(&mut self.phase, Phase::Ahead)
                {
                    let problem = match schedule {
                        Schedule::Rest(problem) => problem,
                        Schedule::Paced(_) | Schedule::AllOut(_) => None,
                    };
                    self.close(sending, segment, problem);
                }
                Next::Again
            }
        }
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.stream.sender.socket.as_fd()
    }

    fn host(&mut self) -> &mut HostMeter {
        &mut self.stream.host
    }

    fn precision(&self) -> Precision {
        let traffic = self.stream.context.session.traffic();
        match (traffic.rate, traffic.spin_ns) {
            (Rate::Max, _) => Precision::Sleep,
            (_, 0) => Precision::Learned,
            (_, spin_ns) => Precision::Spin(spin_ns),
        }
    }
}

/// Whether datagrams of this traffic are to leave in bundles.
pub(crate) fn wants_bundles(traffic: &SocketTraffic, streams: usize, ipv6: bool) -> bool {
    let count = streams as u64;
    bundle_most(traffic, Streams { count, ipv6 }) > 1
}

struct Stream {
    context: StreamContext,
    sender: Sender,
    streams: Streams,
    /// How many datagrams may leave together.
    most: u32,
    /// Bundles were wanted, and the kernel has none.
    lacks_bundles: bool,
    /// Whether a full socket is waited for.
    waits: bool,
    host: HostMeter,
    /// When the stream was to be woken for its next departure.
    wake_ns: Option<u64>,
    /// Since when it waits for room in the socket.
    full_ns: Option<u64>,
    /// Until when the socket last held it back.
    held_until_ns: u64,
}

impl Stream {
    /// A wait is over: how late, and how long it was for want of room.
    #[inline]
    fn woke(&mut self, sending: &mut Sending, now_ns: u64) {
        if let Some(wake_ns) = self.wake_ns.take() {
            self.host.woke(wake_ns, now_ns);
        }
        if let Some(full_ns) = self.full_ns.take() {
            sending.meter.held_back(now_ns.saturating_sub(full_ns));
            self.held_until_ns = now_ns;
        }
    }

    /// One step of a segment; `None` when it is over.
    #[inline]
    fn go_on(
        &mut self,
        sending: &mut Sending,
        schedule: &mut Schedule,
        segment: Segment,
        now_ns: u64,
    ) -> Option<Next> {
        let from_t0_ns = now_ns.saturating_sub(self.context.t0_ns);
        if from_t0_ns >= sending.cut_ns {
            self.cut(sending);
            return Some(Next::Again);
        }
        let next = match schedule {
            Schedule::Paced(pacer) => self.paced(sending, pacer, now_ns),
            Schedule::AllOut(pacer) => self.all_out(sending, pacer, now_ns),
            Schedule::Rest(_) => return self.rest(sending, segment, now_ns),
        };
        if next.is_none() && !sending.is_used_up() {
            *schedule = Schedule::Rest(None);
            return Some(Next::Again);
        }
        next
    }

    /// A step of a schedule: send, or say when; `None` at its end.
    #[inline]
    fn paced(
        &mut self,
        sending: &mut Sending,
        pacer: &mut Pacer<Timed>,
        now_ns: u64,
    ) -> Option<Next> {
        match pacer.next(now_ns) {
            Action::Send => Some(self.depart(sending, pacer, now_ns)),
            Action::Behind(departure) => {
                self.give_up(sending, departure);
                Some(Next::Again)
            }
            Action::WaitUntil(due_ns) => {
                let until_ns = due_ns.min(self.context.host_ns(sending.cut_ns));
                self.wake_ns = Some(until_ns);
                Some(Next::At(until_ns))
            }
            Action::Done => None,
        }
    }

    /// Counts a packet that was left too long: because the socket held the stream
    /// back after it was due, or because the CPU was late.
    #[cold]
    fn give_up(&mut self, sending: &mut Sending, departure: Departure) {
        let fate = if departure.due_ns <= self.held_until_ns {
            Fate::Blocked
        } else {
            Fate::Behind
        };
        let due_ns = departure.due_ns.saturating_sub(self.context.t0_ns);
        let measured = sending.meter.is_measured(due_ns);
        sending.count(fate, 1, u64::from(departure.bytes), measured);
    }

    /// Sends what is due together, or the first of it if there are no bundles.
    #[inline]
    fn depart(&mut self, sending: &mut Sending, pacer: &mut Pacer<Timed>, now_ns: u64) -> Next {
        let t0_ns = self.context.t0_ns;
        let (due, measured_from_ns) = (pacer.due(), sending.meter.window_start_ns() + t0_ns);
        if self.waits && now_ns >= sending.limits.end_ns() && due[0].due_ns <= self.held_until_ns {
            self.give_up(sending, due[0]);
            pacer.handled(1, now_ns);
            return Next::Again;
        }
        let packets = if self.sender.socket.bundles() {
            due.len()
        } else {
            1
        };
        let (due, bytes) = (&due[..packets], due[0].bytes);
        for (place, packet) in due.iter().enumerate() {
            let cohort = sending.cohort(packet.due_ns >= measured_from_ns);
            self.sender.stamp(place, bytes, cohort, now_ns);
        }
        let Some(outcome) = self.sender.send_or_grow(packets, bytes) else {
            self.lacks_bundles = true;
            return Next::Again;
        };
        let fate = fate(sending, outcome);
        if fate == Fate::Blocked && self.waits {
            return self.wait_for_room(sending, now_ns);
        }
        if matches!(fate, Fate::Sent | Fate::Egress) {
            sending.bundled |= packets > 1;
            for packet in due {
                let due_ns = packet.due_ns.saturating_sub(t0_ns);
                sending.meter.departed(due_ns, now_ns.saturating_sub(t0_ns));
            }
        }
        let warm_up = due.partition_point(|packet| packet.due_ns < measured_from_ns);
        for (count, measured) in [(warm_up, false), (packets - warm_up, true)] {
            let count = count as u64;
            if count > 0 {
                sending.count(fate, count, count * u64::from(bytes), measured);
            }
        }
        pacer.handled(packets, now_ns);
        Next::Again
    }

    /// A step without a schedule: fill the socket, or wait for room; `None` at the end.
    #[inline]
    fn all_out(&mut self, sending: &mut Sending, pacer: &mut AllOut, now_ns: u64) -> Option<Next> {
        let most = if self.sender.socket.bundles() {
            self.most
        } else {
            1
        };
        let (packets, bytes) = match pacer.next(now_ns, most) {
            AllOutAction::WaitUntil(start_ns) => return Some(Next::At(start_ns)),
            AllOutAction::Done => return None,
            AllOutAction::Send { packets, bytes } => (packets, bytes),
        };
        let from_t0_ns = now_ns.saturating_sub(self.context.t0_ns);
        let measured = sending.meter.is_measured(from_t0_ns);
        let cohort = sending.cohort(measured);
        for place in 0..packets as usize {
            self.sender.stamp(place, bytes, cohort, now_ns);
        }
        let Some(outcome) = self.sender.send(packets as usize, bytes) else {
            self.lacks_bundles = true;
            return Some(Next::Again);
        };
        let fate = fate(sending, outcome);
        if fate == Fate::Blocked {
            // Without a schedule nothing is lost by waiting.
            return Some(self.wait_for_room(sending, now_ns));
        }
        if matches!(fate, Fate::Sent | Fate::Egress) {
            sending.bundled |= packets > 1;
            sending.meter.sent_first(from_t0_ns);
        }
        let count = u64::from(packets);
        sending.count(fate, count, count * u64::from(bytes), measured);
        pacer.sent(packets, bytes);
        Some(Next::Again)
    }

    /// Until there is room in the socket, the row or the segment ends.
    fn wait_for_room(&mut self, sending: &Sending, now_ns: u64) -> Next {
        self.full_ns = Some(now_ns);
        let cut_ns = self.context.host_ns(sending.cut_ns);
        Next::Writable(sending.limits.end_ns().min(cut_ns))
    }

    /// The schedule is over before its time, or exactly then: rows go on to the end.
    fn rest(&self, sending: &Sending, segment: Segment, now_ns: u64) -> Option<Next> {
        let end_ns = self.context.host_ns(segment.end_ns());
        let cut_ns = self.context.host_ns(sending.cut_ns);
        (now_ns < end_ns).then_some(Next::At(end_ns.min(cut_ns)))
    }

    fn row_end(&mut self) -> RowEnd {
        let sndbuf_bytes = self.sender.buffer.map(|(bytes, _)| bytes);
        RowEnd {
            host: self.host.sample(),
            sndbuf_bytes,
            ..RowEnd::default()
        }
    }

    fn cut(&mut self, sending: &mut Sending) {
        let end = self.row_end();
        let row = sending.meter.cut(end);
        sending.set_cut();
        let segment = usize::from(sending.cohorts[0].cohort >> 1);
        self.context.session.flows[segment].row(self.context.stream, row);
    }

    /// Ends the segment: how it ended, and its last row.
    fn finish(
        &mut self,
        sending: &mut Sending,
        segment: Segment,
        problem: Option<String>,
    ) -> (SegmentEnd, Option<Row>) {
        let now_ns = self.context.now_ns();
        let before_end = self.context.run.is_stopped() || sending.is_used_up();
        let ended_ns = if before_end {
            now_ns.min(segment.end_ns())
        } else {
            segment.end_ns()
        };
        let mut row = None;
        if ended_ns > segment.start_ns {
            while sending.cut_ns <= ended_ns {
                self.cut(sending);
            }
            let end = self.row_end();
            row = Some(sending.meter.finish(ended_ns, end));
        }
        // Queued ICMP errors fill the receive account; nothing else reads them.
        let _icmp = self.sender.socket.take_errors();
        let mut warnings = Vec::new();
        if sending.blocked {
            warnings.push("buffer-below-queue");
        }
        if self.lacks_bundles {
            warnings.push("gso-unavailable");
        }
        warnings.extend(sending.refusal.map(refusal_code));
        let ending = match problem {
            Some(reason) => Ending::Failed { reason },
            None if ended_ns < segment.end_ns() && !sending.is_used_up() => self.context.ending(),
            None => Ending::Completed,
        };
        let end = SegmentEnd {
            ended_ns,
            ending,
            egress_packets: sending.egress_packets,
            warnings,
            frozen_ns: self.host.take_frozen_ns(),
            echo_packets: None,
        };
        (end, row)
    }
}

/// What a send meant for its packets.
#[inline]
fn fate(sending: &mut Sending, outcome: SendOutcome) -> Fate {
    match outcome {
        SendOutcome::Sent => Fate::Sent,
        SendOutcome::NoBufs => Fate::Egress,
        SendOutcome::WouldBlock => Fate::Blocked,
        SendOutcome::Refused(refusal) => {
            sending.refusal = Some(refusal);
            Fate::Refused
        }
    }
}
