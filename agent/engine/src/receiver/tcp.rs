//! TCP: one connection, read without copying (MSG_TRUNC), or with `verify` read and
//! compared with what was written.
//!
//! Metrics: bytes read in the window, drained after it, and never read; bytes that
//! are not those written; segments that arrived.

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};

use weir_common::record::{DataPath, Ending};

use super::{Finals, LOOK_EVERY_NS, LOOK_SOON_NS, give_out};
use crate::drive::{self, Next, Scratch};
use crate::meter::bytes::ByteMeter;
use crate::meter::host::HostMeter;
use crate::session::{STOP_DRAIN_NS, StreamContext};
use crate::socket::{TcpConnection, Transfer, mismatches};

/// Bytes taken at most by one call; nothing is copied, so it may be large.
const READ_BYTES: usize = 4 << 20;

/// How far the clocks of the two ends may be apart where a reset is judged.
const CLOCKS_APART_NS: u64 = 1_000_000_000;

/// How long a stream that has ended waits for the final count, which leaves the
/// generator at the same moment over the link.
const FINAL_GRACE_NS: u64 = 1_000_000_000;

/// A stream on its way through all its segments.
pub(crate) struct Receiver {
    context: StreamContext,
    connection: TcpConnection,
    meter: ByteMeter,
    finals: Finals,
    host: HostMeter,
    ended: Option<Ended>,
    path: DataPath,
    /// Bytes read in all segments.
    position: u64,
    /// Segments that had arrived at the last sample (tcpi_segs_in).
    segs_in: Option<u32>,
    /// When the stream is to be woken if nothing comes.
    wake_ns: Option<u64>,
}

/// Nothing more comes: since when (from T0, ns), and why if it broke.
struct Ended {
    at_ns: u64,
    broken: Option<String>,
    /// The peer reset the connection.
    reset: bool,
}

impl Receiver {
    /// A stream with its connection.
    pub(crate) fn new(
        context: StreamContext,
        connection: TcpConnection,
        setup_us: Option<u64>,
    ) -> Self {
        let path = DataPath {
            call: if context.session.traffic().verify {
                "read"
            } else {
                "recv-trunc"
            }
            .to_owned(),
            cc: connection.congestion_control().ok(),
            mss: connection.info().ok().map(|info| u64::from(info.snd_mss)),
            setup_us,
            ..DataPath::default()
        };
        let interval_ns = context.run.assignment.interval_ns;
        Self {
            meter: ByteMeter::new(context.segments().to_vec(), interval_ns),
            connection,
            finals: Finals::default(),
            host: context.host_meter(),
            context,
            ended: None,
            path,
            position: 0,
            segs_in: None,
            wake_ns: None,
        }
    }
}

impl drive::Stream for Receiver {
    /// Reads once, cuts rows, closes segments, says what it waits for.
    fn step(&mut self, now_ns: u64, scratch: &mut Scratch) -> Next {
        if let Some(wake_ns) = self.wake_ns.take() {
            self.host.woke(wake_ns, now_ns);
        }
        if self.meter.front().is_none() {
            return Next::Done;
        }
        if now_ns < self.context.t0_ns && !self.context.run.is_stopped() {
            return Next::At(self.context.t0_ns);
        }
        if self.segs_in.is_none() {
            self.take_segments();
        }
        let idle = self.take_in(scratch);
        let now_ns = self.context.now_ns();
        self.advance(now_ns);
        let deadline_ns = loop {
            match self.look_at_front(now_ns) {
                Some(deadline_ns) => break deadline_ns,
                None if self.meter.front().is_none() => break now_ns,
                None => {}
            }
        };
        self.flush();
        if !idle || self.meter.front().is_none() {
            return Next::Again;
        }
        let until_ns = deadline_ns.min(self.meter.next_cut_ns());
        if self.ended.is_some() {
            // The end stays readable: only the clock counts now.
            let until_ns = until_ns.min(now_ns + LOOK_SOON_NS);
            return Next::At(self.context.host_ns(until_ns));
        }
        let host_ns = self.context.host_ns(until_ns);
        self.wake_ns = Some(host_ns);
        Next::Readable(host_ns)
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }

    fn host(&mut self) -> &mut HostMeter {
        &mut self.host
    }
}

impl Receiver {
    /// One read; whether there is nothing more now.
    fn take_in(&mut self, scratch: &mut Scratch) -> bool {
        if self.ended.is_some() {
            return true;
        }
        let (result, most) = if self.context.session.traffic().verify {
            let buffer = scratch.payload();
            (self.connection.read(buffer), buffer.len())
        } else {
            (self.connection.discard(READ_BYTES), READ_BYTES)
        };
        let now_ns = self.context.now_ns();
        let error = match result {
            Ok(Transfer::Moved(count)) => {
                self.advance(now_ns);
                self.meter.read(now_ns, count as u64);
                if self.context.session.traffic().verify {
                    let wrong = mismatches(self.position, &scratch.payload()[..count]);
                    self.meter.corrupt(wrong);
                }
                self.position += count as u64;
                // Less than was asked for is all there was: to ask again would cost
                // a call for nothing.
                return count < most;
            }
            Ok(Transfer::WouldBlock) => return true,
            Ok(Transfer::Closed) => None,
            Err(error) => Some(error),
        };
        self.ended = Some(Ended {
            at_ns: now_ns,
            reset: error
                .as_ref()
                .is_some_and(|error| error.kind() == ErrorKind::ConnectionReset),
            broken: error.as_ref().map(crate::session::describe),
        });
        true
    }

    /// Segments that have arrived since the last call.
    fn take_segments(&mut self) -> Option<u64> {
        let now = self.connection.info().ok()?.segs_in;
        let before = std::mem::replace(&mut self.segs_in, now);
        Some(u64::from(now?.wrapping_sub(before?)))
    }

    /// Cuts the rows that are due, with what the host says of them.
    fn advance(&mut self, now_ns: u64) {
        if now_ns >= self.meter.next_cut_ns() {
            self.sample();
            self.meter.advance(now_ns);
        }
    }

    fn sample(&mut self) {
        let rcvbuf = self
            .connection
            .buffer_bytes()
            .ok()
            .map(|(_, receive)| receive as u64);
        let sample = self.host.sample();
        let segments = self.take_segments();
        self.meter.host(&sample, rcvbuf, segments);
    }

    /// Closes the front segment if it is time (`None`), or says when to look again.
    ///
    /// 1. All its bytes are read, by the final count: close it.
    /// 2. The stream has ended: close it as soon as the final count is known, which
    ///    a link brings within [`FINAL_GRACE_NS`].
    /// 3. Without a link a segment that another follows ends with its time.
    /// 4. Otherwise at the end of linger and grace; after a stop within
    ///    [`STOP_DRAIN_NS`].
    fn look_at_front(&mut self, now_ns: u64) -> Option<u64> {
        let context = &self.context;
        let front = self.meter.front()?;
        let segment = context.segments()[front];
        let is_last = front + 1 == context.segments().len();
        let last = self.finals.of(context, front);
        let complete = last.is_some_and(|last| self.meter.finish_at(last));
        // While nothing can end it, the link need not be looked at.
        let quiet = now_ns < segment.end_ns() && self.ended.is_none() && !context.run.is_stopped();
        if quiet && !complete {
            return Some(segment.end_ns().min(now_ns.saturating_add(LOOK_EVERY_NS)));
        }
        let known = last.is_some() || context.session.link().is_none();
        let drained_ns = segment
            .end_ns()
            .saturating_add(context.run.assignment.linger_ns)
            .saturating_add(context.session.traffic().drain_ns());
        let by_time = known && last.is_none() && !is_last;
        let mut deadline_ns = if by_time {
            segment.end_ns()
        } else {
            drained_ns
        };
        if let Some(stopped_ns) = context.run.stopped_ns() {
            let stopped_ns = stopped_ns.saturating_sub(context.t0_ns);
            deadline_ns = deadline_ns.min(stopped_ns.saturating_add(STOP_DRAIN_NS));
        }
        if let Some(ended) = &self.ended {
            let grace_ns = if known { 0 } else { FINAL_GRACE_NS };
            deadline_ns = deadline_ns.min(ended.at_ns.saturating_add(grace_ns));
        }
        if !complete && now_ns < deadline_ns {
            let soon = now_ns >= segment.end_ns() || self.ended.is_some();
            let look_ns = if soon { LOOK_SOON_NS } else { LOOK_EVERY_NS };
            return Some(deadline_ns.min(now_ns.saturating_add(look_ns)));
        }
        let last = last.cloned();
        let said_ns = last.as_ref().map(|last| last.ended_ns);
        let ending = self.ending(said_ns, complete, front, now_ns);
        self.sample();
        self.meter.close_front(now_ns, last.as_ref(), ending);
        None
    }

    /// How a segment ended, seen from here.
    fn ending(&self, said_ns: Option<u64>, complete: bool, front: usize, now_ns: u64) -> Ending {
        let end_ns = self.context.segments()[front].end_ns();
        let stopped = self.context.run.is_stopped();
        match &self.ended {
            _ if complete && said_ns.is_some_and(|said_ns| said_ns >= end_ns) => Ending::Completed,
            _ if stopped => self.context.ending(),
            _ if complete => Ending::Completed,
            Some(ended) if ended.reset && self.is_planned(said_ns, ended.at_ns) => {
                Ending::Completed
            }
            Some(Ended {
                broken: Some(reason),
                ..
            }) => Ending::Failed {
                reason: reason.clone(),
            },
            Some(ended) if ended.at_ns < end_ns && said_ns.is_none() => {
                let peer = self.connection.peer_addr();
                Ending::Failed {
                    reason: format!("{peer}/tcp closed before the flow's end"),
                }
            }
            _ if now_ns < end_ns => self.context.ending(),
            _ => Ending::Completed,
        }
    }

    /// Whether a reset at `at_ns` is how the generator was to end, once it has said
    /// its final count: at once (`end = "abort"`), or after its time to drain.
    fn is_planned(&self, said_ns: Option<u64>, at_ns: u64) -> bool {
        let drain_ns = self.context.session.traffic().drain_ns();
        said_ns.is_some_and(|said_ns| at_ns + CLOCKS_APART_NS >= said_ns + drain_ns)
    }

    fn flush(&mut self) {
        let output = self.meter.take_output();
        if output.is_empty() {
            return;
        }
        let buffer_bytes = self
            .connection
            .buffer_bytes()
            .ok()
            .map(|(_, receive)| receive as u64);
        let path = DataPath {
            buffer_bytes,
            ..self.path.clone()
        };
        let host = &mut self.host;
        give_out(&self.context, output, |_, closed| {
            closed.frozen_ns = host.take_frozen_ns();
            closed.path = path.clone();
        });
    }
}
