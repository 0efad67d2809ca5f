//! Steps of a segment: what is sent when, what becomes of it, and its rows.

use weir_common::assignment::Segment;
use weir_common::record::Ending;

use super::schedule::{Schedule, Streams, Timed};
use super::segment::Sending;
use super::sender::{Sender, refusal_code};
use crate::drive::Next;
use crate::generator::SegmentEnd;
use crate::meter::flow::Row;
use crate::meter::host::HostMeter;
use crate::meter::sending::{Fate, RowEnd};
use crate::pacer::{Action, AllOut, AllOutAction, Departure, Pacer};
use crate::session::StreamContext;
use crate::socket::SendOutcome;

/// One stream's socket and what it waits for.
pub(super) struct Stream {
    pub(super) context: StreamContext,
    pub(super) sender: Sender,
    pub(super) streams: Streams,
    /// How many datagrams may leave together.
    pub(super) most: u32,
    /// Bundles were wanted, and the kernel has none.
    pub(super) lacks_bundles: bool,
    /// Whether a full socket is waited for.
    pub(super) waits: bool,
    pub(super) host: HostMeter,
    /// When the stream was to be woken for its next departure.
    pub(super) wake_ns: Option<u64>,
    /// Since when it waits for room in the socket.
    pub(super) full_ns: Option<u64>,
    /// Until when the socket last held it back.
    pub(super) held_until_ns: u64,
}

impl Stream {
    /// A wait is over: how late, and how long it was for want of room.
    #[inline]
    pub(super) fn woke(&mut self, sending: &mut Sending, now_ns: u64) {
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
    pub(super) fn go_on(
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
    pub(super) fn paced(
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
    pub(super) fn give_up(&mut self, sending: &mut Sending, departure: Departure) {
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
    pub(super) fn depart(
        &mut self,
        sending: &mut Sending,
        pacer: &mut Pacer<Timed>,
        now_ns: u64,
    ) -> Next {
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
    pub(super) fn all_out(
        &mut self,
        sending: &mut Sending,
        pacer: &mut AllOut,
        now_ns: u64,
    ) -> Option<Next> {
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
    pub(super) fn wait_for_room(&mut self, sending: &Sending, now_ns: u64) -> Next {
        self.full_ns = Some(now_ns);
        let cut_ns = self.context.host_ns(sending.cut_ns);
        Next::Writable(sending.limits.end_ns().min(cut_ns))
    }

    /// The schedule is over before its time, or exactly then: rows go on to the end.
    pub(super) fn rest(&self, sending: &Sending, segment: Segment, now_ns: u64) -> Option<Next> {
        let end_ns = self.context.host_ns(segment.end_ns());
        let cut_ns = self.context.host_ns(sending.cut_ns);
        (now_ns < end_ns).then_some(Next::At(end_ns.min(cut_ns)))
    }

    pub(super) fn row_end(&mut self) -> RowEnd {
        let sndbuf_bytes = self.sender.buffer.map(|(bytes, _)| bytes);
        RowEnd {
            host: self.host.sample(),
            sndbuf_bytes,
            ..RowEnd::default()
        }
    }

    pub(super) fn cut(&mut self, sending: &mut Sending) {
        let end = self.row_end();
        let row = sending.meter.cut(end);
        sending.set_cut();
        let segment = usize::from(sending.cohorts[0].cohort >> 1);
        self.context.session.flows[segment].row(self.context.stream, row);
    }

    /// Ends the segment: how it ended, and its last row.
    pub(super) fn finish(
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
