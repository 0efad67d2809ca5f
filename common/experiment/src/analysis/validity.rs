//! Whether a flow's figures can be trusted. What happened to the flow decides;
//! what might have happened is a cause: recorded, warned of, and named.

mod causes;
mod decisive;
mod notes;

use weir_common::campaign::Valid;
use weir_common::record::End;
use weir_common::traffic::Transport;

use self::causes::Cause;
pub(super) use self::causes::{At, throttled};
use super::document::Reason;
use super::evidence::FlowEvidence;

/// What is known of the flow beside its evidence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject {
    pub(super) flow: u32,
    pub(super) transport: Transport,
    /// Unlimited traffic has no schedule to be late against.
    pub(super) scheduled: bool,
    pub(super) interval_ns: u64,
    pub(super) seconds: f64,
    /// Each end has a thread for each stream.
    pub(super) streams: u16,
    /// Received more than was sent.
    pub(super) excess: u64,
}

/// What decides, and what to know.
#[derive(Debug, Clone, Default)]
pub(super) struct Judgement {
    /// Non-empty: the flow is invalid.
    pub(super) reasons: Vec<Reason>,
    pub(super) warnings: Vec<Reason>,
}

/// Judges one flow. `at` is what is known of the places of its two ends.
pub(super) fn judge(
    subject: Subject,
    evidence: &FlowEvidence,
    at: At<'_>,
    valid: &Valid,
) -> Judgement {
    let mut judgement = Judgement::default();
    let causes = causes::of(subject, evidence, at, valid);
    for mut reason in decisive::of(subject, evidence, valid) {
        explain(&mut reason, &causes);
        if valid.ignore.contains(&reason.code) {
            judgement.warnings.push(reason);
        } else {
            judgement.reasons.push(reason);
        }
    }
    judgement.warnings.extend(decisive::told(subject, evidence));
    for cause in causes {
        if cause.decides && !valid.ignore.contains(&cause.reason.code) {
            judgement.reasons.push(cause.reason);
        } else {
            judgement.warnings.push(cause.reason);
        }
    }
    judgement.warnings.extend(notes::of(subject, evidence));
    judgement
}

/// Names the causes at the same end that can have made a CPU late.
fn explain(reason: &mut Reason, causes: &[Cause]) {
    if !matches!(reason.code.as_str(), "behind" | "lateness" | "frozen") {
        return;
    }
    let here = causes.iter().filter(|cause| cause.reason.end == reason.end);
    let short: Vec<&str> = here.filter_map(|cause| cause.short.as_deref()).collect();
    if !short.is_empty() {
        reason.text = format!("{}: {}", reason.text, short.join(", "));
    }
}

/// What an end is called in a sentence.
fn role(end: End) -> &'static str {
    match end {
        End::Tx => "generator",
        End::Rx => "receiver",
    }
}

fn reason(
    subject: Subject,
    code: &str,
    end: Option<End>,
    (value, limit): (f64, f64),
    text: String,
) -> Reason {
    Reason {
        code: code.into(),
        flow: Some(subject.flow),
        end: end.map(|end| end.as_str().into()),
        value: Some(value),
        limit: Some(limit),
        text,
    }
}
