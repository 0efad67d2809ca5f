//! Laws of arrival and size: what they offer, and the files that go with them.

use weir_common::assignment::bounds;
use weir_common::traffic::{Trace, TraceOf};

use super::*;

fn law(rate: &str, arrival: &str, size: &str) -> Traffic {
    let mut traffic = udp(rate);
    traffic.arrival = arrival.parse().unwrap();
    traffic.size_law = Some(size)
        .filter(|size| !size.is_empty())
        .map(|size| size.parse().unwrap());
    traffic
}

fn with(traffic: Traffic, traces: Vec<Trace>) -> Campaign {
    let mut campaign = one_set(FlowSet {
        traffic,
        ..set("s", names("a0"), names("b0"))
    });
    campaign.traces = traces;
    campaign
}

fn offered(traffic: Traffic) -> (Option<u64>, Option<u64>) {
    let plan = plan(&with(traffic, Vec::new()), &agents(), 1).unwrap();
    (plan.flows[0].offered_bps, plan.flows[0].offered_milli_pps)
}

#[test]
fn a_law_offers_its_conditioned_mean() {
    let fixed = |rate, arrival| {
        offered(Traffic {
            size: Some(1_000),
            ..law(rate, arrival, "")
        })
    };
    assert_eq!(
        fixed("1 Mbit/s", "exponential"),
        (Some(1_000_000), Some(125_000))
    );
    assert_eq!(
        fixed("arrival", "gamma(shape = 2, scale = 1 ms)"),
        (Some(4_000_000), Some(500_000))
    );
    // A third of the time.
    let on_off = "onoff(on = exponential(mean = 100 ms), off = exponential(mean = 200 ms))";
    let (bits, packets) = fixed("3 Mbit/s", on_off);
    assert!(bits.unwrap().abs_diff(1_000_000) <= 1 && packets.unwrap().abs_diff(125_000) <= 1);
    // (100 + 320) / 2 bytes.
    let sizes = "uniform(min = 100, max = 320)";
    assert_eq!(
        offered(law("1000 pkt/s", "constant", sizes)),
        (Some(1_680_000), Some(1_000_000))
    );
    // Cut off at 60 s, even what has no mean has one.
    let (bits, _) = fixed("arrival", "pareto(shape = 0.95, scale = 1.1 ms)");
    assert!((500_000..560_000).contains(&bits.unwrap()), "{bits:?}");
}

#[test]
fn traces_go_to_generators_only() {
    let trace = Trace::parse("gaps.txt", TraceOf::Arrival, "1 ms\n3 ms\n").unwrap();
    let asked = law("arrival", "trace(\"gaps.txt\")", "");
    let planned = plan(&with(asked.clone(), vec![trace.clone()]), &agents(), 1).unwrap();
    assert_eq!(planned.flows[0].offered_pps(), Some(500.0));
    let of = |agent| planned.assignment(agent, RunId(1), 1).unwrap();
    let flow = &planned.flows[0];
    assert_eq!(of(&flow.from).traces, std::slice::from_ref(&trace));
    assert!(of(&flow.to).traces.is_empty());
    assert_eq!(of(&flow.from).check(), Ok(()));
    let document = planned.document();
    assert_eq!(document["flows"][0]["arrival"], "trace(\"gaps.txt\")");

    let refused = |traffic: Traffic, traces| {
        let error = plan(&with(traffic, traces), &agents(), 1).unwrap_err();
        error.to_string()
    };
    let missing = refused(asked.clone(), Vec::new());
    assert!(missing.contains("`gaps.txt` did not come"), "{missing}");
    let long = Trace {
        values: vec![1_000; bounds::TRACE_VALUES + 1].into(),
        ..trace
    };
    let long = refused(asked, vec![long]);
    assert!(long.contains("at most 250000"), "{long}");
    let small = Trace::parse("sizes.txt", TraceOf::Size, "64\n11\n").unwrap();
    let small = refused(law("1M", "constant", "trace(\"sizes.txt\")"), vec![small]);
    assert!(
        small.contains("value 2 is 11 B") && small.contains("at least 12 B"),
        "{small}"
    );
}

#[test]
fn a_share_too_small_for_its_law_is_refused() {
    let mut shared = law("0.06 pkt/s", "exponential", "");
    assert!(plan(&with(shared.clone(), Vec::new()), &agents(), 1).is_ok());
    shared.streams = 2;
    let error = plan(&with(shared, Vec::new()), &agents(), 1)
        .unwrap_err()
        .to_string();
    assert!(error.contains("cannot have a mean of"), "{error}");
}
