use super::*;
use proptest::prelude::*;

const SPACING_NS: u64 = 10_000_000;

/// A send, and whether it was lost; the sequence number is the place in the list.
#[derive(Debug, Clone, Copy)]
struct Send {
    at_ns: u64,
    lost: bool,
}

/// The runs of losses between `sends`, head apart, and the end of the flow.
fn runs(sends: &[Send], end_ns: u64) -> (Option<LostRun>, Vec<LostRun>) {
    let (mut head, mut rest) = (None, Vec::new());
    let mut at = 0;
    while at < sends.len() {
        let packets = sends[at..].iter().take_while(|send| send.lost).count();
        if packets > 0 {
            let next = sends.get(at + packets);
            let run = LostRun {
                first_seq: at as u64,
                packets: packets as u64,
                from_ns: sends[at].at_ns,
                to_ns: next.map_or(end_ns, |next| next.at_ns),
                ended: next.is_some(),
            };
            if at == 0 {
                head = Some(run);
            } else {
                rest.push(run);
            }
        }
        at += packets.max(1);
    }
    (head, rest)
}

/// The definition, word by word, with every send at hand.
fn reference(sends: &[Send], end_ns: u64) -> Vec<Outage> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < sends.len() {
        let length = sends[at..].iter().take_while(|send| send.lost).count();
        let long = length >= 3;
        if !long {
            at += length.max(1);
            continue;
        }
        let first_after = (at + length..sends.len()).find(|after| {
            let until_ns = sends[*after].at_ns + QUIET_NS;
            let within = sends[*after..]
                .iter()
                .take_while(|send| send.at_ns < until_ns);
            within.clone().all(|send| !send.lost)
        });
        let end = first_after.unwrap_or(sends.len());
        let lost: Vec<usize> = (at..end).filter(|at| sends[*at].lost).collect();
        found.push(Outage {
            from_ns: sends[at].at_ns,
            to_ns: first_after.map_or(end_ns, |after| sends[after].at_ns),
            ended: first_after.is_some(),
            first_seq: at as u64,
            last_seq: *lost.last().unwrap() as u64,
            lost: lost.len() as u64,
        });
        at = end;
    }
    found
}

fn detect(sends: &[Send], end_ns: u64) -> OutageDetector {
    let (head, rest) = runs(sends, end_ns);
    let mut detector = OutageDetector::default();
    for run in &rest {
        detector.record(run, SPACING_NS);
    }
    detector.close(head.as_ref(), SPACING_NS);
    detector
}

fn even(fates: &[bool]) -> Vec<Send> {
    let send = |(at, lost): (usize, &bool)| Send {
        at_ns: at as u64 * SPACING_NS,
        lost: *lost,
    };
    fates.iter().enumerate().map(send).collect()
}

#[test]
fn a_cut_is_one_outage_from_the_first_lost_send_to_the_first_that_arrives() {
    let mut fates = vec![false; 1_000];
    fates[300..500].fill(true);
    let detector = detect(&even(&fates), 1_000 * SPACING_NS);
    let expected = Outage {
        from_ns: 300 * SPACING_NS,
        to_ns: 500 * SPACING_NS,
        ended: true,
        first_seq: 300,
        last_seq: 499,
        lost: 200,
    };
    assert_eq!(detector.kept(), [expected]);
    assert_eq!((detector.count(), detector.sum_ns()), (1, 2_000_000_000));
}

#[test]
fn short_runs_are_no_outage_but_prolong_one() {
    let mut fates = vec![false; 1_000];
    fates[10] = true;
    fates[100..103].fill(true);
    fates[150] = true; // within the second
    fates[251] = true; // a second and one packet after 150
    let detector = detect(&even(&fates), 1_000 * SPACING_NS);
    let kept = detector.kept();
    assert_eq!(kept.len(), 1);
    assert_eq!(
        (kept[0].first_seq, kept[0].last_seq, kept[0].lost),
        (100, 150, 4)
    );
    assert_eq!(kept[0].to_ns, 151 * SPACING_NS);
}

/// A sender that pauses or stalls after a packet that is lost is no outage.
#[test]
fn a_pause_after_a_lost_packet_is_no_outage() {
    let mut sends = even(&[false; 1_000]);
    sends[100].lost = true;
    sends[500].lost = true;
    sends[501].lost = true;
    for send in &mut sends[101..] {
        send.at_ns += 20 * SPACING_NS;
    }
    for send in &mut sends[502..] {
        send.at_ns += 5 * QUIET_NS;
    }
    let detector = detect(&sends, 2_000 * SPACING_NS);
    assert_eq!((detector.count(), detector.kept()), (0, Vec::new()));
}

#[test]
fn a_flow_that_does_not_outlive_its_outage_has_one_without_end() {
    let mut fates = vec![false; 100];
    fates[90..].fill(true);
    let detector = detect(&even(&fates), 100 * SPACING_NS);
    let kept = detector.kept();
    assert!(!kept[0].ended);
    assert_eq!(kept[0].length_ns(), 10 * SPACING_NS);
    let silence = LostRun {
        first_seq: 50,
        packets: 0,
        from_ns: 500_000_000,
        to_ns: 900_000_000,
        ended: false,
    };
    let mut detector = OutageDetector::default();
    detector.record(&silence, SPACING_NS);
    detector.close(None, SPACING_NS);
    assert_eq!((detector.count(), detector.kept()[0].lost), (1, 0));
}

#[test]
fn the_longest_thousand_are_kept_and_all_are_counted() {
    let mut detector = OutageDetector::default();
    for number in 0..2_500_u64 {
        let from_ns = number * 10 * QUIET_NS;
        let run = LostRun {
            first_seq: number * 1_000,
            packets: 3 + number % 5,
            from_ns,
            to_ns: from_ns + 1_000 * (1 + number % 2_500),
            ended: true,
        };
        detector.record(&run, 1);
    }
    detector.close(None, 1);
    assert_eq!(detector.count(), 2_500);
    assert_eq!(detector.sum_ns(), (1..=2_500).sum::<u64>() * 1_000);
    let kept = detector.kept();
    assert_eq!(kept.len(), KEPT_OUTAGES);
    assert!(kept.iter().all(|outage| outage.length_ns() > 1_500_000));
    assert!(kept.is_sorted_by_key(|outage| outage.from_ns));
}

/// Stretches of sends: how many, lost or not, how far apart (in quarters of the
/// mean spacing).
fn sends() -> impl Strategy<Value = Vec<Send>> {
    let stretch = (1usize..60, prop::bool::weighted(0.4), 1u64..20);
    proptest::collection::vec(stretch, 0..20).prop_map(|stretches| {
        let (mut sends, mut at_ns) = (Vec::new(), 0);
        for (count, lost, quarters) in stretches {
            for _ in 0..count {
                sends.push(Send { at_ns, lost });
                at_ns += quarters * SPACING_NS / 4;
            }
        }
        sends
    })
}

proptest! {
    #[test]
    fn agrees_with_the_definition(sends in sends()) {
        let end_ns = sends.last().map_or(0, |last| last.at_ns + SPACING_NS);
        let expected = reference(&sends, end_ns);
        let detector = detect(&sends, end_ns);
        prop_assert_eq!(detector.count(), expected.len() as u64);
        let sum: u64 = expected.iter().map(Outage::length_ns).sum();
        prop_assert_eq!(detector.sum_ns(), sum);
        prop_assert_eq!(detector.kept(), expected);
    }

    #[test]
    fn absurd_runs_never_panic(
        runs in proptest::collection::vec((any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<bool>()), 0..20),
        spacing: u64,
    ) {
        let mut detector = OutageDetector::default();
        for (first_seq, packets, from_ns, to_ns, ended) in runs {
            detector.record(&LostRun { first_seq, packets, from_ns, to_ns, ended }, spacing);
        }
        detector.close(None, spacing);
        prop_assert!(detector.kept().len() as u64 <= detector.count());
    }
}
