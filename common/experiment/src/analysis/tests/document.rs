//! The result document, key by key: scripts of others read it.

use weir_common::record::{DscpSet, FlowOutage, Outages};
use weir_common::stats::Lengths;

use super::*;

/// One UDP flow with a loss, one TCP flow, one that told nothing.
fn case() -> Case {
    let text = r#"campaign = "golden"
question = "What does the document look like?"
[pairs]
from = "a"
to   = "b"
[[phase]]
name = "p"
for  = "10s"
[[flow]]
name    = "probe"
traffic = { udp = "1000 pkt/s", size = 100 }
[[flow]]
name    = "bulk"
traffic = { tcp = "max" }
[[flow]]
name    = "silent"
traffic = { udp = "1000 pkt/s", size = 100 }
[[expect]]
that = "probe.loss <= 1%"
"#;
    let mut case = Case::new(text);
    let planned = case.plan.flows[0].clone();
    let mut flow = udp(
        &planned,
        Udp {
            path: 400,
            egress: 100,
            ..Udp::default()
        },
    );
    tx(&mut flow).path.gso = Some("off".into());
    tx(&mut flow).path.pacing = Some("keep-mean".into());
    rx(&mut flow).path.call = "recvmmsg".into();
    rx(&mut flow).window.loss_bursts = Some(2);
    rx(&mut flow).window.loss_burst_max = Some(300);
    let lengths = |all: &[u64]| {
        let mut lengths = Lengths::default();
        for length in all {
            lengths.record(*length);
        }
        Some(lengths)
    };
    rx(&mut flow).window.loss_burst_lengths = lengths(&[200, 300]);
    rx(&mut flow).window.loss_burst_distances = lengths(&[5_000]);
    rx(&mut flow).window.outages = Some(Outages {
        count: 2,
        sum_ns: 500_000_000,
        resolution_ns: Some(1_000_000),
        kept: vec![FlowOutage {
            from_ns: 9_700_000_000,
            length_ns: 300_000_000,
            first_seq: 9_700,
            last_seq: 9_999,
            lost_packets: Some(300),
            ..FlowOutage::default()
        }],
    });
    rx(&mut flow).window.ttl_changes = Some(1);
    rx(&mut flow).window.dscp_seen = Some(DscpSet::from_bits(1 << 46 | 1));
    rx(&mut flow).window.echo_packets = Some(9_500);
    tx(&mut flow).window.echo_packets = Some(9_490);
    tx(&mut flow).window.rtt = Some(samples([40_000, 66_000]));
    case.evidence.insert(planned.id, flow);
    case.evidence.remove(&FlowId(3));
    case
}

fn document() -> Value {
    serde_json::to_value(case().result()).unwrap()
}

fn golden(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Equal but for the last digit of a fraction, which reading does not keep.
pub(super) fn alike(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) if a.is_f64() => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            (a - b).abs() <= 1e-12 * a.abs()
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let same = |(key, value)| b.get(key).is_some_and(|other| alike(value, other));
            a.len() == b.len() && a.iter().all(same)
        }
        _ => a == b,
    }
}

/// The keys of an object, in order.
fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn the_whole_has_these_keys() {
    let document = document();
    assert_eq!(
        keys(&document),
        [
            "schema",
            "run",
            "campaign",
            "question",
            "verdict",
            "exit",
            "checks",
            "reasons",
            "warnings",
            "time",
            "ledger",
            "flows",
            "sets",
            "expectations",
            "provenance",
        ]
    );
    assert_eq!(document["schema"], "weir.result/1");
    assert_eq!(document["run"], "r-0007");
    assert_eq!(document["verdict"], "partial");
    assert_eq!(document["exit"], 3);
    assert_eq!(
        keys(&document["checks"]),
        ["valid", "complete", "expectations"]
    );
    assert_eq!(
        document["time"],
        json!({
            "t0": "2026-11-18T11:06:40.250000000Z", "t0_unix_ns": T0, "linger_s": 2.0,
            "start_skew_us": { "max": 80.0, "bound": 0.0 },
        })
    );
    assert_eq!(
        document["ledger"],
        json!({
            "expected": 60, "stored": 40, "coalesced": 0, "gaps": [],
            "unclosed": [
                { "agent": "a", "flow": 3, "end": "tx", "stored": 0, "planned": 10,
                  "why": "no manifest came" },
                { "agent": "b", "flow": 3, "end": "rx", "stored": 0, "planned": 10,
                  "why": "no manifest came" },
            ],
        })
    );
    assert_eq!(
        document["expectations"],
        json!([{
            "phase": "p", "set": "probe", "that": "loss <= 1 %", "each": "flow", "level": "fail",
            "measured": 0.05, "worst": 1, "held": 0, "of": 1, "invalid_excluded": 0,
            "pass": false,
        }])
    );
    let last = document["reasons"].as_array().unwrap().last().unwrap();
    assert_eq!(keys(last), ["code", "flow", "value", "text"]);
}

#[test]
fn a_udp_flow_reads_so() {
    let mut flow = document()["flows"][0].take();
    // Figures of histograms are tested where histograms are; here their keys.
    let distribution = ["n", "min", "mean", "p50", "p90", "p99", "p999", "max", "sd"];
    let delay = flow["delay_us"].take();
    assert_eq!(keys(&delay)[..3], ["clock", "bound", "stamps"]);
    assert_eq!(keys(&delay)[3..], distribution);
    assert_eq!(
        (&delay["clock"], &delay["bound"]),
        (&json!("same-kernel"), &json!(0.0))
    );
    assert_eq!(
        (&delay["n"], &delay["min"], &delay["max"]),
        (&json!(4), &json!(21.0), &json!(88.0))
    );
    let lateness = flow["lateness_us"].take();
    assert_eq!(keys(&lateness), distribution);
    let pdv = flow["pdv_us"].take();
    assert_eq!(keys(&pdv), ["p50", "p90", "p99", "p999", "max"]);
    let rtt = flow["rtt_us"].take();
    assert_eq!((&rtt["source"], &rtt["n"]), (&json!("echo"), &json!(2)));
    assert_eq!(flow, golden(include_str!("golden/udp-flow.json")));
}

#[test]
fn a_tcp_flow_reads_so() {
    let mut flow = document()["flows"][1].take();
    let rtt = flow["rtt_us"].take();
    assert_eq!((&rtt["source"], &rtt["n"]), (&json!("tcp_info"), &json!(2)));
    assert_eq!(flow, golden(include_str!("golden/tcp-flow.json")));
}

#[test]
fn what_is_not_known_is_null_and_what_does_not_apply_is_absent() {
    let document = document();
    let flow = &document["flows"][2];
    for key in [
        "sent",
        "received",
        "rate_bps",
        "loss",
        "late",
        "duplicate",
        "reordered",
        "reorder_extent_max",
        "jitter_us",
        "jitter",
    ] {
        assert_eq!(flow.get(key), Some(&Value::Null), "{key}");
    }
    assert_eq!(
        flow["lost"],
        json!({ "sender": null, "network": null, "receiver": null })
    );
    assert_eq!(
        flow["offered"],
        json!({ "bytes": null }),
        "asked for, and not told"
    );
    for key in [
        "retransmits",
        "tcp",
        "delay_us",
        "bursts",
        "ttl",
        "outages",
        "reverse_of",
    ] {
        assert_eq!(flow.get(key), None, "{key}");
    }
    let mut silent = Case::new(TCP);
    silent.evidence.clear();
    let result = serde_json::to_value(silent.result()).unwrap();
    let flow = &result["flows"][0];
    assert_eq!(flow.get("retransmits"), Some(&Value::Null));
    assert_eq!(flow["tcp"]["cc"], Value::Null);
    assert_eq!(flow.get("offered"), None, "a `max` flow has no schedule");
    assert_eq!(
        result["time"]["start_skew_us"],
        json!({ "max": null, "bound": null })
    );
}

#[test]
fn a_document_reads_back() {
    let result = case().result();
    let text = serde_json::to_string(&result).unwrap();
    let back: ResultDocument = serde_json::from_str(&text).unwrap();
    assert!(alike(
        &serde_json::to_value(back).unwrap(),
        &serde_json::to_value(result).unwrap()
    ));
}

#[test]
fn sets_tell_the_spread_of_their_valid_flows() {
    let mut case = Case::new(FAN);
    let planned = case.plan.flows[1].clone();
    case.evidence.insert(
        planned.id,
        udp(
            &planned,
            Udp {
                path: 5_000,
                ..Udp::default()
            },
        ),
    );
    let result = serde_json::to_value(case.result()).unwrap();
    assert_eq!(
        result["sets"],
        json!([{
            "set": "p", "phase": "p", "repeat": 1, "cell": {}, "flows": 2, "valid": 2,
            "rate_bps": { "sum": 1_200_000.0, "min": 400_000.0, "median": 600_000.0,
                          "max": 800_000.0, "fairness": 0.9 },
            "loss": 0.25,
        }])
    );
    rx(case.flow(2)).window.frozen_us = Some(60_000_000);
    let set = &case.result().sets[0];
    assert_eq!((set.flows, set.valid), (2, 1));
    assert_eq!(
        (set.rate_bps.sum, set.rate_bps.fairness),
        (Some(800_000.0), Some(1.0))
    );
}

#[test]
fn both_directions_are_joined() {
    let case = Case::new(&UDP.replace("to   = \"b\"", "to   = \"b\"\nboth = true"));
    let result = case.result();
    let reverse: Vec<Option<u32>> = result.flows.iter().map(|flow| flow.reverse_of).collect();
    assert!(
        reverse.contains(&Some(1)) || reverse.contains(&Some(2)),
        "{reverse:?}"
    );
}

#[test]
fn skew_is_bounded_by_one_clock_only() {
    let mut case = Case::new(UDP);
    tx(case.flow(1)).first_packet_ns = Some(1_500);
    let skew = case.result().time.start_skew_us;
    assert_eq!((skew.max, skew.bound), (Some(1.5), Some(0.0)));
    case.plan.hosts[0].clock = "another".into();
    assert_eq!(case.result().time.start_skew_us.bound, None, "not known");
    for host in &mut case.plan.hosts {
        host.clock = String::new();
    }
    assert_eq!(case.result().time.start_skew_us.bound, None, "not known");
}

#[test]
fn provenance_tells_how_the_clocks_of_each_pair_stand() {
    let mut case = Case::new(UDP);
    let clocks =
        |case: &Case| serde_json::to_value(case.result()).unwrap()["provenance"]["clocks"].take();
    let pair = |relation: &str, bound_us: Value| json!([{ "from": "a", "to": "b", "relation": relation, "bound_us": bound_us }]);
    assert_eq!(clocks(&case)["pairs"], pair("same-kernel", json!(0.0)));
    assert_eq!(clocks(&case)["steps"], json!([]));
    rx(case.flow(1)).window.delay_bound_ns = Some(42_500);
    rx(case.flow(1)).window.clock_step_ns = Some(3_000_000);
    assert_eq!(clocks(&case)["pairs"], pair("estimated", json!(42.5)));
    let step = json!([{ "flow": 1, "end": "rx", "step_us": 3_000.0 }]);
    assert_eq!(clocks(&case)["steps"], step);
    rx(case.flow(1)).window.delay_bound_ns = None;
    assert_eq!(clocks(&case)["pairs"], pair("relative", Value::Null));
    let window = &mut rx(case.flow(1)).window;
    (window.delay, window.clock_step_ns) = (None, None);
    assert_eq!(clocks(&case), Value::Null, "nothing is known of clocks");
}
