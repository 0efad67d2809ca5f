//! What a campaign means on the agents there are: hosts, phases, sessions, flows, peak load and warnings.
//!
//! A plan is data. It is stored with its run and read back after a restart of the controller, so that the
//! assignments made from it stay the same. [`crate::planner::plan`] makes it; nothing changes it afterwards.

mod address;
mod document;
mod share;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use weir_common::assignment::{Segment, SocketTraffic, Transport};
use weir_common::id::{AgentName, FlowId, SessionId};
use weir_common::record::End;
use weir_common::traffic::Trace;

pub(crate) use address::reachable;
pub use document::SCHEMA;

/// The plan of one run. All times are in ns, and from T0 unless they are lengths.
///
/// Invariants: flows and sessions are numbered from 1 without holes, in the order of their vectors; every
/// flow is a segment of exactly one session; tags are unique within the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Name of the campaign.
    pub name: String,
    /// What the experimenter wants to know.
    pub question: Option<String>,
    /// The campaign's seed: every draw of the run comes from it.
    pub seed: u64,
    /// Reporting interval.
    pub interval_ns: u64,
    /// Waiting time after which a packet is lost (RFC 7680).
    pub linger_ns: u64,
    /// How long reachability is retried.
    pub settle_ns: u64,
    /// What a lost agent means for the run.
    pub lost_agent: OnLostAgent,
    /// The hosts that take part, by name.
    pub hosts: Vec<PlannedHost>,
    /// Agents without flows that watch their interfaces meanwhile, by name.
    #[serde(default)]
    pub observers: Vec<PlannedObserver>,
    /// The phases, in time.
    pub phases: Vec<PlannedPhase>,
    /// The sessions, by number.
    pub sessions: Vec<PlannedSession>,
    /// The flows, by number.
    pub flows: Vec<PlannedFlow>,
    /// End of the last flow.
    pub end_ns: u64,
    /// Rows of all flows and both ends; the most there can be when `records_at_most`.
    pub records_expected: u64,
    /// True when some flow may end before its time, by bytes or packets.
    pub records_at_most: bool,
    /// Peak load.
    pub load: Load,
    /// What the experimenter should know before starting.
    pub warnings: Vec<Warning>,
    /// The files that laws of the sessions name.
    #[serde(default)]
    pub traces: Vec<Trace>,
}

/// What a lost agent means for the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnLostAgent {
    /// Its flows are marked, the others go on.
    #[default]
    Mark,
    /// The run is stopped.
    Fail,
}

/// One host of the run, as it was known when the plan was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedHost {
    /// Its agent.
    pub name: AgentName,
    /// The agent's labels.
    pub labels: BTreeMap<String, String>,
    /// Addresses at which it may be reached, best first.
    pub addresses: Vec<IpAddr>,
    /// Boot id of its kernel.
    pub kernel: String,
    /// Name of the clock that it reads: the same for hosts that read one; empty = not known.
    #[serde(default)]
    pub clock: String,
    /// Sessions of which it is an end.
    pub sessions: u32,
}

/// One agent that takes no part in a flow and watches its host: a router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedObserver {
    /// The agent.
    pub name: AgentName,
    /// Boot id of its kernel.
    pub kernel: String,
}

/// One phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedPhase {
    /// Its number, from 0: the index in [`Plan::phases`].
    pub index: u16,
    /// Its name.
    pub name: String,
    /// Start from T0.
    pub start_ns: u64,
    /// Length.
    pub length_ns: u64,
    /// Leading part that is recorded and left out of the results.
    pub warmup_ns: u64,
}

/// One pair's sockets for one flow set: two agents, one or more segments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedSession {
    /// Its number.
    pub id: SessionId,
    /// The flow set.
    pub set: String,
    /// The generator.
    pub from: AgentName,
    /// The receiver.
    pub to: AgentName,
    /// The end that opens the connections.
    pub dials: End,
    /// What is sent, all streams together.
    pub traffic: SocketTraffic,
    /// Source address of the generator; `None` = by route.
    pub bind: Option<IpAddr>,
    /// Interface of the generator; `None` = by route.
    #[serde(default)]
    pub interface: Option<String>,
    /// Port of the generator's first stream; `None` = any free one.
    #[serde(default)]
    pub source_port: Option<u16>,
    /// Port of the listening end; 0 = the default one, or any free one.
    pub port: u16,
    /// The tag of each stream.
    pub tags: Vec<u32>,
    /// The flows that the session carries, in time.
    pub segments: Vec<Segment>,
}

impl PlannedSession {
    /// Connections or 5-tuples of the session.
    pub fn streams(&self) -> usize {
        self.tags.len()
    }
}

/// One flow: a flow set, a pair and a phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedFlow {
    /// Its number.
    pub id: FlowId,
    /// The session that carries it.
    pub session: SessionId,
    /// The flow set.
    pub set: String,
    /// Index of the phase.
    pub phase: u16,
    /// Repeat of the campaign, from 1.
    pub repeat: u32,
    /// `phase/set/from>to`: unique within a repeat, equal between runs of a campaign.
    pub key: String,
    /// The generator.
    pub from: AgentName,
    /// The receiver.
    pub to: AgentName,
    /// The generator's label `asn`, when it is a number.
    pub from_asn: Option<u32>,
    /// The receiver's label `asn`, when it is a number.
    pub to_asn: Option<u32>,
    /// TCP or UDP.
    pub transport: Transport,
    /// The flow of the opposite direction, of a set with `both`.
    pub reverse_of: Option<FlowId>,
    /// Start from T0.
    pub start_ns: u64,
    /// Length.
    pub length_ns: u64,
    /// Leading part that is recorded and left out of the results.
    pub warmup_ns: u64,
    /// Offered payload, bit/s, rounded; `None` for `max`.
    pub offered_bps: Option<u64>,
    /// Offered thousandths of a packet per second (UDP), rounded; `None` for `max` and TCP.
    pub offered_milli_pps: Option<u64>,
    /// Connections or 5-tuples.
    pub streams: u16,
    /// UDP payload size, or TCP write size (0 = adaptive), bytes.
    pub size: u32,
    /// Rows at each end; the most there can be when `rows_at_most`.
    pub rows_per_end: u32,
    /// True when the flow may end before its time, by bytes or packets.
    pub rows_at_most: bool,
}

impl PlannedFlow {
    /// Offered packets per second (UDP).
    pub fn offered_pps(&self) -> Option<f64> {
        self.offered_milli_pps.map(|milli| milli as f64 / 1_000.0)
    }

    /// End from T0, ns.
    pub fn end_ns(&self) -> u64 {
        self.start_ns.saturating_add(self.length_ns)
    }
}

/// Peak load of the run: for each quantity the phase that has most of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Load {
    /// Each host, by name.
    pub hosts: Vec<HostLoad>,
    /// Each kernel that hosts share, by its boot id.
    pub kernels: Vec<KernelLoad>,
    /// The whole run.
    pub total: Peak,
}

/// Peak of flows at one place. `max` flows count in `unlimited` and add nothing to the rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Peak {
    /// Offered payload, bit/s.
    pub bps: u64,
    /// Offered thousandths of a packet per second; of TCP as if all segments were full.
    pub milli_pps: u64,
    /// Flows at once.
    pub flows: u32,
    /// Flows at once that are as fast as they can be.
    pub unlimited: u32,
}

/// Peak load of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLoad {
    /// The host.
    pub agent: AgentName,
    /// What leaves it.
    pub tx: Peak,
    /// What is sent to it.
    pub rx: Peak,
}

/// Peak load of one kernel; a flow between two of its hosts counts once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelLoad {
    /// Boot id.
    pub kernel: String,
    /// Its hosts in the run.
    pub agents: u32,
    /// Its cores; 0 = not known.
    pub cores: u32,
    /// Flows with an end in it.
    pub peak: Peak,
}

/// Something that does not stop the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// Short and stable, such as `unlimited-udp`.
    pub code: String,
    /// The sentence for the experimenter.
    pub text: String,
}

impl Plan {
    /// The agents that take part, by name.
    pub fn agents(&self) -> impl Iterator<Item = &AgentName> {
        self.hosts.iter().map(|host| &host.name)
    }

    /// The agents that take part and those that observe.
    pub fn everyone(&self) -> impl Iterator<Item = &AgentName> {
        let observers = self.observers.iter().map(|observer| &observer.name);
        self.agents().chain(observers)
    }

    /// Whether an agent has anything to do in the run.
    pub fn takes_part(&self, agent: &AgentName) -> bool {
        self.host(agent).is_some() || self.observer(agent).is_some()
    }

    /// An agent that only observes.
    pub fn observer(&self, agent: &AgentName) -> Option<&PlannedObserver> {
        self.observers
            .iter()
            .find(|observer| observer.name == *agent)
    }

    /// Boot id of an agent's kernel.
    pub fn kernel_of(&self, agent: &AgentName) -> Option<&str> {
        let host = self.host(agent).map(|host| &host.kernel);
        let kernel = host.or_else(|| self.observer(agent).map(|observer| &observer.kernel))?;
        Some(kernel)
    }

    /// The one agent that tells of a kernel: the first host of the run that
    /// runs on it, else the first observer.
    pub fn reporter(&self, kernel: &str) -> Option<&AgentName> {
        if kernel.is_empty() {
            return None;
        }
        let hosts = self.hosts.iter().map(|host| (&host.name, &host.kernel));
        let observers = self.observers.iter();
        let observers = observers.map(|observer| (&observer.name, &observer.kernel));
        hosts
            .chain(observers)
            .find(|(_, known)| *known == kernel)
            .map(|(name, _)| name)
    }

    /// A host of the plan.
    pub fn host(&self, agent: &AgentName) -> Option<&PlannedHost> {
        let place = self
            .hosts
            .binary_search_by(|host| host.name.cmp(agent))
            .ok()?;
        self.hosts.get(place)
    }

    /// A flow by its number.
    pub fn flow(&self, id: FlowId) -> Option<&PlannedFlow> {
        self.flows.get((id.0 as usize).checked_sub(1)?)
    }

    /// A session by its number.
    pub fn session(&self, id: SessionId) -> Option<&PlannedSession> {
        self.sessions.get((id.0 as usize).checked_sub(1)?)
    }

    /// A phase by its index.
    pub fn phase(&self, index: u16) -> Option<&PlannedPhase> {
        self.phases.get(usize::from(index))
    }

    /// The flows of a session, in time.
    pub fn flows_of<'a>(
        &'a self,
        session: &'a PlannedSession,
    ) -> impl Iterator<Item = &'a PlannedFlow> {
        session
            .segments
            .iter()
            .filter_map(|segment| self.flow(segment.flow))
    }
}
