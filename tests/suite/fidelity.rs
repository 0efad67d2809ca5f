//! Figures against facts: what the result says, what the rows add up to, what
//! the kernel counted. Real agents in hosts of a lab, real traffic.

mod check;
mod clocks;
mod conservation;
mod disturbed;
mod examples;
mod floor;
mod hosts;
mod injected;
mod laws;
mod loss;
mod many_to_one;
mod marks;
mod paths;
mod phases;
mod queues;
mod replies;
mod rules;
mod sending;
mod stalled;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use weir_common::record::End;
use weir_lab::Topology;
use weir_tests::{Account, Cluster, eventually};

use self::check::conserved;

const GENERATOR: &str = "150-host";
const RECEIVER: &str = "162-host";

/// A host in each of two ASes, their packets counted by the kernel.
fn two_hosts() -> Topology {
    Topology::new("pair")
        .exchange("ix100")
        .asn(150, |a| a.join("ix100").host("host"))
        .asn(162, |a| a.join("ix100").host("host"))
        .count()
}

fn on_two_hosts() -> Cluster {
    Cluster::in_lab(&two_hosts(), &[GENERATOR, RECEIVER])
}

/// The words of a command line without quotes.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// Runs a campaign from the generator to the receiver, checks that every figure
/// of it agrees, and that the run came out as `exit` says.
///
/// What a busy machine does to the schedule is recorded and decides nothing: these
/// tests ask whether figures are true, not whether the machine was idle.
fn run(cluster: &Cluster, line: &str, exit: i32) -> (Value, Account) {
    let line = format!("--from {GENERATOR} --to {RECEIVER} {line}");
    run_line(cluster, &line, exit)
}

/// As [`run`], with `--from` and `--to` in the line.
fn run_line(cluster: &Cluster, line: &str, exit: i32) -> (Value, Account) {
    let is_file = Path::new(line).extension().is_some_and(|end| end == "toml");
    let (code, document) = if is_file {
        cluster.run(&[line])
    } else {
        cluster.run(&words(&format!("{line} --ignore behind,frozen")))
    };
    assert_eq!(code, exit, "{line}: {document:#}");
    assert_eq!(document["exit"], exit, "{line}");
    let account = conserved(cluster, &document);
    (document, account)
}

/// As [`run`], and does something while it runs, with half a second to an interval.
fn during(cluster: &Cluster, line: &str, act: impl FnOnce()) -> (Value, Account) {
    let line = format!(
        "run --json --from {GENERATOR} --to {RECEIVER} {line} --interval 500ms --ignore behind,frozen"
    );
    let mut command = cluster.command(&words(&line));
    let child = command.stdout(Stdio::piped()).spawn().expect("weir runs");
    act();
    let output = child.wait_with_output().expect("our own child");
    let document: Value = serde_json::from_slice(&output.stdout).expect("a result");
    assert_eq!(document["exit"], 0, "{line}: {document:#}");
    let account = conserved(cluster, &document);
    (document, account)
}

/// Waits until so many more UDP packets have left the generator, or reached the receiver.
fn await_packets(cluster: &Cluster, end: End, more: u64) {
    let counted = || {
        let host = match end {
            End::Tx => GENERATOR,
            End::Rx => RECEIVER,
        };
        let counters = cluster.lab().counters(host).expect("hosts are counted");
        match end {
            End::Tx => counters.udp().output().packets(),
            End::Rx => counters.udp().input().packets(),
        }
    };
    let aim = counted() + more;
    eventually("packets", Duration::from_secs(30), || {
        (counted() >= aim).then_some(())
    });
}

/// A number of the result document.
fn number(value: &Value, path: &str) -> u64 {
    let found = value.pointer(path).and_then(Value::as_u64);
    found.unwrap_or_else(|| panic!("{path} is no count in {value:#}"))
}

/// A figure of the result document.
fn figure(value: &Value, path: &str) -> f64 {
    let found = value.pointer(path).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("{path} is no figure in {value:#}"))
}

/// The flows of a result document.
fn flows(document: &Value) -> &[Value] {
    document["flows"].as_array().expect("a result has flows")
}

/// The codes of a flow's warnings.
fn warnings(flow: &Value) -> Vec<&str> {
    let warnings = flow["warnings"].as_array().expect("a flow has warnings");
    warnings
        .iter()
        .filter_map(|warning| warning["code"].as_str())
        .collect()
}
