//! What the director is told.

use std::collections::BTreeMap;

use tokio::sync::oneshot;
use weir_common::id::{AgentName, FlowId, RunId};
use weir_common::record::End;
use weir_experiment::analysis::ResultDocument;
use weir_experiment::plan::Plan;

use crate::run::AgentNews;
use crate::run::error::RunError;
use crate::run::news::Watch;
use crate::store::CampaignText;

/// What experimenters and agents ask of the director.
#[derive(Debug)]
pub(in crate::run) enum Command {
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
    /// All that was told before has been heard.
    Heard {
        reply: oneshot::Sender<()>,
    },
    Agent {
        agent: AgentName,
        news: AgentNews,
    },
    Stored {
        awaited: Vec<(RunId, Stored)>,
    },
    Closed {
        run: RunId,
        result: Box<Result<ResultDocument, RunError>>,
    },
}

/// What a run waits for and has got.
#[derive(Debug)]
pub(in crate::run) enum Stored {
    /// The manifest of an end of a flow.
    Manifest { flow: FlowId, end: End },
    /// The end of an agent's observation.
    Observed { agent: AgentName },
}

pub(in crate::run) type Reply<T> = oneshot::Sender<Result<T, RunError>>;

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
