//! One end of one pair: its state, shared by its own task and streams, the listener,
//! the link and the owner of the run.
//!
//! ```text
//!  Preparing ──all streams and the link──► Ready ──T0──► Running ──► Ended
//!      └──────── settle over, refused, stop, exclude ──► Failed
//! ```
//!
//! A flow ends in two steps: its manifest is complete when its streams have ended, and
//! goes out when what it waits for has come over the link, or will not come any more.
//! A generator waits for the receiver's totals. A receiver waits for a second estimate
//! of the peer's clock, if delays went by a first one; its totals go out with its
//! manifest, since a generator that has them may end the link.

mod clock;
mod dial;
mod life;
mod prepare;
mod start;

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use weir_common::assignment::{Assignment, Kind, SessionSpec, SocketTraffic, Transport};
use weir_common::record::{End, Ending, FlowClosed, PeerTotals};
use weir_wire::link::{LinkMessage, SegmentFinal, SegmentTotals};

use crate::drive::Alarm;
use crate::engine::{Event, FailureCode, Sink};
use crate::link::{Finding, FlowLink, Inquiry};
use crate::meter::flow::{FlowKey, FlowMeter, StreamClosed};
use crate::offset::SURVEY_MAX_NS;
use crate::run::Run;
use crate::socket::{TcpConnection, UdpSocket};

use self::clock::PeerClock;
pub(crate) use self::life::Life;
pub(crate) use self::prepare::{answer_hello, attach_udp, describe, failed};
pub(crate) use self::start::StreamContext;

/// How much longer than the linger a generator waits for the receiver's totals:
/// what the receiver waits for the final count, what it takes to ask our clock, and the
/// way back.
const TOTALS_GRACE_NS: u64 = 7_000_000_000;

/// How long a receiver goes on after a stop, and how much longer its generator
/// waits for it.
pub(crate) const STOP_DRAIN_NS: u64 = 2_000_000_000;

/// The socket of one stream.
#[derive(Debug)]
pub(crate) enum StreamSocket {
    /// Connected, with buffers and details set for this end.
    Udp(UdpSocket),
    /// Connected and greeted.
    Tcp(TcpConnection),
}

impl StreamSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Udp(socket) => socket.as_fd(),
            Self::Tcp(connection) => connection.as_fd(),
        }
    }
}

/// A stream that is connected.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) socket: StreamSocket,
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
    /// Pre-flow datagrams in the direction of the data, as this end saw them.
    pub(crate) control_packets: u64,
    /// Time to establish it, us (at the end that dialled).
    pub(crate) setup_us: Option<u64>,
    /// Buffer in force, bytes, and whether it is as large as it should be.
    pub(crate) buffer: Option<(u64, bool)>,
    /// Whether datagrams may arrive in bundles.
    pub(crate) gro: bool,
}

impl Attached {
    /// `source>destination` in the direction of the data.
    pub(crate) fn tuple(&self, end: End) -> String {
        match end {
            End::Tx => format!("{}>{}", self.local, self.peer),
            End::Rx => format!("{}>{}", self.peer, self.local),
        }
    }
}

/// Why a session cannot start.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: FailureCode,
    pub(crate) reason: String,
}

impl Failure {
    pub(crate) fn new(code: FailureCode, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) spec: SessionSpec,
    /// One per segment.
    pub(crate) flows: Vec<FlowMeter>,
    state: Mutex<State>,
    /// Rouses the session's task.
    alarm: OnceLock<Alarm>,
    /// Streams that are not over.
    streams_left: AtomicUsize,
    excluded: AtomicBool,
    /// Rises with every final count, so that receivers look only when there is one.
    finals_version: AtomicU32,
}

#[derive(Debug)]
struct State {
    target: Option<u16>,
    /// Streams that the listener has connected.
    streams: Vec<Option<Attached>>,
    /// The listener may hand over streams.
    accepting: bool,
    /// Why the listener could not have a connection as it was asked for.
    refused: Option<Failure>,
    link: Option<Arc<FlowLink>>,
    /// There will be no link.
    link_lost: bool,
    clock: PeerClock,
    tuples: Vec<String>,
    /// Final counts by segment and stream.
    finals: Vec<Vec<Option<SegmentFinal>>>,
    closings: Vec<Closing>,
}

/// Where the manifest of one segment stands.
#[derive(Debug, Default)]
struct Closing {
    /// Complete, waiting until this instant (host monotonic ns).
    waiting: Option<(Box<FlowClosed>, u64)>,
    /// What a generator waits for.
    totals: Option<PeerTotals>,
    /// What a receiver waits for.
    inquiry: Option<Inquiry>,
    done: bool,
}

impl Session {
    pub(crate) fn new(assignment: &Assignment, spec: SessionSpec, sink: &Arc<dyn Sink>) -> Self {
        let streams = spec.tags.len();
        let segments = spec.segments.len();
        let flow = |segment: &weir_common::assignment::Segment| {
            let key = FlowKey {
                run: assignment.run,
                flow: segment.flow,
                end: spec.end,
            };
            FlowMeter::new(key, streams, Arc::clone(sink))
        };
        let state = State {
            target: None,
            streams: (0..streams).map(|_| None).collect(),
            accepting: !spec.dials,
            refused: None,
            link: None,
            link_lost: false,
            clock: PeerClock::default(),
            tuples: Vec::new(),
            finals: vec![vec![None; streams]; segments],
            closings: (0..segments).map(|_| Closing::default()).collect(),
        };
        Self {
            flows: spec.segments.iter().map(flow).collect(),
            spec,
            state: Mutex::new(state),
            alarm: OnceLock::new(),
            streams_left: AtomicUsize::new(0),
            excluded: AtomicBool::new(false),
            finals_version: AtomicU32::new(0),
        }
    }

    pub(crate) fn traffic(&self) -> &SocketTraffic {
        let Kind::Socket(traffic) = &self.spec.kind;
        traffic
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is valid between any two statements that hold the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The alarm of the session's task; before the task begins.
    pub(crate) fn set_alarm(&self, alarm: Alarm) {
        let _only_once = self.alarm.set(alarm);
    }

    /// Lets the session's task look at what changed.
    pub(crate) fn notify(&self) {
        if let Some(alarm) = self.alarm.get() {
            alarm.ring();
        }
    }

    /// The peer listens on `port`.
    pub(crate) fn set_target(&self, port: u16) {
        self.lock().target.get_or_insert(port);
        self.notify();
    }

    fn target(&self) -> Option<u16> {
        self.lock().target
    }

    fn set_tuples(&self, tuples: Vec<String>) {
        self.lock().tuples = tuples;
    }

    /// Takes in no more streams, and closes those that it has.
    fn give_up(&self) {
        let mut state = self.lock();
        state.accepting = false;
        state.streams.iter_mut().for_each(|stream| *stream = None);
    }

    fn streams_begin(&self, streams: usize) {
        self.streams_left.store(streams, Ordering::Release);
    }

    fn stream_ended(&self) {
        self.streams_left.fetch_sub(1, Ordering::AcqRel);
        self.notify();
    }

    fn streams_left(&self) -> usize {
        self.streams_left.load(Ordering::Acquire)
    }

    /// Not to be started: its other end failed.
    pub(crate) fn exclude(&self) {
        self.excluded.store(true, Ordering::Release);
        self.notify();
    }

    pub(crate) fn is_excluded(&self) -> bool {
        self.excluded.load(Ordering::Acquire)
    }

    /// The link carries this session; its other end reads our clock, or another.
    pub(crate) fn attach_link(&self, run: &Run, link: &Arc<FlowLink>, same_clock: bool) {
        let mut state = self.lock();
        state.link = Some(Arc::clone(link));
        state.clock = self.meet_clock(run, &state, same_clock);
        drop(state);
        self.notify();
    }

    /// There will be no link.
    pub(crate) fn link_lost(&self) {
        self.lock().link_lost = true;
        self.notify();
    }

    /// Whether a link may still come up, or say where the peer's clock stands.
    fn awaits_link(&self) -> bool {
        let mut state = self.lock();
        (state.link.is_none() && !state.link_lost) || Self::awaits_clock(&mut state)
    }

    /// The link, while something can still come over it.
    pub(crate) fn link(&self) -> Option<Arc<FlowLink>> {
        self.lock().link.clone().filter(|link| !link.is_broken())
    }

    /// Whether the listener may still hand over a stream.
    pub(crate) fn is_accepting(&self) -> bool {
        self.lock().accepting
    }

    /// Takes over a stream that the listener connected; one that was there before
    /// is replaced (its dialler has begun anew). Says no once the session is past
    /// preparing.
    pub(crate) fn attach_stream(&self, stream: u16, attached: Attached) -> bool {
        let mut state = self.lock();
        if !state.accepting {
            return false;
        }
        let slot = &mut state.streams[usize::from(stream)];
        let before = slot.as_ref().map_or(0, |attached| attached.control_packets);
        *slot = Some(attached);
        if let Some(attached) = slot {
            attached.control_packets += before;
        }
        drop(state);
        self.notify();
        true
    }

    /// A connection cannot be as the flow asks for it: the session fails.
    pub(crate) fn refuse(&self, failure: Failure) {
        self.lock().refused.get_or_insert(failure);
        self.notify();
    }

    /// Answers a hello of a stream that is connected already from the same address;
    /// says whether it is.
    pub(crate) fn repeat_hello(
        &self,
        stream: u16,
        source: SocketAddr,
        sequence: u64,
        now_ns: u64,
    ) -> bool {
        let mut state = self.lock();
        let end = self.spec.end;
        let tag = self.spec.tags[usize::from(stream)];
        match &mut state.streams[usize::from(stream)] {
            Some(attached) if attached.peer == source => {
                if let StreamSocket::Udp(socket) = &attached.socket {
                    let sent = answer_hello(socket, tag, sequence, now_ns);
                    attached.control_packets += if end == End::Rx { 1 } else { u64::from(sent) };
                }
                true
            }
            _ => false,
        }
    }

    /// A generator's final count has come.
    pub(crate) fn final_arrived(&self, last: SegmentFinal) {
        let segment = usize::from(last.segment);
        let own = last
            .cohorts
            .iter()
            .all(|span| usize::from(span.cohort >> 1) == segment);
        if self.spec.end != End::Rx || !own {
            return;
        }
        let mut state = self.lock();
        let slot = state
            .finals
            .get_mut(segment)
            .and_then(|streams| streams.get_mut(usize::from(last.stream)));
        if let Some(slot @ None) = slot {
            *slot = Some(last);
            self.finals_version.fetch_add(1, Ordering::Release);
        }
    }

    /// How many final counts have come.
    pub(crate) fn finals_version(&self) -> u32 {
        self.finals_version.load(Ordering::Acquire)
    }

    /// The final count of one stream of one segment.
    pub(crate) fn final_of(&self, segment: usize, stream: u16) -> Option<SegmentFinal> {
        self.lock()
            .finals
            .get(segment)?
            .get(usize::from(stream))?
            .clone()
    }

    /// A stream of this end has ended in a segment. With the last of them the flow
    /// is closed, as soon as it has all of its manifest.
    pub(crate) fn close_stream(
        &self,
        run: &Run,
        segment: usize,
        stream: u16,
        closed: StreamClosed,
    ) {
        let Some(mut manifest) = self.flows[segment].close_stream(stream, closed) else {
            return;
        };
        let mut state = self.lock();
        manifest.tuples.clone_from(&state.tuples);
        manifest.link = state.link.is_some();
        let until_ns = match self.spec.end {
            End::Tx => self.totals_due_ns(run, segment),
            End::Rx => run.config.clock.now_ns() + SURVEY_MAX_NS,
        };
        if self.spec.end == End::Rx {
            let end_ns = self.spec.segments[segment].end_ns();
            let inquiry = Self::ask_again(run, &state, end_ns, &manifest);
            state.closings[segment].inquiry = inquiry;
        }
        state.closings[segment].waiting = Some((Box::new(manifest), until_ns));
        self.settle_in(run, &mut state);
        drop(state);
        self.notify();
    }

    /// Until when a generator waits for the receiver's totals of a segment that is
    /// closed now: a TCP receiver reads on while the segment drains.
    fn totals_due_ns(&self, run: &Run, segment: usize) -> u64 {
        let end_ns = self.spec.segments[segment].end_ns();
        let drained_ns = match self.traffic().transport {
            Transport::Udp => 0,
            Transport::Tcp => run.t0_ns().unwrap_or(0) + end_ns + self.traffic().drain_ns(),
        };
        drained_ns.max(run.config.clock.now_ns()) + run.assignment.linger_ns + TOTALS_GRACE_NS
    }

    fn totals(&self, segment: usize, manifest: &FlowClosed) -> SegmentTotals {
        let total = &manifest.total;
        SegmentTotals {
            session: self.spec.session.0,
            segment: segment as u8,
            rx_packets: total.rx_packets.unwrap_or(0),
            rx_bytes: total.rx_bytes.unwrap_or(0),
            lost_packets: total.lost_packets.unwrap_or(0),
            late: total.late.unwrap_or(0),
            duplicate: total.duplicate.unwrap_or(0),
            reordered: total.reordered.unwrap_or(0),
            socket_drops: total.socket_drops.unwrap_or(0),
            drained_bytes: manifest.drained_bytes.unwrap_or(0),
            unread_bytes: manifest.unread_bytes.unwrap_or(0),
        }
    }

    /// The receiver's totals have come.
    pub(crate) fn totals_arrived(&self, run: &Run, totals: &SegmentTotals) {
        let segment = usize::from(totals.segment);
        if self.spec.end != End::Tx || segment >= self.flows.len() {
            return;
        }
        let peer = PeerTotals {
            packets: totals.rx_packets,
            bytes: totals.rx_bytes.saturating_add(totals.drained_bytes),
        };
        let mut state = self.lock();
        let closing = &mut state.closings[segment];
        if closing.done {
            let key = self.flows[segment].key();
            let event = Event::PeerClosed {
                flow: key.flow,
                end: key.end,
                totals: peer,
            };
            run.sink.event(key.run, event);
            return;
        }
        closing.totals = Some(peer);
        self.settle_in(run, &mut state);
        drop(state);
        self.notify();
    }

    /// Closes what a stream left unclosed that broke off.
    fn close_unclosed(&self, run: &Run) {
        for (at, (flow, segment)) in self.flows.iter().zip(&self.spec.segments).enumerate() {
            for stream in flow.unclosed() {
                let reason = "the agent's own error: see its log".to_owned();
                let start_ns = segment.start_ns + segment.warmup_ns;
                let closed = StreamClosed::new(Ending::Failed { reason }, start_ns, 0);
                self.close_stream(run, at, stream, closed);
            }
        }
    }

    /// Sends the manifests for which what they wait for has come or will not come. Until
    /// when others wait at most; `None` when all have gone out.
    fn settle(&self, run: &Run) -> Option<u64> {
        self.settle_in(run, &mut self.lock())
    }

    fn settle_in(&self, run: &Run, state: &mut State) -> Option<u64> {
        let now_ns = run.config.clock.now_ns();
        // After a stop a generator waits longer than its receiver does.
        let (end, patience_ns) = match self.spec.end {
            End::Tx => (End::Tx, STOP_DRAIN_NS / 4),
            End::Rx => (End::Rx, STOP_DRAIN_NS / 8),
        };
        let stopped_ns = run
            .stopped_ns()
            .map(|at_ns| at_ns + STOP_DRAIN_NS + patience_ns);
        let link = state.link.clone().filter(|link| !link.is_broken());
        let mut wake_ns = None;
        for (segment, flow) in self.flows.iter().enumerate() {
            let closing = &mut state.closings[segment];
            let Some((_, until_ns)) = &closing.waiting else {
                if !closing.done {
                    wake_ns = wake_ns.or(Some(u64::MAX));
                }
                continue;
            };
            let deadline_ns = stopped_ns.map_or(*until_ns, |stop_ns| stop_ns.min(*until_ns));
            let waits = link.as_ref().is_some_and(|link| match end {
                End::Tx => closing.totals.is_none(),
                End::Rx => closing
                    .inquiry
                    .is_some_and(|inquiry| link.finding(inquiry) == Finding::Waits),
            });
            if waits && now_ns < deadline_ns {
                wake_ns = Some(wake_ns.map_or(deadline_ns, |ns: u64| ns.min(deadline_ns)));
                continue;
            }
            closing.done = true;
            let (inquiry, totals) = (closing.inquiry, closing.totals);
            let Some((mut manifest, _)) = closing.waiting.take() else {
                continue;
            };
            match (end, &link) {
                (End::Tx, _) => manifest.peer = totals,
                (End::Rx, Some(link)) => {
                    Self::bound_delay(state, inquiry, &mut manifest);
                    link.send(&LinkMessage::Totals(self.totals(segment, &manifest)));
                }
                (End::Rx, None) => {}
            }
            flow.emit_closed(*manifest);
        }
        wake_ns
    }
}
