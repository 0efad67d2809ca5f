//! What is expected, of whom, and what it means if it does not hold.

use super::*;

/// FAN with one expectation; so many packets of 10,000 are lost on the way to
/// `b` and to `c`.
fn expect(expectation: &str, losses: [u64; 2]) -> Case {
    let mut case = Case::new(&format!("{FAN}[[expect]]\n{expectation}\n"));
    for (planned, path) in case.plan.flows.clone().iter().zip(losses) {
        case.evidence.insert(
            planned.id,
            udp(
                planned,
                Udp {
                    path,
                    ..Udp::default()
                },
            ),
        );
    }
    case
}

#[test]
fn it_holds_for_every_flow_and_the_worst_is_measured() {
    let result = expect("that = \"loss <= 1%\"", [100, 0]).result();
    let outcome = &result.expectations[0];
    assert!(outcome.pass);
    assert_eq!((outcome.held, outcome.of, outcome.worst), (2, 2, Some(1)));
    assert_eq!(outcome.measured, Some(0.01));
    assert_eq!(
        (outcome.each.as_str(), outcome.that.as_str()),
        ("flow", "loss <= 1 %")
    );

    let result = expect("that = \"loss <= 1%\"", [100, 300]).result();
    let outcome = &result.expectations[0];
    assert_eq!((outcome.pass, outcome.held, outcome.of), (false, 1, 2));
    assert_eq!((outcome.measured, outcome.worst), (Some(0.03), Some(2)));
    assert_eq!((result.verdict, result.exit), (Verdict::Fail, 1));
    assert_eq!(codes(&result.reasons), ["expectation"]);
    assert!(
        result.reasons[0].text.contains("held for 1 of 2"),
        "{}",
        result.reasons[0].text
    );
}

#[test]
fn a_set_is_summed() {
    let of_set = "that = \"loss <= 2%\"\neach = \"set\"";
    let outcome = &expect(of_set, [100, 300]).result().expectations[0];
    assert_eq!(
        (outcome.pass, outcome.of, outcome.measured),
        (true, 1, Some(0.02))
    );
    assert_eq!(outcome.worst, None);
    let rate = &expect("that = \"rate >= 1.6 Mbit/s\"\neach = \"set\"", [0, 0]).result();
    assert_eq!(rate.expectations[0].measured, Some(1_600_000.0));
    // A sum of which a part is not known is not known.
    let mut case = expect(of_set, [0, 0]);
    case.flow(2).rx = EndEvidence::default();
    let outcome = &case.result().expectations[0];
    assert_eq!(
        (outcome.pass, outcome.of, outcome.measured),
        (false, 1, None)
    );
}

#[test]
fn a_warning_weighs_nothing() {
    let result = expect("that = \"loss == 0%\"\nlevel = \"warn\"", [1, 0]).result();
    assert!(!result.expectations[0].pass);
    assert_eq!(result.expectations[0].level, "warn");
    assert_eq!(
        (result.verdict, result.checks.expectations),
        (Verdict::Pass, true)
    );
}

#[test]
fn invalid_flows_are_left_out_and_counted() {
    let mut case = expect("that = \"loss <= 1%\"", [0, 5_000]);
    rx(case.flow(2)).window.frozen_us = Some(60_000_000);
    let result = case.result();
    let outcome = &result.expectations[0];
    assert_eq!(
        (outcome.pass, outcome.of, outcome.invalid_excluded),
        (true, 1, 1)
    );
    assert_eq!(result.verdict, Verdict::Invalid);
    rx(case.flow(1)).window.frozen_us = Some(60_000_000);
    let outcome = &case.result().expectations[0];
    assert_eq!(
        (outcome.pass, outcome.of, outcome.measured),
        (false, 0, None)
    );
}

#[test]
fn a_flow_without_the_figure_is_the_worst() {
    let mut case = expect("that = \"loss <= 1%\"", [9_000, 0]);
    *case.flow(2) = FlowEvidence::default();
    let result = case.result();
    let outcome = &result.expectations[0];
    assert_eq!(
        (outcome.measured, outcome.worst, outcome.held),
        (None, Some(2), 0)
    );
    assert_eq!(
        result.verdict,
        Verdict::Partial,
        "which is graver than a fail"
    );
    let reason = result.reasons.last().unwrap();
    assert!(
        reason.text.contains("nothing was measured"),
        "{}",
        reason.text
    );
}

#[test]
fn every_metric_is_measured_in_its_unit() {
    let planned = Case::new(UDP).plan.flows[0].clone();
    let counts = Udp {
        blocked: 1_000,
        egress: 90,
        path: 90,
        socket: 45,
        ..Udp::default()
    };
    for (that, expected) in [
        ("loss <= 50%", 0.02),
        ("loss.egress <= 50%", 0.01),
        ("loss.receiver <= 50%", 0.005),
        ("sent_ratio >= 50%", 0.9),
        ("rate >= 1 kbit/s", 702_000.0),
        ("delay.p99 <= 1 s", 0.000_088),
        ("pdv.p99 <= 1 s", 0.000_067),
        ("jitter <= 1 s", 0.000_012_1),
    ] {
        let mut case = Case::new(&format!("{UDP}[[expect]]\nthat = \"{that}\"\n"));
        case.evidence.insert(planned.id, udp(&planned, counts));
        check(that, &case.result(), expected);
    }
    for (that, expected) in [
        ("retransmits <= 9", 3.0),
        ("rtt.p99 <= 1 s", 0.000_06),
        ("setup.p95 <= 1 s", 0.000_15),
    ] {
        let case = Case::new(&format!("{TCP}[[expect]]\nthat = \"{that}\"\n"));
        check(that, &case.result(), expected);
    }
}

/// Percentiles come from a histogram whose steps are a few per cent wide.
fn check(that: &str, result: &ResultDocument, expected: f64) {
    let measured = result.expectations[0].measured.unwrap();
    let error = (measured - expected).abs() / expected;
    let allowed = if that.contains(".p") { 0.07 } else { 1e-9 };
    assert!(error <= allowed, "{that}: {measured} instead of {expected}");
    assert!(result.expectations[0].pass, "{that}");
}

#[test]
fn phases_sets_and_transports_choose_the_flows() {
    let text = r#"campaign = "mixed"
[pairs]
from = "a"
to   = "b"
[[phase]]
name = "one"
for  = "10s"
[[phase]]
name = "two"
for  = "10s"
[[flow]]
name    = "probe"
traffic = { udp = "1000 pkt/s", size = 100 }
[[flow]]
name    = "bulk"
traffic = { tcp = "max" }
[[expect]]
that = "loss <= 1%"
[[expect]]
that = "two/probe.loss <= 1%"
[[expect]]
that = "rate >= 1 bit/s"
[[expect]]
that = "sent_ratio >= 99%"
"#;
    let mut case = Case::new(text);
    // A `max` flow has no schedule, and an absent generator does not change that.
    let bulk = case
        .plan
        .flows
        .iter()
        .find(|flow| flow.set == "bulk")
        .unwrap()
        .id;
    case.evidence.insert(bulk, FlowEvidence::default());
    let result = case.result();
    let of: Vec<u32> = result
        .expectations
        .iter()
        .map(|outcome| outcome.of)
        .collect();
    assert_eq!(of, [2, 1, 4, 2]);
    assert_eq!(result.expectations[1].phase.as_deref(), Some("two"));
    assert_eq!(result.expectations[1].set.as_deref(), Some("probe"));
    assert!(result.expectations[3].pass);
}
