//! Two engines of one process: a run with the generators' agent and the
//! receivers' agent, over loopback.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use weir_common::assignment::{
    Assignment, Family, Kind, Observe, OnControllerLoss, Peer, Rate, Segment, SessionSpec,
    SocketTraffic, Transport,
};
use weir_common::id::{FlowId, RunId, SessionId};
use weir_common::record::{Counters, End, FlowClosed, Record};
use weir_engine::clock::{Clock, MonotonicClock};
use weir_engine::engine::{Engine, EngineConfig, Event, Policy, RunHandle, Sink};
use weir_engine::socket::DirectProvider;

pub(crate) const MS: u64 = 1_000_000;

/// The nonce of every run here.
pub(crate) const NONCE: u64 = 0x5eed_0007;

/// Longer than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Allows everything but one address.
#[derive(Debug, Default)]
pub(crate) struct TestPolicy {
    pub(crate) forbidden: Option<IpAddr>,
}

impl Policy for TestPolicy {
    fn allows_destination(
        &self,
        address: IpAddr,
        _service: Option<(Transport, u16)>,
    ) -> Result<(), String> {
        match self.forbidden {
            Some(forbidden) if forbidden == address => Err("the test forbids it".to_owned()),
            _ => Ok(()),
        }
    }
}

/// Keeps every event.
#[derive(Debug, Default)]
pub(crate) struct Events {
    kept: Mutex<Vec<Event>>,
    changed: Condvar,
}

impl Sink for Events {
    fn event(&self, _run: RunId, event: Event) {
        self.kept.lock().unwrap().push(event);
        self.changed.notify_all();
    }
}

impl Events {
    /// Waits for an event that `pick` takes.
    pub(crate) fn wait<T>(&self, what: &str, pick: impl Fn(&[Event]) -> Option<T>) -> T {
        let begun = Instant::now();
        let mut kept = self.kept.lock().unwrap();
        loop {
            if let Some(found) = pick(&kept) {
                return found;
            }
            let left = PATIENCE.checked_sub(begun.elapsed());
            let left = left.unwrap_or_else(|| panic!("no {what} among {kept:#?}"));
            kept = self.changed.wait_timeout(kept, left).unwrap().0;
        }
    }

    pub(crate) fn finished(&self) {
        self.wait("end", |events| {
            events
                .iter()
                .any(|event| matches!(event, Event::Finished))
                .then_some(())
        });
    }

    pub(crate) fn ready(&self, sessions: usize) {
        self.wait("readiness", |events| {
            let ready = events
                .iter()
                .filter(|event| matches!(event, Event::Ready { .. }))
                .count();
            (ready == sessions).then_some(())
        });
    }

    pub(crate) fn port(&self, session: SessionId) -> u16 {
        self.wait("port", |events| {
            events.iter().find_map(|event| match event {
                Event::Listening { session: of, port } if *of == session => Some(*port),
                _ => None,
            })
        })
    }

    pub(crate) fn closed(&self, flow: u32) -> FlowClosed {
        self.wait("manifest", |events| {
            events.iter().find_map(|event| match event {
                Event::Closed(closed) if closed.flow == FlowId(flow) => Some((**closed).clone()),
                _ => None,
            })
        })
    }

    pub(crate) fn rows(&self, flow: u32) -> Vec<Record> {
        let of_flow = |event: &Event| match event {
            Event::Record(record) if record.flow == FlowId(flow) => Some((**record).clone()),
            _ => None,
        };
        self.kept
            .lock()
            .unwrap()
            .iter()
            .filter_map(of_flow)
            .collect()
    }
}

pub(crate) fn engine(policy: TestPolicy) -> Engine {
    Engine::new(config(policy))
}

pub(crate) fn config(policy: TestPolicy) -> EngineConfig {
    EngineConfig {
        clock: Arc::new(MonotonicClock::with_namespace_offset(0)),
        sockets: Arc::new(DirectProvider),
        policy: Arc::new(policy),
        default_port: 0,
        clock_domain: "this process".to_owned(),
        cpus: None,
    }
}

pub(crate) fn now_ns() -> u64 {
    MonotonicClock::with_namespace_offset(0).now_ns()
}

pub(crate) fn traffic(transport: Transport, rate: Rate, size: u32) -> SocketTraffic {
    SocketTraffic::new(transport, rate, size)
}

pub(crate) fn segment(flow: u32, start_ms: u64, length_ms: u64, warmup_ms: u64) -> Segment {
    Segment {
        flow: FlowId(flow),
        start_ns: start_ms * MS,
        length_ns: length_ms * MS,
        warmup_ns: warmup_ms * MS,
    }
}

/// One session as the generator's side sees it.
pub(crate) fn session(number: u32, traffic: SocketTraffic, segments: Vec<Segment>) -> SessionSpec {
    SessionSpec {
        session: SessionId(number),
        end: End::Tx,
        dials: true,
        kind: Kind::Socket(traffic),
        peer: Peer::Agent {
            name: "receiver".parse().unwrap(),
            addresses: vec![Ipv4Addr::LOCALHOST.into()],
        },
        tags: vec![0x1000 + number],
        segments,
        family: Family::Any,
        source_address: None,
        source_interface: None,
        source_port: None,
        port: 0,
    }
}

/// The same session as the other side sees it.
pub(crate) fn mirrored(session: &SessionSpec) -> SessionSpec {
    let peer = Peer::Agent {
        name: "generator".parse().unwrap(),
        addresses: vec![Ipv4Addr::LOCALHOST.into()],
    };
    SessionSpec {
        end: session.end.other(),
        dials: !session.dials,
        peer,
        ..session.clone()
    }
}

pub(crate) fn assignment(sessions: Vec<SessionSpec>) -> Assignment {
    let ends = sessions
        .iter()
        .flat_map(|session| &session.segments)
        .map(Segment::end_ns);
    Assignment {
        run: RunId(7),
        nonce: NONCE,
        seed: 42,
        interval_ns: 100 * MS,
        linger_ns: 1000 * MS,
        settle_ns: 3000 * MS,
        end_ns: ends.max().unwrap(),
        on_controller_loss: OnControllerLoss::RunToEnd,
        sessions,
        observe: Observe::default(),
        traces: Vec::new(),
    }
}

/// Both ends of a run under way.
pub(crate) struct Pair {
    pub(crate) tx: Arc<Events>,
    pub(crate) rx: Arc<Events>,
    pub(crate) tx_run: RunHandle,
    pub(crate) rx_run: RunHandle,
}

impl Pair {
    /// Prepares both ends, exchanging ports as a controller would.
    pub(crate) fn prepare(sessions: Vec<SessionSpec>) -> Self {
        Self::prepare_with(&engine(TestPolicy::default()), sessions)
    }

    /// As [`prepare`](Self::prepare), with an engine for the generators.
    pub(crate) fn prepare_with(sender: &Engine, sessions: Vec<SessionSpec>) -> Self {
        Self::prepare_over(sender, sessions, |port| port)
    }

    /// As [`prepare_with`](Self::prepare_with); the generators dial where `way` leads
    /// to the receivers' port.
    pub(crate) fn prepare_over(
        sender: &Engine,
        sessions: Vec<SessionSpec>,
        way: impl Fn(u16) -> u16,
    ) -> Self {
        let (tx, rx) = (Arc::new(Events::default()), Arc::new(Events::default()));
        let theirs = sessions.iter().map(mirrored).collect();
        let sink = |events: &Arc<Events>| Arc::clone(events) as Arc<dyn Sink>;
        let prepare = |engine: &Engine, sessions, events| {
            engine
                .prepare(Arc::new(assignment(sessions)), sink(events))
                .unwrap()
        };
        let dialled: Vec<_> = sessions
            .iter()
            .map(|each| (each.session, each.dials))
            .collect();
        let rx_run: RunHandle = prepare(&engine(TestPolicy::default()), theirs, &rx);
        let tx_run: RunHandle = prepare(sender, sessions, &tx);
        for (session, tx_dials) in dialled {
            if tx_dials {
                tx_run.set_target(session, way(rx.port(session)));
            } else {
                rx_run.set_target(session, tx.port(session));
            }
        }
        Self {
            tx,
            rx,
            tx_run,
            rx_run,
        }
    }

    pub(crate) fn start(&self) {
        let t0_ns = now_ns() + 100 * MS;
        self.tx_run.start(t0_ns);
        self.rx_run.start(t0_ns);
    }

    /// Prepares, starts and waits for the end.
    #[allow(
        dead_code,
        reason = "not every test binary that has this module needs it"
    )]
    pub(crate) fn complete(sessions: Vec<SessionSpec>) -> Self {
        let count = sessions.len();
        let pair = Self::prepare(sessions);
        pair.tx.ready(count);
        pair.rx.ready(count);
        pair.start();
        pair.tx.finished();
        pair.rx.finished();
        pair
    }
}

/// Every row of a flow is in order and without a hole, and the manifest is their sum.
pub(crate) fn assert_whole(events: &Events, flow: u32) -> FlowClosed {
    let closed = events.closed(flow);
    let rows = events.rows(flow);
    assert_eq!(rows.len(), closed.rows as usize, "rows of flow {flow}");
    let mut streams: Vec<Option<u16>> = rows.iter().map(|row| row.stream).collect();
    streams.sort_unstable();
    streams.dedup();
    for stream in streams {
        let of_stream: Vec<&Record> = rows.iter().filter(|row| row.stream == stream).collect();
        for (k, row) in of_stream.iter().enumerate() {
            assert_eq!(row.k as usize, k, "flow {flow} stream {stream:?}");
            if k > 0 {
                let before = of_stream[k - 1];
                assert_eq!(before.start_ns + before.length_ns, row.start_ns);
            }
        }
    }
    let mut sum = Counters::default();
    let mut by_stream = Counters::default();
    for row in &rows {
        if row.stream.is_none() {
            &mut sum
        } else {
            &mut by_stream
        }
        .add(&row.counters);
        assert_tx_identity(&row.counters);
    }
    assert_eq!(sum, closed.total, "flow {flow}");
    if by_stream != Counters::default() {
        assert_eq!(by_stream, sum, "streams of flow {flow}");
    }
    closed
}

/// offered = sent + behind + blocked + refused (UDP).
fn assert_tx_identity(counters: &Counters) {
    if let (Some(offered), Some(sent)) = (counters.offered_packets, counters.tx_packets) {
        assert_eq!(offered, sent + counters.lost_sender(), "{counters:?}");
    }
}

/// sent = received + lost, of the flow and of its window; nothing stepped.
pub(crate) fn assert_conserved(tx: &FlowClosed, rx: &FlowClosed) {
    for (sent, received) in [
        (&tx.total, &rx.total),
        (&tx.window.counters, &rx.window.counters),
    ] {
        let (packets, lost) = (received.rx_packets.unwrap(), received.lost_packets.unwrap());
        assert_eq!(sent.tx_packets.unwrap(), packets + lost);
    }
}
