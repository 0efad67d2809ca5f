//! A file that a flow wrote on a host, as its agent offers it.

use serde::{Deserialize, Serialize};

use super::End;
use crate::id::{FlowId, RunId};
use crate::traffic::LogFile;

/// A file that is complete and waits on its host until somebody fetches it.
///
/// Invariant: an end of a flow has at most one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// The run.
    pub run: RunId,
    /// The flow.
    pub flow: FlowId,
    /// Which end wrote it.
    pub end: End,
    /// Its name, as the campaign has it.
    pub name: LogFile,
    /// Size, bytes.
    pub size_bytes: u64,
    /// SHA-256 of all of it.
    pub sha256: [u8; 32],
}
