//! One assignment: where it stands and what it has to say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_common::assignment::{Assignment, OnControllerLoss, Target};
use weir_common::id::{RunId, SessionId};
use weir_common::record::End;
use weir_proto::agent::v1 as pb;
use weir_proto::agent::v1::control_request::Message as Report;
use weir_proto::agent::v1::session_status::State as SessionState;
use weir_proto::types::v1 as types;

use super::Action;
use crate::state::Standing;

/// One end of a session.
#[derive(Debug, Default)]
pub(super) struct SessionEnd {
    pub(super) port: Option<u16>,
    pub(super) outcome: Option<SessionState>,
}

/// One assignment.
///
/// Invariant: `assignment` is there until the standing is final; `standing`
/// never goes back.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) nonce: u64,
    pub(super) assignment: Option<Arc<Assignment>>,
    pub(super) standing: Standing,
    pub(super) reason: String,
    pub(super) late_by_ns: u64,
    /// Whether the newest snapshot holds it.
    pub(super) wanted: bool,
    /// Whether the engine has it.
    pub(super) in_engine: bool,
    /// Whether its host is being observed.
    pub(super) observing: bool,
    pub(super) ends: BTreeMap<(SessionId, End), SessionEnd>,
    pub(super) targets: BTreeMap<SessionId, u16>,
    pub(super) excluded: BTreeSet<SessionId>,
    pub(super) t0_ns: Option<u64>,
    /// Whether the controller is not to hear yet that it was aborted.
    pub(super) untold: bool,
    /// Why a stop was ordered.
    pub(super) stopping: Option<String>,
}

impl Run {
    pub(super) fn new(nonce: u64, assignment: Option<Arc<Assignment>>) -> Self {
        Self {
            nonce,
            assignment,
            standing: Standing::Accepted,
            reason: String::new(),
            late_by_ns: 0,
            wanted: true,
            in_engine: false,
            observing: false,
            ends: BTreeMap::new(),
            targets: BTreeMap::new(),
            excluded: BTreeSet::new(),
            t0_ns: None,
            untold: false,
            stopping: None,
        }
    }

    /// Whether it has nothing to do but to observe.
    pub(super) fn watches(&self) -> bool {
        let assignment = self.assignment.as_ref();
        assignment.is_some_and(|it| it.sessions.is_empty() && it.observe.is_any())
    }

    pub(super) fn status(&self, id: RunId) -> pb::AssignmentStatus {
        pb::AssignmentStatus {
            run: id.0,
            state: self.standing.to_proto().into(),
            reason: self.reason.clone(),
            late_by_ns: self.late_by_ns,
        }
    }

    /// Passes on what a snapshot knows of peers, once.
    pub(super) fn learn(
        &mut self,
        id: RunId,
        targets: &[Target],
        excluded: &[SessionId],
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        for target in targets {
            if self.targets.insert(target.session, target.port) != Some(target.port)
                && self.in_engine
            {
                actions.push(Action::SetTarget(id, target.session, target.port));
            }
        }
        for session in excluded {
            if self.excluded.insert(*session) && self.in_engine {
                actions.push(Action::Exclude(id, *session));
            }
        }
        actions
    }

    /// The end of a session that does not dial.
    pub(super) fn listening_end(&self, session: SessionId) -> Option<End> {
        let sessions = &self.assignment.as_ref()?.sessions;
        let spec = sessions
            .iter()
            .find(|spec| spec.session == session && !spec.dials)?;
        Some(spec.end)
    }

    pub(super) fn outcome(
        &mut self,
        id: RunId,
        session: SessionId,
        end: End,
        state: SessionState,
    ) -> Report {
        self.ends.entry((session, end)).or_default().outcome = Some(state.clone());
        session_report(id, session, end, state)
    }

    /// When the run stops for want of a controller.
    pub(super) fn lease_end_ns(&self, seen_ns: u64) -> Option<u64> {
        let assignment = self.assignment.as_ref()?;
        let started = matches!(self.standing, Standing::Armed | Standing::Running);
        match assignment.on_controller_loss {
            OnControllerLoss::StopAfter(lease_ns) if started && self.stopping.is_none() => {
                Some(seen_ns.saturating_add(lease_ns))
            }
            OnControllerLoss::StopAfter(_) | OnControllerLoss::RunToEnd => None,
        }
    }
}

pub(super) fn failed(code: &str, reason: &str) -> pb::SessionFailed {
    pb::SessionFailed {
        code: code.to_owned(),
        reason: reason.to_owned(),
    }
}

pub(super) fn session_report(
    run: RunId,
    session: SessionId,
    end: End,
    state: SessionState,
) -> Report {
    Report::SessionStatus(pb::SessionStatus {
        run: run.0,
        session: session.0,
        end: types::End::from(end).into(),
        state: Some(state),
    })
}
