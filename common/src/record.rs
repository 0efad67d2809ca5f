//! Result rows: what one end of one flow saw in one interval, and the manifest
//! that closes a flow. Columns and definitions are those of `docs/records.md`.
//!
//! `None` means not applicable or not known; it is never a stand-in for 0.

mod artifact;
mod closed;
mod coalesce;
mod columns;
mod counters;
mod dscp;
mod gap;
mod histogram;
mod outages;

use serde::{Deserialize, Serialize};

pub use self::artifact::Artifact;
pub use self::closed::{DataPath, Ending, FlowClosed, PeerTotals, Window};
pub use self::columns::{DelayColumns, MoreColumns, TcpColumns};
pub use self::counters::{Counters, add_counts};
pub use self::dscp::{DscpError, DscpSet};
pub use self::gap::{Gap, GapCause};
pub use self::outages::{FlowOutage, Outages};
use crate::id::{FlowId, RunId};
use crate::observation::{KernelRow, LinkRow, Observed};

/// Which end of a flow speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// The generator: where the data leaves.
    Tx,
    /// The receiver: where it arrives.
    Rx,
}

impl End {
    /// `tx` or `rx`, as in the column `end`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tx => "tx",
            Self::Rx => "rx",
        }
    }

    /// The opposite end of the flow.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Tx => Self::Rx,
            Self::Rx => Self::Tx,
        }
    }
}

/// Who measured a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Our own agent at this end.
    #[default]
    Measured,
    /// The foreign peer at this end said so.
    Reported,
}

/// What a reader must know of a row before using its figures; bits of the
/// column `flags`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Flags(pub u32);

impl Flags {
    /// Within the warm-up: excluded from every figure of the result.
    pub const WARMUP: Self = Self(1);
    /// Shorter than the interval asked for (the end of a window).
    pub const SHORT: Self = Self(1 << 1);
    /// Several intervals merged into one.
    pub const COALESCED: Self = Self(1 << 2);
    /// Some figure of the row is an estimate.
    pub const ESTIMATED: Self = Self(1 << 3);
    /// Holds packets that arrived after the end of the row's window.
    pub const LATE_REPORT: Self = Self(1 << 4);
    /// The wall clock stepped within the row.
    pub const CLOCK_STEP: Self = Self(1 << 5);

    /// Whether all bits of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Sets the bits of `other`.
    pub fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// The names of the set bits, in the order of the bits.
    pub fn names(self) -> Vec<&'static str> {
        [
            (Self::WARMUP, "warmup"),
            (Self::SHORT, "short"),
            (Self::COALESCED, "coalesced"),
            (Self::ESTIMATED, "estimated"),
            (Self::LATE_REPORT, "late-report"),
            (Self::CLOCK_STEP, "clock-step"),
        ]
        .into_iter()
        .filter(|(flag, _)| self.contains(*flag))
        .map(|(_, name)| name)
        .collect()
    }
}

/// One immutable row: one flow, one end, one interval.
///
/// Invariant: for one (run, flow, end, stream) `k` rises by one from 0 and
/// `start_ns + length_ns` of a row is `start_ns` of the next. A coalesced row
/// has the `k` of the first interval in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The run.
    pub run: RunId,
    /// The flow within the run.
    pub flow: FlowId,
    /// The stream within the flow, from 0; `None` is the sum over all streams.
    pub stream: Option<u16>,
    /// Which end measured.
    pub end: End,
    /// Number of the interval within the flow, from 0.
    pub k: u32,
    /// Who measured.
    pub source: Source,
    /// Start of the row from T0 by that end's monotonic clock, ns.
    pub start_ns: u64,
    /// Real length of the row, ns.
    pub length_ns: u64,
    /// What to know before using the figures.
    pub flags: Flags,
    /// The narrow core.
    pub counters: Counters,
    /// Delay and round-trip time.
    pub delay: Option<DelayColumns>,
    /// TCP's own figures.
    pub tcp: Option<TcpColumns>,
    /// The rest.
    pub more: Option<MoreColumns>,
}

/// What an outbox keeps and the controller stores, in one sequence per boot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// One row.
    Record(Box<Record>),
    /// The end of a flow.
    Closed(Box<FlowClosed>),
    /// An interface in an interval.
    Link(Box<LinkRow>),
    /// A kernel in an interval.
    Kernel(Box<KernelRow>),
    /// The end of an observation.
    Observed(Box<Observed>),
    /// A record that is missing.
    Gap(Box<Gap>),
    /// A file that an end of a flow wrote.
    Artifact(Box<Artifact>),
}

impl Entry {
    /// The run this entry belongs to.
    pub fn run(&self) -> RunId {
        match self {
            Self::Record(record) => record.run,
            Self::Closed(closed) => closed.run,
            Self::Link(row) => row.run,
            Self::Kernel(row) => row.run,
            Self::Observed(observed) => observed.run,
            Self::Gap(gap) => gap.run,
            Self::Artifact(artifact) => artifact.run,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_counts_stay_absent() {
        let mut sum = Counters {
            tx_bytes: Some(3),
            ..Counters::default()
        };
        sum.add(&Counters {
            tx_bytes: Some(4),
            lost_packets: Some(1),
            ..Counters::default()
        });
        assert_eq!(sum.tx_bytes, Some(7));
        assert_eq!(sum.lost_packets, Some(1));
        assert_eq!(sum.rx_bytes, None);
    }

    #[test]
    fn flags_have_names() {
        let mut flags = Flags::WARMUP;
        flags.insert(Flags::LATE_REPORT);
        assert_eq!(flags.names(), ["warmup", "late-report"]);
    }
}
