//! Replies of an echo flow: packets that the receiver sent back.
//!
//! A reply carries the number and the time of sending of the packet that it
//! answers, so round-trip times are right however many packets are on their way:
//! from the actual departure to the kernel's stamp of the reply, both on this
//! host's monotonic clock. The first copy counts, if it comes within the linger.
//!
//! ```text
//!            start            end               end + linger
//!  segment i   |─ rows, replies |─ last row held ──|  close
//!  segment i+1                  |─ rows ─ ...
//! ```

use std::collections::VecDeque;

use weir_common::record::{DataPath, DelayColumns, Flags};
use weir_common::stats::{Arrival, LossWindow};
use weir_wire::link::CohortSpan;
use weir_wire::probe_header::{ProbeHeader, ProbeKind};

use super::segment::Sending;
use crate::drive::Scratch;
use crate::generator::{SegmentEnd, close_said_segment};
use crate::meter::flow::Row;
use crate::meter::sending::SendMeter;
use crate::session::{STOP_DRAIN_NS, StreamContext};
use crate::socket::UdpSocket;
use crate::stamps::Stamps;
use crate::wait::realtime_offset;

/// How often replies are read while packets leave: often enough for the receive
/// buffer, seldom enough to share a call's cost among many.
const READ_EVERY_NS: u64 = 1_000_000;

/// See the module. Instants are host monotonic ns.
pub(super) struct Replies {
    stamps: Stamps,
    /// Tells copies and what came too late.
    window: LossWindow,
    read_ns: u64,
    trailing: VecDeque<Trailing>,
}

/// What came back of one segment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Returned {
    pub(super) all: u64,
    pub(super) measured: u64,
}

/// A segment that has been sent and waits for its last replies.
pub(super) struct Trailing {
    pub(super) at: usize,
    pub(super) row: Option<Row>,
    pub(super) meter: SendMeter,
    pub(super) cohorts: [CohortSpan; 2],
    pub(super) returned: Returned,
    pub(super) end: SegmentEnd,
    pub(super) path: DataPath,
    pub(super) control_packets: u64,
}

impl Trailing {
    fn is_whole(&self) -> bool {
        let sent = self.cohorts[0].packets + self.cohorts[1].packets;
        self.returned.all >= sent
    }

    fn deadline_ns(&self, context: &StreamContext) -> u64 {
        let linger_ns = context.run.assignment.linger_ns;
        let due_ns = context.host_ns(self.end.ended_ns).saturating_add(linger_ns);
        let stopped_ns = context.run.stopped_ns();
        stopped_ns.map_or(due_ns, |at_ns| {
            due_ns.min(at_ns.saturating_add(STOP_DRAIN_NS))
        })
    }

    /// A reply after the end of the segment: part of its last row.
    fn enter(&mut self, rtt_ns: u64, measured: bool) {
        self.returned.count(measured);
        let Some(row) = &mut self.row else { return };
        let delay = row.delay.get_or_insert_with(DelayColumns::default);
        delay.rtt.get_or_insert_default().record(rtt_ns);
        let more = row.more.get_or_insert_default();
        more.echo_packets = Some(more.echo_packets.unwrap_or(0) + 1);
        row.span.flags.insert(Flags::LATE_REPORT);
    }

    fn close(self, context: &StreamContext) {
        if let Some(row) = self.row {
            context.session.flows[self.at].row(context.stream, row);
        }
        let end = SegmentEnd {
            echo_packets: Some(self.returned.measured),
            ..self.end
        };
        let control = Some(self.control_packets);
        close_said_segment(context, self.at, &self.meter, end, self.path, control);
    }
}

impl Returned {
    fn count(&mut self, measured: bool) {
        self.all += 1;
        self.measured += u64::from(measured);
    }
}

impl Replies {
    pub(super) fn new(context: &StreamContext) -> Self {
        let now_ns = context.clock().now_ns();
        Self {
            stamps: Stamps::new(realtime_offset(context.clock()), now_ns),
            window: LossWindow::new(context.run.assignment.linger_ns),
            read_ns: now_ns,
            trailing: VecDeque::new(),
        }
    }

    /// Whether it is time to read.
    pub(super) fn are_due(&self, now_ns: u64) -> bool {
        now_ns >= self.read_ns.saturating_add(READ_EVERY_NS)
    }

    /// Reads what has come, for the segment under way and those before it.
    pub(super) fn read(
        &mut self,
        context: &StreamContext,
        socket: &UdpSocket,
        mut sending: Option<&mut Sending>,
        scratch: &mut Scratch,
    ) {
        let (batch, slots) = scratch.batch(false);
        loop {
            // What cannot be read is a lost reply; the flow's own sends tell more.
            let count = batch.receive(socket).unwrap_or(0);
            let now_ns = context.clock().now_ns();
            self.read_ns = now_ns;
            if count == 0 {
                break;
            }
            self.stamps.read(realtime_offset(context.clock()), now_ns);
            for datagram in batch.datagrams() {
                let Ok(header) = ProbeHeader::decode(datagram.payload) else {
                    continue;
                };
                if header.tag == context.tag() && header.kind == ProbeKind::Echo {
                    let arrival_ns = self.stamps.arrival_ns(datagram.realtime_ns);
                    self.enter(&header, arrival_ns, sending.as_deref_mut());
                }
            }
            if count < slots {
                break;
            }
        }
        self.close_due(context);
    }

    /// Counts a reply, if it is the first and in time.
    fn enter(&mut self, header: &ProbeHeader, arrival_ns: u64, sending: Option<&mut Sending>) {
        let Some(send_ns) = header.send_ns else {
            return;
        };
        let of = |cohorts: &[CohortSpan; 2]| {
            let sent = |span: &CohortSpan| {
                let end = span.first_seq + span.packets;
                (span.first_seq..end).contains(&header.sequence)
            };
            cohorts.iter().position(sent)
        };
        let sending = sending.and_then(|sending| Some((of(&sending.cohorts)?, sending)));
        let mut older = self.trailing.iter_mut();
        let trailing = older.find_map(|trailing| Some((of(&trailing.cohorts)?, trailing)));
        // Cohorts do not matter to a window that is never closed.
        let mut first = || {
            let verdict = self
                .window
                .arrival(header.sequence, Some(send_ns), arrival_ns, 1);
            verdict == Arrival::New
        };
        let rtt_ns = arrival_ns.saturating_sub(send_ns);
        if let Some((cohort, sending)) = sending {
            if first() {
                sending.returned.count(cohort == 1);
                sending.meter.reply(rtt_ns);
            }
        } else if let Some((cohort, trailing)) = trailing
            && first()
        {
            trailing.enter(rtt_ns, cohort == 1);
        }
    }

    /// Lets a segment wait for its last replies.
    pub(super) fn trail(&mut self, trailing: Trailing) {
        self.trailing.push_back(trailing);
    }

    /// When the oldest waiting segment is to be closed; `None` without one.
    pub(super) fn deadline_ns(&self, context: &StreamContext) -> Option<u64> {
        let oldest = self.trailing.front()?;
        Some(oldest.deadline_ns(context))
    }

    fn close_due(&mut self, context: &StreamContext) {
        let now_ns = context.clock().now_ns();
        let due =
            |trailing: &Trailing| trailing.is_whole() || now_ns >= trailing.deadline_ns(context);
        while self.trailing.front().is_some_and(due) {
            if let Some(trailing) = self.trailing.pop_front() {
                trailing.close(context);
            }
        }
    }
}
