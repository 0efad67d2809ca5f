use std::sync::Arc;

use weir_common::assignment::{Peer, Rate, Transport};
use weir_common::id::SessionId;
use weir_common::record::Ending;
use weir_common::traffic::Law;
use weir_engine::engine::{Event, FailureCode};

use crate::pair::{
    Events, MS, Pair, TestPolicy, assert_conserved, assert_whole, assignment, engine, mirrored,
    now_ns, segment, session, traffic,
};

#[test]
fn one_flow_is_conserved_to_the_packet() {
    let one = traffic(Transport::Udp, Rate::MilliPacketsPerSecond(1_000_000), 200);
    let pair = Pair::complete(vec![session(1, one, vec![segment(1, 0, 600, 150)])]);
    let tx = assert_whole(&pair.tx, 1);
    let rx = assert_whole(&pair.rx, 1);
    assert_conserved(&tx, &rx);
    assert_eq!(
        (&tx.ending, &rx.ending),
        (&Ending::Completed, &Ending::Completed)
    );
    assert_eq!(tx.total.offered_packets, Some(600));
    assert_eq!(tx.window.counters.offered_packets, Some(450));
    assert_eq!(rx.total.lost_packets, Some(0));
    assert!(tx.link && rx.link);
    assert_eq!(tx.peer.unwrap().packets, rx.total.rx_packets.unwrap());
    assert_eq!(rx.peer.unwrap().packets, tx.total.tx_packets.unwrap());
    let delay = rx.window.delay.as_ref().unwrap();
    assert_eq!(Some(delay.count()), rx.window.counters.rx_packets);
    assert_eq!(rx.total.rx_of_tx_packets, rx.total.rx_packets);
}

#[test]
fn eight_generators_share_one_port() {
    let slow = || traffic(Transport::Udp, Rate::BitsPerSecond(1_000_000), 500);
    let sessions = (1..=8)
        .map(|n| session(n, slow(), vec![segment(n, 0, 500, 0)]))
        .collect();
    let pair = Pair::complete(sessions);
    let mut ports = Vec::new();
    for flow in 1..=8 {
        let (tx, rx) = (assert_whole(&pair.tx, flow), assert_whole(&pair.rx, flow));
        assert_conserved(&tx, &rx);
        assert_eq!(tx.total.tx_packets, Some(125));
        assert_eq!(rx.total.rx_packets, Some(125));
        assert_eq!(tx.tuples, rx.tuples);
        ports.extend(rx.tuples[0].rsplit(':').next().map(str::to_owned));
    }
    ports.dedup();
    assert_eq!(ports.len(), 1, "{ports:?}");
}

#[test]
fn streams_sum_up_to_the_flow() {
    let four = traffic(Transport::Udp, Rate::MilliPacketsPerSecond(2_000_000), 100);
    let mut one = session(1, four, vec![segment(1, 0, 500, 100)]);
    one.tags = vec![11, 12, 13, 14];
    let pair = Pair::complete(vec![one]);
    let (tx, rx) = (assert_whole(&pair.tx, 1), assert_whole(&pair.rx, 1));
    assert_conserved(&tx, &rx);
    assert_eq!(tx.total.offered_packets, Some(1000));
    assert_eq!(tx.tuples.len(), 4);
    assert!(pair.rx.rows(1).iter().any(|row| row.stream == Some(3)));
}

#[test]
fn phases_without_a_pause_are_flows_of_their_own() {
    let steady = traffic(Transport::Udp, Rate::MilliPacketsPerSecond(1_000_000), 64);
    let segments = vec![segment(1, 0, 400, 0), segment(2, 400, 400, 100)];
    let pair = Pair::complete(vec![session(1, steady, segments)]);
    for flow in [1, 2] {
        let (tx, rx) = (assert_whole(&pair.tx, flow), assert_whole(&pair.rx, flow));
        assert_conserved(&tx, &rx);
        assert_eq!(tx.total.offered_packets, Some(400));
        assert_eq!(rx.total.lost_packets, Some(0));
        assert_eq!(tx.peer.map(|peer| peer.packets), rx.total.rx_packets);
    }
}

#[test]
fn exponential_spacing_is_drawn_from_the_seed() {
    let mut poisson = traffic(Transport::Udp, Rate::MilliPacketsPerSecond(1_000_000), 64);
    poisson.arrival = Law::Exponential { mean: None };
    let run = || {
        let pair = Pair::complete(vec![session(
            1,
            poisson.clone(),
            vec![segment(1, 0, 500, 0)],
        )]);
        let (tx, rx) = (assert_whole(&pair.tx, 1), assert_whole(&pair.rx, 1));
        assert_conserved(&tx, &rx);
        assert_eq!(tx.path.rng.as_deref(), Some("chacha12"));
        tx.total.offered_packets.unwrap()
    };
    let (first, second) = (run(), run());
    assert_eq!(first, second);
    assert!((400..600).contains(&first), "{first}"); // 500 with a deviation of 22
}

#[test]
fn the_receiver_may_dial() {
    let steady = traffic(Transport::Udp, Rate::MilliPacketsPerSecond(500_000), 64);
    let mut reverse = session(1, steady, vec![segment(1, 0, 400, 0)]);
    reverse.dials = false;
    let pair = Pair::complete(vec![reverse]);
    let (tx, rx) = (assert_whole(&pair.tx, 1), assert_whole(&pair.rx, 1));
    assert_conserved(&tx, &rx);
    assert_eq!(rx.total.rx_packets, Some(200));
    assert_eq!(tx.tuples, rx.tuples);
    assert_eq!(tx.control_packets, rx.control_packets);
    assert!(tx.link && rx.window.delay.is_some());
}

#[test]
fn ipv6_is_served_on_the_same_port() {
    let steady = traffic(Transport::Udp, Rate::MilliPacketsPerSecond(500_000), 64);
    let mut six = session(1, steady, vec![segment(1, 0, 300, 0)]);
    let name = "receiver".parse().unwrap();
    six.peer = Peer::Agent {
        name,
        addresses: vec![std::net::Ipv6Addr::LOCALHOST.into()],
    };
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        return; // a host without IPv6
    }
    let pair = Pair::complete(vec![six]);
    let (tx, rx) = (assert_whole(&pair.tx, 1), assert_whole(&pair.rx, 1));
    assert_conserved(&tx, &rx);
    assert_eq!(rx.total.rx_packets, Some(150));
    assert!(tx.tuples[0].starts_with("[::1]"), "{:?}", tx.tuples);
}

#[test]
fn packets_without_room_for_a_time_have_no_delay() {
    let tiny = traffic(Transport::Udp, Rate::MilliPacketsPerSecond(500_000), 12);
    let pair = Pair::complete(vec![session(1, tiny, vec![segment(1, 0, 300, 0)])]);
    let (tx, rx) = (assert_whole(&pair.tx, 1), assert_whole(&pair.rx, 1));
    assert_conserved(&tx, &rx);
    assert!(rx.window.delay.is_none() && rx.total.rx_of_tx_packets.is_none());
    assert_eq!(rx.total.rx_bytes, Some(150 * 12));
}

#[test]
fn a_number_of_packets_or_bytes_is_met_and_ends_the_flow() {
    let mut counted = traffic(Transport::Udp, Rate::MilliPacketsPerSecond(2_000_000), 100);
    counted.packets = Some(333);
    let mut sized = traffic(Transport::Udp, Rate::Max, 1000);
    sized.bytes = Some(1_234_567);
    let segments = |flow| vec![segment(flow, 0, 5_000, 0)];
    let pair = Pair::complete(vec![
        session(1, counted, segments(1)),
        session(2, sized, segments(2)),
    ]);
    let (tx, rx) = (assert_whole(&pair.tx, 1), assert_whole(&pair.rx, 1));
    assert_conserved(&tx, &rx);
    assert_eq!(tx.total.tx_packets, Some(333));
    assert!(tx.window.length_ns < 4_000 * MS, "{}", tx.window.length_ns);
    assert_eq!(tx.window.length_ns, rx.window.length_ns);
    let (tx, rx) = (assert_whole(&pair.tx, 2), assert_whole(&pair.rx, 2));
    assert_conserved(&tx, &rx);
    assert_eq!(tx.total.tx_bytes, Some(1_234_567));
}

#[test]
fn as_fast_as_possible_is_conserved_too() {
    let max = traffic(Transport::Udp, Rate::Max, 1000);
    let pair = Pair::complete(vec![session(1, max, vec![segment(1, 0, 500, 0)])]);
    let (tx, rx) = (assert_whole(&pair.tx, 1), assert_whole(&pair.rx, 1));
    assert_conserved(&tx, &rx);
    assert_eq!(tx.total.blocked_packets, Some(0));
    assert!(tx.total.tx_packets.unwrap() > 1000);
    assert_eq!(
        (tx.path.pacing.as_deref(), rx.path.call.as_str()),
        (Some("none"), "gro")
    );
}

#[test]
fn a_dead_target_does_not_hold_up_the_others() {
    let steady = || traffic(Transport::Udp, Rate::MilliPacketsPerSecond(500_000), 64);
    let mut dead = session(2, steady(), vec![segment(2, 0, 300, 0)]);
    let alive = session(1, steady(), vec![segment(1, 0, 300, 0)]);
    dead.tags = vec![99];
    let (tx, rx) = (Arc::new(Events::default()), Arc::new(Events::default()));
    let rx_run = engine(TestPolicy::default())
        .prepare(
            Arc::new(assignment(vec![mirrored(&alive)])),
            Arc::clone(&rx) as _,
        )
        .unwrap();
    let mut impatient = assignment(vec![alive.clone(), dead.clone()]);
    impatient.settle_ns = 500 * MS;
    let tx_run = engine(TestPolicy::default())
        .prepare(Arc::new(impatient), Arc::clone(&tx) as _)
        .unwrap();
    // A port that was just free: nothing listens there.
    let unused = std::net::UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    tx_run.set_target(dead.session, unused);
    tx_run.set_target(alive.session, rx.port(alive.session));
    tx.ready(1);
    rx.ready(1);
    let (code, reason) = failure(&tx, dead.session);
    assert_eq!(code, FailureCode::Refused, "{reason}");
    assert!(reason.contains(&unused.to_string()), "{reason}");
    let t0_ns = now_ns() + 50 * MS;
    tx_run.start(t0_ns);
    rx_run.start(t0_ns);
    tx.finished();
    rx.finished();
    assert_conserved(&assert_whole(&tx, 1), &assert_whole(&rx, 1));
}

#[test]
fn policy_is_asked_before_a_packet_leaves() {
    let steady = traffic(Transport::Udp, Rate::MilliPacketsPerSecond(500_000), 64);
    let one = session(1, steady, vec![segment(1, 0, 300, 0)]);
    let tx = Arc::new(Events::default());
    let forbidden = Some(std::net::Ipv4Addr::LOCALHOST.into());
    let run = engine(TestPolicy { forbidden })
        .prepare(
            Arc::new(assignment(vec![one.clone()])),
            Arc::clone(&tx) as _,
        )
        .unwrap();
    let listener = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    run.set_target(one.session, listener.local_addr().unwrap().port());
    tx.finished();
    assert_eq!(failure(&tx, one.session).0, FailureCode::Policy);
    assert!(listener.recv(&mut [0; 64]).is_err(), "a packet left");
    assert!(run.is_finished());
}

#[test]
fn a_stop_ends_generators_at_once_and_receivers_soon() {
    let steady = traffic(Transport::Udp, Rate::MilliPacketsPerSecond(1_000_000), 64);
    let segments = vec![segment(1, 0, 60_000, 0), segment(2, 60_000, 1_000, 0)];
    let pair = Pair::prepare(vec![session(1, steady, segments)]);
    pair.tx.ready(1);
    pair.rx.ready(1);
    pair.start();
    pair.rx.wait("rows", |events| {
        let rows = events
            .iter()
            .filter(|event| matches!(event, Event::Record(_)))
            .count();
        (rows >= 2).then_some(())
    });
    pair.tx_run.stop("enough");
    pair.rx_run.stop("enough");
    pair.tx.finished();
    pair.rx.finished();
    let (tx, rx) = (assert_whole(&pair.tx, 1), assert_whole(&pair.rx, 1));
    assert_conserved(&tx, &rx);
    let stopped = Ending::Stopped {
        reason: "enough".to_owned(),
    };
    assert_eq!((&tx.ending, &rx.ending), (&stopped, &stopped));
    for events in [&pair.tx, &pair.rx] {
        let never = assert_whole(events, 2);
        assert_eq!((never.rows, &never.ending), (0, &stopped));
    }
}

#[test]
fn a_stop_before_t0_and_an_exclusion_end_a_run() {
    let steady = || traffic(Transport::Udp, Rate::MilliPacketsPerSecond(1_000_000), 64);
    let sessions = vec![
        session(1, steady(), vec![segment(1, 0, 500, 0)]),
        session(2, steady(), vec![segment(2, 0, 500, 0)]),
    ];
    let pair = Pair::prepare(sessions.clone());
    pair.tx.ready(2);
    pair.rx.ready(2);
    pair.tx_run.exclude(sessions[0].session);
    assert_eq!(
        failure(&pair.tx, sessions[0].session).0,
        FailureCode::Stopped
    );
    pair.tx_run.stop("no");
    pair.rx_run.stop("no");
    pair.tx.finished();
    pair.rx.finished();
    assert_eq!(
        failure(&pair.rx, sessions[1].session).0,
        FailureCode::Stopped
    );
}

#[test]
fn a_port_that_is_taken_is_told_and_another_asked_for_is_used() {
    let steady = || traffic(Transport::Udp, Rate::MilliPacketsPerSecond(1_000_000), 64);
    let taken = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let mut one = session(1, steady(), vec![segment(1, 0, 500, 0)]);
    one.port = taken.local_addr().unwrap().port();
    let rx = Arc::new(Events::default());
    let run = engine(TestPolicy::default())
        .prepare(
            Arc::new(assignment(vec![mirrored(&one)])),
            Arc::clone(&rx) as _,
        )
        .unwrap();
    rx.finished();
    let (code, reason) = failure(&rx, one.session);
    assert_eq!(code, FailureCode::Bind);
    assert!(reason.contains(&one.port.to_string()), "{reason}");
    assert!(run.is_finished());
}

fn failure(events: &Events, session: SessionId) -> (FailureCode, String) {
    events.wait("failure", |events| {
        events.iter().find_map(|event| match event {
            Event::Failed {
                session: of,
                code,
                reason,
                ..
            } if *of == session => Some((*code, reason.clone())),
            _ => None,
        })
    })
}
