//! Ending runs: the analysis runs off the task, the result is stored, watchers
//! hear it, and queued runs get their turn.

use std::sync::Arc;

use weir_common::id::RunId;
use weir_experiment::analysis::ResultDocument;
use weir_proto::controller::v1::{self as pb, watch_response};

use super::{Command, Director, Reply};
use crate::run::closing;
use crate::run::error::RunError;
use crate::run::provenance::Provenance;
use crate::store::Store;

impl Director {
    /// Begins the analysis off the task.
    pub(super) fn close(&mut self, run: RunId) {
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
    pub(super) fn analysis(
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
    pub(super) fn result(&self, run: RunId, reply: Reply<ResultDocument>) {
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

    pub(super) async fn closed(&mut self, run: RunId, result: Result<ResultDocument, RunError>) {
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
        for agent in active.machine.plan().everyone() {
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
}

fn stored_result(store: &dyn Store, run: RunId) -> Result<ResultDocument, RunError> {
    let row = store.run(run)?.ok_or(RunError::NoSuchRun { run })?;
    let text = row.result_json.ok_or(RunError::NoResult { run })?;
    serde_json::from_str(&text).map_err(|error| RunError::Internal {
        operation: "reading the stored result",
        why: error.to_string(),
    })
}
