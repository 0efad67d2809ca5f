//! One flow of the result document.

use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use weir_common::record::DscpSet;

use super::{Bursts, Echo, LostAt, Outages, Reason};

/// Packets and payload bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Packets; absent for TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
    /// Payload bytes.
    pub bytes: Option<u64>,
}

/// Loss by place; null where an end did not report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Never reached IP.
    pub sender: Option<u64>,
    /// Reached IP and not the receiver's socket.
    pub network: Option<u64>,
    /// Dropped at the receiver's socket.
    pub receiver: Option<u64>,
}

/// Loss by cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostDetail {
    /// The CPU was late.
    pub behind: Option<u64>,
    /// EAGAIN: held back by the socket buffer.
    pub blocked: Option<u64>,
    /// EPERM, EMSGSIZE, unreachable.
    pub refused: Option<u64>,
    /// ENOBUFS: the host's own queue.
    pub egress: Option<u64>,
    /// Between the two hosts.
    pub path: Option<u64>,
    /// The receiver's socket buffer.
    pub socket: Option<u64>,
    /// Before the first arrival.
    pub head: Option<u64>,
    /// After the last arrival.
    pub tail: Option<u64>,
}

/// One rate at three layers, bit/s.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LayeredRate {
    /// Payload.
    pub payload: f64,
    /// With IP and transport headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<f64>,
    /// With the Ethernet header, without FCS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<f64>,
    /// `ip` and `frame` are estimates: of TCP, by its count of segments.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
}

/// Offered, sent and received rate, bit/s.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Asked by the schedule; absent for unlimited traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered: Option<f64>,
    /// Reached IP (UDP) or written (TCP).
    pub sent: Option<LayeredRate>,
    /// Arrived.
    pub received: Option<LayeredRate>,
}

/// A distribution in microseconds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Distribution {
    /// For one-way delay: `same-kernel` (one clock, exact), `estimated` (within `bound`) or
    /// `relative` (the least delay was taken for 0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<String>,
    /// Clock error bound, us; absent for `relative`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<f64>,
    /// Where the two stamps were taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamps: Option<String>,
    /// Where the samples come from, for round-trip times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Samples.
    pub n: u64,
    /// Least.
    pub min: f64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// Largest.
    pub max: f64,
    /// Standard deviation.
    pub sd: f64,
}

/// Delay variation, RFC 5481: delay less the least delay, us.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pdv {
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    #[serde(default)]
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    #[serde(default)]
    pub p999: f64,
    /// Largest.
    #[serde(default)]
    pub max: f64,
}

/// The means of two kinds of jitter, us.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct JitterMeans {
    /// Mean of the RFC 3550 jitter.
    pub rfc3550_mean_us: Option<f64>,
    /// Mean absolute delay difference of neighbours.
    pub ipdv_mean_abs_us: Option<f64>,
}

/// TTL seen at the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ttl {
    /// Least.
    pub min: u8,
    /// Largest.
    pub max: u8,
    /// How often it was another one than in the packet before.
    #[serde(default)]
    pub changes: u64,
}

/// What only TCP flows have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tcp {
    /// Congestion control in use at the sender.
    pub cc: Option<String>,
    /// Maximum segment size, bytes.
    pub mss: Option<u64>,
    /// Bytes acknowledged in the window.
    pub acked_bytes: Option<u64>,
    /// Bytes read after the window.
    pub drained_bytes: Option<u64>,
    /// Bytes sent and never read.
    pub unread_bytes: Option<u64>,
    /// Bytes read that are not those sent; absent unless the receiver verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrupt_bytes: Option<u64>,
    /// Bytes retransmitted.
    pub retransmitted_bytes: Option<u64>,
    /// Slowest connection set-up, us.
    pub setup_us: Option<u64>,
    /// Seconds of the window by what limited the sender, the mean of the streams.
    pub limited_s: Limited,
}

/// Seconds by limiting factor (`TCP_INFO`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Limited {
    /// Congestion window: busy, and neither of the two below.
    pub network: Option<f64>,
    /// Receive window.
    pub receiver: Option<f64>,
    /// Send buffer.
    pub buffer: Option<f64>,
    /// Nothing to send.
    pub app: Option<f64>,
}

/// Which ways the kernel was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Path {
    /// Segmentation offload at the sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gso: Option<String>,
    /// Pacing policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pacing: Option<String>,
    /// System call at the sender.
    pub tx: Option<String>,
    /// System call at the receiver.
    pub rx: Option<String>,
    /// Random generator behind the schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rng: Option<String>,
    /// The sender's thread: its own, or shared with other slow streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_thread: Option<String>,
    /// The receiver's thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rx_thread: Option<String>,
    /// CPUs that the sender's threads are kept to, as `0-3,6`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_cpus: Option<String>,
    /// CPUs that the receiver's threads are kept to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rx_cpus: Option<String>,
    /// Send buffer in force, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sndbuf_bytes: Option<u64>,
    /// Receive buffer in force, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rcvbuf_bytes: Option<u64>,
    /// Whether the flow link carried the closing exchange.
    pub link: Option<bool>,
}

/// CPU of the flow's own threads, per cent of the window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// At the generator.
    pub tx_pct: Option<f64>,
    /// At the receiver.
    pub rx_pct: Option<f64>,
    /// Waiting for a CPU, the larger of both ends, mean of its threads.
    pub runq_wait_pct: Option<f64>,
    /// Held back by a CPU quota, the larger of both ends; absent where no
    /// control group counts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled_pct: Option<f64>,
}

/// Keys that a TCP flow has not.
const UDP_ONLY: [&str; 9] = [
    "lost",
    "lost_detail",
    "loss",
    "late",
    "duplicate",
    "reordered",
    "reorder_extent_max",
    "jitter_us",
    "jitter",
];
/// Keys that a UDP flow has not.
const TCP_ONLY: [&str; 2] = ["retransmits", "tcp"];

/// One flow. Keys of the other transport are absent from the document; of its
/// own, what is not known is null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Flow {
    /// Number within the run.
    pub flow: u32,
    /// Flow set.
    pub set: String,
    /// `phase/set/from>to`: the same in every run of the campaign.
    pub key: String,
    /// Phase.
    pub phase: String,
    /// Repeat, from 1.
    pub repeat: u32,
    /// Matrix variables of the cell.
    pub cell: Map<String, Value>,
    /// Round of a mesh; null when all flows run at once.
    pub round: Option<u32>,
    /// Generator's agent.
    pub from: String,
    /// Receiver's agent.
    pub to: String,
    /// AS of the generator, when its agent has that label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_asn: Option<Value>,
    /// AS of the receiver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_asn: Option<Value>,
    /// `udp` or `tcp`.
    pub transport: String,
    /// Addresses of each stream.
    pub tuples: Vec<String>,
    /// The flow in the other direction, with `both`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverse_of: Option<u32>,
    /// Whether the figures can be trusted.
    pub valid: bool,
    /// Whether both ends closed and every row is stored.
    pub complete: bool,
    /// Why not.
    pub reasons: Vec<Reason>,
    /// What to know.
    pub warnings: Vec<Reason>,
    /// What held an unlimited flow back: `cpu`, `blocked` (UDP: its link), or
    /// what limited TCP most of the time: `network`, `receiver`, `buffer`, `app`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limited: Option<String>,
    /// Measured window from T0, s.
    pub window_s: [f64; 2],
    /// Length of the window, s.
    pub duration_s: f64,
    /// Asked by the schedule; absent for unlimited traffic, bytes null when the
    /// generator did not report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered: Option<Amount>,
    /// Sent; null when the generator did not report.
    pub sent: Option<Amount>,
    /// Received of it; null when the receiver did not report.
    pub received: Option<Amount>,
    /// Loss by place (UDP).
    #[serde(default)]
    pub lost: Option<Lost>,
    /// Loss by cause (UDP).
    #[serde(default)]
    pub lost_detail: Option<LostDetail>,
    /// Interfaces that dropped packets while the flow lost some in the network,
    /// the worst first; absent when none is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost_at: Vec<LostAt>,
    /// lost.network / sent (UDP).
    #[serde(default)]
    pub loss: Option<f64>,
    /// Came after their loss had been declared (UDP).
    #[serde(default)]
    pub late: Option<u64>,
    /// Copies (UDP).
    #[serde(default)]
    pub duplicate: Option<u64>,
    /// RFC 4737 reordered (UDP).
    #[serde(default)]
    pub reordered: Option<u64>,
    /// Largest reordering extent (UDP).
    #[serde(default)]
    pub reorder_extent_max: Option<u64>,
    /// Loss bursts (UDP), when there was a loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bursts: Option<Bursts>,
    /// Times in which nothing came through (UDP); absent when the receiver did not close.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outages: Option<Outages>,
    /// Packets whose payload was not the one sent, with `verify` (UDP): part of the loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrupted: Option<u64>,
    /// Received payload bits per second of the window.
    pub rate_bps: Option<f64>,
    /// The other rates.
    pub rates_bps: Rates,
    /// One-way delay (UDP), when the clocks are comparable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_us: Option<Distribution>,
    /// RFC 3550 jitter at the end of the window (UDP).
    #[serde(default)]
    pub jitter_us: Option<f64>,
    /// Jitter means (UDP).
    #[serde(default)]
    pub jitter: Option<JitterMeans>,
    /// Delay variation (UDP).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pdv_us: Option<Pdv>,
    /// Round-trip time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<Distribution>,
    /// Replies, with `echo` (UDP).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo: Option<Echo>,
    /// Lateness of departures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lateness_us: Option<Distribution>,
    /// TTL seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Ttl>,
    /// DSCP values seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dscp_seen: Option<DscpSet>,
    /// Congestion Experienced marks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ce: Option<u64>,
    /// Retransmitted segments (TCP).
    #[serde(default)]
    pub retransmits: Option<u64>,
    /// TCP's own figures.
    #[serde(default)]
    pub tcp: Option<Tcp>,
    /// Packets of the pre-flow exchange, both ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_packets: Option<u64>,
    /// Ways the kernel was used.
    pub path: Path,
    /// CPU.
    pub cpu: Cpu,
}

impl Serialize for Flow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut flow =
            Self::serialize(self, serde_json::value::Serializer).map_err(S::Error::custom)?;
        if let Value::Object(keys) = &mut flow {
            let foreign = if self.transport == "udp" {
                &TCP_ONLY[..]
            } else {
                &UDP_ONLY[..]
            };
            for key in foreign {
                keys.shift_remove(*key);
            }
        }
        flow.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Flow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }
}
