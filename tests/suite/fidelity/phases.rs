//! Phases, flow sets, directions: who sends what when, and which figures are whose.

use std::fs;

use serde_json::Value;
use weir_common::record::End;
use weir_tests::{Ground, needs};

use super::check::{forget, kernel_agrees};
use super::{GENERATOR, RECEIVER, flows, number, on_two_hosts, run, run_line};

fn flow<'a>(document: &'a Value, key: &str) -> &'a Value {
    let found = flows(document).iter().find(|flow| {
        let is = |name: &str| flow[name].as_str().unwrap_or_default();
        key == format!("{}/{}", is("phase"), is("set"))
    });
    found.unwrap_or_else(|| panic!("no flow {key} in {document:#}"))
}

#[test]
fn without_a_pause_a_flow_keeps_its_socket_and_is_cut_by_phase() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    let file = cluster.directory().join("joined.toml");
    let text = format!(
        r#"
        interval = "250ms"
        [pairs]
        from = "{GENERATOR}"
        to = "{RECEIVER}"
        [[phase]]
        name = "idle"
        for = "1s"
        [[phase]]
        name = "loaded"
        for = "1s"
        pause = "0s"
        traffic = {{ tcp = "20 Mbit/s" }}
        [[phase]]
        name = "after"
        for = "500ms"
        pause = "500ms"
        [[flow]]
        name = "probe"
        traffic = {{ udp = "400 pkt/s", size = 64 }}
        [[flow]]
        name = "stream"
        traffic = {{ tcp = "2 Mbit/s" }}
        [valid]
        ignore = ["behind", "frozen"]
        "#
    );
    fs::write(&file, text).expect("a campaign file");
    forget(&cluster, &[GENERATOR, RECEIVER]);
    let (document, account) = run_line(&cluster, &file.display().to_string(), 0);
    kernel_agrees(&cluster, &account, GENERATOR, RECEIVER);
    assert_eq!(flows(&document).len(), 7);
    for set in ["probe", "stream"] {
        let tuples = |phase: &str| flow(&document, &format!("{phase}/{set}"))["tuples"].clone();
        assert_eq!(tuples("idle"), tuples("loaded"), "{set} keeps its socket");
        assert_ne!(
            tuples("loaded"),
            tuples("after"),
            "{set} begins anew after a pause"
        );
    }
    for (phase, packets, starts) in [
        ("idle", 400, 0),
        ("loaded", 400, 1_000),
        ("after", 200, 2_500),
    ] {
        let probe = flow(&document, &format!("{phase}/probe"));
        assert_eq!(number(probe, "/offered/packets"), packets, "{phase}");
        assert_eq!(number(probe, "/lost/network"), 0, "{phase}: {probe:#}");
        for end in [End::Tx, End::Rx] {
            let kept = &account[&(number(probe, "/flow") as u32, end)];
            assert_eq!(kept.rows[0].start_ns, starts * 1_000_000, "{phase} {end:?}");
        }
    }
}

#[test]
fn flags_of_phases_and_sets_mean_what_they_say() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    forget(&cluster, &[GENERATOR, RECEIVER]);
    let line = "--interval 250ms --udp 100pkt/s --size 100 --for 1s --name first \
                --with --tcp 1M --name beside --for 500ms \
                --then --tcp 2M --for 1s --name second --pause 200ms \
                --always --udp 50pkt/s --size 64 --name probe";
    let (document, account) = run(&cluster, line, 0);
    kernel_agrees(&cluster, &account, GENERATOR, RECEIVER);
    let mut keys: Vec<String> = flows(&document)
        .iter()
        .map(|flow| {
            format!(
                "{}/{}",
                flow["phase"].as_str().unwrap(),
                flow["set"].as_str().unwrap()
            )
        })
        .collect();
    keys.sort();
    assert_eq!(
        keys,
        [
            "first/beside",
            "first/first",
            "first/probe",
            "second/probe",
            "second/second"
        ]
    );
    assert_eq!(
        super::figure(flow(&document, "first/beside"), "/duration_s"),
        0.5
    );
    assert_eq!(
        flow(&document, "second/second")["window_s"],
        serde_json::json!([1.2, 2.2])
    );
}

#[test]
fn both_is_two_flows_that_know_each_other() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    for traffic in ["--udp 300pkt/s --size 100", "--tcp 3M"] {
        forget(&cluster, &[GENERATOR, RECEIVER]);
        let (document, account) = run(
            &cluster,
            &format!("--both {traffic} --for 1s --interval 500ms"),
            0,
        );
        let [there, back] = flows(&document) else {
            panic!("two flows: {document:#}")
        };
        assert_eq!((&there["from"], &there["to"]), (&back["to"], &back["from"]));
        assert_eq!(there["reverse_of"], back["flow"]);
        assert_eq!(back["reverse_of"], there["flow"]);
        for (flow, from, to) in [(there, GENERATOR, RECEIVER), (back, RECEIVER, GENERATOR)] {
            assert!(number(flow, "/received/bytes") > 0, "{flow:#}");
            let id = number(flow, "/flow") as u32;
            let own = account.iter().filter(|((of, _), _)| *of == id);
            let own = own.map(|(key, kept)| (*key, kept.clone())).collect();
            // An answer to the other direction's hello is none of this flow's packets.
            if traffic.starts_with("--udp") {
                assert_eq!(number(flow, "/offered/packets"), 300, "{flow:#}");
                answers_apart(&cluster, &own, from, to);
            }
        }
    }
}

/// The data of one direction, found by its own addresses and ports, in the kernel's counters.
fn answers_apart(cluster: &weir_tests::Cluster, own: &weir_tests::Account, from: &str, to: &str) {
    let closed = |end: End| {
        own.iter()
            .find(|((_, of), _)| *of == end)
            .map(|(_, kept)| &kept.closed)
    };
    let (tx, rx) = (
        closed(End::Tx).expect("a generator"),
        closed(End::Rx).expect("a receiver"),
    );
    let (source, target) = tx.tuples[0].split_once('>').expect("a>b");
    let counted = |host: &str| {
        let counters = cluster
            .lab()
            .counters(host)
            .expect("hosts are counted")
            .udp();
        counters.only(|counter| {
            counter.source.to_string() == source && counter.destination.to_string() == target
        })
    };
    let control = |closed: &weir_common::record::FlowClosed| closed.control_packets.unwrap_or(0);
    assert_eq!(
        counted(from).output().packets(),
        tx.total.tx_packets.unwrap_or(0) + control(tx)
    );
    assert_eq!(
        counted(to).input().packets(),
        rx.total.rx_packets.unwrap_or(0) + control(rx)
    );
}

#[test]
fn either_end_dials() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    for traffic in [
        "--udp 300pkt/s --size 100",
        "--udp 300pkt/s --streams 2",
        "--tcp 3M",
        "--tcp max --streams 2",
    ] {
        // --reverse swaps the sides and the dialling: data flows towards the one that dials.
        for (line, from, to) in [
            (format!("--dial to {traffic}"), GENERATOR, RECEIVER),
            (format!("--reverse {traffic}"), RECEIVER, GENERATOR),
        ] {
            forget(&cluster, &[GENERATOR, RECEIVER]);
            let (document, account) =
                run(&cluster, &format!("{line} --for 1s --interval 500ms"), 0);
            let flow = &flows(&document)[0];
            assert_eq!(
                (flow["from"].as_str(), flow["to"].as_str()),
                (Some(from), Some(to)),
                "{line}"
            );
            assert!(number(flow, "/received/bytes") > 0, "{flow:#}");
            let (tx, rx) = (
                &account[&(1, End::Tx)].closed,
                &account[&(1, End::Rx)].closed,
            );
            assert!(
                rx.path.setup_us.is_some() && tx.path.setup_us.is_none(),
                "{line}: the receiver dials"
            );
            let source = cluster.lab().address(from).expect("a host").to_string();
            assert!(tx.tuples[0].starts_with(&source), "{line}: {:?}", tx.tuples);
            assert_eq!(tx.tuples, rx.tuples, "{line}");
            if traffic.starts_with("--udp") {
                kernel_agrees(&cluster, &account, from, to);
            }
        }
    }
}
