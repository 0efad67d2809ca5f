//! Loss by place, and what makes a flow invalid.

use weir_common::record::Flags;

use super::*;
use crate::analysis::document::Amount;

/// One UDP flow whose packets fared so.
fn fared(counts: Udp) -> ResultDocument {
    let mut case = Case::new(UDP);
    let planned = case.plan.flows[0].clone();
    case.evidence.insert(planned.id, udp(&planned, counts));
    case.result()
}

#[test]
fn a_healthy_flow_passes() {
    for text in [UDP, TCP] {
        let result = Case::new(text).result();
        assert_eq!(result.verdict, Verdict::Pass);
        assert_eq!(
            result.checks,
            Checks {
                valid: true,
                complete: true,
                expectations: true
            }
        );
        assert!(result.reasons.is_empty());
        assert!(
            result.flows[0].warnings.is_empty(),
            "{:?}",
            result.flows[0].warnings
        );
    }
}

#[test]
fn every_loss_has_its_place_and_the_identities_hold() {
    let network = Udp {
        egress: 4_000,
        path: 300,
        ..Udp::default()
    };
    let sender = Udp {
        behind: 100,
        blocked: 2_000,
        refused: 5,
        ..Udp::default()
    };
    let receiver = Udp {
        socket: 70,
        ..Udp::default()
    };
    let all = Udp {
        egress: 1,
        path: 20,
        socket: 300,
        behind: 40,
        blocked: 500,
        refused: 6,
    };
    for counts in [Udp::default(), network, sender, receiver, all] {
        let result = fared(counts);
        let flow = &result.flows[0];
        let (lost, detail) = (flow.lost.unwrap(), flow.lost_detail.unwrap());
        let packets = |amount: Option<Amount>| amount.unwrap().packets.unwrap();
        let (offered, sent) = (packets(flow.offered), packets(flow.sent));
        assert_eq!(offered, sent + lost.sender.unwrap());
        let received = packets(flow.received);
        assert_eq!(
            sent,
            received + lost.network.unwrap() + lost.receiver.unwrap()
        );
        assert_eq!(detail.egress, Some(counts.egress));
        assert_eq!(detail.path, Some(counts.path));
        assert_eq!(detail.socket, Some(counts.socket));
        assert_eq!(detail.behind, Some(counts.behind));
        assert_eq!(detail.blocked, Some(counts.blocked));
        assert_eq!(detail.refused, Some(counts.refused));
        let network = counts.egress + counts.path;
        assert_eq!(flow.loss, Some(network as f64 / sent as f64));
        assert!(flow.valid, "{counts:?}: {:?}", flow.reasons);
        assert_eq!(result.verdict, Verdict::Pass, "no expectation, no fail");
    }
}

#[test]
fn a_sender_held_by_the_link_is_warned_of_and_valid() {
    let mut case = Case::new(&format!("{UDP}[[expect]]\nthat = \"sent_ratio >= 90%\"\n"));
    let planned = case.plan.flows[0].clone();
    let mut flow = udp(
        &planned,
        Udp {
            blocked: 5_000,
            ..Udp::default()
        },
    );
    tx(&mut flow).warnings.push("buffer-below-queue".into());
    case.evidence.insert(planned.id, flow);
    let result = case.result();
    assert!(result.flows[0].valid);
    assert_eq!(result.flows[0].loss, Some(0.0));
    assert_eq!(
        codes(&result.flows[0].warnings),
        ["blocked", "buffer-below-queue"]
    );
    assert!(
        result.flows[0].warnings[1]
            .text
            .contains("smaller than the link's queue")
    );
    assert_eq!(
        result.expectations[0].measured,
        Some(0.5),
        "it counts against sent_ratio"
    );
    assert_eq!(result.verdict, Verdict::Fail);
}

#[test]
fn socket_drops_explain_no_more_than_what_is_missing() {
    let result = Case::with(UDP, |flow| {
        // Copies dropped at the socket: nothing is missing.
        let drops = Some(50);
        rx(flow).window.counters.socket_drops = drops;
        rx(flow).total.socket_drops = drops;
        flow.rx.total.socket_drops = drops;
    });
    let lost = result.flows[0].lost.unwrap();
    assert_eq!((lost.network, lost.receiver), (Some(0), Some(0)));
    assert!(result.checks.valid);
}

#[test]
fn more_than_one_per_cent_behind_is_invalid() {
    assert!(
        fared(Udp {
            behind: 100,
            ..Udp::default()
        })
        .checks
        .valid,
        "1 % exactly"
    );
    let result = fared(Udp {
        behind: 101,
        ..Udp::default()
    });
    assert_eq!((result.verdict, result.exit), (Verdict::Invalid, 4));
    let reason = &result.reasons[0];
    assert_eq!(
        (reason.code.as_str(), reason.end.as_deref()),
        ("behind", Some("tx"))
    );
    assert_eq!((reason.value, reason.limit), (Some(0.0101), Some(0.01)));
    assert!(
        reason.text.contains("101 of 10000 packets (1.01 %)"),
        "{}",
        reason.text
    );
}

#[test]
fn a_run_queue_is_the_cause_and_not_the_verdict() {
    let waited = |flow: &mut FlowEvidence| tx(flow).window.runq_wait_us = Some(2_000_000);
    let result = Case::with(UDP, waited);
    assert_eq!(codes(&result.flows[0].warnings), ["runq"]);
    assert_eq!(result.flows[0].warnings[0].value, Some(0.2));
    assert!(result.checks.valid);
    let decides = Case::with(&format!("{UDP}[valid]\nrunq = \"10%\"\n"), waited);
    assert_eq!(
        codes(&decides.flows[0].reasons),
        ["runq"],
        "the campaign may decide so"
    );
}

#[test]
fn a_newcomers_healthy_tcp_run_is_valid() {
    let result = Case::with(TCP, |flow| {
        tx(flow).window.runq_wait_us = Some(5_600_000);
        tx(flow).window.cpu_us = Some(4_400_000);
        tx(flow).window.frozen_us = Some(90_000);
        rx(flow).window.runq_wait_us = Some(5_000_000);
        rx(flow).window.frozen_us = Some(90_000);
    });
    assert_eq!(result.verdict, Verdict::Pass);
    assert_eq!(codes(&result.flows[0].warnings), ["runq", "runq"]);
    assert_eq!(result.flows[0].limited.as_deref(), Some("cpu"));
}

#[test]
fn a_max_flow_is_never_invalid_for_its_cpu() {
    for text in [TCP, &UDP.replace("1000 pkt/s", "max")] {
        let mut case = Case::new(text);
        let planned = case.plan.flows[0].clone();
        if planned.transport == Transport::Udp {
            let counts = Udp {
                behind: 5_000,
                ..Udp::default()
            };
            case.evidence.insert(planned.id, udp(&planned, counts));
        }
        let flow = case.flow(1);
        tx(flow).window.cpu_us = Some(10_000_000);
        tx(flow).window.frozen_us = Some(3_000_000);
        rx(flow).window.frozen_us = Some(3_000_000);
        tx(flow).window.lateness = Some(samples([5_000_000_000]));
        let result = case.result();
        assert!(result.checks.valid, "{:?}", result.reasons);
        assert_eq!(codes(&result.flows[0].warnings), ["frozen", "frozen"]);
        assert_eq!(result.flows[0].limited.as_deref(), Some("cpu"));
        assert!(result.flows[0].offered.is_none());
    }
}

#[test]
fn a_scheduled_flow_is_not_limited_by_a_busy_cpu() {
    let result = Case::with(UDP, |flow| tx(flow).window.cpu_us = Some(10_000_000));
    assert_eq!(result.flows[0].limited, None);
}

#[test]
fn a_receiver_frozen_for_longer_than_an_interval_is_invalid() {
    let frozen = |us| Case::with(UDP, move |flow| rx(flow).window.frozen_us = Some(us));
    assert!(frozen(1_000_000).checks.valid, "an interval exactly");
    let result = frozen(1_000_001);
    assert_eq!(codes(&result.reasons), ["frozen"]);
    assert_eq!(result.reasons[0].end.as_deref(), Some("rx"));
    let generator = Case::with(UDP, |flow| tx(flow).window.frozen_us = Some(2_000_000));
    assert!(generator.checks.valid, "what it did not send is behind");
    assert_eq!(codes(&generator.flows[0].warnings), ["frozen"]);
}

#[test]
fn lateness_decides_only_where_the_campaign_says_so() {
    assert!(Case::new(UDP).result().checks.valid);
    let result = Case::new(&format!("{UDP}[valid]\nlateness = \"500us\"\n")).result();
    assert_eq!(codes(&result.reasons), ["lateness"]);
    assert_eq!(result.reasons[0].limit, Some(0.000_5));
}

#[test]
fn a_clock_step_matters_inside_a_delay_figure() {
    let by = |step_ns| {
        move |flow: &mut FlowEvidence| {
            flow.rx.flags.insert(Flags::CLOCK_STEP);
            rx(flow).window.clock_step_ns = Some(step_ns);
        }
    };
    let stepped = by(2_500_000);
    let result = Case::with(UDP, stepped);
    assert_eq!(codes(&result.reasons), ["clock_step"]);
    let figures = (result.reasons[0].value, result.reasons[0].limit);
    assert_eq!(figures, (Some(0.002_5), Some(0.001)));
    // What NTP does to a healthy host decides nothing.
    assert!(Case::with(UDP, by(1_000_000)).checks.valid);
    let lenient = format!("{UDP}[valid]\nclock_step = \"3ms\"\n");
    assert!(Case::with(&lenient, stepped).checks.valid);
    let without_delay = Case::with(UDP, |flow| {
        stepped(flow);
        rx(flow).window.delay = None;
    });
    assert!(without_delay.checks.valid);
}

#[test]
fn counters_that_contradict_each_other_are_invalid() {
    let mut cases: Vec<(&str, ResultDocument)> = Vec::new();
    cases.push(("more received than sent", {
        Case::with(UDP, |flow| {
            let more = Some(PACKETS + 3);
            rx(flow).window.counters.rx_packets = more;
            rx(flow).total.rx_packets = more;
            flow.rx.total.rx_packets = more;
        })
    }));
    cases.push((
        "rows and manifest",
        Case::with(UDP, |flow| {
            flow.rx.total.duplicate = Some(1);
        }),
    ));
    cases.push((
        "rows stored twice",
        Case::with(UDP, |flow| flow.tx.rows += 1),
    ));
    cases.push((
        "offered and sent",
        Case::with(UDP, |flow| {
            tx(flow).window.counters.behind_packets = Some(1);
        }),
    ));
    cases.push((
        "final count",
        Case::with(UDP, |flow| {
            rx(flow).warnings.push("inconsistent-counters".into());
        }),
    ));
    cases.push((
        "bytes of a stream",
        Case::with(TCP, |flow| {
            rx(flow).unread_bytes = Some(7);
        }),
    ));
    for (what, result) in cases {
        assert_eq!(codes(&result.reasons), ["inconsistent"], "{what}");
        assert_eq!(result.verdict, Verdict::Invalid, "{what}");
        let reason = &result.reasons[0];
        assert!(reason.value.is_some() && reason.limit.is_some(), "{what}");
    }
}

#[test]
fn a_stream_is_accounted_for_to_the_byte() {
    let mut case = Case::new(TCP);
    let planned = case.plan.flows[0].clone();
    case.evidence
        .insert(planned.id, tcp(&planned, 5_000_000, 800_000, 0));
    let result = case.result();
    let flow = &result.flows[0];
    assert!(flow.valid);
    assert_eq!(flow.sent.unwrap().bytes, Some(5_800_000));
    assert_eq!(flow.received.unwrap().bytes, Some(5_000_000));
    assert_eq!(
        flow.rate_bps,
        Some(4_000_000.0),
        "received in the window only"
    );
    let tcp = flow.tcp.as_ref().unwrap();
    assert_eq!(
        (tcp.drained_bytes, tcp.unread_bytes),
        (Some(800_000), Some(0))
    );
}

#[test]
fn what_arrived_changed_is_invalid_and_none_changed_is_told() {
    let none = Case::with(TCP, |flow| rx(flow).corrupt_bytes = Some(0));
    assert!(none.checks.valid);
    assert_eq!(none.flows[0].tcp.as_ref().unwrap().corrupt_bytes, Some(0));
    let some = Case::with(TCP, |flow| rx(flow).corrupt_bytes = Some(3));
    assert_eq!(codes(&some.reasons), ["corrupt"]);
    assert_eq!(some.verdict, Verdict::Invalid);
}

#[test]
fn a_stream_without_a_final_count_cannot_be_accounted_for() {
    let result = Case::with(TCP, |flow| {
        rx(flow).unread_bytes = None;
        rx(flow).drained_bytes = Some(10);
        rx(flow).warnings.push("no-final-count".into());
    });
    assert!(result.checks.valid);
    assert_eq!(codes(&result.flows[0].warnings), ["no-final-count"]);
}

#[test]
fn what_is_ignored_is_still_told() {
    let text = format!("{UDP}[valid]\nignore = [\"frozen\"]\n");
    let result = Case::with(&text, |flow| rx(flow).window.frozen_us = Some(9_000_000));
    assert_eq!(result.verdict, Verdict::Pass);
    assert_eq!(codes(&result.flows[0].warnings), ["frozen"]);
}
