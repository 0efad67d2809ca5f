//! `weir check` as a person uses it: what it measures, what it warns of, and what
//! later runs take from it.

use serde_json::Value;
use weir_tests::{Cluster, Ground, needs};

use super::{GENERATOR, RECEIVER, figure, flows, number, on_two_hosts, run, words};

/// What weir sends singly where no check was made, packets a second.
const UNCHECKED_PPS: f64 = 100_000.0;

fn check(cluster: &Cluster, line: &str) -> Value {
    let told = cluster.weir(&words(&format!("check --json {line}")));
    assert_eq!(told.code, 0, "{told:?}");
    told.json()
}

/// Puts a token bucket on the generator's own interface, under its running agent.
fn put_bucket(cluster: &Cluster, burst: &str) {
    let mut tc = cluster.lab().command(GENERATOR, "tc").expect("a host");
    let line =
        format!("qdisc replace dev net0 root handle 1: tbf rate 4mbit burst {burst} limit 4000");
    let done = tc.args(words(&line)).output().expect("tc");
    assert!(done.status.success(), "{line}: {done:?}");
}

fn codes(document: &Value) -> Vec<&str> {
    let all = document["distortions"].as_array().expect("a list");
    let of_generator = all.iter().filter(|each| each["host"] == GENERATOR);
    of_generator
        .filter_map(|each| each["code"].as_str())
        .collect()
}

/// What the two rates that enclose the largest without loss have to be, whatever a
/// busy machine makes of them.
fn enclosed(pair: &Value) {
    let (low, beyond) = (pair["single_pps"].as_f64(), pair["beyond"]["pps"].as_f64());
    let (Some(low), Some(beyond)) = (low, beyond) else {
        return; // even the lowest lost some, or the highest lost none
    };
    assert!(low < beyond && beyond <= low * 1.1 + 1.0, "{pair:#}");
    assert!(pair["hosts_pps"].as_f64() >= Some(low), "{pair:#}");
}

#[test]
fn a_bucket_that_no_packet_fits_is_found_before_the_run() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    put_bucket(&cluster, "1000");
    let document = check(&cluster, "--pairs 1 --for 100ms");
    assert_eq!(document["schema"], "weir.check/1");
    let pair = &document["pairs"][0];
    assert_eq!(
        (pair["from"].as_str(), pair["to"].as_str()),
        (Some(GENERATOR), Some(RECEIVER))
    );
    enclosed(pair);
    // 106 B a frame, a burst of 1,000 B and a queue of 4,000 B: 4,717 pkt/s and 38 more.
    let single = pair["single_pps"].as_f64();
    assert!(single.is_none_or(|pps| pps < 5_200.0), "{pair:#}");
    let refined = pair["refined_by"].as_array().expect("runs").len();
    assert!(single.is_none() || (1..=6).contains(&refined), "{pair:#}");
    assert_eq!(
        codes(&document),
        ["tbf-below-packet", "shaped"],
        "{document:#}"
    );
    let told = &document["distortions"][0];
    assert_eq!(told["interface"], "net0");
    let text = told["text"].as_str().expect("a text");
    assert!(text.contains("1000 B") && text.contains("1514 B"), "{text}");
    assert!(
        told["fix"]
            .as_str()
            .is_some_and(|fix| fix.contains("1514 B")),
        "{told:#}"
    );

    // The next plan warns, the next run is as warned, and has the floor beside it.
    let (loss, line) = ("loss is 1", "--udp 100pkt/s --size 1400 --for 300ms");
    let plan = cluster.weir(&words(&format!(
        "plan --from {GENERATOR} --to {RECEIVER} {line}"
    )));
    assert!(plan.stdout.contains("tbf 1: root on net0"), "{plan:?}");
    let (result, _) = run(&cluster, line, 0);
    let flow = &flows(&result)[0];
    assert_eq!(figure(flow, "/loss"), 1.0, "{loss}: {flow:#}");
    assert_eq!(
        number(flow, "/lost_detail/egress"),
        number(flow, "/sent/packets"),
        "{flow:#}"
    );
    let floor = &result["provenance"]["floor"][0];
    assert_eq!(floor, pair, "{:#}", result["provenance"]["floor"]);
    let shown = cluster.weir(&["show"]);
    let line = format!("floor {GENERATOR} -> {RECEIVER}: delay ");
    assert!(shown.stdout.contains(&line), "{shown:?}");

    // Taken away: the tables say so.
    put_bucket(&cluster, "3000");
    let told = cluster.weir(&words("check --pairs 1 --for 100ms"));
    assert_eq!(told.code, 0, "{told:?}");
    for text in [
        "single pkt/s",
        "tbf-below-bundle shaped",
        "cuts bundles above its burst of 3000 B",
    ] {
        assert!(told.stdout.contains(text), "{text}: {told:?}");
    }
    assert!(!told.stdout.contains("tbf-below-packet"), "{told:?}");
}

/// Above what the hosts of a checked pair carry singly datagrams leave in bundles, below
/// it one by one, wherever the default lies.
#[test]
fn bundles_begin_where_the_check_saw_the_hosts_end() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    let document = check(&cluster, "--pairs 1 --for 200ms");
    let pair = &document["pairs"][0];
    enclosed(pair);
    let single = pair["hosts_pps"].as_f64().unwrap_or(UNCHECKED_PPS);
    for (share, bundled) in [(0.5, "off"), (1.5, "on")] {
        let line = format!("--udp {:.0}pkt/s --size 64 --for 200ms", single * share);
        let (result, _) = run(&cluster, &line, 0);
        let flow = &flows(&result)[0];
        assert_eq!(flow["path"]["gso"], bundled, "{line}: {pair:#} {flow:#}");
    }
}
