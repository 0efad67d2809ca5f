use proptest::prelude::*;
use weir_common::id::FlowId;
use weir_wire::link::CohortSpan;

use super::*;

const MS: u64 = 1_000_000;

fn segment(flow: u32, start_ms: u64, length_ms: u64) -> Segment {
    Segment {
        flow: FlowId(flow),
        start_ns: start_ms * MS,
        length_ns: length_ms * MS,
        warmup_ns: 0,
    }
}

fn final_of(segment: u8, ended_ms: u64, bytes: u64) -> SegmentFinal {
    let span = CohortSpan {
        cohort: segment << 1 | 1,
        bytes,
        ..CohortSpan::default()
    };
    SegmentFinal {
        segment,
        ended_ns: ended_ms * MS,
        cohorts: vec![span],
        ..SegmentFinal::default()
    }
}

/// rx_bytes over all rows, drained, unread of a segment.
fn account(output: &[Output], segment: usize) -> (u64, u64, Option<u64>) {
    let mut received = 0;
    let mut end = (0, None);
    for each in output {
        match each {
            Output::Row(at, row) if *at == segment => received += row.counters.rx_bytes.unwrap(),
            Output::Closed(at, closed) if *at == segment => {
                end = (closed.drained_bytes.unwrap(), closed.unread_bytes);
            }
            _ => {}
        }
    }
    (received, end.0, end.1)
}

#[test]
fn what_comes_after_the_end_waits_for_the_boundary() {
    let mut meter = ByteMeter::new(vec![segment(1, 0, 100), segment(2, 100, 100)], 50 * MS);
    for at_ms in [10, 60, 110, 160] {
        meter.advance(at_ms * MS);
        meter.read(at_ms * MS, 1000);
    }
    // 1500 bytes of the first segment were under way at its end: the read at 110 ms
    // is all drained, that at 160 ms half.
    let last = final_of(0, 100, 3500);
    assert!(meter.finish_at(&last));
    meter.close_front(165 * MS, Some(&last), Ending::Completed);
    meter.advance(210 * MS);
    meter.read(210 * MS, 200);
    let last = final_of(1, 200, 900);
    assert!(!meter.finish_at(&last));
    meter.close_front(300 * MS, Some(&last), Ending::Completed);
    let output = meter.take_output();
    assert_eq!(account(&output, 0), (2000, 1500, Some(0)));
    assert_eq!(account(&output, 1), (500, 200, Some(200)));
    assert_eq!(meter.front(), None);
}

#[test]
fn without_a_final_count_time_is_the_boundary() {
    let mut meter = ByteMeter::new(vec![segment(1, 0, 100), segment(2, 100, 100)], 50 * MS);
    for at_ms in [10, 110, 210] {
        meter.advance(at_ms * MS);
        if at_ms == 110 {
            meter.close_front(at_ms * MS, None, Ending::Completed);
        }
        meter.read(at_ms * MS, 1000);
    }
    meter.close_front(300 * MS, None, Ending::Completed);
    let output = meter.take_output();
    assert_eq!(account(&output, 0), (1000, 0, None));
    assert_eq!(account(&output, 1), (1000, 1000, None));
}

#[test]
fn a_segment_stopped_before_its_start_has_no_row() {
    let mut meter = ByteMeter::new(vec![segment(1, 500, 100)], 50 * MS);
    meter.close_front(100 * MS, Some(&final_of(0, 100, 0)), Ending::Completed);
    let output = meter.take_output();
    assert!(matches!(output[..], [Output::Closed(0, _)]));
}

proptest! {
    /// However reads, final counts and closes fall: sent = received + drained +
    /// unread in every segment, and no byte counts twice.
    #[test]
    fn identity(
        sizes in proptest::collection::vec(0_u64..5_000, 3),
        reads in proptest::collection::vec((1_u64..2_000, 1_u64..40), 0..40),
        told in proptest::collection::vec(0_u64..300, 3),
    ) {
        let segments = vec![segment(1, 0, 100), segment(2, 100, 100), segment(3, 250, 100)];
        let mut meter = ByteMeter::new(segments.clone(), 30 * MS);
        let (mut now_ms, mut read) = (0, 0);
        let mut reads = reads.into_iter();
        while let Some(front) = meter.front() {
            let (count, step) = reads.next().unwrap_or((0, 50));
            now_ms += step;
            meter.advance(now_ms * MS);
            // The generator's clock is 5 ms ahead.
            let begun = segments.iter().zip(&sizes);
            let begun = begun.filter(|(segment, _)| segment.start_ns <= (now_ms + 5) * MS);
            let written: u64 = begun.map(|(_, size)| size).sum();
            let count = count.min(written - read);
            read += count;
            meter.read(now_ms * MS, count);
            let last = final_of(front as u8, 350, sizes[front]);
            let known = now_ms >= segments[front].end_ns() / MS + told[front];
            let timed_out = now_ms >= segments[front].end_ns() / MS + 400;
            if (known && meter.finish_at(&last)) || timed_out {
                meter.close_front(now_ms * MS, Some(&last), Ending::Completed);
            }
        }
        let output = meter.take_output();
        for (at, size) in sizes.iter().enumerate() {
            let (received, drained, unread) = account(&output, at);
            prop_assert_eq!(received + drained + unread.unwrap(), *size);
        }
        let total: u64 = (0..3).map(|at| {
            let (received, drained, _) = account(&output, at);
            received + drained
        }).sum();
        prop_assert!(total <= read);
    }
}
