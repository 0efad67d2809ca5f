//! What happened to a flow: any of it makes its figures invalid.

use weir_common::campaign::Valid;
use weir_common::record::{End, Ending, Flags, FlowClosed};
use weir_common::traffic::Transport;

use super::{Subject, reason, role};
use crate::analysis::document::Reason;
use crate::analysis::evidence::FlowEvidence;

/// What decides, in the order in which it is told.
pub(super) fn of(
    subject: Subject,
    evidence: &FlowEvidence,
    valid: &Valid,
) -> impl Iterator<Item = Reason> {
    [
        behind(subject, evidence, valid),
        lateness(subject, evidence, valid),
        inconsistent(subject, evidence),
        clock_step(subject, evidence, valid),
        corrupt(subject, evidence),
        frozen(subject, evidence, End::Rx).filter(|_| subject.scheduled),
    ]
    .into_iter()
    .flatten()
}

/// What is told and does not decide: what a frozen generator did not send in
/// time is `behind`, and traffic without a schedule only moves less, which is
/// never the CPU's fault.
pub(super) fn told(subject: Subject, evidence: &FlowEvidence) -> impl Iterator<Item = Reason> {
    let receiver = frozen(subject, evidence, End::Rx).filter(|_| !subject.scheduled);
    frozen(subject, evidence, End::Tx)
        .into_iter()
        .chain(receiver)
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

/// What was read is not what was written (with `verify`).
fn corrupt(subject: Subject, evidence: &FlowEvidence) -> Option<Reason> {
    let corrupt = evidence.rx.closed.as_ref()?.corrupt_bytes?;
    (corrupt > 0).then(|| {
        let text = format!("{corrupt} bytes that arrived are not those that were sent");
        let figures = (corrupt as f64, 0.0);
        reason(subject, "corrupt", Some(End::Rx), figures, text)
    })
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
            role(end),
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
