//! What happens when: each step some of what can happen does.

mod faults;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use weir_agent::simulation::{Limits, Stream};
use weir_common::id::BootId;
use weir_common::record::Entry;
use weir_controller::store::Batch;
use weir_proto::agent::v1 as pb;
use weir_proto::agent::v1::records_request::Message as Request;
use weir_proto::agent::v1::records_response::Message as Response;

use super::agent::{Agent, Greeting};
use super::controller::{Commit, Controller, Database, ack};
use super::counts::Counts;
use super::dice::Dice;
use super::network::Pipe;
use super::oracle::{Boot, Oracle};
use faults::Faults;

/// Steps with faults.
const STEPS: u64 = 300;
/// Steps after them in which everything has to be delivered: half a minute of virtual time.
const PATIENCE: u64 = 3_000;

/// What a connection brings down.
enum Down {
    Response(pb::RecordsResponse),
    /// The stream has ended.
    End,
}

/// A connection for records.
struct Connection {
    agent: usize,
    boot: BootId,
    up: Pipe<pb::RecordsRequest>,
    down: Pipe<Down>,
    /// The agent's end.
    stream: Option<Stream>,
    /// The controller's end: whether it has begun, and whether it still is.
    opened: bool,
    served: bool,
    /// When the controller notices that the agent's end is gone.
    noticed_ms: Option<u64>,
}

pub(super) struct World {
    dice: Dice,
    base: Instant,
    now_ms: u64,
    agents: Vec<Agent>,
    controller: Option<Controller>,
    database: Database,
    backup: Option<Database>,
    connections: BTreeMap<usize, Connection>,
    next_connection: usize,
    faults: Faults,
    oracle: Oracle,
    counts: Counts,
    /// Whether each step is printed.
    tell: bool,
}

impl World {
    pub(super) fn new(seed: u64, tell: bool) -> Self {
        let mut dice = Dice::new(seed);
        let faults = Faults::drawn(&mut dice);
        let limits = Limits {
            // Rows are merged from 95 % on, which has tests of its own.
            memory_bytes: 1 << 20,
            disk_bytes: 256 << 20,
            segment_bytes: 512 << dice.below(4),
            reserve_bytes: 0,
        };
        // Without failing disks memory may be so small that entries are read from disk.
        let limits = match faults.full {
            0 => Limits {
                memory_bytes: 4 << 10,
                ..limits
            },
            _ => limits,
        };
        let agents = 1 + dice.below(3) as u8;
        Self {
            dice,
            base: Instant::now(),
            now_ms: 0,
            agents: (1..=agents)
                .map(|index| Agent::new(index, limits))
                .collect(),
            controller: None,
            database: Database::default(),
            backup: None,
            connections: BTreeMap::new(),
            next_connection: 0,
            faults,
            oracle: Oracle::default(),
            counts: Counts::default(),
            tell,
        }
    }

    /// The whole history; panics when something is wrong with it.
    pub(super) fn run(mut self) -> Counts {
        for _ in 0..STEPS {
            self.fault();
            self.step(true);
        }
        self.heal();
        let mut steps = 0;
        while !self.is_settled() {
            steps += 1;
            assert!(steps < PATIENCE, "not delivered in time: {}", self.told());
            self.step(false);
        }
        let gaps = self.oracle.judge(&self.database);
        self.counts.count("gaps: interval under way", gaps.ended);
        self.counts.count("gaps: damaged", gaps.damaged);
        self.counts.count("gaps: forgotten", gaps.forgotten);
        self.counts
    }

    fn told(&self) -> String {
        let agents = self.agents.iter().map(|agent| {
            let boots = agent.half.as_ref().map(|half| half.boots());
            let boots = boots.unwrap_or_default().into_iter();
            let at: Vec<_> = boots.map(|boot| (boot, agent.positions(boot))).collect();
            format!("{} {:?} {at:?}", agent.name, agent.session)
        });
        agents.collect::<Vec<_>>().join("; ")
    }

    fn now(&self) -> Instant {
        self.base + Duration::from_millis(self.now_ms)
    }

    /// When something that is sent now arrives.
    fn arrival_ms(&mut self) -> u64 {
        let stall = if self.dice.permille(5) { 3_000 } else { 0 };
        self.now_ms + 1 + self.dice.below(30) + stall
    }

    /// Some of what can happen next, for each who can.
    fn step(&mut self, busy: bool) {
        if self.tell {
            println!("{} ms: {}; {:?}", self.now_ms, self.told(), self.counts);
        }
        self.now_ms += 1 + self.dice.below(20);
        for index in 0..self.agents.len() {
            self.agent(index, busy);
        }
        let connections: Vec<usize> = self.connections.keys().copied().collect();
        for id in connections {
            self.sender(id);
            self.receiver(id);
        }
        self.commit();
        self.connections
            .retain(|_, connection| connection.stream.is_some() || connection.served);
    }

    fn agent(&mut self, index: usize, busy: bool) {
        if self.agents[index].half.is_none() {
            if self.dice.permille(100) {
                self.start(index);
            }
            return;
        }
        let boot = self.agents[index].boot;
        if busy && self.dice.permille(400) {
            for _ in 0..=self.dice.below(8) {
                let made = self.agents[index].interval();
                self.emitted(boot, made);
            }
        }
        if busy && self.dice.permille(30) {
            let made = self.agents[index].close();
            self.emitted(boot, made);
        }
        let now = self.now();
        if self.dice.permille(600) {
            self.agents[index].write(now);
        }
        if self.agents[index].ticks_at_ms <= self.now_ms {
            let agent = &mut self.agents[index];
            agent.ticks_at_ms = self.now_ms + 1_000;
            if let Some(half) = &mut agent.half {
                half.tick(now);
            }
            if let Some((written, _, _)) = agent.positions(boot) {
                let boot = self.oracle.boots.entry(boot).or_default();
                if !boot.unsynced {
                    boot.durable = boot.durable.max(written);
                }
            }
        }
        self.greet(index);
        self.dial(index);
        let half = self.agents[index].half.as_ref();
        for boot in half.map(|half| half.boots()).unwrap_or_default() {
            if let Some((_, acked, _)) = self.agents[index].positions(boot) {
                let boot = self.oracle.boots.entry(boot).or_default();
                boot.acked = boot.acked.max(acked);
            }
        }
        if self.agents[index].host.was_torn() {
            self.counts.count("kills within a write", 1);
            self.harmed(index);
            self.kill(index);
        }
    }

    fn start(&mut self, index: usize) {
        let agent = &mut self.agents[index];
        agent.start();
        agent.ticks_at_ms = self.now_ms + 1_000;
        let boot = Boot {
            agent: Some(agent.name.clone()),
            unsynced: agent.host.is_unsyncable(),
            ..Boot::default()
        };
        self.oracle.boots.insert(agent.boot, boot);
    }

    fn emitted(&mut self, boot: BootId, entry: Option<Entry>) {
        let known = self.oracle.boots.entry(boot).or_default();
        known.emitted.extend(entry);
    }

    /// The control stream: hello, and the epoch of a session.
    fn greet(&mut self, index: usize) {
        let at_ms = self.arrival_ms();
        let now_ns = self.now_ms * 1_000_000;
        let agent = &mut self.agents[index];
        if agent.session.is_some() {
            return;
        }
        let Some(greeting) = &mut agent.greeting else {
            if self.dice.permille(200) {
                let mut greeting = Greeting::default();
                greeting.up.send(at_ms, ());
                agent.greeting = Some(greeting);
            }
            return;
        };
        if greeting.up.take(self.now_ms).is_some() {
            match &mut self.controller {
                Some(controller) => {
                    let row = agent.row();
                    let welcome = controller.hello(&mut self.database, row, now_ns);
                    agent
                        .greeting
                        .iter_mut()
                        .for_each(|greeting| greeting.down.send(at_ms, welcome));
                }
                None => agent.greeting = None,
            }
            return;
        }
        if let Some((epoch, acked)) = greeting.down.take(self.now_ms) {
            (agent.session, agent.greeting) = (Some(epoch), None);
            if let Some(half) = &agent.half {
                half.acknowledged(acked);
            }
        }
    }

    /// Opens records streams: one for this boot, one for what earlier ones left.
    fn dial(&mut self, index: usize) {
        let agent = &self.agents[index];
        let (Some(session_epoch), Some(half)) = (agent.session, &agent.half) else {
            return;
        };
        let is_open = |live: bool| {
            self.connections.values().any(|connection| {
                connection.agent == index
                    && connection.stream.is_some()
                    && (connection.boot == agent.boot) == live
            })
        };
        let boots = half.boots();
        let (live, old) = boots.split_last().expect("there is this boot");
        let wanted = [(true, Some(live)), (false, old.first())];
        let missing = wanted
            .into_iter()
            .filter(|(live, _)| !is_open(*live))
            .filter_map(|(_, boot)| boot.copied());
        for boot in missing.collect::<Vec<_>>() {
            if !self.dice.permille(200) {
                continue;
            }
            let at_ms = self.arrival_ms();
            let agent = &self.agents[index];
            let stream = agent.half.as_ref().and_then(|half| half.open(boot));
            let mut up = Pipe::default();
            let open = pb::RecordsOpen {
                name: agent.name.to_string(),
                boot_id: boot.0.to_vec(),
                session_epoch,
                last_run: 1,
            };
            up.send(at_ms, request(Request::Open(open)));
            let connection = Connection {
                agent: index,
                boot,
                up,
                down: Pipe::default(),
                stream,
                opened: false,
                served: self.controller.is_some(),
                noticed_ms: None,
            };
            self.connections.insert(self.next_connection, connection);
            self.next_connection += 1;
        }
    }

    /// The agent's end of a connection.
    fn sender(&mut self, id: usize) {
        let (now, now_ms) = (self.now(), self.now_ms);
        let at_ms = self.arrival_ms();
        let connection = self.connections.get_mut(&id).expect("it is there");
        let Some(stream) = &mut connection.stream else {
            return;
        };
        let mut ended = None;
        while let Some(down) = connection.down.take(now_ms) {
            match down {
                Down::Response(response) => {
                    if let Some(Response::Nack(_)) = response.message {
                        self.counts.count("nacks", 1);
                    }
                    if let Err(reason) = stream.answered(response) {
                        ended = Some(reason);
                    }
                }
                Down::End => ended = Some(String::new()),
            }
        }
        if !connection.served && connection.down.len() == 0 && ended.is_none() {
            // Nobody is there, and nobody says so: found out some time.
            ended = self.dice.permille(50).then(String::new);
        }
        while ended.is_none() && connection.up.len() < 4 {
            match stream.batch(now) {
                Ok(None) => break,
                Ok(Some(batch)) => {
                    let boot = self.oracle.boots.entry(connection.boot).or_default();
                    let last = batch.first_seq + batch.entries.len() as u64 - 1;
                    let again = (boot.sent.min(last) + 1).saturating_sub(batch.first_seq);
                    self.counts.count("entries sent again", again);
                    boot.sent = boot.sent.max(last);
                    connection.up.send(at_ms, request(Request::Batch(batch)));
                }
                Err(reason) => ended = Some(reason),
            }
        }
        if stream.is_over() {
            self.counts.count("boots delivered after their end", 1);
            ended = Some(String::new());
        }
        if let Some(reason) = ended {
            assert!(reason.is_empty(), "the agent gave a stream up: {reason}");
            connection.stream = None;
            connection.noticed_ms = Some(at_ms);
        }
    }

    /// The controller's end of a connection.
    fn receiver(&mut self, id: usize) {
        let now_ms = self.now_ms;
        let at_ms = self.arrival_ms();
        let connection = self.connections.get_mut(&id).expect("it is there");
        let Some(controller) = self.controller.as_mut().filter(|_| connection.served) else {
            connection.served = false;
            return;
        };
        let name = self.agents[connection.agent].name.clone();
        while let Some(message) = connection.up.take(now_ms) {
            match message.message {
                Some(Request::Open(open)) => {
                    if !controller.registry.is_current(&name, open.session_epoch) {
                        self.counts.count("streams of old sessions refused", 1);
                        connection.served = false;
                        connection.down.send(at_ms, Down::End);
                        return;
                    }
                    connection.opened = true;
                    let acked = self.database.watermark(&name, connection.boot);
                    connection.down.send(at_ms, Down::Response(ack(acked)));
                }
                Some(Request::Batch(batch)) => {
                    let entries = batch.entries.iter().map(Entry::try_from);
                    let batch = Batch {
                        agent: name.clone(),
                        boot: connection.boot,
                        first_seq: batch.first_seq,
                        entries: entries
                            .collect::<Result<_, _>>()
                            .expect("entries are valid"),
                    };
                    controller.submit(id, batch);
                }
                None => unreachable!("agents send only what there is"),
            }
        }
        if connection.noticed_ms.is_some_and(|at| at <= now_ms) && connection.up.len() == 0 {
            connection.served = false;
        }
    }

    /// The store's thread.
    fn commit(&mut self) {
        let Some(controller) = self.controller.as_mut() else {
            if self.dice.permille(100) {
                self.controller = Some(Controller::start());
            }
            return;
        };
        if controller.waiting() == 0 || !self.dice.permille(500) {
            return;
        }
        let commit = if self.dice.permille(self.faults.commit) {
            self.counts.count("failed commits", 1);
            Commit::Failed
        } else {
            Commit::Stored
        };
        let most = 1 + self.dice.below(8) as usize;
        let (answers, known) = controller.commit(&mut self.database, most, commit);
        self.counts.count("entries that were known", known as u64);
        for ((_, boot), acked) in &self.database.watermarks {
            let boot = self.oracle.boots.entry(*boot).or_default();
            boot.stored = boot.stored.max(*acked);
        }
        if self.dice.permille(self.faults.crash) {
            // Committed, and nobody hears of it.
            self.counts.count("crashes after a commit", 1);
            self.crash();
            return;
        }
        for (id, answer) in answers {
            let at_ms = self.arrival_ms();
            let Some(connection) = self.connections.get_mut(&id).filter(|at| at.served) else {
                continue;
            };
            let Some(response) = answer else {
                connection.served = false;
                connection.down.send(at_ms, Down::End);
                continue;
            };
            connection.down.send(at_ms, Down::Response(response));
        }
    }

    /// Nothing goes wrong any more; each flow ends.
    fn heal(&mut self) {
        self.faults.commit = 0;
        self.faults.crash = 0;
        if self.controller.is_none() {
            self.controller = Some(Controller::start());
        }
        for index in 0..self.agents.len() {
            self.agents[index].host.set_full(false);
            self.agents[index].host.set_unsyncable(false);
            let _torn = self.agents[index].host.was_torn();
            if self.agents[index].half.is_none() {
                self.start(index);
            }
            let boot = self.agents[index].boot;
            // Something fresh has to arrive too.
            for made in [self.agents[index].interval(), self.agents[index].close()] {
                self.emitted(boot, made);
            }
        }
    }

    fn is_settled(&self) -> bool {
        let idle = self.controller.as_ref().is_some_and(|at| at.waiting() == 0);
        let stored = |agent: &Agent| {
            let at = agent.positions(agent.boot);
            at.is_some_and(|(_, _, last)| self.database.watermark(&agent.name, agent.boot) == last)
        };
        idle && self
            .agents
            .iter()
            .all(|agent| agent.is_settled() && stored(agent))
    }
}

fn request(message: Request) -> pb::RecordsRequest {
    pb::RecordsRequest {
        message: Some(message),
    }
}
