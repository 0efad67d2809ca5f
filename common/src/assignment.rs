//! One agent's share of a run, whole and finite: every phase with its offset
//! from T0, so that the agent needs no controller once T0 is known.
//!
//! A *session* is one pair's sockets for one flow set. It carries one or more
//! *segments*: the phases in which the set is active one right after the
//! other (`pause = "0s"`), each of which is a flow of its own in the results.

mod layer;
mod traffic;

pub use self::traffic::{
    Bundles, Layer, Marking, OnFull, Pacing, RampPoint, Rate, SocketTraffic, StreamEnd, Transport,
};

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::id::{AgentName, FlowId, RunId, SessionId};
use crate::record::End;
use crate::traffic::Trace;

/// What kind of work a session is. Later kinds (raw packets, iperf3, D-ITG,
/// log feeds) are further variants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Payload over ordinary TCP or UDP sockets.
    Socket(SocketTraffic),
}

/// The other end of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// An agent of the same run.
    Agent {
        /// Its name.
        name: AgentName,
        /// Addresses at which it can be reached, best first.
        addresses: Vec<IpAddr>,
    },
    /// An address with no agent behind it; `speaks` names the program there.
    Address {
        /// Where.
        address: SocketAddr,
        /// The protocol spoken there, such as `iperf3`.
        speaks: String,
    },
}

/// Address family asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Family {
    /// The first address of the peer that works.
    #[default]
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// One active time of a session: a flow of the results.
///
/// Invariant: within a session segments follow each other without overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The flow in the results.
    pub flow: FlowId,
    /// Start from T0, ns.
    pub start_ns: u64,
    /// Length, ns.
    pub length_ns: u64,
    /// Leading part that is recorded, flagged and excluded from results, ns.
    pub warmup_ns: u64,
}

impl Segment {
    /// End from T0, ns.
    pub fn end_ns(&self) -> u64 {
        self.start_ns.saturating_add(self.length_ns)
    }
}

/// This agent's end of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSpec {
    /// The session; the same number at both ends.
    pub session: SessionId,
    /// Which end this agent is.
    pub end: End,
    /// Whether this end opens the connections (and sends the first hello).
    pub dials: bool,
    /// What is sent.
    pub kind: Kind,
    /// The other end.
    pub peer: Peer,
    /// The tag of each stream, drawn for this run; one per stream.
    pub tags: Vec<u32>,
    /// When.
    pub segments: Vec<Segment>,
    /// Address family.
    pub family: Family,
    /// Source address of the dialling end; `None` = by route.
    pub source_address: Option<IpAddr>,
    /// Interface of the dialling end; `None` = by route.
    pub source_interface: Option<String>,
    /// Port of the dialling end's first stream, later streams count up; `None` = any free one.
    pub source_port: Option<u16>,
    /// Port of the listening end; 0 = the default one, or any free one.
    pub port: u16,
}

impl SessionSpec {
    /// The flow that is the session's first segment; errors are reported on it.
    pub fn first_flow(&self) -> Option<FlowId> {
        self.segments.first().map(|segment| segment.flow)
    }
}

/// What a generator does when its agent loses the controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnControllerLoss {
    /// Goes on to its planned end: breaking the network is the experiment.
    #[default]
    RunToEnd,
    /// Stops this long after the last answered heartbeat, ns.
    StopAfter(u64),
}

/// What an agent watches beside its flows, from T0 to the end of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Observe {
    /// Its interfaces.
    pub links: bool,
    /// Its kernel: at most one agent of each kernel is asked to.
    pub kernel: bool,
}

impl Observe {
    /// Whether it watches anything.
    pub fn is_any(self) -> bool {
        self.links || self.kernel
    }
}

/// One agent's share of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The run; an agent has at most one assignment of a run and never runs it twice.
    pub run: RunId,
    /// Drawn per run: what the two ends of a flow link recognise each other by.
    pub nonce: u64,
    /// Every random draw of the run comes from it.
    pub seed: u64,
    /// Length of a reporting interval, ns: 100 ms to 60 s.
    pub interval_ns: u64,
    /// Waiting time after which a packet counts as lost (RFC 7680), ns.
    pub linger_ns: u64,
    /// How long reachability is retried before a flow is given up, ns.
    pub settle_ns: u64,
    /// The latest end of any session from T0, ns: always finite.
    pub end_ns: u64,
    /// Rule for a lost controller.
    pub on_controller_loss: OnControllerLoss,
    /// This agent's ends; none for an agent that only watches.
    pub sessions: Vec<SessionSpec>,
    /// What it watches.
    pub observe: Observe,
    /// The files that its laws name.
    pub traces: Vec<Trace>,
}

/// Why an assignment is malformed; found before anything is started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("assignment of {run}: {field}: {problem}")]
pub struct AssignmentError {
    /// The run.
    pub run: RunId,
    /// Path of the field, such as `sessions[3].tags`.
    pub field: String,
    /// What is wrong with it, and what is allowed.
    pub problem: String,
}

/// Bounds that no assignment passes, whatever a controller says.
pub mod bounds {
    /// Sessions of one assignment.
    pub const SESSIONS: usize = 4096;
    /// Streams of one session.
    pub const STREAMS: usize = 128;
    /// Segments of one session: what the cohort number of the probe header can tell apart.
    pub const SEGMENTS: usize = 64;
    /// Shortest reporting interval, ns.
    pub const INTERVAL_MIN_NS: u64 = 100_000_000;
    /// Longest reporting interval, ns.
    pub const INTERVAL_MAX_NS: u64 = 60_000_000_000;
    /// Longest linger, ns.
    pub const LINGER_MAX_NS: u64 = 60_000_000_000;
    /// Longest settle, ns.
    pub const SETTLE_MAX_NS: u64 = 3_600_000_000_000;
    /// Latest end from T0, ns: one week.
    pub const END_MAX_NS: u64 = 7 * 86_400 * 1_000_000_000;
    /// Smallest UDP payload: tag and sequence.
    pub const UDP_SIZE_MIN: u32 = 12;
    /// Largest UDP payload over IPv4.
    pub const UDP_SIZE_MAX: u32 = 65_507;
    /// Longest spinning before a departure, ns.
    pub const SPIN_MAX_NS: u64 = 10_000_000;
    /// Longest drain of a stream, ns.
    pub const DRAIN_MAX_NS: u64 = 60_000_000_000;
    /// Values of all traces of an assignment: what fits the message beside everything else.
    pub const TRACE_VALUES: usize = 250_000;
    /// Points of a ramp.
    pub const RAMP_POINTS: usize = 1_000;
    /// Longest name of an interface.
    pub const INTERFACE_LEN: usize = 15;
    /// Highest rate, bit/s: 10 Tbit/s.
    pub const RATE_MAX_BPS: u64 = 10_000_000_000_000;
    /// Highest packet rate, thousandths per second: 10^9 pkt/s.
    pub const RATE_MAX_MILLI_PPS: u64 = 1_000_000_000_000;
}

impl Assignment {
    /// Checks every bound and invariant.
    ///
    /// # Errors
    /// The first field that is out of bounds, by its path.
    pub fn check(&self) -> Result<(), AssignmentError> {
        let fail = |field: String, problem: String| {
            Err(AssignmentError {
                run: self.run,
                field,
                problem,
            })
        };
        let spans = [
            (
                "interval_ns",
                self.interval_ns,
                bounds::INTERVAL_MIN_NS,
                bounds::INTERVAL_MAX_NS,
            ),
            ("linger_ns", self.linger_ns, 0, bounds::LINGER_MAX_NS),
            ("settle_ns", self.settle_ns, 0, bounds::SETTLE_MAX_NS),
            ("end_ns", self.end_ns, 1, bounds::END_MAX_NS),
        ];
        for (field, value, low, high) in spans {
            if !(low..=high).contains(&value) {
                return fail(field.into(), format!("{value} is outside {low} to {high}"));
            }
        }
        let n = self.sessions.len();
        if n > bounds::SESSIONS || (n == 0 && !self.observe.is_any()) {
            return fail(
                "sessions".into(),
                format!("{n} is outside 1 to {}", bounds::SESSIONS),
            );
        }
        let values: usize = self.traces.iter().map(|trace| trace.values.len()).sum();
        if values > bounds::TRACE_VALUES {
            let problem = format!("{values} values are more than {}", bounds::TRACE_VALUES);
            return fail("traces".into(), problem);
        }
        for (i, trace) in self.traces.iter().enumerate() {
            if let Err(problem) = trace.check() {
                return fail(format!("traces[{i}]"), problem);
            }
        }
        for (i, session) in self.sessions.iter().enumerate() {
            if let Err((field, problem)) = session.check(self.end_ns) {
                return fail(format!("sessions[{i}].{field}"), problem);
            }
        }
        Ok(())
    }
}

impl SessionSpec {
    fn check(&self, end_ns: u64) -> Result<(), (String, String)> {
        let bounded = |field: &str, n: usize, most: usize| {
            if (1..=most).contains(&n) {
                Ok(())
            } else {
                Err((field.to_owned(), format!("{n} is outside 1 to {most}")))
            }
        };
        bounded("tags", self.tags.len(), bounds::STREAMS)?;
        bounded("segments", self.segments.len(), bounds::SEGMENTS)?;
        if let Peer::Agent { addresses, .. } = &self.peer {
            bounded("peer.addresses", addresses.len(), 64)?;
        }
        let mut earliest = 0;
        for (i, segment) in self.segments.iter().enumerate() {
            let field = |name: &str| format!("segments[{i}].{name}");
            if segment.start_ns < earliest {
                return Err((field("start_ns"), "overlaps the segment before it".into()));
            }
            if segment.length_ns == 0 || segment.end_ns() > end_ns {
                let problem = format!("{} must be above 0 and end by end_ns", segment.length_ns);
                return Err((field("length_ns"), problem));
            }
            if segment.warmup_ns >= segment.length_ns {
                return Err((field("warmup_ns"), "must be shorter than length_ns".into()));
            }
            earliest = segment.end_ns();
        }
        let Kind::Socket(traffic) = &self.kind;
        traffic
            .check()
            .map_err(|(field, problem)| (format!("kind.{field}"), problem))
    }
}

/// T0 as an instant that every agent can convert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartAt {
    /// T0 by the controller's wall clock, ns since the Unix epoch.
    pub unix_ns: i64,
    /// T0 by the controller's host-monotonic clock (time-namespace offset taken out), ns.
    pub mono_ns: u64,
    /// Boot id of the controller's kernel: an agent that reads that kernel's clock uses `mono_ns` exactly.
    /// `unknown` where the controller does not know what its time namespace adds to the clock.
    pub kernel_boot_id: String,
}

/// What the controller wants done with an assignment now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Bind, resolve, reach the peers, answer ready or a reason.
    Prepare,
    /// Start at T0.
    Start(StartAt),
    /// Stop now; idempotent.
    Stop {
        /// Why, for the record.
        reason: String,
    },
}

/// Where a listening end was found to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The session.
    pub session: SessionId,
    /// The port at which the peer agent listens for it.
    pub port: u16,
}

/// One item of an agent's desired state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// The assignment; immutable once accepted.
    pub assignment: Assignment,
    /// Ports of the listening peers known so far, for the sessions that this agent dials.
    pub targets: Vec<Target>,
    /// Sessions not to start: their other end failed to get ready.
    pub excluded: Vec<SessionId>,
    /// What to do.
    pub order: Order,
}

/// Everything one agent is to do: replaces what was wanted before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Session epoch of the control session it was sent in.
    pub epoch: u64,
    /// Rises with every change, per agent, over controller restarts too.
    pub version: u64,
    /// All assignments that concern the agent.
    pub items: Vec<Desired>,
}
