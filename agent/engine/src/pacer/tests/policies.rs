use weir_common::assignment::RampPoint;

use super::*;

fn paced(rate: u64, seconds: u64, policy: Policy, most: u32) -> Pacer<Departures> {
    let spacing = MeanSpacing::from_packet_rate(rate).unwrap();
    let departures = Departures::of_size(ConstantArrival::new(spacing), 100);
    let limits = Limits {
        duration_ns: Some(seconds * SECOND),
        ..limits(0)
    };
    Pacer::with_bundles(departures, 20, limits, policy, most)
}

/// A bundle that left: when, and what it held.
type Bundle = (u64, Vec<Departure>);

/// Runs a pacer as [`drive`] does, bundle by bundle.
fn drive_bundles(
    mut pacer: Pacer<impl Iterator<Item = crate::arrival::Departure>>,
    lateness: impl Fn(usize) -> u64,
) -> (Vec<Bundle>, Vec<Departure>) {
    let (mut sent, mut behind, mut now, mut waits) = (Vec::new(), Vec::new(), 0, 0);
    loop {
        match pacer.next(now) {
            Action::Send => {
                sent.push((now, pacer.due().to_vec()));
                pacer.handled(pacer.due().len(), now);
            }
            Action::Behind(departure) => behind.push(departure),
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
fn a_kept_gap_shifts_all_that_follows() {
    let pacer = paced(1000, 1, Policy::KeepGap, 1);
    let (sent, behind) = drive_bundles(pacer, |wait| if wait == 99 { 40 * MS } else { 0 });
    let times: Vec<u64> = sent.iter().map(|(at, _)| *at).collect();
    assert_eq!(times[99], 99 * MS);
    assert_eq!(times[100], 140 * MS, "the stall");
    assert_eq!(times[101], 141 * MS, "a gap after it, not a burst");
    // What the stall took from the end is behind, and every packet has its fate.
    assert_eq!((sent.len(), behind.len()), (960, 40));
    // Its lateness is that of the stall alone: the shifted schedule is kept.
    assert!(sent[101..].iter().all(|(at, due)| due[0].due_ns == *at));
}

#[test]
fn bundles_are_cut_from_the_schedule() {
    let mean = Policy::of(Pacing::KeepMean);
    // 5 us apart: 20 in less than 100 us; the limits of the kernel; 100 us apart: one.
    for (rate, most, packets) in [(200_000, 64, 20), (200_000, 8, 8), (10_000, 64, 1)] {
        let (sent, behind) = drive_bundles(paced(rate, 1, mean, most), |_| 0);
        assert!(behind.is_empty());
        assert_eq!(
            sent.iter().map(|(_, due)| due.len() as u64).sum::<u64>(),
            rate
        );
        for (at, due) in &sent[..sent.len() - 1] {
            assert_eq!(due.len(), packets, "{rate}");
            assert_eq!(
                *at,
                due.last().unwrap().due_ns,
                "leaves with its last packet"
            );
        }
    }
    // Packets closer than asked are no bundle of keep-gap.
    let (sent, _) = drive_bundles(paced(200_000, 1, Policy::KeepGap, 64), |_| 0);
    assert!(sent.iter().all(|(_, due)| due.len() == 1));
}

#[test]
fn a_trimmed_packet_is_in_no_bundle() {
    let spacing = MeanSpacing::from_packet_rate(1_000_000).unwrap();
    let limits = Limits {
        bytes: Some(1_030),
        ..limits(0)
    };
    let departures = Departures::of_size(ConstantArrival::new(spacing), 100);
    let mean = Policy::of(Pacing::KeepMean);
    let (sent, _) = drive_bundles(Pacer::with_bundles(departures, 20, limits, mean, 64), |_| 0);
    let sizes: Vec<Vec<u32>> = sent
        .iter()
        .map(|(_, due)| due.iter().map(|packet| packet.bytes).collect())
        .collect();
    assert_eq!(sizes, [vec![100; 10], vec![30]]);
}

#[test]
fn what_does_not_leave_stays_due() {
    let mut pacer = paced(200_000, 1, Policy::of(Pacing::KeepMean), 8);
    assert_eq!(pacer.next(MS), Action::Send);
    let all = pacer.due().to_vec();
    pacer.handled(3, MS);
    assert_eq!(pacer.next(MS), Action::Send);
    assert_eq!(pacer.due(), &all[3..]);
    // Held for longer than the catch-up, the rest is given up one by one.
    let late = 60 * MS;
    for packet in &all[3..] {
        assert_eq!(pacer.next(late), Action::Behind(*packet));
    }
}

#[test]
fn a_ramp_meets_its_planned_total() {
    let points = [
        (0, 1_000),
        (SECOND, 9_000),
        (SECOND, 500),
        (2 * SECOND, 500),
    ];
    let points: Vec<RampPoint> = points
        .iter()
        .map(|(at_ns, rate)| RampPoint {
            at_ns: *at_ns,
            rate: *rate,
        })
        .collect();
    let ramp = Ramp::new(1_000, &points);
    let planned = ramp.planned(2 * SECOND, SECOND);
    assert_eq!(planned, 5_000 + 500);
    let spacing = MeanSpacing::from_packet_rate(ramp.top()).unwrap();
    let mut clock = RampClock::new(ramp);
    let departures = Departures::of_size(ConstantArrival::new(spacing), 64).map(move |mut next| {
        next.offset_ns = clock.due_ns(next.offset_ns);
        next
    });
    let limits = Limits {
        duration_ns: Some(2 * SECOND),
        // What is due at the end itself may round to before it.
        packets: Some(planned),
        ..limits(0)
    };
    let pacer = Pacer::new(departures, 20, limits, Policy::of(Pacing::KeepMean));
    let (sent, behind) = drive(pacer, 0, |_| 0);
    assert_eq!((sent.len() as u64, behind.len()), (planned, 0));
    let first_half = sent.iter().filter(|packet| packet.due_ns < SECOND).count();
    assert!(first_half.abs_diff(5_000) <= 1, "{first_half}");
}

proptest! {
    #[test]
    fn a_kept_gap_is_never_closer_than_asked(
        rate in 100_u64..20_000,
        stalls in proptest::collection::vec(0_u64..30_000_000, 1..20),
    ) {
        let gap_ns = SECOND / rate;
        let pacer = paced(rate, 1, Policy::KeepGap, 1);
        let (sent, behind) = drive_bundles(pacer, |wait| stalls[wait % stalls.len()]);
        for pair in sent.windows(2) {
            prop_assert!(pair[1].0 - pair[0].0 >= gap_ns);
        }
        prop_assert!(sent.iter().all(|(at, _)| *at < SECOND), "exactly to the end");
        prop_assert_eq!((sent.len() + behind.len()) as u64, rate);
    }

    /// Every departure has one fate, no bundle holds more than it may, and its
    /// packets are of one size.
    #[test]
    fn bundles_hold_little_of_the_schedule(
        rate in 1_000_u64..2_000_000,
        most in 1_u32..64,
        stalls in proptest::collection::vec(0_u64..80_000_000, 1..20),
    ) {
        let limits = Limits { packets: Some(20_000), ..limits(0) };
        let spacing = MeanSpacing::from_packet_rate(rate).unwrap();
        let departures = Departures::of_size(ConstantArrival::new(spacing), 100);
        let pacer =
            Pacer::with_bundles(departures, 20, limits, Policy::of(Pacing::KeepMean), most);
        let (sent, behind) = drive_bundles(pacer, |wait| stalls[wait % stalls.len()]);
        let mut count = behind.len();
        for (at, due) in &sent {
            let (first, last) = (due.first().unwrap(), due.last().unwrap());
            prop_assert!(last.due_ns - first.due_ns < BUNDLE_NS);
            prop_assert!(*at >= last.due_ns && at - first.due_ns <= CATCH_UP_NS);
            prop_assert!(due.len() <= most as usize);
            count += due.len();
        }
        prop_assert_eq!(count, 20_000);
    }
}
