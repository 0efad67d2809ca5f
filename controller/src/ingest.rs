//! Records on their way in: from the records streams of agents to the store,
//! and, once committed, to the live figures of their runs.
//!
//! Nothing is acknowledged before its commit. The queue to the store is
//! bounded over all agents: when it is full, [`Ingest::submit`] waits, its
//! stream is no longer read, and the agent keeps its records.

mod live;
mod seen;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, oneshot};
use weir_common::id::{AgentName, BootId, RunId};
use weir_common::record::Entry;
use weir_experiment::plan::Plan;

pub use live::{FlowFigures, LiveView};
use seen::Seen;

use crate::store::{Appended, Batch, Store, StoreError};

/// Entries that one agent may have in flight beyond what is acknowledged:
/// 16 full batches, a second of 40 flows at 100 ms.
pub const CREDIT: u32 = 4_096;

/// Entries of all agents that may wait for their commit: some tens of MiB, and
/// a fraction of a second of the store's work.
const QUEUE: u32 = 65_536;

/// Takes batches to the store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ingest {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    room: Arc<Semaphore>,
    live: Mutex<BTreeMap<RunId, LiveView>>,
    seen: Mutex<Seen>,
    /// Whether the last commit failed: says so once, not once a batch.
    degraded: AtomicBool,
}

/// Sequences that came again and said something else; what came first is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conflict {
    /// The boot.
    pub boot: BootId,
    /// The first and the last of them.
    pub seq: (u64, u64),
    /// The run of the first.
    pub run: RunId,
}

/// A batch on its way; see [`Pending::stored`].
#[derive(Debug)]
pub struct Pending {
    agent: AgentName,
    conflict: Option<Conflict>,
    outcome: oneshot::Receiver<Result<Appended, StoreError>>,
}

impl Pending {
    /// Whose batch it is.
    pub fn agent(&self) -> &AgentName {
        &self.agent
    }

    /// What of it contradicts what came before.
    pub fn conflict(&self) -> Option<Conflict> {
        self.conflict
    }

    /// Waits for the commit. Of the entries stored only manifests (of flows and of observations) are kept
    /// in the answer: rows are needed no more.
    ///
    /// # Errors
    /// Those of [`Store::append`].
    pub async fn stored(self) -> Result<Appended, StoreError> {
        self.outcome.await.unwrap_or(Err(StoreError::Stopped))
    }
}

impl Ingest {
    /// Into this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            inner: Arc::new(Inner {
                store,
                room: Arc::new(Semaphore::new(QUEUE as usize)),
                live: Mutex::default(),
                seen: Mutex::default(),
                degraded: AtomicBool::new(false),
            }),
        }
    }

    /// Sequence up to which the records of a boot are stored; 0 for an unknown one.
    ///
    /// # Errors
    /// [`StoreError::Storage`].
    pub async fn watermark(&self, agent: &AgentName, boot: BootId) -> Result<u64, StoreError> {
        let (inner, agent) = (Arc::clone(&self.inner), agent.clone());
        tokio::task::spawn_blocking(move || inner.store.watermark(&agent, boot))
            .await
            .unwrap_or(Err(StoreError::Stopped))
    }

    /// An agent has records of the runs up to this one: no run gets such a number any
    /// more. `true` when one might have, since the database is older than that run.
    ///
    /// # Errors
    /// Those of [`Store::skip_runs`].
    pub async fn skip_runs(&self, last: RunId) -> Result<bool, StoreError> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || inner.store.skip_runs(last))
            .await
            .unwrap_or(Err(StoreError::Stopped))
    }

    /// Queues a batch, as soon as there is room. Batches of one stream must be
    /// submitted one after the other; they are stored in that order.
    ///
    /// Cancel-safe: a call that is dropped before it returns has queued nothing.
    /// Entries that contradict what came under their numbers before are noted in
    /// the ledger of their run; see [`Pending::conflict`].
    pub async fn submit(&self, batch: Batch) -> Pending {
        let (answer, outcome) = oneshot::channel();
        let agent = batch.agent.clone();
        let conflict = self.inner.conflict(&batch);
        if let Some(conflict) = conflict {
            self.note(&agent, conflict).await;
        }
        let entries = u32::try_from(batch.entries.len())
            .unwrap_or(QUEUE)
            .clamp(1, QUEUE);
        let Ok(room) = Arc::clone(&self.inner.room)
            .acquire_many_owned(entries)
            .await
        else {
            // Dropping `answer` tells `stored` that nobody will.
            return Pending {
                agent,
                conflict,
                outcome,
            };
        };
        let inner = Arc::clone(&self.inner);
        let done = Box::new(move |result: Result<Appended, StoreError>| {
            let result = inner.settle(result);
            drop(room);
            // Nobody waits when the stream has ended; the rows are stored all the same.
            answer.send(result).ok();
        });
        self.inner.store.append(batch, done);
        Pending {
            agent,
            conflict,
            outcome,
        }
    }

    /// Puts a conflict into the ledger of its run.
    async fn note(&self, agent: &AgentName, conflict: Conflict) {
        let (inner, agent) = (Arc::clone(&self.inner), agent.clone());
        let noted = tokio::task::spawn_blocking(move || {
            let Conflict { boot, seq, run } = conflict;
            inner.store.note_conflict(run, (&agent, boot), seq)
        });
        if let Ok(Err(error)) = noted.await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a conflict is not in the ledger"
            );
        }
    }

    /// Why nothing can be stored at present, if so: new runs had better wait.
    pub fn is_degraded(&self) -> bool {
        self.inner.degraded.load(Ordering::Relaxed)
    }

    /// Begins the live figures of a run; what is stored of it already (before a
    /// restart of the controller) is counted as soon as it can be read.
    pub fn open_run(&self, run: RunId, plan: &Plan) {
        self.inner
            .live()
            .insert(run, LiveView::new(plan.records_expected));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let inner = Arc::clone(&self.inner);
            runtime.spawn_blocking(move || match inner.store.row_counts(run) {
                Ok(counts) => {
                    if let Some(live) = inner.live().get_mut(&run) {
                        live.found(&counts);
                    }
                }
                Err(error) => tracing::warn!(
                    %run,
                    error = &error as &dyn std::error::Error,
                    "rows stored before are missing in the progress"
                ),
            });
        }
    }

    /// Ends the live figures of a run. Its records are still stored.
    pub fn close_run(&self, run: RunId) {
        self.inner.live().remove(&run);
    }

    /// The live figures of an open run as they are now.
    pub fn live(&self, run: RunId) -> Option<LiveView> {
        self.inner.live().get(&run).cloned()
    }
}

impl Inner {
    fn live(&self) -> std::sync::MutexGuard<'_, BTreeMap<RunId, LiveView>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What of a batch contradicts what came before.
    fn conflict(&self, batch: &Batch) -> Option<Conflict> {
        let prints = seen::prints(&batch.entries);
        let seq = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.put(&batch.agent, batch.boot, batch.first_seq, &prints)?
        };
        let entry = usize::try_from(seq.0.checked_sub(batch.first_seq)?).ok()?;
        Some(Conflict {
            boot: batch.boot,
            seq,
            run: batch.entries.get(entry)?.run(),
        })
    }

    /// After the commit, or its failure; on the store's thread.
    fn settle(&self, result: Result<Appended, StoreError>) -> Result<Appended, StoreError> {
        match result {
            Ok(mut appended) => {
                if self.degraded.swap(false, Ordering::Relaxed) {
                    tracing::info!("the store works again; agents deliver what they kept");
                }
                if appended.dropped > 0 {
                    tracing::warn!(
                        entries = appended.dropped,
                        "entries of runs that are no more were dropped"
                    );
                }
                let mut runs = self.live();
                for entry in &appended.stored {
                    if let (Entry::Record(record), Some(live)) = (entry, runs.get_mut(&entry.run()))
                    {
                        live.stored_row(record);
                    }
                }
                drop(runs);
                appended
                    .stored
                    .retain(|entry| matches!(entry, Entry::Closed(_) | Entry::Observed(_)));
                Ok(appended)
            }
            Err(error) => {
                if error.is_storage() && !self.degraded.swap(true, Ordering::Relaxed) {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "nothing can be stored; agents keep their records until it can"
                    );
                }
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests;
