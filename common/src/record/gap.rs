//! Records that are missing, told by the agent that should have them.

use serde::{Deserialize, Serialize};

use super::End;
use crate::id::{FlowId, RunId};

/// Why a record is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GapCause {
    /// It was kept on the agent's disk and cannot be read any more.
    Damaged,
    /// The agent's process ended before it had made the record.
    Ended,
    /// It was stored, and the controller's database was then put back to an older
    /// state; the agent no longer has it.
    Forgotten,
}

impl GapCause {
    /// A sentence for the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Damaged => "damaged on the agent's disk",
            Self::Ended => "the agent ended within this interval",
            Self::Forgotten => "stored once, and lost when an older database was put back",
        }
    }
}

/// Stands in the record sequence for one record that is missing.
///
/// Invariant: with [`GapCause::Damaged`] and [`GapCause::Forgotten`] the sequence
/// number is that of the record; with [`GapCause::Ended`] the record never had one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The run, by the records beside it.
    pub run: RunId,
    /// The flow and the end, if they are known.
    pub flow: Option<(FlowId, End)>,
    /// Start of the missing row from T0, ns.
    pub from_ns: Option<u64>,
    /// The latest end of the missing row from T0, ns.
    pub to_ns: Option<u64>,
    /// Why it is missing.
    pub cause: GapCause,
}
