//! The agent's assignments: what is wanted, how each stands, and what to do
//! next. Pure: it takes snapshots, events and instants, and answers with actions.
//!
//! ```text
//!  accepted ──> prepared ──> armed ──> running ──> finished
//!      └────────────┴──────────┴──────────┴──────> stopped | aborted
//! ```

mod check;
mod run;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_common::assignment::{Assignment, Desired, Order, StartAt};
use weir_common::id::{RunId, SessionId};
use weir_engine::engine::{Event, FailureCode};
use weir_proto::agent::v1 as pb;
use weir_proto::agent::v1::control_request::Message as Report;
use weir_proto::agent::v1::session_status::State as SessionState;

use crate::policy::{Held, LocalPolicy};
use crate::state::{JournalEntry, Standing};
use run::{Run, SessionEnd, failed, session_report};

/// Final assignments that the journal keeps after no snapshot holds them.
const JOURNAL_MOST: usize = 1024;

/// What the agent has to do next, in this order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Put the journal on disk before anything that follows.
    Persist,
    /// Hand an assignment to the engine.
    Prepare(Arc<Assignment>),
    /// Tell the engine where a peer listens.
    SetTarget(RunId, SessionId, u16),
    /// Tell the engine not to start a session.
    Exclude(RunId, SessionId),
    /// Start at T0 by the host's monotonic clock, ns.
    Start(RunId, u64),
    /// Observe the host from T0 by the host's monotonic clock, ns.
    Observe(Arc<Assignment>, u64),
    /// End the observation of a run.
    EndObservation(RunId),
    /// Stop, for a reason.
    Stop(RunId, String),
    /// Forget the engine's handle: the run is over.
    Release(RunId),
    /// Tell the controller.
    Report(Box<Report>),
}

impl Action {
    fn report(report: Report) -> Self {
        Self::Report(Box::new(report))
    }
}

/// What the core needs to know of the world when a snapshot comes.
#[derive(Debug)]
pub(crate) struct World<'a> {
    /// Now by the host's monotonic clock, ns.
    pub(crate) now_ns: u64,
    /// Now by the wall clock, ns since the Unix epoch.
    pub(crate) unix_ns: i64,
    /// Name of that clock: the kernel's boot id; empty = no other process is known to
    /// read it.
    pub(crate) clock_domain: &'a str,
    /// What this host allows.
    pub(crate) policy: &'a LocalPolicy,
}

/// All assignments of one agent.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    runs: BTreeMap<RunId, Run>,
    /// When the last answered heartbeat was sent, host-monotonic ns.
    controller_seen_ns: u64,
}

impl Runs {
    /// What the journal of an earlier start says: whatever had not ended then
    /// is over, since its sockets ended with the process. `untold`: the
    /// controller hears of that only after what was measured until then.
    pub(crate) fn after_restart(journal: Vec<JournalEntry>, untold: bool) -> Self {
        let runs = journal.into_iter().map(|entry| {
            let mut run = Run::new(entry.nonce, None);
            (run.standing, run.reason, run.wanted) = (entry.standing, entry.reason, entry.wanted);
            if !run.standing.is_final() {
                run.standing = Standing::Aborted;
                "agent restart".clone_into(&mut run.reason);
            }
            // Also what an earlier start had aborted and could not tell.
            run.untold = untold && run.standing == Standing::Aborted;
            (entry.run, run)
        });
        Self {
            runs: runs.collect(),
            controller_seen_ns: 0,
        }
    }

    /// All that was measured before the restart is delivered: now the
    /// controller hears that nothing more comes.
    pub(crate) fn tell_aborted(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        for (id, run) in &mut self.runs {
            if std::mem::take(&mut run.untold) && run.wanted {
                actions.push(Action::report(Report::AssignmentStatus(run.status(*id))));
            }
        }
        actions
    }

    /// Follows a snapshot that [`refusals`](Self::refusals) has found no fault
    /// with and that is on disk. Idempotent: the same snapshot again only
    /// repeats the standing of what is over.
    pub(crate) fn apply(&mut self, items: Vec<Desired>, world: &World<'_>) -> Vec<Action> {
        let named: BTreeSet<RunId> = items.iter().map(|item| item.assignment.run).collect();
        let mut actions = vec![Action::Persist];
        let mut orders = Vec::new();
        for item in items {
            let id = item.assignment.run;
            let known = self
                .runs
                .get(&id)
                .is_some_and(|run| run.nonce == item.assignment.nonce);
            if !known {
                actions.extend(self.accept(item.assignment, &item.order, world));
            }
            let run = self.runs.get_mut(&id).expect("accepted just now or before");
            run.wanted = true;
            if run.standing.is_final() {
                if !run.untold {
                    actions.push(Action::report(Report::AssignmentStatus(run.status(id))));
                }
                continue;
            }
            actions.extend(run.learn(id, &item.targets, &item.excluded));
            orders.push((id, item.order));
        }
        for (id, order) in orders {
            actions.extend(self.follow(id, order, world));
        }
        let unwanted: Vec<RunId> = self
            .runs
            .keys()
            .filter(|id| !named.contains(id))
            .copied()
            .collect();
        for id in unwanted {
            let run = self.runs.get_mut(&id).expect("listed just now");
            run.wanted = false;
            actions.extend(self.stop(id, "no longer wanted by the controller"));
        }
        self.prune();
        actions
    }

    /// Takes up a new assignment; what local policy refuses fails at once and
    /// never reaches the engine.
    fn accept(&mut self, assignment: Assignment, order: &Order, world: &World<'_>) -> Vec<Action> {
        let id = assignment.run;
        let mut run = Run::new(assignment.nonce, None);
        let mut allowed = assignment.clone();
        let mut actions = Vec::new();
        let verdicts = world.policy.admit(&assignment, self.held(), |_| true);
        run.held = verdicts.held;
        let mut refusals = verdicts.refusals.into_iter();
        allowed.sessions.retain(|session| {
            let refusal = refusals.next().flatten();
            let mut end = SessionEnd::default();
            if let Some(reason) = &refusal {
                let failed = failed(FailureCode::Policy.as_str(), reason);
                let state = SessionState::Failed(failed);
                end.outcome = Some(state.clone());
                let report = session_report(id, session.session, session.end, state);
                actions.push(Action::report(report));
            }
            run.ends.insert((session.session, session.end), end);
            refusal.is_none()
        });
        run.assignment = Some(Arc::new(assignment));
        actions.insert(0, Action::report(Report::AssignmentStatus(run.status(id))));
        // An order to stop what never began: nothing to prepare.
        if !allowed.sessions.is_empty() && !matches!(order, Order::Stop { .. }) {
            run.in_engine = true;
            actions.push(Action::Prepare(Arc::new(allowed)));
        }
        self.runs.insert(id, run);
        actions.extend(self.settle(id));
        actions
    }

    /// What the runs that are not over take of the host.
    fn held(&self) -> Held {
        let active = self.runs.values().filter(|run| !run.standing.is_final());
        active.fold(Held::default(), |sum, run| sum.and(run.held))
    }

    /// The policy of the host is another: what breaks it is stopped, the youngest runs
    /// first where it is a sum that is broken.
    pub(crate) fn policy_changed(&mut self, policy: &LocalPolicy) -> Vec<Action> {
        let mut others = Held::default();
        let mut broken = Vec::new();
        for (id, run) in &mut self.runs {
            if run.standing.is_final() || run.stopping.is_some() {
                continue;
            }
            match run.under(policy, others) {
                Ok(held) => {
                    run.held = held;
                    others = others.and(held);
                }
                Err(refusal) => broken.push((*id, refusal)),
            }
        }
        let stops = broken.into_iter().flat_map(|(id, refusal)| {
            self.stop(id, &format!("this host's policy has changed: {refusal}"))
        });
        stops.collect()
    }

    fn follow(&mut self, id: RunId, order: Order, world: &World<'_>) -> Vec<Action> {
        match order {
            Order::Prepare => Vec::new(),
            Order::Start(start) => self.start(id, &start, world),
            Order::Stop { reason } => self.stop(id, &reason),
        }
    }

    /// T0 is known. By the same clock it is exact; else it goes by the wall clocks. A late order starts at once, for what remains, and says so.
    fn start(&mut self, id: RunId, start: &StartAt, world: &World<'_>) -> Vec<Action> {
        let run = self.runs.get_mut(&id).expect("called for known runs");
        if run.t0_ns.is_some() || run.stopping.is_some() || run.standing.is_final() {
            return Vec::new();
        }
        let one_clock =
            !world.clock_domain.is_empty() && start.kernel_boot_id == world.clock_domain;
        let t0_ns = if one_clock {
            start.mono_ns
        } else {
            let ahead_ns = start.unix_ns.saturating_sub(world.unix_ns);
            world.now_ns.saturating_add_signed(ahead_ns)
        };
        run.t0_ns = Some(t0_ns);
        run.late_by_ns = world.now_ns.saturating_sub(t0_ns);
        let observed = run
            .assignment
            .as_ref()
            .filter(|assignment| assignment.observe.is_any());
        run.observing = observed.is_some();
        let observe = observed.map(|assignment| Action::Observe(Arc::clone(assignment), t0_ns));
        if !run.in_engine && !run.watches() {
            return self.end(id, Standing::Finished, "");
        }
        let standing = if run.late_by_ns > 0 {
            Standing::Running
        } else {
            Standing::Armed
        };
        run.standing = run.standing.max(standing);
        let report = Report::AssignmentStatus(run.status(id));
        let start = run.in_engine.then_some(Action::Start(id, t0_ns));
        let mut actions: Vec<Action> = start.into_iter().chain(observe).collect();
        actions.push(Action::report(report));
        actions
    }

    /// An observation has ended, all of it in the outbox. A run that had nothing
    /// but that is over.
    pub(crate) fn observed(&mut self, id: RunId) -> Vec<Action> {
        let Some(run) = self.runs.get_mut(&id) else {
            return Vec::new();
        };
        run.observing = false;
        if run.watches() {
            return self.end(id, Standing::Finished, "");
        }
        Vec::new()
    }

    /// Stops a run; idempotent, and nothing for one that is over.
    pub(crate) fn stop(&mut self, id: RunId, reason: &str) -> Vec<Action> {
        let Some(run) = self.runs.get_mut(&id) else {
            return Vec::new();
        };
        if run.standing.is_final() || run.stopping.is_some() {
            return Vec::new();
        }
        run.stopping = Some(reason.to_owned());
        if run.in_engine {
            vec![Action::Stop(id, reason.to_owned())]
        } else {
            self.end(id, Standing::Stopped, reason)
        }
    }

    /// Stops everything.
    pub(crate) fn stop_all(&mut self, reason: &str) -> Vec<Action> {
        let ids: Vec<RunId> = self.runs.keys().copied().collect();
        ids.into_iter()
            .flat_map(|id| self.stop(id, reason))
            .collect()
    }

    /// The engine could prepare nothing of a run.
    pub(crate) fn prepare_failed(&mut self, id: RunId, reason: &str) -> Vec<Action> {
        let Some(run) = self.runs.get_mut(&id) else {
            return Vec::new();
        };
        run.in_engine = false;
        let mut actions = Vec::new();
        for ((session, end), state) in &mut run.ends {
            if state.outcome.is_none() {
                let outcome = SessionState::Failed(failed(FailureCode::Bind.as_str(), reason));
                state.outcome = Some(outcome.clone());
                actions.push(Action::report(session_report(id, *session, *end, outcome)));
            }
        }
        actions.extend(self.end(id, Standing::Aborted, reason));
        actions
    }

    /// Follows an event of the engine, other than records.
    pub(crate) fn on_event(&mut self, id: RunId, event: &Event) -> Vec<Action> {
        let Some(run) = self.runs.get_mut(&id) else {
            return Vec::new();
        };
        let report = match event {
            Event::Listening { session, port } => {
                let Some(end) = run.listening_end(*session) else {
                    return Vec::new();
                };
                run.ends.entry((*session, end)).or_default().port = Some(*port);
                session_report(
                    id,
                    *session,
                    end,
                    SessionState::ListeningPort((*port).into()),
                )
            }
            Event::Ready {
                session,
                end,
                tuples,
                link,
            } => {
                let ready = pb::SessionReady {
                    tuples: tuples.clone(),
                    link: *link,
                };
                run.outcome(id, *session, *end, SessionState::Ready(ready))
            }
            Event::Failed {
                session,
                end,
                code,
                reason,
            } => {
                let failed = failed(code.as_str(), reason);
                run.outcome(id, *session, *end, SessionState::Failed(failed))
            }
            Event::Finished => {
                let (standing, reason) = match run.stopping.take() {
                    Some(reason) => (Standing::Stopped, reason),
                    None => (Standing::Finished, String::new()),
                };
                return self.end(id, standing, &reason);
            }
            Event::Record(_) | Event::Closed(_) | Event::PeerClosed { .. } => return Vec::new(),
        };
        let mut actions = vec![Action::report(report)];
        actions.extend(self.settle(id));
        actions
    }

    /// A heartbeat that was sent then has been answered.
    pub(crate) fn controller_seen(&mut self, sent_ns: u64) {
        self.controller_seen_ns = self.controller_seen_ns.max(sent_ns);
    }

    /// Follows the clock: T0s that have passed, controllers that were lost.
    pub(crate) fn on_time(&mut self, now_ns: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut lost = Vec::new();
        for (id, run) in &mut self.runs {
            if run.standing == Standing::Armed && run.t0_ns.is_some_and(|t0| t0 <= now_ns) {
                run.standing = Standing::Running;
                actions.push(Action::report(Report::AssignmentStatus(run.status(*id))));
            }
            if run
                .lease_end_ns(self.controller_seen_ns)
                .is_some_and(|end| end <= now_ns)
            {
                lost.push(*id);
            }
        }
        for id in lost {
            actions.extend(self.stop(id, "the controller was lost for longer than the run allows"));
        }
        actions
    }

    /// When [`on_time`](Self::on_time) has something to do, host-monotonic ns.
    pub(crate) fn next_deadline_ns(&self) -> Option<u64> {
        let deadlines = self.runs.values().flat_map(|run| {
            let t0_ns = run.t0_ns.filter(|_| run.standing == Standing::Armed);
            t0_ns
                .into_iter()
                .chain(run.lease_end_ns(self.controller_seen_ns))
        });
        deadlines.min()
    }

    /// Prepared, once every end is ready or has failed or is excluded.
    fn settle(&mut self, id: RunId) -> Vec<Action> {
        let Some(run) = self.runs.get_mut(&id) else {
            return Vec::new();
        };
        let excluded = &run.excluded;
        let settled = run
            .ends
            .iter()
            .all(|((session, _), end)| end.outcome.is_some() || excluded.contains(session));
        if run.standing != Standing::Accepted || !settled {
            return Vec::new();
        }
        run.standing = Standing::Prepared;
        vec![Action::report(Report::AssignmentStatus(run.status(id)))]
    }

    /// The end of a run: on disk before it is told.
    fn end(&mut self, id: RunId, standing: Standing, reason: &str) -> Vec<Action> {
        let Some(run) = self.runs.get_mut(&id) else {
            return Vec::new();
        };
        if run.standing.is_final() {
            return Vec::new();
        }
        run.standing = standing;
        reason.clone_into(&mut run.reason);
        run.in_engine = false;
        run.assignment = None;
        let observing = std::mem::take(&mut run.observing);
        let report = Report::AssignmentStatus(run.status(id));
        let mut actions = vec![Action::Persist, Action::Release(id)];
        actions.extend(observing.then_some(Action::EndObservation(id)));
        actions.push(Action::report(report));
        actions
    }

    fn prune(&mut self) {
        let over = |run: &Run| run.standing.is_final() && !run.wanted;
        let excess = self.runs.values().filter(|run| over(run)).count();
        for _ in JOURNAL_MOST..excess {
            let oldest = self
                .runs
                .iter()
                .find(|(_, run)| over(run))
                .map(|(id, _)| *id);
            oldest.map(|id| self.runs.remove(&id));
        }
    }
}
