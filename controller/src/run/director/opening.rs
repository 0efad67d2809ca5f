//! Making runs: a campaign is planned, gets a number, is stored, and begins to
//! be prepared, now or when its kernel is free.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_common::assignment::Assignment;
use weir_common::campaign::{self, Campaign};
use weir_common::id::{AgentName, RunId};
use weir_common::traffic::Trace;
use weir_experiment::analysis::document::Reason;
use weir_experiment::plan::Plan;
use weir_experiment::planner;
use weir_proto::controller::v1::watch_response;

use super::{Active, Director, Reply, Sharing, blocking, kernels};
use crate::run::closing::Beside;
use crate::run::error::RunError;
use crate::run::floor;
use crate::run::machine::Machine;
use crate::run::news::News;
use crate::run::provenance;
use crate::store::{CampaignText, NewRun, RunPlan, RunState};

impl Director {
    pub(super) fn plan(&self, source: CampaignText, reply: Reply<Plan>) {
        let facts = self.registry.facts(self.clock.now_ns());
        let store = Arc::clone(&self.store);
        tokio::task::spawn_blocking(move || {
            let planned = parse(&source).and_then(|campaign| {
                let checked = floor::single_rates(&floor::recent(&*store), &facts);
                planner::plan_with(&campaign, &facts, 0, &checked)
                    .map_err(|error| RunError::plan(&error, &source, &campaign))
            });
            reply.send(planned).ok();
        });
    }

    /// Gives the run a number at once; planning goes on off the task.
    pub(super) async fn make_run(
        &mut self,
        source: CampaignText,
        sharing: Sharing,
    ) -> Result<RunId, RunError> {
        let (campaign, source) = blocking(move || {
            let campaign = parse(&source)?;
            let files = Vec::new();
            Ok((campaign, CampaignText { files, ..source }))
        })
        .await?;
        if self.ingest.is_degraded() {
            return Err(RunError::Degraded);
        }
        let facts = self.registry.facts(self.clock.now_ns());
        let tag_seed = draw()?;
        let nonce = draw()?;
        // Planned before it gets a number: a campaign that cannot run is no run.
        let store = Arc::clone(&self.store);
        let (campaign, plan, source) = blocking(move || {
            let checked = floor::single_rates(&floor::recent(&*store), &facts);
            let plan = planner::plan_with(&campaign, &facts, tag_seed, &checked)
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
            .everyone()
            .filter_map(|agent| Some((agent.clone(), plan.assignment(agent, run, nonce)?)))
            .collect();
        self.keep(run, campaign, plan, assignments).await?;
        let queue = sharing == Sharing::Queue && !others.is_empty();
        self.open(run, queue, &others).await;
        Ok(run)
    }

    /// Stores a plan and holds the run.
    pub(super) async fn keep(
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
    pub(super) async fn open(&mut self, run: RunId, queue: bool, others: &[RunId]) {
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

    pub(super) fn warn_shared(&mut self, run: RunId, other: RunId) {
        if let Some(active) = self.runs.get_mut(&run) {
            let text = format!("{other} uses the same kernel at the same time");
            active.news.tell(watch_response::Event::Note(text.clone()));
            active
                .beside
                .warnings
                .push(Reason::of_run("shared-kernel", text));
        }
    }

    /// Runs in progress that use one of these kernels, the oldest first.
    pub(super) fn sharing_with(&self, kernels: &BTreeSet<String>) -> Vec<RunId> {
        self.runs
            .iter()
            .filter(|(_, active)| !active.kernels.is_disjoint(kernels))
            .map(|(run, _)| *run)
            .collect()
    }

    /// Starts the oldest queued runs whose kernels are free now.
    pub(super) async fn start_queued(&mut self) {
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
}

/// Reads the campaign and the trace files that it names.
fn parse(source: &CampaignText) -> Result<Campaign, RunError> {
    let parsed = campaign::file::parse(&source.toml, &source.file);
    let mut campaign = parsed.map_err(RunError::campaign)?;
    for (name, of) in campaign.trace_files() {
        // One that did not come is missed by the planner, which knows the key and its line.
        let Some((_, text)) = source.files.iter().find(|(file, _)| *file == name) else {
            continue;
        };
        let trace = Trace::parse(&name, of, text);
        let mut trace = trace.map_err(|error| RunError::Campaign(error.to_string()))?;
        trace.sha256 = provenance::sha256(text.as_bytes());
        campaign.traces.push(trace);
    }
    Ok(campaign)
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
