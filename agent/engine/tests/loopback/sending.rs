//! How a UDP flow sends: its policy, its total, its bundles, its socket.

use std::net::{Ipv6Addr, UdpSocket};

use weir_common::assignment::{
    Bundles, Layer, OnFull, Pacing, Peer, RampPoint, Rate, SessionSpec, SocketTraffic, Transport,
};
use weir_common::record::FlowClosed;
use weir_engine::engine::{Event, FailureCode};

use crate::pair::{MS, Pair, assert_conserved, assert_whole, segment, session, traffic};

fn udp(packets_per_second: u64) -> SocketTraffic {
    let rate = Rate::MilliPacketsPerSecond(packets_per_second * 1_000);
    traffic(Transport::Udp, rate, 100)
}

/// Both ends of a flow of that traffic for so many milliseconds.
fn ends(traffic: SocketTraffic, length_ms: u64) -> (FlowClosed, FlowClosed) {
    let pair = Pair::complete(vec![session(1, traffic, vec![segment(1, 0, length_ms, 0)])]);
    let (tx, rx) = (assert_whole(&pair.tx, 1), assert_whole(&pair.rx, 1));
    assert_conserved(&tx, &rx);
    (tx, rx)
}

#[test]
fn a_kept_gap_is_named_and_what_it_leaves_out_is_behind() {
    let mut gap = udp(1_000);
    gap.pacing = Pacing::KeepGap;
    gap.bundles = Bundles::On;
    let (tx, _) = ends(gap, 400);
    assert_eq!(tx.path.pacing.as_deref(), Some("keep-gap"));
    assert_eq!(
        tx.path.gso.as_deref(),
        Some("off"),
        "no two of them together"
    );
    assert_eq!(tx.total.offered_packets, Some(400), "what was asked for");
    let (sent, behind) = (
        tx.total.tx_packets.unwrap(),
        tx.total.behind_packets.unwrap(),
    );
    assert_eq!(sent + behind, 400);
    // A shifted schedule is kept: lateness is that of single wake-ups.
    assert!(tx.window.lateness.is_some());
}

#[test]
fn bundles_are_what_was_asked_for() {
    let auto = |single_below_milli_pps| Bundles::Auto {
        single_below_milli_pps,
    };
    for (bundles, gso) in [
        (Bundles::On, "on"),
        (Bundles::Off, "off"),
        (auto(30_000_000), "on"),
        (auto(40_000_000), "off"),
    ] {
        let mut traffic = udp(40_000);
        traffic.bundles = bundles;
        let (tx, rx) = ends(traffic, 300);
        assert_eq!(tx.path.gso.as_deref(), Some(gso), "{bundles:?}");
        assert_eq!(tx.path.call, if gso == "on" { "gso" } else { "send" });
        assert_eq!(rx.path.call == "gro", gso == "on", "{bundles:?}");
        assert_eq!(tx.total.offered_packets, Some(12_000), "{bundles:?}");
        // Each packet of a bundle has its own time to leave.
        let lateness = tx.window.lateness.unwrap();
        assert_eq!(Some(lateness.count()), tx.window.counters.tx_packets);
    }
    let mut single = traffic(Transport::Udp, Rate::Max, 1_000);
    single.bundles = Bundles::Off;
    let (tx, _) = ends(single, 300);
    assert_eq!(tx.path.gso.as_deref(), Some("off"));
    assert_eq!(tx.path.call, "send");
}

#[test]
fn a_bundle_across_the_end_of_the_warm_up_is_of_both_cohorts() {
    let mut bundled = udp(40_000);
    bundled.bundles = Bundles::On;
    let segments = vec![segment(1, 0, 300, 100), segment(2, 300, 200, 50)];
    let pair = Pair::complete(vec![session(1, bundled, segments)]);
    for (flow, all, measured) in [(1, 12_000, 8_000), (2, 8_000, 6_000)] {
        let (tx, rx) = (assert_whole(&pair.tx, flow), assert_whole(&pair.rx, flow));
        assert_conserved(&tx, &rx);
        assert_eq!(tx.total.offered_packets, Some(all));
        assert_eq!(tx.window.counters.offered_packets, Some(measured));
    }
}

#[test]
fn a_rate_counts_the_headers_of_its_layer() {
    // 1 Mbit/s of frames of 142 bytes: 880.28 packets in a second.
    for (layer, packets) in [(Layer::Payload, 1_250), (Layer::Frame, 880)] {
        let mut traffic = traffic(Transport::Udp, Rate::BitsPerSecond(1_000_000), 100);
        traffic.layer = layer;
        let (tx, _) = ends(traffic, 1_000);
        assert_eq!(tx.total.offered_packets, Some(packets), "{layer:?}");
    }
}

#[test]
fn a_ramp_of_several_streams_meets_its_total() {
    let mut ramp = udp(200);
    let point = |at_ms: u64, packets: u64| RampPoint {
        at_ns: at_ms * MS,
        rate: packets * 1_000,
    };
    // 100 ms of 200 a second, 200 ms up to 2,000, then 1,000.
    ramp.ramp = vec![point(100, 200), point(300, 2_000), point(300, 1_000)];
    let mut one = session(1, ramp, vec![segment(1, 0, 500, 0)]);
    one.tags = vec![21, 22, 23];
    let pair = Pair::complete(vec![one]);
    let (tx, rx) = (assert_whole(&pair.tx, 1), assert_whole(&pair.rx, 1));
    assert_conserved(&tx, &rx);
    assert_eq!(tx.total.offered_packets, Some(20 + 220 + 200));
}

#[test]
fn marks_and_buffers_are_those_asked_for_whoever_dials() {
    for dials in [true, false] {
        let mut marked = udp(1_000);
        marked.window = Some(60_000);
        marked.marking.ttl = Some(9);
        let mut one = session(1, marked, vec![segment(1, 0, 300, 0)]);
        one.dials = dials;
        let pair = Pair::complete(vec![one]);
        let (tx, rx) = (assert_whole(&pair.tx, 1), assert_whole(&pair.rx, 1));
        assert_conserved(&tx, &rx);
        assert_eq!(rx.window.ttl, Some((9, 9)), "dials {dials}");
        assert_eq!(tx.path.buffer_bytes, Some(120_000), "dials {dials}");
        assert_eq!(rx.path.buffer_bytes, Some(120_000), "dials {dials}");
    }
    let mut waiting = udp(1_000);
    waiting.on_full = OnFull::Wait;
    let (tx, _) = ends(waiting, 200);
    let buffer = tx.path.buffer_bytes.unwrap();
    assert!(
        buffer < 1 << 20,
        "smaller than the queue behind it: {buffer}"
    );
}

#[test]
fn the_source_of_streams_is_the_one_asked_for() {
    let mut one = session(1, udp(500), vec![segment(1, 0, 200, 0)]);
    one.tags = vec![31, 32];
    one.source_interface = Some("lo".to_owned());
    // Two neighbouring ports that were just free.
    let first = (40_000..60_000)
        .step_by(2)
        .find(|port| {
            let free = |port| UdpSocket::bind(("127.0.0.1", port)).is_ok();
            free(*port) && free(*port + 1)
        })
        .unwrap();
    one.source_port = Some(first);
    let pair = Pair::complete(vec![one]);
    let tx = assert_whole(&pair.tx, 1);
    assert_conserved(&tx, &assert_whole(&pair.rx, 1));
    for (tuple, port) in tx.tuples.iter().zip(first..) {
        assert!(tuple.starts_with(&format!("127.0.0.1:{port}>")), "{tuple}");
    }
}

/// Why the generator could not prepare.
fn refused(one: SessionSpec) -> (FailureCode, String) {
    let pair = Pair::prepare(vec![one]);
    let failure = pair.tx.wait("failure", |events| {
        events.iter().find_map(|event| match event {
            Event::Failed { code, reason, .. } => Some((*code, reason.clone())),
            _ => None,
        })
    });
    pair.tx_run.stop("the test is over");
    pair.rx_run.stop("the test is over");
    pair.tx.finished();
    pair.rx.finished();
    failure
}

#[test]
fn what_a_host_cannot_give_a_datagram_socket_is_refused_before_t0() {
    let one = || session(1, udp(500), vec![segment(1, 0, 200, 0)]);
    let mut nowhere = one();
    nowhere.source_interface = Some("weir-none0".to_owned());
    let mut labelled = udp(500);
    labelled.marking.flow_label = Some(5);
    let labelled = session(1, labelled, vec![segment(1, 0, 200, 0)]);
    let taken = UdpSocket::bind("0.0.0.0:0").unwrap();
    let mut used = one();
    used.source_port = Some(taken.local_addr().unwrap().port());
    for (asked, says) in [
        (nowhere, "weir-none0"),
        (labelled, "set the flow label 5 to 127.0.0.1"),
        (used, "choose another port"),
    ] {
        let (code, reason) = refused(asked);
        assert_eq!(code, FailureCode::Bind, "{reason}");
        assert!(reason.contains(says), "{reason}");
    }
}

#[test]
fn streams_over_ipv6_share_a_flow_label() {
    if UdpSocket::bind("[::1]:0").is_err() {
        return; // a host without IPv6
    }
    let mut labelled = udp(500);
    labelled.marking.flow_label = Some(0xbeef);
    let mut six = session(1, labelled, vec![segment(1, 0, 200, 0)]);
    six.tags = vec![41, 42];
    six.peer = Peer::Agent {
        name: "receiver".parse().unwrap(),
        addresses: vec![Ipv6Addr::LOCALHOST.into()],
    };
    let pair = Pair::complete(vec![six]);
    let (tx, rx) = (assert_whole(&pair.tx, 1), assert_whole(&pair.rx, 1));
    assert_conserved(&tx, &rx);
    assert_eq!(tx.total.offered_packets, Some(100));
}
