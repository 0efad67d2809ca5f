//! Many sessions, many engines, one process.

use weir_common::assignment::{Rate, Transport};

use crate::pair::{Pair, assert_conserved, assert_whole, segment, session, traffic};

#[test]
fn two_hundred_sessions_of_one_agent() {
    let sessions = (1..=200).map(|n| {
        let slow = traffic(Transport::Udp, Rate::MilliPacketsPerSecond(20_000), 100);
        session(n, slow, vec![segment(n, 0, 1000, 0)])
    });
    let pair = Pair::complete(sessions.collect());
    for flow in 1..=200 {
        let (tx, rx) = (assert_whole(&pair.tx, flow), assert_whole(&pair.rx, flow));
        assert_conserved(&tx, &rx);
        assert_eq!(tx.total.offered_packets, Some(20));
        assert!(tx.link);
    }
}

#[test]
fn forty_agents_at_once() {
    let pairs: Vec<Pair> = (0..20)
        .map(|_| {
            let udp = traffic(Transport::Udp, Rate::MilliPacketsPerSecond(50_000), 100);
            let tcp = traffic(Transport::Tcp, Rate::BitsPerSecond(100_000), 0);
            Pair::prepare(vec![
                session(1, udp, vec![segment(1, 0, 800, 0)]),
                session(2, tcp, vec![segment(2, 0, 800, 0)]),
            ])
        })
        .collect();
    for pair in &pairs {
        pair.tx.ready(2);
        pair.rx.ready(2);
    }
    pairs.iter().for_each(Pair::start);
    for pair in &pairs {
        pair.tx.finished();
        pair.rx.finished();
        assert_conserved(&assert_whole(&pair.tx, 1), &assert_whole(&pair.rx, 1));
        let (tx, rx) = (assert_whole(&pair.tx, 2), assert_whole(&pair.rx, 2));
        let got = rx.total.rx_bytes.unwrap() + rx.drained_bytes.unwrap();
        assert_eq!(tx.total.tx_bytes, Some(got + rx.unread_bytes.unwrap()));
    }
}
