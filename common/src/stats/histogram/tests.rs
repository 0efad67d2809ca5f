use super::*;
use proptest::prelude::*;

fn of(values: &[u64]) -> Histogram {
    let mut histogram = Histogram::new();
    for value in values {
        histogram.record(*value);
    }
    histogram
}

/// Values spread over all octaves, the limits and what lies outside them.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => (0u32..44, any::<u64>()).prop_map(|(octave, low)| (1 << octave) | (low & ((1 << octave) - 1))),
        1 => Just(0u64),
        1 => (LOWEST_NS - 2)..(LOWEST_NS + 2),
        1 => (HIGHEST_NS - 2)..(HIGHEST_NS + 2),
        1 => any::<u64>(),
    ]
}

fn values() -> impl Strategy<Value = Vec<u64>> {
    proptest::collection::vec(value(), 0..200)
}

#[test]
fn steps_cover_the_range_without_holes() {
    assert_eq!(step(0), 0);
    assert_eq!(step(LOWEST_NS), 0);
    assert_eq!(step(HIGHEST_NS), STEPS - 1);
    for index in 0..STEPS {
        let (first, last) = bounds_ns(index);
        assert_eq!(step(first.max(LOWEST_NS)), index);
        assert_eq!(step(last), index);
        if index + 1 < STEPS {
            assert_eq!(bounds_ns(index + 1).0, last + 1);
        }
    }
}

#[test]
fn a_filled_histogram_fits_its_memory_bound() {
    let counters = size_of::<[u32; STEPS]>();
    assert!(counters + size_of::<Histogram>() <= 2560, "{counters}");
}

/// What a row of a slow flow and its totals after a minute hold: together less than
/// a tenth of counters for all steps.
#[test]
fn few_samples_take_little() {
    // Delays of an emulated path: 60 us, and a tail up to some 5 ms.
    let delay =
        |i: u64| 50_000 + (i * 7_919) % 20_000 + u64::from(i.is_multiple_of(10)) * i * 8_000;
    let row = of(&(0..10).map(delay).collect::<Vec<_>>());
    assert!(row.steps.heap_bytes() <= 64, "{}", row.steps.heap_bytes());
    let mut total = Histogram::new();
    for second in 0..60 {
        let samples: Vec<u64> = (second * 10..second * 10 + 10).map(delay).collect();
        total.merge(&of(&samples));
    }
    assert_eq!(total.count(), 600);
    assert!(
        total.steps.heap_bytes() <= 512,
        "{}",
        total.steps.heap_bytes()
    );
    assert!(size_of::<Histogram>() <= 96);
}

/// After so many samples none is searched for any more: a fast flow allocates no
/// more, whatever comes.
#[test]
fn many_samples_have_counters_of_their_own() {
    let mut histogram = Histogram::new();
    let mut few = 0;
    for i in 0..10_000_u64 {
        histogram.record(60_000 + i % 64);
        few += u64::from(matches!(histogram.steps, Steps::Few(_)));
    }
    assert_eq!(few, 4_096);
    assert!(matches!(histogram.steps, Steps::Narrow(_)));
    assert_eq!(histogram.count(), 10_000);
}

#[test]
fn nothing_is_allocated_before_the_first_sample() {
    assert!(matches!(Histogram::new().steps, Steps::Empty));
    assert_eq!(Histogram::new().encode(), Vec::<u8>::new());
    assert_eq!(Histogram::decode(&[]), Ok(Histogram::new()));
    assert_eq!(Histogram::new().percentile_ns(50.0), None);
    assert_eq!(Histogram::new().sd_ns(), None);
}

#[test]
fn exact_figures_and_percentiles_of_a_known_set() {
    let histogram = of(&[1_000, 2_000, 3_000, 4_000]);
    assert_eq!(histogram.count(), 4);
    assert_eq!(histogram.sum_ns(), 10_000);
    assert_eq!(histogram.mean_ns(), Some(2_500.0));
    assert!((histogram.sd_ns().unwrap() - 1_118.033_988_75).abs() < 1e-6);
    assert_eq!(histogram.percentile_ns(0.0), Some(1_000));
    assert_eq!(histogram.percentile_ns(100.0), Some(4_000));
    let median = histogram.percentile_ns(50.0).unwrap() as f64;
    assert!((median / 2_000.0 - 1.0).abs() <= RELATIVE_ERROR);
}

#[test]
fn deviation_does_not_cancel_at_large_values() {
    let histogram = of(&[900_000_000_000, 900_000_000_002]);
    assert_eq!(histogram.sd_ns(), Some(1.0));
}

#[test]
fn values_outside_are_clamped_and_counted() {
    let histogram = of(&[3, u64::MAX]);
    assert_eq!((histogram.below(), histogram.above()), (1, 1));
    assert_eq!(histogram.min_ns(), Some(3));
    assert_eq!(histogram.max_ns(), Some(HIGHEST_NS));
    assert_eq!(Histogram::decode(&histogram.encode()), Ok(histogram));
}

#[test]
fn counters_widen_instead_of_overflowing() {
    let mut histogram = of(&[5_000]);
    for _ in 0..33 {
        let copy = histogram.clone();
        histogram.merge(&copy);
    }
    assert_eq!(histogram.count(), 1 << 33);
    assert_eq!(histogram.percentile_ns(50.0), Some(5_000));
    assert_eq!(Histogram::decode(&histogram.encode()), Ok(histogram));
}

#[test]
fn a_typical_second_of_delays_is_small_when_stored() {
    // 1,000 delays around 60 us with a tail up to about 200 us.
    let values: Vec<u64> = (0..1_000u64)
        .map(|i| 50_000 + (i * 7_919) % 20_000 + if i % 50 == 0 { i * 130 } else { 0 })
        .collect();
    let bytes = of(&values).encode();
    assert!(bytes.len() < 120, "{} bytes", bytes.len());
}

#[test]
fn absurd_bytes_are_named() {
    let good = of(&[1_000, 2_000]).encode();
    assert_eq!(Histogram::decode(&[9]), Err(HistogramError::Version(9)));
    assert_eq!(
        Histogram::decode(&[VERSION_1]),
        Err(HistogramError::Truncated)
    );
    let cut = &good[..good.len() - 1];
    assert_eq!(Histogram::decode(cut), Err(HistogramError::Truncated));
    let long = vec![VERSION_1; MAX_ENCODED_BYTES + 1];
    assert_eq!(Histogram::decode(&long), Err(HistogramError::TooLong));
    let mut beyond = good.clone();
    beyond.extend([0xff, 0x7f, 1]);
    assert_eq!(Histogram::decode(&beyond), Err(HistogramError::Step));
    let mut more = good;
    more.extend([0, 1]);
    assert_eq!(Histogram::decode(&more), Err(HistogramError::Inconsistent));
}

const VERSION_1: u8 = 1;

#[test]
fn no_value_is_further_from_the_middle_of_its_step_than_the_error() {
    for index in 0..STEPS {
        let (first, last) = bounds_ns(index);
        let middle = middle_ns(index);
        for value in [first.max(LOWEST_NS), last] {
            let error = middle.abs_diff(value) as f64 / value as f64;
            assert!(
                error <= RELATIVE_ERROR,
                "{value} in {first}..={last}: {error}"
            );
        }
    }
}

/// Counters for all steps from the start: what every other form has to agree with.
fn dense(values: &[u64]) -> [u64; STEPS] {
    let mut counters = [0; STEPS];
    for value in values {
        counters[step((*value).min(HIGHEST_NS))] += 1;
    }
    counters
}

/// As [`value`], or all of them in a few steps, many times over.
fn many_values() -> impl Strategy<Value = Vec<u64>> {
    let narrow = (
        LOWEST_NS..HIGHEST_NS,
        proptest::collection::vec(0_u64..300, 0..700),
    );
    prop_oneof![
        proptest::collection::vec(value(), 0..700),
        narrow.prop_map(|(base, values)| values.into_iter().map(|value| base + value).collect()),
    ]
}

proptest! {
    #[test]
    fn every_form_counts_as_counters_for_all_steps_do(
        parts in proptest::collection::vec((many_values(), 1_u64..200), 0..6)
    ) {
        let mut histogram = Histogram::new();
        let mut expected = [0_u64; STEPS];
        for (values, times) in &parts {
            let part = of(values);
            for _ in 0..*times {
                histogram.merge(&part);
            }
            for value in values {
                histogram.record(*value);
            }
            for (to, from) in expected.iter_mut().zip(dense(values)) {
                *to += from * (times + 1);
            }
        }
        let occupied: Vec<(usize, u64)> = expected
            .into_iter()
            .enumerate()
            .filter(|(_, count)| *count > 0)
            .collect();
        prop_assert!(histogram.steps.occupied().eq(occupied.iter().copied()));
        let total: u64 = occupied.iter().map(|(_, count)| count).sum();
        prop_assert_eq!(histogram.count(), total);
        let bytes = histogram.encode();
        prop_assert_eq!(Histogram::decode(&bytes), Ok(histogram));
    }

    #[test]
    fn merging_equals_recording_everything(left in values(), right in values()) {
        let mut merged = of(&left);
        merged.merge(&of(&right));
        let all: Vec<u64> = left.into_iter().chain(right).collect();
        prop_assert_eq!(merged, of(&all));
    }

    #[test]
    fn encoding_loses_nothing(values in values()) {
        let histogram = of(&values);
        let bytes = histogram.encode();
        prop_assert!(bytes.len() <= MAX_ENCODED_BYTES);
        prop_assert_eq!(Histogram::decode(&bytes), Ok(histogram));
    }

    #[test]
    fn percentiles_keep_the_error_bound(
        mut values in proptest::collection::vec(LOWEST_NS..=HIGHEST_NS, 1..100),
        octaves in proptest::collection::vec(0u32..33, 100),
        percent in 0.0f64..=100.0,
    ) {
        for (value, octave) in values.iter_mut().zip(&octaves) {
            *value = (*value >> octave).max(LOWEST_NS);
        }
        let histogram = of(&values);
        values.sort_unstable();
        let rank = ((percent / 100.0 * values.len() as f64).ceil() as usize).clamp(1, values.len());
        let exact = values[rank - 1] as f64;
        let estimate = histogram.percentile_ns(percent).unwrap() as f64;
        prop_assert!((estimate - exact).abs() <= exact * RELATIVE_ERROR + f64::EPSILON,
            "p{percent}: {estimate} for {exact}");
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), versioned: bool) {
        if versioned && !bytes.is_empty() {
            bytes[0] = VERSION_1;
        }
        if let Ok(histogram) = Histogram::decode(&bytes) {
            let mut merged = histogram.clone();
            merged.merge(&histogram);
            merged.record(1_000);
            let _ = (merged.sd_ns(), merged.percentile_ns(99.0));
        }
    }

    #[test]
    fn damaged_bytes_never_panic(values in values(), at: prop::sample::Index, byte: u8) {
        let mut bytes = of(&values).encode();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(histogram) = Histogram::decode(&bytes) {
                prop_assert_eq!(Histogram::decode(&histogram.encode()), Ok(histogram));
            }
        }
    }
}
