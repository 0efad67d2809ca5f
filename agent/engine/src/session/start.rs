//! A session's thread: prepares, waits for T0, is its own first stream, and sees
//! the flows closed.

use std::sync::Arc;
use std::time::Duration;

use weir_common::assignment::{Segment, Transport};
use weir_common::record::{End, Ending};

use super::{Attached, Failure, Session, StreamSocket, drain_control};
use crate::clock::Clock;
use crate::engine::{Event, FailureCode};
use crate::meter::flow::StreamClosed;
use crate::run::{Run, spawn};
use crate::socket::{PollFd, TcpConnection, Transfer, poll, set_timer_slack_ns};
use crate::wait::wait_until;
use crate::{drive, generator, receiver};

/// How often a waiting session looks whether it was excluded.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The rest of the wait for T0 is left to the streams' own threads.
const THREADS_AHEAD_NS: u64 = 20_000_000;

/// What a stream's thread works with.
#[derive(Debug)]
pub(crate) struct StreamContext {
    pub(crate) run: Arc<Run>,
    pub(crate) session: Arc<Session>,
    pub(crate) stream: u16,
    /// T0 on the host's monotonic clock, ns.
    pub(crate) t0_ns: u64,
}

impl StreamContext {
    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.run.config.clock
    }

    /// Now, from T0; 0 before it.
    pub(crate) fn now_ns(&self) -> u64 {
        self.clock().now_ns().saturating_sub(self.t0_ns)
    }

    /// An instant from T0 on the host's monotonic clock.
    pub(crate) fn host_ns(&self, from_t0_ns: u64) -> u64 {
        self.t0_ns.saturating_add(from_t0_ns)
    }

    pub(crate) fn tag(&self) -> u32 {
        self.session.spec.tags[usize::from(self.stream)]
    }

    pub(crate) fn streams(&self) -> u64 {
        self.session.spec.tags.len() as u64
    }

    pub(crate) fn segments(&self) -> &[Segment] {
        &self.session.spec.segments
    }

    /// How a flow ends that was not stopped in its time.
    pub(crate) fn ending(&self) -> Ending {
        match self.run.stop_reason() {
            Some(reason) => Ending::Stopped { reason },
            None => Ending::Completed,
        }
    }

    /// Closes a segment of this stream.
    pub(crate) fn close(&self, segment: usize, closed: StreamClosed) {
        self.session
            .close_stream(&self.run, segment, self.stream, closed);
    }

    /// Closes the segments from `first` on, of which nothing was sent or received.
    pub(crate) fn close_rest(&self, first: usize, ending: &Ending) {
        for (at, segment) in self.segments().iter().enumerate().skip(first) {
            let start_ns = segment.start_ns + segment.warmup_ns;
            self.close(at, StreamClosed::new(ending.clone(), start_ns, 0));
        }
    }
}

/// The life of a session.
pub(crate) fn live(run: &Arc<Run>, session: &Arc<Session>) {
    let started = session.prepare(run).and_then(|mut streams| {
        let tuples = streams
            .iter()
            .map(|stream| stream.tuple(session.spec.end))
            .collect();
        let (number, end) = (session.spec.session, session.spec.end);
        let link = session.link().is_some();
        run.emit(Event::Ready {
            session: number,
            end,
            tuples,
            link,
        });
        let t0_ns = session.await_t0(run, &mut streams)?;
        Ok((streams, t0_ns))
    });
    match started {
        Ok((streams, t0_ns)) => {
            run_streams(run, session, streams, t0_ns);
            session.await_closings(run);
        }
        Err(Failure { code, reason }) => {
            let (session, end) = (session.spec.session, session.spec.end);
            run.emit(Event::Failed {
                session,
                end,
                code,
                reason,
            });
        }
    }
}

impl Session {
    /// Waits for T0, answering late hellos and watching the connections; returns T0
    /// shortly before it comes.
    fn await_t0(&self, run: &Run, streams: &mut [Attached]) -> Result<u64, Failure> {
        loop {
            self.check_wanted(run)?;
            if let Some(t0_ns) = run.t0_ns() {
                // All ends were ready before T0 was named, so no hello is under way;
                // a datagram now may be payload of a generator whose clock is ahead.
                wait_until(
                    &*run.config.clock,
                    &run.stop,
                    t0_ns.saturating_sub(THREADS_AHEAD_NS),
                );
                self.check_wanted(run)?;
                return Ok(t0_ns);
            }
            let mut fds = vec![PollFd::readable(&run.start), PollFd::readable(&run.stop)];
            for stream in &*streams {
                fds.push(match &stream.socket {
                    StreamSocket::Udp(socket) => PollFd::readable(socket),
                    StreamSocket::Tcp(connection) => PollFd::readable(connection),
                });
            }
            let polled = poll(&mut fds, Some(LOOK_EVERY));
            let ready: Vec<bool> = fds[2..].iter().map(PollFd::is_readable).collect();
            if polled.is_err() {
                let reason = "wait for T0: the host has no memory left for poll";
                return Err(Failure::new(FailureCode::Broken, reason));
            }
            for ((stream, tag), ready) in streams.iter_mut().zip(&self.spec.tags).zip(ready) {
                if ready && run.t0_ns().is_none() {
                    serve_early(run, stream, *tag, self.spec.end)?;
                }
            }
        }
    }
}

/// Something came before T0 was named: a repeated hello, or the end of a connection.
fn serve_early(run: &Run, stream: &mut Attached, tag: u32, end: End) -> Result<(), Failure> {
    let StreamSocket::Tcp(connection) = &stream.socket else {
        drain_control(run, stream, tag, end);
        return Ok(());
    };
    let Some(reason) = peek_end(connection) else {
        return Ok(());
    };
    Err(Failure::new(
        FailureCode::Broken,
        format!("{}/tcp before T0: {reason}", stream.peer),
    ))
}

/// Why a connection over which nothing may come yet is readable.
fn peek_end(connection: &TcpConnection) -> Option<String> {
    match connection.read(&mut [0]) {
        Ok(Transfer::WouldBlock) => None,
        Ok(Transfer::Closed) => Some("closed by the peer".to_owned()),
        Ok(Transfer::Moved(_)) => Some("the peer sent data too early".to_owned()),
        Err(error) => Some(super::prepare::describe(&error)),
    }
}

/// Runs every stream, the first on the calling thread, and returns when all ended.
fn run_streams(run: &Arc<Run>, session: &Arc<Session>, streams: Vec<Attached>, t0_ns: u64) {
    let mut threads = Vec::new();
    let mut own = None;
    for (number, attached) in streams.into_iter().enumerate() {
        let stream = number as u16;
        let (run, session) = (Arc::clone(run), Arc::clone(session));
        let context = StreamContext {
            run,
            session,
            stream,
            t0_ns,
        };
        if stream == 0 {
            own = Some((context, attached));
            continue;
        }
        let (run, session) = (Arc::clone(&context.run), Arc::clone(&context.session));
        let name = format!("weir-{}.{stream}", session.spec.session);
        match spawn(&name, move || run_stream(context, attached)) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                let reason = format!("start a thread: {error}");
                StreamContext {
                    run,
                    session,
                    stream,
                    t0_ns,
                }
                .close_rest(0, &Ending::Failed { reason });
            }
        }
    }
    if let Some((context, attached)) = own {
        run_stream(context, attached);
    }
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a stream's thread panicked");
        }
    }
}

/// Runs a stream to its end on the calling thread.
fn run_stream(context: StreamContext, attached: Attached) {
    // Refused only by kernels that lack it; then timers are 50 us coarser.
    let _coarser = set_timer_slack_ns(1);
    let (run, end) = (Arc::clone(&context.run), context.session.spec.end);
    let transport = context.session.traffic().transport;
    let Attached {
        socket,
        control_packets,
        setup_us,
        buffer,
        gro,
        ..
    } = attached;
    let udp = (control_packets, buffer, gro);
    match (socket, end, transport) {
        (StreamSocket::Udp(socket), End::Tx, Transport::Udp) => {
            let mut stream = generator::udp::Generator::new(context, socket, udp, setup_us);
            drive::alone(&run, &mut stream);
        }
        (StreamSocket::Udp(socket), End::Rx, Transport::Udp) => {
            let mut stream = receiver::udp::Receiver::new(context, socket, udp, setup_us);
            drive::alone(&run, &mut stream);
        }
        (StreamSocket::Tcp(connection), End::Tx, Transport::Tcp) => {
            let mut stream = generator::tcp::Generator::new(context, connection, setup_us);
            drive::alone(&run, &mut stream);
        }
        (StreamSocket::Tcp(connection), End::Rx, Transport::Tcp) => {
            let mut stream = receiver::tcp::Receiver::new(context, connection, setup_us);
            drive::alone(&run, &mut stream);
        }
        (_, _, transport) => {
            let reason = format!(
                "a stream of another kind than {} was attached",
                transport.as_str()
            );
            context.close_rest(0, &Ending::Failed { reason });
        }
    }
}
