//! The parts of a run: phases, flows, sessions, assignments.

use weir_common::assignment::Transport;
use weir_common::id::{AgentName, FlowId, SessionId};
use weir_common::record::End;
use weir_experiment::plan::{Plan, PlannedFlow};

/// What planning gives a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunPlan {
    /// The [`Plan`] as JSON, to be read back after a restart.
    pub plan_json: String,
    /// Latest planned end of any session from T0, ns.
    pub end_ns: u64,
    /// Phases, in order.
    pub phases: Vec<PhaseRow>,
    /// Flows; numbers are unique.
    pub flows: Vec<FlowRow>,
    /// Assignments: agent and encoded `weir.types.v1.Assignment`; one per agent.
    pub assignments: Vec<(AgentName, Vec<u8>)>,
}

/// One phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhaseRow {
    /// Its name.
    pub name: String,
    /// Repeat, from 1.
    pub repeat: u32,
    /// Start from T0, ns.
    pub start_ns: u64,
    /// Length, ns.
    pub length_ns: u64,
    /// Leading part excluded from results, ns.
    pub warmup_ns: u64,
}

/// Who is at an end of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Party {
    /// An agent.
    Agent {
        /// Its name.
        name: AgentName,
        /// Its label `asn` when the run was planned.
        asn: Option<String>,
    },
    /// An address with no agent behind it.
    Address(String),
}

impl Party {
    /// The name of the agent, or the address.
    pub fn name(&self) -> &str {
        match self {
            Self::Agent { name, .. } => name.as_str(),
            Self::Address(address) => address,
        }
    }

    /// The agent, if there is one.
    pub fn agent(&self) -> Option<&AgentName> {
        match self {
            Self::Agent { name, .. } => Some(name),
            Self::Address(_) => None,
        }
    }

    /// The label `asn`.
    pub fn asn(&self) -> Option<&str> {
        match self {
            Self::Agent { asn, .. } => asn.as_deref(),
            Self::Address(_) => None,
        }
    }
}

/// One flow: what analysis and export need to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowRow {
    /// Number within the run, from 1.
    pub flow: FlowId,
    /// The session that carries it.
    pub session: SessionId,
    /// Flow set.
    pub set: String,
    /// Phase.
    pub phase: String,
    /// Repeat, from 1.
    pub repeat: u32,
    /// Matrix variables and their values.
    pub cell: Vec<(String, String)>,
    /// Round of a mesh.
    pub round: Option<u32>,
    /// Stable name over repeats and runs: `phase/set/from>to`.
    pub key: String,
    /// Where the data leaves.
    pub from: Party,
    /// Where it arrives.
    pub to: Party,
    /// TCP or UDP.
    pub transport: Transport,
    /// The other direction of `both`.
    pub reverse_of: Option<FlowId>,
    /// Streams.
    pub streams: u16,
    /// Offered payload, bit/s; `None` for unlimited traffic.
    pub offered_bps: Option<u64>,
    /// Offered thousandths of a packet per second; `None` for unlimited traffic and TCP.
    pub offered_milli_pps: Option<u64>,
    /// UDP payload size, or TCP write size (0 = adaptive), bytes.
    pub size: u32,
    /// Start from T0, ns.
    pub start_ns: u64,
    /// Length, ns.
    pub length_ns: u64,
    /// Leading part excluded from results, ns.
    pub warmup_ns: u64,
    /// Rows that each end is planned to give, streams and sum rows together.
    pub planned_rows: u32,
}

impl RunPlan {
    /// The plan of a run and its encoded assignments, as they are stored.
    ///
    /// # Errors
    /// When the plan cannot be written as JSON.
    pub fn of(plan: &Plan, assignments: Vec<(AgentName, Vec<u8>)>) -> serde_json::Result<Self> {
        let phases = plan.phases.iter().map(|phase| PhaseRow {
            name: phase.name.clone(),
            repeat: 1,
            start_ns: phase.start_ns,
            length_ns: phase.length_ns,
            warmup_ns: phase.warmup_ns,
        });
        Ok(Self {
            plan_json: serde_json::to_string(plan)?,
            end_ns: plan.end_ns,
            phases: phases.collect(),
            flows: plan
                .flows
                .iter()
                .map(|flow| FlowRow::of(plan, flow))
                .collect(),
            assignments,
        })
    }
}

impl FlowRow {
    /// A flow of a plan.
    pub fn of(plan: &Plan, flow: &PlannedFlow) -> Self {
        let party = |name: &AgentName| Party::Agent {
            name: name.clone(),
            asn: plan
                .host(name)
                .and_then(|host| host.labels.get("asn").cloned()),
        };
        Self {
            flow: flow.id,
            session: flow.session,
            set: flow.set.clone(),
            phase: plan
                .phase(flow.phase)
                .map_or_else(String::new, |phase| phase.name.clone()),
            repeat: flow.repeat,
            cell: Vec::new(),
            round: None,
            key: flow.key.clone(),
            from: party(&flow.from),
            to: party(&flow.to),
            transport: flow.transport,
            reverse_of: flow.reverse_of,
            streams: flow.streams,
            offered_bps: flow.offered_bps,
            offered_milli_pps: flow.offered_milli_pps,
            size: flow.size,
            start_ns: flow.start_ns,
            length_ns: flow.length_ns,
            warmup_ns: flow.warmup_ns,
            planned_rows: flow.rows_per_end,
        }
    }

    /// Who is at that end.
    pub fn party(&self, end: End) -> &Party {
        match end {
            End::Tx => &self.from,
            End::Rx => &self.to,
        }
    }
}

/// How an assignment stands at its agent; it only moves down this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AssignmentState {
    /// Made, not accepted yet.
    Planned,
    /// On the agent's disk.
    Accepted,
    /// Every session is ready or failed.
    Prepared,
    /// The agent knows T0.
    Armed,
    /// T0 has passed.
    Running,
    /// Every flow is closed.
    Finished,
    /// Ended by an order.
    Stopped,
    /// Ended by a restart of the agent, or another fault.
    Aborted,
    /// The agent refused it.
    Refused,
}

impl AssignmentState {
    /// All states, in order.
    pub const ALL: [Self; 9] = [
        Self::Planned,
        Self::Accepted,
        Self::Prepared,
        Self::Armed,
        Self::Running,
        Self::Finished,
        Self::Stopped,
        Self::Aborted,
        Self::Refused,
    ];

    /// The word stored and printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Accepted => "accepted",
            Self::Prepared => "prepared",
            Self::Armed => "armed",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Stopped => "stopped",
            Self::Aborted => "aborted",
            Self::Refused => "refused",
        }
    }

    /// Whether nothing more comes of it.
    pub fn is_over(self) -> bool {
        self >= Self::Finished
    }
}

/// One agent's share of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssignmentRow {
    /// The agent.
    pub agent: AgentName,
    /// Encoded `weir.types.v1.Assignment`.
    pub assignment: Vec<u8>,
    /// How it stands there.
    pub state: AssignmentState,
    /// Why, for stopped, aborted and refused.
    pub reason: String,
    /// How late the start order came after T0, ns.
    pub late_by_ns: u64,
}

/// How one end of a session stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionState {
    /// It listens; the other end may dial.
    Listening {
        /// At this port.
        port: u16,
    },
    /// It is ready to start.
    Ready {
        /// Addresses of each stream, `source>destination`.
        tuples: Vec<String>,
        /// Whether its flow link is up.
        link: bool,
    },
    /// It cannot start, or broke.
    Failed {
        /// Short code, such as `unreachable`.
        code: String,
        /// Operation, address and error.
        reason: String,
    },
}

/// One end of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// The session.
    pub session: SessionId,
    /// Which end.
    pub end: End,
    /// How it stands.
    pub state: SessionState,
    /// Port at which it listens, also once it is ready; `None` for the end
    /// that dials. Kept when a later state does not say it.
    pub port: Option<u16>,
}
