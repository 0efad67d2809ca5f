use std::io::{Read, Write};
use std::sync::Arc;

use weir_common::assignment::{RampPoint, Rate, Transport};
use weir_common::record::{Ending, FlowClosed};
use weir_engine::engine::Event;
use weir_wire::handshake::Answer;

use crate::pair::{
    Events, MS, NONCE, Pair, TestPolicy, assert_whole, assignment, engine, now_ns, segment,
    session, traffic,
};

/// sent = received + drained + unread, to the byte.
fn assert_delivered(tx: &FlowClosed, rx: &FlowClosed) {
    let received = rx.total.rx_bytes.unwrap();
    let (drained, unread) = (rx.drained_bytes.unwrap(), rx.unread_bytes.unwrap());
    assert_eq!(
        tx.total.tx_bytes,
        Some(received + drained + unread),
        "{tx:#?} {rx:#?}"
    );
    assert_eq!(unread, 0);
    assert_eq!(tx.peer.map(|peer| peer.bytes), Some(received + drained));
}

#[test]
fn one_unlimited_stream() {
    let max = traffic(Transport::Tcp, Rate::Max, 0);
    let pair = Pair::complete(vec![session(1, max, vec![segment(1, 0, 600, 150)])]);
    let (tx, rx) = (assert_whole(&pair.tx, 1), assert_whole(&pair.rx, 1));
    assert_delivered(&tx, &rx);
    assert_eq!(
        (&tx.ending, &rx.ending),
        (&Ending::Completed, &Ending::Completed)
    );
    assert!(tx.link && rx.link);
    assert!(rx.window.counters.rx_bytes.unwrap() > 1_000_000);
    assert!(tx.window.lateness.is_none(), "there is no schedule");
    assert!(tx.path.cc.is_some() && tx.window.rtt.is_some() && tx.window.acked_bytes.is_some());
    let rows = pair.tx.rows(1);
    assert!(rows.iter().all(|row| row.tcp.is_some()));
    assert_eq!(rows.iter().map(|row| row.length_ns).sum::<u64>(), 600 * MS);
}

#[test]
fn a_rate_is_kept() {
    let paced = traffic(Transport::Tcp, Rate::BitsPerSecond(8_000_000), 0);
    let pair = Pair::complete(vec![session(1, paced, vec![segment(1, 0, 500, 0)])]);
    let (tx, rx) = (assert_whole(&pair.tx, 1), assert_whole(&pair.rx, 1));
    assert_delivered(&tx, &rx);
    // What the end came too early for was asked for all the same.
    assert_eq!(tx.total.offered_bytes, Some(500_000));
    let written = tx.total.tx_bytes.unwrap();
    assert!((400_000..=500_000).contains(&written), "{written}");
    // A write of 10,000 bytes every 10 ms; what waits for the link has no lateness.
    let lateness = tx.window.lateness.unwrap();
    assert!((1..=50).contains(&lateness.count()), "{lateness:?}");
}

#[test]
fn a_ramp_is_followed_by_all_streams_together() {
    let mut ramped = traffic(Transport::Tcp, Rate::BitsPerSecond(1_000_000), 0);
    let point = |at_ns, rate| RampPoint { at_ns, rate };
    ramped.ramp = vec![point(0, 1_000_000), point(500 * MS, 17_000_000)];
    let mut two = session(1, ramped, vec![segment(1, 0, 500, 0)]);
    two.tags = vec![51, 52];
    let pair = Pair::complete(vec![two]);
    let (tx, rx) = (assert_whole(&pair.tx, 1), assert_whole(&pair.rx, 1));
    assert_delivered(&tx, &rx);
    // 9 Mbit/s on average.
    assert_eq!(tx.total.offered_bytes, Some(562_500));
}

#[test]
fn phases_without_a_pause_are_told_apart_by_position() {
    let max = traffic(Transport::Tcp, Rate::Max, 0);
    let segments = vec![
        segment(1, 0, 300, 0),
        segment(2, 300, 300, 100),
        segment(3, 800, 200, 0),
    ];
    let pair = Pair::complete(vec![session(1, max, segments)]);
    for flow in 1..=3 {
        let (tx, rx) = (assert_whole(&pair.tx, flow), assert_whole(&pair.rx, flow));
        assert_delivered(&tx, &rx);
        assert!(rx.total.rx_bytes.unwrap() > 100_000);
    }
}

#[test]
fn streams_and_the_other_end_dialling() {
    let max = traffic(Transport::Tcp, Rate::Max, 0);
    let mut three = session(1, max, vec![segment(1, 0, 400, 0)]);
    three.tags = vec![21, 22, 23];
    three.dials = false;
    let pair = Pair::complete(vec![three]);
    let (tx, rx) = (assert_whole(&pair.tx, 1), assert_whole(&pair.rx, 1));
    assert_delivered(&tx, &rx);
    assert_eq!(tx.tuples, rx.tuples);
    assert_eq!(tx.tuples.len(), 3);
}

#[test]
fn a_number_of_bytes_is_met_and_ends_the_flow() {
    let mut sized = traffic(Transport::Tcp, Rate::Max, 0);
    sized.bytes = Some(10_000_001);
    let mut two = session(1, sized, vec![segment(1, 0, 10_000, 0)]);
    two.tags = vec![31, 32];
    let pair = Pair::complete(vec![two]);
    let (tx, rx) = (assert_whole(&pair.tx, 1), assert_whole(&pair.rx, 1));
    assert_delivered(&tx, &rx);
    assert_eq!(tx.total.tx_bytes, Some(10_000_001));
    assert_eq!(tx.ending, Ending::Completed);
    assert_eq!(rx.ending, Ending::Completed);
    assert_eq!(tx.window.length_ns, rx.window.length_ns);
    assert!(tx.window.length_ns < 9_000 * MS);
}

#[test]
fn congestion_control_is_the_one_asked_for_whoever_dials() {
    for dials in [true, false] {
        let mut reno = traffic(Transport::Tcp, Rate::BitsPerSecond(1_000_000), 0);
        reno.congestion_control = Some("reno".to_owned());
        let mut one = session(1, reno, vec![segment(1, 0, 200, 0)]);
        one.dials = dials;
        let pair = Pair::complete(vec![one]);
        assert_eq!(
            pair.tx.closed(1).path.cc.as_deref(),
            Some("reno"),
            "dials {dials}"
        );
    }
}

#[test]
fn a_stop_ends_both_ends() {
    let max = traffic(Transport::Tcp, Rate::Max, 0);
    let pair = Pair::prepare(vec![session(1, max, vec![segment(1, 0, 60_000, 0)])]);
    pair.tx.ready(1);
    pair.rx.ready(1);
    pair.start();
    pair.rx.wait("rows", |events| {
        events
            .iter()
            .any(|event| matches!(event, Event::Record(_)))
            .then_some(())
    });
    pair.tx_run.stop("enough");
    pair.rx_run.stop("enough");
    pair.tx.finished();
    pair.rx.finished();
    let (tx, rx) = (assert_whole(&pair.tx, 1), assert_whole(&pair.rx, 1));
    assert_delivered(&tx, &rx);
    let stopped = Ending::Stopped {
        reason: "enough".to_owned(),
    };
    assert_eq!((&tx.ending, &rx.ending), (&stopped, &stopped));
}

#[test]
fn a_connection_that_breaks_fails_its_flow_with_what_was_counted() {
    let paced = traffic(Transport::Tcp, Rate::BitsPerSecond(8_000_000), 0);
    let one = session(
        1,
        paced,
        vec![segment(1, 0, 60_000, 0), segment(2, 60_000, 100, 0)],
    );
    // A receiver that accepts stream and link, reads a little and goes away.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let tx = Arc::new(Events::default());
    let run = engine(TestPolicy::default())
        .prepare(
            Arc::new(assignment(vec![one.clone()])),
            Arc::clone(&tx) as _,
        )
        .unwrap();
    run.set_target(one.session, port);
    let (mut data, _) = listener.accept().unwrap();
    let mut buffer = [0; 4096];
    data.read_exact(&mut buffer[..9]).unwrap();
    data.write_all(&Answer::consent(NONCE)).unwrap();
    drop(listener); // no link: the flow runs without
    tx.ready(1);
    run.start(now_ns());
    data.read_exact(&mut buffer).unwrap();
    drop(data);
    tx.finished();
    let closed = assert_whole(&tx, 1);
    assert!(
        matches!(closed.ending, Ending::Failed { .. }),
        "{:?}",
        closed.ending
    );
    assert!(!closed.link && closed.peer.is_none());
    assert!(closed.total.tx_bytes.unwrap() >= 4096);
    assert_eq!(tx.closed(2).rows, 0);
}
