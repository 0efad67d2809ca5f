//! Outages of a flow, as its manifest carries them.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use crate::stats::outage::KEPT_OUTAGES;

/// Outages of a flow (definition: [`crate::stats::outage`]).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Outages {
    /// How many, of all streams.
    pub count: u64,
    /// All of them together, ns.
    pub sum_ns: u64,
    /// Mean spacing of departures: within about so much the limits of an outage
    /// are known, ns.
    pub resolution_ns: Option<u64>,
    /// The longest, at most [`KEPT_OUTAGES`], in the order of time.
    pub kept: Vec<FlowOutage>,
}

impl Outages {
    /// Adds the outages of another stream.
    pub fn merge(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
        self.resolution_ns = self.resolution_ns.max(other.resolution_ns);
        self.kept.extend_from_slice(&other.kept);
        self.kept.sort_by_key(|outage| Reverse(outage.length_ns));
        self.kept.truncate(KEPT_OUTAGES);
        self.kept
            .sort_by_key(|outage| (outage.from_ns, outage.stream));
    }
}

/// One outage. Times are times of sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FlowOutage {
    /// The stream that had it.
    pub stream: u16,
    /// First lost send from T0, ns.
    pub from_ns: u64,
    /// How long it lasted, ns: to the first send after which nothing was lost for
    /// a second, or to the end of the flow.
    pub length_ns: u64,
    /// Whether the flow outlived it.
    pub ended: bool,
    /// First sequence number lost.
    pub first_seq: u64,
    /// Last sequence number lost.
    pub last_seq: u64,
    /// Packets lost; `None` where only silence tells of the outage.
    pub lost_packets: Option<u64>,
}

impl FlowOutage {
    /// First send after which nothing was lost for a second, from T0, ns; `None`
    /// if the flow did not outlive the outage.
    pub fn to_ns(&self) -> Option<u64> {
        self.ended
            .then(|| self.from_ns.saturating_add(self.length_ns))
    }
}
