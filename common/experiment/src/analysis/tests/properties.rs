//! What holds whatever agents say.

use proptest::prelude::*;

use super::*;

fn count() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![
        1 => Just(None),
        6 => (0..100_000_u64).prop_map(Some),
        1 => Just(Some(u64::MAX)),
        1 => any::<u64>().prop_map(Some),
    ]
}

fn counters() -> impl Strategy<Value = Counters> {
    prop::array::uniform16(count()).prop_map(|n| Counters {
        offered_packets: n[0],
        offered_bytes: n[1],
        tx_packets: n[2],
        tx_bytes: n[3],
        rx_packets: n[4],
        rx_bytes: n[5],
        behind_packets: n[6],
        blocked_packets: n[7],
        refused_packets: n[8],
        egress_packets: n[9],
        rx_of_tx_packets: n[10],
        lost_packets: n[11],
        socket_drops: n[12],
        late: n[13],
        duplicate: n[14],
        reordered: n[15],
    })
}

/// What one end may say, true or not.
fn side(planned: PlannedFlow, which: End) -> BoxedStrategy<EndEvidence> {
    let numbers = prop::array::uniform8(count());
    (
        counters(),
        counters(),
        counters(),
        numbers,
        any::<bool>(),
        any::<u64>(),
    )
        .prop_map(move |(total, window, stored, n, closed, ns)| {
            let mut side = end(&planned, which, total);
            side.total = stored;
            side.measured = stored;
            side.rows = n[0].unwrap_or(10).min(1 << 40);
            side.last_ns = ns;
            let manifest = side.closed.as_mut().unwrap();
            manifest.window.counters = window;
            manifest.window.start_ns = n[1].unwrap_or(0);
            manifest.window.length_ns = n[2].unwrap_or(0);
            manifest.window.frozen_us = n[3];
            manifest.window.runq_wait_us = n[4];
            manifest.window.cpu_us = n[4];
            manifest.window.loss_bursts = n[5];
            manifest.drained_bytes = n[5];
            manifest.unread_bytes = n[6];
            manifest.control_packets = n[7];
            manifest.first_packet_ns = n[7];
            manifest.window.delay = n[3].map(|value| samples([value, value / 2]));
            if !closed {
                side.closed = None;
            }
            side
        })
        .boxed()
}

fn flow(planned: PlannedFlow) -> BoxedStrategy<FlowEvidence> {
    let sides = (side(planned.clone(), End::Tx), side(planned, End::Rx));
    sides
        .prop_map(|(tx, rx)| FlowEvidence {
            tx,
            rx,
            failure: None,
        })
        .boxed()
}

const EXPECTATIONS: &str = r#"
[[expect]]
that = "loss <= 1%"
each = "set"
[[expect]]
that = "sent_ratio >= 50%"
each = "set"
[[expect]]
that = "delay.p99 <= 1 s"
"#;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// No figure that an agent can send makes a panic, a ratio beyond 1, a
    /// number that JSON cannot hold, or a document that does not read back.
    #[test]
    fn absurd_figures_do_no_harm(
        (tcp, flows) in any::<bool>().prop_flat_map(|tcp| {
            let [one, two] = Case::new(&fan(tcp)).plan.flows.try_into().expect("two flows");
            (Just(tcp), (flow(one), flow(two)))
        }),
    ) {
        let mut case = Case::new(&fan(tcp));
        *case.flow(1) = flows.0;
        *case.flow(2) = flows.1;
        let result = case.result();
        for flow in &result.flows {
            prop_assert!(flow.loss.is_none_or(|loss| (0.0..=1.0).contains(&loss)));
            prop_assert!(flow.rate_bps.is_none_or(f64::is_finite));
        }
        prop_assert!(result.sets[0].loss.is_none_or(|loss| (0.0..=1.0).contains(&loss)));
        let text = serde_json::to_string(&result).unwrap();
        let back: ResultDocument = serde_json::from_str(&text).unwrap();
        let (back, result) = (serde_json::to_value(back), serde_json::to_value(result));
        prop_assert!(super::document::alike(&back.unwrap(), &result.unwrap()));
    }

    /// Whatever becomes of the packets of two honest ends, the identities hold
    /// and only lateness of the CPU is invalid.
    #[test]
    fn honest_ends_balance(shares in prop::array::uniform6(0..1_600_u64)) {
        let [behind, blocked, refused, egress, path, socket] = shares;
        let counts = Udp { behind, blocked, refused, egress, path, socket };
        let mut case = Case::new(UDP);
        let planned = case.plan.flows[0].clone();
        case.evidence.insert(planned.id, udp(&planned, counts));
        let result = case.result();
        let flow = &result.flows[0];
        let (lost, detail) = (flow.lost.unwrap(), flow.lost_detail.unwrap());
        let sent = flow.sent.unwrap().packets.unwrap();
        let received = flow.received.unwrap().packets.unwrap();
        prop_assert_eq!(sent + lost.sender.unwrap(), PACKETS);
        prop_assert_eq!(received + lost.network.unwrap() + lost.receiver.unwrap(), sent);
        prop_assert_eq!(detail.egress.unwrap() + detail.path.unwrap(), lost.network.unwrap());
        prop_assert_eq!(flow.valid, behind * 100 <= PACKETS);
        prop_assert!(flow.complete);
    }
}

fn fan(tcp: bool) -> String {
    if tcp {
        FAN.replace("udp = \"1000 pkt/s\", size = 100", "tcp = \"1 Mbit/s\"")
            + "[[expect]]\nthat = \"sent_ratio >= 50%\"\neach = \"set\"\n"
    } else {
        format!("{FAN}{EXPECTATIONS}")
    }
}
