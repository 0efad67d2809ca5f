//! Verdicts, ledger, and runs of which something is missing.

use super::*;

#[test]
fn the_gravest_check_decides_and_the_exit_code_follows() {
    for (valid, complete, expectations, verdict, exit) in [
        (true, true, true, Verdict::Pass, 0),
        (true, true, false, Verdict::Fail, 1),
        (true, false, true, Verdict::Partial, 3),
        (true, false, false, Verdict::Partial, 3),
        (false, true, true, Verdict::Invalid, 4),
        (false, false, true, Verdict::Invalid, 4),
        (false, true, false, Verdict::Invalid, 4),
        (false, false, false, Verdict::Invalid, 4),
    ] {
        assert_eq!(
            Verdict::of(Checks {
                valid,
                complete,
                expectations
            }),
            verdict
        );
        assert_eq!(verdict.exit_code(), exit);
    }
    assert!(Verdict::Pass < Verdict::Fail && Verdict::Fail < Verdict::Partial);
    assert!(Verdict::Partial < Verdict::Invalid);
}

#[test]
fn the_ledger_balances_rows_named_and_stored() {
    let result = Case::new(FAN).result();
    // Two flows, two ends, ten rows.
    assert_eq!((result.ledger.expected, result.ledger.stored), (40, 40));
    assert!(result.ledger.gaps.is_empty() && result.ledger.unclosed.is_empty());
    let result = Case::with(FAN, |flow| flow.rx.coalesced = 3);
    assert_eq!(
        (result.ledger.coalesced, result.verdict),
        (3, Verdict::Pass)
    );
}

#[test]
fn a_flow_that_ended_early_owes_the_rows_its_manifest_names() {
    let result = Case::with(UDP, |flow| {
        tx(flow).rows = 4;
        rx(flow).rows = 4;
        (flow.tx.rows, flow.rx.rows) = (4, 4);
    });
    assert_eq!((result.ledger.expected, result.ledger.stored), (8, 8));
    assert_eq!(result.verdict, Verdict::Pass);
}

#[test]
fn missing_rows_are_a_gap() {
    let tail = Case::with(UDP, |flow| {
        flow.rx.rows = 7;
        flow.rx.last_ns = 7_000_000_000;
    });
    assert_eq!(tail.verdict, Verdict::Partial);
    assert_eq!(codes(&tail.reasons), ["gap"]);
    assert_eq!((tail.ledger.expected, tail.ledger.stored), (20, 17));
    let gap = &tail.ledger.gaps[0];
    assert_eq!(
        (gap.agent.as_str(), gap.end.as_deref(), gap.rows),
        ("b", Some("rx"), Some(3))
    );
    assert_eq!((gap.from_s, gap.to_s), (Some(7.0), Some(10.0)));
    let within = Case::with(UDP, |flow| flow.rx.rows = 7);
    let gap = &within.ledger.gaps[0];
    assert_eq!(
        (gap.from_s, gap.to_s),
        (None, None),
        "somewhere between the others"
    );
}

#[test]
fn what_an_agent_says_is_missing_is_listed_exactly() {
    let mut case = Case::new(UDP);
    let damaged = ReportedGap {
        agent: "b".parse().unwrap(),
        boot: BootId([7; 16]),
        seq: Some((11, 14)),
        flow: None,
        from_ns: None,
        to_ns: None,
        why: GapCause::Damaged.as_str().into(),
    };
    case.gaps = vec![
        damaged.clone(),
        ReportedGap {
            seq: None,
            flow: Some((FlowId(1), End::Rx)),
            from_ns: Some(4_000_000_000),
            to_ns: Some(5_000_000_000),
            why: GapCause::Ended.as_str().into(),
            ..damaged
        },
    ];
    let result = case.result();
    let [range, interval] = &result.ledger.gaps[..] else {
        panic!("{:?}", result.ledger.gaps);
    };
    let boot = "07".repeat(16);
    assert_eq!(
        (range.boot.as_ref(), range.seq),
        (Some(&boot), Some([11, 14]))
    );
    assert_eq!((range.flow, range.rows), (None, Some(4)));
    assert_eq!(
        (interval.flow, interval.end.as_deref()),
        (Some(1), Some("rx"))
    );
    assert_eq!((interval.from_s, interval.to_s), (Some(4.0), Some(5.0)));
    assert_eq!((interval.seq, interval.rows), (None, None));
    // Every flow has its rows, and yet something is missing.
    assert_eq!(result.verdict, Verdict::Partial);
    assert_eq!(codes(&result.reasons), ["gap"]);
    assert!(
        result.reasons[0].text.contains("11 to 14"),
        "{:?}",
        result.reasons
    );
}

#[test]
fn a_receiver_that_never_closed_leaves_nothing_invented() {
    let got = Counters {
        rx_packets: Some(5_000),
        rx_bytes: Some(500_000),
        lost_packets: Some(0),
        ..Counters::default()
    };
    let result = Case::with(UDP, |flow| cut_off(&mut flow.rx, 5, got));
    assert_eq!((result.verdict, result.exit), (Verdict::Partial, 3));
    assert_eq!(codes(&result.reasons), ["unclosed"]);
    assert!(
        result.reasons[0]
            .text
            .contains("b did not close its end: the agent is lost")
    );
    assert_eq!((result.ledger.expected, result.ledger.stored), (20, 15));
    let unclosed = &result.ledger.unclosed[0];
    assert_eq!(
        (unclosed.stored, unclosed.planned, unclosed.end.as_str()),
        (5, 10, "rx")
    );
    let flow = &result.flows[0];
    assert!(flow.valid, "unknown is not wrong");
    assert_eq!(flow.received.unwrap().packets, Some(5_000));
    assert_eq!(flow.loss, None, "what is not stored is not lost");
    assert_eq!(flow.lost.unwrap().network, None);
    assert_eq!(flow.lost.unwrap().sender, Some(0));
    assert_eq!(flow.rate_bps, Some(800_000.0), "over the 5 s it told of");
}

#[test]
fn a_generator_that_never_closed_makes_no_excess() {
    let sent = Counters {
        offered_packets: Some(4_000),
        tx_packets: Some(4_000),
        tx_bytes: Some(400_000),
        ..Counters::default()
    };
    let result = Case::with(UDP, |flow| cut_off(&mut flow.tx, 4, sent));
    assert_eq!(result.verdict, Verdict::Partial, "{:?}", result.reasons);
    assert_eq!(result.flows[0].rates_bps.sent.unwrap().payload, 800_000.0);
    assert_eq!(result.flows[0].rate_bps, Some(800_000.0));
}

#[test]
fn nothing_of_a_flow_is_null_and_its_expectation_fails() {
    let text = format!("{UDP}[[expect]]\nthat = \"loss <= 1%\"\n");
    let mut case = Case::new(&text);
    case.evidence.clear();
    let result = case.result();
    assert_eq!(
        result.checks,
        Checks {
            valid: true,
            complete: false,
            expectations: false
        }
    );
    assert_eq!(
        codes(&result.reasons),
        ["unclosed", "unclosed", "expectation"]
    );
    let flow = &result.flows[0];
    assert_eq!(
        (flow.sent, flow.received, flow.rate_bps),
        (None, None, None)
    );
    assert_eq!(flow.window_s, [0.0, 10.0], "as planned");
}

#[test]
fn a_flow_that_could_not_start_says_why_and_the_others_run() {
    let result = Case::with(FAN, |flow| {
        *flow = FlowEvidence {
            failure: Some(Failure {
                end: End::Tx,
                code: "unreachable".into(),
                reason: "connect 10.150.0.98:7900: no route to host".into(),
            }),
            ..FlowEvidence::default()
        };
    });
    assert_eq!(result.verdict, Verdict::Partial);
    assert_eq!(codes(&result.reasons), ["unreachable"]);
    assert_eq!(result.reasons[0].flow, Some(1));
    assert!(
        result.reasons[0].text.starts_with("a -> b: connect"),
        "{}",
        result.reasons[0].text
    );
    assert_eq!(
        (result.ledger.expected, result.ledger.stored),
        (20, 20),
        "it owes nothing"
    );
    assert!(result.ledger.unclosed.is_empty());
    assert!(result.flows[1].valid && result.flows[1].complete);
    assert_eq!(result.sets[0].rate_bps.sum, Some(800_000.0));
}

#[test]
fn a_run_that_never_started_is_partial() {
    let mut case = Case::new(FAN);
    case.evidence.clear();
    case.t0_unix_ns = None;
    let result = case.result();
    assert_eq!(result.verdict, Verdict::Partial);
    assert_eq!(codes(&result.reasons), ["not-started", "not-started"]);
    assert_eq!((result.ledger.expected, result.time.t0), (0, None));
}

#[test]
fn a_stopped_run_is_partial_and_keeps_its_figures() {
    let mut case = Case::new(UDP);
    case.reasons = vec![Reason {
        code: "stopped".into(),
        flow: None,
        end: None,
        value: None,
        limit: None,
        text: "the run was stopped: asked".into(),
    }];
    let flow = case.flow(1);
    for closed in [&mut flow.tx, &mut flow.rx].map(|side| side.closed.as_mut().unwrap()) {
        closed.ending = Ending::Stopped {
            reason: "asked".into(),
        };
        closed.window.length_ns = 5_000_000_000;
    }
    let result = case.result();
    assert_eq!(result.verdict, Verdict::Partial);
    assert_eq!(
        codes(&result.reasons),
        ["stopped", "stopped"],
        "of the run and of its flow"
    );
    assert_eq!(
        (result.reasons[0].flow, result.reasons[1].flow),
        (None, Some(1))
    );
    assert_eq!(result.flows[0].window_s, [0.0, 5.0]);
    assert_eq!(result.flows[0].rate_bps, Some(1_600_000.0));
}

#[test]
fn a_flow_that_broke_is_partial() {
    let result = Case::with(TCP, |flow| {
        tx(flow).ending = Ending::Failed {
            reason: "write: connection reset by peer".into(),
        };
        rx(flow).unread_bytes = None;
    });
    assert_eq!(codes(&result.reasons), ["broken"]);
    assert_eq!(result.verdict, Verdict::Partial);
    assert_eq!(codes(&result.flows[0].warnings), ["broken"]);
}

#[test]
fn the_warm_up_is_outside_every_figure() {
    let text = UDP.replace("for     = \"10s\"", "for     = \"12s\"\nwarmup  = \"2s\"");
    let mut case = Case::new(&text);
    let warm = |counters: &mut Counters| {
        // Two seconds more in all rows, with a loss of their own.
        let more = Some(2_000);
        counters.add(&Counters {
            offered_packets: counters.offered_packets.and(more),
            tx_packets: counters.tx_packets.and(more),
            rx_packets: counters.rx_packets.and(Some(1_000)),
            lost_packets: counters.lost_packets.and(Some(1_000)),
            ..Counters::default()
        });
    };
    let flow = case.flow(1);
    for side in [&mut flow.tx, &mut flow.rx] {
        warm(&mut side.total);
        warm(&mut side.closed.as_mut().unwrap().total);
    }
    let result = case.result();
    assert_eq!(result.verdict, Verdict::Pass, "{:?}", result.reasons);
    let flow = &result.flows[0];
    assert_eq!((flow.window_s, flow.duration_s), ([2.0, 12.0], 10.0));
    assert_eq!(flow.sent.unwrap().packets, Some(PACKETS));
    assert_eq!((flow.loss, flow.rate_bps), (Some(0.0), Some(800_000.0)));
    // Without a manifest the rows of the window stand in for it.
    let flow = case.flow(1);
    flow.rx.closed = None;
    flow.rx.last_ns = 12_000_000_000;
    let result = case.result();
    assert_eq!(result.flows[0].received.unwrap().packets, Some(PACKETS));
    assert_eq!(result.flows[0].rate_bps, Some(800_000.0));
}
