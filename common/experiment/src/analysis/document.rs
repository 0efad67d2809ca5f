//! The result document, schema `weir.result/1`: what `weir run --json` and
//! `weir show --json` print. Absent = not applicable, null = not known.
//! Ratios are 0 to 1.

use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// Name and version of the document.
pub const SCHEMA: &str = "weir.result/1";

/// How a run came out; the order is that of gravity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Valid, complete, every expectation held.
    Pass,
    /// An expectation did not hold.
    Fail,
    /// Something is missing: a flow, an end, a row.
    Partial,
    /// The measurement itself cannot be trusted.
    Invalid,
}

impl Verdict {
    /// The verdict of the three checks, the gravest first.
    pub fn of(checks: Checks) -> Self {
        if !checks.valid {
            Self::Invalid
        } else if !checks.complete {
            Self::Partial
        } else if !checks.expectations {
            Self::Fail
        } else {
            Self::Pass
        }
    }

    /// Exit code of `weir run`: 0 pass, 1 fail, 3 partial, 4 invalid.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Fail => 1,
            Self::Partial => 3,
            Self::Invalid => 4,
        }
    }

    /// The verdict in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Partial => "partial",
            Self::Invalid => "invalid",
        }
    }
}

/// The three questions behind a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checks {
    /// Every flow's measurement can be trusted.
    pub valid: bool,
    /// Every flow ran and every row is stored.
    pub complete: bool,
    /// Every expectation held.
    pub expectations: bool,
}

/// Why a flow or a run is not what was hoped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// Short code, such as `behind`.
    pub code: String,
    /// The flow, when one is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<u32>,
    /// The end, when one is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// What was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// What was allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// A sentence with the unit.
    pub text: String,
}

impl Reason {
    /// A reason of the run as a whole.
    pub fn of_run(code: &str, text: String) -> Self {
        Self {
            code: code.into(),
            flow: None,
            end: None,
            value: None,
            limit: None,
            text,
        }
    }
}

/// Times of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Time {
    /// T0 in UTC, RFC 3339; null when the run never started.
    pub t0: Option<String>,
    /// T0, ns since the Unix epoch.
    pub t0_unix_ns: Option<i64>,
    /// Waiting time of loss, s.
    pub linger_s: f64,
    /// Distance of the first departures from their planned instant.
    pub start_skew_us: StartSkew,
}

/// How well the flows started together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StartSkew {
    /// The largest, us; null when no flow started.
    pub max: Option<f64>,
    /// Bound of the clock error, us; 0 on one kernel.
    pub bound: Option<f64>,
}

/// Expected against stored rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// Rows that the manifests name; for an end without one, its planned rows.
    pub expected: u64,
    /// Rows in the store.
    pub stored: u64,
    /// Rows merged from several intervals.
    pub coalesced: u64,
    /// Missing rows, exactly.
    pub gaps: Vec<Gap>,
    /// Ends without a manifest.
    pub unclosed: Vec<Unclosed>,
}

/// Rows of one flow and end that are missing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    /// The agent that should have sent them.
    pub agent: String,
    /// The flow.
    pub flow: u32,
    /// The end.
    pub end: String,
    /// How many rows.
    pub rows: u64,
    /// Start of the hole from T0, s; null when it is not known.
    pub from_s: Option<f64>,
    /// End of the hole from T0, s; null when it is not known.
    pub to_s: Option<f64>,
    /// Why.
    pub why: String,
}

/// An end whose manifest never came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unclosed {
    /// The agent.
    pub agent: String,
    /// The flow.
    pub flow: u32,
    /// The end.
    pub end: String,
    /// Rows stored of those planned.
    pub stored: u64,
    /// Rows planned.
    pub planned: u64,
    /// Why it did not close.
    pub why: String,
}

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

/// Runs of consecutive losses.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bursts {
    /// Mean length, packets.
    pub mean: f64,
    /// Longest, packets.
    pub max: u64,
}

/// One rate at three layers, bit/s.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LayeredRate {
    /// Payload.
    pub payload: f64,
    /// With IP and transport headers; exact for UDP, absent for TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<f64>,
    /// With the Ethernet header, without FCS; absent for TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<f64>,
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
    /// `same-kernel`, for one-way delay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<String>,
    /// Clock error bound, us.
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
    /// 99th percentile.
    pub p99: f64,
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
    /// Bytes retransmitted.
    pub retransmitted_bytes: Option<u64>,
    /// Slowest connection set-up, us.
    pub setup_us: Option<u64>,
    /// Seconds of the window by what limited the sender.
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
    /// What held an unlimited flow back: `cpu`, when it was that.
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
    /// Lateness of departures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lateness_us: Option<Distribution>,
    /// TTL seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Ttl>,
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

/// Sum and spread of one flow set in one phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Set {
    /// Flow set.
    pub set: String,
    /// Phase.
    pub phase: String,
    /// Repeat.
    pub repeat: u32,
    /// Matrix variables of the cell.
    pub cell: Map<String, Value>,
    /// Flows.
    pub flows: u32,
    /// Valid ones: those that the figures are of.
    pub valid: u32,
    /// Goodput over the valid flows.
    pub rate_bps: SetRate,
    /// Summed loss over the valid flows (UDP).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
}

/// Goodput of a set, bit/s; null without a valid flow.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SetRate {
    /// Sum.
    pub sum: Option<f64>,
    /// Least.
    pub min: Option<f64>,
    /// Median.
    pub median: Option<f64>,
    /// Largest.
    pub max: Option<f64>,
    /// Jain's fairness index (RFC 5166), 1/n to 1.
    pub fairness: Option<f64>,
}

/// What became of an expectation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExpectationResult {
    /// Phase, when it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Flow set, when it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
    /// As written.
    pub that: String,
    /// `flow`, `set` or `pair`.
    pub each: String,
    /// `fail`, or `warn`: told, and without weight.
    pub level: String,
    /// The worst measured value, in the metric's unit; null when nothing was measured.
    pub measured: Option<f64>,
    /// The flow it was measured at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst: Option<u32>,
    /// How many held.
    pub held: u32,
    /// Of how many.
    pub of: u32,
    /// Invalid flows left out.
    pub invalid_excluded: u32,
    /// Whether it held.
    pub pass: bool,
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResultDocument {
    /// `weir.result/1`.
    pub schema: String,
    /// Run.
    pub run: String,
    /// Campaign's name.
    pub campaign: String,
    /// Its question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// Verdict.
    pub verdict: Verdict,
    /// Exit code of `weir run`.
    pub exit: u8,
    /// The three questions behind it.
    pub checks: Checks,
    /// Why it is not a pass.
    pub reasons: Vec<Reason>,
    /// What to know of the run as a whole.
    pub warnings: Vec<Reason>,
    /// Times.
    pub time: Time,
    /// Expected against stored.
    pub ledger: Ledger,
    /// Flows, by number.
    pub flows: Vec<Flow>,
    /// Flow sets by phase.
    pub sets: Vec<Set>,
    /// Expectations, in the order written.
    pub expectations: Vec<ExpectationResult>,
    /// Where the figures come from.
    pub provenance: Value,
}
