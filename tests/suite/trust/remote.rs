//! Agents and a controller that share no file system: over TLS through a network.

use std::process::Command;

use weir_lab::{Lab, Topology};
use weir_tests::ground::Ground;
use weir_tests::{Cluster, Doors, binary, needs};

fn lab(topology: &Topology) -> Lab {
    Lab::up(topology).unwrap_or_else(|error| panic!("{error}"))
}

/// Starts an agent in each host, which is its name, and runs traffic from the first
/// to the second.
fn enrol_and_run(cluster: &mut Cluster, doors: &Doors, hosts: [&str; 2]) {
    let token = cluster.token(hosts.len());
    for host in hosts {
        let command = cluster.lab().command(host, binary("weir-agent"));
        let command = command.unwrap_or_else(|error| panic!("{error}"));
        cluster.launch_at(doors, &token, host, command);
    }
    cluster.await_agents(hosts.len());
    let [from, to] = hosts;
    let line = format!(
        "--from {from} --to {to} --interval 100ms --udp 200pkt/s --size 200 --for 2s \
         --with --tcp 1M --ignore behind,frozen"
    );
    let (code, document) = cluster.run(&line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(code, 0, "{document:#}");
    let ledger = &document["ledger"];
    // Two ends of two flows, each with 20 intervals.
    assert_eq!(ledger["expected"], 80, "{ledger}");
    assert_eq!(ledger["stored"], 80, "{ledger}");
    for flow in document["flows"].as_array().expect("a result has flows") {
        assert!(flow["received"]["bytes"].as_u64() > Some(0), "{flow:#}");
    }
}

#[test]
fn an_address_beyond_loopback_is_reached_over_tls() {
    needs!(Ground::Lab);
    let topology = Topology::new("remote")
        .exchange("ix100")
        .asn(150, |a| a.join("ix100").host("host"))
        .asn(151, |a| a.join("ix100").host("host"))
        .asn(162, |a| a.join("ix100").host("controller"));
    let lab = lab(&topology);
    let address = lab.address("162-controller");
    let address = address.unwrap_or_else(|error| panic!("{error}"));
    let mut cluster = Cluster::in_node(lab, "162-controller");
    let doors = Doors::of(&format!("tcp://{address}"));
    enrol_and_run(&mut cluster, &doors, ["150-host", "151-host"]);
    for host in ["150-host", "151-host"] {
        assert!(cluster.agent_data(host).join("tls.pem").exists(), "{host}");
    }
}

/// The machine that emulates a network has the first address of each of its parts.
#[test]
fn gateway_is_the_first_address_of_ones_own_network() {
    needs!(Ground::Lab);
    let topology = Topology::new("gateway").asn(150, |a| a.host("one").host("two"));
    let lab = lab(&topology);
    let namespace = lab.namespace("150-router");
    let namespace = namespace.unwrap_or_else(|error| panic!("{error}"));
    let status = Command::new("ip")
        .args(["-n", &namespace, "address", "add", "10.150.0.1/24", "dev"])
        .arg("net0")
        .status();
    assert!(status.expect("ip is there").success());
    let mut cluster = Cluster::in_node(lab, "150-router");
    enrol_and_run(&mut cluster, &Doors::of("gateway"), ["150-one", "150-two"]);
}
