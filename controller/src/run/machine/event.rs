//! What happens to a run, and what is to be done then.

use weir_common::assignment::StartAt;
use weir_common::id::{AgentName, FlowId, SessionId};
use weir_common::record::End;

use crate::store::{AssignmentState, SessionState};

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Agents bind, resolve and reach their peers.
    Preparing,
    /// T0 is being committed.
    Starting,
    /// T0 is committed.
    Running,
    /// A stop was ordered; manifests are awaited.
    Stopping,
    /// Nothing more is awaited.
    Closed,
}

/// What happens to a run.
#[derive(Debug, Clone)]
pub enum Event {
    /// An agent told how one end of a session stands.
    Session {
        /// The agent.
        agent: AgentName,
        /// The session.
        session: SessionId,
        /// Which end.
        end: End,
        /// How it stands.
        state: SessionState,
    },
    /// An agent told how its assignment stands.
    Assignment {
        /// The agent.
        agent: AgentName,
        /// How.
        state: AssignmentState,
        /// Why, for the last ones.
        reason: String,
    },
    /// An agent refused sessions of its assignment, or (empty) all of it.
    Refused {
        /// The agent.
        agent: AgentName,
        /// The sessions.
        sessions: Vec<SessionId>,
        /// The field and what is wrong with it.
        reason: String,
    },
    /// A manifest is stored.
    Manifest {
        /// The flow.
        flow: FlowId,
        /// Which end.
        end: End,
    },
    /// The end of an agent's observation is stored.
    Observed {
        /// The agent.
        agent: AgentName,
    },
    /// T0 is committed.
    Started(StartAt),
    /// An agent has not been heard for 15 s.
    AgentLost(AgentName),
    /// Somebody wants the run to stop.
    Stop {
        /// Why.
        reason: String,
    },
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The desired state of this agent has changed.
    Publish(AgentName),
    /// A session is decided: `None` = ready, else code and reason.
    Decided(SessionId, Option<(End, String, String)>),
    /// Choose T0, commit it, and come back with [`Event::Started`].
    ChooseStart,
    /// The run entered this state.
    Entered(State),
}
