//! Expectations against the figures: `loss <= 1%`.

use weir_common::campaign::{Each, Expectation, Metric, Operator};

use super::document::{Distribution, ExpectationResult, Flow};

/// One measured value and the flow it stands for.
struct Sample {
    flow: Option<u32>,
    value: Option<f64>,
}

/// Evaluates one expectation over all flows. Invalid flows are left out and
/// counted; a flow without the figure does not hold.
pub(super) fn evaluate(expectation: &Expectation, flows: &[Flow]) -> ExpectationResult {
    let named = |flow: &&Flow| {
        expectation
            .phase
            .as_ref()
            .is_none_or(|phase| *phase == flow.phase)
            && expectation.set.as_ref().is_none_or(|set| *set == flow.set)
            && applies(expectation.metric, flow)
    };
    let (valid, invalid): (Vec<&Flow>, Vec<&Flow>) =
        flows.iter().filter(named).partition(|flow| flow.valid);
    let samples = match expectation.each {
        // With one repeat, a pair is its flow.
        Each::Flow | Each::Pair => valid
            .iter()
            .map(|flow| Sample {
                flow: Some(flow.flow),
                value: measure(expectation.metric, flow),
            })
            .collect(),
        Each::Set => summed(expectation.metric, &valid),
    };
    let bound = expectation.bound.value();
    let holds = |sample: &Sample| {
        sample
            .value
            .is_some_and(|value| expectation.operator.holds(value, bound))
    };
    let held = samples.iter().filter(|sample| holds(sample)).count() as u32;
    let of = samples.len() as u32;
    let worst = samples.iter().min_by(|a, b| {
        badness(expectation.operator, bound, b).total_cmp(&badness(expectation.operator, bound, a))
    });
    ExpectationResult {
        phase: expectation.phase.clone(),
        set: expectation.set.clone(),
        that: expectation.that(),
        each: expectation.each.as_str().into(),
        level: expectation.level.as_str().into(),
        measured: worst.and_then(|sample| sample.value),
        worst: worst.and_then(|sample| sample.flow),
        held,
        of,
        invalid_excluded: invalid.len() as u32,
        pass: of > 0 && held == of,
    }
}

/// How far on the wrong side; a missing value is the worst of all.
fn badness(operator: Operator, bound: f64, sample: &Sample) -> f64 {
    let Some(value) = sample.value else {
        return f64::INFINITY;
    };
    match operator {
        Operator::AtMost | Operator::Below => value - bound,
        Operator::AtLeast | Operator::Above => bound - value,
        Operator::Equal => (value - bound).abs(),
    }
}

/// Whether flows of this kind have the metric at all.
fn applies(metric: Metric, flow: &Flow) -> bool {
    match metric {
        Metric::Rate => true,
        Metric::SentRatio | Metric::LatenessP99 => flow.offered.is_some(),
        Metric::RttP99 => flow.transport == "tcp" || flow.echo.is_some(),
        Metric::Retransmits | Metric::SetupP95 => flow.transport == "tcp",
        Metric::Loss
        | Metric::LossEgress
        | Metric::LossReceiver
        | Metric::DelayP99
        | Metric::PdvP99
        | Metric::Jitter
        | Metric::OutageMax
        | Metric::OutageSum => flow.transport == "udp",
    }
}

/// A metric of one flow in its unit: ratio, bit/s, s, count.
fn measure(metric: Metric, flow: &Flow) -> Option<f64> {
    let sent = || {
        flow.sent
            .and_then(|sent| sent.packets)
            .filter(|&sent| sent > 0)
    };
    let share = |part: Option<u64>| Some(part? as f64 / sent()? as f64);
    let seconds = |us: Option<f64>| us.map(|us| us / 1e6);
    match metric {
        Metric::Loss => flow.loss,
        Metric::LossEgress => share(flow.lost_detail?.egress),
        Metric::LossReceiver => share(flow.lost?.receiver),
        Metric::Rate => flow.rate_bps,
        Metric::SentRatio => sent_ratio(&[flow]),
        Metric::DelayP99 => seconds(known_delay(flow).map(|delay| delay.p99)),
        Metric::PdvP99 => seconds(flow.pdv_us.map(|pdv| pdv.p99)),
        Metric::Jitter => seconds(flow.jitter_us),
        Metric::RttP99 => seconds(flow.rtt_us.as_ref().map(|rtt| rtt.p99)),
        Metric::Retransmits => flow.retransmits.map(|count| count as f64),
        Metric::SetupP95 => seconds(
            flow.tcp
                .as_ref()
                .and_then(|tcp| tcp.setup_us)
                .map(|us| us as f64),
        ),
        Metric::OutageMax => flow.outages.as_ref().map(|outages| outages.max_s),
        Metric::OutageSum => flow.outages.as_ref().map(|outages| outages.sum_s),
        Metric::LatenessP99 => seconds(flow.lateness_us.as_ref().map(|lateness| lateness.p99)),
    }
}

/// The delay, if it is one: that of `relative` clocks counts from an unknown zero.
fn known_delay(flow: &Flow) -> Option<&Distribution> {
    let delay = flow.delay_us.as_ref()?;
    (delay.clock.as_deref() != Some("relative")).then_some(delay)
}

/// Sent of offered: packets for UDP, bytes for TCP.
fn sent_ratio(flows: &[&Flow]) -> Option<f64> {
    let mut sums = (0.0, 0.0);
    for flow in flows {
        let (sent, offered) = (flow.sent?, flow.offered?);
        let pair = match (sent.packets, offered.packets) {
            (Some(sent), Some(offered)) => (sent, offered),
            _ => (sent.bytes?, offered.bytes?),
        };
        sums = (sums.0 + pair.0 as f64, sums.1 + pair.1 as f64);
    }
    (sums.1 > 0.0).then(|| sums.0 / sums.1)
}

/// One sample per set and phase: counts and rates summed, times by their worst flow.
fn summed(metric: Metric, flows: &[&Flow]) -> Vec<Sample> {
    let mut groups: Vec<((&str, &str), Vec<&Flow>)> = Vec::new();
    for flow in flows {
        let name = (flow.phase.as_str(), flow.set.as_str());
        match groups.iter_mut().find(|(group, _)| *group == name) {
            Some((_, members)) => members.push(flow),
            None => groups.push((name, vec![flow])),
        }
    }
    groups
        .into_iter()
        .map(|(_, members)| Sample {
            flow: None,
            value: sum(metric, &members),
        })
        .collect()
}

fn sum(metric: Metric, flows: &[&Flow]) -> Option<f64> {
    // In f64: what agents count is not trusted to add up within 64 bits.
    let packets = |pick: fn(&Flow) -> Option<u64>| {
        flows
            .iter()
            .map(|flow| Some(pick(flow)? as f64))
            .sum::<Option<f64>>()
    };
    let sent = || packets(|flow| flow.sent?.packets).filter(|&sent| sent > 0.0);
    let share = |part: Option<f64>| Some(part? / sent()?);
    match metric {
        Metric::Loss => share(packets(|flow| flow.lost?.network)),
        Metric::LossEgress => share(packets(|flow| flow.lost_detail?.egress)),
        Metric::LossReceiver => share(packets(|flow| flow.lost?.receiver)),
        Metric::SentRatio => sent_ratio(flows),
        Metric::Rate | Metric::Retransmits => flows.iter().map(|flow| measure(metric, flow)).sum(),
        Metric::DelayP99
        | Metric::PdvP99
        | Metric::Jitter
        | Metric::RttP99
        | Metric::SetupP95
        | Metric::OutageMax
        | Metric::OutageSum
        | Metric::LatenessP99 => flows
            .iter()
            .map(|flow| measure(metric, flow))
            .collect::<Option<Vec<f64>>>()?
            .into_iter()
            .reduce(f64::max),
    }
}
