//! An engine that does nothing but tell what it was asked.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use weir_agent::traffic::{Running, Traffic};
use weir_common::assignment::Assignment;
use weir_common::id::{FlowId, RunId, SessionId};
use weir_common::record::{
    Counters, DataPath, End, Ending, Flags, FlowClosed, Record, Source, Window,
};
use weir_engine::engine::{Event, Sink};

/// What the engine was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    /// To prepare a run.
    Prepare(RunId),
    /// To start it then.
    Start(RunId, u64),
    /// To stop it.
    Stop(RunId, String),
    /// Something about one session.
    Session(RunId, SessionId),
}

type Sinks = Arc<Mutex<BTreeMap<RunId, Arc<dyn Sink>>>>;

/// The test's side of the engine.
pub(crate) struct FakeTraffic {
    calls: mpsc::UnboundedReceiver<Call>,
    engine: Arc<Engine>,
}

struct Engine {
    calls: mpsc::UnboundedSender<Call>,
    sinks: Sinks,
}

struct Run {
    run: RunId,
    calls: mpsc::UnboundedSender<Call>,
}

impl FakeTraffic {
    pub(crate) fn new() -> Self {
        let (sender, calls) = mpsc::unbounded_channel();
        Self {
            calls,
            engine: Arc::new(Engine {
                calls: sender,
                sinks: Sinks::default(),
            }),
        }
    }

    /// What the agent gets.
    pub(crate) fn engine(&self) -> Arc<dyn Traffic> {
        self.engine.clone()
    }

    /// The next thing that the agent asks.
    pub(crate) async fn call(&mut self) -> Call {
        let call = tokio::time::timeout(Duration::from_secs(60), self.calls.recv()).await;
        call.expect("the agent asks within a minute")
            .expect("the engine lives")
    }

    /// Tells the agent something.
    pub(crate) fn event(&self, run: RunId, event: Event) {
        let sink = self
            .engine
            .sinks
            .lock()
            .expect("no holder panics")
            .get(&run)
            .cloned();
        sink.expect("the run was prepared").event(run, event);
    }

    /// Gives the agent rows.
    pub(crate) fn records(&self, run: RunId, ks: Range<u32>) {
        for k in ks {
            let record = Record {
                run,
                flow: FlowId(1),
                stream: None,
                end: End::Rx,
                k,
                source: Source::Measured,
                start_ns: k.into(),
                length_ns: 1,
                flags: Flags::default(),
                counters: Counters {
                    rx_packets: Some(1),
                    ..Counters::default()
                },
                delay: None,
                tcp: None,
                more: None,
            };
            self.event(run, Event::Record(Box::new(record)));
        }
    }

    /// Gives the agent a manifest that names so many rows.
    pub(crate) fn closed(&self, run: RunId, rows: u32) {
        let closed = FlowClosed {
            run,
            flow: FlowId(1),
            end: End::Rx,
            rows,
            ending: Ending::Completed,
            total: Counters::default(),
            window: Window::default(),
            drained_bytes: None,
            unread_bytes: None,
            corrupt_bytes: None,
            control_packets: None,
            tuples: vec![],
            first_packet_ns: None,
            path: DataPath::default(),
            link: false,
            peer: None,
            warnings: vec![],
        };
        self.event(run, Event::Closed(Box::new(closed)));
    }
}

impl Traffic for Engine {
    fn prepare(
        &self,
        assignment: Arc<Assignment>,
        sink: Arc<dyn Sink>,
    ) -> Result<Box<dyn Running>, String> {
        let run = assignment.run;
        self.sinks
            .lock()
            .expect("no holder panics")
            .insert(run, sink);
        let _ = self.calls.send(Call::Prepare(run));
        Ok(Box::new(Run {
            run,
            calls: self.calls.clone(),
        }))
    }
}

impl Running for Run {
    fn set_target(&self, session: SessionId, _port: u16) {
        let _ = self.calls.send(Call::Session(self.run, session));
    }

    fn exclude(&self, session: SessionId) {
        let _ = self.calls.send(Call::Session(self.run, session));
    }

    fn start(&self, t0_mono_ns: u64) {
        let _ = self.calls.send(Call::Start(self.run, t0_mono_ns));
    }

    fn stop(&self, reason: &str) {
        let _ = self.calls.send(Call::Stop(self.run, reason.to_owned()));
    }

    fn is_finished(&self) -> bool {
        false
    }
}
