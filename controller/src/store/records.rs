//! Batches on their way in, and rows on their way out.

use weir_common::id::{AgentName, BootId, FlowId};
use weir_common::observation::{LinkRow, Observed};
use weir_common::record::{Artifact, End, Entry, FlowClosed, Record};

use super::StoreError;

/// Consecutive entries of one boot.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Who sent them.
    pub agent: AgentName,
    /// The boot that made them.
    pub boot: BootId,
    /// Sequence of the first entry, from 1.
    pub first_seq: u64,
    /// The entries.
    pub entries: Vec<Entry>,
}

impl Batch {
    /// How many of its entries are known, when everything up to `acked` is stored.
    ///
    /// # Errors
    /// [`StoreError::Expected`] when it leaves a hole.
    pub fn known(&self, acked: u64) -> Result<usize, StoreError> {
        let expected = acked + 1;
        if self.first_seq == 0 || self.first_seq > expected {
            return Err(StoreError::Expected(expected));
        }
        Ok(usize::try_from(expected - self.first_seq).unwrap_or(usize::MAX))
    }
}

/// What became of a batch, told after the commit.
#[derive(Debug, Clone, PartialEq)]
pub struct Appended {
    /// Everything up to this sequence is stored.
    pub acked_seq: u64,
    /// The entries that this batch added, in order.
    pub stored: Vec<Entry>,
    /// Entries of deleted runs, dropped.
    pub dropped: u64,
}

/// A file that a flow wrote, and whose host has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactRow {
    /// The agent that offers it.
    pub agent: AgentName,
    /// What it offers.
    pub artifact: Artifact,
}

/// Called once with what became of a batch.
pub type AppendDone = Box<dyn FnOnce(Result<Appended, StoreError>) + Send>;

/// Which rows of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Streams {
    /// The sums over all streams only.
    #[default]
    Sum,
    /// Sums, and the rows of each stream after them.
    All,
}

/// Which rows of a run; the default is the sums of all flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecordQuery {
    /// Only of this flow.
    pub flow: Option<FlowId>,
    /// Only of this end.
    pub end: Option<End>,
    /// Which rows of a flow.
    pub streams: Streams,
}

/// One row. Its histograms are whole; the percentiles in the columns come from them.
pub type StoredRecord = Record;

/// A manifest and who sent it.
#[derive(Debug, Clone, PartialEq)]
pub struct ManifestRow {
    /// The agent.
    pub agent: AgentName,
    /// Its boot.
    pub boot: BootId,
    /// The manifest.
    pub closed: FlowClosed,
}

/// A row of an interface and the agent whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentLinkRow {
    /// The agent.
    pub agent: AgentName,
    /// The row.
    pub row: LinkRow,
}

/// The end of an observation and who sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedRow {
    /// The agent.
    pub agent: AgentName,
    /// Its manifest.
    pub observed: Observed,
}

/// Rows stored for one end of one flow, streams and sum rows together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowCount {
    /// The flow.
    pub flow: FlowId,
    /// Which end.
    pub end: End,
    /// How many.
    pub rows: u64,
}
