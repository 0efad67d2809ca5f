//! The audit log of a controller that people and agents really spoke with.

use std::fs;
use std::process::Command;

use serde_json::Value;
use weir_tests::{Cluster, Process, binary, eventually};

use crate::faults::SOON;

fn entries(cluster: &Cluster) -> Vec<Value> {
    let read = cluster.weir(&["audit", "--limit", "1000", "--json"]);
    assert_eq!(read.code, 0, "{read:?}");
    let document = read.json();
    assert_eq!(document["whole"], true);
    document["last"].as_array().cloned().unwrap_or_default()
}

fn await_entry(cluster: &Cluster, event: &str, outcome: &str) -> Value {
    eventually(event, SOON, || {
        let found = |entry: &Value| entry["event"] == event && entry["outcome"] == outcome;
        entries(cluster).into_iter().find(|entry| found(entry))
    })
}

#[test]
fn it_tells_runs_and_refusals_and_outlives_the_controller() {
    let mut cluster = Cluster::on_loopback(&[("a1", &["asn=150"]), ("a2", &["asn=151"])]);
    let line = "--from a1 --to a2 --udp 1M --for 1s --ignore behind,frozen";
    let words: Vec<&str> = line.split_whitespace().collect();
    let (code, result) = cluster.run(&words);
    assert_eq!(code, 0, "{result:#}");
    assert_eq!(cluster.weir(&["delete", "last"]).code, 0);
    assert_eq!(
        cluster
            .weir(&[
                "run", "--from", "x=y", "--to", "a2", "--udp", "1M", "--for", "1s"
            ])
            .code,
        2
    );
    let started = await_entry(&cluster, "run-started", "done");
    assert_eq!(started["object"], "r-0001");
    assert_eq!(started["role"], "operator");
    assert!(started["uid"].is_u64(), "{started}");
    assert_eq!(
        await_entry(&cluster, "run-deleted", "done")["object"],
        "r-0001"
    );
    await_entry(&cluster, "run-started", "refused");

    // The name of another.
    let mut thief = Command::new(binary("weir-agent"));
    let data = cluster.directory().join("thief");
    thief
        .args([
            "--lab",
            "--controller",
            &cluster.join_endpoint(),
            "--name",
            "a1",
            "--data",
        ])
        .arg(&data);
    let thief = Process::start("thief", thief, &data.with_extension("log"));
    let refused = await_entry(&cluster, "name-key", "refused");
    let why = refused["reason"].as_str().unwrap_or_default();
    assert!(
        why.contains("a1") && why.contains("another key"),
        "{refused}"
    );
    thief.kill();

    let before = entries(&cluster).len();
    cluster.kill_controller();
    cluster.start_controller();
    await_entry(&cluster, "controller-started", "done");
    assert!(entries(&cluster).len() > before);
}

#[test]
fn a_log_that_was_changed_is_found_out() {
    let mut cluster = Cluster::new();
    await_entry(&cluster, "controller-started", "done");
    cluster.stop_controller();
    let file = cluster.controller_data().join("audit.jsonl");
    let text = fs::read_to_string(&file).expect("the log");
    fs::write(
        &file,
        text.replacen("controller-started", "controller-stopped", 1),
    )
    .expect("ours");
    let data = cluster.controller_data();
    let arguments = ["audit", "--verify", "--data", data.to_str().expect("UTF-8")];
    let read = cluster.weir(&arguments);
    assert_eq!(read.code, 2, "{read:?}");
    assert!(read.stderr.contains("line 2"), "{read:?}");
    cluster.start_controller();
    let began = &await_entry(&cluster, "chain-began", "failed");
    let why = began["reason"].as_str().unwrap_or_default();
    assert!(why.contains("audit-broken-1.jsonl"), "{began}");
    assert!(
        cluster
            .controller_data()
            .join("audit-broken-1.jsonl")
            .exists()
    );
}
