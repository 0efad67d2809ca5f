//! What a way does to datagrams by script, every counter tells exactly.

use std::time::Duration;

use weir_common::assignment::{Rate, SocketTraffic, Transport};
use weir_common::record::FlowClosed;

use crate::pair::{
    Pair, TestPolicy, assert_conserved, assert_whole, engine, segment, session, traffic,
};
use crate::way::{Leaving, Passing, Way};

/// A flow over a way with this script: both
/// manifests, checked to be whole and conserved.
fn over(
    traffic: SocketTraffic,
    length_ms: u64,
    script: impl FnMut(Passing) -> Leaving + Send + 'static,
) -> (Pair, FlowClosed, FlowClosed) {
    let sessions = vec![session(1, traffic, vec![segment(1, 0, length_ms, 0)])];
    let mut script = Some(script);
    let mut way = None;
    let way_to = std::cell::RefCell::new((&mut script, &mut way));
    let pair = Pair::prepare_over(&engine(TestPolicy::default()), sessions, |port| {
        let (script, way) = &mut *way_to.borrow_mut();
        let started = Way::to(port, script.take().expect("one session"));
        let port = started.port;
        **way = Some(started);
        port
    });
    pair.tx.ready(1);
    pair.rx.ready(1);
    pair.start();
    pair.tx.finished();
    pair.rx.finished();
    drop(way);
    let (tx, rx) = (assert_whole(&pair.tx, 1), assert_whole(&pair.rx, 1));
    assert_conserved(&tx, &rx);
    (pair, tx, rx)
}

fn flow(per_second: u64) -> SocketTraffic {
    traffic(
        Transport::Udp,
        Rate::MilliPacketsPerSecond(per_second * 1_000),
        200,
    )
}

fn now(bytes: Vec<u8>) -> Leaving {
    vec![(Duration::ZERO, bytes)]
}

#[test]
fn copies_losses_and_reordering_are_counted_to_the_packet() {
    let mut held: Option<Vec<u8>> = None;
    let script = move |passing: Passing| match passing.sequence % 20 {
        3 | 4 => Vec::new(),
        7 => [now(passing.bytes.clone()), now(passing.bytes)].concat(),
        // Comes after the three that were sent after it.
        10 => {
            held = Some(passing.bytes);
            Vec::new()
        }
        13 => {
            let held = held.take().into_iter().flat_map(now);
            now(passing.bytes).into_iter().chain(held).collect()
        }
        _ => now(passing.bytes),
    };
    let (_, tx, rx) = over(flow(500), 2_000, script);
    let sent = tx.total.tx_packets.unwrap();
    let of = |place: u64| (0..sent).filter(move |number| number % 20 == place);
    // What was held back at the end never came.
    let lost: Vec<u64> = (0..sent)
        .filter(|number| matches!(number % 20, 3 | 4) || (number % 20 == 10 && number + 3 >= sent))
        .collect();
    let total = &rx.total;
    assert_eq!(
        (total.lost_packets, total.late),
        (Some(lost.len() as u64), Some(0))
    );
    assert_eq!(total.duplicate, Some(of(7).count() as u64));
    let reordered = of(10).filter(|number| number + 3 < sent).count() as u64;
    assert!(reordered >= 20, "{sent} packets");
    assert_eq!(total.reordered, Some(reordered));
    let window = &rx.window;
    assert_eq!(window.reorder_extent_max, Some(3));
    assert_eq!(window.lost_head, Some(0));
    let steps: Vec<u64> = lost.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let distances: Vec<u64> = steps.iter().copied().filter(|step| *step > 1).collect();
    let bursts = window.loss_burst_lengths.unwrap();
    assert_eq!((bursts.count, bursts.max), (distances.len() as u64 + 1, 2));
    let found = window.loss_burst_distances.unwrap();
    assert_eq!(found.count, distances.len() as u64);
    assert_eq!(found.packets, distances.iter().sum::<u64>());
    assert_eq!(Some(&found.max), distances.iter().max());
    let outages = window.outages.as_ref().unwrap();
    assert_eq!(outages.count, 0, "two packets in a row are no outage");
}

#[test]
fn what_comes_after_the_linger_is_late_and_stays_lost() {
    let script = |passing: Passing| match passing.sequence {
        100..105 => vec![(Duration::from_millis(1_400), passing.bytes)],
        _ => now(passing.bytes),
    };
    let (_, _, rx) = over(flow(500), 2_500, script);
    assert_eq!(rx.total.lost_packets, Some(5));
    assert_eq!(rx.total.late, Some(5));
    let outages = rx.window.outages.as_ref().unwrap();
    assert_eq!((outages.count, outages.kept[0].lost_packets), (1, Some(5)));
    assert_eq!(
        (outages.kept[0].first_seq, outages.kept[0].last_seq),
        (100, 104)
    );
}

#[test]
fn a_cut_is_one_outage_with_its_numbers() {
    let script = |passing: Passing| match passing.sequence {
        300..700 => Vec::new(),
        _ => now(passing.bytes),
    };
    let (_, _, rx) = over(flow(500), 3_000, script);
    let outages = rx.window.outages.as_ref().unwrap();
    assert_eq!(outages.count, 1);
    let outage = outages.kept[0];
    assert!(outage.ended);
    assert_eq!((outage.first_seq, outage.last_seq), (300, 699));
    assert_eq!(outage.lost_packets, Some(400));
    let resolution_ns = outages.resolution_ns.unwrap();
    assert!(
        resolution_ns.abs_diff(2_000_000) < 100_000,
        "{resolution_ns}"
    );
    // A departure may be late by what a busy machine does to it.
    assert!(
        outage.from_ns.abs_diff(600_000_000) < 50_000_000,
        "{outage:?}"
    );
    assert!(
        outage.length_ns.abs_diff(800_000_000) < 50_000_000,
        "{outage:?}"
    );
}

#[test]
fn an_altered_payload_counts_as_lost_where_it_is_compared() {
    for verify in [true, false] {
        let alter = |passing: Passing| {
            let mut bytes = passing.bytes;
            if passing.sequence % 25 == 24 {
                let last = bytes.len() - 1;
                bytes[last] ^= 1;
            }
            now(bytes)
        };
        let mut compared = flow(500);
        compared.verify = verify;
        let (_, tx, rx) = over(compared, 1_000, alter);
        let altered = tx.total.tx_packets.unwrap() / 25;
        assert!(altered >= 5);
        assert_eq!(
            rx.total.lost_packets,
            Some(if verify { altered } else { 0 })
        );
        assert_eq!(rx.window.corrupt_packets, verify.then_some(altered));
    }
}

#[test]
fn echo_tells_round_trips_longer_than_the_spacing_and_losses_of_each_way() {
    const DELAY: Duration = Duration::from_millis(50);
    let script = |passing: Passing| match (passing.reply, passing.sequence % 40) {
        (false, 5) | (true, 10 | 11) => Vec::new(),
        // A copy of a reply, and one of a request.
        (true, 20) => [now(passing.bytes.clone()), now(passing.bytes)].concat(),
        (false, 30) => vec![(DELAY, passing.bytes.clone()), (DELAY, passing.bytes)],
        (false, _) => vec![(DELAY, passing.bytes)],
        (true, _) => now(passing.bytes),
    };
    let mut echo = flow(100);
    echo.echo = true;
    let (pair, tx, rx) = over(echo, 2_000, script);
    let sent = tx.total.tx_packets.unwrap();
    let of = |place: u64| (0..sent).filter(|number| number % 40 == place).count() as u64;
    assert!(of(30) >= 2, "{sent} packets");
    let requests = sent - of(5);
    assert_eq!(
        rx.total.rx_packets,
        Some(requests),
        "some requests are lost"
    );
    assert_eq!(rx.total.duplicate, Some(of(30)));
    assert_eq!(rx.window.echo_packets, Some(requests), "one reply to each");
    let replies = requests - of(10) - of(11);
    assert_eq!(
        tx.window.echo_packets,
        Some(replies),
        "some replies are lost"
    );
    let rtt = tx.window.rtt.as_ref().unwrap();
    assert_eq!(rtt.count(), replies);
    let ms = |ns: Option<u64>| ns.unwrap() / 1_000_000;
    assert!(ms(rtt.min_ns()) >= 50, "{:?}", rtt.min_ns());
    // Ten times as wide as a busy machine makes it.
    assert!(
        ms(rtt.percentile_ns(50.0)) < 80,
        "{:?}",
        rtt.percentile_ns(50.0)
    );
    let rows = pair.tx.rows(1);
    let returned = rows
        .iter()
        .map(|row| row.more.as_ref().unwrap().echo_packets);
    assert_eq!(returned.map(Option::unwrap).sum::<u64>(), replies);
}

#[test]
fn echo_goes_on_from_phase_to_phase() {
    let script = |passing: Passing| {
        if passing.reply {
            vec![(Duration::from_millis(30), passing.bytes)]
        } else {
            now(passing.bytes)
        }
    };
    let mut echo = flow(200);
    echo.echo = true;
    let segments = vec![segment(1, 0, 500, 100), segment(2, 500, 500, 0)];
    let sessions = vec![session(1, echo, segments)];
    let way = std::cell::RefCell::new(None);
    let pair = Pair::prepare_over(&engine(TestPolicy::default()), sessions, |port| {
        let started = Way::to(port, script);
        let port = started.port;
        *way.borrow_mut() = Some(started);
        port
    });
    pair.tx.ready(1);
    pair.rx.ready(1);
    pair.start();
    pair.tx.finished();
    pair.rx.finished();
    for flow in [1, 2] {
        let (tx, rx) = (assert_whole(&pair.tx, flow), assert_whole(&pair.rx, flow));
        assert_conserved(&tx, &rx);
        let measured = tx.window.counters.tx_packets;
        assert!(measured.unwrap() >= 40, "{measured:?}");
        assert_eq!(
            (rx.window.echo_packets, tx.window.echo_packets),
            (measured, measured)
        );
    }
}
