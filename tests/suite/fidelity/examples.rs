//! The campaigns of the documentation run, as files and as the command lines
//! that stand in them, and what was planned is what is run.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use weir_lab::{Shape, Topology};
use weir_tests::{Cluster, Ground, binary, needs};

use super::{conserved, figure, flows, number};

/// Three ASes as in SEED's first traffic example.
fn three_systems() -> Topology {
    Topology::new("seed")
        .exchange("ix100")
        .asn(150, |a| a.join("ix100").host("iperf-generator"))
        .asn(162, |a| a.join("ix100").host("iperf-receiver-1"))
        .asn(171, |a| {
            let slow = Shape::mbit(50);
            a.join("ix100").host("iperf-receiver-2").access(slow)
        })
        .count()
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs/examples")
        .join(name)
}

/// An example with every length of time shortened to 2 s, and its command line
/// with them. In so short a time one stall of a busy machine is more than the share
/// of packets that may be late, so it is recorded and decides nothing.
fn shortened(cluster: &Cluster, name: &str) -> (PathBuf, Option<String>) {
    let text = fs::read_to_string(example(name)).expect("an example");
    let mut command = String::new();
    let mut file = String::new();
    for line in text.lines() {
        if let Some(words) = line.strip_prefix('#') {
            let words = words.trim();
            if words.starts_with("weir run") || command.ends_with('\\') {
                command = command.trim_end_matches('\\').to_owned() + words;
            }
        }
        let is_length = line
            .split('=')
            .next()
            .is_some_and(|key| key.trim() == "for");
        file.push_str(if is_length { "for = \"2s\"" } else { line });
        file.push('\n');
    }
    file.push_str("[valid]\nignore = [\"behind\", \"frozen\"]\n");
    let path = cluster.directory().join(name);
    fs::write(&path, file).expect("a shorter example");
    let words: Vec<&str> = command.split(' ').collect();
    let mut short = words.clone();
    for at in 1..words.len() {
        if words[at - 1] == "--for" {
            short[at] = "2s";
        }
    }
    let line = short.join(" ") + " --ignore behind,frozen";
    (path, (!command.is_empty()).then_some(line))
}

/// A command line as a person types it: by a shell, so that quotes are seen.
fn typed(cluster: &Cluster, line: &str, more: &str) -> (i32, Value) {
    let program = binary("weir").display().to_string();
    let words = line.strip_prefix("weir").expect("a line of weir");
    let output = std::process::Command::new("sh")
        .args(["-c", &format!("'{program}'{words} {more}")])
        .env("WEIR_CONTROLLER", cluster.operator_endpoint())
        .output()
        .expect("a shell");
    let document = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{line}: {error}: {output:?}"));
    (output.status.code().unwrap_or(128), document)
}

/// Plans and runs an example both ways; what was planned is what is stored.
fn both_ways(cluster: &Cluster, name: &str) -> Vec<Value> {
    let (file, line) = shortened(cluster, name);
    let file = file.display().to_string();
    let line = line.unwrap_or_else(|| panic!("{name} has no command line"));
    let mut documents = Vec::new();
    for line in [format!("weir run {file}"), line] {
        let plan = typed(cluster, &line.replacen("run", "plan", 1), "--json");
        assert_eq!(plan.0, 0, "{line}: {:#}", plan.1);
        let (code, document) = typed(cluster, &line, "--json");
        assert_eq!(code, 0, "{line}: {document:#}");
        assert_eq!(document["verdict"], "pass", "{line}");
        conserved(cluster, &document);
        let planned = &plan.1;
        assert_eq!(
            number(planned, "/records/expected"),
            number(&document, "/ledger/stored"),
            "{line}"
        );
        let keys = |document: &Value| -> Vec<Value> {
            let flows = document["flows"].as_array().expect("flows");
            flows.iter().map(|flow| flow["key"].clone()).collect()
        };
        assert_eq!(keys(planned), keys(&document), "{line}");
        documents.push(document);
    }
    documents
}

#[test]
fn the_examples_of_three_systems_run() {
    needs!(Ground::Lab);
    let topology = three_systems();
    let hosts = [
        "150-iperf-generator",
        "162-iperf-receiver-1",
        "171-iperf-receiver-2",
    ];
    let cluster = Cluster::in_lab(&topology, &hosts);
    for document in both_ways(&cluster, "seed-0-iperf.toml") {
        let [to_162, to_171] = flows(&document) else {
            panic!("two flows: {document:#}")
        };
        let slow = figure(to_171, "/rate_bps");
        assert!(
            (2e7..5e7).contains(&slow),
            "{slow} bit/s over an access link of 50 Mbit/s"
        );
        assert!(figure(to_162, "/rate_bps") > slow, "{document:#}");
    }
    for document in both_ways(&cluster, "as150-to-162-171.toml") {
        assert_eq!(flows(&document).len(), 4);
        assert_eq!(document["expectations"][0]["pass"], true);
        assert_eq!(number(&document, "/expectations/0/of"), 2, "two UDP flows");
    }
    for document in both_ways(&cluster, "demo.toml") {
        assert_eq!(flows(&document).len(), 4);
    }
}

#[test]
fn the_example_of_two_kinds_of_traffic_runs() {
    needs!(Ground::Lab);
    let lab = weir_lab::Lab::up(&super::two_hosts()).expect("a lab");
    let mut cluster = Cluster::around(lab);
    cluster.start_agent_as(super::GENERATOR, "multi-traffic-generator");
    cluster.start_agent_as(super::RECEIVER, "multi-traffic-receiver");
    cluster.await_agents(2);
    for document in both_ways(&cluster, "seed-3-multi.toml") {
        let [udp, tcp] = flows(&document) else {
            panic!("two flows: {document:#}")
        };
        assert_eq!(number(udp, "/offered/packets"), 6_000);
        assert_eq!(number(tcp, "/sent/bytes"), 750, "3 kbit/s for 2 s");
    }
}

#[test]
fn what_is_planned_is_what_is_stored() {
    needs!(Ground::Lab);
    let cluster = super::on_two_hosts();
    for line in [
        "--udp 1M --for 1s --interval 300ms",
        "--udp 1M --for 1s --interval 300ms --streams 3 --warmup 100ms",
        "--tcp 2M --for 700ms --interval 200ms --streams 2 --both --then --udp 1M --for 500ms --pause 0s",
    ] {
        let line = format!(
            "--from {} --to {} {line}",
            super::GENERATOR,
            super::RECEIVER
        );
        let planned = cluster.weir(&[vec!["plan", "--json"], super::words(&line)].concat());
        assert_eq!(planned.code, 0, "{planned:?}");
        let planned = planned.json();
        let (document, _) = super::run_line(&cluster, &line, 0);
        assert_eq!(
            number(&planned, "/records/expected"),
            number(&document, "/ledger/stored"),
            "{line}"
        );
        for (planned, flow) in flows(&planned).iter().zip(flows(&document)) {
            for name in ["flow", "set", "key", "phase", "from", "to", "transport"] {
                assert_eq!(planned[name], flow[name], "{line}");
            }
        }
    }
}
