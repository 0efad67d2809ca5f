//! UDP: one connected socket, open loop: a send never waits, and what became of
//! every packet is counted.
//!
//! Metrics: offered, tx (with egress), behind, blocked, refused, lateness.

use weir_common::assignment::{Arrival as Law, Rate, Segment, Transport};
use weir_common::record::DataPath;
use weir_wire::link::CohortSpan;
use weir_wire::probe_header::{LENGTH, ProbeHeader, ProbeKind, SHORT_LENGTH};

use super::{SegmentEnd, close_segment, draw_stream, pacing_name, rng_name, share};
use crate::arrival::{Arrival, ArrivalError, MeanSpacing};
use crate::meter::host::HostMeter;
use crate::meter::sending::{Fate, RowEnd, SendMeter};
use crate::pacer::{Action, AllOut, AllOutAction, Departure, Limits, Pacer, PacketSize};
use crate::session::StreamContext;
use crate::socket::{BundleOutcome, Refusal, SendOutcome, UdpSocket, Woke, max_bundle};
use crate::wait::{wait_until, wait_writable};

/// Runs a stream through all its segments.
pub(crate) fn run(
    context: &StreamContext,
    socket: &UdpSocket,
    (control_packets, buffer, _gro): (u64, Option<(u64, bool)>, bool),
    setup_us: Option<u64>,
) {
    let traffic = context.session.traffic();
    let all_out = traffic.rate == Rate::Max;
    let bundles = all_out && socket.enable_bundles();
    let most = if all_out { max_bundle(traffic.size) } else { 1 };
    let mut stream = Stream {
        context,
        socket,
        payload: payload(traffic.size as usize * most as usize),
        sequence: 0,
        host: HostMeter::new(),
        buffer,
    };
    for (at, segment) in context.segments().iter().enumerate() {
        let control = if at == 0 { control_packets } else { 0 };
        let mut sending = Sending::new(&stream, at, *segment, control);
        let end = stream.segment(&mut sending, at, *segment);
        let call = match (all_out, bundles && socket.bundles()) {
            (true, true) => "gso",
            _ => "send",
        };
        let path = DataPath {
            call: call.to_owned(),
            gso: Some(if call == "gso" { "on" } else { "off" }.to_owned()),
            pacing: Some(pacing_name(traffic.rate).to_owned()),
            buffer_bytes: stream.buffer.map(|(bytes, _)| bytes),
            buffer_forced: stream.buffer.map(|(_, forced)| forced),
            setup_us,
            rng: rng_name(context),
            ..DataPath::default()
        };
        let Sending { meter, cohorts, .. } = &sending;
        close_segment(context, at, meter, end, *cohorts, path, Some(control));
    }
}

struct Stream<'a> {
    context: &'a StreamContext,
    socket: &'a UdpSocket,
    payload: Vec<u8>,
    sequence: u64,
    host: HostMeter,
    buffer: Option<(u64, bool)>,
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
    fn new(stream: &Stream<'_>, at: usize, segment: Segment, control: u64) -> Self {
        let context = stream.context;
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

impl Stream<'_> {
    fn segment(&mut self, sending: &mut Sending, at: usize, segment: Segment) -> SegmentEnd {
        let context = self.context;
        let (clock, stop) = (context.clock(), &context.run.stop);
        let mut problem = None;
        let start_ns = context.host_ns(segment.start_ns);
        let stopped =
            context.run.is_stopped() || wait_until(clock, stop, start_ns) == Woke::Stopped;
        let traffic = context.session.traffic();
        // The host's figures between segments belong to no row.
        self.host.sample();
        self.host.take_frozen_ns();
        if !stopped {
            match schedule(context, at) {
                Ok(Some((arrival, offset_ns))) => {
                    let floor = if traffic.size as usize >= LENGTH {
                        LENGTH
                    } else {
                        SHORT_LENGTH
                    };
                    let size = PacketSize::new(traffic.size, floor as u32);
                    let arrival = arrival.map(move |ns| ns.saturating_add(offset_ns));
                    self.paced(sending, Pacer::new(arrival, size, sending.limits));
                }
                Ok(None) => self.all_out(sending),
                Err(error) => problem = Some(format!("pace packets: {error}")),
            }
        }
        if !context.run.is_stopped() && !sending.is_used_up() {
            self.wait_for_end(sending, segment);
        }
        self.finish(sending, segment, problem)
    }

    /// The hot loop of a schedule: wait, send, count.
    fn paced(&mut self, sending: &mut Sending, mut pacer: Pacer<impl Iterator<Item = u64>>) {
        let context = self.context;
        let (clock, run) = (context.clock(), &*context.run);
        while !run.is_stopped() {
            let now_ns = clock.now_ns();
            let from_t0_ns = now_ns.saturating_sub(context.t0_ns);
            if from_t0_ns >= sending.cut_ns {
                self.cut(sending);
                continue;
            }
            match pacer.next(now_ns) {
                Action::Send(departure) => self.depart(sending, departure, now_ns),
                Action::Behind(Departure { due_ns, bytes }) => {
                    let due_ns = due_ns.saturating_sub(context.t0_ns);
                    let measured = sending.meter.is_measured(due_ns);
                    sending.count(Fate::Behind, 1, u64::from(bytes), measured);
                }
                Action::WaitUntil(due_ns) => {
                    let until_ns = due_ns.min(context.host_ns(sending.cut_ns));
                    wait_until(clock, &run.stop, until_ns);
                    self.host.woke(until_ns, clock.now_ns());
                }
                Action::Done => return,
            }
        }
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

    /// The hot loop without a schedule: fill the socket, wait for room.
    fn all_out(&mut self, sending: &mut Sending) {
        let context = self.context;
        let (clock, run) = (context.clock(), &*context.run);
        let size = context.session.traffic().size;
        let floor = if size as usize >= LENGTH {
            LENGTH
        } else {
            SHORT_LENGTH
        } as u32;
        let mut pacer = AllOut::new(PacketSize::new(size, floor), sending.limits);
        while !run.is_stopped() {
            let now_ns = clock.now_ns();
            let from_t0_ns = now_ns.saturating_sub(context.t0_ns);
            if from_t0_ns >= sending.cut_ns {
                self.cut(sending);
                continue;
            }
            // One by one each send is its own outcome; only a bundle shares one.
            let most = if self.socket.bundles() {
                max_bundle(size)
            } else {
                1
            };
            match pacer.next(now_ns, most) {
                AllOutAction::WaitUntil(start_ns) => {
                    wait_until(clock, &run.stop, start_ns);
                }
                AllOutAction::Done => return,
                AllOutAction::Send { packets, bytes } => {
                    let outcome = self.bundle(sending, packets, bytes, now_ns);
                    pacer.sent(packets - outcome.blocked, bytes);
                    if outcome.blocked > 0 {
                        self.wait_for_room(sending, now_ns);
                    }
                }
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

    /// Full: without a schedule nothing is lost by waiting.
    fn wait_for_room(&mut self, sending: &mut Sending, now_ns: u64) {
        let context = self.context;
        let end_ns = sending.limits.start_ns + sending.limits.duration_ns.unwrap_or(0);
        let until_ns = end_ns.min(context.host_ns(sending.cut_ns));
        wait_writable(
            context.clock(),
            self.socket,
            Some(&context.run.stop),
            until_ns,
        );
        sending
            .meter
            .held_back(context.clock().now_ns().saturating_sub(now_ns));
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
    fn wait_for_end(&mut self, sending: &mut Sending, segment: Segment) {
        let context = self.context;
        let end_ns = context.host_ns(segment.end_ns());
        while !context.run.is_stopped() {
            let until_ns = end_ns.min(context.host_ns(sending.cut_ns));
            if wait_until(context.clock(), &context.run.stop, until_ns) == Woke::Stopped {
                return;
            }
            if until_ns == end_ns {
                return;
            }
            self.cut(sending);
        }
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
        let context = self.context;
        let now_ns = context.now_ns();
        let before_end = context.run.is_stopped() || sending.is_used_up();
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
            context.session.flows[at].row(context.stream, row);
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
            None if ended_ns < segment.end_ns() && !sending.is_used_up() => context.ending(),
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

/// The departures of this stream in a segment and by how much they are put off, so
/// that the streams of a constant law take turns; `None` without a schedule.
fn schedule(
    context: &StreamContext,
    segment: usize,
) -> Result<Option<(Arrival, u64)>, ArrivalError> {
    let traffic = context.session.traffic();
    let streams = context.streams();
    let (period_ns, packets) = match traffic.rate {
        Rate::Max => return Ok(None),
        Rate::BitsPerSecond(rate) => (u64::from(traffic.size) * 8_000_000_000, rate),
        Rate::MilliPacketsPerSecond(rate) => (1_000_000_000_000, rate),
    };
    let spacing = MeanSpacing::new(period_ns.saturating_mul(streams), packets)?;
    let turn_ns = spacing.mean_ns() / streams as f64 * f64::from(context.stream);
    Ok(Some(match traffic.arrival {
        Law::Constant => (Arrival::constant(spacing), turn_ns as u64),
        Law::Exponential => {
            let seed = context.run.assignment.seed;
            (
                Arrival::exponential(spacing, seed, draw_stream(context, segment))?,
                0,
            )
        }
    }))
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
