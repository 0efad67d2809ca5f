use proptest::prelude::*;
use weir_common::id::FlowId;
use weir_common::record::Counters;
use weir_common::stats::Histogram;
use weir_wire::link::CohortSpan as WireSpan;

use super::*;

const MS: u64 = 1_000_000;
const T0: u64 = 1_000 * MS;

fn segment(flow: u32, start_ms: u64, length_ms: u64, warmup_ms: u64) -> Segment {
    Segment {
        flow: FlowId(flow),
        start_ns: start_ms * MS,
        length_ns: length_ms * MS,
        warmup_ns: warmup_ms * MS,
    }
}

fn meter(segments: Vec<Segment>, same_clock: bool) -> DatagramMeter {
    DatagramMeter::new(DatagramSetup {
        segments,
        interval_ns: 100 * MS,
        linger_ns: 200 * MS,
        t0_ns: T0,
        clock: if same_clock {
            SenderClock::Same
        } else {
            SenderClock::Relative { offset_ns: None }
        },
        asked: Asked::default(),
    })
}

/// Packet `sequence`, sent at `sent_ms` and arriving `delay_ms` later.
fn packet(sequence: u64, cohort: u8, sent_ms: u64, delay_ms: u64) -> Packet {
    let at_ns = (sent_ms + delay_ms) * MS;
    Packet {
        sequence,
        cohort,
        bytes: 100,
        at_ns,
        arrival_ns: T0 + at_ns,
        send_ns: Some(T0 + sent_ms * MS),
        ttl: Some(64),
        tos: Some(0),
    }
}

fn arrive(meter: &mut DatagramMeter, packet: &Packet) {
    if packet.at_ns >= meter.next_cut_ns() {
        meter.advance(packet.at_ns);
    }
    meter.arrival(packet);
}

fn final_of(segment: u8, ended_ms: u64, spans: &[(u8, u64, u64)]) -> SegmentFinal {
    let span = |&(cohort, first_seq, packets): &(u8, u64, u64)| WireSpan {
        cohort,
        first_seq,
        packets,
        bytes: packets * 100,
    };
    SegmentFinal {
        segment,
        ended_ns: ended_ms * MS,
        cohorts: spans.iter().map(span).collect(),
        ..SegmentFinal::default()
    }
}

fn rows(output: &[Output], segment: usize) -> Vec<&Row> {
    let of_segment = |each| match each {
        &Output::Row(at, ref row) if at == segment => Some(&**row),
        _ => None,
    };
    output.iter().filter_map(of_segment).collect()
}

fn end(output: &[Output], segment: usize) -> &StreamClosed {
    let of_segment = |each| match each {
        &Output::Closed(at, ref closed) if at == segment => Some(&**closed),
        _ => None,
    };
    output.iter().find_map(of_segment).unwrap()
}

#[test]
fn rows_go_by_arrival_and_cohorts_by_sending() {
    let mut meter = meter(vec![segment(1, 0, 300, 100)], true);
    arrive(&mut meter, &packet(0, 0, 10, 5));
    let marked = Packet {
        tos: Some(0b11),
        ..packet(1, 0, 90, 30)
    };
    arrive(&mut meter, &marked); // warm-up cohort, measured row
    arrive(&mut meter, &packet(2, 1, 110, 5));
    arrive(&mut meter, &packet(4, 1, 290, 30)); // after the end; 3 is missing
    meter.close_front(
        600 * MS,
        Some(&final_of(0, 300, &[(0, 0, 2), (1, 2, 3)])),
        Ending::Completed,
    );
    let output = meter.take_output();
    let rows = rows(&output, 0);
    let column = |pick: fn(&Counters) -> Option<u64>| -> Vec<u64> {
        rows.iter()
            .map(|row| pick(&row.counters).unwrap())
            .collect()
    };
    assert_eq!(column(|counters| counters.rx_packets), [1, 2, 1]);
    assert_eq!(column(|counters| counters.rx_of_tx_packets), [2, 1, 1]);
    assert_eq!(column(|counters| counters.lost_packets), [0, 0, 1]);
    let samples = |row: &&Row| row.delay.as_ref()?.delay.as_ref().map(Histogram::count);
    let samples: Vec<_> = rows.iter().map(samples).collect();
    assert_eq!(
        samples,
        [Some(1), Some(1), Some(1)],
        "none of the warm-up in the window"
    );
    let ce = |row: &&Row| row.more.as_ref().unwrap().ce;
    assert_eq!(
        rows.iter().map(ce).collect::<Vec<_>>(),
        [Some(0), Some(0), Some(0)]
    );
    assert!(rows[0].span.flags.contains(Flags::WARMUP));
    assert!(rows[2].span.flags.contains(Flags::LATE_REPORT));
    let closed = end(&output, 0);
    assert_eq!(
        (closed.window.rx_packets, closed.window.lost_packets),
        (Some(2), Some(1))
    );
    assert_eq!(closed.window_length_ns, 200 * MS);
    assert_eq!(
        closed.peer,
        Some(PeerTotals {
            packets: 5,
            bytes: 500
        })
    );
}

#[test]
fn everything_arrived_is_known_at_once() {
    let mut meter = meter(vec![segment(1, 0, 300, 0)], true);
    arrive(&mut meter, &packet(0, 1, 10, 5));
    let last = final_of(0, 300, &[(0, 0, 0), (1, 0, 2)]);
    assert!(!meter.has_all(&last));
    arrive(&mut meter, &packet(1, 1, 20, 5));
    assert!(meter.has_all(&last));
}

#[test]
fn a_flow_without_a_final_count_ends_at_its_last_packet() {
    let mut meter = meter(vec![segment(1, 0, 100, 0), segment(2, 100, 100, 0)], false);
    for (sequence, cohort, sent_ms) in [(0, 1, 5), (2, 1, 25), (3, 3, 105), (5, 3, 125)] {
        arrive(&mut meter, &packet(sequence, cohort, sent_ms, 1));
    }
    meter.close_front(400 * MS, None, Ending::Completed);
    meter.close_front(400 * MS, None, Ending::Completed);
    let output = meter.take_output();
    for at in [0, 1] {
        let closed = end(&output, at);
        assert_eq!(
            (closed.window.rx_packets, closed.window.lost_packets),
            (Some(2), Some(1))
        );
        assert!(closed.warnings.contains(&"no-final-count"));
        let relative = |row: &&Row| {
            let delay = row.delay.as_ref();
            delay.is_none_or(|delay| delay.delay_bound_ns.is_none())
        };
        assert!(rows(&output, at).iter().all(relative));
    }
}

#[test]
fn a_packet_of_no_segment_is_ignored() {
    let mut meter = meter(vec![segment(1, 0, 100, 0)], true);
    arrive(&mut meter, &packet(u64::MAX >> 8, 127, 5, 1));
    meter.close_front(
        400 * MS,
        Some(&final_of(0, 100, &[(1, 0, 0)])),
        Ending::Completed,
    );
    let output = meter.take_output();
    assert_eq!(end(&output, 0).window.rx_packets, Some(0));
}

proptest! {
    /// Whatever is lost, late, doubled or reordered: rows and cohorts agree, and
    /// sent = received + lost in every segment.
    #[test]
    fn conservation(
        delays in proptest::collection::vec(prop_oneof![8 => 0_u64..40, 1 => 40_u64..700], 60),
        fates in proptest::collection::vec(0_u8..10, 60),
        same_clock: bool,
    ) {
        // 30 packets in each of two segments without a pause, warm-up in the second.
        let segments = vec![segment(1, 0, 300, 0), segment(2, 300, 300, 100)];
        let mut meter = meter(segments, same_clock);
        let cohort_at = |n: u64| match n {
            0..30 => 1,
            30..40 => 2,
            _ => 3,
        };
        let mut arrivals = Vec::new();
        for (n, (delay, fate)) in (0_u64..).zip(delays.iter().zip(&fates)) {
            let copies = match fate { 0 | 1 => 0, 2 => 2, _ => 1 };
            for copy in 0..copies {
                arrivals.push(packet(n, cohort_at(n), n * 10, delay + copy * 7));
            }
        }
        arrivals.sort_by_key(|packet| packet.at_ns);
        let finals = [
            final_of(0, 300, &[(0, 0, 0), (1, 0, 30)]),
            final_of(1, 600, &[(2, 30, 10), (3, 40, 20)]),
        ];
        let closes = [500 * MS, 800 * MS];
        let mut closed = 0;
        for packet in &arrivals {
            while closed < 2 && packet.at_ns >= closes[closed] {
                meter.close_front(closes[closed], Some(&finals[closed]), Ending::Completed);
                closed += 1;
            }
            arrive(&mut meter, packet);
        }
        while closed < 2 {
            meter.close_front(closes[closed], Some(&finals[closed]), Ending::Completed);
            closed += 1;
        }
        let output = meter.take_output();
        for (at, sent) in [(0, 30), (1, 30)] {
            let rows = rows(&output, at);
            let mut total = Counters::default();
            for (k, row) in rows.iter().enumerate() {
                prop_assert_eq!(row.span.k as usize, k);
                total.add(&row.counters);
            }
            prop_assert_eq!(rows.len(), 3);
            prop_assert_eq!(total.rx_packets.unwrap() + total.lost_packets.unwrap(), sent);
            prop_assert_eq!(total.rx_bytes.unwrap(), total.rx_packets.unwrap() * 100);
            let closed = end(&output, at);
            let window = &closed.window;
            let measured = if at == 0 { 30 } else { 20 };
            prop_assert_eq!(window.rx_packets.unwrap() + window.lost_packets.unwrap(), measured);
            prop_assert!(closed.warnings.is_empty(), "{:?}", closed.warnings);
        }
    }
}
