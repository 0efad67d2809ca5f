//! The list of agents.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_proto::controller::v1::Agent;
use weir_proto::types::v1::Inventory;

use super::figure::length;
use super::table::{Align, Table};
use super::text::plural;

/// So many addresses of a host are shown; `--json` has all.
const ADDRESSES_MOST: usize = 3;

/// The agents, by name.
pub(crate) fn lines(agents: &[Agent], selector: &str) -> Vec<String> {
    if agents.is_empty() {
        return vec![if selector.is_empty() {
            "no agents yet: `weir serve` prints the line with which one joins".to_owned()
        } else {
            format!("no agent matches `{selector}`; `weir agents` shows all")
        }];
    }
    let mut table = Table::new([
        ("agent", Align::Left),
        ("state", Align::Left),
        ("labels", Align::Left),
        ("addresses", Align::Left),
        ("cores", Align::Right),
        ("kernel", Align::Left),
        ("runs", Align::Left),
    ]);
    for agent in agents {
        let inventory = agent.inventory.clone().unwrap_or_default();
        table.row([
            agent.name.clone(),
            state(agent),
            labels(agent),
            addresses(&inventory),
            cores(&inventory),
            kernel(&inventory),
            agent.runs.join(" "),
        ]);
    }
    let mut kernels: Vec<String> = agents
        .iter()
        .filter_map(|agent| agent.inventory.as_ref())
        .map(|inventory| inventory.kernel_boot_id.clone())
        .filter(|kernel| !kernel.is_empty())
        .collect();
    kernels.sort_unstable();
    kernels.dedup();
    let mut lines = table.lines();
    let on = if kernels.is_empty() {
        String::new()
    } else {
        format!(" on {}", plural(kernels.len(), "kernel"))
    };
    lines.push(format!("{}{on}", plural(agents.len(), "agent")));
    lines
}

fn state(agent: &Agent) -> String {
    if agent.silent_ms == 0 {
        agent.state.clone()
    } else {
        format!(
            "{} {}",
            agent.state,
            length((agent.silent_ms / 1_000) as f64)
        )
    }
}

fn labels(agent: &Agent) -> String {
    let labels: BTreeMap<_, _> = agent.labels.iter().collect();
    labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Addresses of the host, those of the loopback interface left out, without their prefix length.
fn addresses(inventory: &Inventory) -> String {
    let mut addresses: Vec<&str> = inventory
        .interfaces
        .iter()
        .filter(|interface| interface.name != "lo")
        .flat_map(|interface| &interface.addresses)
        .map(|address| address.split('/').next().unwrap_or(address))
        .filter(|address| !address.starts_with("fe80:"))
        .collect();
    let more = addresses.len().saturating_sub(ADDRESSES_MOST);
    addresses.truncate(ADDRESSES_MOST);
    let shown = addresses.join(" ");
    if more > 0 {
        format!("{shown} +{more}")
    } else {
        shown
    }
}

/// The cores, what a quota leaves of them, and to which the streams are kept.
fn cores(inventory: &Inventory) -> String {
    let cores = match (inventory.cores, inventory.cpu_quota_milli) {
        (0, _) => "-".to_owned(),
        (cores, None) => cores.to_string(),
        (cores, Some(milli)) => format!("{:.1} of {cores}", milli as f64 / 1e3),
    };
    match inventory.stream_cpus.as_str() {
        "" => cores,
        cpus => format!("{cores} (cpus {cpus})"),
    }
}

/// The release, and the beginning of the boot id: equal for hosts that share a kernel.
fn kernel(inventory: &Inventory) -> String {
    let boot: String = inventory.kernel_boot_id.chars().take(4).collect();
    if boot.is_empty() {
        inventory.kernel.clone()
    } else {
        format!("{} ({boot})", inventory.kernel)
    }
}

/// The agents as a document.
pub(crate) fn document(agents: &[Agent]) -> Value {
    let agents = agents.iter().map(|agent| {
        let labels: BTreeMap<_, _> = agent.labels.iter().collect();
        json!({
            "agent": agent.name,
            "labels": labels,
            "state": agent.state,
            "silent_s": agent.silent_ms as f64 / 1e3,
            "generation": agent.generation,
            "runs": agent.runs,
            "inventory": agent.inventory.as_ref().map(inventory),
        })
    });
    json!({ "schema": "weir.agents/1", "agents": agents.collect::<Vec<_>>() })
}

fn inventory(inventory: &Inventory) -> Value {
    let interfaces = inventory.interfaces.iter().map(|interface| {
        json!({
            "name": interface.name,
            "addresses": interface.addresses,
            "mtu": interface.mtu,
            "qdisc": interface.qdisc,
            "state": interface.state,
        })
    });
    json!({
        "kernel": inventory.kernel,
        "kernel_boot_id": inventory.kernel_boot_id,
        "time_namespace": inventory.time_namespace,
        "interfaces": interfaces.collect::<Vec<_>>(),
        "cores": inventory.cores,
        "cpu_quota_milli": inventory.cpu_quota_milli,
        "cpu_set": inventory.cpu_set,
        "stream_cpus": inventory.stream_cpus,
        "capabilities": inventory.capabilities,
        "congestion_controls": inventory.congestion_controls,
        "congestion_control": inventory.congestion_control,
        "gso": inventory.gso,
        "gro": inventory.gro,
        "version": inventory.version,
        "machine": inventory.machine,
        "max_sessions": inventory.max_sessions,
    })
}

#[cfg(test)]
mod tests {
    use weir_proto::types::v1::Interface;

    use super::*;

    fn agent() -> Agent {
        let interface = |name: &str, addresses: &[&str]| Interface {
            name: name.to_owned(),
            addresses: addresses
                .iter()
                .map(|address| (*address).to_owned())
                .collect(),
            ..Interface::default()
        };
        Agent {
            name: "150-host_0".to_owned(),
            labels: [("role", "host"), ("asn", "150")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            state: "alive".to_owned(),
            inventory: Some(Inventory {
                kernel: "6.1.0".to_owned(),
                kernel_boot_id: "3f2a77".to_owned(),
                interfaces: vec![
                    interface("lo", &["127.0.0.1/8"]),
                    interface("eth0", &["10.150.0.71/24", "fe80::1/64"]),
                ],
                cores: 2,
                ..Inventory::default()
            }),
            ..Agent::default()
        }
    }

    #[test]
    fn agents_are_a_table() {
        let mut lost = agent();
        lost.name = "evil\u{1b}[2J".to_owned();
        lost.state = "lost".to_owned();
        lost.silent_ms = 75_400;
        lost.inventory = None;
        assert_eq!(
            lines(&[agent(), lost], ""),
            [
                "agent          state            labels             addresses    cores  kernel        runs",
                "150-host_0     alive            asn=150 role=host  10.150.0.71      2  6.1.0 (3f2a)",
                "evil\\u{1b}[2J  lost 1 min 15 s  asn=150 role=host                   -",
                "2 agents on 1 kernel",
            ]
        );
        assert_eq!(document(&[agent()])["agents"][0]["labels"]["asn"], "150");
    }

    #[test]
    fn a_quota_and_the_cpus_of_the_streams_stand_beside_the_cores() {
        let inventory = |cpu_quota_milli, stream_cpus: &str| Inventory {
            cores: 4,
            cpu_quota_milli,
            stream_cpus: stream_cpus.to_owned(),
            ..Inventory::default()
        };
        assert_eq!(cores(&inventory(None, "")), "4");
        assert_eq!(cores(&inventory(None, "0-1")), "4 (cpus 0-1)");
        assert_eq!(cores(&inventory(Some(500), "3")), "0.5 of 4 (cpus 3)");
    }

    #[test]
    fn nobody_is_said_with_the_way_out() {
        assert!(lines(&[], "")[0].contains("weir serve"));
        assert!(lines(&[], "asn=1")[0].contains("asn=1"));
    }
}
