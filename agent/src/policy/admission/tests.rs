use proptest::prelude::*;
use weir_common::assignment::{
    Family, Observe, OnControllerLoss, RampPoint, Rate, Segment, SocketTraffic,
};
use weir_common::id::{FlowId, RunId, SessionId};

use super::*;

const SECOND: u64 = 1_000_000_000;

fn session(number: u32, traffic: SocketTraffic, times: &[(u64, u64)]) -> SessionSpec {
    let segment = |(start_s, length_s): &(u64, u64)| Segment {
        flow: FlowId(number),
        start_ns: start_s * SECOND,
        length_ns: length_s * SECOND,
        warmup_ns: 0,
    };
    SessionSpec {
        session: SessionId(number),
        end: End::Tx,
        dials: true,
        kind: Kind::Socket(traffic),
        peer: Peer::Agent {
            name: "b".parse().unwrap(),
            addresses: vec!["10.0.0.2".parse().unwrap()],
        },
        tags: vec![number],
        segments: times.iter().map(segment).collect(),
        family: Family::Any,
        source_address: None,
        source_interface: None,
        source_port: None,
        port: 0,
    }
}

fn udp(rate: Rate, size: u32) -> SocketTraffic {
    SocketTraffic::new(Transport::Udp, rate, size)
}

fn assignment(sessions: Vec<SessionSpec>) -> Assignment {
    Assignment {
        run: RunId(1),
        nonce: 1,
        seed: 1,
        interval_ns: SECOND,
        linger_ns: SECOND,
        settle_ns: SECOND,
        end_ns: 100 * SECOND,
        on_controller_loss: OnControllerLoss::RunToEnd,
        sessions,
        observe: Observe::default(),
        traces: Vec::new(),
    }
}

fn admit(file: &str, sessions: Vec<SessionSpec>, others: Held) -> Vec<Option<String>> {
    let policy = LocalPolicy {
        rules: file.parse().unwrap(),
        ..LocalPolicy::default()
    };
    policy
        .admit(&assignment(sessions), others, |_| true)
        .refusals
}

fn bits(traffic: SocketTraffic) -> Option<(u64, u64)> {
    let sends = Sends::of(&session(1, traffic, &[(0, 1)]), &[]);
    sends
        .rate
        .map(|(bits, packets)| (bits.round() as u64, packets.round() as u64))
}

#[test]
fn headers_are_counted() {
    // 1000 packets of 972 + 28 bytes.
    assert_eq!(
        bits(udp(Rate::MilliPacketsPerSecond(1_000_000), 972)),
        Some((8_000_000, 1_000))
    );
    assert_eq!(
        bits(udp(Rate::BitsPerSecond(7_776_000), 972)),
        Some((8_000_000, 1_000))
    );
    let mut of_ip = udp(Rate::BitsPerSecond(8_000_000), 972);
    of_ip.layer = weir_common::assignment::Layer::Ip;
    assert_eq!(bits(of_ip), Some((8_000_000, 1_000)));
    // 4000 + 8 bytes in three fragments.
    let fragments = udp(Rate::MilliPacketsPerSecond(1_000), 4_000);
    assert_eq!(bits(fragments), Some((8 * (4_008 + 60), 3)));
    let mut ramp = udp(Rate::MilliPacketsPerSecond(1_000), 972);
    ramp.ramp = vec![RampPoint {
        at_ns: 5,
        rate: 2_000_000,
    }];
    assert_eq!(bits(ramp), Some((16_000_000, 2_000)));
    // Ten writes of 1448 bytes a second, each a segment of 1500.
    let stream = SocketTraffic::new(Transport::Tcp, Rate::BitsPerSecond(115_840), 1_448);
    assert_eq!(bits(stream), Some((120_000, 10)));
    // 100 writes a second of 2 segments, the second one small.
    let stream = SocketTraffic::new(Transport::Tcp, Rate::BitsPerSecond(1_600_000), 0);
    assert_eq!(bits(stream), Some((1_600_000 + 8 * 200 * 52, 200)));
    assert_eq!(bits(udp(Rate::Max, 1_400)), None);
}

#[test]
fn a_receiver_sends_only_echoes() {
    let mut of_receiver = session(
        1,
        udp(Rate::MilliPacketsPerSecond(1_000_000), 972),
        &[(0, 1)],
    );
    of_receiver.end = End::Rx;
    assert_eq!(Sends::of(&of_receiver, &[]).rate, Some((0.0, 0.0)));
    let Kind::Socket(traffic) = &mut of_receiver.kind;
    traffic.echo = true;
    let (bits, packets) = Sends::of(&of_receiver, &[]).rate.unwrap();
    assert_eq!((bits.round(), packets.round()), (8e6, 1e3));
}

#[test]
fn those_that_fit_run() {
    let sessions = |n: u32, times: &[(u64, u64)]| {
        let traffic = udp(Rate::MilliPacketsPerSecond(1_000_000), 972);
        (1..=n)
            .map(|i| session(i, traffic.clone(), times))
            .collect::<Vec<_>>()
    };
    let cases = [
        ("max_rate = \"32 Mbit/s\"", 4),
        ("max_rate = \"31.9 Mbit/s\"", 3),
        ("max_packet_rate = \"2000 pkt/s\"", 2),
        ("max_flows = 7", 7),
        ("max_sockets = 5", 5),
        ("max_bytes = \"6 MB\"", 6),
        ("max_duration = \"500 ms\"", 0),
        ("deny_destinations = [\"10.0.0.2\"]", 0),
        ("", 10),
    ];
    for (file, fit) in cases {
        let refusals = admit(file, sessions(10, &[(0, 1)]), Held::default());
        let admitted = refusals.iter().take_while(|it| it.is_none()).count();
        assert_eq!(admitted, fit, "{file}: {refusals:?}");
        let key = file.split(' ').next().unwrap();
        let rest = &refusals[fit..];
        assert!(
            rest.iter()
                .all(|it| it.as_ref().is_some_and(|why| why.contains(key))),
            "{refusals:?}"
        );
    }
    let taken = Held {
        bits_per_second: 16e6,
        ..Held::default()
    };
    let refusals = admit("max_rate = \"32 Mbit/s\"", sessions(10, &[(0, 1)]), taken);
    assert_eq!(refusals.iter().filter(|it| it.is_none()).count(), 2);
    let why = refusals[9].as_deref().unwrap();
    assert!(
        why.contains("32 Mbit/s") && why.contains("8 Mbit/s"),
        "{why}"
    );
}

#[test]
fn phases_that_do_not_overlap_do_not_add_up() {
    let traffic = udp(Rate::MilliPacketsPerSecond(1_000_000), 972);
    let sessions = vec![
        session(1, traffic.clone(), &[(0, 10)]),
        session(2, traffic.clone(), &[(10, 10)]),
        session(3, traffic.clone(), &[(5, 10)]),
        session(4, traffic, &[(20, 1), (30, 1)]),
    ];
    let refusals = admit("max_rate = \"8 Mbit/s\"", sessions, Held::default());
    let refused: Vec<bool> = refusals.iter().map(Option::is_some).collect();
    assert_eq!(refused, [false, false, true, false]);
}

#[test]
fn a_rate_without_a_number_fits_no_sum() {
    let mut limited = udp(Rate::Max, 1_000);
    limited.bytes = Some(1_000_000);
    for (file, traffic, fits) in [
        ("max_rate = \"1 Gbit/s\"", udp(Rate::Max, 1_000), false),
        (
            "max_packet_rate = \"1000 pkt/s\"",
            udp(Rate::Max, 1_000),
            false,
        ),
        ("max_bytes = \"1 GB\"", udp(Rate::Max, 1_000), false),
        ("max_bytes = \"1.1 MB\"", limited.clone(), true),
        ("max_bytes = \"1 MB\"", limited, false),
        ("max_flows = 1", udp(Rate::Max, 1_000), true),
    ] {
        let refusals = admit(file, vec![session(1, traffic, &[(0, 1)])], Held::default());
        assert_eq!(refusals[0].is_none(), fits, "{file}: {refusals:?}");
    }
}

proptest! {
    #[test]
    fn what_is_admitted_never_passes_the_cap(
        flows in proptest::collection::vec((1u64..50_000, 12u32..9_000, 0u64..20, 1u64..20), 1..30),
        cap_kbit in 1u64..100_000,
    ) {
        let each = |(i, (pps, size, start, length)): (usize, &(u64, u32, u64, u64))| {
            let rate = Rate::MilliPacketsPerSecond(pps * 1000);
            session(i as u32 + 1, udp(rate, *size), &[(*start, *length)])
        };
        let sessions: Vec<_> = flows.iter().enumerate().map(each).collect();
        let file = format!("max_rate = \"{cap_kbit} kbit/s\"");
        let refusals = admit(&file, sessions.clone(), Held::default());
        for second in 0..40u64 {
            let active = sessions.iter().zip(&refusals).filter(|(session, refusal)| {
                let segment = session.segments[0];
                refusal.is_none() && (segment.start_ns..segment.end_ns()).contains(&(second * SECOND))
            });
            let sum: f64 = active.map(|(it, _)| Sends::of(it, &[]).rate.unwrap().0).sum();
            prop_assert!(sum <= cap_kbit as f64 * 1000.0 * 1.00001, "{sum} in second {second}");
        }
    }

    #[test]
    fn no_assignment_panics(
        rate in prop_oneof![
            Just(Rate::Max),
            Just(Rate::Arrival),
            any::<u64>().prop_map(Rate::BitsPerSecond),
            any::<u64>().prop_map(Rate::MilliPacketsPerSecond),
        ],
        size: u32, tcp: bool, start: u64, length: u64, bytes: Option<u64>, mss: Option<u32>,
    ) {
        let transport = if tcp { Transport::Tcp } else { Transport::Udp };
        let mut traffic = SocketTraffic::new(transport, rate, size);
        (traffic.bytes, traffic.mss) = (bytes, mss);
        let mut one = session(1, traffic, &[(0, 1)]);
        (one.segments[0].start_ns, one.segments[0].length_ns) = (start % (1 << 60), length);
        let file = "max_rate = \"1 kbit/s\"\nmax_bytes = \"1 MB\"\nmax_flows = 1";
        let _either = admit(file, vec![one], Held::default());
    }
}
