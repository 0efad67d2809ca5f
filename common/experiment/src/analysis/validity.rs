//! Whether a flow's figures can be trusted. What happened to the flow decides;
//! what might have happened is a cause: recorded, warned of, and named.

use weir_common::campaign::{Cause, Valid};
use weir_common::record::{End, Ending, Flags, FlowClosed};
use weir_common::traffic::Transport;

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

/// Judges one flow.
pub(super) fn judge(subject: Subject, evidence: &FlowEvidence, valid: &Valid) -> Judgement {
    let mut judgement = Judgement::default();
    let decisive = [
        behind(subject, evidence, valid),
        lateness(subject, evidence, valid),
        inconsistent(subject, evidence),
        clock_step(subject, evidence, valid),
        frozen(subject, evidence, End::Rx).filter(|_| subject.scheduled),
    ];
    for reason in decisive.into_iter().flatten() {
        if valid.ignore.contains(&reason.code) {
            judgement.warnings.push(reason);
        } else {
            judgement.reasons.push(reason);
        }
    }
    // What a frozen generator did not send in time is `behind`; and traffic
    // without a schedule only moves less: that is never the CPU's fault.
    let told = frozen(subject, evidence, End::Rx).filter(|_| !subject.scheduled);
    judgement
        .warnings
        .extend(frozen(subject, evidence, End::Tx).into_iter().chain(told));
    causes(subject, evidence, valid, &mut judgement);
    notes(subject, evidence, &mut judgement);
    judgement
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

/// 1. More of the packets than allowed were given up because the CPU was late.
fn behind(subject: Subject, evidence: &FlowEvidence, valid: &Valid) -> Option<Reason> {
    let tx = evidence.tx.window().filter(|_| subject.scheduled)?;
    let behind = tx.behind_packets.unwrap_or(0);
    let offered = tx.offered_packets.filter(|&offered| offered > 0)?;
    let share = behind as f64 / offered as f64;
    let limit = valid.behind.value();
    (share > limit).then(|| {
        let text = format!(
            "{behind} of {offered} packets ({:.2} %) were given up because the sender's CPU was late; allowed is {}",
            share * 100.0,
            valid.behind
        );
        reason(subject, "behind", Some(End::Tx), (share, limit), text)
    })
}

/// 2. Departures were later than the campaign allows, if it says so.
fn lateness(subject: Subject, evidence: &FlowEvidence, valid: &Valid) -> Option<Reason> {
    let limit = valid.lateness.filter(|_| subject.scheduled)?;
    let window = &evidence.tx.closed.as_ref()?.window;
    let p99 = window.lateness.as_ref()?.percentile_ns(99.0)?;
    (p99 > limit.as_nanos()).then(|| {
        let text = format!(
            "the 99th percentile of lateness was {:.1} us; allowed is {limit}",
            p99 as f64 / 1e3
        );
        reason(
            subject,
            "lateness",
            Some(End::Tx),
            (p99 as f64 / 1e9, limit.as_secs_f64()),
            text,
        )
    })
}

/// 3. The counters contradict each other.
fn inconsistent(subject: Subject, evidence: &FlowEvidence) -> Option<Reason> {
    if subject.excess > 0 {
        let text = format!("{} packets more were received than sent", subject.excess);
        let figures = (subject.excess as f64, 0.0);
        return Some(reason(subject, "inconsistent", None, figures, text));
    }
    for end in [End::Tx, End::Rx] {
        let seen = evidence.end(end);
        let Some(closed) = &seen.closed else { continue };
        if let Some((figures, text)) = contradiction(closed) {
            return Some(reason(subject, "inconsistent", Some(end), figures, text));
        }
        let named = u64::from(closed.rows);
        if seen.rows > named {
            let text = format!("{} rows are stored, the manifest names {named}", seen.rows);
            let figures = (seen.rows as f64, named as f64);
            return Some(reason(subject, "inconsistent", Some(end), figures, text));
        }
        // Missing rows are the ledger's matter; only a whole set must add up.
        if seen.rows < named {
            continue;
        }
        let sums = seen.total.columns();
        let manifest = closed.total.columns();
        if let Some(((name, sum), (_, total))) = sums
            .into_iter()
            .zip(manifest)
            .find(|((_, a), (_, b))| a.unwrap_or(0) != b.unwrap_or(0))
        {
            let (sum, total) = (sum.unwrap_or(0), total.unwrap_or(0));
            let text = format!("{name}: the rows add up to {sum}, the manifest says {total}");
            let figures = (sum as f64, total as f64);
            return Some(reason(subject, "inconsistent", Some(end), figures, text));
        }
    }
    tcp_excess(subject, evidence)
}

/// What one manifest says against itself.
fn contradiction(closed: &FlowClosed) -> Option<((f64, f64), String)> {
    if closed
        .warnings
        .iter()
        .any(|code| code == "inconsistent-counters")
    {
        let text = "the receiver's packets do not fit the generator's final count".to_owned();
        return Some(((1.0, 0.0), text));
    }
    [&closed.total, &closed.window.counters]
        .into_iter()
        .find_map(|counters| {
            let offered = counters.offered_packets?;
            let handled = counters
                .tx_packets
                .unwrap_or(0)
                .saturating_add(counters.lost_sender());
            let text = format!("{offered} packets were offered, {handled} are accounted for");
            (offered != handled).then_some(((handled as f64, offered as f64), text))
        })
}

/// TCP: sent = received + drained + unread over the whole flow.
fn tcp_excess(subject: Subject, evidence: &FlowEvidence) -> Option<Reason> {
    if subject.transport != Transport::Tcp {
        return None;
    }
    let (tx, rx) = (evidence.tx.closed.as_ref()?, evidence.rx.closed.as_ref()?);
    if tx.ending != Ending::Completed || rx.ending != Ending::Completed {
        return None;
    }
    let sent = tx.total.tx_bytes.unwrap_or(0);
    // Without a final count the receiver does not know where the flow ends.
    let unread = rx.unread_bytes?;
    let accounted = [rx.total.rx_bytes, rx.drained_bytes, Some(unread)]
        .into_iter()
        .flatten()
        .fold(0, u64::saturating_add);
    (sent != accounted).then(|| {
        let text = format!(
            "{sent} bytes were written, {accounted} are accounted for as received, drained or unread"
        );
        reason(subject, "inconsistent", None, (accounted as f64, sent as f64), text)
    })
}

/// 4. The wall clock stepped while delay was measured by it.
fn clock_step(subject: Subject, evidence: &FlowEvidence, valid: &Valid) -> Option<Reason> {
    let rx = evidence.rx.closed.as_ref()?;
    rx.window.delay.as_ref()?;
    let within = evidence.rx.flags.contains(Flags::CLOCK_STEP);
    let step_ns = rx.window.clock_step_ns.filter(|_| within)?;
    let limit = valid.clock_step;
    (step_ns > limit.as_nanos()).then(|| {
        let text = format!(
            "the receiver's wall clock stepped by {:.3} ms inside a delay figure; allowed is {limit}",
            step_ns as f64 / 1e6
        );
        let figures = (step_ns as f64 / 1e9, limit.as_secs_f64());
        reason(subject, "clock_step", Some(End::Rx), figures, text)
    })
}

/// 5. An end did not run for longer than an interval.
fn frozen(subject: Subject, evidence: &FlowEvidence, end: End) -> Option<Reason> {
    let frozen_us = evidence.end(end).closed.as_ref()?.window.frozen_us?;
    let limit_us = subject.interval_ns / 1_000;
    (frozen_us > limit_us).then(|| {
        let text = format!(
            "the {} did not run for {:.0} ms, longer than an interval of {:.0} ms",
            if end == End::Tx {
                "generator"
            } else {
                "receiver"
            },
            frozen_us as f64 / 1e3,
            limit_us as f64 / 1e3
        );
        reason(
            subject,
            "frozen",
            Some(end),
            (frozen_us as f64 / 1e6, limit_us as f64 / 1e6),
            text,
        )
    })
}

/// Causes: they decide only where the campaign says so, and are named beside a decision.
fn causes(subject: Subject, evidence: &FlowEvidence, valid: &Valid, judgement: &mut Judgement) {
    for end in [End::Tx, End::Rx] {
        let Some(closed) = &evidence.end(end).closed else {
            continue;
        };
        let Some(waited_us) = closed.window.runq_wait_us.filter(|_| subject.seconds > 0.0) else {
            continue;
        };
        let share = waited_us as f64 / 1e6 / subject.seconds / f64::from(subject.streams.max(1));
        let Cause { above, decides } = valid.runq;
        if share <= above.value() {
            continue;
        }
        let text = format!(
            "the {}'s threads waited {:.0} % of the time for a CPU; above {above} is told",
            if end == End::Tx {
                "generator"
            } else {
                "receiver"
            },
            share * 100.0,
        );
        let cause = reason(subject, "runq", Some(end), (share, above.value()), text);
        if decides && !valid.ignore.iter().any(|code| code == "runq") {
            judgement.reasons.push(cause);
        } else {
            judgement.warnings.push(cause);
        }
    }
}

/// What to know of a valid flow.
fn notes(subject: Subject, evidence: &FlowEvidence, judgement: &mut Judgement) {
    let mut warn = |code: &str, end, value: f64, text: String| {
        judgement.warnings.push(Reason {
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
}

/// Sentences for the codes that engines report.
fn describe(code: &str) -> &str {
    match code {
        "buffer-below-queue" => {
            "the send buffer is smaller than the link's queue and may not grow further here, so the link's losses read as blocked"
        }
        "loss-window-cut" => "the loss window was cut at 1 MiB: reordering beyond it reads as loss",
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
