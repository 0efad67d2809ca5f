//! Interfaces in the result document.

use serde::{Deserialize, Serialize};
use weir_common::observation::LinkCounters;

/// What passed an interface over the run, and what did not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkTotal {
    /// The agent on whose host it is.
    pub agent: String,
    /// Its name there.
    pub interface: String,
    /// Kind of the queueing discipline that dropped, else of the root one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qdisc: Option<String>,
    /// Most bytes queued at the end of an interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backlog_max_bytes: Option<u64>,
    /// Sums over the run, from T0 to its end.
    #[serde(flatten)]
    pub counters: LinkCounters,
}

/// A place where packets were dropped while a flow lost some. Other flows may
/// have been met there too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostAt {
    /// The agent on whose host the interface is.
    pub agent: String,
    /// The interface.
    pub interface: String,
    /// What dropped: the kind of a queueing discipline such as `tbf`, or `rx`
    /// or `tx` for the interface itself.
    pub by: String,
    /// Packets dropped there in the flow's phase.
    pub dropped: u64,
}
