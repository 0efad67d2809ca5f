//! The one task that owns all runs: commands and events in, effects carried
//! out in order. Blocking work (store, planner, analysis) leaves the task.

mod command;
mod ending;
mod opening;
mod restart;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use weir_common::assignment::StartAt;
use weir_common::campaign::Campaign;
use weir_common::id::{AgentName, RunId, SessionId};
use weir_common::record::End;
use weir_experiment::analysis::document::Reason;
use weir_experiment::plan::Plan;
use weir_proto::controller::v1::{self as pb, watch_response};
use weir_runtime::HostClock;

pub use self::command::Sharing;
pub(super) use self::command::{Command, Reply, Stored};
use super::closing::Beside;
use super::error::RunError;
use super::machine::{Effect, Event, Machine, State};
use super::news::News;
use super::{AgentNews, progress};
use crate::ingest::Ingest;
use crate::registry::Registry;
use crate::store::{SessionRow, SessionState, Store};

/// How often progress is told and silent agents are looked for.
const BEAT: Duration = Duration::from_millis(500);
/// Between committing T0 and T0: a round of messages, and 2 ms more per agent.
const START_LEAD_NS: u64 = 300_000_000;
const START_LEAD_PER_AGENT_NS: u64 = 2_000_000;

/// A run that is not closed.
#[derive(Debug)]
struct Active {
    campaign: Campaign,
    machine: Machine,
    news: News,
    beside: Beside,
    kernels: BTreeSet<String>,
    /// Waits for another run on its kernel.
    queued: bool,
    /// The analysis has begun.
    closing: bool,
    /// Its result could not be stored; that is tried again.
    unkept: bool,
}

/// The director's state. One task owns it.
#[derive(Debug)]
pub(super) struct Director {
    store: Arc<dyn Store>,
    registry: Arc<Registry>,
    ingest: Ingest,
    clock: HostClock,
    /// Name of that clock; `unknown` if no agent can be known to read it.
    clock_domain: String,
    runs: BTreeMap<RunId, Active>,
    commands: mpsc::UnboundedReceiver<Command>,
    to_self: mpsc::UnboundedSender<Command>,
}

impl Director {
    pub(super) fn new(
        store: Arc<dyn Store>,
        registry: Arc<Registry>,
        ingest: Ingest,
        channel: (
            mpsc::UnboundedSender<Command>,
            mpsc::UnboundedReceiver<Command>,
        ),
    ) -> Self {
        let (to_self, commands) = channel;
        let clock = HostClock::from_host();
        let clock_domain = match clock.domain() {
            unknown if unknown.is_empty() => "unknown".to_owned(),
            domain => domain,
        };
        Self {
            store,
            registry,
            ingest,
            clock,
            clock_domain,
            runs: BTreeMap::new(),
            commands,
            to_self,
        }
    }

    /// Runs until the token is cancelled. Runs in progress go on without us
    /// and are taken up by the next start.
    pub(super) async fn run(mut self, shutdown: tokio_util::sync::CancellationToken) {
        if let Err(error) = self.take_up().await {
            tracing::error!(error = %error, "taking up the open runs failed");
        }
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                command = self.commands.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => return,
                },
                _ = beat.tick() => self.beat().await,
            }
        }
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Plan { source, reply } => self.plan(source, reply),
            Command::Run {
                source,
                sharing,
                reply,
            } => {
                let made = self.make_run(source, sharing).await;
                // The asker may be gone; the run stays.
                reply.send(made).ok();
            }
            Command::Stop { run, reason, reply } => {
                let stopped = self.stop(run, reason).await;
                reply.send(stopped).ok();
            }
            Command::Watch { run, reply } => {
                reply
                    .send(self.runs.get(&run).map(|active| active.news.watch()))
                    .ok();
            }
            Command::Result { run, reply } => self.result(run, reply),
            Command::Busy { reply } => {
                reply.send(self.busy()).ok();
            }
            Command::Heard { reply } => {
                reply.send(()).ok();
            }
            Command::Agent { agent, news } => self.agent(agent, news).await,
            Command::Stored { awaited } => {
                for (run, what) in awaited {
                    let event = match what {
                        Stored::Manifest { flow, end } => Event::Manifest { flow, end },
                        Stored::Observed { agent } => Event::Observed { agent },
                    };
                    self.event(run, event).await;
                }
            }
            Command::Closed { run, result } => self.closed(run, *result).await,
        }
    }

    /// Every half second: lost agents, deadlines, progress.
    async fn beat(&mut self) {
        let now_ns = self.clock.now_ns();
        for agent in self.registry.sweep(now_ns) {
            tracing::warn!(%agent, "agent lost");
            for run in self.runs_of(&agent) {
                // A queued run has asked nothing of its agents yet.
                if self.runs.get(&run).is_some_and(|active| active.queued) {
                    continue;
                }
                self.event(run, Event::AgentLost(agent.clone())).await;
            }
        }
        if self.ingest.is_degraded() {
            for active in self.runs.values_mut() {
                active.machine.hold(now_ns);
            }
        }
        let unkept = self
            .runs
            .iter()
            .filter(|(_, active)| active.unkept && !active.closing);
        for run in unkept.map(|(run, _)| *run).collect::<Vec<_>>() {
            self.close(run);
        }
        let due: Vec<RunId> = self
            .runs
            .iter()
            .filter(|(_, active)| !active.queued)
            .filter(|(_, active)| active.machine.deadline_ns().is_some_and(|at| at <= now_ns))
            .map(|(run, _)| *run)
            .collect();
        for run in due {
            self.event(run, Event::Tick).await;
        }
        for (run, active) in &self.runs {
            if active.news.is_watched() && active.machine.state() == State::Running {
                let live = self.ingest.live(*run);
                if let Some(news) = progress::of(&active.machine, live.as_ref(), now_ns) {
                    active.news.tell_now(watch_response::Event::Progress(news));
                }
            }
        }
    }

    fn runs_of(&self, agent: &AgentName) -> Vec<RunId> {
        self.runs
            .iter()
            .filter(|(_, active)| active.machine.plan().takes_part(agent))
            .map(|(run, _)| *run)
            .collect()
    }

    fn busy(&self) -> BTreeMap<AgentName, Vec<RunId>> {
        let mut busy: BTreeMap<AgentName, Vec<RunId>> = BTreeMap::new();
        for (run, active) in &self.runs {
            for agent in active.machine.plan().everyone() {
                busy.entry(agent.clone()).or_default().push(*run);
            }
        }
        busy
    }

    async fn agent(&mut self, agent: AgentName, news: AgentNews) {
        let (run, event) = match news {
            AgentNews::Session {
                run,
                session,
                end,
                state,
            } => (
                run,
                Event::Session {
                    agent,
                    session,
                    end,
                    state,
                },
            ),
            AgentNews::Assignment {
                run,
                state,
                reason,
                late_by_ns,
            } => {
                let (store, name, why) = (Arc::clone(&self.store), agent.clone(), reason.clone());
                let stored = blocking(move || {
                    Ok(store.set_assignment_state(run, &name, state, &why, late_by_ns)?)
                });
                if self.runs.contains_key(&run)
                    && let Err(error) = stored.await
                {
                    tracing::warn!(%run, %agent, %error, "storing an assignment's state failed");
                }
                (
                    run,
                    Event::Assignment {
                        agent,
                        state,
                        reason,
                    },
                )
            }
            AgentNews::Refused {
                run,
                sessions,
                reason,
            } => (
                run,
                Event::Refused {
                    agent,
                    sessions,
                    reason,
                },
            ),
        };
        self.event(run, event).await;
    }

    /// Gives one event to a run and carries out what follows.
    async fn event(&mut self, run: RunId, event: Event) {
        let now_ns = self.clock.now_ns();
        let Some(active) = self.runs.get_mut(&run) else {
            return;
        };
        let mut effects = active.machine.handle(now_ns, event);
        // Carrying out one effect can bring the next event (T0 committed).
        while !effects.is_empty() {
            let mut next = Vec::new();
            let mut publish = BTreeSet::new();
            for effect in effects {
                match effect {
                    Effect::Publish(agent) => {
                        publish.insert(agent);
                    }
                    Effect::Decided(session, failure) => {
                        self.decided(run, session, failure).await;
                    }
                    Effect::ChooseStart => next.extend(self.choose_start(run).await),
                    Effect::Entered(state) => self.entered(run, state),
                }
            }
            for agent in publish {
                self.publish(&agent);
            }
            effects = next;
        }
    }

    /// A session is ready or failed: told at once, failures stored.
    async fn decided(
        &mut self,
        run: RunId,
        session: SessionId,
        failure: Option<(End, String, String)>,
    ) {
        let Some(active) = self.runs.get_mut(&run) else {
            return;
        };
        let Some(planned) = active.machine.plan().session(session) else {
            return;
        };
        let (code, reason) = match &failure {
            Some((_, code, reason)) => (code.clone(), reason.clone()),
            None => (String::new(), String::new()),
        };
        active
            .news
            .tell(watch_response::Event::Session(pb::SessionNews {
                session: session.0,
                from: planned.from.to_string(),
                to: planned.to.to_string(),
                code,
                reason,
            }));
        if let Some((end, code, reason)) = failure {
            tracing::info!(%run, %session, code, reason, "session failed");
            let row = SessionRow {
                session,
                end,
                state: SessionState::Failed { code, reason },
                port: None,
            };
            let store = Arc::clone(&self.store);
            if let Err(error) = blocking(move || Ok(store.set_session(run, &row)?)).await {
                tracing::error!(%run, %session, %error, "storing a failure failed");
            }
        }
    }

    /// Chooses T0 and commits it before any agent is told.
    async fn choose_start(&mut self, run: RunId) -> Vec<Effect> {
        let Some(active) = self.runs.get(&run) else {
            return Vec::new();
        };
        let agents = active.machine.plan().hosts.len() as u64;
        let lead_ns = START_LEAD_NS + agents * START_LEAD_PER_AGENT_NS;
        let start = StartAt {
            unix_ns: self.clock.unix_ns().saturating_add_unsigned(lead_ns),
            mono_ns: self.clock.now_ns().saturating_add(lead_ns),
            kernel_boot_id: self.clock_domain.clone(),
        };
        let (store, committed) = (Arc::clone(&self.store), start.clone());
        let stored = blocking(move || Ok(store.set_started(run, &committed)?)).await;
        let now_ns = self.clock.now_ns();
        let Some(active) = self.runs.get_mut(&run) else {
            return Vec::new();
        };
        match stored {
            Ok(()) => active.machine.handle(now_ns, Event::Started(start)),
            Err(error) => {
                tracing::error!(%run, %error, "T0 could not be committed");
                let reason = format!("T0 could not be committed: {error}");
                active
                    .beside
                    .warnings
                    .push(Reason::of_run("store", reason.clone()));
                active.machine.handle(now_ns, Event::Stop { reason })
            }
        }
    }

    fn entered(&mut self, run: RunId, state: State) {
        let Some(active) = self.runs.get_mut(&run) else {
            return;
        };
        match state {
            State::Preparing => active.tell_state("preparing"),
            State::Starting => active.tell_state("starting"),
            State::Running => active.tell_state("running"),
            State::Stopping => active.tell_state("stopping"),
            State::Closed => self.close(run),
        }
    }

    fn publish_all(&self, run: RunId) {
        if let Some(active) = self.runs.get(&run) {
            for agent in active.machine.plan().everyone() {
                self.publish(agent);
            }
        }
    }

    /// Hands an agent its share of every run.
    fn publish(&self, agent: &AgentName) {
        let items = self
            .runs
            .values()
            .filter(|active| !active.queued)
            .filter_map(|active| active.machine.desired(agent))
            .collect();
        self.registry.publish(agent, items);
    }

    async fn stop(&mut self, run: RunId, reason: String) -> Result<bool, RunError> {
        let (store, why) = (Arc::clone(&self.store), reason.clone());
        let stopped = blocking(move || Ok(store.set_stopping(run, &why)?)).await?;
        self.event(run, Event::Stop { reason }).await;
        Ok(stopped)
    }
}

impl Active {
    fn tell_state(&mut self, state: &str) {
        let (ready, failed, sessions) = self.machine.tally();
        let plan = self.machine.plan();
        let news = pb::RunState {
            state: state.to_owned(),
            t0_unix_ns: self.machine.start().map_or(0, |start| start.unix_ns),
            end_ns: plan.end_ns,
            flows: plan.flows.len() as u32,
            ready,
            failed,
            sessions,
        };
        self.news.tell(watch_response::Event::State(news));
    }
}

fn kernels(plan: &Plan) -> BTreeSet<String> {
    plan.hosts
        .iter()
        .map(|host| host.kernel.clone())
        .filter(|kernel| !kernel.is_empty())
        .collect()
}

/// Runs blocking work off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RunError> + Send + 'static,
) -> Result<T, RunError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            Err(RunError::Internal {
                operation: "running a blocking task",
                why: error.to_string(),
            })
        })
}
