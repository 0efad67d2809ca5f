//! Generator and receiver in time namespaces of their own.

use std::process::Stdio;

use serde_json::Value;
use weir_tests::ground::Ground;
use weir_tests::{TimeNamespace, needs};

use super::{Hosts, flow};

/// Runs a generator in a time namespace; what it printed.
fn generate(hosts: &Hosts, namespace: TimeNamespace, line: &str) -> String {
    let output = namespace
        .command(&hosts.lab, "150-host", "weir-agent")
        .args(hosts.line(line).split_whitespace())
        .env("WEIR_NAME", "150-host")
        .stdin(Stdio::null())
        .output()
        .expect("weir-agent runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{printed}{errors}");
    printed
}

fn delay(hosts: &Hosts, namespace: TimeNamespace) -> Value {
    let printed = generate(hosts, namespace, "--udp 4M --size 500 --for 2s --json");
    let document: Value = serde_json::from_str(&printed).expect("a document");
    flow(&document)["delay_us"].clone()
}

#[test]
fn an_offset_that_is_told_is_taken_out() {
    needs!(Ground::Lab);
    let hosts = Hosts::up("");
    let delay = delay(&hosts, TimeNamespace::told(86_400));
    assert_eq!(delay["clock"], "same-kernel", "{delay:#}");
    let p50 = delay["p50"].as_f64().expect("a median");
    assert!(p50 > 0.0 && p50 < 200_000.0, "{delay:#}");
}

#[test]
fn an_offset_that_is_not_told_is_asked_for() {
    needs!(Ground::Lab);
    let hosts = Hosts::up("");
    let delay = delay(&hosts, TimeNamespace::masked(1));
    assert_eq!(delay["clock"], "estimated", "{delay:#}");
    let figure = |name: &str| delay[name].as_f64().expect("a figure");
    let bound = figure("bound");
    assert!(bound > 0.0 && bound < 200_000.0, "{delay:#}");
    assert!(figure("p50") < 200_000.0 + bound, "{delay:#}");
    assert!(figure("max") > 0.0, "{delay:#}");
    // T0 as well: rows of one end are not a second off those of the other.
    let printed = generate(&hosts, TimeNamespace::masked(1), "--udp 4M --for 2s");
    assert!(
        printed.contains("clocks of other namespaces, T0 to "),
        "{printed}"
    );
    assert!(printed.contains("clock estimated to "), "{printed}");
}
