//! The streams of a session from T0 on: each a task of the crew or a thread of its
//! own.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use weir_common::assignment::{Rate, Segment, SocketTraffic, Transport};
use weir_common::record::{End, Ending};

use super::{Attached, Session, StreamSocket};
use crate::clock::Clock;
use crate::drive::{self, Next, Scratch, Stream, Task};
use crate::meter::flow::StreamClosed;
use crate::meter::host::{Account, HostMeter};
use crate::pacer::Precision;
use crate::run::{Part, Run, spawn};
use crate::socket::set_timer_slack_ns;
use crate::{generator, receiver};

/// A stream of at most so many departures a second shares a thread. Each costs some
/// 10 us, so a hundred such streams on one thread still find it free half the time;
/// a faster one would make the others late.
const SHARED_PER_SECOND: u64 = 500;

/// The same for a paced TCP stream, in bits a second: what arrives costs by its
/// segments.
const SHARED_TCP_BPS: u64 = 10_000_000;

/// What a stream works with.
#[derive(Debug)]
pub(crate) struct StreamContext {
    pub(crate) run: Arc<Run>,
    pub(crate) session: Arc<Session>,
    pub(crate) stream: u16,
    /// T0 on the host's monotonic clock, ns.
    pub(crate) t0_ns: u64,
    /// The thread that it shares with others, if it does.
    pub(crate) shared: Option<Arc<Account>>,
    /// The CPU that its thread is kept to.
    pub(crate) cpu: Option<usize>,
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

    /// A meter of what the host does to the stream; made on its own thread, if it has
    /// one.
    pub(crate) fn host_meter(&self) -> HostMeter {
        HostMeter::new(self.shared.clone())
    }

    /// How a flow ends that was not stopped in its time.
    pub(crate) fn ending(&self) -> Ending {
        match self.run.stop_reason() {
            Some(reason) => Ending::Stopped { reason },
            None => Ending::Completed,
        }
    }

    /// Closes a segment of this stream.
    pub(crate) fn close(&self, segment: usize, mut closed: StreamClosed) {
        let shared = self.shared.is_some();
        closed.path.thread = Some(if shared { "shared" } else { "own" }.to_owned());
        closed.path.cpus = self.cpu.map(|cpu| cpu.to_string());
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

/// Whether a stream, one of `streams`, is slow enough to share a thread with others.
/// The same at both ends: what is sent slowly also comes slowly.
fn shares_thread(traffic: &SocketTraffic, streams: u64) -> bool {
    let ramp = traffic.ramp.iter().map(|point| match traffic.rate {
        Rate::BitsPerSecond(_) => Rate::BitsPerSecond(point.rate),
        _ => Rate::MilliPacketsPerSecond(point.rate),
    });
    let is_slow = |rate: Rate| match (rate, traffic.transport) {
        (Rate::Max, _) => false,
        (Rate::MilliPacketsPerSecond(rate), _) => rate <= SHARED_PER_SECOND * 1000 * streams,
        (Rate::BitsPerSecond(rate), Transport::Udp) => {
            rate / 8 <= SHARED_PER_SECOND * u64::from(traffic.size) * streams
        }
        (Rate::BitsPerSecond(rate), Transport::Tcp) => {
            let writes = SHARED_PER_SECOND * u64::from(traffic.size) * streams;
            rate <= SHARED_TCP_BPS * streams && (traffic.size == 0 || rate / 8 <= writes)
        }
        (Rate::Arrival, _) => {
            let mean_ns = traffic.arrival.mean_spacing(None, None).ok().flatten();
            mean_ns.is_some_and(|mean_ns| mean_ns >= 1e9 / SHARED_PER_SECOND as f64)
        }
    };
    // Who spins holds a CPU.
    traffic.spin_ns == 0 && std::iter::once(traffic.rate).chain(ramp).all(is_slow)
}

/// Starts the streams of a session whose T0 is near.
pub(super) fn launch(
    run: &Arc<Run>,
    session: &Arc<Session>,
    streams: Vec<Attached>,
    t0_ns: u64,
    part: &Part,
) {
    session.streams_begin(streams.len());
    let shares = shares_thread(session.traffic(), streams.len() as u64);
    for (number, attached) in streams.into_iter().enumerate() {
        let stream = number as u16;
        let ended = Ended {
            session: Arc::clone(session),
            _part: part.clone(),
        };
        let context = |shared: Option<&Arc<Account>>, cpu| StreamContext {
            run: Arc::clone(run),
            session: Arc::clone(session),
            stream,
            t0_ns,
            shared: shared.cloned(),
            cpu,
        };
        if shares {
            run.crew
                .add(|_, account| task(context(Some(account), account.cpu()), attached, ended));
            continue;
        }
        let cpu = run.next_cpu();
        let (of_thread, its_run) = (context(None, cpu), Arc::clone(run));
        let body = move || {
            // Refused only by kernels that lack it; then timers are 50 us coarser.
            let _coarser = set_timer_slack_ns(1);
            with_stream(of_thread, attached, ended, Alone(&its_run));
        };
        let name = match stream {
            0 => format!("weir-{}", session.spec.session),
            _ => format!("weir-{}.{stream}", session.spec.session),
        };
        match spawn(cpu, &name, body) {
            Ok(thread) => run.keep(thread),
            Err(error) => {
                let reason = format!("start a thread: {error} (raise `ulimit -u`)");
                context(None, cpu).close_rest(0, &Ending::Failed { reason });
            }
        }
    }
}

/// Tells the session that one of its streams is over, its socket closed.
struct Ended {
    session: Arc<Session>,
    _part: Part,
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.session.stream_ended();
    }
}

/// A stream, and the word that it is over. Dropped in this order.
struct Counted<S> {
    stream: S,
    _ended: Ended,
}

impl<S: Stream> Stream for Counted<S> {
    #[inline]
    fn step(&mut self, now_ns: u64, scratch: &mut Scratch) -> Next {
        self.stream.step(now_ns, scratch)
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.stream.socket()
    }

    fn host(&mut self) -> &mut HostMeter {
        self.stream.host()
    }

    fn precision(&self) -> Precision {
        self.stream.precision()
    }
}

/// What becomes of a stream, whichever kind it is.
trait Driver {
    type Output;
    fn drive(self, stream: impl Stream + 'static) -> Self::Output;
    /// There is no stream after all.
    fn nothing(self) -> Self::Output;
}

/// Runs it to its end on the calling thread.
struct Alone<'a>(&'a Run);

impl Driver for Alone<'_> {
    type Output = ();

    fn drive(self, mut stream: impl Stream + 'static) {
        drive::alone(self.0, &mut stream);
    }

    fn nothing(self) {}
}

/// Makes it a task.
struct Boxed;

impl Driver for Boxed {
    type Output = Box<dyn Task>;

    fn drive(self, stream: impl Stream + 'static) -> Box<dyn Task> {
        Box::new(stream)
    }

    fn nothing(self) -> Box<dyn Task> {
        Box::new(Nothing)
    }
}

/// A task that is over.
struct Nothing;

impl Task for Nothing {
    fn step(&mut self, _now_ns: u64, _scratch: &mut Scratch) -> Next {
        Next::Done
    }

    fn sockets(&self, _each: &mut dyn FnMut(BorrowedFd<'_>, crate::socket::Interest)) {}
}

fn task(context: StreamContext, attached: Attached, ended: Ended) -> Box<dyn Task> {
    with_stream(context, attached, ended, Boxed)
}

/// Makes the state machine of a stream and gives it to its driver.
fn with_stream<D: Driver>(
    context: StreamContext,
    attached: Attached,
    ended: Ended,
    driver: D,
) -> D::Output {
    let (end, transport) = (
        context.session.spec.end,
        context.session.traffic().transport,
    );
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
        (StreamSocket::Udp(socket), End::Tx, Transport::Udp) => driver.drive(Counted {
            stream: generator::udp::Generator::new(context, socket, udp, setup_us),
            _ended: ended,
        }),
        (StreamSocket::Udp(socket), End::Rx, Transport::Udp) => driver.drive(Counted {
            stream: receiver::udp::Receiver::new(context, socket, udp, setup_us),
            _ended: ended,
        }),
        (StreamSocket::Tcp(connection), End::Tx, Transport::Tcp) => driver.drive(Counted {
            stream: generator::tcp::Generator::new(context, connection, setup_us),
            _ended: ended,
        }),
        (StreamSocket::Tcp(connection), End::Rx, Transport::Tcp) => driver.drive(Counted {
            stream: receiver::tcp::Receiver::new(context, connection, setup_us),
            _ended: ended,
        }),
        (_, _, transport) => {
            let reason = format!(
                "a stream of another kind than {} was attached",
                transport.as_str()
            );
            context.close_rest(0, &Ending::Failed { reason });
            driver.nothing()
        }
    }
}
