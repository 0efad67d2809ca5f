//! The engine's face: hand it an assignment, tell it where peers listen and
//! when T0 is, and it answers with events. It knows no gRPC and no clock but
//! the one it is given.

use std::fmt;
use std::net::IpAddr;

use weir_common::id::{RunId, SessionId};
use weir_common::record::{End, FlowClosed, PeerTotals, Record};

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
    /// Whether packets may be sent to this address.
    ///
    /// # Errors
    /// A sentence that names the rule and the key that would allow it.
    fn allows_destination(&self, address: IpAddr) -> Result<(), String>;
}
