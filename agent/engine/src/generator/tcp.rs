//! TCP: one connection, large writes of a constant pattern at `max`, writes of an
//! adaptive size at a rate.
//!
//! Metrics: offered and written bytes, time without room in the socket, and
//! TCP_INFO at the end of every row.
//!
//! ```text
//!  Ahead ──► Waiting ──T──► Writing ──time, bytes, stop──► (next segment)
//!                              │ the last one
//!                              ▼
//!                           Draining ──all acknowledged, or too late──► Done
//! ```

mod columns;
mod segment;
mod way;

use std::os::fd::{AsFd, BorrowedFd};

use weir_common::assignment::{Segment, StreamEnd};
use weir_common::record::{DataPath, Ending};

use self::segment::{Over, Schedule, Stream, Writing};
use super::{SegmentEnd, close_said_segment, pacing_name, rng_name, say_final};
use crate::drive::{self, Next, Scratch};
use crate::meter::host::HostMeter;
use crate::session::{STOP_DRAIN_NS, StreamContext};
use crate::socket::TcpConnection;

/// How often a draining connection is asked what is left of it.
const DRAIN_LOOK_NS: u64 = 10_000_000;

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
    /// The last segment's time is over; what was written is being delivered.
    Draining(Writing, SegmentEnd),
}

impl Generator {
    /// A stream with its connection.
    pub(crate) fn new(
        context: StreamContext,
        connection: TcpConnection,
        setup_us: Option<u64>,
    ) -> Self {
        let path = DataPath {
            pacing: Some(pacing_name(context.session.traffic()).to_owned()),
            cc: connection.congestion_control().ok(),
            setup_us,
            rng: rng_name(&context),
            ..DataPath::default()
        };
        Self {
            stream: Stream::new(context, connection),
            path,
            at: 0,
            phase: Phase::Ahead,
        }
    }

    /// Ends the segment under way. What it said of itself is final; the last one is
    /// closed when the connection is.
    fn end(&mut self, mut writing: Writing, segment: Segment, over: Over) {
        let end = self.stream.finish(&mut writing, segment, over);
        let context = &self.stream.context;
        say_final(context, self.at, &end, writing.cohorts);
        let last = self.at + 1 == context.segments().len();
        if !last || matches!(end.ending, Ending::Failed { .. }) {
            self.close(&writing, end);
        } else if context.session.traffic().end == StreamEnd::Abort {
            self.reset();
            self.close(&writing, end);
        } else {
            // An error here is that of a connection that broke just now, which
            // draining finds.
            let _told = self.stream.connection.finish();
            self.phase = Phase::Draining(writing, end);
        }
    }

    /// Looks at a connection that drains; when to look again, if it still does.
    fn drain(&mut self, end: &mut SegmentEnd, now_ns: u64) -> Option<u64> {
        let context = &self.stream.context;
        let begun_ns = context.host_ns(end.ended_ns);
        let mut deadline_ns = begun_ns.saturating_add(context.session.traffic().drain_ns());
        if let Some(stopped_ns) = context.run.stopped_ns() {
            deadline_ns = deadline_ns.min(stopped_ns.saturating_add(STOP_DRAIN_NS));
        }
        let connection = &self.stream.connection;
        if matches!(connection.unacked_bytes(), Ok(0)) {
            return None;
        }
        if let Err(error) = connection.check() {
            end.ending = Ending::Failed {
                reason: format!("while draining: {}", crate::session::describe(&error)),
            };
            return None;
        }
        if now_ns >= deadline_ns {
            end.warnings.push("drain-expired");
            self.reset();
            return None;
        }
        Some(deadline_ns.min(now_ns.saturating_add(DRAIN_LOOK_NS)))
    }

    /// What the peer's host has not taken yet is not delivered any more, from when
    /// the stream is dropped on.
    fn reset(&self) {
        // Refused only of a connection that is gone already.
        let _gone = self.stream.connection.reset_on_drop();
    }

    /// Closes the segment under way, and the rest if the connection is broken.
    fn close(&mut self, writing: &Writing, end: SegmentEnd) {
        let (context, connection) = (&self.stream.context, &self.stream.connection);
        let path = DataPath {
            call: self.stream.writer.call().to_owned(),
            buffer_bytes: connection.buffer_bytes().ok().map(|(send, _)| send as u64),
            mss: connection.info().ok().map(|info| u64::from(info.snd_mss)),
            ..self.path.clone()
        };
        let broken = match &end.ending {
            Ending::Failed { .. } => Some(end.ending.clone()),
            _ => None,
        };
        close_said_segment(context, self.at, &writing.meter, end, path, None);
        self.at += 1;
        if let Some(ending) = broken {
            context.close_rest(self.at, &ending);
            self.at = context.segments().len();
        }
    }
}

impl drive::Stream for Generator {
    fn step(&mut self, now_ns: u64, _scratch: &mut Scratch) -> Next {
        let Some(segment) = self.stream.context.segments().get(self.at).copied() else {
            return Next::Done;
        };
        if let Phase::Writing(writing, schedule) = &mut self.phase {
            match self.stream.go_on(writing, schedule, segment, now_ns) {
                Ok(next) => return next,
                Err(over) => {
                    if let Phase::Writing(writing, _) = self.take_phase() {
                        self.end(writing, segment, over);
                    }
                    return Next::Again;
                }
            }
        }
        let stopped = self.stream.context.run.is_stopped();
        match self.take_phase() {
            Phase::Ahead => {
                let writing = Writing::new(&self.stream, self.at, segment);
                let schedule = Schedule::new(&self.stream.context, self.at, writing.limits);
                self.phase = Phase::Waiting(writing, schedule);
                Next::Again
            }
            Phase::Waiting(writing, schedule) if now_ns < writing.limits.start_ns && !stopped => {
                let start_ns = writing.limits.start_ns;
                self.phase = Phase::Waiting(writing, schedule);
                Next::At(start_ns)
            }
            Phase::Waiting(writing, schedule) => {
                self.stream.begin();
                self.phase = Phase::Writing(writing, schedule);
                Next::Again
            }
            Phase::Draining(writing, mut end) => {
                if let Some(look_ns) = self.drain(&mut end, now_ns) {
                    self.phase = Phase::Draining(writing, end);
                    Next::At(look_ns)
                } else {
                    self.close(&writing, end);
                    Next::Again
                }
            }
            Phase::Writing(..) => Next::Again, // stepped above
        }
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.stream.connection.as_fd()
    }

    fn host(&mut self) -> &mut HostMeter {
        &mut self.stream.host
    }
}

impl Generator {
    fn take_phase(&mut self) -> Phase {
        std::mem::replace(&mut self.phase, Phase::Ahead)
    }
}
