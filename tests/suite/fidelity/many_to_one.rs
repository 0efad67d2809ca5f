//! Many generators, one receiver, one port: each flow has its own figures.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use weir_common::record::End;
use weir_lab::Topology;
use weir_tests::{Cluster, Ground, needs};

use super::check::forget;
use super::{RECEIVER, flows, number, run_line};

const GENERATORS: usize = 8;

#[test]
fn eight_generators_into_one_port_are_eight_flows() {
    needs!(Ground::Lab);
    let topology = Topology::new("many")
        .exchange("ix100")
        .asn(150, |a| a.join("ix100").hosts("gen", GENERATORS))
        .asn(162, |a| a.join("ix100").host("host"))
        .count();
    let names: Vec<String> = (1..=GENERATORS).map(|n| format!("150-gen-{n}")).collect();
    let mut hosts: Vec<&str> = names.iter().map(String::as_str).collect();
    hosts.push(RECEIVER);
    let cluster = Cluster::in_lab(&topology, &hosts);
    for traffic in [
        "--udp 200pkt/s --size 200 --arrival exponential",
        "--udp 400kbit/s --streams 2",
        "--tcp 2M",
    ] {
        forget(&cluster, &hosts);
        let line = format!("--from asn=150 --to {RECEIVER} {traffic} --for 1.5s --interval 500ms");
        let (document, account) = run_line(&cluster, &line, 0);
        assert_eq!(flows(&document).len(), GENERATORS, "{traffic}");
        let mut ports = BTreeSet::new();
        let mut sources = BTreeSet::new();
        for flow in flows(&document) {
            for tuple in flow["tuples"].as_array().expect("a flow has tuples") {
                let (source, target) = tuple.as_str().and_then(|t| t.split_once('>')).expect("a>b");
                let source: SocketAddr = source.parse().expect("an address and a port");
                let target: SocketAddr = target.parse().expect("an address and a port");
                ports.insert(target.port());
                assert!(sources.insert(source), "{source} twice");
                let from = cluster
                    .lab()
                    .address(flow["from"].as_str().expect("a name"));
                assert_eq!(source.ip(), from.expect("a host"), "{flow:#}");
            }
            assert!(number(flow, "/received/bytes") > 0, "{flow:#}");
        }
        assert_eq!(ports.len(), 1, "{traffic}: one port serves all: {ports:?}");
        if traffic.starts_with("--udp") {
            let amounts = each_flow_is_the_kernels(&cluster, &account, &document);
            let drawn = traffic.contains("exponential");
            assert!(
                !drawn || amounts > 1,
                "each generator draws its own Poisson process"
            );
        }
    }
}

/// What arrived from each source is what the flow of that source says; gives how many
/// different amounts there are.
fn each_flow_is_the_kernels(
    cluster: &Cluster,
    account: &weir_tests::Account,
    document: &serde_json::Value,
) -> usize {
    let input = cluster
        .lab()
        .counters(RECEIVER)
        .expect("hosts are counted")
        .udp()
        .input();
    let mut amounts = BTreeSet::new();
    for flow in flows(document) {
        let from = flow["from"].as_str().expect("a name");
        let source = cluster.lab().address(from).expect("a host");
        let closed = &account[&(number(flow, "/flow") as u32, End::Rx)].closed;
        let received = closed.total.rx_packets.expect("a receiver counts");
        let control = closed.control_packets.expect("UDP has it");
        assert_eq!(
            input.clone().from(source).packets(),
            received + control,
            "{from}"
        );
        amounts.insert(received);
    }
    amounts.len()
}
