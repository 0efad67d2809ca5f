//! Flow sets by phase: sums and spread over their valid flows.

use serde_json::Map;

use super::document::{Flow, Set, SetRate};
use crate::plan::Plan;

/// One entry per phase and flow set, in the order of the plan.
pub(super) fn summarise(plan: &Plan, flows: &[Flow]) -> Vec<Set> {
    let mut names: Vec<(&str, &str)> = Vec::new();
    for phase in &plan.phases {
        for flow in flows.iter().filter(|flow| flow.phase == phase.name) {
            let name = (flow.phase.as_str(), flow.set.as_str());
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
        .into_iter()
        .map(|(phase, set)| {
            let members: Vec<&Flow> = flows
                .iter()
                .filter(|flow| flow.phase == phase && flow.set == set)
                .collect();
            summary(phase, set, &members)
        })
        .collect()
}

fn summary(phase: &str, set: &str, members: &[&Flow]) -> Set {
    let valid: Vec<&&Flow> = members.iter().filter(|flow| flow.valid).collect();
    let mut rates: Vec<f64> = valid.iter().filter_map(|flow| flow.rate_bps).collect();
    rates.sort_by(f64::total_cmp);
    // In f64: what agents count is not trusted to add up within 64 bits.
    let sent: f64 = valid
        .iter()
        .filter_map(|flow| Some(flow.sent?.packets? as f64))
        .sum();
    let lost: Option<f64> = valid
        .iter()
        .filter_map(|flow| flow.lost)
        .map(|lost| lost.network.map(|network| network as f64))
        .sum();
    let udp = members.iter().any(|flow| flow.lost.is_some());
    Set {
        set: set.into(),
        phase: phase.into(),
        repeat: 1,
        cell: Map::new(),
        flows: members.len() as u32,
        valid: valid.len() as u32,
        rate_bps: SetRate {
            sum: (!rates.is_empty()).then(|| rates.iter().sum()),
            min: rates.first().copied(),
            median: median(&rates),
            max: rates.last().copied(),
            fairness: fairness(&rates),
        },
        loss: lost.filter(|_| udp && sent > 0.0).map(|lost| lost / sent),
    }
}

/// Median of sorted values.
fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// Jain's index (RFC 5166 section 2.2): (sum x)^2 / (n sum x^2).
fn fairness(rates: &[f64]) -> Option<f64> {
    let sum: f64 = rates.iter().sum();
    let squares: f64 = rates.iter().map(|rate| rate * rate).sum();
    (squares > 0.0).then(|| sum * sum / (rates.len() as f64 * squares))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fairness_is_one_when_equal_and_one_nth_when_one_has_all() {
        assert_eq!(fairness(&[5.0, 5.0, 5.0]), Some(1.0));
        assert_eq!(fairness(&[9.0, 0.0, 0.0]), Some(1.0 / 3.0));
        assert_eq!(fairness(&[]), None);
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[1.0, 2.0, 9.0]), Some(2.0));
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), Some(3.0));
    }
}
