//! The one task that owns all runs: commands and events in, effects carried
//! out in order. Blocking work (store, planner, analysis) leaves the task.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use weir_common::assignment::{Assignment, StartAt};
use weir_common::campaign::{self, Campaign};
use weir_common::id::{AgentName, FlowId, RunId, SessionId};
use weir_common::record::End;
use weir_proto::controller::v1::{self as pb, watch_response};
use weir_runtime::HostClock;

use super::closing::{self, Beside, run_reason};
use super::error::RunError;
use super::machine::{Effect, Event, Machine, State};
use super::news::{News, Watch};
use super::provenance::Provenance;
use super::{AgentNews, progress};
use crate::analysis::ResultDocument;
use crate::ingest::Ingest;
use crate::plan::Plan;
use crate::planner;
use crate::registry::Registry;
use crate::store::{CampaignText, NewRun, RunPlan, RunState, SessionRow, SessionState, Store};

/// How often progress is told and silent agents are looked for.
const BEAT: Duration = Duration::from_millis(500);
/// Between committing T0 and T0: a round of messages, and 2 ms more per agent.
const START_LEAD_NS: u64 = 300_000_000;
const START_LEAD_PER_AGENT_NS: u64 = 2_000_000;

/// What experimenters and agents ask of the director.
#[derive(Debug)]
pub(super) enum Command {
    Plan {
        source: CampaignText,
        reply: Reply<Plan>,
    },
    Run {
        source: CampaignText,
        sharing: Sharing,
        reply: Reply<RunId>,
    },
    Stop {
        run: RunId,
        reason: String,
        reply: Reply<bool>,
    },
    Watch {
        run: RunId,
        reply: oneshot::Sender<Option<Watch>>,
    },
    Result {
        run: RunId,
        reply: Reply<ResultDocument>,
    },
    Busy {
        reply: oneshot::Sender<BTreeMap<AgentName, Vec<RunId>>>,
    },
    Agent {
        agent: AgentName,
        news: AgentNews,
    },
    Stored {
        manifests: Vec<(RunId, FlowId, End)>,
    },
    Closed {
        run: RunId,
        result: Box<Result<ResultDocument, RunError>>,
    },
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, RunError>>;

/// What to do when another run uses the same kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Refuse, with the other run's name.
    Refuse,
    /// Wait for it.
    Queue,
    /// Run beside it and warn in both.
    Share,
}

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
    kernel_boot_id: String,
    runs: BTreeMap<RunId, Active>,
    commands: mpsc::UnboundedReceiver<Command>,
    to_self: mpsc::UnboundedSender<Command>,
}

impl Director {
    pub(super) fn new(
        store: Arc<dyn Store>,
        registry: Arc<Registry>,
        ingest: Ingest,
        kernel_boot_id: String,
        channel: (
            mpsc::UnboundedSender<Command>,
            mpsc::UnboundedReceiver<Command>,
        ),
    ) -> Self {
        let (to_self, commands) = channel;
        Self {
            store,
            registry,
            ingest,
            clock: HostClock::from_host(),
            kernel_boot_id,
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
            Command::Agent { agent, news } => self.agent(agent, news).await,
            Command::Stored { manifests } => {
                for (run, flow, end) in manifests {
                    self.event(run, Event::Manifest { flow, end }).await;
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
            .filter(|(_, active)| active.machine.plan().host(agent).is_some())
            .map(|(run, _)| *run)
            .collect()
    }

    fn busy(&self) -> BTreeMap<AgentName, Vec<RunId>> {
        let mut busy: BTreeMap<AgentName, Vec<RunId>> = BTreeMap::new();
        for (run, active) in &self.runs {
            for agent in active.machine.plan().agents() {
                busy.entry(agent.clone()).or_default().push(*run);
            }
        }
        busy
    }

    // ---- making runs ----

    fn plan(&self, source: CampaignText, reply: Reply<Plan>) {
        let facts = self.registry.facts(self.clock.now_ns());
        tokio::task::spawn_blocking(move || {
            let planned = parse(&source).and_then(|campaign| {
                planner::plan(&campaign, &facts, 0)
                    .map_err(|error| RunError::plan(&error, &source, &campaign))
            });
            reply.send(planned).ok();
        });
    }

    /// Gives the run a number at once; planning goes on off the task.
    async fn make_run(
        &mut self,
        source: CampaignText,
        sharing: Sharing,
    ) -> Result<RunId, RunError> {
        let campaign = parse(&source)?;
        if self.ingest.is_degraded() {
            return Err(RunError::Degraded);
        }
        let facts = self.registry.facts(self.clock.now_ns());
        let tag_seed = draw()?;
        let nonce = draw()?;
        // Planned before it gets a number: a campaign that cannot run is no run.
        let (campaign, plan, source) = blocking(move || {
            let plan = planner::plan(&campaign, &facts, tag_seed)
                .map_err(|error| RunError::plan(&error, &source, &campaign))?;
            Ok((campaign, plan, source))
        })
        .await?;
        let kernels = kernels(&plan);
        let others = self.sharing_with(&kernels);
        if sharing == Sharing::Refuse
            && let Some(other) = others.first()
        {
            return Err(RunError::Shared { run: *other });
        }
        let new = NewRun {
            campaign: campaign.name.clone(),
            source,
            nonce,
            seed: campaign.seed,
            interval_ns: plan.interval_ns,
            linger_ns: plan.linger_ns,
            created_unix_ns: self.clock.unix_ns(),
        };
        let store = Arc::clone(&self.store);
        let run = blocking(move || Ok(store.create_run(&new)?)).await?;
        let assignments = plan
            .agents()
            .filter_map(|agent| Some((agent.clone(), plan.assignment(agent, run, nonce)?)))
            .collect();
        self.keep(run, campaign, plan, assignments).await?;
        let queue = sharing == Sharing::Queue && !others.is_empty();
        self.open(run, queue, &others).await;
        Ok(run)
    }

    /// Stores a plan and holds the run.
    async fn keep(
        &mut self,
        run: RunId,
        campaign: Campaign,
        plan: Plan,
        assignments: BTreeMap<AgentName, Assignment>,
    ) -> Result<(), RunError> {
        let encoded = assignments
            .iter()
            .map(|(agent, assignment)| {
                let message = weir_proto::types::v1::Assignment::from(assignment);
                (agent.clone(), prost::Message::encode_to_vec(&message))
            })
            .collect();
        let rows = RunPlan::of(&plan, encoded).map_err(|error| RunError::Internal {
            operation: "writing the plan",
            why: error.to_string(),
        })?;
        let store = Arc::clone(&self.store);
        blocking(move || Ok(store.set_plan(run, &rows)?)).await?;
        let kernels = kernels(&plan);
        self.ingest.open_run(run, &plan);
        let machine = Machine::new(run, plan, assignments, self.clock.now_ns());
        let active = Active {
            campaign,
            machine,
            news: News::new(run.to_string()),
            beside: Beside::default(),
            kernels,
            queued: false,
            closing: false,
            unkept: false,
        };
        self.runs.insert(run, active);
        Ok(())
    }

    /// Begins to prepare a run, or queues it behind `others`.
    async fn open(&mut self, run: RunId, queue: bool, others: &[RunId]) {
        let state = if queue {
            RunState::Queued
        } else {
            RunState::Preparing
        };
        let store = Arc::clone(&self.store);
        if let Err(error) = blocking(move || Ok(store.set_waiting(run, state)?)).await {
            tracing::error!(%run, %error, "storing the state failed");
        }
        for other in others.iter().filter(|_| !queue) {
            self.warn_shared(run, *other);
            self.warn_shared(*other, run);
        }
        let Some(active) = self.runs.get_mut(&run) else {
            return;
        };
        active.queued = queue;
        for warning in &active.machine.plan().warnings {
            active
                .news
                .tell(watch_response::Event::Note(warning.text.clone()));
        }
        let word = if queue { "queued" } else { "preparing" };
        active.tell_state(word);
        if queue {
            let names: Vec<String> = others.iter().map(ToString::to_string).collect();
            let text = format!("waits for {} on the same kernel", names.join(", "));
            active.news.tell(watch_response::Event::Note(text));
            return;
        }
        active.machine.restart_preparing(self.clock.now_ns());
        self.publish_all(run);
    }

    fn warn_shared(&mut self, run: RunId, other: RunId) {
        if let Some(active) = self.runs.get_mut(&run) {
            let text = format!("{other} uses the same kernel at the same time");
            active.news.tell(watch_response::Event::Note(text.clone()));
            active
                .beside
                .warnings
                .push(run_reason("shared-kernel", text));
        }
    }

    /// Runs in progress that use one of these kernels, the oldest first.
    fn sharing_with(&self, kernels: &BTreeSet<String>) -> Vec<RunId> {
        self.runs
            .iter()
            .filter(|(_, active)| !active.kernels.is_disjoint(kernels))
            .map(|(run, _)| *run)
            .collect()
    }

    /// Starts the oldest queued runs whose kernels are free now.
    async fn start_queued(&mut self) {
        let queued: Vec<RunId> = self
            .runs
            .iter()
            .filter(|(_, active)| active.queued)
            .map(|(run, _)| *run)
            .collect();
        for run in queued {
            let kernels = self.runs[&run].kernels.clone();
            let before = self
                .sharing_with(&kernels)
                .into_iter()
                .filter(|other| *other < run)
                .count();
            if before == 0 {
                self.open(run, false, &[]).await;
            }
        }
    }

    // ---- events ----

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
            kernel_boot_id: self.kernel_boot_id.clone(),
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
                    .push(run_reason("store", reason.clone()));
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
            for agent in active.machine.plan().agents() {
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

    // ---- closing ----

    /// Begins the analysis off the task.
    fn close(&mut self, run: RunId) {
        let Some(active) = self.runs.get_mut(&run) else {
            return;
        };
        if std::mem::replace(&mut active.closing, true) {
            return;
        }
        if !active.unkept {
            active.tell_state("closing");
        }
        let closing = self.analysis(run);
        let (store, to_self, closed_unix_ns) = (
            Arc::clone(&self.store),
            self.to_self.clone(),
            self.clock.unix_ns(),
        );
        tokio::task::spawn_blocking(move || {
            let result = closing.and_then(|analyse| {
                let document = analyse()?;
                let text =
                    serde_json::to_string(&document).map_err(|error| RunError::Internal {
                        operation: "writing the result",
                        why: error.to_string(),
                    })?;
                store.close_run(run, document.verdict.as_str(), &text, closed_unix_ns)?;
                Ok(document)
            });
            // The director ends only with the process.
            to_self
                .send(Command::Closed {
                    run,
                    result: Box::new(result),
                })
                .ok();
        });
    }

    /// The analysis of an open run, to be called off the task.
    fn analysis(
        &self,
        run: RunId,
    ) -> Result<impl FnOnce() -> Result<ResultDocument, RunError> + Send + use<>, RunError> {
        let active = self.runs.get(&run).ok_or(RunError::NoSuchRun { run })?;
        let plan = active.machine.plan().clone();
        let campaign = active.campaign.clone();
        let mut beside = active.beside.clone();
        beside.silences = plan
            .agents()
            .filter_map(|agent| Some((agent.clone(), active.machine.silence(agent)?.to_owned())))
            .collect();
        let provenance = self.provenance();
        let store = Arc::clone(&self.store);
        Ok(move || {
            let row = store.run(run)?.ok_or(RunError::NoSuchRun { run })?;
            Ok(closing::result(
                store.as_ref(),
                &row,
                &campaign,
                &plan,
                &beside,
                &provenance,
            )?)
        })
    }

    fn provenance(&self) -> Provenance {
        let views = self.registry.view(self.clock.now_ns());
        Provenance {
            agents: views
                .into_iter()
                .map(|view| (view.row.name.to_string(), view))
                .collect(),
        }
    }

    /// The result of a run: of an open one as it stands, of a closed one as stored.
    fn result(&self, run: RunId, reply: Reply<ResultDocument>) {
        let open = self.analysis(run).ok();
        let store = Arc::clone(&self.store);
        tokio::task::spawn_blocking(move || {
            let result = match open {
                Some(analyse) => analyse(),
                None => stored_result(store.as_ref(), run),
            };
            reply.send(result).ok();
        });
    }

    async fn closed(&mut self, run: RunId, result: Result<ResultDocument, RunError>) {
        if let Err(RunError::Store(error)) = &result
            && error.is_storage()
            && let Some(active) = self.runs.get_mut(&run)
        {
            // A full disk, most likely: the run stays open until its result is kept.
            active.closing = false;
            if !std::mem::replace(&mut active.unkept, true) {
                tracing::error!(%run, %error, "the result cannot be stored; trying again");
                let text = format!("the result of {run} cannot be stored yet: {error}");
                active.news.tell(watch_response::Event::Note(text));
            }
            return;
        }
        let Some(mut active) = self.runs.remove(&run) else {
            return;
        };
        self.ingest.close_run(run);
        for agent in active.machine.plan().agents() {
            self.publish(agent);
        }
        match result {
            Ok(document) => {
                tracing::info!(%run, verdict = document.verdict.as_str(), "run closed");
                let result_json = serde_json::to_string(&document).unwrap_or_default();
                active
                    .news
                    .tell(watch_response::Event::Closed(pb::RunClosed { result_json }));
            }
            Err(error) => {
                tracing::error!(%run, error = %error, "closing the run failed");
                let text = format!("closing {run} failed: {error}");
                active.news.tell(watch_response::Event::Note(text));
            }
        }
        self.start_queued().await;
    }

    // ---- restart ----

    /// Takes up the runs that an earlier controller left open: those with a T0
    /// go on, the others are closed, since some of their agents may have
    /// prepared and some not.
    async fn take_up(&mut self) -> Result<(), RunError> {
        let store = Arc::clone(&self.store);
        let open = blocking(move || Ok(store.open_runs()?)).await?;
        for run in open {
            let store = Arc::clone(&self.store);
            let loaded = blocking(move || super::resume::load(store.as_ref(), run)).await;
            let loaded = match loaded {
                Ok(loaded) => loaded,
                Err(error) => {
                    tracing::error!(%run, %error, "an open run cannot be taken up");
                    continue;
                }
            };
            tracing::info!(%run, "taking up an open run");
            let kernels = kernels(&loaded.plan);
            self.ingest.open_run(run, &loaded.plan);
            let campaign = loaded.campaign.clone();
            let (machine, close_now) = loaded.machine(self.clock.now_ns());
            let mut news = News::new(run.to_string());
            let text = "the controller was restarted in mid-run".to_owned();
            news.tell(watch_response::Event::Note(text.clone()));
            let beside = Beside {
                warnings: vec![run_reason("controller-restart", text)],
                ..Beside::default()
            };
            let active = Active {
                campaign,
                machine,
                news,
                beside,
                kernels,
                queued: false,
                closing: false,
                unkept: false,
            };
            self.runs.insert(run, active);
            self.publish_all(run);
            if let Some(reason) = close_now {
                // One that cannot be stopped must not keep the others from going on.
                if let Err(error) = self.stop(run, reason).await {
                    tracing::error!(%run, %error, "stopping an open run failed");
                }
            } else {
                // Everything may be stored already.
                self.event(run, Event::Tick).await;
            }
        }
        Ok(())
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

fn parse(source: &CampaignText) -> Result<Campaign, RunError> {
    campaign::file::parse(&source.toml, &source.file).map_err(RunError::campaign)
}

fn kernels(plan: &Plan) -> BTreeSet<String> {
    plan.hosts
        .iter()
        .map(|host| host.kernel.clone())
        .filter(|kernel| !kernel.is_empty())
        .collect()
}

/// 64 random bits.
fn draw() -> Result<u64, RunError> {
    let mut bytes = [0; 8];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes).map_err(|_| {
        RunError::Internal {
            operation: "drawing random bits",
            why: "the system's source failed".into(),
        }
    })?;
    Ok(u64::from_le_bytes(bytes))
}

fn stored_result(store: &dyn Store, run: RunId) -> Result<ResultDocument, RunError> {
    let row = store.run(run)?.ok_or(RunError::NoSuchRun { run })?;
    let text = row.result_json.ok_or(RunError::NoResult { run })?;
    serde_json::from_str(&text).map_err(|error| RunError::Internal {
        operation: "reading the stored result",
        why: error.to_string(),
    })
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
