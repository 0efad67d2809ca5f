use weir_common::assignment::Segment;
use weir_common::id::FlowId;
use weir_common::record::{Ending, Flags};
use weir_wire::link::{CohortSpan, SegmentFinal};

use super::*;
use crate::meter::datagrams::{Asked, DatagramMeter, DatagramSetup, Output, Packet, SenderClock};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
/// The host's monotonic clock at T0, and the wall clock less it.
const T0: u64 = 1_000 * SECOND;
const WALL: i64 = 1_700_000_000 * 1_000_000_000;

/// A wall clock that is set once.
struct Wall {
    at_ns: u64,
    by_ns: i64,
}

impl Wall {
    fn offset_ns(&self, host_ns: u64) -> i64 {
        WALL + if host_ns >= self.at_ns { self.by_ns } else { 0 }
    }

    fn stamp(&self, host_ns: u64) -> u64 {
        host_ns.wrapping_add_signed(self.offset_ns(host_ns))
    }

    fn reading(&self, host_ns: u64) -> RealtimeOffset {
        RealtimeOffset {
            offset_ns: self.offset_ns(host_ns),
            bound_ns: 100,
        }
    }
}

/// A flow of a packet a millisecond for 10 s, 2 ms on its way, read every 5 ms,
/// while the wall clock is set: what its rows say.
fn rows_with(wall: &Wall) -> (Vec<Output>, u64) {
    let segment = Segment {
        flow: FlowId(1),
        start_ns: 0,
        length_ns: 10 * SECOND,
        warmup_ns: 0,
    };
    let mut meter = DatagramMeter::new(DatagramSetup {
        segments: vec![segment],
        interval_ns: SECOND,
        linger_ns: SECOND,
        t0_ns: T0,
        clock: SenderClock::Same,
        asked: Asked::default(),
    });
    let mut stamps = Stamps::new(wall.reading(T0), T0);
    let mut next = 0_u64;
    for read_ns in (0..10 * SECOND + 10 * MS).step_by(5 * MS as usize) {
        let host_ns = T0 + read_ns;
        if stamps.read(wall.reading(host_ns), host_ns) {
            meter.mark(Flags::CLOCK_STEP);
        }
        while next < 10_000 && next * MS + 2 * MS <= read_ns {
            let arrived_ns = T0 + next * MS + 2 * MS;
            let arrival_ns = stamps.arrival_ns(Some(wall.stamp(arrived_ns)));
            assert!(
                arrival_ns.abs_diff(arrived_ns) <= 5 * MS,
                "{next}: {arrival_ns} for {arrived_ns}"
            );
            let at_ns = arrival_ns - T0;
            if at_ns >= meter.next_cut_ns() {
                meter.advance(at_ns);
            }
            meter.arrival(&Packet {
                sequence: next,
                cohort: 1,
                bytes: 100,
                at_ns,
                arrival_ns,
                send_ns: Some(T0 + next * MS),
                ttl: None,
                tos: None,
            });
            next += 1;
        }
    }
    let last = SegmentFinal {
        ended_ns: 10 * SECOND,
        cohorts: vec![CohortSpan {
            cohort: 1,
            first_seq: 0,
            packets: 10_000,
            bytes: 1_000_000,
        }],
        ..SegmentFinal::default()
    };
    meter.close_front(10 * SECOND + 10 * MS, Some(&last), Ending::Completed);
    (meter.take_output(), stamps.take_step_ns())
}

/// However the wall clock is set, rows begin and end where they should to the
/// nanosecond, and hold what arrived in them but for what was read in the step.
#[test]
fn an_hour_of_the_wall_clock_moves_no_interval() {
    const HOUR: i64 = 3_600 * 1_000_000_000;
    for by_ns in [HOUR, -HOUR, 0] {
        let wall = Wall {
            at_ns: T0 + 4_500 * MS,
            by_ns,
        };
        let (output, step_ns) = rows_with(&wall);
        assert_eq!(step_ns, by_ns.unsigned_abs());
        let mut flagged = Vec::new();
        let mut rows = 0;
        for each in &output {
            let Output::Row(_, row) = each else { continue };
            let k = u64::from(row.span.k);
            assert_eq!(row.span.start_ns, k * SECOND);
            assert_eq!(row.span.length_ns, SECOND);
            // A packet a millisecond: one more or less is a millisecond.
            let edge = match k {
                0 => 2,
                _ => 0,
            };
            let late = if k == 9 { 2 } else { 0 };
            let received = row.counters.rx_packets.unwrap();
            let expected = 1_000 - edge + late;
            assert!(received.abs_diff(expected) <= 1, "{by_ns} {k}: {received}");
            let delay = row.delay.as_ref().unwrap().delay.as_ref().unwrap();
            assert!(delay.max_ns().unwrap() <= 7 * MS, "read in a batch of 5 ms");
            assert!(delay.min_ns().unwrap() >= 2 * MS);
            if row.span.flags.contains(Flags::CLOCK_STEP) {
                flagged.push(k);
            }
            rows += 1;
        }
        assert_eq!(rows, 10);
        let expected: &[u64] = if by_ns == 0 { &[] } else { &[4] };
        assert_eq!(flagged, expected);
    }
}
