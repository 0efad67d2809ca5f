//! What is refused, and by which field.

use weir_common::assignment::Desired;
use weir_common::record::{Ending, Entry, Record};

use crate::convert::limits;
use crate::types::v1 as pb;

fn sample() -> pb::Desired {
    let udp = pb::SocketTraffic {
        transport: pb::Transport::Udp.into(),
        arrival: "constant".into(),
        bundles: pb::Bundles::Off.into(),
        size_bytes: 1200,
        rate: Some(pb::socket_traffic::Rate::BitsPerSecond(1_000_000)),
        ..pb::SocketTraffic::default()
    };
    let spec = pb::SessionSpec {
        session: 1,
        end: pb::End::Tx.into(),
        dials: true,
        kind: Some(pb::session_spec::Kind::Socket(udp)),
        peer: Some(pb::session_spec::Peer::Agent(pb::AgentPeer {
            name: "b".into(),
            addresses: vec!["10.0.0.2".into()],
        })),
        tags: vec![7],
        segments: vec![pb::Segment {
            flow: 1,
            start_ns: 0,
            length_ns: 10,
            warmup_ns: 0,
        }],
        ..pb::SessionSpec::default()
    };
    pb::Desired {
        assignment: Some(pb::Assignment {
            run: 1,
            interval_ns: 1_000_000_000,
            end_ns: 1_000_000_000,
            sessions: vec![spec],
            ..pb::Assignment::default()
        }),
        order: Some(pb::desired::Order::Prepare(true)),
        ..pb::Desired::default()
    }
}

/// Every refusal names its field.
#[test]
fn bad_fields_are_named() {
    assert!(Desired::try_from(sample()).is_ok());
    for (field, damage) in orders().into_iter().chain(sessions()) {
        let mut message = sample();
        let mut assignment = message.assignment.take().expect("the sample has one");
        let mut spec = assignment.sessions.remove(0);
        assignment.sessions.push(spec.clone());
        damage(&mut message, &mut assignment, &mut spec);
        if !assignment.sessions.is_empty() {
            assignment.sessions[0] = spec;
        }
        message.assignment = Some(assignment);
        let error = Desired::try_from(message).expect_err(field);
        assert_eq!(error.field, field, "{error}");
    }
}
type Damage = fn(&mut pb::Desired, &mut pb::Assignment, &mut pb::SessionSpec);

fn udp(spec: &mut pb::SessionSpec) -> &mut pb::SocketTraffic {
    let Some(pb::session_spec::Kind::Socket(traffic)) = &mut spec.kind else {
        panic!("the sample has socket traffic")
    };
    traffic
}

fn orders() -> Vec<(&'static str, Damage)> {
    vec![
        ("order", |d, _, _| d.order = None),
        ("prepare", |d, _, _| {
            d.order = Some(pb::desired::Order::Prepare(false));
        }),
        ("start.unix_ns", |d, _, _| {
            d.order = Some(pb::desired::Order::Start(pb::StartAt::default()));
        }),
        ("targets[0].session", |d, _, _| {
            d.targets = vec![pb::Target {
                session: 9,
                port: 1,
            }];
        }),
        ("targets[0].port", |d, _, _| {
            d.targets = vec![pb::Target {
                session: 1,
                port: 0,
            }];
        }),
        ("excluded_sessions[0]", |d, _, _| {
            d.excluded_sessions = vec![2];
        }),
        ("assignment.run", |_, a, _| a.run = 0),
        ("assignment.interval_ns", |_, a, _| a.interval_ns = 0),
        ("assignment.end_ns", |_, a, _| a.end_ns = u64::MAX),
        ("assignment.sessions", |_, a, _| a.sessions = vec![]),
    ]
}

fn sessions() -> Vec<(&'static str, Damage)> {
    vec![
        ("assignment.sessions[0].session", |_, _, s| s.session = 0),
        ("assignment.sessions[0].end", |_, _, s| s.end = 0),
        ("assignment.sessions[0].kind", |_, _, s| s.kind = None),
        ("assignment.sessions[0].peer", |_, _, s| s.peer = None),
        ("assignment.sessions[0].family", |_, _, s| s.family = 9),
        ("assignment.sessions[0].port", |_, _, s| s.port = 65536),
        ("assignment.sessions[0].tags", |_, _, s| s.tags = vec![]),
        ("assignment.sessions[0].source_address", |_, _, s| {
            s.source_address = Some("x".into());
        }),
        ("assignment.sessions[0].segments[0].flow", |_, _, s| {
            s.segments[0].flow = 0;
        }),
        ("assignment.sessions[0].segments[0].length_ns", |_, _, s| {
            s.segments[0].length_ns = 0;
        }),
        ("assignment.sessions[0].socket.transport", |_, _, s| {
            udp(s).transport = 0;
        }),
        ("assignment.sessions[0].socket.arrival", |_, _, s| {
            udp(s).arrival = "sometimes".into();
        }),
        ("assignment.sessions[0].socket.rate", |_, _, s| {
            udp(s).rate = None;
        }),
        ("assignment.sessions[0].socket.layer", |_, _, s| {
            udp(s).layer = 9;
        }),
        ("assignment.sessions[0].socket.pacing", |_, _, s| {
            udp(s).pacing = -1;
        }),
        ("assignment.sessions[0].socket.bundles", |_, _, s| {
            udp(s).bundles = 0;
        }),
        ("assignment.sessions[0].socket.on_full", |_, _, s| {
            udp(s).on_full = 3;
        }),
        ("assignment.sessions[0].socket.ttl", |_, _, s| {
            udp(s).ttl = Some(256);
        }),
        ("assignment.sessions[0].kind.ttl", |_, _, s| {
            udp(s).ttl = Some(0);
        }),
        ("assignment.sessions[0].kind.dscp", |_, _, s| {
            udp(s).dscp = Some(64);
        }),
        ("assignment.sessions[0].kind.spin_ns", |_, _, s| {
            udp(s).spin_ns = u64::MAX;
        }),
        ("assignment.sessions[0].kind.end", |_, _, s| {
            udp(s).drain_ns = Some(u64::MAX);
        }),
        ("assignment.sessions[0].kind.ramp", |_, _, s| {
            let point = |at_ns| pb::RampPoint { at_ns, rate: 1 };
            udp(s).ramp = vec![point(2), point(1)];
        }),
        ("assignment.sessions[0].kind.window", |_, _, s| {
            udp(s).window_bytes = Some(1);
        }),
        ("assignment.sessions[0].source_interface", |_, _, s| {
            s.source_interface = Some("x".repeat(16));
        }),
        ("assignment.sessions[0].kind.rate", |_, _, s| {
            udp(s).rate = Some(pb::socket_traffic::Rate::BitsPerSecond(u64::MAX));
        }),
        ("assignment.sessions[0].kind.size", |_, _, s| {
            udp(s).size_bytes = 4;
        }),
        (
            "assignment.sessions[0].socket.congestion_control",
            |_, _, s| {
                udp(s).congestion_control = Some("../../x".into());
            },
        ),
    ]
}

#[test]
fn a_session_appears_once_per_end() {
    let mut message = sample();
    let assignment = message.assignment.as_mut().expect("the sample has one");
    assignment.sessions.push(assignment.sessions[0].clone());
    let error = Desired::try_from(&message).expect_err("twice");
    assert_eq!(error.field, "assignment.sessions[1].session");
    let assignment = message.assignment.as_mut().expect("the sample has one");
    assignment.sessions[1].end = pb::End::Rx.into();
    assert!(
        Desired::try_from(&message).is_ok(),
        "an agent may be both ends"
    );
}

#[test]
fn absurd_records_are_refused_by_field() {
    let good = pb::Record {
        run: 1,
        flow: 1,
        end: 1,
        source: 1,
        counters: Some(pb::Counters::default()),
        ..pb::Record::default()
    };
    assert!(Record::try_from(&good).is_ok());
    let refused = |damage: fn(&mut pb::Record)| {
        let mut record = good.clone();
        damage(&mut record);
        Record::try_from(record).expect_err("refused").field
    };
    assert_eq!(refused(|r| r.stream = Some(65536)), "stream");
    assert_eq!(refused(|r| r.source = 0), "source");
    assert_eq!(refused(|r| r.start_ns = u64::MAX), "start_ns");
    let absurd = |n| {
        Some(pb::Counters {
            tx_bytes: Some(n),
            ..pb::Counters::default()
        })
    };
    let mut record = good.clone();
    record.counters = absurd(u64::MAX);
    assert_eq!(
        Record::try_from(record).expect_err("refused").field,
        "counters.tx_bytes"
    );
    assert_eq!(
        refused(|r| r.delay = Some(pb::DelayColumns {
            delay_hist: Some(vec![9; 9]),
            ..pb::DelayColumns::default()
        })),
        "delay.delay_hist"
    );
    assert_eq!(
        Entry::try_from(pb::Entry { item: None })
            .expect_err("refused")
            .field,
        "item"
    );
    let gap = pb::Gap {
        run: 1,
        ..pb::Gap::default()
    };
    let refused = |gap| {
        let item = Some(pb::entry::Item::Gap(gap));
        let entry = Entry::try_from(pb::Entry { item });
        entry.expect_err("refused").field
    };
    assert_eq!(refused(gap), "gap.cause");
    let flow = Some(1);
    assert_eq!(refused(pb::Gap { flow, ..gap }), "gap.end");
}

#[test]
fn artifacts_need_a_plain_name_and_a_whole_hash() {
    let refused = |name: &str, sha256: usize| {
        let artifact = pb::Artifact {
            run: 1,
            flow: 1,
            end: pb::End::Tx.into(),
            name: name.to_owned(),
            size_bytes: 1,
            sha256: vec![0; sha256],
        };
        let item = Some(pb::entry::Item::Artifact(artifact));
        let entry = Entry::try_from(pb::Entry { item });
        entry.expect_err("refused").field
    };
    assert_eq!(refused("../x.jsonl", 32), "artifact.name");
    assert_eq!(refused("x.jsonl", 31), "artifact.sha256");
}

#[test]
fn long_reasons_are_clipped_on_the_way_out() {
    let ending = Ending::Failed {
        reason: "é".repeat(2000),
    };
    let message = pb::Ending::from(&ending);
    assert_eq!(message.reason.len(), limits::REASON);
    assert!(Ending::try_from(&message).is_ok());
}
