use serde_json::{Value, json};

use super::*;

/// A UDP flow as a healthy run has it.
const FLOW: &str = r#"{
    "flow": 0, "set": "udp", "key": "udp/udp/a>b", "phase": "udp", "repeat": 1, "cell": {}, "round": null,
    "from": "150-iperf-generator", "to": "162-iperf-receiver-1", "from_asn": 150, "to_asn": 162,
    "transport": "udp", "tuples": ["10.150.0.71:40112>10.162.0.71:7900"],
    "valid": true, "complete": true, "reasons": [], "warnings": [],
    "window_s": [61.0, 121.0], "duration_s": 60.0,
    "offered": { "packets": 53571, "bytes": 74999400 }, "sent": { "packets": 53571, "bytes": 74999400 },
    "received": { "packets": 53570, "bytes": 74998000 },
    "lost": { "sender": 0, "network": 1, "receiver": 0 },
    "lost_detail": { "behind": 0, "blocked": 0, "refused": 0, "egress": 0, "path": 1, "socket": 0, "head": 0, "tail": 0 },
    "loss": 0.0000187, "late": 0, "duplicate": 0, "reordered": 0, "reorder_extent_max": 0,
    "rate_bps": 9999733.0, "rates_bps": { "offered": 9999920.0, "sent": { "payload": 9999920.0 }, "received": { "payload": 9999733.0 } },
    "delay_us": { "clock": "same-kernel", "bound": 0.0, "stamps": "user>kernel", "n": 53570, "min": 21.0, "mean": 34.0,
        "p50": 31.0, "p90": 50.0, "p99": 88.0, "p999": 190.0, "max": 410.0, "sd": 11.0 },
    "path": { "tx": "sendmmsg", "rx": "recvmmsg", "link": true },
    "cpu": { "tx_pct": 3.0, "rx_pct": 4.0, "runq_wait_pct": 0.4 }
}"#;

/// The same with this number.
fn flow(number: u32) -> Value {
    let mut flow: Value = serde_json::from_str(FLOW).unwrap();
    flow["flow"] = json!(number);
    flow
}

/// An unlimited TCP flow of the phase before.
fn tcp(number: u32) -> Value {
    let mut flow = flow(number);
    for absent in [
        "offered",
        "lost",
        "lost_detail",
        "loss",
        "late",
        "duplicate",
        "reordered",
        "reorder_extent_max",
        "delay_us",
    ] {
        flow.as_object_mut().unwrap().remove(absent);
    }
    flow["phase"] = json!("tcp");
    flow["set"] = json!("tcp");
    flow["transport"] = json!("tcp");
    flow["window_s"] = json!([0.0, 60.0]);
    flow["sent"] = json!({ "bytes": 353_000_000 });
    flow["received"] = json!({ "bytes": 352_000_000 });
    flow["rate_bps"] = json!(46_900_000.0);
    flow["rates_bps"] =
        json!({ "sent": { "payload": 47_000_000.0 }, "received": { "payload": 46_900_000.0 } });
    flow["retransmits"] = json!(12);
    flow["limited"] = json!("cpu");
    flow["tcp"] = json!({
        "cc": "cubic", "mss": 1448, "acked_bytes": 1, "drained_bytes": 340_000, "unread_bytes": 0,
        "retransmitted_bytes": 17_376, "setup_us": 90,
        "limited_s": { "network": 60.0, "receiver": 0.0, "buffer": 0.0, "app": 0.0 }
    });
    flow
}

fn document(flows: Vec<Value>) -> Value {
    let rows = 120 * flows.len();
    json!({
        "schema": "weir.result/1", "run": "r-0007", "campaign": "as150-to-162-171", "verdict": "pass", "exit": 0,
        "checks": { "valid": true, "complete": true, "expectations": true }, "reasons": [], "warnings": [],
        "time": { "t0": "2026-11-23T14:58:00.000000000Z", "t0_unix_ns": 1_795_445_880_000_000_000_i64, "linger_s": 2.0,
            "start_skew_us": { "max": 80.0, "bound": 0.0 } },
        "ledger": { "expected": rows, "stored": rows, "coalesced": 0, "gaps": [], "unclosed": [] },
        "flows": flows, "sets": [], "expectations": [], "provenance": {}
    })
}

fn shown(document: &Value, shown: Shown<'_>) -> Vec<String> {
    lines(&parse(&document.to_string()).unwrap(), shown)
}

#[test]
fn the_end_of_a_healthy_run() {
    let document = document(vec![tcp(1), flow(2)]);
    let options = Shown {
        database: Some("/home/a/.local/share/weir/weir.db"),
        home: Some("/home/a"),
        all: false,
        next: true,
    };
    assert_eq!(
        shown(&document, options),
        [
            "run r-0007 as150-to-162-171   2 phases, Mon Nov 23 14:58:00 UTC 2026",
            "2 flows, 1 repeat, 2 min 3 s                                       PASS",
            "phase  flow  from -> to                                   asked    got  loss %  p50  p99  delay  notes",
            "tcp       1  150-iperf-generator -> 162-iperf-receiver-1    max  46.90       -    -    -         retransmits 12, drained 340.0 kB, limited by cpu",
            "udp       2  150-iperf-generator -> 162-iperf-receiver-1  10.00  10.00   0.002   31   88  us     same kernel, path 1",
            "rates in Mbit/s of payload · records 240 of 240 · no flow invalid · data ~/.local/share/weir/weir.db",
            "next: weir show · weir records > r.csv",
        ]
    );
}

#[test]
fn an_estimated_clock_says_how_wrong_it_may_be() {
    let mut estimated = flow(1);
    estimated["delay_us"]["clock"] = json!("estimated");
    estimated["delay_us"]["bound"] = json!(42.5);
    let mut relative = flow(2);
    relative["delay_us"]["clock"] = json!("relative");
    relative["delay_us"]
        .as_object_mut()
        .unwrap()
        .remove("bound");
    let lines = shown(&document(vec![estimated, relative]), Shown::default());
    let noted = |note: &str| lines.iter().any(|line| line.contains(note));
    assert!(noted("  clock estimated to 42 us, path 1"), "{lines:#?}");
    assert!(noted("  clock relative, path 1"), "{lines:#?}");
}

#[test]
fn columns_that_no_flow_has_are_left_out() {
    let lines = shown(&document(vec![tcp(1)]), Shown::default());
    assert_eq!(
        lines[2],
        "phase  flow  from -> to                                   asked    got  notes"
    );
    assert_eq!(
        lines[4],
        "rates in Mbit/s of TCP payload · records 120 of 120 · no flow invalid"
    );
    let mut named = flow(1);
    named["set"] = json!("probe");
    let lines = shown(&document(vec![named]), Shown::default());
    assert!(lines[2].starts_with("phase  set    flow"), "{}", lines[2]);
}

#[test]
fn every_part_of_a_loss_is_printed() {
    let mut lossy = flow(1);
    lossy["lost_detail"] = json!({
        "behind": 1, "blocked": 2, "refused": 3, "egress": 4, "path": 5, "socket": 6, "head": 0, "tail": 0
    });
    lossy["late"] = json!(7);
    lossy["duplicate"] = json!(8);
    lossy["reordered"] = json!(9);
    let lines = shown(&document(vec![lossy]), Shown::default());
    assert!(
        lines[3].ends_with(
            "same kernel, behind 1, blocked 2, refused 3, egress 4, path 5, receiver drops 6, late 7, duplicate 8, reordered 9"
        ),
        "{}",
        lines[3]
    );
}

#[test]
fn a_flow_with_outages_has_a_line_of_them() {
    let mut cut = flow(2);
    let outage = |from: f64, length: f64, ended: bool| {
        json!({
            "from_s": from, "to_s": ended.then_some(from + length), "length_s": length,
            "lost": 1000, "first_seq": 4000, "last_seq": 4999
        })
    };
    cut["outages"] = json!({
        "count": 1, "sum_s": 2.0, "max_s": 2.0, "resolution_s": 0.002, "kept": [outage(8.0, 2.0, true)]
    });
    let mut worse = flow(3);
    worse["outages"] = json!({
        "count": 2, "sum_s": 7.5, "max_s": 4.5, "resolution_s": null,
        "kept": [outage(1.0, 3.0, true), outage(55.5, 4.5, false)]
    });
    let lines = shown(&document(vec![flow(1), cut, worse]), Shown::default());
    assert_eq!(
        lines[7..],
        [
            "outage: flow 3 udp/udp/a>b: 2 outages, the longest 4.500 s from 55.500 s on, \
             1000 packets lost (4000 to 4999), not over when the flow ended, 7.500 s in all",
            "outage: flow 2 udp/udp/a>b: 1 outage 2.000 s from 8.000 s on, \
             1000 packets lost (4000 to 4999) (within 2000 us)",
        ]
    );
}

#[test]
fn an_invalid_flow_is_marked_and_its_reason_told() {
    let mut invalid = flow(2);
    let reason = json!({
        "code": "behind", "flow": 2, "end": "tx", "value": 0.02, "limit": 0.01,
        "text": "1071 of 53571 packets (2.00 %) were given up because the sender's CPU was late; allowed is 1 %"
    });
    invalid["valid"] = json!(false);
    invalid["reasons"] = json!([reason]);
    let mut document = document(vec![flow(1), invalid]);
    document["verdict"] = json!("invalid");
    document["exit"] = json!(4);
    document["reasons"] = json!([reason]);
    let lines = shown(&document, Shown::default());
    assert!(lines[1].ends_with("INVALID"));
    assert!(
        lines[4].contains("INVALID (behind), same kernel"),
        "{}",
        lines[4]
    );
    assert!(
        lines[5].contains("1 of 2 flows invalid, excluded"),
        "{}",
        lines[5]
    );
    assert_eq!(
        lines[6],
        "invalid (behind), flow 2 tx: 1071 of 53571 packets (2.00 %) were given up because the sender's CPU was late; allowed is 1 %"
    );
}

#[test]
fn a_flow_that_never_started_has_no_figures_and_a_hint() {
    let mut dead = flow(2);
    for unknown in ["sent", "received", "rate_bps", "loss"] {
        dead[unknown] = Value::Null;
    }
    dead.as_object_mut().unwrap().remove("delay_us");
    dead.as_object_mut().unwrap().remove("lost_detail");
    dead["rates_bps"] = json!({ "sent": null, "received": null });
    dead["complete"] = json!(false);
    let reason = json!({
        "code": "unreachable", "flow": 2, "end": "tx",
        "text": "150-a -> 162-b: connect 10.162.0.72:7900: no route\u{1b}[2J"
    });
    dead["reasons"] = json!([reason]);
    let mut document = document(vec![flow(1), dead]);
    document["verdict"] = json!("partial");
    document["reasons"] = json!([reason]);
    document["ledger"]["stored"] = json!(120);
    document["ledger"]["gaps"] = json!([{
        "agent": "162-b", "flow": 1, "end": "rx", "rows": 3, "from_s": 10.0, "to_s": 13.0, "why": "never came"
    }]);
    document["ledger"]["unclosed"] = json!([{
        "agent": "162-b", "flow": 1, "end": "rx", "stored": 57, "planned": 60, "why": "lost"
    }]);
    let lines = shown(
        &document,
        Shown {
            next: true,
            ..Shown::default()
        },
    );
    assert!(
        lines[4].contains("-      -       -    -    -         INCOMPLETE (unreachable)"),
        "{}",
        lines[4]
    );
    assert_eq!(
        lines[6..],
        [
            "missing: 3 rows of flow 1 rx at 162-b from 10.0 to 13.0 s: never came",
            "unclosed: flow 1 rx at 162-b, 57 of 60 planned rows stored: lost",
            "partial (unreachable), flow 2 tx: 150-a -> 162-b: connect 10.162.0.72:7900: no route\\u{1b}[2J",
            "next: again with --settle 120s while routes converge · weir show · weir records > r.csv",
        ]
    );
}

#[test]
fn a_run_that_never_started_says_so() {
    let mut document = document(Vec::new());
    document["time"]["t0"] = Value::Null;
    document["time"]["t0_unix_ns"] = Value::Null;
    let lines = shown(&document, Shown::default());
    assert!(lines[0].ends_with("never started"));
    assert!(lines[1].starts_with("0 flows, 0 repeats "), "{}", lines[1]);
}

#[test]
fn expectations_are_told_with_their_worst_value() {
    let mut document = document(vec![flow(1)]);
    document["expectations"] = json!([
        { "phase": "udp", "set": "udp", "that": "loss <= 1 %", "each": "flow", "level": "fail",
          "measured": 0.0000187, "worst": 1, "held": 1, "of": 1, "invalid_excluded": 0, "pass": true },
        { "that": "delay.p99 <= 50 us", "each": "flow", "level": "fail",
          "measured": 0.000088, "worst": 1, "held": 0, "of": 2, "invalid_excluded": 1, "pass": false },
        { "that": "rate >= 9 Mbit/s", "each": "set", "level": "warn",
          "measured": null, "held": 0, "of": 0, "invalid_excluded": 0, "pass": false }
    ]);
    document["reasons"] = json!([{ "code": "expectation", "flow": 1, "text": "told by the line of the expectation" }]);
    let lines = shown(&document, Shown::default());
    assert_eq!(
        lines[5..],
        [
            "expect udp/udp.loss <= 1 %: held, worst 0.002 %, flow 1; 1 of 1 flow",
            "expect delay.p99 <= 50 us: NOT HELD, worst 88 us, flow 1; 0 of 2 flows, 1 invalid excluded",
            "expect rate >= 9 Mbit/s: NOT HELD (warning), nothing measured; 0 of 0 sets",
        ]
    );
}

#[test]
fn equal_warnings_are_one_line() {
    let warned = |number: u32| {
        let mut flow = flow(number);
        flow["warnings"] = json!([{ "code": "buffer-below-queue", "flow": number, "end": "tx", "text": "too small" }]);
        flow
    };
    let document = document(vec![warned(1), warned(2)]);
    let lines = shown(&document, Shown::default());
    assert_eq!(
        lines[6],
        "warning (buffer-below-queue), flows 1 tx, 2 tx: too small"
    );
}

#[test]
fn warnings_that_differ_in_their_figure_are_one_line_with_the_worst() {
    let warned = |number: u32, value: f64| {
        let mut flow = flow(number);
        let text = format!("waited {value}");
        flow["warnings"] = json!([{ "code": "runq", "flow": number, "end": "rx", "value": value, "limit": 0.1, "text": text }]);
        flow
    };
    let document = document(vec![warned(1, 0.2), warned(2, 0.6), warned(3, 0.3)]);
    let lines = shown(&document, Shown::default());
    assert_eq!(
        lines[7],
        "warning (runq), flows 1 rx, 2 rx, 3 rx; worst 2 rx: waited 0.6"
    );
}

#[test]
fn the_place_of_a_loss_is_one_line_with_its_flows() {
    let lossy = |number: u32| {
        let mut flow = flow(number);
        flow["lost_at"] = json!([
            { "agent": "150-router0", "interface": "ix100", "by": "tbf", "dropped": 1234 },
            { "agent": "162-h", "interface": "net0", "by": "rx", "dropped": 2 }
        ]);
        flow
    };
    let document = document(vec![lossy(1), lossy(2)]);
    let lines = shown(&document, Shown::default());
    let places: Vec<_> = lines
        .iter()
        .filter(|line| line.starts_with("lost on the way"))
        .collect();
    assert_eq!(
        places,
        [
            "lost on the way, flows 1, 2: 150-router0 ix100: 1234 dropped by tbf",
            "lost on the way, flows 1, 2: 162-h net0: 2 dropped on arrival",
        ]
    );
}

/// Thirty flows between three AS; the 30th is the worst, the 29th invalid.
fn many() -> Value {
    let flows: Vec<Value> = (1..=30)
        .map(|number| {
            let mut flow = flow(number);
            let (from, to) = [(150, 162), (150, 171), (162, 171)][number as usize % 3];
            flow["from_asn"] = json!(from);
            flow["to_asn"] = json!(to);
            flow["from"] = json!(format!("{from}-h"));
            flow["to"] = json!(format!("{to}-h"));
            if number == 30 {
                flow["rate_bps"] = json!(1_000_000.0);
                flow["loss"] = json!(0.9);
            }
            if number == 29 {
                flow["valid"] = json!(false);
                flow["reasons"] = json!([{ "code": "frozen", "text": "x" }]);
            }
            flow
        })
        .collect();
    let mut document = document(flows);
    document["sets"] = json!([{
        "set": "udp", "phase": "udp", "repeat": 1, "cell": {}, "flows": 30, "valid": 29, "loss": 0.03,
        "rate_bps": { "sum": 280_000_000.0, "min": 1_000_000.0, "median": 9_999_733.0, "max": 9_999_733.0, "fairness": 0.97 }
    }]);
    document
}

#[test]
fn many_flows_are_a_matrix_the_worst_and_the_invalid() {
    let lines = shown(
        &many(),
        Shown {
            next: true,
            ..Shown::default()
        },
    );
    assert_eq!(
        lines[2..11],
        [
            "udp/udp: 30 flows, 1 invalid, excluded, sum 280.00, least 1.00, median 10.00, most 10.00 Mbit/s, fairness 0.970, loss 3.000 %",
            "median got Mbit/s, AS -> AS    162    171",
            "                        150  10.00  10.00",
            "                        162      -  10.00",
            "median loss %, AS -> AS    162    171",
            "                    150  0.002  0.002",
            "                    162      -  0.002",
            "the 10 worst flows",
            "phase  flow  from -> to      asked    got  loss %  p50  p99  delay  notes",
        ]
    );
    assert!(
        lines
            .iter()
            .any(|line| line.contains("30  150-h -> 162-h  10.00   1.00   90.00")),
        "{lines:#?}"
    );
    assert!(lines.contains(&"the 1 invalid flow".to_owned()));
    assert!(lines.iter().any(|line| line.contains("INVALID (frozen)")));
    assert_eq!(
        lines.last().unwrap(),
        "next: weir show --flows · weir show · weir records > r.csv"
    );
}

#[test]
fn all_flows_are_rows_on_request() {
    let lines = shown(
        &many(),
        Shown {
            all: true,
            ..Shown::default()
        },
    );
    assert_eq!(lines.len(), 2 + 1 + 30 + 1);
}

#[test]
fn another_document_is_refused() {
    assert!(
        parse("{\"schema\":\"weir.result/9\"}")
            .unwrap_err()
            .contains("--json")
    );
}

#[test]
fn every_figure_of_a_flow_has_its_line() {
    let document = parse(&document(vec![flow(1), tcp(2)]).to_string()).unwrap();
    let lines = details(&document);
    let of_udp = [
        "flow 1 udp 150-iperf-generator -> 162-iperf-receiver-1",
        "  offered   53571 packets, 75.0 MB, 10.00 Mbit/s",
        "  sent      53571 packets, 75.0 MB, 10.00 Mbit/s",
        "  received  53570 packets, 75.0 MB, 10.00 Mbit/s",
        "  lost      sender 0 (behind 0, blocked 0, refused 0); network 1 (egress 0, path 1), 0.002 %; receiver's socket 0",
        "  order     late 0, duplicate 0, reordered 0",
        "  delay     min 21, mean 34, p50 31, p90 50, p99 88, p99.9 190, max 410 us; same kernel",
        "  cpu       sender 3.0 %, receiver 4.0 %, waiting 0.4 %",
        "  path      sent by sendmmsg, received by recvmmsg",
    ];
    assert_eq!(lines[..of_udp.len()], of_udp);
    let of_tcp = [
        "flow 2 tcp 150-iperf-generator -> 162-iperf-receiver-1",
        "  sent      353.0 MB, 47.00 Mbit/s",
        "  received  352.0 MB, 46.90 Mbit/s",
        "  tcp       cubic, mss 1448, retransmits 12 (17.4 kB), acked 1 B, drained 340.0 kB, unread 0 B, limited by network 60.0, receiver 0.0, buffer 0.0, application 0.0 s",
    ];
    assert_eq!(lines[of_udp.len()..][..of_tcp.len()], of_tcp);
}

#[test]
fn the_floor_of_a_check_stands_beside_the_figures() {
    let mut document = document(vec![flow(1)]);
    document["provenance"] = json!({ "floor": [{
        "run": "r-0003", "from": "a", "to": "b", "clock": "same-kernel",
        "delay_us": { "p50": 7.0, "p99": 20.0 }, "lateness_us": null,
        "single_pps": 80_000.0, "beyond": null
    }] });
    let lines = shown(&document, Shown::default());
    let told = "floor a -> b: delay p50 7.0, p99 20 us; lateness -; no loss up to 80000 pkt/s (check r-0003)";
    assert!(lines.iter().any(|line| line == told), "{lines:?}");
}
