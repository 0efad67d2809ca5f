//! Each law on a virtual clock against its formula, conditioned on its range, and the numbers that a seed gives.

use super::*;

const MS: f64 = 1e6;

/// The error function, by its series and its continued fraction: an implementation of its own.
fn erf(x: f64) -> f64 {
    let size = x.abs();
    let value = if size < 3.0 {
        let (mut term, mut sum) = (size, size);
        for n in 1..200 {
            term *= -size * size / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        2.0 / std::f64::consts::PI.sqrt() * sum
    } else {
        let fraction = (1..60)
            .rev()
            .fold(size, |below, n| size + f64::from(n) / 2.0 / below);
        1.0 - (-size * size).exp() / (std::f64::consts::PI.sqrt() * fraction)
    };
    if x < 0.0 { -value } else { value }
}

fn normal(z: f64) -> f64 {
    0.5 * (1.0 + erf(z / std::f64::consts::SQRT_2))
}

fn student_2(t: f64) -> f64 {
    0.5 * (1.0 + t / (2.0 + t * t).sqrt())
}

fn cauchy(t: f64) -> f64 {
    0.5 + t.atan() / std::f64::consts::PI
}

/// Kolmogorov-Smirnov distance of `values` from the law with this distribution function, conditioned on a range.
fn distance(mut values: Vec<f64>, range: (f64, f64), law: &dyn Fn(f64) -> f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let count = values.len() as f64;
    let (low, mass) = (law(range.0), law(range.1) - law(range.0));
    let at = |(rank, value): (usize, &f64)| {
        assert!(
            *value >= range.0 - 1.0 && *value <= range.1 + 1.0,
            "{value}"
        );
        let expected = (law(*value) - low) / mass;
        let rank = rank as f64;
        (expected - rank / count)
            .abs()
            .max((expected - (rank + 1.0) / count).abs())
    };
    values.iter().enumerate().map(at).fold(0.0, f64::max)
}

fn gaps(traffic: &SocketTraffic, seed: u64, count: usize) -> Vec<f64> {
    let mut last = 0;
    let gap = |departure: Departure| {
        let gap = departure.offset_ns - last;
        last = departure.offset_ns;
        gap as f64
    };
    departures(traffic, seed).take(count).map(gap).collect()
}

/// A law, the upper end of its range in ns, and its distribution function before the cut.
type Expected = (&'static str, f64, Box<dyn Fn(f64) -> f64>);

/// Laws whose cut takes next to nothing, and two that are cut close.
fn light_tails() -> Vec<Expected> {
    let cap = 60e9;
    vec![
        (
            "uniform(min = 1 ms, max = 3 ms)",
            cap,
            Box::new(|x| ((x / MS - 1.0) / 2.0).clamp(0.0, 1.0)),
        ),
        (
            "exponential(mean = 1 ms)",
            cap,
            Box::new(|x| 1.0 - (-x / MS).exp()),
        ),
        (
            "poisson(mean = 2 ms)",
            cap,
            Box::new(|x| 1.0 - (-x / 2.0 / MS).exp()),
        ),
        (
            "exponential(mean = 10 ms, cap = 5 ms)",
            5.0 * MS,
            Box::new(|x| 1.0 - (-x / 10.0 / MS).exp()),
        ),
        (
            "normal(mean = 10 ms, sd = 1 ms)",
            cap,
            Box::new(|x| normal(x / MS - 10.0)),
        ),
        (
            "normal(mean = 1 ms, sd = 1 ms)",
            cap,
            Box::new(|x| normal(x / MS - 1.0)),
        ),
    ]
}

/// Laws with heavy tails, and those made of others.
fn heavy_tails_and_mixtures() -> Vec<Expected> {
    let cap = 60e9;
    vec![
        (
            "pareto(shape = 1.5, scale = 1 ms)",
            cap,
            Box::new(|x| {
                if x > MS {
                    1.0 - (MS / x).powf(1.5)
                } else {
                    0.0
                }
            }),
        ),
        (
            "pareto(shape = 0.3, scale = 1 ms)",
            cap,
            Box::new(|x| {
                if x > MS {
                    1.0 - (MS / x).powf(0.3)
                } else {
                    0.0
                }
            }),
        ),
        (
            "cauchy(location = 10 ms, scale = 1 ms)",
            cap,
            Box::new(|x| cauchy(x / MS - 10.0)),
        ),
        (
            "cauchy(location = 1 ms, scale = 5 ms, cap = 1 s)",
            1e9,
            Box::new(|x| cauchy((x / MS - 1.0) / 5.0)),
        ),
        (
            "gamma(shape = 2, scale = 1 ms)",
            cap,
            Box::new(|x| 1.0 - (-x / MS).exp() * (1.0 + x / MS)),
        ),
        (
            "gamma(shape = 0.5, scale = 1 ms)",
            cap,
            Box::new(|x| erf((x / MS).sqrt())),
        ),
        (
            "weibull(shape = 0.7, scale = 1 ms)",
            cap,
            Box::new(|x| 1.0 - (-(x / MS).powf(0.7)).exp()),
        ),
        (
            "weibull(shape = 3, scale = 1 ms)",
            cap,
            Box::new(|x| 1.0 - (-(x / MS).powf(3.0)).exp()),
        ),
        (
            "student(location = 10 ms, scale = 1 ms, nu = 2)",
            cap,
            Box::new(|x| student_2(x / MS - 10.0)),
        ),
        (
            "student(location = 1 ms, scale = 1 ms, nu = 1)",
            cap,
            Box::new(|x| cauchy(x / MS - 1.0)),
        ),
        (
            "mixture(3: exponential(mean = 1 ms), 1: normal(mean = 20 ms, sd = 1 ms))",
            cap,
            Box::new(|x| 0.75 * (1.0 - (-x / MS).exp()) + 0.25 * normal(x / MS - 20.0)),
        ),
    ]
}

/// The fixed seeds make this a check of the arithmetic and not a gamble: the bound is met by chance once in a thousand.
#[test]
fn gaps_follow_each_law() {
    const COUNT: usize = 20_000;
    for (law, high, function) in light_tails().iter().chain(&heavy_tails_and_mixtures()) {
        for seed in [1, 2, 42] {
            let gaps = gaps(&traffic(Rate::Arrival, law, ""), seed, COUNT);
            let distance = distance(gaps, (0.0, *high), function);
            assert!(
                distance < 1.95 / (COUNT as f64).sqrt(),
                "{law}, seed {seed}: D = {distance}"
            );
        }
    }
}

#[test]
fn sizes_follow_their_law() {
    const COUNT: usize = 20_000;
    let sizes = |law: &str, seed| -> Vec<f64> {
        let traffic = traffic(Rate::MilliPacketsPerSecond(1_000_000), "constant", law);
        departures(&traffic, seed)
            .take(COUNT)
            .map(|departure| f64::from(departure.bytes))
            .collect()
    };
    for seed in [1, 2, 42] {
        // Rounding spreads each byte over a range of 1, which at this width is far below the bound.
        let spread = |values: Vec<f64>| -> Vec<f64> {
            let shift = |(n, value): (usize, f64)| value - 0.5 + (n as f64 * 0.618_033_988).fract();
            values.into_iter().enumerate().map(shift).collect()
        };
        let drawn = spread(sizes("normal(mean = 700, sd = 200)", seed));
        let far = distance(drawn, (11.5, 65_507.5), &|x| normal((x - 700.0) / 200.0));
        assert!(
            far < 1.95 / (COUNT as f64).sqrt(),
            "normal, seed {seed}: {far}"
        );
        let drawn = spread(sizes("exponential(mean = 30)", seed));
        assert!(drawn.iter().all(|bytes| *bytes > 11.0));
        let far = distance(drawn, (12.0, 65_507.0), &|x| {
            1.0 - (-x.max(12.0) / 30.0).exp()
        });
        assert!(far < 0.03, "exponential, seed {seed}: {far}");
        // Chi-square with 99 classes of counts, whose probabilities come from their own recursion.
        let counts = sizes("poisson(mean = 200)", seed);
        let mut share = (-200_f64).exp();
        let mut square = 0.0;
        let (mut rest_expected, mut rest_seen, mut classes) = (COUNT as f64, COUNT as f64, 0);
        for size in 0..400_u32 {
            let expected = share * COUNT as f64;
            if expected >= 8.0 {
                let seen = counts
                    .iter()
                    .filter(|count| **count == f64::from(size))
                    .count() as f64;
                square += (seen - expected) * (seen - expected) / expected;
                (rest_expected, rest_seen) = (rest_expected - expected, rest_seen - seen);
                classes += 1;
            }
            share *= 200.0 / f64::from(size + 1);
        }
        square += (rest_seen - rest_expected) * (rest_seen - rest_expected) / rest_expected;
        let freedom = f64::from(classes);
        assert!(
            classes > 50 && square < freedom + 3.3 * (2.0 * freedom).sqrt(),
            "seed {seed}: {square} of {freedom}"
        );
        let picked = sizes("discrete(64: 0.2, 1400: 0.8)", seed);
        let small = picked.iter().filter(|bytes| **bytes == 64.0).count() as f64 / COUNT as f64;
        assert!(
            (small - 0.2).abs() < 0.012
                && picked.iter().all(|bytes| [64.0, 1400.0].contains(bytes))
        );
    }
}

#[test]
fn on_off_periods_follow_their_laws() {
    for seed in [1, 2, 42] {
        let law = "onoff(on = exponential(mean = 1 s), off = exponential(mean = 2 s), arrival = constant(value = 1 ms))";
        let flow = traffic(Rate::Arrival, law, "");
        let all = gaps(&flow, seed, 2_000_000);
        let silent: Vec<f64> = all
            .iter()
            .filter(|gap| **gap > 1.5 * MS)
            .map(|gap| gap - MS)
            .collect();
        assert!(
            (1_800..2_200).contains(&silent.len()),
            "{} periods",
            silent.len()
        );
        // 1 ms is cut off at the least one, and one sending period in a thousand is shorter than a spacing.
        let bound = 1.95 / (silent.len() as f64).sqrt() + 0.002;
        let far = distance(silent, (0.0, 60e9), &|x| 1.0 - (-x / 2e9).exp());
        assert!(far < bound, "seed {seed}: {far}");
        let mean_ns = all.iter().sum::<f64>() / all.len() as f64;
        assert!((mean_ns / 3e6 - 1.0).abs() < 0.1, "{mean_ns}");
    }
    let fixed = "onoff(on = constant(value = 3 ms), off = constant(value = 10 ms))";
    let flow = traffic(Rate::MilliPacketsPerSecond(1_000_000), fixed, "");
    let offsets: Vec<u64> = departures(&flow, 1)
        .take(7)
        .map(|departure| departure.offset_ns / 1_000_000)
        .collect();
    assert_eq!(offsets, [0, 1, 2, 13, 14, 15, 26]);
}

/// A rate is met by the drawn schedule, whatever the law: within four standard errors where the law has a variance.
#[test]
fn rates_are_met() {
    for (law, relative_sd) in [
        ("constant", 0.0),
        ("uniform", 0.58),
        ("exponential", 1.0),
        ("normal(sd = 0.9 ms)", 0.8),
        ("pareto(shape = 2.5)", 1.0),
        ("gamma(shape = 0.5)", 1.5),
        ("weibull(shape = 0.7)", 1.5),
        ("student(scale = 0.1 ms, nu = 4)", 0.3),
    ] {
        for size in ["", "normal(mean = 200, sd = 90)"] {
            let bits = if size.is_empty() { 800_000 } else { 1_600_000 };
            let flow = traffic(Rate::BitsPerSecond(bits), law, size);
            let mut sent = 0_u64;
            let seconds = 100;
            for departure in
                departures(&flow, 7).take_while(|next| next.offset_ns < seconds * 1_000_000_000)
            {
                sent += u64::from(departure.bytes) * 8;
            }
            let planned = bits * seconds;
            let miss = (sent as f64 / planned as f64 - 1.0).abs();
            // 100,000 packets; sizes add their own half.
            let sizes = if size.is_empty() || law == "constant" {
                0.0
            } else {
                0.45
            };
            let bound = 4.0 * (relative_sd + sizes) / 100_000_f64.sqrt() + 1.6e-5;
            assert!(miss <= bound, "{law} {size}: {sent} of {planned}");
        }
    }
}

#[test]
fn bits_of_any_size_keep_the_rate_exactly() {
    let sizes = "uniform(min = 12, max = 1500)";
    let mut flow = traffic(Rate::BitsPerSecond(7_777_777), "constant", sizes);
    let packet = Packet {
        bytes: 756,
        overhead_bytes: 42,
    };
    let made = schedule(&flow, packet, 1, draws(3, 0), &[])
        .unwrap()
        .unwrap();
    let mut bits = 0_u128;
    for departure in made.take(50_000) {
        assert_eq!(
            u128::from(departure.offset_ns),
            bits * 1_000_000_000 / 7_777_777
        );
        bits += u128::from(departure.bytes + 42) * 8;
    }
    flow.rate = Rate::Max;
    assert!(
        schedule(&flow, packet, 1, draws(3, 0), &[])
            .unwrap()
            .is_none()
    );
}

#[test]
fn traces_are_played_in_their_order() {
    let gaps = Trace::parse("gaps", TraceOf::Arrival, "1 ms\n3 ms\n").unwrap();
    let sizes = Trace::parse("sizes", TraceOf::Size, "64\n100\n200\n").unwrap();
    let traces = [gaps, sizes];
    let play = |arrival: &str, size: &str| -> Result<Vec<(u64, u32)>, ArrivalError> {
        let made = schedule(
            &traffic(Rate::Arrival, arrival, size),
            PACKET,
            1,
            draws(1, 0),
            &traces,
        )?;
        let made = made.into_iter().flatten().take(5);
        Ok(made
            .map(|departure| (departure.offset_ns / 1_000_000, departure.bytes))
            .collect())
    };
    let both = play("trace(\"gaps\")", "trace(\"sizes\")").unwrap();
    assert_eq!(both, [(1, 64), (4, 100), (5, 200), (8, 64), (9, 100)]);
    let once = play("trace(\"gaps\", repeat = false)", "trace(\"sizes\")").unwrap();
    assert_eq!(once, [(1, 64), (4, 100)]);
    let sizes_once = play("constant(value = 2 ms)", "trace(\"sizes\", repeat = false)").unwrap();
    assert_eq!(sizes_once, [(0, 64), (2, 100), (4, 200)]);
    let missing = play("trace(\"other\")", "").unwrap_err().to_string();
    assert!(missing.contains("`other` did not come"), "{missing}");
    let mut echoed = traffic(Rate::Arrival, "constant(value = 2 ms)", "trace(\"short\")");
    echoed.echo = true;
    let short = Trace::parse("short", TraceOf::Size, "19\n").unwrap();
    let small = schedule(&echoed, PACKET, 1, draws(1, 0), &[short]).unwrap_err();
    assert!(small.to_string().contains("at least 20 B"), "{small}");
}

#[test]
fn hardly_any_draw_in_range_is_refused() {
    for (law, size) in [
        (
            "onoff(on = constant(value = 1 us), off = constant(value = 1 s), arrival = constant(value = 1 s))",
            "",
        ),
        ("cauchy(location = 10 s, scale = 1 ms, cap = 1 s)", ""),
        ("constant(value = 1 ms)", "exponential(mean = 1)"),
    ] {
        let made = schedule(
            &traffic(Rate::Arrival, law, size),
            PACKET,
            1,
            draws(1, 0),
            &[],
        );
        assert!(matches!(made, Err(ArrivalError::Law(_))), "{law} {size}");
    }
}

/// What a seed gives is part of the format of a run, on every machine: a change of these numbers breaks every repeated run.
/// Of each law the hash (FNV-1a, 64 bit) of the first 2000 departures from seed 1 and from another.
#[test]
fn golden_fingerprints() {
    let fingerprint = |arrival: &str, size: &str, seed| {
        let flow = traffic(Rate::Arrival, arrival, size);
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for departure in departures(&flow, seed).take(2_000) {
            for byte in departure
                .offset_ns
                .to_le_bytes()
                .into_iter()
                .chain(departure.bytes.to_le_bytes())
            {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        hash
    };
    let mut wrong = Vec::new();
    for (arrival, size, expected) in GOLDEN {
        let seen = [
            fingerprint(arrival, size, 1),
            fingerprint(arrival, size, 0xfeed_beef),
        ];
        if seen != expected {
            wrong.push(format!(
                "({arrival:?}, {size:?}, [{:#018x}, {:#018x}]),",
                seen[0], seen[1]
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

const GOLDEN: [(&str, &str, [u64; 2]); 14] = [
    (
        "uniform(min = 1 ms, max = 3 ms)",
        "",
        [0xacdc_e187_043a_d5fe, 0x01de_7b53_993c_2741],
    ),
    (
        "exponential(mean = 1 ms)",
        "",
        [0xb4cc_552b_2b3d_bba5, 0x1f6b_ca89_b510_5804],
    ),
    (
        "normal(mean = 10 ms, sd = 1 ms)",
        "",
        [0xaa7a_69d9_d949_376a, 0xf5a0_a009_e9ba_e2ce],
    ),
    (
        "pareto(shape = 1.5, scale = 1 ms)",
        "",
        [0x2318_bd56_0e78_33cd, 0x599e_8320_2736_ef4f],
    ),
    (
        "cauchy(location = 10 ms, scale = 1 ms)",
        "",
        [0x1a88_167e_9640_9172, 0x89ba_c48c_9db1_180a],
    ),
    (
        "gamma(shape = 2, scale = 1 ms)",
        "",
        [0x9c18_2e01_0fe0_679b, 0x0ce1_aa12_6870_bd7a],
    ),
    (
        "gamma(shape = 0.5, scale = 1 ms)",
        "",
        [0x6537_8ac9_cba0_deab, 0x67cf_8e47_88f7_b020],
    ),
    (
        "weibull(shape = 0.7, scale = 1 ms)",
        "",
        [0x780d_d8d5_2454_22ce, 0x9e86_c886_c3f4_46de],
    ),
    (
        "student(location = 41.6994 ms, scale = 104.821 us, nu = 0.704073)",
        "",
        [0xe4e3_751f_e0f4_6faf, 0xdec1_4596_05a4_80d5],
    ),
    (
        "discrete(1 ms: 0.9, 20 ms: 0.1)",
        "poisson(mean = 200)",
        [0xaa63_f3b3_0a72_b511, 0x81a0_12a7_217c_c95f],
    ),
    (
        "mixture(0.6: exponential(mean = 4.29 ms), 0.4: constant(value = 10.75 ms))",
        "normal(mean = 64.15, sd = 3.2)",
        [0x6ce9_ad24_4c2d_db0d, 0xcfeb_ec40_a0df_531f],
    ),
    (
        "onoff(on = exponential(mean = 10 ms), off = gamma(shape = 2, scale = 5 ms), arrival = poisson(mean = 1 ms))",
        "",
        [0x5ce3_6a1a_feaa_1851, 0xb8ac_1ac9_ab3d_a37f],
    ),
    (
        "constant(value = 1 ms)",
        "discrete(27: 0.8312, 28: 0.0018, 29: 0.167)",
        [0xa816_48d3_aad3_75ec, 0x5398_bc4d_ca64_a0cf],
    ),
    (
        "constant(value = 1 ms)",
        "mixture(0.3732: normal(mean = 34.84, sd = 4.39), 0.6268: normal(mean = 49.49, sd = 3.62))",
        [0x851d_9a66_604d_8bb4, 0x666d_d79c_cf7d_7ff7],
    ),
];
