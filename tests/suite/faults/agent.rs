//! An agent dies, or dies and comes back.

use std::fs;

use serde_json::Value;
use weir_tests::Cluster;

use super::{Background, ask, await_output, await_records, flow, none_twice};

const LINE: &str = "run --json --from a1 --to asn=151,152 --interval 200ms --linger 500ms --udp 300pkt/s \
                    --size 200 --for 4s --ignore behind,frozen";

fn three() -> Cluster {
    Cluster::on_loopback(&[
        ("a1", &["asn=150"]),
        ("a2", &["asn=151"]),
        ("a3", &["asn=152"]),
    ])
}

/// The flow to `a2` has everything, the one to `a3` lacks its receiver.
fn one_is_missing(cluster: &Cluster, document: &Value) {
    assert_eq!(document["verdict"], "partial", "{document:#}");
    assert_eq!(document["checks"]["complete"], false);
    none_twice(cluster);
    let (good, bad) = (flow(document, "a2"), flow(document, "a3"));
    assert_eq!(good["complete"], true, "{good:#}");
    assert_eq!(bad["complete"], false, "{bad:#}");
    let unclosed = document["ledger"]["unclosed"].as_array().expect("a list");
    assert_eq!(unclosed.len(), 1, "{document:#}");
    assert_eq!(unclosed[0]["flow"], bad["flow"], "{unclosed:?}");
    assert_eq!(unclosed[0]["end"], "rx", "{unclosed:?}");
    let rows = "SELECT (SELECT count(*) FROM records WHERE flow = flows.flow)
                FROM flows WHERE number = ";
    let named = "SELECT sum(json_extract(closed_json, '$.rows')) FROM manifests
                 JOIN flows ON flows.flow = manifests.flow WHERE number = ";
    let good = &good["flow"];
    assert_eq!(
        ask(cluster, &format!("{rows}{good}")),
        ask(cluster, &format!("{named}{good}")),
        "rows of the other flow"
    );
}

#[test]
fn a_killed_agent_leaves_a_partial_run_whose_other_flows_are_whole() {
    let mut cluster = three();
    let run = Background::start(&cluster, LINE);
    await_records(&cluster, "r-0001", 12);
    cluster.take_agent("a3").kill();
    let ran = run.finish();
    assert_eq!(ran.code, 3, "{ran:?}");
    one_is_missing(&cluster, &ran.json());
}

#[test]
fn a_restarted_agent_never_runs_an_assignment_again() {
    let mut cluster = three();
    let run = Background::start(&cluster, LINE);
    await_records(&cluster, "r-0001", 12);
    cluster.take_agent("a3").kill();
    let log = cluster.directory().join("a3.log");
    let before = fs::read_to_string(&log).expect("the log of a3").len();
    cluster.start_loopback_agent("a3", &["asn=152"]);
    await_output(cluster.agent("a3"), "generation=2");
    let ran = run.finish();
    assert_eq!(ran.code, 3, "{ran:?}");
    one_is_missing(&cluster, &ran.json());

    let journal = fs::read(cluster.agent_data("a3").join("journal.json")).expect("a journal");
    let journal: Value = serde_json::from_slice(&journal).expect("JSON");
    assert_eq!(journal[0]["standing"], "aborted", "{journal}");
    let log = fs::read_to_string(&log).expect("the log of a3");
    let again = &log[before..];
    for state in ["Accepted", "Armed", "Running"] {
        assert!(!again.contains(&format!("state={state}")), "{again}");
    }
    // It is well otherwise: the next run has it.
    let (code, document) = cluster.run(&[
        "--from",
        "a1",
        "--to",
        "a3",
        "--udp",
        "1M",
        "--for",
        "1s",
        "--ignore",
        "behind,frozen",
    ]);
    assert_eq!(code, 0, "{document:#}");
}
