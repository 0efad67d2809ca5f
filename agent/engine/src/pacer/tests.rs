mod policies;

use proptest::prelude::*;

use super::*;
use crate::arrival::{ConstantArrival, Departures, Draws, MeanSpacing, Packet, schedule};
use weir_common::assignment::{RampPoint, Rate, SocketTraffic, Transport};
use weir_common::traffic::Law;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

fn limits(start_ns: u64) -> Limits {
    Limits {
        start_ns,
        duration_ns: None,
        packets: None,
        bytes: None,
    }
}

fn constant(rate: u64, bytes: u32, limits: Limits) -> Pacer<Departures> {
    let spacing = MeanSpacing::from_packet_rate(rate).unwrap();
    Pacer::new(
        Departures::of_size(ConstantArrival::new(spacing), bytes),
        20,
        limits,
        Policy::of(Pacing::KeepMean),
    )
}

/// Runs a pacer with a clock that jumps to each wake-up plus `lateness(n)`.
/// Returns what was sent and what was behind.
fn drive<A: Iterator<Item = crate::arrival::Departure>>(
    mut pacer: Pacer<A>,
    mut now: u64,
    lateness: impl Fn(usize) -> u64,
) -> (Vec<Departure>, Vec<Departure>) {
    let (mut sent, mut behind, mut waits) = (Vec::new(), Vec::new(), 0);
    loop {
        match pacer.next(now) {
            Action::Send => {
                let [departure] = *pacer.due() else {
                    panic!("one by one: {:?}", pacer.due())
                };
                assert!(departure.due_ns <= now && now - departure.due_ns <= CATCH_UP_NS);
                sent.push(departure);
                pacer.handled(1, now);
            }
            Action::Behind(departure) => {
                let over = pacer.end_ns.saturating_add(END_GRACE_NS);
                assert!(now - departure.due_ns > CATCH_UP_NS || now > over);
                behind.push(departure);
            }
            Action::WaitUntil(due_ns) => {
                assert!(due_ns > now);
                now = due_ns + lateness(waits);
                waits += 1;
            }
            Action::Done => return (sent, behind),
        }
    }
}

#[test]
fn first_packet_waits_for_the_start() {
    let mut pacer = constant(1000, 100, limits(5 * SECOND));
    assert_eq!(pacer.next(0), Action::WaitUntil(5 * SECOND));
    assert_eq!(pacer.next(5 * SECOND), Action::Send);
    let first = Departure {
        due_ns: 5 * SECOND,
        bytes: 100,
    };
    assert_eq!(pacer.due(), [first]);
    pacer.handled(1, 5 * SECOND);
    assert_eq!(pacer.next(5 * SECOND), Action::WaitUntil(5 * SECOND + MS));
}

#[test]
fn a_stream_follows_a_ramp_to_the_byte() {
    // 1 to 9 Mbit/s in 4 s, then a step to 2 Mbit/s: 20 Mbit and 2 Mbit.
    let point = |at_ns, rate| RampPoint { at_ns, rate };
    let points = [
        point(0, 1_000_000),
        point(4 * SECOND, 9_000_000),
        point(4 * SECOND, 2_000_000),
    ];
    let ramp = Ramp::new(1_000_000, &points);
    let limits = Limits {
        duration_ns: Some(5 * SECOND),
        bytes: Some(ramp.planned(5 * SECOND, 8 * SECOND)),
        ..limits(0)
    };
    assert_eq!(limits.bytes, Some(22_000_000 / 8));
    let mut pacer = StreamPacer::ramped(ramp, 1, limits).unwrap();
    let (mut now, mut seconds) = (0, [0_u64; 5]);
    loop {
        match pacer.next(now) {
            StreamAction::Write(bytes) => {
                pacer.wrote(bytes);
                seconds[(now / SECOND) as usize] += bytes;
            }
            StreamAction::WaitUntil(due_ns) => now = due_ns,
            StreamAction::Done => break,
        }
    }
    assert_eq!(seconds.iter().sum::<u64>(), 22_000_000 / 8);
    // The mean rate of each second, to one write of 10 ms.
    for (second, megabits) in seconds.into_iter().zip([2_u64, 4, 6, 8, 2]) {
        assert!(second.abs_diff(megabits * 125_000) <= 1_250, "{seconds:?}");
    }
}

#[test]
fn end_of_time_is_exact() {
    let pacer = constant(
        1000,
        100,
        Limits {
            duration_ns: Some(3 * SECOND),
            ..limits(7)
        },
    );
    let (sent, behind) = drive(pacer, 0, |_| 0);
    assert_eq!((sent.len(), behind.len()), (3000, 0));
    assert_eq!(sent.last().unwrap().due_ns, 7 + 3 * SECOND - MS);
}

#[test]
fn what_was_due_before_the_end_still_leaves() {
    let mut pacer = constant(
        1000,
        100,
        Limits {
            duration_ns: Some(10 * MS),
            ..limits(0)
        },
    );
    let late = 15 * MS;
    for n in 0..10 {
        assert_eq!(pacer.next(late), Action::Send);
        let due_ns = n * MS;
        assert_eq!(pacer.due(), [Departure { due_ns, bytes: 100 }]);
        pacer.handled(1, late);
    }
    assert_eq!(pacer.next(late), Action::Done);
    assert_eq!(pacer.next(late), Action::Done);
}

#[test]
fn nothing_leaves_longer_after_the_end() {
    let ten_ms = Limits {
        duration_ns: Some(10 * MS),
        ..limits(0)
    };
    let mut pacer = constant(1000, 100, ten_ms);
    let late = 15 * MS + 1;
    for n in 0..10 {
        let due_ns = n * MS;
        let expected = Departure { due_ns, bytes: 100 };
        assert_eq!(pacer.next(late), Action::Behind(expected));
    }
    assert_eq!(pacer.next(late), Action::Done);
}

#[test]
fn stall_is_caught_up_by_fifty_milliseconds_and_no_more() {
    let pacer = constant(
        1000,
        100,
        Limits {
            duration_ns: Some(SECOND),
            ..limits(0)
        },
    );
    let (sent, behind) = drive(pacer, 0, |wait| if wait == 100 { 200 * MS } else { 0 });
    // Departures 101..=301 ms are due when the stall ends at 301 ms: those from
    // 251 ms on are within 50 ms.
    assert_eq!(behind.len(), 150);
    assert_eq!(behind.first().unwrap().due_ns, 101 * MS);
    assert_eq!(behind.last().unwrap().due_ns, 250 * MS);
    assert_eq!(sent.len() + behind.len(), 1000);
}

#[test]
fn packet_and_byte_limits_are_exact() {
    let (sent, _) = drive(
        constant(
            100,
            100,
            Limits {
                packets: Some(7),
                ..limits(0)
            },
        ),
        0,
        |_| 0,
    );
    assert_eq!(sent.len(), 7);
    let (sent, _) = drive(
        constant(
            100,
            100,
            Limits {
                bytes: Some(250),
                ..limits(0)
            },
        ),
        0,
        |_| 0,
    );
    assert_eq!(
        sent.iter().map(|sent| sent.bytes).collect::<Vec<_>>(),
        [100, 100, 50]
    );
    // 10 bytes cannot hold the header: the packet before gives way.
    let (sent, _) = drive(
        constant(
            100,
            100,
            Limits {
                bytes: Some(210),
                ..limits(0)
            },
        ),
        0,
        |_| 0,
    );
    assert_eq!(
        sent.iter().map(|sent| sent.bytes).collect::<Vec<_>>(),
        [100, 90, 20]
    );
}

#[test]
fn all_out_bundles_and_ends() {
    let size = PacketSize::new(100, 20);
    let mut pacer = AllOut::new(
        size,
        Limits {
            duration_ns: Some(SECOND),
            bytes: Some(1010),
            ..limits(5)
        },
    );
    assert_eq!(pacer.next(0, 64), AllOutAction::WaitUntil(5));
    let mut sizes = Vec::new();
    while let AllOutAction::Send { packets, bytes } = pacer.next(10, 4) {
        assert!(packets <= 4);
        sizes.extend(std::iter::repeat_n(bytes, packets as usize));
        pacer.sent(packets, bytes);
    }
    assert_eq!(sizes.iter().sum::<u32>(), 1010);
    assert!(sizes.iter().all(|bytes| (20..=100).contains(bytes)));
    let endless = AllOut::new(
        size,
        Limits {
            duration_ns: Some(SECOND),
            ..limits(5)
        },
    );
    assert_eq!(
        endless.next(10, 64),
        AllOutAction::Send {
            packets: 64,
            bytes: 100
        }
    );
    assert_eq!(endless.next(SECOND + 5, 64), AllOutAction::Done);
}

#[test]
fn write_sizes_suit_the_rate() {
    for (bits_per_second, bytes) in [
        (0, 1),
        (8, 1),
        (3_000, 37),
        (8_000, 64),
        (64_000, 80),
        (10_000_000, 12_500),
        (100_000_000, 125_000),
        (1_000_000_000, 131_072),
        (2_000_000_000, 250_000),
        (100_000_000_000, 1_048_576),
    ] {
        assert_eq!(
            write_quantum(bits_per_second),
            bytes,
            "{bits_per_second} bit/s"
        );
    }
}

#[test]
fn a_blocked_stream_forgoes_what_is_older_than_a_second() {
    let mut pacer = StreamPacer::new(
        8_000_000,
        Limits {
            duration_ns: Some(10 * SECOND),
            ..limits(0)
        },
    )
    .unwrap();
    let StreamAction::Write(first) = pacer.next(0) else {
        panic!("a write is due at once")
    };
    pacer.wrote(first);
    for now_ms in 1..=3000 {
        pacer.next(now_ms * MS); // the socket takes nothing for three seconds
    }
    assert_eq!(pacer.pending_bytes(), 1_000_000);
    assert_eq!(pacer.next(3000 * MS), StreamAction::Write(1_000_000));
    pacer.wrote(1_000_000);
    let mut now = 3000 * MS;
    loop {
        match pacer.next(now) {
            StreamAction::Write(bytes) => pacer.wrote(bytes),
            StreamAction::WaitUntil(due_ns) => now = due_ns,
            StreamAction::Done => break,
        }
    }
    assert_eq!(pacer.offered_bytes(), 10_000_000);
    assert_eq!(pacer.written_bytes() + pacer.forgone_bytes(), 10_000_000);
}

proptest! {
    /// Every departure is answered once, whatever the wake-ups do.
    #[test]
    fn offered_is_sent_and_behind(
        rate in 100_u64..5_000,
        duration_ms in 1_u64..500,
        stalls in proptest::collection::vec(0_u64..120, 1..20),
    ) {
        let spacing = MeanSpacing::from_packet_rate(rate).unwrap();
        let pacer = constant(rate, 64, Limits { duration_ns: Some(duration_ms * MS), ..limits(3) });
        let (sent, behind) = drive(pacer, 0, |wait| stalls[wait % stalls.len()] * MS);
        let planned = spacing.departures_in(duration_ms * MS);
        prop_assert_eq!((sent.len() + behind.len()) as u64, planned);
        let mut all: Vec<u64> = sent.iter().chain(&behind).map(|each| each.due_ns).collect();
        all.sort_unstable();
        all.dedup();
        prop_assert_eq!(all.len() as u64, planned);
    }

    #[test]
    fn poisson_within_catch_up_sends_all(seed: u64, late_ms in 0_u64..50) {
        let mut traffic = SocketTraffic::new(Transport::Udp, Rate::MilliPacketsPerSecond(2_000_000), 64);
        traffic.arrival = Law::Exponential { mean: None };
        let draws = Draws { seed, session: 1, segment: 0, stream: 0 };
        let departures = schedule(&traffic, Packet { bytes: 64, overhead_bytes: 0 }, 1, draws, &[]);
        let departures = departures.unwrap().unwrap();
        let expected = departures.clone().take_while(|next| next.offset_ns < SECOND).count();
        let within = departures.take_while(|next| next.offset_ns < SECOND);
        let pacer = Pacer::new(within, 20, limits(0), Policy::of(Pacing::KeepMean));
        let (sent, behind) = drive(pacer, 0, |_| late_ms * MS);
        prop_assert_eq!((sent.len(), behind.len()), (expected, 0));
    }

    #[test]
    fn byte_limit_is_met_by_valid_packets(
        size in 1_u32..2000, floor in 1_u32..64, total in 1_u64..100_000
    ) {
        prop_assume!(total >= 2 * u64::from(floor) && size >= 2 * floor);
        let spacing = MeanSpacing::from_packet_rate(1_000_000).unwrap();
        let pacer = Pacer::new(
            Departures::of_size(ConstantArrival::new(spacing), size),
            floor,
            Limits { bytes: Some(total), ..limits(0) },
            Policy::of(Pacing::KeepMean),
        );
        let (sent, _) = drive(pacer, 0, |_| 0);
        prop_assert_eq!(sent.iter().map(|each| u64::from(each.bytes)).sum::<u64>(), total);
        prop_assert!(sent.iter().all(|each| (floor..=size).contains(&each.bytes)));
    }

    #[test]
    fn a_stream_meets_its_plan_exactly(
        rate in 1_u64..40_000_000_000, duration_ms in 1_u64..2_000, late_us in 0_u64..5_000
    ) {
        let duration_ns = duration_ms * MS;
        let mut pacer =
            StreamPacer::new(rate, Limits { duration_ns: Some(duration_ns), ..limits(9) }).unwrap();
        let (mut now, mut writes) = (0, 0_u64);
        loop {
            match pacer.next(now) {
                StreamAction::Write(bytes) => {
                    writes += 1;
                    pacer.wrote(bytes);
                }
                StreamAction::WaitUntil(due_ns) => now = due_ns + late_us * 1000,
                StreamAction::Done => break,
            }
        }
        let planned = u128::from(rate) * u128::from(duration_ns) / 8_000_000_000;
        prop_assert_eq!(u128::from(pacer.written_bytes()), planned);
        prop_assert_eq!(pacer.forgone_bytes(), 0);
        prop_assert!(writes <= 5 * duration_ms + 2, "{} writes in {} ms", writes, duration_ms);
    }
}
