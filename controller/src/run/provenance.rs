//! Where the figures come from: versions, hashes, hosts, methods.

use std::collections::BTreeMap;

use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};
use weir_common::observation::Observed;
use weir_experiment::analysis::Surroundings;
use weir_experiment::analysis::floor::Floor;
use weir_experiment::plan::Plan;

use crate::registry::AgentView;
use crate::store::RunRow;

/// What is known of the controller and its agents.
#[derive(Debug, Clone, Default)]
pub(super) struct Provenance {
    /// Agents at the time, by name.
    pub(super) agents: BTreeMap<String, AgentView>,
}

/// SHA-256 as hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    digest(&SHA256, bytes)
        .as_ref()
        .iter()
        .fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a string cannot fail");
            text
        })
}

impl Provenance {
    pub(super) fn of_run(
        &self,
        row: &RunRow,
        plan: &Plan,
        surroundings: &Surroundings,
        floors: &[Floor],
    ) -> Value {
        let source = &row.new.source;
        let observations = surroundings.observations();
        let agents: Vec<Value> = plan
            .everyone()
            .filter_map(|name| Some((self.agents.get(name.as_str())?, observations.get(name))))
            .map(|(view, observed)| agent(view, observed, plan))
            .collect();
        let plan_text = row.plan_json.as_deref().unwrap_or_default();
        json!({
            "weir": { "version": env!("CARGO_PKG_VERSION") },
            "campaign": {
                "file": source.file,
                "text": source.toml,
                "sha256": sha256(source.toml.as_bytes()),
                "argv": source.argv,
                "traces": plan.traces.iter().map(|trace| json!({
                    "file": trace.file,
                    "key": trace.of.key(),
                    "values": trace.values.len(),
                    "sha256": trace.sha256,
                })).collect::<Vec<_>>(),
            },
            "plan": { "sha256": sha256(plan_text.as_bytes()), "records_expected": plan.records_expected },
            "rng": { "seed": row.new.seed },
            "kernels": self.kernels(plan, surroundings),
            "agents": agents,
            "floor": floors,
            "observers": surroundings.observers(),
            "methods": {
                "linger_s": plan.linger_ns as f64 / 1e9,
                "interval_s": plan.interval_ns as f64 / 1e9,
                "histogram": "log-linear, 16 steps per octave, 0.1 us to 1000 s",
                "histogram_error": weir_common::stats::histogram::RELATIVE_ERROR,
            },
        })
    }

    fn kernels(&self, plan: &Plan, surroundings: &Surroundings) -> Vec<Value> {
        let mut kernels: BTreeMap<&str, (&AgentView, u32)> = BTreeMap::new();
        for name in plan.everyone() {
            if let Some(agent) = self.agents.get(name.as_str()) {
                kernels
                    .entry(&agent.inventory.kernel_boot_id)
                    .and_modify(|(_, count)| *count += 1)
                    .or_insert((agent, 1));
            }
        }
        kernels
            .into_iter()
            .map(|(boot_id, (agent, count))| {
                let inventory = &agent.inventory;
                let reporter = plan.reporter(boot_id);
                let told = reporter.and_then(|name| surroundings.observations().get(name));
                json!({
                    "boot_id": boot_id,
                    "release": inventory.kernel,
                    "machine": inventory.machine,
                    "distribution": known(&inventory.distribution),
                    "cpu_model": known(&inventory.cpu_model),
                    "cores": inventory.cores,
                    "hypervisor": known(&inventory.hypervisor),
                    "clocksource": known(&inventory.clocksource),
                    "tcp_congestion_control": inventory.congestion_control,
                    "sysctls": inventory.sysctls.iter().collect::<BTreeMap<_, _>>(),
                    "agents": count,
                    "told_by": reporter,
                    "load": told.and_then(|told| told.load_milli).map(|milli| milli as f64 / 1e3),
                    "phases": surroundings.kernel_summary(boot_id, plan),
                })
            })
            .collect()
    }
}

/// A text that is known; null otherwise.
fn known(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn agent(view: &AgentView, observed: Option<&Observed>, plan: &Plan) -> Value {
    let inventory = &view.inventory;
    let interfaces = inventory.interfaces.iter().map(|interface| {
        json!({
            "name": interface.name,
            "addresses": interface.addresses,
            "mtu": interface.mtu,
            "driver": known(&interface.driver),
            "qdisc": interface.qdisc,
            "qdiscs": interface.qdiscs,
            "offloads": interface.offloads,
        })
    });
    let mut agent = json!({
        "name": view.row.name.as_str(),
        "labels": view.row.labels,
        "observer": plan.observer(&view.row.name).is_some(),
        "version": inventory.version,
        "binary_sha256": known(&inventory.binary_sha256),
        "cpu_quota_milli": inventory.cpu_quota_milli,
        "cpu_set": known(&inventory.cpu_set),
        "stream_cpus": known(&inventory.stream_cpus),
        "capabilities": inventory.capabilities,
        "time_namespace": inventory.time_namespace,
        "clock_domain": known(&inventory.clock_domain),
        "timer_slack_ns": inventory.timer_slack_ns,
        "interfaces": interfaces.collect::<Vec<_>>(),
    });
    if let (Some(observed), Some(agent)) = (observed, agent.as_object_mut()) {
        add_observed(agent, observed);
    }
    agent
}

/// What the agent saw while the run went on.
fn add_observed(agent: &mut Map<String, Value>, observed: &Observed) {
    let routes = observed.routes.iter().map(
        |route| json!({ "to": route.target, "at_start": route.at_start, "at_end": route.at_end }),
    );
    agent.insert("routes".into(), routes.collect());
    agent.insert(
        "observed".into(),
        json!({
            "link_rows": observed.links,
            "kernel_rows": observed.kernels,
            "interfaces_left_out": observed.interfaces_left_out,
        }),
    );
}
