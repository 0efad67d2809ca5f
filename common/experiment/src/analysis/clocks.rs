//! How the clocks of each pair of hosts stand, as their flows found it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_common::id::FlowId;

use super::evidence::FlowEvidence;
use super::figures::relation;
use crate::plan::Plan;

/// The provenance with its `clocks`: the relation of each pair whose flows measured
/// one-way delay, with the widest bound of them, and the steps of wall clocks that
/// receivers saw. Without either, as it was.
pub(super) fn told(
    mut provenance: Value,
    plan: &Plan,
    evidence: &BTreeMap<FlowId, FlowEvidence>,
) -> Value {
    let mut pairs: BTreeMap<(&str, &str), Option<u64>> = BTreeMap::new();
    let mut steps = Vec::new();
    for flow in &plan.flows {
        let closed = evidence.get(&flow.id).and_then(|it| it.rx.closed.as_ref());
        let Some(window) = closed.map(|closed| &closed.window) else {
            continue;
        };
        if let Some(step_ns) = window.clock_step_ns.filter(|&ns| ns > 0) {
            steps.push(json!({ "flow": flow.id, "end": "rx", "step_us": step_ns as f64 / 1e3 }));
        }
        if window.delay.is_some() {
            let bound_ns = window.delay_bound_ns;
            pairs
                .entry((flow.from.as_str(), flow.to.as_str()))
                // What is not known of one flow is not known of the pair.
                .and_modify(|widest| *widest = widest.zip(bound_ns).map(|(a, b)| a.max(b)))
                .or_insert(bound_ns);
        }
    }
    if pairs.is_empty() && steps.is_empty() {
        return provenance;
    }
    let pairs: Vec<Value> = pairs
        .into_iter()
        .map(|((from, to), bound_ns)| {
            json!({
                "from": from,
                "to": to,
                "relation": relation(bound_ns),
                "bound_us": bound_ns.map(|ns| ns as f64 / 1e3),
            })
        })
        .collect();
    if let Some(map) = provenance.as_object_mut() {
        map.insert("clocks".into(), json!({ "pairs": pairs, "steps": steps }));
    }
    provenance
}
