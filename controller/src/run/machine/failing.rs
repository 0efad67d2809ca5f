//! What fails: a session, an agent as a whole, and what follows for the others.

use weir_common::id::{AgentName, SessionId};
use weir_common::record::End;
use weir_experiment::analysis::AGENT_LOST;
use weir_experiment::plan::OnLostAgent;

use super::{Effect, Machine, party};

impl Machine {
    /// Fails a session once. Before T0 both ends are told; after it the end
    /// that says so owes no manifest, and the other one goes on.
    pub(super) fn fail(
        &mut self,
        session: SessionId,
        end: End,
        code: String,
        reason: String,
        effects: &mut Vec<Effect>,
    ) {
        let Some(planned) = self.plan.session(session) else {
            return;
        };
        let Some(standing) = self.sessions.get_mut(&session) else {
            return;
        };
        for segment in &planned.segments {
            self.due.remove(&(segment.flow, end));
        }
        if standing.failed.is_some() {
            return;
        }
        standing.failed = Some((end, code.clone(), reason.clone()));
        effects.push(Effect::Decided(session, Some((end, code, reason))));
        if self.start.is_none() {
            effects.push(Effect::Publish(planned.from.clone()));
            effects.push(Effect::Publish(planned.to.clone()));
        }
    }

    /// Nothing more comes from an agent: its sessions fail before T0, its
    /// manifests are not awaited after it.
    pub(super) fn agent_out(
        &mut self,
        agent: &AgentName,
        code: &str,
        why: &str,
        effects: &mut Vec<Effect>,
    ) {
        if !self.assignments.contains_key(agent) {
            return;
        }
        self.silences.insert(agent.clone(), why.to_owned());
        self.observers_due.remove(agent);
        let ends: Vec<(SessionId, End)> = self
            .plan
            .sessions
            .iter()
            .flat_map(|session| {
                [(session, End::Tx), (session, End::Rx)]
                    .into_iter()
                    .filter(|(session, end)| party(session, *end) == agent)
                    .map(|(session, end)| (session.id, end))
            })
            .collect();
        for (session, end) in ends {
            if self.start.is_none() {
                self.fail(
                    session,
                    end,
                    code.into(),
                    format!("{agent}: {why}"),
                    effects,
                );
            } else if let Some(planned) = self.plan.session(session) {
                for segment in &planned.segments {
                    self.due.remove(&(segment.flow, end));
                }
            }
        }
    }

    pub(super) fn refused(
        &mut self,
        agent: &AgentName,
        sessions: &[SessionId],
        reason: &str,
        effects: &mut Vec<Effect>,
    ) {
        if !self.assignments.contains_key(agent) {
            return;
        }
        if self.start.is_some() {
            // What it accepted before goes on: its manifests stay due until the deadline.
            self.silences
                .insert(agent.clone(), format!("refused: {reason}"));
            return;
        }
        if sessions.is_empty() {
            self.agent_out(agent, "refused", reason, effects);
            if self.refusers.insert(agent.clone()) {
                effects.push(Effect::Publish(agent.clone()));
            }
            return;
        }
        for &session in sessions {
            let Some(planned) = self.plan.session(session) else {
                continue;
            };
            let mine = [End::Tx, End::Rx]
                .into_iter()
                .find(|end| party(planned, *end) == agent);
            let Some(end) = mine else { continue };
            self.fail(
                session,
                end,
                "policy".into(),
                format!("{agent}: {reason}"),
                effects,
            );
        }
    }

    pub(super) fn lost(&mut self, agent: &AgentName, now_ns: u64, effects: &mut Vec<Effect>) {
        if !self.assignments.contains_key(agent) {
            return;
        }
        if self.start.is_none() {
            self.agent_out(agent, "lost", AGENT_LOST, effects);
        } else {
            // It may come back and deliver: its manifests stay due until the deadline.
            self.silences.insert(agent.clone(), AGENT_LOST.to_owned());
            self.observers_due.remove(agent);
        }
        // Whoever only observes is missed by no flow.
        if self.plan.lost_agent == OnLostAgent::Fail && self.plan.host(agent).is_some() {
            self.stop(now_ns, format!("agent {agent} is lost"), effects);
        }
    }
}
