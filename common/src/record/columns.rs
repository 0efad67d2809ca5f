//! Columns beside the narrow core, each kind stored only where there is something.

use serde::{Deserialize, Serialize};

use super::{DscpSet, add_counts};
use crate::stats::Histogram;

/// One-way delay and round-trip time within a row; stored only where there are samples.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DelayColumns {
    /// One-way delay from actual departure to arrival, ns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Histogram>,
    /// Bound of the clock error in `delay`, ns; 0 when both ends share a kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_bound_ns: Option<u64>,
    /// Round-trip times, ns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt: Option<Histogram>,
}

/// TCP's own figures at the end of a row; counts are changes within the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TcpColumns {
    /// Bytes the receiver's TCP has acknowledged in the row.
    pub acked_bytes: Option<u64>,
    /// Segments retransmitted in the row.
    pub retransmits: Option<u64>,
    /// Bytes retransmitted in the row.
    pub retrans_bytes: Option<u64>,
    /// Congestion window at the end of the row, bytes.
    pub cwnd_bytes: Option<u64>,
    /// Smoothed round-trip time at the end of the row (RFC 6298), us.
    pub srtt_us: Option<u64>,
    /// Least round-trip time seen by TCP so far, us.
    pub min_rtt_us: Option<u64>,
    /// Round-trip time variation (RFC 6298), us.
    pub rttvar_us: Option<u64>,
    /// TCP's latest delivery-rate sample, bit/s.
    pub delivery_bps: Option<u64>,
    /// Time with data in flight or queued within the row, us.
    pub busy_us: Option<u64>,
    /// Time limited by the receive window within the row, us.
    pub rwnd_limited_us: Option<u64>,
    /// Time limited by the send buffer within the row, us.
    pub sndbuf_limited_us: Option<u64>,
    /// Bytes written and not yet acknowledged at the end of the row.
    pub unacked_bytes: Option<u64>,
    /// Segments sent in the row: data, retransmissions and pure acknowledgements.
    pub segs_out: Option<u64>,
}

impl TcpColumns {
    /// Adds another stream's columns: counts and windows add up, round-trip
    /// figures keep the larger (the least for `min_rtt_us`).
    pub fn add_stream(&mut self, other: &Self) {
        let larger = |a: Option<u64>, b: Option<u64>| a.max(b);
        self.acked_bytes = add_counts(self.acked_bytes, other.acked_bytes);
        self.retransmits = add_counts(self.retransmits, other.retransmits);
        self.retrans_bytes = add_counts(self.retrans_bytes, other.retrans_bytes);
        self.cwnd_bytes = add_counts(self.cwnd_bytes, other.cwnd_bytes);
        self.srtt_us = larger(self.srtt_us, other.srtt_us);
        self.min_rtt_us = match (self.min_rtt_us, other.min_rtt_us) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.rttvar_us = larger(self.rttvar_us, other.rttvar_us);
        self.delivery_bps = add_counts(self.delivery_bps, other.delivery_bps);
        self.busy_us = add_counts(self.busy_us, other.busy_us);
        self.rwnd_limited_us = add_counts(self.rwnd_limited_us, other.rwnd_limited_us);
        self.sndbuf_limited_us = add_counts(self.sndbuf_limited_us, other.sndbuf_limited_us);
        self.unacked_bytes = add_counts(self.unacked_bytes, other.unacked_bytes);
        self.segs_out = add_counts(self.segs_out, other.segs_out);
    }
}

/// The remaining columns, stored only where there is something.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MoreColumns {
    /// Lateness of departures against the schedule, ns.
    pub lateness: Option<Histogram>,
    /// Time the sender spent held back by a full socket buffer, us.
    pub blocked_us: Option<u64>,
    /// Packets of the pre-flow exchange; outside every other count.
    pub control_packets: Option<u64>,
    /// Send buffer in force, bytes.
    pub sndbuf_bytes: Option<u64>,
    /// Receive buffer in force, bytes.
    pub rcvbuf_bytes: Option<u64>,
    /// Largest reordering extent in the row (RFC 4737), packets.
    pub reorder_extent_max: Option<u64>,
    /// RFC 3550 interarrival jitter at the end of the row, ns.
    pub jitter_ns: Option<u64>,
    /// Least TTL or hop limit seen.
    pub ttl_min: Option<u64>,
    /// Largest TTL or hop limit seen.
    pub ttl_max: Option<u64>,
    /// How often the TTL or hop limit was another one than that of the packet before.
    pub ttl_changes: Option<u64>,
    /// DSCP values seen.
    pub dscp_seen: Option<DscpSet>,
    /// Packets marked Congestion Experienced.
    pub ce: Option<u64>,
    /// Packets whose payload was not the one sent; they count as not received.
    pub corrupt_packets: Option<u64>,
    /// Echo: replies sent (receiver), or first copies of replies that came back (generator).
    pub echo_packets: Option<u64>,
    /// CPU time of the flow's own threads in the row, us.
    pub cpu_us: Option<u64>,
    /// Time those threads waited for a CPU in the row, us.
    pub runq_wait_us: Option<u64>,
    /// Time the agent's control group was throttled in the row, summed over CPUs, us.
    pub throttled_us: Option<u64>,
}
