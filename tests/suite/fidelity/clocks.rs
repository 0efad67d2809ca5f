//! Delay between ends that do not simply read one clock: other time namespaces.

use serde_json::Value;
use weir_lab::Lab;
use weir_tests::{Cluster, Ground, TimeNamespace, needs};

use super::{GENERATOR, RECEIVER, figure, flows, number, run, two_hosts};

const LINE: &str = "--udp 500pkt/s --size 100 --for 2s --interval 500ms";

/// The two hosts, their agents in time namespaces of their own.
fn in_namespaces(agents: [(&str, TimeNamespace); 2]) -> Cluster {
    let mut cluster = Cluster::around(Lab::up(&two_hosts()).expect("a lab"));
    for (host, namespace) in agents {
        let mut command = namespace.command(cluster.lab(), host, "weir-agent");
        let labels = cluster.lab().labels(host).expect("a host");
        for (key, value) in labels {
            command.arg("--label").arg(format!("{key}={value}"));
        }
        cluster.launch(host, command);
    }
    cluster.await_agents(agents.len());
    cluster
}

/// The domain of an agent's clock, as the run recorded it.
fn domain<'a>(document: &'a Value, agent: &str) -> &'a Value {
    let agents = document["provenance"]["agents"].as_array();
    let mut agents = agents.expect("provenance names agents").iter();
    let found = agents.find(|each| each["name"] == agent);
    &found.expect("the agent took part")["clock_domain"]
}

/// `delay_bound_us` of the rows that have delays.
fn bounds_of_rows(cluster: &Cluster, document: &Value) -> Vec<Option<f64>> {
    let run = document["run"].as_str().expect("a result names its run");
    let ran = cluster.weir(&["records", run, "--format", "jsonl"]);
    let rows = ran.stdout.lines();
    let bounds: Vec<Option<f64>> = rows
        .map(|row| serde_json::from_str::<Value>(row).expect("a row"))
        .filter(|row| row["delay_n"].as_u64() > Some(0))
        .map(|row| row["delay_bound_us"].as_f64())
        .collect();
    assert!(bounds.len() >= 4, "{ran:?}");
    bounds
}

/// Delays of a way of three hops in one machine: some microseconds, on a busy one
/// more, and never what clocks differ by.
fn is_a_delay(us: f64) -> bool {
    us > 0.0 && us < 200_000.0
}

#[test]
fn offsets_of_time_namespaces_are_taken_out() {
    needs!(Ground::Lab);
    let cluster = in_namespaces([
        (GENERATOR, TimeNamespace::told(86_400)),
        (RECEIVER, TimeNamespace::told(3_600)),
    ]);
    let (document, _) = run(&cluster, LINE, 0);
    let flow = &flows(&document)[0];
    let delay = &flow["delay_us"];
    assert_eq!(delay["clock"], "same-kernel", "{flow:#}");
    assert_eq!(figure(delay, "/bound"), 0.0);
    assert_eq!(number(delay, "/n"), number(flow, "/received/packets"));
    for name in ["/min", "/p50", "/p99"] {
        assert!(is_a_delay(figure(delay, name)), "{delay:#}");
    }
    assert_eq!(figure(&document, "/time/start_skew_us/bound"), 0.0);
    assert_eq!(domain(&document, GENERATOR), domain(&document, RECEIVER));
}

#[test]
fn an_offset_that_is_not_told_makes_no_delay_exact() {
    needs!(Ground::Lab);
    // Two seconds apart at most: clocks that are taken for one would pass for it.
    for agents in [
        [
            (GENERATOR, TimeNamespace::masked(1)),
            (RECEIVER, TimeNamespace::told(0)),
        ],
        [
            (GENERATOR, TimeNamespace::told(0)),
            (RECEIVER, TimeNamespace::masked(1)),
        ],
        [
            (GENERATOR, TimeNamespace::masked(1)),
            (RECEIVER, TimeNamespace::masked(-1)),
        ],
    ] {
        let cluster = in_namespaces(agents);
        let (document, _) = run(&cluster, LINE, 0);
        let flow = &flows(&document)[0];
        let delay = &flow["delay_us"];
        assert_eq!(delay["clock"], "estimated", "{agents:?} {flow:#}");
        let bound = figure(delay, "/bound");
        assert!(is_a_delay(bound), "{agents:?} {delay:#}");
        for name in ["/p50", "/p99"] {
            let us = figure(delay, name);
            assert!(us <= 200_000.0 + bound, "{agents:?} {delay:#}");
        }
        // Of a sender that is wrongly taken to be ahead every delay would read 0.
        assert!(figure(delay, "/max") > 0.0, "{delay:#}");
        for bound in bounds_of_rows(&cluster, &document) {
            assert!(bound.is_some_and(|us| us > 0.0), "a row says {bound:?}");
        }
        for (agent, namespace) in agents {
            assert_eq!(domain(&document, agent).is_null(), !namespace.told);
        }
        let clocks = &document["provenance"]["clocks"]["pairs"][0];
        assert_eq!(clocks["relation"], "estimated");
        assert_eq!(figure(clocks, "/bound_us"), bound);
        assert!(
            document["time"]["start_skew_us"]["bound"].is_null(),
            "T0 went by the wall clock: {:#}",
            document["time"]
        );
    }
}
