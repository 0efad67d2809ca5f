use super::*;
use crate::stats::Lengths;
use crate::stats::outage::{LostRun, Outage};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashSet};

const LINGER_NS: u64 = 20_000;
const SPACING_NS: u64 = 1_000;

fn span(cohort: u8, first_seq: u64, packets: u64) -> CohortSpan {
    CohortSpan {
        cohort,
        first_seq,
        packets,
        bytes: packets * 100,
    }
}

fn final_count(spans: &[CohortSpan]) -> FinalCount {
    FinalCount {
        cohorts: spans.to_vec(),
    }
}

/// Delivers the packet when it was sent, as cohort 1.
fn deliver(window: &mut LossWindow, seq: u64) -> Arrival {
    window.arrival(seq, Some(seq * SPACING_NS), seq * SPACING_NS, 1)
}

/// The sum of all segments.
fn flow_totals(window: &LossWindow) -> IntervalCounts {
    let mut sum = IntervalCounts::default();
    for segment in 0..=127 {
        sum.add(&window.segment_totals(segment));
    }
    sum
}

#[test]
fn a_lossless_flow_loses_nothing() {
    let mut window = LossWindow::new(LINGER_NS);
    for seq in 0..10_000 {
        assert_eq!(deliver(&mut window, seq), Arrival::New);
    }
    window.close(Some(&final_count(&[span(1, 0, 10_000)])));
    let totals = window.cohort_totals(1).unwrap();
    assert!(totals.exact && !window.is_inconsistent() && !window.is_cut());
    assert_eq!((totals.sent_packets, totals.received), (10_000, 10_000));
    assert_eq!((totals.lost, totals.bursts.count), (0, 0));
    assert_eq!(flow_totals(&window).lost, 0);
}

#[test]
fn a_loss_is_declared_when_a_packet_sent_a_linger_later_arrives() {
    let mut window = LossWindow::new(LINGER_NS);
    for seq in (0..=25).filter(|seq| *seq != 5) {
        deliver(&mut window, seq);
    }
    // Number 6 was sent 1 us after number 5, number 26 a linger after that.
    assert_eq!(window.take_interval(0).lost, 0);
    deliver(&mut window, 26);
    assert_eq!(window.take_interval(0).lost, 1);
    assert_eq!(window.arrival(5, Some(5_000), 27_000, 1), Arrival::Late);
    assert_eq!(
        window.arrival(5, Some(5_000), 27_000, 1),
        Arrival::Duplicate
    );
    let interval = window.take_interval(0);
    assert_eq!(
        (interval.received, interval.late, interval.duplicate),
        (0, 1, 1)
    );
}

#[test]
fn a_late_packet_declares_its_own_loss_even_between_checkpoints() {
    let mut window = LossWindow::new(LINGER_NS);
    deliver(&mut window, 0);
    // Nothing arrives for a while, so no checkpoint tells when 30 was sent.
    deliver(&mut window, 100);
    assert_eq!(window.arrival(30, Some(30_000), 101_000, 1), Arrival::Late);
    assert_eq!(window.take_interval(0).lost, 30);
    assert_eq!(window.arrival(90, Some(90_000), 102_000, 1), Arrival::New);
}

#[test]
fn without_send_times_arrival_times_decide() {
    let mut window = LossWindow::new(LINGER_NS);
    for seq in (0..=5).filter(|seq| *seq != 2) {
        window.arrival(seq, None, 1_000 * seq, 1);
    }
    window.arrival(6, None, 5_000 + LINGER_NS, 1);
    assert_eq!(window.take_interval(0).lost, 1);
    assert_eq!(window.arrival(2, None, 30_000, 1), Arrival::Late);
}

#[test]
fn head_middle_and_tail_are_told_apart() {
    let mut window = LossWindow::new(LINGER_NS);
    for seq in [3, 4, 7, 8] {
        deliver(&mut window, seq);
    }
    window.close(Some(&final_count(&[span(1, 0, 12)])));
    let totals = window.cohort_totals(1).unwrap();
    assert_eq!((totals.head, totals.middle, totals.tail), (3, 2, 3));
    assert_eq!((totals.bursts.count, totals.bursts.max), (3, 3));
    assert_eq!(totals.sent_bytes, Some(1_200));
    assert_eq!(window.take_interval(0).lost, 8);
}

#[test]
fn a_flow_of_which_nothing_arrives_is_lost_at_the_head() {
    let mut window = LossWindow::new(LINGER_NS);
    window.close(Some(&final_count(&[span(0, 0, 10), span(1, 10, 90)])));
    let totals = window.cohort_totals(1).unwrap();
    assert_eq!((totals.lost, totals.head, totals.bursts.max), (90, 90, 90));
    assert_eq!(flow_totals(&window).lost, 100);
    assert!(!window.is_inconsistent());
}

#[test]
fn segments_close_while_later_ones_run() {
    let mut window = LossWindow::new(LINGER_NS);
    for seq in 0..10 {
        window.arrival(seq, Some(seq), seq, 1);
    }
    for seq in 20..25 {
        window.arrival(seq, Some(seq), seq, 3);
    }
    window.close_segment(&final_count(&[span(0, 0, 0), span(1, 0, 15)]));
    assert_eq!(window.cohort_totals(1).unwrap().tail, 5);
    assert_eq!(window.take_interval(0).lost, 5);
    assert_eq!(window.take_interval(1).lost, 0);
    assert_eq!(window.arrival(14, Some(14), 30, 1), Arrival::Late);
    assert_eq!(
        window.take_interval(0),
        IntervalCounts::default(),
        "closed is closed"
    );
    window.close(Some(&final_count(&[span(2, 15, 5), span(3, 20, 8)])));
    assert_eq!(window.cohort_totals(2).unwrap().lost, 5);
    assert_eq!(window.cohort_totals(3).unwrap().tail, 3);
    assert_eq!(window.take_interval(1).lost, 8);
    assert!(!window.is_inconsistent());
}

#[test]
fn losses_at_the_border_of_segments_wait_for_the_final_count() {
    let mut window = LossWindow::new(LINGER_NS);
    for (seq, cohort) in [(0, 1), (2, 1), (8, 3), (10, 3), (80, 3)] {
        window.arrival(seq, Some(seq * SPACING_NS), seq * SPACING_NS, cohort);
    }
    window.arrival(101, Some(101 * SPACING_NS), 101 * SPACING_NS, 3);
    // Numbers 1, 9 and 11 to 79 have an owner; 3 to 7 have one of two.
    assert_eq!(window.take_interval(0).lost, 1);
    assert_eq!(window.take_interval(1).lost, 70);
    window.close_segment(&final_count(&[span(1, 0, 6)]));
    assert_eq!(window.take_interval(0).lost, 3);
    window.close(Some(&final_count(&[span(3, 6, 96)])));
    assert_eq!(window.take_interval(1).lost, 2 + 20);
    assert!(!window.is_inconsistent());
}

#[test]
fn without_a_final_count_the_account_ends_at_the_last_arrival() {
    let mut window = LossWindow::new(LINGER_NS);
    for (seq, cohort) in [(1, 0), (3, 0), (8, 1), (10, 1)] {
        window.arrival(seq, Some(seq), seq, cohort);
    }
    window.close(None);
    let (warmup, measured) = (window.cohort_totals(0), window.cohort_totals(1));
    // What was lost between them counts for the measured window.
    assert_eq!(warmup.unwrap().lost, 2);
    assert_eq!(measured.unwrap().lost, 5);
    assert_eq!(measured.unwrap().head, 4);
    assert!(!measured.unwrap().exact);
    assert_eq!(flow_totals(&window).lost, 7);
    assert!(!window.is_inconsistent());
}

#[test]
fn a_segment_without_a_final_count_is_bounded_by_the_next_one() {
    let mut window = LossWindow::new(LINGER_NS);
    window.arrival(2, Some(2), 2, 0);
    window.arrival(25, Some(25), 25, 3);
    window.close(Some(&final_count(&[span(3, 20, 10)])));
    assert_eq!(window.cohort_totals(0).unwrap().sent_packets, 3);
    // Cohort 1 was never seen, but something was sent between 0 and 3.
    assert_eq!(window.cohort_totals(1).unwrap().lost, 17);
    assert_eq!(window.cohort_totals(3).unwrap().lost, 9);
    assert_eq!(flow_totals(&window).lost, 28);
    assert!(!window.is_inconsistent());
}

#[test]
fn a_wrap_of_32_bits_is_nothing_to_a_flow() {
    const WRAP: u64 = 1 << 32;
    let mut window = LossWindow::new(LINGER_NS);
    deliver(&mut window, 0);
    // Nearly all of the first 2^32 packets are lost, in two runs of 2^31.
    deliver(&mut window, WRAP / 2);
    for seq in (WRAP - 1_000..WRAP + 1_000).filter(|seq| seq % 10 != 0) {
        assert_eq!(deliver(&mut window, seq), Arrival::New);
    }
    assert_eq!(
        window.arrival(WRAP + 1, Some(SPACING_NS * (WRAP + 1)), 0, 1),
        Arrival::Duplicate
    );
    assert_eq!(deliver(&mut window, 1), Arrival::Late, "not WRAP + 1");
    window.close(Some(&final_count(&[span(1, 0, WRAP + 1_000)])));
    let totals = window.cohort_totals(1).unwrap();
    assert_eq!(totals.sent_packets, WRAP + 1_000);
    assert_eq!(totals.received, 2 + 1_800);
    assert_eq!(totals.lost, totals.sent_packets - totals.received);
    assert_eq!((totals.duplicate, totals.late), (1, 1));
    assert_eq!(
        (totals.bursts.max, totals.bursts.count),
        (WRAP / 2 - 1, 202)
    );
    assert!(!window.is_inconsistent());
    let outages = window.outages(1).unwrap();
    assert_eq!(outages.count(), 1, "all within one second of the next");
    assert_eq!(outages.kept()[0].last_seq, WRAP + 994);
}

#[test]
fn distances_reach_over_the_losses_at_the_borders() {
    let mut window = LossWindow::new(LINGER_NS);
    for seq in [2, 3, 4, 9, 10] {
        deliver(&mut window, seq);
    }
    window.close(Some(&final_count(&[span(1, 0, 13)])));
    let totals = window.cohort_totals(1).unwrap();
    // Lost: 0-1, 5-8, 11-12; so from 1 to 5 and from 8 to 11.
    assert_eq!((totals.bursts.count, totals.bursts.packets), (3, 8));
    assert_eq!((totals.distances.min, totals.distances.max), (3, 4));
    assert_eq!(totals.distances.count, 2);
}

/// Mean spacing and linger of the flows whose outages are looked for: ten
/// packets are a second.
const SLOW_NS: u64 = 100_000_000;

#[test]
fn losses_before_the_first_arrival_in_time_are_dated_by_the_next() {
    let mut window = LossWindow::new(200 * SLOW_NS);
    for seq in [4, 0, 5, 40] {
        window.arrival(seq, Some(seq * SLOW_NS), seq * SLOW_NS, 1);
    }
    window.close(Some(&final_count(&[span(1, 0, 41)])));
    assert_eq!(window.outages(1).unwrap().kept()[0].from_ns, SLOW_NS);
}

#[test]
fn a_silence_without_a_final_count_is_an_outage() {
    let mut window = LossWindow::new(20 * SLOW_NS);
    for seq in 0..50 {
        window.arrival(seq, Some(seq * SLOW_NS), seq * SLOW_NS, 1);
    }
    window.set_times(1, 0, 100 * SLOW_NS);
    window.close(None);
    let kept = window.outages(1).unwrap().kept();
    assert_eq!(kept.len(), 1);
    assert_eq!(
        (kept[0].from_ns, kept[0].to_ns),
        (50 * SLOW_NS, 100 * SLOW_NS)
    );
    assert_eq!((kept[0].lost, kept[0].ended), (0, false));
}

#[test]
fn a_flow_of_which_nothing_arrives_is_one_outage() {
    let mut window = LossWindow::new(LINGER_NS);
    window.set_times(1, 5_000, 105_000);
    window.close(Some(&final_count(&[span(1, 0, 100)])));
    let kept = window.outages(1).unwrap().kept();
    let expected = Outage {
        from_ns: 5_000,
        to_ns: 105_000,
        ended: false,
        first_seq: 0,
        last_seq: 99,
        lost: 100,
    };
    assert_eq!(kept, [expected]);
}

#[test]
fn contradictions_are_marked_and_nothing_goes_negative() {
    let mut window = LossWindow::new(LINGER_NS);
    for seq in 0..10 {
        deliver(&mut window, seq);
    }
    window.close(Some(&final_count(&[span(1, 0, 4)])));
    assert!(window.is_inconsistent());
    assert_eq!(window.cohort_totals(1).unwrap().lost, 0);

    let mut window = LossWindow::new(LINGER_NS);
    deliver(&mut window, 0);
    window.close_segment(&final_count(&[span(1, u64::MAX, 4)]));
    assert!(window.is_inconsistent());
    assert!(
        window.cohort_totals(1).is_none(),
        "an absurd count is ignored"
    );
}

#[test]
fn a_window_beyond_its_memory_is_cut_and_says_so() {
    let mut window = LossWindow::new(u64::MAX);
    window.arrival(0, Some(0), 0, 1);
    window.arrival(MAX_BITS - 1, Some(1), 1, 1);
    assert!(!window.is_cut());
    window.arrival(MAX_BITS, Some(2), 2, 1);
    // The first packet no longer fits, but it had arrived.
    assert!(window.is_cut());
    assert_eq!(flow_totals(&window).lost, 0);
    window.arrival(MAX_BITS + 10, Some(3), 3, 1);
    assert!(window.is_cut());
    assert_eq!(flow_totals(&window).lost, 10);
    window.arrival(MAX_SEQUENCE, Some(4), 4, 1);
    window.close(None);
    assert_eq!(window.cohort_totals(1).unwrap().lost, MAX_SEQUENCE + 1 - 5);
    assert!(!window.is_inconsistent());
}

/// A packet's fate in the model-based tests.
#[derive(Debug, Clone)]
struct Fate {
    lost: bool,
    delay_ns: u64,
    copy_after_ns: Option<u64>,
}

fn fate() -> impl Strategy<Value = Fate> {
    let delay_ns = prop_oneof![
        8 => 0..SPACING_NS / 2,
        2 => 0..5 * SPACING_NS,
        1 => 0..3 * LINGER_NS,
    ];
    let copy = prop_oneof![8 => Just(None), 1 => (1..2 * LINGER_NS).prop_map(Some)];
    (prop::bool::weighted(0.2), delay_ns, copy).prop_map(|(lost, delay_ns, copy_after_ns)| Fate {
        lost,
        delay_ns,
        copy_after_ns,
    })
}

/// Warm-up and measured packets of each segment.
fn segments() -> impl Strategy<Value = Vec<(Vec<Fate>, Vec<Fate>)>> {
    let fates = |max| proptest::collection::vec(fate(), 0..max);
    proptest::collection::vec((fates(20), fates(80)), 1..5)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Packet { seq: u64, cohort: u8 },
    Close { segment: usize },
}

/// The plan of a flow: what was sent, and what happens at its receiver when.
struct World {
    events: Vec<(u64, Event)>,
    counts: Vec<FinalCount>,
    spans: Vec<CohortSpan>,
}

fn world(segments: &[(Vec<Fate>, Vec<Fate>)]) -> World {
    let (mut events, mut counts, mut spans, mut seq) = (Vec::new(), Vec::new(), Vec::new(), 0u64);
    for (segment, (warmup, measured)) in segments.iter().enumerate() {
        let mut count = FinalCount::default();
        for (cohort, fates) in [(2 * segment, warmup), (2 * segment + 1, measured)] {
            let cohort = cohort as u8;
            count.cohorts.push(span(cohort, seq, fates.len() as u64));
            for fate in fates {
                let at = seq * SPACING_NS + fate.delay_ns;
                if !fate.lost {
                    events.push((at, Event::Packet { seq, cohort }));
                    if let Some(after) = fate.copy_after_ns {
                        events.push((at + after, Event::Packet { seq, cohort }));
                    }
                }
                seq += 1;
            }
        }
        events.push((seq * SPACING_NS + LINGER_NS, Event::Close { segment }));
        spans.extend(count.cohorts.iter().copied());
        counts.push(count);
    }
    events.sort();
    World {
        events,
        counts,
        spans,
    }
}

/// The definitions, written down plainly: every packet is kept.
#[derive(Default)]
struct Model {
    latest_send_ns: u64,
    closed_below: u64,
    arrived: HashSet<u64>,
    received: Vec<(u64, u8)>,
    late: BTreeMap<u8, u64>,
    duplicate: BTreeMap<u8, u64>,
}

impl Model {
    fn packet(&mut self, seq: u64, cohort: u8) -> Arrival {
        let send_ns = seq * SPACING_NS;
        self.latest_send_ns = self.latest_send_ns.max(send_ns);
        let counts = u64::from(seq >= self.closed_below);
        if !self.arrived.insert(seq) {
            *self.duplicate.entry(cohort).or_default() += counts;
            Arrival::Duplicate
        } else if seq < self.closed_below || send_ns + LINGER_NS <= self.latest_send_ns {
            *self.late.entry(cohort).or_default() += counts;
            Arrival::Late
        } else {
            self.received.push((seq, cohort));
            Arrival::New
        }
    }

    /// (cohort, extent) of each reordered packet: RFC 4737 word by word.
    fn extents(&self) -> Vec<(u8, u64)> {
        let greater_before = |i: usize| {
            let earlier = &self.received[..i];
            earlier
                .iter()
                .position(|(seq, _)| *seq > self.received[i].0)
        };
        (0..self.received.len())
            .filter_map(|i| greater_before(i).map(|j| (self.received[i].1, (i - j) as u64)))
            .collect()
    }

    fn totals(&self, span: &CohortSpan) -> CohortTotals {
        let numbers = span.first_seq..span.first_seq + span.packets;
        let received: HashSet<u64> = self.received.iter().map(|(seq, _)| *seq).collect();
        let mut runs = vec![0u64];
        for seq in numbers.clone() {
            if received.contains(&seq) {
                runs.push(0);
            } else {
                *runs.last_mut().unwrap() += 1;
            }
        }
        let lost: u64 = runs.iter().sum();
        let head = runs[0];
        let tail = if runs.len() > 1 {
            runs[runs.len() - 1]
        } else {
            0
        };
        let mut bursts = Lengths::default();
        for run in &runs {
            bursts.record(*run);
        }
        let mut distances = Lengths::default();
        let missing: Vec<u64> = numbers
            .clone()
            .filter(|seq| !received.contains(seq))
            .collect();
        for pair in missing.windows(2).filter(|pair| pair[1] - pair[0] > 1) {
            distances.record(pair[1] - pair[0]);
        }
        let extents = self.extents();
        let extents = extents.iter().filter(|(cohort, _)| *cohort == span.cohort);
        CohortTotals {
            cohort: span.cohort,
            exact: true,
            sent_packets: span.packets,
            sent_bytes: Some(span.bytes),
            received: span.packets - lost,
            lost,
            head,
            middle: lost - head - tail,
            tail,
            late: self.late.get(&span.cohort).copied().unwrap_or(0),
            duplicate: self.duplicate.get(&span.cohort).copied().unwrap_or(0),
            reordered: extents.clone().count() as u64,
            reorder_extent_max: extents.map(|(_, extent)| *extent).max().unwrap_or(0),
            bursts,
            distances,
        }
    }
}

/// What any account must satisfy once closed.
fn check_identities(window: &LossWindow, intervals: &Intervals) -> Result<(), TestCaseError> {
    prop_assert!(!window.is_inconsistent());
    let mut by_cohort: BTreeMap<u8, IntervalCounts> = BTreeMap::new();
    for totals in window.cohorts() {
        prop_assert_eq!(totals.sent_packets, totals.received + totals.lost);
        prop_assert_eq!(totals.lost, totals.head + totals.middle + totals.tail);
        prop_assert_eq!(totals.lost, totals.bursts.packets);
        by_cohort
            .entry(totals.cohort / 2)
            .or_default()
            .add(&IntervalCounts {
                received: totals.received,
                lost: totals.lost,
                late: totals.late,
                duplicate: totals.duplicate,
                reordered: totals.reordered,
                reorder_extent_max: totals.reorder_extent_max,
            });
    }
    for segment in 0..=127 {
        let expected = by_cohort.get(&segment).copied().unwrap_or_default();
        prop_assert_eq!(
            intervals.0.get(&segment).copied().unwrap_or_default(),
            expected
        );
        prop_assert_eq!(window.segment_totals(segment), expected);
    }
    Ok(())
}

/// The intervals taken, added up by segment.
#[derive(Default)]
struct Intervals(BTreeMap<u8, IntervalCounts>);

impl Intervals {
    fn take(&mut self, window: &mut LossWindow) {
        for segment in 0..8 {
            let interval = window.take_interval(segment);
            self.0.entry(segment).or_default().add(&interval);
        }
    }
}

proptest! {
    #[test]
    fn agrees_with_the_definitions_written_down_plainly(segments in segments(), every in 1usize..20) {
        let world = world(&segments);
        let (mut window, mut model) = (LossWindow::new(LINGER_NS), Model::default());
        let mut intervals = Intervals::default();
        for (i, (at, event)) in world.events.iter().enumerate() {
            match event {
                Event::Packet { seq, cohort } => prop_assert_eq!(
                    window.arrival(*seq, Some(seq * SPACING_NS), *at, *cohort),
                    model.packet(*seq, *cohort),
                    "packet {} of cohort {}", seq, cohort
                ),
                Event::Close { segment } => {
                    let count = &world.counts[*segment];
                    window.close_segment(count);
                    model.closed_below = count.cohorts[1].end().unwrap();
                }
            }
            if i % every == 0 {
                intervals.take(&mut window);
            }
        }
        window.close(None);
        intervals.take(&mut window);
        check_identities(&window, &intervals)?;
        for span in &world.spans {
            let totals = window.cohort_totals(span.cohort).copied();
            prop_assert_eq!(totals, Some(model.totals(span)));
        }
    }

    #[test]
    fn outages_are_those_of_the_runs_of_losses(
        fates in proptest::collection::vec((1usize..40, prop::bool::weighted(0.4)), 1..12),
        swaps in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let lost: Vec<bool> = fates.iter().flat_map(|(count, lost)| vec![*lost; *count]).collect();
        let mut order: Vec<u64> = (0..lost.len() as u64).filter(|seq| !lost[*seq as usize]).collect();
        // Neighbours that change places come long before their loss is declared.
        let places = order.len().saturating_sub(1);
        for swap in swaps.iter().filter(|_| places > 0) {
            let at = swap.index(places);
            order.swap(at, at + 1);
        }
        let mut window = LossWindow::new(200 * SLOW_NS);
        for seq in order.iter().copied() {
            window.arrival(seq, Some(seq * SLOW_NS), seq * SLOW_NS, 1);
        }
        let sent = lost.len() as u64;
        window.set_times(1, 0, sent * SLOW_NS);
        window.close(Some(&final_count(&[span(1, 0, sent)])));
        let mut expected = OutageDetector::default();
        let (mut head, mut seq) = (None, 0);
        while seq < sent {
            let packets = (seq..sent).take_while(|seq| lost[*seq as usize]).count() as u64;
            let next = seq + packets;
            let run = LostRun {
                first_seq: seq, packets, from_ns: seq * SLOW_NS, to_ns: next * SLOW_NS, ended: next < sent,
            };
            match packets {
                0 => {}
                _ if seq == 0 => head = Some(run),
                _ => expected.record(&run, SLOW_NS),
            }
            seq += packets.max(1);
        }
        expected.close(head.as_ref(), SLOW_NS);
        let found = window.outages(1).unwrap();
        prop_assert_eq!(found.kept(), expected.kept());
        prop_assert_eq!((found.count(), found.sum_ns()), (expected.count(), expected.sum_ns()));
    }

    #[test]
    fn identities_hold_without_send_times_or_final_counts(
        segments in segments(), send_times: bool, reported in proptest::collection::vec(any::<bool>(), 5),
    ) {
        let world = world(&segments);
        let mut window = LossWindow::new(LINGER_NS);
        let mut intervals = Intervals::default();
        for (at, event) in &world.events {
            match event {
                Event::Packet { seq, cohort } => {
                    window.arrival(*seq, send_times.then_some(seq * SPACING_NS), *at, *cohort);
                }
                Event::Close { segment } if reported[*segment] => {
                    window.close_segment(&world.counts[*segment]);
                }
                Event::Close { .. } => {}
            }
            intervals.take(&mut window);
        }
        window.close(None);
        intervals.take(&mut window);
        check_identities(&window, &intervals)?;
        for span in world.spans.iter().filter(|s| reported[usize::from(s.cohort) / 2]) {
            let totals = window.cohort_totals(span.cohort).unwrap();
            prop_assert_eq!((totals.exact, totals.sent_packets), (true, span.packets));
        }
    }

    #[test]
    fn hostile_input_never_panics(
        linger_ns in prop_oneof![Just(0), 0..1_000u64, any::<u64>()],
        operations in proptest::collection::vec(operation(), 0..60),
    ) {
        let mut window = LossWindow::new(linger_ns);
        let mut intervals = Intervals::default();
        for operation in operations {
            match operation {
                Operation::Arrival(seq, send_ns, now_ns, cohort) => {
                    window.arrival(seq, send_ns, now_ns, cohort);
                }
                Operation::CloseSegment(spans) => window.close_segment(&FinalCount { cohorts: spans }),
                Operation::TakeInterval => intervals.take(&mut window),
            }
        }
        window.close(None);
        intervals.take(&mut window);
        if !window.is_inconsistent() {
            check_identities(&window, &intervals)?;
        }
    }
}

#[derive(Debug, Clone)]
enum Operation {
    Arrival(u64, Option<u64>, u64, u8),
    CloseSegment(Vec<CohortSpan>),
    TakeInterval,
}

fn operation() -> impl Strategy<Value = Operation> {
    let number =
        || prop_oneof![4 => 0u64..200, 1 => 0u64..100_000, 1 => 0..MAX_BITS * 3, 1 => any::<u64>()];
    let span = (any::<u8>(), number(), number(), any::<u64>()).prop_map(
        |(cohort, first_seq, packets, bytes)| CohortSpan {
            cohort: cohort % 8,
            first_seq,
            packets,
            bytes,
        },
    );
    prop_oneof![
        8 => (number(), proptest::option::of(number()), number(), 0u8..8)
            .prop_map(|(seq, send, now, cohort)| Operation::Arrival(seq, send, now, cohort)),
        1 => proptest::collection::vec(span, 0..4).prop_map(Operation::CloseSegment),
        1 => Just(Operation::TakeInterval),
    ]
}
