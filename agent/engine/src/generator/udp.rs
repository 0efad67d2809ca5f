//! UDP: one connected socket, open loop unless asked to wait: a send never waits,
//! and what became of every packet is counted.
//!
//! Metrics: offered, tx (with egress), behind, blocked, refused, lateness; round-trip
//! times by echo.

mod replies;
mod schedule;
mod segment;
mod sender;
mod stream;

use std::os::fd::{AsFd, BorrowedFd};

use weir_common::assignment::{OnFull, Rate, Segment, SocketTraffic};
use weir_common::record::DataPath;

use self::replies::{Replies, Trailing};
use self::schedule::{Schedule, Streams, bundle_most};
use self::segment::Sending;
use self::sender::Sender;
use self::stream::Stream;
use super::{close_segment, draws, pacing_name, rng_name, say_final};
use crate::drive::{self, Next, Scratch};
use crate::meter::host::HostMeter;
use crate::pacer::Precision;
use crate::session::StreamContext;
use crate::socket::UdpSocket;

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
