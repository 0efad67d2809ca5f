//! Why something asked of the runs could not be done.

use weir_common::campaign::{Campaign, CampaignError};
use weir_common::id::RunId;
use weir_experiment::planner::PlanError;

use crate::store::{CampaignText, StoreError};

/// Why something asked of the runs could not be done.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The campaign's text is at fault.
    #[error("{0}")]
    Campaign(String),
    /// The campaign cannot be planned on the agents there are.
    #[error("{0}")]
    Plan(String),
    /// Another run uses the same kernel.
    #[error(
        "{run} uses the same kernel: wait for it with --queue, stop it with `weir stop {run}`, or run beside it with --share"
    )]
    Shared {
        /// The other run.
        run: RunId,
    },
    /// Records cannot be stored at the moment.
    #[error(
        "the store does not take records at the moment: free space on its disk, or see the controller's log"
    )]
    Degraded,
    /// There is no such run.
    #[error("there is no {run}: see `weir runs`")]
    NoSuchRun {
        /// The run.
        run: RunId,
    },
    /// The run has no result.
    #[error("{run} has no result yet")]
    NoResult {
        /// The run.
        run: RunId,
    },
    /// The store could not do its part.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A fault of the controller itself.
    #[error("{operation}: {why}")]
    Internal {
        /// What was being done.
        operation: &'static str,
        /// What happened.
        why: String,
    },
}

impl RunError {
    pub(super) fn campaign(error: CampaignError) -> Self {
        Self::Campaign(error.to_string())
    }

    /// With the line of the file at fault, when there is a file.
    pub(super) fn plan(error: &PlanError, source: &CampaignText, campaign: &Campaign) -> Self {
        let line = error
            .line(&source.toml, campaign)
            .filter(|_| !source.file.is_empty());
        Self::Plan(match line {
            Some(line) => format!("{}:{line}: {error}", source.file),
            None => error.to_string(),
        })
    }
}
