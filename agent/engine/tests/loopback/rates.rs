//! What one stream reaches: printed, not judged. Run with
//! `cargo test --release -p weir-engine --test loopback rates -- --ignored --nocapture`.

use weir_common::assignment::{Rate, Transport};

use crate::pair::{Pair, assert_whole, segment, session, traffic};

#[test]
#[ignore = "prints rates; a quiet machine decides them"]
fn rates_of_one_stream() {
    for (name, transport, size) in [
        ("tcp max", Transport::Tcp, 0),
        ("udp max 1448 B", Transport::Udp, 1448),
        ("udp max 64 B", Transport::Udp, 64),
    ] {
        let max = traffic(transport, Rate::Max, size);
        let pair = Pair::complete(vec![session(1, max, vec![segment(1, 0, 4000, 500)])]);
        let (tx, rx) = (assert_whole(&pair.tx, 1), assert_whole(&pair.rx, 1));
        let seconds = rx.window.length_ns as f64 / 1e9;
        let counters = &rx.window.counters;
        println!(
            "{name}: {:.2} Gbit/s, sent {:.0} kpkt/s, received {:.0} kpkt/s, cpu tx {:.0} % rx {:.0} %, {} > {}",
            counters.rx_bytes.unwrap_or(0) as f64 * 8.0 / seconds / 1e9,
            tx.window.counters.tx_packets.unwrap_or(0) as f64 / seconds / 1e3,
            counters.rx_packets.unwrap_or(0) as f64 / seconds / 1e3,
            tx.window.cpu_us.unwrap_or(0) as f64 / seconds / 1e4,
            rx.window.cpu_us.unwrap_or(0) as f64 / seconds / 1e4,
            tx.path.call,
            rx.path.call,
        );
    }
    let paced = traffic(Transport::Udp, Rate::MilliPacketsPerSecond(50_000_000), 200);
    let pair = Pair::complete(vec![session(1, paced, vec![segment(1, 0, 4000, 500)])]);
    let (tx, rx) = (assert_whole(&pair.tx, 1), assert_whole(&pair.rx, 1));
    let lateness = tx.window.lateness.unwrap_or_default();
    println!(
        "udp 50 kpkt/s: sent {:?} behind {:?} received {:?}, lateness p50 {:?} p99 {:?} ns",
        tx.window.counters.tx_packets,
        tx.window.counters.behind_packets,
        rx.window.counters.rx_packets,
        lateness.percentile_ns(50.0),
        lateness.percentile_ns(99.0),
    );
}
