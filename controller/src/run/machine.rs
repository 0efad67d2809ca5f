//! The life of one run as a pure state machine: events in, effects out.
//!
//! ```text
//!               every session ready or failed,
//!               or `settle` is over                T0 committed
//!  Preparing ───────────────────────────▶ Starting ────────────▶ Running
//!      │ nothing ready, or stop               │ stop               │ every manifest came,
//!      ▼                                      ▼                    ▼ or the grace is over
//!    Closed ◀───────────────────────────── Stopping ◀──stop── (Running) ──▶ Closed
//! ```
//!
//! Conditions, in the order of the code:
//! 1. A listening end's port is handed to the dialling end as soon as it is known.
//! 2. A session is ready when both its ends are; failed as soon as one is, and
//!    then both ends are told not to start: the one that is blamed need not know.
//! 3. An agent that refuses its whole assignment is not sent it again: it
//!    follows whole snapshots, and this one would hold up its other runs. What
//!    it accepted before T0 goes on whatever it refuses later.
//! 4. T0 is chosen only when no session is undecided; one dead target never
//!    blocks the others for longer than `settle` and a grace.
//! 5. After T0 nothing is awaited but manifests. An agent that aborted owes
//!    none, nor does an end that says it could not start; one that was stopped
//!    still does, since its records come by another connection than its status.
//! 6. When no manifest is awaited any more, those that observe beside the flows
//!    are told to end, and have a short grace to say what they saw: nobody's
//!    verdict waits for a router.

mod event;
mod failing;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use weir_common::assignment::{Assignment, StartAt, Transport};
use weir_common::id::{AgentName, FlowId, RunId, SessionId};
use weir_common::record::End;
use weir_experiment::plan::{Plan, PlannedSession};

pub use self::event::{Effect, Event, State};

use crate::store::{AssignmentState, SessionState};

/// How long the other agents are waited for beyond `settle`: a round of
/// messages on a busy machine, with room.
const PREPARE_GRACE_NS: u64 = 10_000_000_000;
/// How long manifests are waited for beyond end + linger (and the longest time to
/// drain): a generator may wait 5 s beyond it for its receiver's totals, and a lost
/// agent is known after 15 s.
const CLOSE_GRACE_NS: u64 = 20_000_000_000;
/// How long agents have to come back after a restart of the controller, or to
/// deliver what they kept once the store takes it again.
const RESUME_GRACE_NS: u64 = 30_000_000_000;

/// How long the ends of observations are waited for beyond the last manifest: a
/// round of messages on a busy machine.
const OBSERVE_GRACE_NS: u64 = 2_000_000_000;

/// One end of a session as far as it is known.
#[derive(Debug, Clone, Copy, Default)]
struct EndStanding {
    port: Option<u16>,
    ready: bool,
}

/// A session as far as it is known.
#[derive(Debug, Clone, Default)]
struct Standing {
    tx: EndStanding,
    rx: EndStanding,
    /// Set once: the end that failed, code, reason.
    failed: Option<(End, String, String)>,
    /// Both ends ready; told once.
    ready: bool,
}

impl Standing {
    fn end_mut(&mut self, end: End) -> &mut EndStanding {
        match end {
            End::Tx => &mut self.tx,
            End::Rx => &mut self.rx,
        }
    }

    fn is_decided(&self) -> bool {
        self.ready || self.failed.is_some()
    }
}

/// One run.
///
/// Invariants: `start` is set in `Running` and never changes; `due` is empty
/// before that, and holds no end that said it could not start; `observers_due`
/// holds no agent from which nothing more comes.
#[derive(Debug)]
pub struct Machine {
    run: RunId,
    plan: Plan,
    assignments: BTreeMap<AgentName, Assignment>,
    state: State,
    sessions: BTreeMap<SessionId, Standing>,
    due: BTreeSet<(FlowId, End)>,
    /// Agents that observe and have not said yet what they saw.
    observers_due: BTreeSet<AgentName>,
    /// The flows are over: whoever observes is to end.
    flows_over: bool,
    silences: BTreeMap<AgentName, String>,
    /// Agents that refused their whole assignment.
    refusers: BTreeSet<AgentName>,
    start: Option<StartAt>,
    stop: Option<String>,
    deadline_ns: u64,
}

impl Machine {
    /// A run about to be prepared. `now_ns` is the host's monotonic clock.
    pub fn new(
        run: RunId,
        plan: Plan,
        assignments: BTreeMap<AgentName, Assignment>,
        now_ns: u64,
    ) -> Self {
        let sessions = plan
            .sessions
            .iter()
            .map(|session| (session.id, Standing::default()))
            .collect();
        let deadline_ns = now_ns
            .saturating_add(plan.settle_ns)
            .saturating_add(PREPARE_GRACE_NS);
        Self {
            run,
            plan,
            assignments,
            state: State::Preparing,
            sessions,
            due: BTreeSet::new(),
            observers_due: BTreeSet::new(),
            flows_over: false,
            silences: BTreeMap::new(),
            refusers: BTreeSet::new(),
            start: None,
            stop: None,
            deadline_ns,
        }
    }

    /// Preparation begins now: a queued run has waited.
    pub fn restart_preparing(&mut self, now_ns: u64) {
        if self.state == State::Preparing {
            self.deadline_ns = now_ns
                .saturating_add(self.plan.settle_ns)
                .saturating_add(PREPARE_GRACE_NS);
        }
    }

    /// A run that had started before the controller was restarted.
    ///
    /// `failed` are the sessions that never started, `closed` the manifests
    /// stored. Agents that gave up say so again when they come back.
    #[must_use]
    pub fn resume(
        mut self,
        start: StartAt,
        stop: Option<String>,
        failed: Vec<(SessionId, End, String, String)>,
        closed: &BTreeSet<(FlowId, End)>,
        now_ns: u64,
    ) -> Self {
        for (session, end, code, reason) in failed {
            if let Some(standing) = self.sessions.get_mut(&session) {
                standing.failed = Some((end, code, reason));
            }
        }
        for standing in self.sessions.values_mut() {
            standing.ready = standing.failed.is_none();
        }
        self.state = if stop.is_some() {
            State::Stopping
        } else {
            State::Running
        };
        self.stop = stop;
        self.await_manifests();
        self.due.retain(|due| !closed.contains(due));
        let mut deadline_ns = self.close_deadline(&start);
        if self.state == State::Stopping {
            deadline_ns = deadline_ns.min(self.stop_deadline(now_ns));
        }
        self.deadline_ns = deadline_ns.max(now_ns.saturating_add(RESUME_GRACE_NS));
        self.start = Some(start);
        self
    }

    /// The store takes nothing at present, so that nothing that is due can come.
    /// The wait begins anew, as long as an agent that owes something is there.
    pub fn hold(&mut self, now_ns: u64) {
        let owes = |session: &PlannedSession, end: End| {
            let due = |flow| self.due.contains(&(flow, end));
            session.segments.iter().any(|segment| due(segment.flow))
                && !self.silences.contains_key(party(session, end))
        };
        let mut sessions = self.plan.sessions.iter();
        if sessions.any(|session| owes(session, End::Tx) || owes(session, End::Rx)) {
            self.deadline_ns = self.deadline_ns.max(now_ns.saturating_add(RESUME_GRACE_NS));
        }
    }

    /// Takes one event. Effects are to be carried out in order.
    pub fn handle(&mut self, now_ns: u64, event: Event) -> Vec<Effect> {
        if self.state == State::Closed {
            return Vec::new();
        }
        let mut effects = Vec::new();
        match event {
            Event::Session {
                agent,
                session,
                end,
                state,
            } => {
                self.session(&agent, session, end, state, &mut effects);
            }
            Event::Assignment {
                agent,
                state,
                reason,
            } => {
                self.assignment(&agent, state, &reason, &mut effects);
            }
            Event::Refused {
                agent,
                sessions,
                reason,
            } => {
                self.refused(&agent, &sessions, &reason, &mut effects);
            }
            Event::Manifest { flow, end } => {
                self.due.remove(&(flow, end));
            }
            Event::Observed { agent } => {
                self.observers_due.remove(&agent);
            }
            Event::Started(start) => self.started(start, &mut effects),
            Event::AgentLost(agent) => self.lost(&agent, now_ns, &mut effects),
            Event::Stop { reason } => self.stop(now_ns, reason, &mut effects),
            Event::Tick => self.tick(now_ns, &mut effects),
        }
        self.advance(now_ns, &mut effects);
        effects
    }

    fn session(
        &mut self,
        agent: &AgentName,
        session: SessionId,
        end: End,
        state: SessionState,
        effects: &mut Vec<Effect>,
    ) {
        let Some(planned) = self.plan.session(session) else {
            return;
        };
        // Only the agent that is this end may speak for it.
        if party(planned, end) != agent {
            return;
        }
        let (dials, dialler) = (planned.dials, party(planned, planned.dials).clone());
        let Some(standing) = self.sessions.get_mut(&session) else {
            return;
        };
        match state {
            // Nobody would dial the end that dials.
            SessionState::Listening { .. } if end == dials => {}
            SessionState::Listening { port } => {
                if standing.end_mut(end).port.replace(port) != Some(port) {
                    effects.push(Effect::Publish(dialler));
                }
            }
            SessionState::Ready { .. } => {
                standing.end_mut(end).ready = true;
                if standing.tx.ready && standing.rx.ready && !standing.is_decided() {
                    standing.ready = true;
                    effects.push(Effect::Decided(session, None));
                }
            }
            SessionState::Failed { code, reason } => self.fail(session, end, code, reason, effects),
        }
    }

    fn assignment(
        &mut self,
        agent: &AgentName,
        state: AssignmentState,
        reason: &str,
        effects: &mut Vec<Effect>,
    ) {
        match state {
            AssignmentState::Aborted | AssignmentState::Refused => {
                self.agent_out(agent, "aborted", reason, effects);
            }
            // It ends early by itself: a signal, or a lease.
            AssignmentState::Stopped if self.start.is_none() => {
                self.agent_out(agent, "stopped", reason, effects);
            }
            // Finished, stopped, or under way: its manifests come.
            _ => {
                self.silences.remove(agent);
            }
        }
    }

    fn stop(&mut self, now_ns: u64, reason: String, effects: &mut Vec<Effect>) {
        if self.stop.is_some() {
            return;
        }
        self.stop = Some(reason);
        effects.extend(self.assignments.keys().cloned().map(Effect::Publish));
        if self.start.is_none() {
            self.enter(State::Closed, effects);
        } else {
            self.deadline_ns = self.deadline_ns.min(self.stop_deadline(now_ns));
            self.enter(State::Stopping, effects);
        }
    }

    fn started(&mut self, start: StartAt, effects: &mut Vec<Effect>) {
        if self.state != State::Starting {
            return;
        }
        self.deadline_ns = self.close_deadline(&start);
        self.start = Some(start);
        self.await_manifests();
        let observers = self.assignments.iter().filter(|(agent, assignment)| {
            assignment.observe.is_any()
                && !self.silences.contains_key(*agent)
                && !self.refusers.contains(*agent)
        });
        self.observers_due = observers.map(|(agent, _)| agent.clone()).collect();
        effects.extend(self.assignments.keys().cloned().map(Effect::Publish));
        self.enter(State::Running, effects);
    }

    fn tick(&mut self, now_ns: u64, effects: &mut Vec<Effect>) {
        if now_ns < self.deadline_ns {
            return;
        }
        match self.state {
            State::Preparing => {
                let undecided: Vec<SessionId> = self
                    .sessions
                    .iter()
                    .filter(|(_, standing)| !standing.is_decided())
                    .map(|(session, _)| *session)
                    .collect();
                for session in undecided {
                    let Some(planned) = self.plan.session(session) else {
                        continue;
                    };
                    let standing = &self.sessions[&session];
                    let end = if standing.rx.ready { End::Tx } else { End::Rx };
                    let reason = format!("{} did not get ready in time", party(planned, end));
                    self.fail(session, end, "unreachable".into(), reason, effects);
                }
            }
            // T0 could not be committed; whoever carries out effects retries or stops.
            State::Starting | State::Closed => {}
            State::Running | State::Stopping => self.enter(State::Closed, effects),
        }
    }

    /// Moves on when nothing is awaited any more.
    fn advance(&mut self, now_ns: u64, effects: &mut Vec<Effect>) {
        match self.state {
            State::Preparing if self.sessions.values().all(Standing::is_decided) => {
                if self
                    .sessions
                    .values()
                    .any(|standing| standing.failed.is_none())
                {
                    self.enter(State::Starting, effects);
                    effects.push(Effect::ChooseStart);
                } else {
                    self.enter(State::Closed, effects);
                    effects.extend(self.assignments.keys().cloned().map(Effect::Publish));
                }
            }
            State::Running | State::Stopping
                if self.due.is_empty() && self.observers_due.is_empty() =>
            {
                self.enter(State::Closed, effects);
            }
            State::Running | State::Stopping if self.due.is_empty() && !self.flows_over => {
                self.flows_over = true;
                let grace_ns = now_ns.saturating_add(OBSERVE_GRACE_NS);
                self.deadline_ns = self.deadline_ns.min(grace_ns);
                effects.extend(self.observers_due.iter().cloned().map(Effect::Publish));
            }
            _ => {}
        }
    }

    fn enter(&mut self, state: State, effects: &mut Vec<Effect>) {
        self.state = state;
        effects.push(Effect::Entered(state));
    }

    fn await_manifests(&mut self) {
        let started = self.plan.sessions.iter().filter(|session| {
            self.sessions
                .get(&session.id)
                .is_some_and(|standing| standing.failed.is_none())
        });
        self.due = started
            .flat_map(|session| &session.segments)
            .flat_map(|segment| [(segment.flow, End::Tx), (segment.flow, End::Rx)])
            .collect();
    }

    /// How long a run is waited for that is stopped now.
    fn stop_deadline(&self, now_ns: u64) -> u64 {
        now_ns
            .saturating_add(self.plan.linger_ns)
            .saturating_add(CLOSE_GRACE_NS)
    }

    fn close_deadline(&self, start: &StartAt) -> u64 {
        let sessions = self.plan.sessions.iter();
        let drains = sessions
            .filter(|session| session.traffic.transport == Transport::Tcp)
            .map(|session| session.traffic.drain_ns());
        start
            .mono_ns
            .saturating_add(self.plan.end_ns)
            .saturating_add(drains.max().unwrap_or(0))
            .saturating_add(self.plan.linger_ns)
            .saturating_add(CLOSE_GRACE_NS)
    }
}

/// The agent at an end of a session.
fn party(session: &PlannedSession, end: End) -> &AgentName {
    match end {
        End::Tx => &session.from,
        End::Rx => &session.to,
    }
}

#[cfg(test)]
mod tests;
