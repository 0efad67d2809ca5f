//! One host: its disk, and the agent on it while there is one.

use std::collections::BTreeMap;
use std::time::Instant;

use weir_agent::simulation::{Half, Limits};
use weir_common::id::{AgentName, BootId, FlowId, RunId};
use weir_common::record::{Counters, End, Ending, Entry, Flags, FlowClosed, Record, Source};
use weir_controller::store::AgentRow;

use super::disk::Host;
use super::network::Pipe;

/// The controller's identity.
const CONTROLLER: &str = "c";
const RUN: RunId = RunId(1);

/// A control session under way: the hello up; epoch and watermark down.
#[derive(Debug, Default)]
pub(super) struct Greeting {
    pub(super) up: Pipe<()>,
    pub(super) down: Pipe<(u64, u64)>,
}

#[derive(Debug)]
pub(super) struct Agent {
    pub(super) name: AgentName,
    index: u8,
    pub(super) host: Host,
    pub(super) limits: Limits,
    generation: u64,
    pub(super) half: Option<Half>,
    pub(super) boot: BootId,
    pub(super) session: Option<u64>,
    pub(super) greeting: Option<Greeting>,
    pub(super) ticks_at_ms: u64,
    flow: u32,
    rows: u32,
    /// Whether generators have stopped, since the spool is full.
    pub(super) stopped: bool,
}

impl Agent {
    pub(super) fn new(index: u8, limits: Limits) -> Self {
        Self {
            name: format!("a{index}").parse().expect("a name"),
            index,
            host: Host::default(),
            limits,
            generation: 0,
            half: None,
            boot: BootId([0; 16]),
            session: None,
            greeting: None,
            ticks_at_ms: 0,
            flow: 0,
            rows: 0,
            stopped: false,
        }
    }

    /// Starts it on what its disk holds.
    pub(super) fn start(&mut self) {
        self.generation += 1;
        let mut boot = [self.index; 16];
        boot[8..].copy_from_slice(&self.generation.to_be_bytes());
        self.boot = BootId(boot);
        let start = (self.boot, self.generation);
        let ground = Box::new(self.host.clone());
        let half = Half::start(ground, start, CONTROLLER, self.limits);
        self.half = Some(half.expect("what was written can be read"));
        self.next_flow();
    }

    /// It is gone, with all that it had in memory.
    pub(super) fn vanish(&mut self) -> Option<Half> {
        (self.session, self.greeting) = (None, None);
        self.half.take()
    }

    fn next_flow(&mut self) {
        (self.flow, self.rows, self.stopped) = (self.flow + 1, 0, false);
    }

    /// An interval has ended: its row. The packets in it are one more than its number.
    pub(super) fn interval(&mut self) -> Option<Entry> {
        let half = self.half.as_ref().filter(|_| !self.stopped)?;
        let k = self.rows;
        let record = Record {
            run: RUN,
            flow: FlowId(self.flow),
            stream: None,
            end: End::Tx,
            k,
            source: Source::Measured,
            start_ns: u64::from(k) * 1_000,
            length_ns: 1_000,
            flags: Flags::default(),
            counters: Counters {
                tx_packets: Some(u64::from(k) + 1),
                ..Counters::default()
            },
            delay: None,
            tcp: None,
            more: None,
        };
        self.rows += 1;
        let entry = Entry::Record(Box::new(record));
        self.stopped = half.append(entry.clone());
        Some(entry)
    }

    /// The flow ends, and the next one begins.
    pub(super) fn close(&mut self) -> Option<Entry> {
        let half = self.half.as_ref().filter(|_| self.rows > 0)?;
        let packets = (1..=u64::from(self.rows)).sum();
        let closed = FlowClosed {
            run: RUN,
            flow: FlowId(self.flow),
            end: End::Tx,
            rows: self.rows,
            ending: Ending::Completed,
            total: Counters {
                tx_packets: Some(packets),
                ..Counters::default()
            },
            window: weir_common::record::Window::default(),
            drained_bytes: None,
            unread_bytes: None,
            corrupt_bytes: None,
            control_packets: None,
            tuples: Vec::new(),
            first_packet_ns: None,
            path: weir_common::record::DataPath::default(),
            link: true,
            peer: None,
            warnings: Vec::new(),
        };
        let entry = Entry::Closed(Box::new(closed));
        half.append(entry.clone());
        self.next_flow();
        Some(entry)
    }

    /// The writer's turn.
    pub(super) fn write(&mut self, now: Instant) {
        if let Some(half) = &mut self.half {
            half.write(now);
        }
    }

    /// Of the live boot: the last written, the highest acknowledged, the last given.
    pub(super) fn positions(&self, boot: BootId) -> Option<(u64, u64, u64)> {
        self.half.as_ref()?.positions(boot)
    }

    /// Whether everything is delivered.
    pub(super) fn is_settled(&self) -> bool {
        self.half.as_ref().is_some_and(|half| half.waiting() == 0)
    }

    /// What the store keeps of it.
    pub(super) fn row(&self) -> AgentRow {
        AgentRow {
            name: self.name.clone(),
            labels: BTreeMap::new(),
            public_key: Vec::new(),
            generation: self.generation,
            boot: self.boot,
            inventory: Vec::new(),
            first_seen_unix_ns: 0,
            last_seen_unix_ns: 0,
            snapshot_version: 0,
        }
    }
}
