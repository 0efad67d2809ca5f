use super::*;
use proptest::prelude::*;

fn law(text: &str) -> Law {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn error(text: &str) -> String {
    text.parse::<Law>().unwrap_err().to_string()
}

fn size_error(text: &str) -> String {
    text.parse::<SizeLaw>().unwrap_err().to_string()
}

#[test]
fn each_law_has_its_parameters() {
    for text in [
        "constant",
        "constant(value = 10.75 ms)",
        "uniform",
        "uniform(min = 1 ms, max = 3 ms)",
        "exponential",
        "exponential(mean = 1 ms, cap = 5 s)",
        "poisson(mean = 2 ms)",
        "normal(sd = 1 ms)",
        "normal(mean = 10 ms, sd = 1 ms)",
        "pareto(shape = 1.5)",
        "pareto(shape = 0.95, scale = 1.1 ms)",
        "cauchy(location = 10 ms, scale = 1 ms)",
        "gamma(shape = 2)",
        "weibull(shape = 0.8, scale = 1 ms)",
        "student(location = 41.6994 ms, scale = 104.821 us, nu = 0.704073)",
        "discrete(1 ms: 0.9, 20 ms: 0.1)",
        "mixture(0.6: exponential(mean = 4.29 ms), 0.4: constant(value = 10.75 ms))",
        "onoff(on = exponential(mean = 1 s), off = exponential(mean = 2 s))",
        "onoff(on = constant(value = 1 s), off = pareto(shape = 1.2, scale = 1 s, cap = 10 min), arrival = poisson)",
        "trace(\"gaps, (all).txt\")",
        "trace(\"gaps.txt\", repeat = false)",
    ] {
        assert_eq!(law(text).to_string(), text);
    }
    assert_eq!(law("exponential").to_string(), "exponential");
    assert_eq!(law("trace(\"a\", repeat = true)"), law("trace( \"a\" )"));
    assert_eq!(
        law("mixture(1: poisson(mean = 1 s), cap = 10 s)").to_string(),
        "mixture(1: poisson(mean = 1 s), cap = 10 s)"
    );
    let size: SizeLaw = "normal(mean = 64.15 B, sd = 3.20)".parse().unwrap();
    assert_eq!(size.to_string(), "normal(mean = 64.15, sd = 3.2)");
}

#[test]
fn wrong_laws_are_refused_with_what_is_right() {
    for (text, part) in [
        ("exponentail", "did you mean `exponential`?"),
        ("exponential(1 ms)", "write `exponential(mean = 1 ms)`"),
        ("exponential(mean = 0 s)", "must be more than 0"),
        ("exponential(mean = 5)", "has no unit"),
        ("exponential(mean = 1 ms", "no `)`"),
        ("exponential(mean = 1 ms, mean = 2 ms)", "given twice"),
        (
            "exponential(mean = 1 ms, sd = 2 ms)",
            "`sd` is not a parameter of `exponential`",
        ),
        ("uniform(min = 3 ms, max = 1 ms)", "more than `max`"),
        ("uniform(min = 3 ms)", "`uniform` needs `max`"),
        (
            "uniform(min = 0 s, max = 0 s)",
            "`max` of `uniform` must be more than 0",
        ),
        ("normal(mean = 1 ms)", "`normal` needs `sd`"),
        ("normal(mean = 1 ms, sd = -1 ms)", "negative"),
        (
            "normal(mean = 1 ms, sd = 0 s)",
            "`sd` of `normal` must be more than 0",
        ),
        ("pareto(shape = 0, scale = 1 ms)", "outside 0.05"),
        ("pareto(shape = -1, scale = 1 ms)", "is not a number"),
        ("pareto(shape = 1)", "has no mean that a rate could set"),
        (
            "student(scale = 1 ms, nu = 1)",
            "has no mean that a rate could set",
        ),
        ("gamma(shape = 2, scale = 0 s)", "must be more than 0"),
        ("weibull(shape = 0.01)", "outside 0.05"),
        ("cauchy(location = 1 ms)", "needs `scale`"),
        ("discrete()", "1 to 256 entries"),
        (
            "discrete(1 ms: 0)",
            "`weight` of `discrete` must be more than 0",
        ),
        ("discrete(1 ms)", "not a parameter of `discrete`"),
        ("mixture(1: exponential)", "needs `mean`"),
        ("mixture(1: trace(\"a\"))", "cannot be a part of `mixture`"),
        (
            "mixture(1: poisson(mean = 1 s, cap = 1 s))",
            "within `mixture`",
        ),
        (
            "onoff(on = exponential, off = exponential(mean = 1 s))",
            "needs `mean`",
        ),
        ("onoff(on = exponential(mean = 1 s))", "needs `off`"),
        ("trace(gaps.txt)", "not a parameter of `trace`"),
        ("trace(\"gaps.txt\", repeat = maybe)", "true or false"),
        ("trace(\"gaps.txt\", cap = 1 s)", "nothing to cut off"),
        ("exponential(mean = 1 s, cap = 2 h)", "at most 1 h"),
        ("", "unknown law"),
    ] {
        let error = error(text);
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn wrong_sizes_and_monsters_are_refused() {
    for (text, part) in [
        (
            "normal(sd = 3)",
            "`normal` needs `mean`; write `normal(mean = 200, sd = 30)`",
        ),
        ("constant", "constant(value = 200)"),
        (
            "onoff(on = constant(value = 1), off = constant(value = 1))",
            "law of `arrival`",
        ),
        (
            "exponential(mean = 100, cap = 200)",
            "`cap` is for `arrival`",
        ),
        (
            "exponential(mean = 1 ms)",
            "is not a number such as `64.5 B`",
        ),
    ] {
        let error = size_error(text);
        assert!(error.contains(part), "{text}: {error}");
    }
    let long = format!("discrete({})", vec!["1 ms: 1"; 600].join(", "));
    assert!(error(&long).contains("at most 4000 bytes"));
    let deep = format!("{}poisson{}", "mixture(1: ".repeat(40), ")".repeat(40));
    assert!(error(&deep).contains("too deeply"), "{}", error(&deep));
}

/// Means and shares against textbook formulas, computed apart.
#[test]
fn conditioned_means() {
    let of = |text: &str| law(text).conditioned(None).unwrap();
    let near = |text: &str, mean_ns: f64| {
        let found = of(text);
        assert!(
            (found.mean / mean_ns - 1.0).abs() < 1e-9,
            "{text}: {} {mean_ns}",
            found.mean
        );
    };
    near("exponential(mean = 1 ms)", 1e6);
    assert_eq!(of("exponential(mean = 1 ms)").mean, 1e6);
    // m - c / (e^(c/m) - 1)
    near(
        "exponential(mean = 60 s)",
        60e9 * (1.0 - 1.0 / (1_f64.exp() - 1.0)),
    );
    near("uniform(min = 1 ms, max = 3 ms)", 2e6);
    near("uniform(min = 0 s, max = 3 ms, cap = 2 ms)", 1e6);
    near("discrete(1 ms: 9, 20 ms: 1)", 2.9e6);
    near("discrete(1 ms: 9, 20 ms: 1, cap = 5 ms)", 1e6);
    near("gamma(shape = 2, scale = 1 ms)", 2e6);
    near("gamma(shape = 0.05, scale = 1 ms)", 5e4);
    near("gamma(shape = 40000, scale = 1 us)", 4e7);
    near("weibull(shape = 1, scale = 1 ms)", 1e6);
    near("weibull(shape = 0.5, scale = 1 ms)", 2e6);
    near(
        "weibull(shape = 2, scale = 1 ms)",
        1e6 * std::f64::consts::PI.sqrt() / 2.0,
    );
    near("normal(mean = 10 ms, sd = 1 ms)", 1e7);
    // Half a normal: sd sqrt(2 / pi).
    near(
        "normal(mean = 0 s, sd = 1 ms)",
        1e6 * (2.0 / std::f64::consts::PI).sqrt(),
    );
    let (shape, scale, cap) = (1.5_f64, 1e6_f64, 60e9_f64);
    let pareto = shape * scale.powf(shape) * (cap.powf(1.0 - shape) - scale.powf(1.0 - shape))
        / (1.0 - shape)
        / (1.0 - (scale / cap).powf(shape));
    near("pareto(shape = 1.5, scale = 1 ms)", pareto);
    near(
        "pareto(shape = 1, scale = 1 ms)",
        scale * (cap / scale).ln() / (1.0 - scale / cap),
    );
    // Cauchy on [0, c]: location + scale ln((1 + v^2) / (1 + u^2)) / 2 / (atan v - atan u).
    let (location, scale) = (10e6_f64, 1e6_f64);
    let (u, v) = (-location / scale, (cap - location) / scale);
    let cauchy =
        location + scale * ((1.0 + v * v) / (1.0 + u * u)).ln() / 2.0 / (v.atan() - u.atan());
    near("cauchy(location = 10 ms, scale = 1 ms)", cauchy);
    near("student(location = 10 ms, scale = 1 ms, nu = 1)", cauchy);
    let mass = of("cauchy(location = 10 ms, scale = 1 ms)").mass;
    assert!(
        (mass - (v.atan() - u.atan()) / std::f64::consts::PI).abs() < 1e-10,
        "{mass}"
    );
    // Student with 2 degrees of freedom: F(t) = (1 + t / sqrt(2 + t^2)) / 2, integral of t f = -1 / sqrt(2 + t^2) x 2 / 2 ...
    let f = |t: f64| 0.5 * (1.0 + t / (2.0 + t * t).sqrt());
    let found = of("student(location = 10 ms, scale = 1 ms, nu = 2)");
    assert!((found.mass - (f(v) - f(u))).abs() < 1e-10);
    let moment = 1.0 / (2.0 + u * u).sqrt() - 1.0 / (2.0 + v * v).sqrt();
    near(
        "student(location = 10 ms, scale = 1 ms, nu = 2)",
        location + scale * moment / (f(v) - f(u)),
    );
    let size: SizeLaw = "poisson(mean = 200)".parse().unwrap();
    let found = size.conditioned(12).unwrap();
    assert!((found.mean - 200.0).abs() < 1e-9 && (found.mass - 1.0).abs() < 1e-12);
}

#[test]
fn a_rate_sets_the_conditioned_mean() {
    for text in [
        "constant",
        "uniform",
        "exponential",
        "poisson",
        "normal(sd = 0.7 ms)",
        "pareto(shape = 1.05)",
        "pareto(shape = 3)",
        "gamma(shape = 0.3)",
        "gamma(shape = 9)",
        "weibull(shape = 0.5)",
        "student(scale = 0.3 ms, nu = 1.5)",
    ] {
        for mean_ns in [0.8e6, 1e6, 3e6] {
            let found = law(text).conditioned(Some(mean_ns)).unwrap();
            assert!(
                (found.mean / mean_ns - 1.0).abs() < 1e-9,
                "{text}: {} {mean_ns}",
                found.mean
            );
            assert!(found.mass >= MASS_LEAST);
        }
    }
    // Near half the cap the exponential's own mean is far above.
    let found = law("exponential").conditioned(Some(29e9)).unwrap();
    let Distribution::Exponential { mean } = found.distribution else {
        panic!("another law")
    };
    assert!(mean > 250e9 && (found.mean / 29e9 - 1.0).abs() < 1e-9);
    let error = law("exponential")
        .conditioned(Some(31e9))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("cannot have a mean of 31 s within 0 s to 60 s"),
        "{error}"
    );
    let silent = law("normal(mean = 0 s, sd = 1 us, cap = 1 ns)").conditioned(None);
    assert!(
        silent
            .unwrap_err()
            .to_string()
            .contains("almost never within 0 s to 1 ns")
    );
}

proptest! {
    #[test]
    fn arrivals_read_back(law in strategies::arrival()) {
        prop_assert_eq!(law.check(), Ok(()), "{}", law);
        prop_assert_eq!(law.to_string().parse::<Law>(), Ok(law.clone()));
    }

    #[test]
    fn sizes_read_back(law in strategies::size()) {
        prop_assert_eq!(law.to_string().parse::<SizeLaw>(), Ok(law));
    }

    #[test]
    fn no_text_panics(text in "(onoff|mixture|discrete|trace|normal|cap|on|off|1 ms|[0-9.]{0,3}|\"|[(),:= a-z]){0,12}") {
        if let Ok(law) = text.parse::<Law>() {
            let _mean = law.mean_spacing(Some(1e6), Some(1e6));
        }
        let _size = text.parse::<SizeLaw>();
    }

    /// Whatever the parameters: a law is refused or has a mean within its range, and an open one that of the rate.
    #[test]
    fn conditioned_is_within_its_range(law in strategies::arrival(), mean_ns in 1e3..1e10) {
        if let Ok(found) = law.conditioned(Some(mean_ns)) {
            prop_assert!(found.mass >= MASS_LEAST && found.mass <= 1.0 + 1e-9, "{law}: {}", found.mass);
            prop_assert!(found.mean >= found.low && found.mean <= found.high, "{law}: {}", found.mean);
            if law.is_open() {
                prop_assert!((found.mean / mean_ns - 1.0).abs() < 1e-9, "{law}: {}", found.mean);
            }
        }
        if let Ok(size) = "poisson(mean = 20)".parse::<SizeLaw>().unwrap().conditioned(12) {
            prop_assert!(size.mean > 20.0);
        }
    }
}
