//! What a run's machine shows: to those who ask, and to each agent.

use weir_common::assignment::{Desired, Order, StartAt, Target};
use weir_common::id::{AgentName, RunId, SessionId};
use weir_common::record::End;
use weir_experiment::plan::Plan;

use super::{Machine, Standing, State};

impl Machine {
    /// The run's number.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// T0, once committed.
    pub fn start(&self) -> Option<&StartAt> {
        self.start.as_ref()
    }

    /// Why it was stopped, if it was.
    pub fn stop_reason(&self) -> Option<&str> {
        self.stop.as_deref()
    }

    /// Sessions ready, failed and in all.
    pub fn tally(&self) -> (u32, u32, u32) {
        let count = |pick: fn(&Standing) -> bool| {
            self.sessions
                .values()
                .filter(|standing| pick(standing))
                .count() as u32
        };
        (
            count(|s| s.ready && s.failed.is_none()),
            count(|s| s.failed.is_some()),
            count(|_| true),
        )
    }

    /// Why a session failed: the end, a code and a reason.
    pub fn failure(&self, session: SessionId) -> Option<&(End, String, String)> {
        self.sessions.get(&session)?.failed.as_ref()
    }

    /// Why nothing more comes from an agent, if that is known.
    pub fn silence(&self, agent: &AgentName) -> Option<&str> {
        self.silences.get(agent).map(String::as_str)
    }

    /// When [`Event::Tick`] is wanted at the latest, on the monotonic clock.
    pub fn deadline_ns(&self) -> Option<u64> {
        (self.state != State::Closed).then_some(self.deadline_ns)
    }

    /// What an agent is to do now; `None` when nothing any more, or when it
    /// refused all of it.
    pub fn desired(&self, agent: &AgentName) -> Option<Desired> {
        if self.state == State::Closed || self.refusers.contains(agent) {
            return None;
        }
        let assignment = self.assignments.get(agent)?.clone();
        let mut targets = Vec::new();
        let mut excluded = Vec::new();
        for spec in &assignment.sessions {
            let Some(standing) = self.sessions.get(&spec.session) else {
                continue;
            };
            if standing.failed.is_some() {
                excluded.push(spec.session);
            }
            let peer = match spec.end {
                End::Tx => standing.rx,
                End::Rx => standing.tx,
            };
            if let Some(port) = peer.port.filter(|_| spec.dials) {
                targets.push(Target {
                    session: spec.session,
                    port,
                });
            }
        }
        let order = match (&self.stop, &self.start) {
            (Some(reason), _) => Order::Stop {
                reason: reason.clone(),
            },
            (None, _) if self.flows_over && assignment.sessions.is_empty() => Order::Stop {
                reason: "the flows are over".into(),
            },
            (None, Some(start)) => Order::Start(start.clone()),
            (None, None) => Order::Prepare,
        };
        Some(Desired {
            assignment,
            targets,
            excluded,
            order,
        })
    }
}
