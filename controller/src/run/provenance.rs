//! Where the figures come from: versions, hashes, hosts, methods.

use std::collections::BTreeMap;

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
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
fn sha256(bytes: &[u8]) -> String {
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
    pub(super) fn of_run(&self, row: &RunRow, plan: &Plan) -> Value {
        let source = &row.new.source;
        let agents: Vec<Value> = plan
            .agents()
            .filter_map(|name| self.agents.get(name.as_str()))
            .map(|agent| {
                let inventory = &agent.inventory;
                json!({
                    "name": agent.row.name.as_str(),
                    "labels": agent.row.labels,
                    "version": inventory.version,
                    "cpu_quota_milli": inventory.cpu_quota_milli,
                    "capabilities": inventory.capabilities,
                    "time_namespace": inventory.time_namespace,
                    "interfaces": inventory.interfaces.iter().map(|interface| json!({
                        "name": interface.name,
                        "addresses": interface.addresses,
                        "mtu": interface.mtu,
                        "qdisc": interface.qdisc,
                    })).collect::<Vec<_>>(),
                })
            })
            .collect();
        let plan_text = row.plan_json.as_deref().unwrap_or_default();
        json!({
            "weir": { "version": env!("CARGO_PKG_VERSION") },
            "campaign": {
                "file": source.file,
                "text": source.toml,
                "sha256": sha256(source.toml.as_bytes()),
                "argv": source.argv,
            },
            "plan": { "sha256": sha256(plan_text.as_bytes()), "records_expected": plan.records_expected },
            "rng": { "seed": row.new.seed },
            "kernels": self.kernels(plan),
            "agents": agents,
            "methods": {
                "linger_s": plan.linger_ns as f64 / 1e9,
                "interval_s": plan.interval_ns as f64 / 1e9,
                "histogram": "log-linear, 16 steps per octave, 0.1 us to 1000 s",
                "histogram_error": weir_common::stats::histogram::RELATIVE_ERROR,
            },
        })
    }

    fn kernels(&self, plan: &Plan) -> Vec<Value> {
        let mut kernels: BTreeMap<&str, (&AgentView, u32)> = BTreeMap::new();
        for name in plan.agents() {
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
                json!({
                    "boot_id": boot_id,
                    "release": agent.inventory.kernel,
                    "machine": agent.inventory.machine,
                    "cores": agent.inventory.cores,
                    "tcp_congestion_control": agent.inventory.congestion_control,
                    "agents": count,
                })
            })
            .collect()
    }
}
