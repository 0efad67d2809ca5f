//! Laws for property tests.

use super::*;
use proptest::prelude::*;

const TENTH: u64 = 100_000_000;

fn number(range: std::ops::Range<u64>) -> BoxedStrategy<Number> {
    range.prop_map(Number::from_billionths).boxed()
}

/// Any valid law but mixtures and on/off laws; all parameters are there if `closed`.
fn simple<Q: Quantity>(values: &BoxedStrategy<Q>, closed: bool) -> BoxedStrategy<Law<Q>> {
    let q = || values.clone();
    let open = || {
        (values.clone(), any::<bool>())
            .prop_map(move |(value, given)| (given || closed).then_some(value))
    };
    let above_one = || number(11 * TENTH..1_000 * TENTH);
    let shape = || number(TENTH..1_000 * TENTH);
    prop_oneof![
        q().prop_map(|value| Law::Fixed { value }),
        (q(), q()).prop_map(|(one, other)| Law::Uniform {
            range: Some((one.min(other), one.max(other))),
        }),
        open().prop_map(|mean| Law::Exponential { mean }),
        open().prop_map(|mean| Law::Poisson { mean }),
        (open(), q()).prop_map(|(mean, sd)| Law::Normal { mean, sd }),
        (above_one(), open()).prop_map(|(shape, scale)| Law::Pareto { shape, scale }),
        (q(), q()).prop_map(|(location, scale)| Law::Cauchy { location, scale }),
        (shape(), open()).prop_map(|(shape, scale)| Law::Gamma { shape, scale }),
        (shape(), open()).prop_map(|(shape, scale)| Law::Weibull { shape, scale }),
        (open(), q(), above_one()).prop_map(|(location, scale, nu)| Law::Student {
            location,
            scale,
            nu,
        }),
        prop::collection::vec((q(), number(1..TENTH)), 1..5).prop_map(Law::Discrete),
    ]
    .boxed()
}

fn trace<Q: Quantity>() -> BoxedStrategy<Law<Q>> {
    ("[a-z/.( ,:=]{1,12}", any::<bool>())
        .prop_map(|(file, repeat)| Law::Trace { file, repeat })
        .boxed()
}

fn with_mixtures<Q: Quantity>(values: &BoxedStrategy<Q>, closed: bool) -> BoxedStrategy<Law<Q>> {
    let part = (number(1..TENTH), simple(values, true));
    let mixture = prop::collection::vec(part, 1..4).prop_map(Law::Mixture);
    prop_oneof![6 => simple(values, closed), 1 => mixture].boxed()
}

fn capped(law: BoxedStrategy<Law>) -> BoxedStrategy<Law> {
    let cap = (1..3_600_000_u64).prop_map(Span::from_millis);
    (law, prop::option::of(cap))
        .prop_map(|(law, cap)| match cap {
            None => law,
            Some(cap) => Law::Capped {
                law: Box::new(law),
                cap,
            },
        })
        .boxed()
}

/// Any valid law of arrival.
pub(crate) fn arrival() -> BoxedStrategy<Law> {
    let times = (1..10_000_000_000_u64).prop_map(Span::from_nanos).boxed();
    let drawn = |closed| capped(with_mixtures(&times, closed));
    let inner = prop_oneof![Just(Law::Constant), trace(), drawn(false)];
    let on_off = (drawn(true), drawn(true), inner).prop_map(|(on, off, arrival)| Law::OnOff {
        on: Box::new(on),
        off: Box::new(off),
        arrival: Box::new(arrival),
    });
    prop_oneof![
        1 => Just(Law::Constant),
        1 => Just(Law::Uniform { range: None }),
        1 => trace(),
        6 => drawn(false),
        2 => on_off,
    ]
    .boxed()
}

/// Any valid law of sizes.
pub(crate) fn size() -> BoxedStrategy<SizeLaw> {
    let bytes = number(1..65_507_000_000_000).prop_map(Bytes::new).boxed();
    prop_oneof![5 => with_mixtures(&bytes, true), 1 => trace()].boxed()
}
