//! The result document, schema `weir.result/1`: what `weir run --json` and
//! `weir show --json` print. Absent = not applicable, null = not known.
//! Ratios are 0 to 1.

mod flow;
mod links;
mod losses;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::flow::*;
pub use self::links::{LinkTotal, LostAt};
pub use self::losses::{Bursts, Distances, Echo, LengthClass, Outage, Outages};

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

/// Rows that are missing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    /// The agent that should have sent them.
    pub agent: String,
    /// Its boot; null when only the manifest tells of it.
    #[serde(default)]
    pub boot: Option<String>,
    /// First and last sequence number in that boot; null when they never had one.
    #[serde(default)]
    pub seq: Option<[u64; 2]>,
    /// The flow; null when it is not known.
    pub flow: Option<u32>,
    /// The end; null when it is not known.
    pub end: Option<String>,
    /// How many rows; null when it is not known.
    pub rows: Option<u64>,
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
    /// Interfaces at which something was dropped or broken, the worst first;
    /// absent when nothing was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<LinkTotal>,
    /// Expectations, in the order written.
    pub expectations: Vec<ExpectationResult>,
    /// Where the figures come from.
    pub provenance: Value,
}
