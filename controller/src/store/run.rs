//! Runs as the store keeps them.

use std::fmt;
use std::str::FromStr;

use weir_common::assignment::StartAt;
use weir_common::id::RunId;

/// A campaign as its author wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CampaignText {
    /// The TOML text.
    pub toml: String,
    /// Name of the file; empty for a command line.
    pub file: String,
    /// The command line as typed.
    pub argv: Vec<String>,
    /// Name and text of the trace files that it names. They are not stored: their values are part of the plan.
    pub files: Vec<(String, String)>,
}

/// What a run begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    /// The campaign's name.
    pub campaign: String,
    /// The campaign as written.
    pub source: CampaignText,
    /// What the two ends of a flow link recognise each other by.
    pub nonce: u64,
    /// Every random draw of the run comes from it.
    pub seed: u64,
    /// Length of a reporting interval, ns.
    pub interval_ns: u64,
    /// Waiting time after which a packet counts as lost, ns.
    pub linger_ns: u64,
    /// When it was asked for, ns since the Unix epoch.
    pub created_unix_ns: i64,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunState {
    /// It has a number.
    Created,
    /// It waits for another run on the same kernel.
    Queued,
    /// Agents get ready.
    Preparing,
    /// T0 is committed.
    Started,
    /// It is being stopped before its end.
    Stopping,
    /// It has a verdict.
    Closed,
    /// It is being deleted.
    Deleting,
}

impl RunState {
    /// All states, in order.
    pub const ALL: [Self; 7] = [
        Self::Created,
        Self::Queued,
        Self::Preparing,
        Self::Started,
        Self::Stopping,
        Self::Closed,
        Self::Deleting,
    ];

    /// The word stored and printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Queued => "queued",
            Self::Preparing => "preparing",
            Self::Started => "started",
            Self::Stopping => "stopping",
            Self::Closed => "closed",
            Self::Deleting => "deleting",
        }
    }
}

/// One run, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// Its number.
    pub run: RunId,
    /// What it began with.
    pub new: NewRun,
    /// How far it is.
    pub state: RunState,
    /// T0, once committed.
    pub start: Option<StartAt>,
    /// Latest planned end of any session from T0, ns; 0 without a plan.
    pub end_ns: u64,
    /// The [`weir_experiment::plan::Plan`] as JSON, once planned.
    pub plan_json: Option<String>,
    /// Why it was stopped, if it was.
    pub stop_reason: Option<String>,
    /// `pass`, `fail`, `partial` or `invalid`, once closed.
    pub verdict: Option<String>,
    /// Result document (`weir.result/1`), once closed.
    pub result_json: Option<String>,
    /// When it was closed, ns since the Unix epoch.
    pub closed_unix_ns: Option<i64>,
}

/// One line of a list of runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSummary {
    /// Its number.
    pub run: RunId,
    /// The campaign's name.
    pub campaign: String,
    /// How far it is.
    pub state: RunState,
    /// Once closed.
    pub verdict: Option<String>,
    /// When it was asked for, ns since the Unix epoch.
    pub created_unix_ns: i64,
    /// T0, ns since the Unix epoch.
    pub t0_unix_ns: Option<i64>,
    /// When it was closed, ns since the Unix epoch.
    pub closed_unix_ns: Option<i64>,
    /// Latest planned end from T0, ns.
    pub end_ns: u64,
    /// Flows of its plan.
    pub flows: u32,
    /// Rows stored.
    pub records: u64,
}

/// Which run a person means: `r-0007`, a campaign's name (its last run),
/// `last`, `last~2` (two before the last); empty is `last`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunRef {
    /// By number.
    Id(RunId),
    /// The one so many before the newest.
    Last(u32),
    /// The newest run of the campaign of this name.
    Campaign(String),
}

/// Why a text names no run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no run: write r-0007, last, last~1 or a campaign's name")]
pub struct RunRefError(pub String);

impl FromStr for RunRef {
    type Err = RunRefError;

    fn from_str(text: &str) -> Result<Self, RunRefError> {
        let error = || RunRefError(text.chars().take(80).collect());
        if text.is_empty() || text == "last" {
            return Ok(Self::Last(0));
        }
        if let Some(back) = text.strip_prefix("last~") {
            return back.parse().map(Self::Last).map_err(|_| error());
        }
        Ok(text
            .parse()
            .map_or_else(|_| Self::Campaign(text.to_owned()), Self::Id))
    }
}

impl fmt::Display for RunRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(run) => write!(f, "{run}"),
            Self::Last(0) => f.write_str("last"),
            Self::Last(back) => write!(f, "last~{back}"),
            Self::Campaign(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_read_as_they_print() {
        for (text, reference) in [
            ("r-0007", RunRef::Id(RunId(7))),
            ("last", RunRef::Last(0)),
            ("last~2", RunRef::Last(2)),
            ("as150-failover", RunRef::Campaign("as150-failover".into())),
        ] {
            assert_eq!(text.parse(), Ok(reference.clone()));
            assert_eq!(reference.to_string(), text);
        }
        assert_eq!("".parse(), Ok(RunRef::Last(0)));
        assert!("last~x".parse::<RunRef>().is_err());
    }
}
