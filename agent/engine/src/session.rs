//! One end of one pair: its state, shared by its own threads, the listener, the
//! link and the owner of the run.
//!
//! ```text
//!  Preparing ──all streams and the link──► Ready ──T0──► Running ──► Ended
//!      └──────── settle over, refused, stop, exclude ──► Failed
//! ```
//!
//! A generator's flow ends in two steps: its manifest is complete when its streams
//! have ended, and goes out when the receiver's totals have come over the link, or
//! will not come any more.

mod prepare;
mod start;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use weir_common::assignment::{Assignment, Kind, SessionSpec, SocketTraffic, Transport};
use weir_common::record::{End, FlowClosed, PeerTotals};
use weir_wire::link::{LinkMessage, SegmentFinal, SegmentTotals};

use crate::engine::{Event, FailureCode, Sink};
use crate::link::FlowLink;
use crate::meter::flow::{FlowKey, FlowMeter, StreamClosed};
use crate::run::Run;
use crate::socket::{TcpConnection, UdpSocket};

pub(crate) use self::prepare::{answer_hello, attach_udp, describe, drain_control, failed};
pub(crate) use self::start::{StreamContext, live};

/// How much longer than the linger a generator waits for the receiver's totals:
/// what the receiver waits for the final count, and the way back.
const TOTALS_GRACE_NS: u64 = 5_000_000_000;

/// How much longer than the linger a TCP receiver may drain what is on its way.
pub(crate) const DRAIN_GRACE_NS: u64 = 10_000_000_000;

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
    changed: Condvar,
    excluded: AtomicBool,
    same_clock: AtomicBool,
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
    tuples: Vec<String>,
    /// Final counts by segment and stream.
    finals: Vec<Vec<Option<SegmentFinal>>>,
    closings: Vec<Closing>,
}

/// Where the manifest of one segment stands.
#[derive(Debug, Default)]
struct Closing {
    /// Complete, waiting for the totals until this instant (host monotonic ns).
    waiting: Option<(Box<FlowClosed>, u64)>,
    totals: Option<PeerTotals>,
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
            tuples: Vec::new(),
            finals: vec![vec![None; streams]; segments],
            closings: (0..segments).map(|_| Closing::default()).collect(),
        };
        Self {
            flows: spec.segments.iter().map(flow).collect(),
            spec,
            state: Mutex::new(state),
            changed: Condvar::new(),
            excluded: AtomicBool::new(false),
            same_clock: AtomicBool::new(false),
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

    /// Waits for a change, at most so long.
    fn wait<'a>(&self, state: MutexGuard<'a, State>, timeout: Duration) -> MutexGuard<'a, State> {
        let result = self.changed.wait_timeout(state, timeout);
        result.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Wakes whoever waits for a change, to look at the run again.
    pub(crate) fn notify(&self) {
        self.changed.notify_all();
    }

    /// The peer listens on `port`.
    pub(crate) fn set_target(&self, port: u16) {
        self.lock().target.get_or_insert(port);
        self.notify();
    }

    /// Not to be started: its other end failed.
    pub(crate) fn exclude(&self) {
        self.excluded.store(true, Ordering::Release);
        self.notify();
    }

    pub(crate) fn is_excluded(&self) -> bool {
        self.excluded.load(Ordering::Acquire)
    }

    /// Whether both ends read the same clock.
    pub(crate) fn is_same_clock(&self) -> bool {
        self.same_clock.load(Ordering::Acquire)
    }

    /// The link carries this session.
    pub(crate) fn attach_link(&self, link: &Arc<FlowLink>, same_clock: bool) {
        self.same_clock.store(same_clock, Ordering::Release);
        self.lock().link = Some(Arc::clone(link));
        self.notify();
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
    /// is closed: at a receiver at once, at a generator with the peer's totals.
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
        let link = self.link();
        let mut state = self.lock();
        manifest.tuples.clone_from(&state.tuples);
        manifest.link = state.link.is_some();
        if self.spec.end == End::Rx {
            if let Some(link) = link {
                link.send(&LinkMessage::Totals(self.totals(segment, &manifest)));
            }
            state.closings[segment].done = true;
            self.flows[segment].emit_closed(manifest);
        } else {
            let patience_ns = match self.traffic().transport {
                Transport::Udp => TOTALS_GRACE_NS,
                Transport::Tcp => TOTALS_GRACE_NS + DRAIN_GRACE_NS,
            };
            let until_ns = run.config.clock.now_ns() + run.assignment.linger_ns + patience_ns;
            state.closings[segment].waiting = Some((Box::new(manifest), until_ns));
            self.settle(run, &mut state);
        }
        drop(state);
        self.notify();
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
        self.settle(run, &mut state);
        drop(state);
        self.notify();
    }

    /// Sends the manifests whose totals have come or will not come.
    pub(crate) fn expire(&self, run: &Run) {
        self.settle(run, &mut self.lock());
    }

    fn settle(&self, run: &Run, state: &mut State) {
        let now_ns = run.config.clock.now_ns();
        let linked = state.link.as_ref().is_some_and(|link| !link.is_broken());
        let stopped_ns = run
            .stopped_ns()
            .map(|at_ns| at_ns + STOP_DRAIN_NS + STOP_DRAIN_NS / 4);
        for (closing, flow) in state.closings.iter_mut().zip(&self.flows) {
            let Some((_, until_ns)) = &closing.waiting else {
                continue;
            };
            let deadline_ns = stopped_ns.map_or(*until_ns, |stop_ns| stop_ns.min(*until_ns));
            if closing.totals.is_none() && linked && now_ns < deadline_ns {
                continue;
            }
            if let Some((mut manifest, _)) = closing.waiting.take() {
                manifest.peer = closing.totals;
                closing.done = true;
                flow.emit_closed(*manifest);
            }
        }
    }

    /// Waits until every manifest has gone out.
    fn await_closings(&self, run: &Run) {
        let mut state = self.lock();
        loop {
            self.settle(run, &mut state);
            if state.closings.iter().all(|closing| closing.done) {
                return;
            }
            state = self.wait(state, Duration::from_millis(100));
        }
    }
}
