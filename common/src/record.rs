//! Result rows: what one end of one flow saw in one interval, and the manifest
//! that closes a flow. Columns and definitions are those of `docs/records.md`.
//!
//! `None` means not applicable or not known; it is never a stand-in for 0.

mod histogram;

use serde::{Deserialize, Serialize};

use crate::id::{FlowId, RunId};
use crate::stats::Histogram;

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

/// Adds two optional counts; `None` only when both are.
pub fn add_counts(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (a, None) => a,
        (None, b) => b,
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// The counters of the narrow core, each the change within the row.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Counters {
            $(
                $(#[$doc])*
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $name: Option<u64>,
            )+
        }

        impl Counters {
            /// Adds another row's counters to these.
            pub fn add(&mut self, other: &Self) {
                $(self.$name = add_counts(self.$name, other.$name);)+
            }

            /// Names and values in the order of the columns.
            pub fn columns(&self) -> Vec<(&'static str, Option<u64>)> {
                vec![$((stringify!($name), self.$name)),+]
            }
        }
    };
}

counters! {
    /// Packets that the schedule asked for (UDP).
    offered_packets,
    /// Payload bytes that the schedule asked for.
    offered_bytes,
    /// Packets that reached IP: send ok or ENOBUFS (UDP).
    tx_packets,
    /// Payload bytes that reached IP (UDP) or were written (TCP).
    tx_bytes,
    /// Unique packets that arrived before their loss was declared (UDP).
    rx_packets,
    /// Payload bytes of `rx_packets` (UDP), or bytes read (TCP).
    rx_bytes,
    /// Packets given up because the CPU was late.
    behind_packets,
    /// Packets refused by a full socket buffer (EAGAIN).
    blocked_packets,
    /// Packets refused by the host: EPERM, EMSGSIZE, unreachable.
    refused_packets,
    /// Packets dropped by the host's own queue (ENOBUFS); part of `tx_packets`.
    egress_packets,
    /// Arrivals by the interval in which they were sent.
    rx_of_tx_packets,
    /// Packets whose loss was declared in this row.
    lost_packets,
    /// Packets dropped at the receiver's own socket.
    socket_drops,
    /// Packets that came after their loss had been declared; they stay lost.
    late,
    /// Copies of packets that had already arrived; outside `rx_packets`.
    duplicate,
    /// RFC 4737 reordered singletons.
    reordered,
}

impl Counters {
    /// Packets lost at the sender: behind + blocked + refused.
    pub fn lost_sender(&self) -> u64 {
        [
            self.behind_packets,
            self.blocked_packets,
            self.refused_packets,
        ]
        .into_iter()
        .flatten()
        .fold(0, u64::saturating_add)
    }
}

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
    /// Packets marked Congestion Experienced.
    pub ce: Option<u64>,
    /// CPU time of the flow's own threads in the row, us.
    pub cpu_us: Option<u64>,
    /// Time those threads waited for a CPU in the row, us.
    pub runq_wait_us: Option<u64>,
    /// Time the agent's control group was throttled in the row, us.
    pub throttled_us: Option<u64>,
}

/// One immutable row: one flow, one end, one interval.
///
/// Invariant: for one (run, flow, end, stream) `k` rises by one from 0 and
/// `start_ns + length_ns` of a row is `start_ns` of the next.
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
    /// Clock error bound of the delay, ns.
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
    /// CPU time of the flow's threads, us.
    pub cpu_us: Option<u64>,
    /// Time those threads waited for a CPU, us.
    pub runq_wait_us: Option<u64>,
    /// Longest time a thread of the flow did not run when it should have, us.
    pub frozen_us: Option<u64>,
    /// Largest step of the wall clock while its stamps were read, ns; 0 = none (UDP receiver).
    pub clock_step_ns: Option<u64>,
    /// Least and largest TTL seen.
    pub ttl: Option<(u8, u8)>,
    /// Packets marked Congestion Experienced.
    pub ce: Option<u64>,
}

/// Which ways the kernel was used: printed, so that figures can be compared.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DataPath {
    /// The system call of the data path: `send`, `sendmmsg`, `gso`, `write`; `recvmmsg`, `gro`, `recv-trunc`.
    pub call: String,
    /// Whether segmentation offload bundles datagrams: `on` or `off`.
    pub gso: Option<String>,
    /// The pacing policy: `keep-mean`, or `none` for unlimited traffic.
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

/// What an outbox keeps and the controller stores, in one sequence per boot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// One row.
    Record(Box<Record>),
    /// The end of a flow.
    Closed(Box<FlowClosed>),
}

impl Entry {
    /// The run this entry belongs to.
    pub fn run(&self) -> RunId {
        match self {
            Self::Record(record) => record.run,
            Self::Closed(closed) => closed.run,
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
