//! Laws of arrival and size with real sockets: what is drawn is what is sent, and arrives.

use weir_common::assignment::{Rate, SocketTraffic, Transport};

use crate::pair::{Pair, assert_conserved, assert_whole, segment, session, traffic as plain};

fn traffic(transport: Transport, rate: Rate, arrival: &str, size: &str) -> SocketTraffic {
    let mut traffic = plain(transport, rate, 200);
    traffic.arrival = arrival.parse().unwrap();
    traffic.size_law = Some(size.parse().unwrap());
    traffic
}

/// From below the time of sending to far above the mean, where the payload has to grow.
#[test]
fn sizes_of_a_law_arrive_whole() {
    let sizes = "discrete(12: 1, 19: 1, 300: 5, 9000: 1)";
    let asked = traffic(
        Transport::Udp,
        Rate::Arrival,
        "exponential(mean = 1 ms)",
        sizes,
    );
    let pair = Pair::complete(vec![session(1, asked, vec![segment(1, 0, 500, 0)])]);
    let (tx, rx) = (assert_whole(&pair.tx, 1), assert_whole(&pair.rx, 1));
    assert_conserved(&tx, &rx);
    assert_eq!(tx.path.rng.as_deref(), Some("chacha12"));
    let (packets, bytes) = (tx.total.tx_packets.unwrap(), tx.total.tx_bytes.unwrap());
    assert_eq!(rx.total.rx_bytes, Some(bytes));
    // 500 packets with a deviation of 22, of 1316 B each with one of 2900.
    assert!((390..610).contains(&packets), "{packets}");
    assert!(
        (700..2_000).contains(&(bytes / packets)),
        "{bytes} B in {packets} packets"
    );
}

#[test]
fn a_bit_rate_is_kept_whatever_the_sizes() {
    let sizes = "uniform(min = 100, max = 1400)";
    let asked = traffic(
        Transport::Udp,
        Rate::BitsPerSecond(4_000_000),
        "constant",
        sizes,
    );
    let pair = Pair::complete(vec![session(1, asked, vec![segment(1, 0, 500, 0)])]);
    let (tx, rx) = (assert_whole(&pair.tx, 1), assert_whole(&pair.rx, 1));
    assert_conserved(&tx, &rx);
    let offered = tx.total.offered_bytes.unwrap();
    // 250,000 B, and at most one packet more.
    assert!((250_000..251_400).contains(&offered), "{offered}");
}

#[test]
fn an_on_off_law_is_silent_in_between() {
    let law = "onoff(on = constant(value = 100 ms), off = constant(value = 200 ms))";
    let mut asked = plain(Transport::Udp, Rate::MilliPacketsPerSecond(1_000_000), 64);
    asked.arrival = law.parse().unwrap();
    let pair = Pair::complete(vec![session(1, asked, vec![segment(1, 0, 600, 0)])]);
    let (tx, rx) = (assert_whole(&pair.tx, 1), assert_whole(&pair.rx, 1));
    assert_conserved(&tx, &rx);
    assert_eq!(tx.total.offered_packets, Some(200));
    let rows = pair.tx.rows(1);
    let offered: Vec<u64> = rows
        .iter()
        .map(|row| row.counters.offered_packets.unwrap())
        .collect();
    // Rows of 100 ms; what is sent late falls into the next one.
    assert_eq!(offered.iter().sum::<u64>(), 200);
    assert_eq!((offered[2], offered[5]), (0, 0), "{offered:?}");
}

#[test]
fn tcp_writes_by_a_law_of_its_own() {
    let law = "gamma(shape = 2, scale = 1 ms)";
    let asked = traffic(
        Transport::Tcp,
        Rate::Arrival,
        law,
        "uniform(min = 1, max = 999)",
    );
    let pair = Pair::complete(vec![session(1, asked, vec![segment(1, 0, 1000, 0)])]);
    let (tx, rx) = (assert_whole(&pair.tx, 1), assert_whole(&pair.rx, 1));
    let written = tx.total.tx_bytes.unwrap();
    assert_eq!(rx.total.rx_bytes, Some(written));
    let offered = tx.total.offered_bytes.unwrap();
    // On a busy machine the end may come before the last of them is caught up.
    assert!(written > 0 && written <= offered, "{written} of {offered}");
    // 500 writes of 500 B.
    assert!((200_000..300_000).contains(&offered), "{offered}");
}

/// A law that cannot be drawn from ends its flow with the reason, and no other.
#[test]
fn a_trace_that_did_not_come_fails_its_flow() {
    let mut asked = plain(Transport::Udp, Rate::Arrival, 64);
    asked.arrival = "trace(\"gaps.txt\")".parse().unwrap();
    let pair = Pair::complete(vec![session(1, asked, vec![segment(1, 0, 200, 0)])]);
    let closed = pair.tx.closed(1);
    let ending = format!("{:?}", closed.ending);
    assert!(
        ending.contains("trace file `gaps.txt` did not come"),
        "{ending}"
    );
    assert_eq!(closed.total.tx_packets, Some(0));
}
