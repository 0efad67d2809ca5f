//! What to know of a flow whose figures are valid.

use weir_common::record::{End, Ending};

use super::Subject;
use crate::analysis::document::Reason;
use crate::analysis::evidence::FlowEvidence;

/// What to know of a valid flow.
pub(super) fn of(subject: Subject, evidence: &FlowEvidence) -> Vec<Reason> {
    let mut notes = Vec::new();
    let mut warn = |code: &str, end, value: f64, text: String| {
        notes.push(Reason {
            code: code.into(),
            flow: Some(subject.flow),
            end: Some(End::as_str(end).into()),
            value: Some(value),
            limit: None,
            text,
        });
    };
    if let Some(tx) = evidence.tx.window() {
        let blocked = tx.blocked_packets.unwrap_or(0);
        if blocked > 0 {
            let text =
                format!("{blocked} packets were held back by the link: the send buffer was full");
            warn("blocked", End::Tx, blocked as f64, text);
        }
        let refused = tx.refused_packets.unwrap_or(0);
        if refused > 0 {
            let text = format!("{refused} packets were refused by the sender's host");
            warn("refused", End::Tx, refused as f64, text);
        }
    }
    for end in [End::Tx, End::Rx] {
        let Some(closed) = &evidence.end(end).closed else {
            continue;
        };
        for code in &closed.warnings {
            warn(code, end, 1.0, describe(code).to_owned());
        }
        match &closed.ending {
            Ending::Completed => {}
            Ending::Stopped { reason } => warn("stopped", end, 1.0, format!("stopped: {reason}")),
            Ending::Failed { reason } => warn("broken", end, 1.0, format!("broke: {reason}")),
        }
    }
    notes
}

/// Sentences for the codes that engines report.
fn describe(code: &str) -> &str {
    match code {
        "buffer-below-queue" => {
            "the send buffer is smaller than the link's queue and may not grow further here, so the link's losses read as blocked"
        }
        "gso-unavailable" => {
            "the kernel or the path takes no bundles of these packets: they left one by one"
        }
        "loss-window-cut" => "the loss window was cut at 1 MiB: reordering beyond it reads as loss",
        "drain-expired" => {
            "what was written did not arrive in the time to drain: the connection was reset"
        }
        "spool-degraded" => {
            "the agent's disk took no records at the end of the flow: they would have been lost with the agent"
        }
        "late-start" => "the start order came after T0",
        "drops-estimated" => "socket drops count bundles here: the receiver's loss is an estimate",
        "no-final-count" => {
            "the generator's final count did not come: what was lost after the last arrival is not in the rows"
        }
        "inconsistent-counters" => "packets and final counts do not fit together",
        "refused-not-permitted" => "the host did not permit packets to be sent (EPERM: a firewall)",
        "refused-too-large" => "packets are larger than the path allows (EMSGSIZE)",
        "refused-unreachable" => "the host has no route to the receiver",
        "refused-port-unreachable" => {
            "the receiver's host answered that nobody listens at its port"
        }
        other => other,
    }
}
