//! The engine's face: hand it an assignment, tell it where peers listen and
//! when T0 is, and it answers with events. It knows no gRPC and no clock but
//! the one it is given.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use weir_common::assignment::{Assignment, AssignmentError, Peer, Transport};
use weir_common::id::{RunId, SessionId};
use weir_common::record::{End, FlowClosed, PeerTotals, Record};

use crate::clock::Clock;
use crate::consent::Questions;
use crate::cpus::CpuList;
use crate::drive::CrewError;
use crate::run::Cpus;
pub use crate::run::RunHandle;
use crate::socket::{SocketError, SocketProvider};

/// What the engine tells its owner.
///
/// Order, per session end: `Listening` (listening ends only), then `Ready` or
/// `Failed`, then after T0 rows of each flow in rising `k`, then one `Closed`
/// per flow. `Finished` comes once, after everything else of the run.
#[derive(Debug, Clone)]
pub enum Event {
    /// A listening end has bound; its peer may dial this port.
    Listening {
        /// The session.
        session: SessionId,
        /// Bound port, the same for TCP and UDP.
        port: u16,
    },
    /// All sockets of this end are connected and the peer has answered.
    Ready {
        /// The session.
        session: SessionId,
        /// Which end.
        end: End,
        /// Addresses of each stream, `source>destination` in the direction of the data.
        tuples: Vec<String>,
        /// Whether the flow link is up.
        link: bool,
    },
    /// This end cannot start. After it no more events of this session and end.
    Failed {
        /// The session.
        session: SessionId,
        /// Which end.
        end: End,
        /// Short code.
        code: FailureCode,
        /// Operation, address and error.
        reason: String,
    },
    /// One row.
    Record(Box<Record>),
    /// A flow has ended at this end.
    Closed(Box<FlowClosed>),
    /// The other end's totals of a flow, from the closing exchange; for local logs.
    PeerClosed {
        /// The flow's manifest at this end had gone out before.
        flow: weir_common::id::FlowId,
        /// Which end we are.
        end: End,
        /// What the peer counted.
        totals: PeerTotals,
    },
    /// Every session of the run has ended and its sockets are closed.
    Finished,
}

/// Why a session could not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureCode {
    /// No answer within `settle`.
    Unreachable,
    /// The peer's host refused the connection.
    Refused,
    /// The agent's local policy forbids it.
    Policy,
    /// The host refused a socket, address or option.
    Bind,
    /// A connection broke before T0.
    Broken,
    /// The run was stopped, or the peer failed, before T0.
    Stopped,
}

impl FailureCode {
    /// The code as it is reported.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::Policy => "policy",
            Self::Bind => "bind",
            Self::Broken => "broken",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for FailureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where events go. Called from the engine's own threads; must not block for
/// long and must not call back into the engine.
pub trait Sink: Send + Sync {
    /// Takes one event of a run.
    fn event(&self, run: RunId, event: Event);
}

/// Local policy, asked before any packet leaves. Out of the controller's reach.
pub trait Policy: Send + Sync {
    /// Whether packets may be sent to this address, over this transport to this port; `None`:
    /// for some service at all.
    ///
    /// # Errors
    /// A sentence that names the rule and the key that would allow it.
    fn allows_destination(
        &self,
        address: IpAddr,
        service: Option<(Transport, u16)>,
    ) -> Result<(), String>;
}

/// What an engine is made of. Nothing is static: several engines live in one process.
#[derive(Clone)]
pub struct EngineConfig {
    /// The host's monotonic clock.
    pub clock: Arc<dyn Clock>,
    /// Where sockets come from.
    pub sockets: Arc<dyn SocketProvider>,
    /// What may be reached.
    pub policy: Arc<dyn Policy>,
    /// Port to listen on if it is free (7900).
    pub default_port: u16,
    /// Name of the clock, which two ends compare over the flow link: the kernel's
    /// boot id; empty if that is not known, or not what the clock's namespace adds to
    /// it. Then no delay is exact.
    pub clock_domain: String,
    /// The CPUs that the threads of streams are spread over; `None` = any. See
    /// [`CpuList::check`](crate::cpus::CpuList::check).
    pub cpus: Option<CpuList>,
}

impl fmt::Debug for EngineConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineConfig")
            .field("default_port", &self.default_port)
            .field("clock_domain", &self.clock_domain)
            .finish_non_exhaustive()
    }
}

/// Why a run was not even begun; no event of it comes.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The assignment breaks a bound or an invariant.
    #[error(transparent)]
    Assignment(#[from] AssignmentError),
    /// A kind of peer that this engine does not serve.
    #[error(
        "session {session}: no generator speaks `{speaks}` to a plain address; use an agent at both ends"
    )]
    Unsupported {
        /// The session.
        session: SessionId,
        /// The protocol asked for.
        speaks: String,
    },
    /// The host gave no descriptor or thread.
    #[error("cannot start a run")]
    Host(#[from] SocketError),
    /// The host gave no thread.
    #[error("cannot start a thread for a run: raise the limit of processes (`ulimit -u`)")]
    Thread(#[source] std::io::Error),
}

/// Runs assignments with threads of its own, never on the caller's.
#[derive(Debug, Clone)]
pub struct Engine {
    config: EngineConfig,
    cpus: Cpus,
    questions: Questions,
}

impl Engine {
    /// An engine; it does nothing until it is given an assignment.
    pub fn new(config: EngineConfig) -> Self {
        let cpus = Cpus::new(config.cpus.clone());
        let questions = Questions::default();
        Self {
            config,
            cpus,
            questions,
        }
    }

    /// Starts to prepare an assignment: binds listeners, dials the targets that
    /// become known; answers through `sink`.
    ///
    /// # Errors
    /// The assignment is malformed or asks for what this engine cannot do, or the
    /// host has no descriptor or thread left. Trouble of a single session is a
    /// `Failed` event instead.
    pub fn prepare(
        &self,
        assignment: Arc<Assignment>,
        sink: Arc<dyn Sink>,
    ) -> Result<RunHandle, EngineError> {
        assignment.check()?;
        for session in &assignment.sessions {
            if let Peer::Address { speaks, .. } = &session.peer {
                let (session, speaks) = (session.session, speaks.clone());
                return Err(EngineError::Unsupported { session, speaks });
            }
        }
        RunHandle::begin(
            &self.config,
            (&self.cpus, &self.questions),
            assignment,
            sink,
        )
    }
}

impl From<CrewError> for EngineError {
    fn from(error: CrewError) -> Self {
        match error {
            CrewError::Socket(error) => Self::Host(error),
            CrewError::Thread(error) => Self::Thread(error),
        }
    }
}
