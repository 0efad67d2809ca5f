//! Bursts of losses, outages, and what came back by echo.

use serde::{Deserialize, Serialize};

/// Runs of consecutive losses (RFC 3357 loss periods).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Bursts {
    /// Mean length, packets.
    pub mean: f64,
    /// Longest, packets.
    pub max: u64,
    /// How many.
    #[serde(default)]
    pub count: u64,
    /// By length.
    #[serde(default)]
    pub lengths: Vec<LengthClass>,
    /// From one to the next; absent with fewer than two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distances: Option<Distances>,
}

/// From the last lost packet of a burst to the first of the next, in packets:
/// RFC 3357 inter-loss period lengths.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Distances {
    /// Mean.
    pub mean: f64,
    /// Least.
    pub min: u64,
    /// Largest.
    pub max: u64,
    /// By length.
    pub lengths: Vec<LengthClass>,
}

/// How many were so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LengthClass {
    /// Shortest of the class, packets.
    pub from: u64,
    /// Longest of the class, packets; null in the last class, which has no end.
    pub to: Option<u64>,
    /// How many.
    pub n: u64,
}

/// Times in which nothing came through.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Outages {
    /// How many.
    pub count: u64,
    /// All of them together, s.
    pub sum_s: f64,
    /// The longest, s; 0 without one.
    pub max_s: f64,
    /// Mean spacing of departures: within about so much limits are known, s;
    /// null when too little arrived to know.
    pub resolution_s: Option<f64>,
    /// The longest 1,000, in the order of time.
    pub kept: Vec<Outage>,
}

/// One outage, by times of sending.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outage {
    /// First lost send from T0, s.
    pub from_s: f64,
    /// First send after which nothing was lost for a second, s; null when the
    /// flow ended before.
    pub to_s: Option<f64>,
    /// From there to there, or to the end of the flow, s.
    pub length_s: f64,
    /// Packets lost; null when only silence tells of it.
    pub lost: Option<u64>,
    /// First sequence number lost.
    pub first_seq: u64,
    /// Last sequence number lost.
    pub last_seq: u64,
    /// The stream, in flows with several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<u16>,
}

/// What became of the replies of an echo flow; null where an end did not report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Echo {
    /// Replies that the receiver sent: one for each packet received.
    pub replies: Option<u64>,
    /// Replies that came back to the generator, copies left out.
    pub returned: Option<u64>,
    /// Replies lost on their way back. Lost requests stand in `lost`.
    pub lost_replies: Option<u64>,
}
