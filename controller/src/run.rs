//! Runs: from a campaign to a verdict. [`Runs`] is the handle that services hold.

mod closing;
mod director;
mod error;
mod floor;
pub mod machine;
mod news;
mod progress;
mod provenance;
mod resume;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use weir_common::id::{AgentName, RunId, SessionId};
use weir_common::record::{End, Entry};
use weir_experiment::analysis::ResultDocument;
use weir_experiment::plan::Plan;
use weir_runtime::Shutdown;

pub use self::director::Sharing;
pub use self::error::RunError;
pub use self::news::Watch;

use self::director::{Command, Director, Stored};
use crate::ingest::Ingest;
use crate::registry::Registry;
use crate::store::{AssignmentState, CampaignText, SessionState, Store};

/// What an agent says of a run.
#[derive(Debug, Clone)]
pub enum AgentNews {
    /// How one end of a session stands.
    Session {
        /// The run.
        run: RunId,
        /// The session.
        session: SessionId,
        /// Which end.
        end: End,
        /// How it stands.
        state: SessionState,
    },
    /// How its assignment stands.
    Assignment {
        /// The run.
        run: RunId,
        /// How.
        state: AssignmentState,
        /// Why, for the last ones.
        reason: String,
        /// How late the start order came after T0, ns.
        late_by_ns: u64,
    },
    /// It refused sessions, or (empty) the whole assignment.
    Refused {
        /// The run.
        run: RunId,
        /// The sessions.
        sessions: Vec<SessionId>,
        /// The field and what is wrong with it.
        reason: String,
    },
}

/// Handle of the director. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Runs {
    commands: mpsc::UnboundedSender<Command>,
}

impl Runs {
    /// Starts the director as a task of `shutdown`; open runs are taken up first.
    pub fn start(
        store: Arc<dyn Store>,
        registry: Arc<Registry>,
        ingest: Ingest,
        shutdown: &Shutdown,
    ) -> Self {
        let channel = mpsc::unbounded_channel();
        let commands = channel.0.clone();
        let director = Director::new(store, registry, ingest, channel);
        shutdown.spawn(director.run(shutdown.token()));
        Self { commands }
    }

    /// Sends a command and waits for its answer.
    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, RunError>>) -> Command,
    ) -> Result<T, RunError> {
        let (reply, answer) = oneshot::channel();
        self.tell(command(reply));
        answer.await.unwrap_or_else(|_| Err(ending()))
    }

    fn tell(&self, command: Command) {
        // Fails only while the controller ends; then nobody waits for it.
        self.commands.send(command).ok();
    }

    /// What a campaign would do.
    pub async fn plan(&self, source: CampaignText) -> Result<Plan, RunError> {
        self.ask(|reply| Command::Plan { source, reply }).await
    }

    /// Plans and starts a run.
    pub async fn run(&self, source: CampaignText, sharing: Sharing) -> Result<RunId, RunError> {
        self.ask(|reply| Command::Run {
            source,
            sharing,
            reply,
        })
        .await
    }

    /// Stops a run; `false` when it was stopping or closed already.
    pub async fn stop(&self, run: RunId, reason: String) -> Result<bool, RunError> {
        self.ask(|reply| Command::Stop { run, reason, reply }).await
    }

    /// The result of a run, also of one in progress.
    pub async fn result(&self, run: RunId) -> Result<ResultDocument, RunError> {
        self.ask(|reply| Command::Result { run, reply }).await
    }

    /// News of an open run; `None` when it is closed.
    pub async fn watch(&self, run: RunId) -> Option<Watch> {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Watch { run, reply });
        answer.await.ok().flatten()
    }

    /// Open runs of each agent.
    pub async fn busy(&self) -> BTreeMap<AgentName, Vec<RunId>> {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Busy { reply });
        answer.await.unwrap_or_default()
    }

    /// Waits until all that was passed on before has been heard: who passes on much
    /// waits from time to time, so that nobody fills the director's queue.
    pub async fn heard(&self) {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Heard { reply });
        // No answer comes only while the controller ends.
        answer.await.ok();
    }

    /// Passes on what an agent said.
    pub fn agent(&self, agent: AgentName, news: AgentNews) {
        self.tell(Command::Agent { agent, news });
    }

    /// Passes on what of an agent's entries a run waits for, now that they are stored.
    pub fn stored(&self, agent: &AgentName, entries: &[Entry]) {
        let awaited = entries.iter().filter_map(|entry| match entry {
            Entry::Closed(closed) => Some((
                closed.run,
                Stored::Manifest {
                    flow: closed.flow,
                    end: closed.end,
                },
            )),
            Entry::Observed(observed) => Some((
                observed.run,
                Stored::Observed {
                    agent: agent.clone(),
                },
            )),
            Entry::Record(_)
            | Entry::Link(_)
            | Entry::Kernel(_)
            | Entry::Gap(_)
            | Entry::Artifact(_) => None,
        });
        let awaited: Vec<_> = awaited.collect();
        if !awaited.is_empty() {
            self.tell(Command::Stored { awaited });
        }
    }
}

fn ending() -> RunError {
    RunError::Internal {
        operation: "asking the controller",
        why: "it is ending".into(),
    }
}
