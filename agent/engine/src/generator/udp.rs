//! UDP: one connected socket, open loop: a send never waits, and what became of
//! every packet is counted.
//!
//! Metrics: offered, tx (with egress), behind, blocked, refused, lateness.

use std::os::fd::{AsFd, BorrowedFd};

use weir_common::assignment::{Rate, Segment, Transport};
use weir_common::record::DataPath;
use weir_wire::link::CohortSpan;
use weir_wire::probe_header::{LENGTH, ProbeHeader, ProbeKind, SHORT_LENGTH};

use super::{SegmentEnd, close_segment, draws, pacing_name, rng_name, share};
use crate::arrival::{Departures, Packet, schedule};
use crate::drive::{self, Next, Scratch};
use crate::meter::host::HostMeter;
use crate::meter::sending::{Fate, RowEnd, SendMeter};
use crate::pacer::{Action, AllOut, AllOutAction, Departure, Limits, Pacer, PacketSize, Precision};
use crate::session::StreamContext;
use crate::socket::{BundleOutcome, Refusal, SendOutcome, UdpSocket, max_bundle};

/// A stream on its way through all its segments.
pub(crate) struct Generator {
    stream: Stream,
    setup_us: Option<u64>,
    control_packets: u64,
    /// The segment under way.
    at: usize,
    phase: Phase,
}

/// Where the segment under way stands.
enum Phase {
    /// Not looked at yet.
    Ahead,
    /// Waits for its start.
    Waiting(Sending, Schedule),
    Sending(Sending, Schedule),
}

/// What is left of a segment.
enum Schedule {
    Paced(Pacer<Departures>),
    AllOut(AllOut),
    /// Nothing more to send, or nothing at all for a reason: rows go on to the end.
    Rest(Option<String>),
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
        let all_out = traffic.rate == Rate::Max;
        let gso = all_out && socket.enable_bundles();
        let most = if all_out { max_bundle(traffic.size) } else { 1 };
        let payload = payload(traffic.size as usize * most as usize);
        let stream = Stream {
            socket,
            gso,
            payload,
            sequence: 0,
            host: context.host_meter(),
            context,
            buffer,
            wake_ns: None,
            full_ns: None,
        };
        Self {
            stream,
            setup_us,
            control_packets,
            at: 0,
            phase: Phase::Ahead,
        }
    }

    fn prepare(&self, segment: Segment) -> Phase {
        let control = if self.at == 0 {
            self.control_packets
        } else {
            0
        };
        let sending = Sending::new(&self.stream, self.at, segment, control);
        let schedule = self.stream.schedule(&sending, self.at);
        Phase::Waiting(sending, schedule)
    }

    fn close(&mut self, mut sending: Sending, segment: Segment, problem: Option<String>) {
        let stream = &mut self.stream;
        let end = stream.finish(&mut sending, segment, problem);
        let traffic = stream.context.session.traffic();
        let call = if stream.gso && stream.socket.bundles() {
            "gso"
        } else {
            "send"
        };
        let path = DataPath {
            call: call.to_owned(),
            gso: Some(if call == "gso" { "on" } else { "off" }.to_owned()),
            pacing: Some(pacing_name(traffic.rate).to_owned()),
            buffer_bytes: stream.buffer.map(|(bytes, _)| bytes),
            buffer_forced: stream.buffer.map(|(_, forced)| forced),
            setup_us: self.setup_us,
            rng: rng_name(&stream.context),
            ..DataPath::default()
        };
        let control = if self.at == 0 {
            self.control_packets
        } else {
            0
        };
        let Sending { meter, cohorts, .. } = &sending;
        let context = &stream.context;
        close_segment(context, self.at, meter, end, *cohorts, path, Some(control));
        self.at += 1;
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
            Phase::Waiting(sending, _) if now_ns < sending.limits.start_ns && !stopped => {
                Next::At(sending.limits.start_ns)
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
        self.stream.socket.as_fd()
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

struct Stream {
    context: StreamContext,
    socket: UdpSocket,
    /// Bundles were asked for, and the kernel has them.
    gso: bool,
    payload: Vec<u8>,
    sequence: u64,
    host: HostMeter,
    buffer: Option<(u64, bool)>,
    /// When the stream was to be woken for its next departure.
    wake_ns: Option<u64>,
    /// Since when it waits for room in the socket.
    full_ns: Option<u64>,
}

/// One segment under way.
struct Sending {
    meter: SendMeter,
    /// Warm-up and measured window.
    cohorts: [CohortSpan; 2],
    limits: Limits,
    /// End of the current row; `u64::MAX` in the last one, which ends the segment.
    cut_ns: u64,
    egress_packets: u64,
    blocked: bool,
    refusal: Option<Refusal>,
    offered: (u64, u64),
}

impl Sending {
    fn new(stream: &Stream, at: usize, segment: Segment, control: u64) -> Self {
        let context = &stream.context;
        let traffic = context.session.traffic();
        let mut meter = SendMeter::new(Transport::Udp, segment, context.run.assignment.interval_ns);
        meter.control(control);
        let cohort = |measured: u8| CohortSpan {
            cohort: (at as u8) << 1 | measured,
            first_seq: stream.sequence,
            packets: 0,
            bytes: 0,
        };
        let limits = Limits {
            start_ns: context.host_ns(segment.start_ns),
            duration_ns: Some(segment.length_ns),
            packets: share(traffic.packets, context.stream, context.streams()),
            bytes: share(traffic.bytes, context.stream, context.streams()),
        };
        let mut sending = Self {
            meter,
            cohorts: [cohort(0), cohort(1)],
            limits,
            cut_ns: 0,
            egress_packets: 0,
            blocked: false,
            refusal: None,
            offered: (0, 0),
        };
        sending.set_cut();
        sending
    }

    fn set_cut(&mut self) {
        self.cut_ns = if self.meter.is_last_row() {
            u64::MAX
        } else {
            self.meter.next_cut_ns()
        };
    }

    /// Whether the segment's own number of packets or bytes was offered.
    fn is_used_up(&self) -> bool {
        self.limits
            .packets
            .is_some_and(|packets| self.offered.0 >= packets)
            || self
                .limits
                .bytes
                .is_some_and(|bytes| self.offered.1 >= bytes)
    }

    #[inline]
    fn count(&mut self, fate: Fate, packets: u64, bytes: u64, measured: bool) {
        self.offered.0 += packets;
        self.offered.1 += bytes;
        self.meter.count(fate, packets, bytes, measured);
        if matches!(fate, Fate::Sent | Fate::Egress) {
            let cohort = &mut self.cohorts[usize::from(measured)];
            cohort.packets += packets;
            cohort.bytes += bytes;
            if !measured {
                self.cohorts[1].first_seq += packets;
            }
        }
        match fate {
            Fate::Egress => self.egress_packets += packets,
            Fate::Blocked => self.blocked = true,
            _ => {}
        }
    }
}

impl Stream {
    /// The departures of a segment.
    fn schedule(&self, sending: &Sending, at: usize) -> Schedule {
        let traffic = self.context.session.traffic();
        let size = traffic.size;
        let floor = if size as usize >= LENGTH {
            LENGTH
        } else {
            SHORT_LENGTH
        };
        let floor = floor as u32;
        let packet = Packet {
            bytes: size,
            overhead_bytes: 0,
        };
        let streams = self.context.streams();
        match schedule(traffic, packet, streams, draws(&self.context, at)) {
            Ok(Some(departures)) => Schedule::Paced(Pacer::new(departures, floor, sending.limits)),
            Ok(None) => {
                let size = PacketSize::new(size, floor);
                Schedule::AllOut(AllOut::new(size, sending.limits))
            }
            Err(error) => Schedule::Rest(Some(format!("pace packets: {error}"))),
        }
    }

    /// A wait is over: how late, and how long it was for want of room.
    #[inline]
    fn woke(&mut self, sending: &mut Sending, now_ns: u64) {
        if let Some(wake_ns) = self.wake_ns.take() {
            self.host.woke(wake_ns, now_ns);
        }
        if let Some(full_ns) = self.full_ns.take() {
            sending.meter.held_back(now_ns.saturating_sub(full_ns));
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
        pacer: &mut Pacer<Departures>,
        now_ns: u64,
    ) -> Option<Next> {
        match pacer.next(now_ns) {
            Action::Send(departure) => self.depart(sending, departure, now_ns),
            Action::Behind(Departure { due_ns, bytes }) => {
                let due_ns = due_ns.saturating_sub(self.context.t0_ns);
                let measured = sending.meter.is_measured(due_ns);
                sending.count(Fate::Behind, 1, u64::from(bytes), measured);
            }
            Action::WaitUntil(due_ns) => {
                let until_ns = due_ns.min(self.context.host_ns(sending.cut_ns));
                self.wake_ns = Some(until_ns);
                return Some(Next::At(until_ns));
            }
            Action::Done => return None,
        }
        Some(Next::Again)
    }

    #[inline]
    fn depart(&mut self, sending: &mut Sending, departure: Departure, now_ns: u64) {
        let from_t0_ns = now_ns.saturating_sub(self.context.t0_ns);
        let due_ns = departure.due_ns.saturating_sub(self.context.t0_ns);
        let measured = sending.meter.is_measured(due_ns);
        let bytes = departure.bytes as usize;
        self.stamp(
            0,
            bytes,
            sending.cohorts[usize::from(measured)].cohort,
            0,
            now_ns,
        );
        let mut outcome = self.socket.send(&self.payload[..bytes]);
        while matches!(outcome, SendOutcome::WouldBlock) && self.grow_buffer() {
            outcome = self.socket.send(&self.payload[..bytes]);
        }
        let fate = match outcome {
            SendOutcome::Sent => Fate::Sent,
            SendOutcome::NoBufs => Fate::Egress,
            SendOutcome::WouldBlock => Fate::Blocked,
            SendOutcome::Refused(refusal) => {
                sending.refusal = Some(refusal);
                Fate::Refused
            }
        };
        if matches!(fate, Fate::Sent | Fate::Egress) {
            self.sequence += 1;
            sending.meter.departed(due_ns, from_t0_ns);
        }
        sending.count(fate, 1, bytes as u64, measured);
    }

    /// Doubles the send buffer where that may be forced: a buffer that is full hides
    /// the queue behind it, which alone is to decide what is lost. Says no for good
    /// once it may not, or once the buffer is as large as any queue should be.
    #[cold]
    fn grow_buffer(&mut self) -> bool {
        let Some((bytes, true)) = self.buffer else {
            return false;
        };
        if bytes >= SEND_BUFFER_MOST {
            return false;
        }
        // The kernel doubles what it is asked for.
        let grown = self.socket.force_send_buffer(bytes as usize);
        let grown = grown.map_or(bytes, |size| size.bytes as u64);
        self.buffer = Some((grown.max(bytes), grown > bytes));
        grown > bytes
    }

    /// A step without a schedule: fill the socket, or wait for room; `None` at the end.
    #[inline]
    fn all_out(&mut self, sending: &mut Sending, pacer: &mut AllOut, now_ns: u64) -> Option<Next> {
        // One by one each send is its own outcome; only a bundle shares one.
        let most = if self.socket.bundles() {
            max_bundle(self.context.session.traffic().size)
        } else {
            1
        };
        match pacer.next(now_ns, most) {
            AllOutAction::WaitUntil(start_ns) => Some(Next::At(start_ns)),
            AllOutAction::Done => None,
            AllOutAction::Send { packets, bytes } => {
                let outcome = self.bundle(sending, packets, bytes, now_ns);
                pacer.sent(packets - outcome.blocked, bytes);
                if outcome.blocked == 0 {
                    return Some(Next::Again);
                }
                // Full: without a schedule nothing is lost by waiting.
                self.full_ns = Some(now_ns);
                let end_ns = sending.limits.start_ns + sending.limits.duration_ns.unwrap_or(0);
                Some(Next::Writable(
                    end_ns.min(self.context.host_ns(sending.cut_ns)),
                ))
            }
        }
    }

    #[inline]
    fn bundle(
        &mut self,
        sending: &mut Sending,
        packets: u32,
        bytes: u32,
        now_ns: u64,
    ) -> BundleOutcome {
        let from_t0_ns = now_ns.saturating_sub(self.context.t0_ns);
        let measured = sending.meter.is_measured(from_t0_ns);
        let cohort = sending.cohorts[usize::from(measured)].cohort;
        let size = bytes as usize;
        for packet in 0..packets {
            self.stamp(
                packet as usize * size,
                size,
                cohort,
                u64::from(packet),
                now_ns,
            );
        }
        let whole = packets as usize * size;
        let outcome = self
            .socket
            .send_bundle(&self.payload[..whole], bytes as u16);
        self.sequence += u64::from(outcome.sent + outcome.no_bufs);
        for (fate, count) in [
            (Fate::Sent, outcome.sent),
            (Fate::Egress, outcome.no_bufs),
            (Fate::Refused, outcome.refused),
        ] {
            if count > 0 {
                sending.count(
                    fate,
                    u64::from(count),
                    u64::from(count) * u64::from(bytes),
                    measured,
                );
            }
        }
        if outcome.sent + outcome.no_bufs > 0 {
            sending.meter.sent_first(from_t0_ns);
        }
        sending.refusal = outcome.refusal.or(sending.refusal);
        outcome
    }

    /// Writes the header of packet `ahead` of the next one at `at` in the payload.
    #[inline]
    fn stamp(&mut self, at: usize, bytes: usize, cohort: u8, ahead: u64, now_ns: u64) {
        let header = ProbeHeader {
            tag: self.context.tag(),
            kind: ProbeKind::Data { cohort },
            sequence: self.sequence + ahead,
            send_ns: Some(now_ns),
        };
        header
            .encode(&mut self.payload[at..at + bytes])
            .expect("sizes are at least 12, cohorts below 128, 2^56 packets are not sent");
    }

    /// The schedule is over before its time, or exactly then: rows go on to the end.
    fn rest(&self, sending: &Sending, segment: Segment, now_ns: u64) -> Option<Next> {
        let end_ns = self.context.host_ns(segment.end_ns());
        let cut_ns = self.context.host_ns(sending.cut_ns);
        (now_ns < end_ns).then_some(Next::At(end_ns.min(cut_ns)))
    }

    fn row_end(&mut self) -> RowEnd {
        let sndbuf_bytes = self.buffer.map(|(bytes, _)| bytes);
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

    fn finish(
        &mut self,
        sending: &mut Sending,
        segment: Segment,
        problem: Option<String>,
    ) -> SegmentEnd {
        let now_ns = self.context.now_ns();
        let before_end = self.context.run.is_stopped() || sending.is_used_up();
        let ended_ns = if before_end {
            now_ns.min(segment.end_ns())
        } else {
            segment.end_ns()
        };
        if ended_ns > segment.start_ns {
            while sending.cut_ns <= ended_ns {
                self.cut(sending);
            }
            let end = self.row_end();
            let row = sending.meter.finish(ended_ns, end);
            let at = usize::from(sending.cohorts[0].cohort >> 1);
            self.context.session.flows[at].row(self.context.stream, row);
        }
        // Queued ICMP errors fill the receive account; nothing else reads them.
        let _icmp = self.socket.take_errors();
        let mut warnings = Vec::new();
        if sending.blocked {
            warnings.push("buffer-below-queue");
        }
        warnings.extend(sending.refusal.map(refusal_code));
        let ending = match problem {
            Some(reason) => weir_common::record::Ending::Failed { reason },
            None if ended_ns < segment.end_ns() && !sending.is_used_up() => self.context.ending(),
            None => weir_common::record::Ending::Completed,
        };
        SegmentEnd {
            ended_ns,
            ending,
            egress_packets: sending.egress_packets,
            warnings,
            frozen_ns: self.host.take_frozen_ns(),
        }
    }
}

/// What a refused packet is reported as.
fn refusal_code(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NotPermitted => "refused-not-permitted",
        Refusal::TooLarge => "refused-too-large",
        Refusal::Unreachable => "refused-unreachable",
        Refusal::PortUnreachable => "refused-port-unreachable",
        Refusal::Other(_) => "refused-other",
    }
}

/// Payload that no link compresses: a fixed pseudo-random pattern (xorshift, George
/// Marsaglia 2003), the same in every run.
fn payload(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(&mut next).take(bytes).collect()
}

/// As far as a send buffer grows by itself, bytes as the kernel counts them: a queue
/// of five seconds at 100 Mbit/s.
const SEND_BUFFER_MOST: u64 = 128 << 20;
