//! What goes out comes back; what is foreign is refused by its field.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use prost::Message;
use weir_common::assignment::{
    Arrival, Assignment, Desired, Family, Kind, OnControllerLoss, Order, Peer, Rate, Segment,
    SessionSpec, Snapshot, SocketTraffic, StartAt, Target, Transport,
};
use weir_common::id::{FlowId, RunId, SessionId};
use weir_common::record::{
    Counters, DataPath, DelayColumns, End, Ending, Entry, Flags, FlowClosed, MoreColumns,
    PeerTotals, Record, Source, TcpColumns, Window,
};
use weir_common::stats::Histogram;

use super::limits;
use crate::types::v1 as pb;

fn counted() -> impl Strategy<Value = u64> {
    0..=limits::COUNT
}

fn histogram() -> impl Strategy<Value = Histogram> {
    vec(any::<u64>(), 1..20).prop_map(|samples| {
        let mut histogram = Histogram::new();
        samples
            .into_iter()
            .for_each(|sample| histogram.record(sample));
        histogram
    })
}

fn an_end() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::Tx), Just(End::Rx)]
}

fn counters() -> impl Strategy<Value = Counters> {
    vec(of(counted()), 16).prop_map(|n| Counters {
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

fn delay() -> impl Strategy<Value = DelayColumns> {
    (of(histogram()), of(counted()), of(histogram())).prop_map(|(delay, delay_bound_ns, rtt)| {
        DelayColumns {
            delay,
            delay_bound_ns,
            rtt,
        }
    })
}

fn tcp() -> impl Strategy<Value = TcpColumns> {
    vec(of(counted()), 12).prop_map(|n| TcpColumns {
        acked_bytes: n[0],
        retransmits: n[1],
        retrans_bytes: n[2],
        cwnd_bytes: n[3],
        srtt_us: n[4],
        min_rtt_us: n[5],
        rttvar_us: n[6],
        delivery_bps: n[7],
        busy_us: n[8],
        rwnd_limited_us: n[9],
        sndbuf_limited_us: n[10],
        unacked_bytes: n[11],
    })
}

fn more() -> impl Strategy<Value = MoreColumns> {
    (of(histogram()), vec(of(counted()), 12)).prop_map(|(lateness, n)| MoreColumns {
        lateness,
        blocked_us: n[0],
        control_packets: n[1],
        sndbuf_bytes: n[2],
        rcvbuf_bytes: n[3],
        reorder_extent_max: n[4],
        jitter_ns: n[5],
        ttl_min: n[6],
        ttl_max: n[7],
        ce: n[8],
        cpu_us: n[9],
        runq_wait_us: n[10],
        throttled_us: n[11],
    })
}

prop_compose! {
    fn record()(
        (run, flow, k) in (1u32.., 1u32.., any::<u32>()),
        stream in of(any::<u16>()),
        end in an_end(),
        reported in any::<bool>(),
        (start_ns, length_ns) in (counted(), counted()),
        flags in any::<u32>(),
        counters in counters(),
        (delay, tcp, more) in (of(delay()), of(tcp()), of(more())),
    ) -> Record {
        Record {
            run: RunId(run),
            flow: FlowId(flow),
            stream,
            end,
            k,
            source: if reported { Source::Reported } else { Source::Measured },
            start_ns,
            length_ns,
            flags: Flags(flags),
            counters,
            delay,
            tcp,
            more,
        }
    }
}

prop_compose! {
    fn window()(
        (start_ns, length_ns) in (counted(), counted()),
        counters in counters(),
        (delay, rtt, lateness) in (of(histogram()), of(histogram()), of(histogram())),
        n in vec(of(counted()), 19),
        ttl in of(any::<(u8, u8)>()),
    ) -> Window {
        Window {
            start_ns,
            length_ns,
            counters,
            delay,
            rtt,
            lateness,
            delay_bound_ns: n[0],
            jitter_ns: n[1],
            jitter_mean_ns: n[2],
            ipdv_mean_abs_ns: n[3],
            reorder_extent_max: n[4],
            lost_head: n[5],
            lost_tail: n[6],
            loss_bursts: n[7],
            loss_burst_max: n[8],
            retransmits: n[9],
            retrans_bytes: n[10],
            acked_bytes: n[11],
            busy_us: n[12],
            rwnd_limited_us: n[13],
            sndbuf_limited_us: n[14],
            cpu_us: n[15],
            runq_wait_us: n[16],
            frozen_us: n[17],
            ttl,
            ce: n[18],
        }
    }
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        Just(Ending::Completed),
        ".{0,40}".prop_map(|reason| Ending::Stopped { reason }),
        ".{0,40}".prop_map(|reason| Ending::Failed { reason }),
    ]
}

prop_compose! {
    fn data_path()(
        call in ".{0,20}",
        (gso, pacing, cc, rng) in (of(".{0,9}"), of(".{0,9}"), of(".{0,9}"), of(".{0,9}")),
        (buffer_bytes, mss, setup_us) in (of(counted()), of(counted()), of(counted())),
        buffer_forced in of(any::<bool>()),
    ) -> DataPath {
        DataPath { call, gso, pacing, buffer_bytes, buffer_forced, cc, mss, setup_us, rng }
    }
}

prop_compose! {
    fn closed()(
        (run, flow, rows) in (1u32.., 1u32.., any::<u32>()),
        end in an_end(),
        ending in ending(),
        total in counters(),
        window in window(),
        n in vec(of(counted()), 4),
        (tuples, warnings) in (vec(".{0,30}", 0..4), vec("[a-z-]{1,20}", 0..4)),
        path in data_path(),
        link in any::<bool>(),
        peer in of((counted(), counted())),
    ) -> FlowClosed {
        FlowClosed {
            run: RunId(run),
            flow: FlowId(flow),
            end,
            rows,
            ending,
            total,
            window,
            drained_bytes: n[0],
            unread_bytes: n[1],
            control_packets: n[2],
            tuples,
            first_packet_ns: n[3],
            path,
            link,
            peer: peer.map(|(packets, bytes)| PeerTotals { packets, bytes }),
            warnings,
        }
    }
}

fn traffic() -> impl Strategy<Value = SocketTraffic> {
    let arrival = prop_oneof![Just(Arrival::Constant), Just(Arrival::Exponential)];
    let udp_rate = prop_oneof![
        Just(Rate::Max),
        (1..1u64 << 40).prop_map(Rate::BitsPerSecond),
        (1..1u64 << 30).prop_map(Rate::MilliPacketsPerSecond),
    ];
    let tcp_rate = prop_oneof![
        Just(Rate::Max),
        (1..1u64 << 40).prop_map(Rate::BitsPerSecond)
    ];
    let control = of("[a-z][a-z0-9_]{0,9}");
    let udp = (
        udp_rate,
        arrival.clone(),
        12u32..=65507,
        of(1u64..),
        of(1u64..),
    )
        .prop_map(|(rate, arrival, size, bytes, packets)| SocketTraffic {
            transport: Transport::Udp,
            rate,
            arrival,
            size,
            bytes,
            packets,
            congestion_control: None,
        });
    let tcp = (tcp_rate, arrival, any::<u32>(), of(1u64..), control).prop_map(
        |(rate, arrival, size, bytes, congestion_control)| SocketTraffic {
            transport: Transport::Tcp,
            rate,
            arrival,
            size,
            bytes,
            packets: None,
            congestion_control,
        },
    );
    prop_oneof![udp, tcp]
}

fn peer() -> impl Strategy<Value = Peer> {
    prop_oneof![
        (
            "[a-z0-9][a-z0-9._-]{0,20}",
            vec(any::<std::net::IpAddr>(), 1..4)
        )
            .prop_map(|(name, addresses)| Peer::Agent {
                name: name.parse().expect("a name"),
                addresses
            }),
        (any::<std::net::SocketAddrV4>(), "[a-z0-9]{1,9}").prop_map(|(address, speaks)| {
            Peer::Address {
                address: address.into(),
                speaks,
            }
        }),
    ]
}

prop_compose! {
    fn spec()(
        end in an_end(),
        dials in any::<bool>(),
        traffic in traffic(),
        peer in peer(),
        tags in vec(any::<u32>(), 1..5),
        lengths in vec((1u32.., 2u64..1_000_000_000, 0u64..1_000_000_000), 1..5),
        family in prop_oneof![Just(Family::Any), Just(Family::V4), Just(Family::V6)],
        source_address in of(any::<std::net::IpAddr>()),
        port in any::<u16>(),
    ) -> SessionSpec {
        let mut start_ns = 0;
        let segments = lengths.into_iter().map(|(flow, length_ns, warmup)| {
            let segment = Segment {
                flow: FlowId(flow),
                start_ns,
                length_ns,
                warmup_ns: warmup % length_ns,
            };
            start_ns = segment.end_ns();
            segment
        });
        SessionSpec {
            session: SessionId(1),
            end,
            dials,
            kind: Kind::Socket(traffic),
            peer,
            tags,
            segments: segments.collect(),
            family,
            source_address,
            port,
        }
    }
}

prop_compose! {
    fn assignment()(
        run in 1u32..,
        (nonce, seed) in any::<(u64, u64)>(),
        interval_ns in 100_000_000u64..60_000_000_000,
        (linger_ns, settle_ns) in (0u64..60_000_000_000, 0u64..60_000_000_000),
        loss in of(any::<u64>()),
        mut sessions in vec(spec(), 1..5),
    ) -> Assignment {
        for (number, session) in (1..).zip(&mut sessions) {
            session.session = SessionId(number);
        }
        Assignment {
            run: RunId(run),
            nonce,
            seed,
            interval_ns,
            linger_ns,
            settle_ns,
            end_ns: 10_000_000_000,
            on_controller_loss: loss
                .map_or(OnControllerLoss::RunToEnd, OnControllerLoss::StopAfter),
            sessions,
        }
    }
}

prop_compose! {
    fn desired()(
        assignment in assignment(),
        port in 1u16..,
        order in prop_oneof![
            Just(Order::Prepare),
            (1i64.., counted(), "[0-9a-f-]{36}").prop_map(|(unix_ns, mono_ns, kernel_boot_id)| {
                Order::Start(StartAt { unix_ns, mono_ns, kernel_boot_id })
            }),
            ".{0,30}".prop_map(|reason| Order::Stop { reason }),
        ],
    ) -> Desired {
        let session = SessionId(1);
        Desired {
            assignment,
            targets: vec![Target { session, port }],
            excluded: vec![session],
            order,
        }
    }
}

/// Through the bytes of the wire and back.
fn through<P: Message + Default>(message: &P) -> P {
    P::decode(message.encode_to_vec().as_slice()).expect("what was encoded decodes")
}

proptest! {
    #[test]
    fn records_come_back(record in record()) {
        let message = through(&pb::Record::from(&record));
        prop_assert_eq!(Record::try_from(message), Ok(record));
    }

    #[test]
    fn manifests_come_back(closed in closed()) {
        let entry = Entry::Closed(Box::new(closed));
        let message = through(&pb::Entry::from(&entry));
        prop_assert_eq!(Entry::try_from(message), Ok(entry));
    }

    #[test]
    fn snapshots_come_back(epoch: u64, version: u64, items in vec(desired(), 0..3)) {
        let snapshot = Snapshot { epoch, version, items };
        let message = through(&pb::Snapshot::from(&snapshot));
        prop_assert_eq!(Snapshot::try_from(message), Ok(snapshot));
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(message) = pb::Entry::decode(bytes.as_slice()) {
            let _ = Entry::try_from(message);
        }
        if let Ok(message) = pb::Snapshot::decode(bytes.as_slice()) {
            let _ = Snapshot::try_from(message);
        }
    }

    /// A valid message with one byte changed still decodes to something or is refused.
    #[test]
    fn damaged_bytes_never_panic(snapshot in vec(desired(), 1..2), at: prop::sample::Index, byte: u8) {
        let snapshot = Snapshot { epoch: 1, version: 1, items: snapshot };
        let mut bytes = pb::Snapshot::from(&snapshot).encode_to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(message) = pb::Snapshot::decode(bytes.as_slice()) {
            let _ = Snapshot::try_from(message);
        }
    }
}

fn sample() -> pb::Desired {
    let udp = pb::SocketTraffic {
        transport: pb::Transport::Udp.into(),
        arrival: pb::Arrival::Constant.into(),
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
    type Damage = fn(&mut pb::Desired, &mut pb::Assignment, &mut pb::SessionSpec);
    fn udp(spec: &mut pb::SessionSpec) -> &mut pb::SocketTraffic {
        let Some(pb::session_spec::Kind::Socket(traffic)) = &mut spec.kind else {
            panic!("the sample has socket traffic")
        };
        traffic
    }
    let table: &[(&str, Damage)] = &[
        ("order", |d, _, _| d.order = None),
        ("prepare", |d, _, _| {
            d.order = Some(pb::desired::Order::Prepare(false))
        }),
        ("start.unix_ns", |d, _, _| {
            d.order = Some(pb::desired::Order::Start(pb::StartAt::default()))
        }),
        ("targets[0].session", |d, _, _| {
            d.targets = vec![pb::Target {
                session: 9,
                port: 1,
            }]
        }),
        ("targets[0].port", |d, _, _| {
            d.targets = vec![pb::Target {
                session: 1,
                port: 0,
            }]
        }),
        ("excluded_sessions[0]", |d, _, _| {
            d.excluded_sessions = vec![2]
        }),
        ("assignment.run", |_, a, _| a.run = 0),
        ("assignment.interval_ns", |_, a, _| a.interval_ns = 0),
        ("assignment.end_ns", |_, a, _| a.end_ns = u64::MAX),
        ("assignment.sessions", |_, a, _| a.sessions = vec![]),
        ("assignment.sessions[0].session", |_, _, s| s.session = 0),
        ("assignment.sessions[0].end", |_, _, s| s.end = 0),
        ("assignment.sessions[0].kind", |_, _, s| s.kind = None),
        ("assignment.sessions[0].peer", |_, _, s| s.peer = None),
        ("assignment.sessions[0].family", |_, _, s| s.family = 9),
        ("assignment.sessions[0].port", |_, _, s| s.port = 65536),
        ("assignment.sessions[0].tags", |_, _, s| s.tags = vec![]),
        ("assignment.sessions[0].source_address", |_, _, s| {
            s.source_address = Some("x".into())
        }),
        ("assignment.sessions[0].segments[0].flow", |_, _, s| {
            s.segments[0].flow = 0
        }),
        ("assignment.sessions[0].segments[0].length_ns", |_, _, s| {
            s.segments[0].length_ns = 0
        }),
        ("assignment.sessions[0].socket.transport", |_, _, s| {
            udp(s).transport = 0
        }),
        ("assignment.sessions[0].socket.arrival", |_, _, s| {
            udp(s).arrival = 7
        }),
        ("assignment.sessions[0].socket.rate", |_, _, s| {
            udp(s).rate = None
        }),
        ("assignment.sessions[0].kind.rate", |_, _, s| {
            udp(s).rate = Some(pb::socket_traffic::Rate::BitsPerSecond(u64::MAX));
        }),
        ("assignment.sessions[0].kind.size", |_, _, s| {
            udp(s).size_bytes = 4
        }),
        (
            "assignment.sessions[0].socket.congestion_control",
            |_, _, s| {
                udp(s).congestion_control = Some("../../x".into());
            },
        ),
    ];
    assert!(Desired::try_from(sample()).is_ok());
    for (field, damage) in table {
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
        assert_eq!(&error.field, field, "{error}");
    }
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
