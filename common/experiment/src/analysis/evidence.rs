//! What the analysis is given: facts from the store, gathered per flow.

use weir_common::id::{AgentName, BootId, FlowId};
use weir_common::record::{Counters, End, Flags, FlowClosed, Record};

/// Everything known of one flow after a run.
#[derive(Debug, Clone, Default)]
pub struct FlowEvidence {
    /// The generator's end.
    pub tx: EndEvidence,
    /// The receiver's end.
    pub rx: EndEvidence,
    /// Why the flow could not start, if so.
    pub failure: Option<Failure>,
}

impl FlowEvidence {
    /// The evidence of one end.
    pub fn end(&self, end: End) -> &EndEvidence {
        match end {
            End::Tx => &self.tx,
            End::Rx => &self.rx,
        }
    }

    /// Puts the evidence of one end in place.
    pub fn end_mut(&mut self, end: End) -> &mut EndEvidence {
        match end {
            End::Tx => &mut self.tx,
            End::Rx => &mut self.rx,
        }
    }
}

/// Why an end is silent whose agent is out of reach: it may go on.
pub const AGENT_LOST: &str = "the agent is lost";

/// Everything known of one end of a flow.
#[derive(Debug, Clone, Default)]
pub struct EndEvidence {
    /// Its manifest; `None` when it never came.
    pub closed: Option<FlowClosed>,
    /// Rows in the store, of streams and sums together.
    pub rows: u64,
    /// Rows that hold several intervals.
    pub coalesced: u64,
    /// Sum over all rows with `stream = null`.
    pub total: Counters,
    /// The same without the warm-up.
    pub measured: Counters,
    /// All flags of the measured rows together.
    pub flags: Flags,
    /// End of the last row from T0, ns; 0 without rows.
    pub last_ns: u64,
    /// Why the end did not close: `agent lost`, `agent restarted`, ...
    pub silence: Option<String>,
}

impl EndEvidence {
    /// Counts a row.
    pub fn take(&mut self, record: &Record) {
        self.rows += 1;
        self.coalesced += u64::from(record.flags.contains(Flags::COALESCED));
        if record.stream.is_some() {
            return;
        }
        self.total.add(&record.counters);
        self.last_ns = self
            .last_ns
            .max(record.start_ns.saturating_add(record.length_ns));
        if !record.flags.contains(Flags::WARMUP) {
            self.measured.add(&record.counters);
            self.flags.insert(record.flags);
        }
    }

    /// Counters of the measured window: the manifest's, else the sum of the measured rows.
    pub fn window(&self) -> Option<Counters> {
        match &self.closed {
            Some(closed) => Some(closed.window.counters),
            None if self.rows > 0 => Some(self.measured),
            None => None,
        }
    }
}

/// Records that an agent said it cannot deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedGap {
    /// The agent.
    pub agent: AgentName,
    /// Its boot.
    pub boot: BootId,
    /// First and last sequence number; `None` for a record that never had one.
    pub seq: Option<(u64, u64)>,
    /// The flow and the end, if they are known.
    pub flow: Option<(FlowId, End)>,
    /// Start from T0, ns.
    pub from_ns: Option<u64>,
    /// Latest end from T0, ns.
    pub to_ns: Option<u64>,
    /// Why.
    pub why: String,
}

/// Why a flow could not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The end that said so.
    pub end: End,
    /// Short code.
    pub code: String,
    /// Operation, address and error.
    pub reason: String,
}
