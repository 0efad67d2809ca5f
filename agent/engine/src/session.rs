//! One end of one pair: its state, shared by its own task and streams, the listener,
//! the link and the owner of the run.
//!
//! ```text
//!  Preparing ──all streams and the link──► Ready ──T0──► Running ──► Ended
//!      └──────── settle over, refused, stop, exclude ──► Failed
//! ```

mod clock;
mod closing;
mod dial;
mod life;
mod prepare;
mod start;

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use weir_common::assignment::{Assignment, Kind, SessionSpec, SocketTraffic};
use weir_common::record::End;
use weir_wire::link::SegmentFinal;

use crate::drive::Alarm;
use crate::engine::{FailureCode, Sink};
use crate::link::FlowLink;
use crate::meter::flow::{FlowKey, FlowMeter};
use crate::run::Run;
use crate::socket::{TcpConnection, UdpSocket};

use self::clock::PeerClock;
use self::closing::Closing;
pub(crate) use self::life::Life;
pub(crate) use self::prepare::{answer_hello, attach_udp, describe, failed};
pub(crate) use self::start::StreamContext;

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
        nonce: u64,
    ) -> bool {
        let mut state = self.lock();
        let end = self.spec.end;
        let tag = self.spec.tags[usize::from(stream)];
        match &mut state.streams[usize::from(stream)] {
            Some(attached) if attached.peer == source => {
                if let StreamSocket::Udp(socket) = &attached.socket {
                    let sent = answer_hello(socket, tag, sequence, nonce);
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
}
