//! From what the store holds to the result document: figures, validity,
//! ledger, expectations, verdict. Pure: no clock, no store, no network.

mod clocks;
pub mod document;
mod evidence;
mod expectation;
mod figures;
pub mod floor;
mod ledger;
mod limited;
mod sets;
mod surroundings;
mod validity;

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use weir_common::campaign::{Campaign, Level};
use weir_common::id::{FlowId, RunId};
use weir_common::record::{End, Ending, FlowClosed};
use weir_common::traffic::Transport;

pub use self::document::{ResultDocument, Verdict};
pub use self::evidence::{AGENT_LOST, EndEvidence, Failure, FlowEvidence, ReportedGap};
pub use self::surroundings::Surroundings;

use self::document::{Checks, Flow, Reason, SCHEMA, StartSkew, Time};
use self::validity::{At, Subject};
use crate::plan::{Plan, PlannedFlow};

/// Everything that a result is made of.
#[derive(Debug)]
pub struct Input<'a> {
    /// The run.
    pub run: RunId,
    /// What was asked.
    pub campaign: &'a Campaign,
    /// What was planned.
    pub plan: &'a Plan,
    /// T0, ns since the Unix epoch; `None` when the run never started.
    pub t0_unix_ns: Option<i64>,
    /// What is known of each flow.
    pub evidence: &'a BTreeMap<FlowId, FlowEvidence>,
    /// What is known of hosts and kernels beside the flows.
    pub surroundings: &'a Surroundings,
    /// What agents said is missing.
    pub gaps: &'a [ReportedGap],
    /// Reasons of the run as a whole, such as a stop; each makes it partial.
    pub reasons: Vec<Reason>,
    /// What to know of the run as a whole.
    pub warnings: Vec<Reason>,
    /// Where the figures come from.
    pub provenance: Value,
}

/// Makes the result document.
pub fn analyse(input: Input<'_>) -> ResultDocument {
    let nothing = FlowEvidence::default();
    let seen = |flow: &PlannedFlow| input.evidence.get(&flow.id).unwrap_or(&nothing);
    let flows: Vec<Flow> = input
        .plan
        .flows
        .iter()
        .map(|flow| describe(&input, flow, seen(flow)))
        .collect();
    let started = input.t0_unix_ns.is_some();
    let ledger = ledger::balance(input.plan, started, input.gaps, |flow| seen(flow));
    let expectations: Vec<_> = input
        .campaign
        .expectations
        .iter()
        .map(|expectation| expectation::evaluate(expectation, &flows))
        .collect();
    let broken = expectations
        .iter()
        .zip(&input.campaign.expectations)
        .filter(|(result, expectation)| !result.pass && expectation.level == Level::Fail);
    let mut reasons = input.reasons;
    reasons.extend(ledger::unplaced(input.gaps));
    let incomplete = !reasons.is_empty() || ledger.stored < ledger.expected;
    let checks = Checks {
        valid: flows.iter().all(|flow| flow.valid),
        complete: started && !incomplete && flows.iter().all(|flow| flow.complete),
        expectations: broken.clone().count() == 0,
    };
    for flow in &flows {
        reasons.extend(flow.reasons.iter().cloned());
    }
    reasons.extend(broken.map(|(result, expectation)| unmet(result, &expectation.to_string())));
    let verdict = Verdict::of(checks);
    ResultDocument {
        schema: SCHEMA.into(),
        run: input.run.to_string(),
        campaign: input.campaign.name.clone(),
        question: input.campaign.question.clone(),
        verdict,
        exit: verdict.exit_code(),
        checks,
        reasons,
        warnings: input.warnings,
        time: time(input.t0_unix_ns, input.plan, input.evidence),
        ledger,
        sets: sets::summarise(input.plan, &flows),
        flows,
        links: input.surroundings.lossy_links(),
        expectations,
        provenance: clocks::told(input.provenance, input.plan, input.evidence),
    }
}

fn unmet(result: &document::ExpectationResult, written: &str) -> Reason {
    let measured = result.measured.map_or_else(
        || "nothing was measured".to_owned(),
        |value| format!("measured {value:.6}"),
    );
    Reason {
        code: "expectation".into(),
        flow: result.worst,
        end: None,
        value: result.measured,
        limit: None,
        text: format!(
            "{written}: {measured}, held for {} of {}",
            result.held, result.of
        ),
    }
}

fn time(t0_unix_ns: Option<i64>, plan: &Plan, evidence: &BTreeMap<FlowId, FlowEvidence>) -> Time {
    let skew = evidence
        .values()
        .filter_map(|flow| flow.tx.closed.as_ref()?.first_packet_ns)
        .max()
        .map(|ns| ns as f64 / 1e3);
    let t0 = t0_unix_ns
        .and_then(|ns| jiff::Timestamp::from_nanosecond(i128::from(ns)).ok())
        .map(|t0| format!("{t0:.9}"));
    Time {
        t0,
        t0_unix_ns,
        linger_s: plan.linger_ns as f64 / 1e9,
        start_skew_us: StartSkew {
            max: skew,
            bound: skew.and_then(|_| one_clock(plan)),
        },
    }
}

/// Bound of the error between the agents' clocks: none if all read one, else not known.
fn one_clock(plan: &Plan) -> Option<f64> {
    let clock = &plan.hosts.first()?.clock;
    let shared = !clock.is_empty() && plan.hosts.iter().all(|host| host.clock == *clock);
    shared.then_some(0.0)
}

/// The figures of one flow.
#[expect(
    clippy::too_many_lines,
    reason = "one line for each key of the document"
)]
fn describe(input: &Input<'_>, planned: &PlannedFlow, evidence: &FlowEvidence) -> Flow {
    let phase = input
        .plan
        .phase(planned.phase)
        .map_or_else(String::new, |p| p.name.clone());
    let tx = evidence.tx.closed.as_ref();
    let rx = evidence.rx.closed.as_ref();
    let (start, end) = window(planned, evidence);
    let seconds = end - start;
    let told = |side: &EndEvidence| match side.closed {
        Some(_) => seconds,
        None => (side.last_ns as f64 / 1e9 - start).clamp(0.0, seconds),
    };
    let scheduled = planned.offered_bps.is_some() || planned.offered_milli_pps.is_some();
    let offered = figures::offered(evidence.tx.window(), scheduled);
    let (sent, received) = figures::amounts(evidence);
    let tuples = tx
        .or(rx)
        .map(|closed| closed.tuples.clone())
        .unwrap_or_default();
    let rates = figures::rates(figures::Moved {
        offered,
        sent,
        received,
        seconds: (told(&evidence.tx), told(&evidence.rx)),
        transport: planned.transport,
        tuples: &tuples,
        segments: figures::segments(evidence),
    });
    let udp = planned.transport == Transport::Udp;
    let losses = figures::losses(evidence);
    let subject = Subject {
        flow: planned.id.0,
        transport: planned.transport,
        scheduled,
        interval_ns: input.plan.interval_ns,
        seconds,
        streams: planned.streams,
        excess: if udp { losses.excess } else { 0 },
    };
    let at = At {
        flow: planned,
        plan: input.plan,
        surroundings: input.surroundings,
    };
    let judgement = validity::judge(subject, evidence, at, &input.campaign.valid);
    let valid = judgement.reasons.is_empty();
    let mut reasons = judgement.reasons;
    let missing = missing(input, planned, evidence);
    let complete = missing.is_empty();
    reasons.extend(missing);
    let (delay_us, pdv_us) = rx.map_or((None, None), |rx| figures::delay(&rx.window));
    let (jitter_us, jitter) = rx.map_or((None, None), |rx| figures::jitter(&rx.window));
    let rx_counters = evidence.rx.window().filter(|_| udp);
    let cpu = figures::cpu(evidence, seconds, planned.streams);
    let tcp = (!udp).then(|| figures::tcp(evidence, seconds, planned.streams));
    let network = losses.lost.network.filter(|_| udp).unwrap_or(0);
    let lost_at = if network > 0 {
        input.surroundings.lost_at(input.plan, planned)
    } else {
        Vec::new()
    };
    let control: Vec<u64> = [tx, rx]
        .into_iter()
        .flatten()
        .filter_map(|closed| closed.control_packets)
        .collect();
    Flow {
        flow: planned.id.0,
        set: planned.set.clone(),
        key: planned.key.clone(),
        phase,
        repeat: planned.repeat,
        cell: Map::new(),
        round: None,
        from: planned.from.to_string(),
        to: planned.to.to_string(),
        from_asn: planned.from_asn.map(Value::from),
        to_asn: planned.to_asn.map(Value::from),
        transport: planned.transport.to_string(),
        tuples,
        reverse_of: planned.reverse_of.map(|flow| flow.0),
        valid,
        complete,
        reasons,
        warnings: judgement.warnings,
        limited: (!scheduled)
            .then(|| limited::by(evidence, planned.streams, cpu, tcp.as_ref()))
            .flatten()
            .map(str::to_owned),
        window_s: [start, end],
        duration_s: seconds,
        offered,
        sent,
        received,
        lost: udp.then_some(losses.lost),
        lost_detail: udp.then_some(losses.detail),
        lost_at,
        loss: losses.ratio.filter(|_| udp),
        late: rx_counters.and_then(|rx| rx.late),
        duplicate: rx_counters.and_then(|rx| rx.duplicate),
        reordered: rx_counters.and_then(|rx| rx.reordered),
        reorder_extent_max: rx
            .filter(|_| udp)
            .and_then(|rx| rx.window.reorder_extent_max),
        bursts: rx.filter(|_| udp).and_then(figures::bursts),
        outages: rx
            .filter(|_| udp)
            .and_then(|rx| figures::outages(rx, planned.streams)),
        corrupted: rx.and_then(|rx| rx.window.corrupt_packets),
        rate_bps: rates.received.map(|received| received.payload),
        rates_bps: rates,
        delay_us,
        jitter_us: jitter_us.filter(|_| udp),
        jitter: jitter.filter(|_| udp),
        pdv_us,
        rtt_us: tx.and_then(|tx| figures::rtt(&tx.window, planned.transport)),
        echo: figures::echo(evidence),
        lateness_us: tx
            .and_then(|tx| tx.window.lateness.as_ref())
            .and_then(figures::distribution),
        ttl: rx.and_then(|rx| figures::ttl(&rx.window)),
        dscp_seen: rx.and_then(|rx| rx.window.dscp_seen),
        ce: rx.filter(|_| udp).and_then(|rx| rx.window.ce),
        retransmits: tx.filter(|_| !udp).and_then(|tx| tx.window.retransmits),
        tcp,
        control_packets: control.into_iter().reduce(u64::saturating_add),
        path: figures::path(evidence),
        cpu,
    }
}

/// The measured window from T0 in seconds: the generator's, else the
/// receiver's, else the planned one.
fn window(planned: &PlannedFlow, evidence: &FlowEvidence) -> (f64, f64) {
    let (start_ns, length_ns) = match evidence.tx.closed.as_ref().or(evidence.rx.closed.as_ref()) {
        Some(closed) => (closed.window.start_ns, closed.window.length_ns),
        None => (
            planned.start_ns + planned.warmup_ns,
            planned.length_ns - planned.warmup_ns.min(planned.length_ns),
        ),
    };
    (
        start_ns as f64 / 1e9,
        start_ns.saturating_add(length_ns) as f64 / 1e9,
    )
}

/// Why a flow is not whole; empty when it is.
fn missing(input: &Input<'_>, planned: &PlannedFlow, evidence: &FlowEvidence) -> Vec<Reason> {
    let reason = |code: &str, end: Option<End>, text: String| Reason {
        code: code.into(),
        flow: Some(planned.id.0),
        end: end.map(|end| end.as_str().into()),
        value: None,
        limit: None,
        text,
    };
    if let Some(failure) = &evidence.failure {
        let text = format!("{} -> {}: {}", planned.from, planned.to, failure.reason);
        return vec![reason(&failure.code, Some(failure.end), text)];
    }
    if input.t0_unix_ns.is_none() {
        return vec![reason(
            "not-started",
            None,
            format!("{} did not start", planned.key),
        )];
    }
    let mut reasons: Vec<Reason> = Vec::new();
    for (end, agent) in [(End::Tx, &planned.from), (End::Rx, &planned.to)] {
        let seen = evidence.end(end);
        let (code, text) = match &seen.closed {
            None => {
                let why = seen.silence.as_deref().unwrap_or("no manifest came");
                ("unclosed", format!("{agent} did not close its end: {why}"))
            }
            Some(FlowClosed {
                ending: Ending::Failed { reason },
                ..
            }) => ("broken", format!("{agent}: {reason}")),
            Some(FlowClosed {
                ending: Ending::Stopped { reason },
                ..
            }) => ("stopped", format!("{agent}: stopped: {reason}")),
            Some(closed) if seen.rows < u64::from(closed.rows) => (
                "gap",
                format!(
                    "{} of {} rows of {agent} are stored",
                    seen.rows, closed.rows
                ),
            ),
            Some(_) => continue,
        };
        // A stop concerns both ends, and is told once.
        if code != "stopped" || reasons.iter().all(|told| told.code != code) {
            reasons.push(reason(code, Some(end), text));
        }
    }
    reasons
}

#[cfg(test)]
mod tests;
