//! One assignment: where it stands and what it has to say.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use weir_common::assignment::{Assignment, Kind, OnControllerLoss, SessionSpec, Target};
use weir_common::id::{RunId, SessionId};
use weir_common::record::End;
use weir_proto::agent::v1 as pb;
use weir_proto::agent::v1::control_request::Message as Report;
use weir_proto::agent::v1::session_status::State as SessionState;
use weir_proto::types::v1 as types;

use super::Action;
use crate::policy::{Held, LocalPolicy};
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
    /// What it takes of the host.
    pub(super) held: Held,
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
            held: Held::default(),
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

    /// Whether a session's end has failed, so that nothing of it runs.
    fn has_failed(&self, session: SessionId, end: End) -> bool {
        let end = self.ends.get(&(session, end));
        end.is_some_and(|end| matches!(end.outcome, Some(SessionState::Failed(_))))
            || self.excluded.contains(&session)
    }

    /// Why a policy does not allow what runs, beside what `others` hold; else what
    /// this run holds under it.
    ///
    /// # Errors
    /// The first flow that breaks it, and how.
    pub(super) fn under(&self, policy: &LocalPolicy, others: Held) -> Result<Held, String> {
        let Some(assignment) = &self.assignment else {
            return Ok(Held::default());
        };
        let runs = |session: &SessionSpec| !self.has_failed(session.session, session.end);
        let verdicts = policy.admit(assignment, others, runs);
        for (session, refusal) in assignment.sessions.iter().zip(verdicts.refusals) {
            let refusal = match refusal {
                None if runs(session) => self.reached(session, policy).err(),
                refusal => refusal,
            };
            if let (Some(refusal), Some(flow)) = (refusal, session.first_flow()) {
                return Err(format!("{flow}: {refusal}"));
            }
        }
        Ok(verdicts.held)
    }

    /// Whether the addresses that a ready session has reached are still allowed.
    fn reached(&self, session: &SessionSpec, policy: &LocalPolicy) -> Result<(), String> {
        let state = self.ends.get(&(session.session, session.end));
        let Some(SessionState::Ready(ready)) = state.and_then(|end| end.outcome.as_ref()) else {
            return Ok(());
        };
        let Kind::Socket(traffic) = &session.kind;
        for tuple in &ready.tuples {
            let peer = tuple.split_once('>').map(|(from, to)| match session.end {
                End::Tx => to,
                End::Rx => from,
            });
            let Some(peer) = peer.and_then(|peer| peer.parse::<SocketAddr>().ok()) else {
                continue;
            };
            let sends = session.end == End::Tx || traffic.echo;
            let service = sends.then_some((traffic.transport, peer.port()));
            policy.destination(peer.ip(), service)?;
        }
        Ok(())
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
