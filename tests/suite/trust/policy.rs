//! A policy file of a real agent: what it refuses never leaves the host.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use weir_lab::Topology;
use weir_tests::{Background, Cluster, Ground, binary, eventually, needs};

use crate::faults::{SOON, await_records};

const FROM: &str = "150-host";
const TO: &str = "162-host";

/// Two hosts, counted by the kernel; the first one's agent follows a policy file.
fn hosts(policy: &str) -> (Cluster, PathBuf) {
    let topology = Topology::new("policy")
        .exchange("ix100")
        .asn(150, |a| a.join("ix100").host("host"))
        .asn(162, |a| a.join("ix100").host("host"))
        .count();
    let lab = weir_lab::Lab::up(&topology).unwrap_or_else(|error| panic!("{error}"));
    let mut cluster = Cluster::around(lab);
    let file = cluster.directory().join("policy.toml");
    write(&file, policy);
    let mut command = cluster
        .lab()
        .command(FROM, binary("weir-agent"))
        .expect("a host of the lab");
    command.arg("--policy").arg(&file);
    cluster.launch(FROM, command);
    cluster.start_agent(TO);
    cluster.await_agents(2);
    (cluster, file)
}

fn write(file: &Path, policy: &str) {
    fs::write(file, policy).expect("a file");
    fs::set_permissions(file, fs::Permissions::from_mode(0o644)).expect("our own file");
}

fn run(cluster: &Cluster, line: &str) -> (i32, Value) {
    let line = format!("--from {FROM} --to {TO} {line} --ignore behind,frozen");
    cluster.run(&line.split_whitespace().collect::<Vec<_>>())
}

#[test]
fn nothing_leaves_for_a_denied_target() {
    needs!(Ground::Lab);
    let (cluster, file) = hosts("");
    let target = cluster.lab().address(TO).unwrap();
    let target_v6 = cluster.lab().address_v6(TO).unwrap();
    write(
        &file,
        &format!("deny_destinations = [\"{target}\", \"{target_v6}\"]"),
    );
    eventually("the new policy", SOON, || {
        let log = cluster.agent(FROM).output();
        log.contains("read anew").then_some(())
    });
    cluster.lab().forget_counts(FROM).unwrap();
    let (code, document) = run(&cluster, "--udp 1M --for 1s --with --tcp 1M");
    assert_ne!(code, 0, "{document:#}");
    let text = document.to_string();
    for word in ["policy", "deny_destinations", FROM] {
        assert!(text.contains(word), "{word}: {document:#}");
    }
    for address in [IpAddr::from(target), target_v6.into()] {
        let sent = cluster.lab().counters(FROM).unwrap().output().to(address);
        assert_eq!(sent.packets(), 0, "{sent:?}");
    }
    // With one address left, that is the one.
    write(&file, &format!("deny_destinations = [\"{target}\"]"));
    eventually("the new policy", SOON, || {
        let log = cluster.agent(FROM).output();
        (log.matches("read anew").count() == 2).then_some(())
    });
    let (code, document) = run(&cluster, "--udp 1M --for 1s --with --tcp 1M");
    assert_eq!(code, 0, "{document:#}");
    let counters = || cluster.lab().counters(FROM).unwrap().output();
    assert_eq!(counters().to(target).packets(), 0);
    assert!(counters().to(target_v6).packets() > 0);
}

#[test]
fn ten_flows_stay_below_the_cap() {
    needs!(Ground::Lab);
    let (cluster, _) = hosts("max_rate = \"2 Mbit/s\"");
    cluster.lab().forget_counts(FROM).unwrap();
    // Ten flows of 360 kbit/s of payload, 380 with headers.
    let one = "--udp 360k --size 500 --for 4s";
    let line = format!("{one}{}", " --with --udp 360k --size 500".repeat(9));
    let (code, document) = run(&cluster, &line);
    assert_ne!(code, 0, "{document:#}");
    assert!(document.to_string().contains("`max_rate`"), "{document:#}");
    let sent = cluster.lab().counters(FROM).unwrap().udp().output();
    let rate = sent.bytes() as f64 * 8.0 / 4.0;
    assert!(rate < 2e6 * 1.02, "{rate} bit/s: {sent:?}");
    assert!(rate > 1.7e6, "five flows fit: {rate} bit/s");
}

#[test]
fn a_policy_that_changes_stops_what_runs() {
    needs!(Ground::Lab);
    let (cluster, file) = hosts("max_rate = \"10 Mbit/s\"");
    let line = format!(
        "run --json --from {FROM} --to {TO} --udp 1M --for 120s --interval 200ms --ignore behind,frozen"
    );
    let going = Background::start(&cluster, &line);
    await_records(&cluster, "r-0001", 8);
    write(&file, "max_rate = \"500 kbit/s\"");
    let document = going.finish().json();
    let reasons = document.to_string();
    assert!(
        reasons.contains("policy has changed") && reasons.contains("max_rate"),
        "{document:#}"
    );
    // A file that is no policy leaves the last one in force.
    write(&file, "max_rates = 3");
    eventually("an error in the log", SOON, || {
        let log = cluster.agent(FROM).output();
        log.contains("did you mean `max_rate`").then_some(())
    });
    let (_, document) = run(&cluster, "--udp 1M --for 1s");
    assert!(document.to_string().contains("500 kbit/s"), "{document:#}");
}

#[test]
fn an_agent_does_not_start_with_a_file_that_others_may_change() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("policy.toml");
    write(&file, "max_flows = 1");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let output = Command::new(binary("weir-agent"))
        .args(["--controller", "unix:/nowhere", "--name", "a", "--data"])
        .arg(directory.path())
        .arg("--policy")
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("chmod go-w") && said.contains("policy.toml"),
        "{said}"
    );
}
