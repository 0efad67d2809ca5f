//! The manifest that ends a flow at one end.

use serde::{Deserialize, Serialize};

use super::{Counters, DscpSet, End, Outages};
use crate::id::{FlowId, RunId};
use crate::stats::{Histogram, Lengths};

/// How a flow ended at one end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub enum Ending {
    /// Its whole time, or its `bytes` or `packets`, was sent.
    Completed,
    /// Ended before that by `weir stop`, a lease or a signal.
    Stopped {
        /// Who or what ended it.
        reason: String,
    },
    /// The flow broke: a connection was reset, a peer vanished.
    Failed {
        /// What happened, with the operation and the address.
        reason: String,
    },
}

/// The part of a flow within its measured window: [T0 + warm-up, T0 + for).
///
/// For UDP a cohort by send time: packets due in the window, and what became
/// of them. For TCP bytes written, or read, within the window.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Window {
    /// Start from T0, ns.
    pub start_ns: u64,
    /// Length, ns: the planned one, shorter when the flow was stopped or
    /// reached its `bytes` or `packets`.
    pub length_ns: u64,
    /// Counters of the window.
    pub counters: Counters,
    /// Delay histogram over the window, ns.
    pub delay: Option<Histogram>,
    /// Clock error bound of the delay, ns: 0 = both ends read one clock, `None` =
    /// not known, the delay counts from the least one.
    pub delay_bound_ns: Option<u64>,
    /// Round-trip times sampled in the window, ns.
    pub rtt: Option<Histogram>,
    /// Lateness of departures, ns.
    pub lateness: Option<Histogram>,
    /// RFC 3550 jitter at the end of the window, ns.
    pub jitter_ns: Option<u64>,
    /// Mean of the RFC 3550 jitter over the window's packets, ns.
    pub jitter_mean_ns: Option<u64>,
    /// Mean of |delay difference of neighbours| (D-ITG's jitter), ns.
    pub ipdv_mean_abs_ns: Option<u64>,
    /// Largest reordering extent (RFC 4737).
    pub reorder_extent_max: Option<u64>,
    /// Losses before the first arrival.
    pub lost_head: Option<u64>,
    /// Losses after the last arrival.
    pub lost_tail: Option<u64>,
    /// Number of runs of consecutive losses.
    pub loss_bursts: Option<u64>,
    /// Longest run of consecutive losses, packets.
    pub loss_burst_max: Option<u64>,
    /// Lengths of the runs of consecutive losses.
    pub loss_burst_lengths: Option<Lengths>,
    /// From the last lost packet of one run to the first of the next.
    pub loss_burst_distances: Option<Lengths>,
    /// Times in which nothing came through.
    pub outages: Option<Outages>,
    /// TCP: retransmitted segments in the window.
    pub retransmits: Option<u64>,
    /// TCP: retransmitted bytes in the window.
    pub retrans_bytes: Option<u64>,
    /// TCP: bytes acknowledged in the window.
    pub acked_bytes: Option<u64>,
    /// TCP: time with data in flight, us.
    pub busy_us: Option<u64>,
    /// TCP: time limited by the receive window, us.
    pub rwnd_limited_us: Option<u64>,
    /// TCP: time limited by the send buffer, us.
    pub sndbuf_limited_us: Option<u64>,
    /// TCP generator: segments sent in the window.
    pub segs_out: Option<u64>,
    /// TCP receiver: segments that arrived in the window.
    pub segs_in: Option<u64>,
    /// CPU time of the flow's threads, us.
    pub cpu_us: Option<u64>,
    /// Time those threads waited for a CPU, us.
    pub runq_wait_us: Option<u64>,
    /// Time the agent's control group was throttled, summed over CPUs, us.
    pub throttled_us: Option<u64>,
    /// Longest time a thread of the flow did not run when it should have, us.
    pub frozen_us: Option<u64>,
    /// Largest step of the wall clock while its stamps were read, ns; 0 = none (UDP receiver).
    pub clock_step_ns: Option<u64>,
    /// Least and largest TTL seen.
    pub ttl: Option<(u8, u8)>,
    /// How often the TTL changed from one packet to the next.
    pub ttl_changes: Option<u64>,
    /// DSCP values seen.
    pub dscp_seen: Option<DscpSet>,
    /// Packets marked Congestion Experienced.
    pub ce: Option<u64>,
    /// Packets whose payload was not the one sent; they count as not received.
    pub corrupt_packets: Option<u64>,
    /// Echo: replies sent (receiver), or first copies of replies that came back (generator).
    pub echo_packets: Option<u64>,
}

/// Which ways the kernel was used: printed, so that figures can be compared.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DataPath {
    /// The system call of the data path: `send`, `sendmmsg`, `gso`, `write`, `splice`; `recvmmsg`, `gro`, `recv-trunc`, `read`.
    pub call: String,
    /// Whether datagrams left in bundles (segmentation offload): `on` or `off`.
    pub gso: Option<String>,
    /// The pacing policy: `keep-mean` or `keep-gap`, or `none` for unlimited traffic.
    pub pacing: Option<String>,
    /// Buffer in force at this end, bytes.
    pub buffer_bytes: Option<u64>,
    /// Whether the buffer could be forced beyond the system's limit.
    pub buffer_forced: Option<bool>,
    /// TCP congestion control in use.
    pub cc: Option<String>,
    /// TCP maximum segment size, bytes.
    pub mss: Option<u64>,
    /// Time to establish the slowest data connection, us (at the end that dialled).
    pub setup_us: Option<u64>,
    /// Name of the random generator behind the schedule.
    pub rng: Option<String>,
    /// Whether its streams have threads of their `own` or `shared` ones.
    pub thread: Option<String>,
    /// The CPUs that those threads are kept to, as `0-3,6`; `None` = any.
    pub cpus: Option<String>,
}

/// What the other end said in the flow's own closing exchange, over the flow link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PeerTotals {
    /// Packets of the whole flow at the other end.
    pub packets: u64,
    /// Payload bytes of the whole flow at the other end.
    pub bytes: u64,
}

/// The manifest that ends a flow at one end: the sums over its rows, and the
/// figures of its measured window.
///
/// Invariant: `total` is the sum of `counters` over the flow's rows with
/// `stream = null` at this end, and `rows` counts all its rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowClosed {
    /// The run.
    pub run: RunId,
    /// The flow.
    pub flow: FlowId,
    /// Which end closes.
    pub end: End,
    /// Rows of this flow and end, streams and sum rows together.
    pub rows: u32,
    /// How it ended.
    pub ending: Ending,
    /// Sum over the rows.
    pub total: Counters,
    /// The measured window.
    pub window: Window,
    /// TCP receiver: bytes read after the end of the window.
    pub drained_bytes: Option<u64>,
    /// TCP receiver: bytes sent and never read.
    pub unread_bytes: Option<u64>,
    /// TCP receiver with `verify`: bytes read that are not those written.
    pub corrupt_bytes: Option<u64>,
    /// Packets of the pre-flow exchange at this end.
    pub control_packets: Option<u64>,
    /// Local and remote address of each stream, `source>destination` in the direction of the data.
    pub tuples: Vec<String>,
    /// First departure or arrival from the planned start, ns.
    pub first_packet_ns: Option<u64>,
    /// Ways the kernel was used.
    pub path: DataPath,
    /// `true` when the flow link carried the closing exchange.
    pub link: bool,
    /// The other end's totals from the closing exchange.
    pub peer: Option<PeerTotals>,
    /// Codes of warnings this end noticed, such as `buffer-below-queue`, `loss-window-cut`.
    pub warnings: Vec<String>,
}
