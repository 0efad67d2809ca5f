//! Any valid value of the vocabulary.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use weir_common::assignment::{
    Assignment, Bundles, Desired, Family, Kind, Layer, Marking, Observe, OnControllerLoss, OnFull,
    Order, Pacing, Peer, RampPoint, Rate, Segment, SessionSpec, SocketTraffic, StartAt, StreamEnd,
    Target, Transport,
};
use weir_common::id::{FlowId, RunId, SessionId};
use weir_common::observation::{
    KernelCounters, KernelRow, LinkCounters, LinkRow, Observed, Observer, Route,
};
use weir_common::record::{
    Artifact, Counters, DataPath, DelayColumns, DscpSet, End, Ending, Entry, Flags, FlowClosed,
    FlowOutage, Gap, GapCause, MoreColumns, Outages, PeerTotals, Record, Source, TcpColumns,
    Window,
};
use weir_common::stats::{Histogram, Lengths};
use weir_common::traffic::{Law, SizeLaw, Trace, TraceOf};

use crate::convert::limits;

pub(super) fn counted() -> impl Strategy<Value = u64> {
    0..=limits::COUNT
}

pub(super) fn histogram() -> impl Strategy<Value = Histogram> {
    vec(any::<u64>(), 1..20).prop_map(|samples| {
        let mut histogram = Histogram::new();
        for sample in samples {
            histogram.record(sample);
        }
        histogram
    })
}

pub(super) fn an_end() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::Tx), Just(End::Rx)]
}

pub(super) fn counters() -> impl Strategy<Value = Counters> {
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

pub(super) fn delay() -> impl Strategy<Value = DelayColumns> {
    (of(histogram()), of(counted()), of(histogram())).prop_map(|(delay, delay_bound_ns, rtt)| {
        DelayColumns {
            delay,
            delay_bound_ns,
            rtt,
        }
    })
}

pub(super) fn tcp() -> impl Strategy<Value = TcpColumns> {
    vec(of(counted()), 13).prop_map(|n| TcpColumns {
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
        segs_out: n[12],
    })
}

pub(super) fn more() -> impl Strategy<Value = MoreColumns> {
    let dscp = of(any::<u64>().prop_map(DscpSet::from_bits));
    (of(histogram()), dscp, vec(of(counted()), 15)).prop_map(|(lateness, dscp_seen, n)| {
        MoreColumns {
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
            ttl_changes: n[12],
            dscp_seen,
            corrupt_packets: n[13],
            echo_packets: n[14],
        }
    })
}

prop_compose! {
    pub(super) fn record()(
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

fn lengths() -> impl Strategy<Value = Lengths> {
    let runs = vec(1u64..1 << 40, 0..20);
    runs.prop_map(|runs| {
        let mut lengths = Lengths::default();
        for run in runs {
            lengths.record(run);
        }
        lengths
    })
}

prop_compose! {
    fn outage()(
        (stream, ended) in any::<(u16, bool)>(),
        n in vec(counted(), 4),
        lost_packets in of(counted()),
    ) -> FlowOutage {
        FlowOutage {
            stream, ended, lost_packets, from_ns: n[0], length_ns: n[1], first_seq: n[2], last_seq: n[3],
        }
    }
}

prop_compose! {
    fn outages()(
        (count, sum_ns) in (counted(), counted()),
        resolution_ns in of(counted()),
        kept in vec(outage(), 0..4),
    ) -> Outages {
        Outages { count, sum_ns, resolution_ns, kept }
    }
}

prop_compose! {
    pub(super) fn window()(
        (start_ns, length_ns) in (counted(), counted()),
        counters in counters(),
        (delay, rtt, lateness) in (of(histogram()), of(histogram()), of(histogram())),
        n in vec(of(counted()), 26),
        ttl in of(any::<(u8, u8)>()),
        dscp_seen in of(any::<u64>().prop_map(DscpSet::from_bits)),
        (loss_burst_lengths, loss_burst_distances) in (of(lengths()), of(lengths())),
        outages in of(outages()),
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
            clock_step_ns: n[19],
            segs_out: n[21],
            segs_in: n[22],
            throttled_us: n[20],
            ttl_changes: n[23],
            dscp_seen,
            corrupt_packets: n[24],
            echo_packets: n[25],
            loss_burst_lengths,
            loss_burst_distances,
            outages,
        }
    }
}

pub(super) fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        Just(Ending::Completed),
        ".{0,40}".prop_map(|reason| Ending::Stopped { reason }),
        ".{0,40}".prop_map(|reason| Ending::Failed { reason }),
    ]
}

prop_compose! {
    pub(super) fn data_path()(
        call in ".{0,20}",
        (gso, pacing, cc, rng) in (of(".{0,9}"), of(".{0,9}"), of(".{0,9}"), of(".{0,9}")),
        (buffer_bytes, mss, setup_us) in (of(counted()), of(counted()), of(counted())),
        (thread, cpus) in (of(".{0,9}"), of(".{0,9}")),
        buffer_forced in of(any::<bool>()),
    ) -> DataPath {
        DataPath {
            call, gso, pacing, buffer_bytes, buffer_forced, cc, mss, setup_us, rng, thread, cpus,
        }
    }
}

prop_compose! {
    pub(super) fn closed()(
        (run, flow, rows) in (1u32.., 1u32.., any::<u32>()),
        end in an_end(),
        ending in ending(),
        total in counters(),
        window in window(),
        n in vec(of(counted()), 5),
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
            corrupt_bytes: n[4],
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

fn trace() -> impl Strategy<Value = Trace> {
    ("[a-z.]{1,9}", any::<bool>(), vec(1..65_000u64, 1..9)).prop_map(|(file, sizes, values)| {
        Trace {
            file,
            of: if sizes {
                TraceOf::Size
            } else {
                TraceOf::Arrival
            },
            values: values.into(),
            sha256: String::new(),
        }
    })
}

/// Without a schedule there are no laws; with one there may be one of sizes.
fn laws(rate: Rate, arrival: Law, sizes: bool) -> (Law, Option<SizeLaw>) {
    if rate == Rate::Max {
        return (Law::Constant, None);
    }
    let size = "uniform(min = 100, max = 320.5)".parse().expect("a law");
    (arrival, Some(size).filter(|_| sizes))
}

pub(super) fn traffic() -> impl Strategy<Value = SocketTraffic> {
    let law = |text: &str| text.parse::<Law>().expect("a law");
    let open = [
        "constant",
        "exponential",
        "normal(sd = 1 ms, cap = 1 s)",
        "onoff(on = exponential(mean = 1 s), off = exponential(mean = 2 s))",
    ];
    let arrival = prop::sample::select(open.map(law).to_vec());
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
        options(),
    )
        .prop_map(|(rate, arrival, size, bytes, packets, options)| {
            let (arrival, size_law) = laws(rate, arrival, options.verify);
            SocketTraffic {
                transport: Transport::Udp,
                rate,
                arrival,
                size,
                size_law,
                bytes,
                packets,
                ramp: ramp_of(rate, &options),
                ..options
            }
        });
    let tcp = (
        tcp_rate,
        arrival,
        any::<u32>(),
        of(1u64..),
        control,
        options(),
    )
        .prop_map(
            |(rate, arrival, size, bytes, congestion_control, options)| {
                let (arrival, size_law) = laws(rate, arrival, options.verify);
                SocketTraffic {
                    transport: Transport::Tcp,
                    rate,
                    arrival,
                    size,
                    size_law,
                    bytes,
                    congestion_control,
                    echo: false,
                    ramp: ramp_of(rate, &options),
                    ..options
                }
            },
        );
    prop_oneof![udp, tcp]
}

/// Without a rate there is no ramp.
fn ramp_of(rate: Rate, options: &SocketTraffic) -> Vec<RampPoint> {
    match rate {
        Rate::Max => Vec::new(),
        _ => options.ramp.clone(),
    }
}

/// Options that every traffic may have.
fn options() -> impl Strategy<Value = SocketTraffic> {
    let layers = [Layer::Payload, Layer::Ip, Layer::Frame, Layer::Wire];
    let schedule = (
        proptest::sample::select(layers.to_vec()),
        vec((0..1_000u64, 1..1_000u64), 0..3),
        any::<bool>(),
        0..=10_000_000u64,
    );
    let bundles = prop_oneof![
        Just(Bundles::On),
        Just(Bundles::Off),
        any::<u64>().prop_map(|single_below_milli_pps| Bundles::Auto {
            single_below_milli_pps
        }),
    ];
    let end = prop_oneof![
        Just(StreamEnd::Abort),
        (0..=60_000_000_000u64).prop_map(StreamEnd::Drain)
    ];
    let socket = (
        any::<[bool; 4]>(),
        bundles,
        end,
        of(88..=65_495u32),
        of(2_048..=1u64 << 30),
    );
    let marking = (of(0..64u8), of(0..4u8), of(1..=255u8), of(0..=0xf_ffffu32));
    let log_file = of("[a-z0-9_]{1,8}[.]jsonl");
    (schedule, socket, marking, log_file).prop_map(|(schedule, socket, marking, log_file)| {
        let (layer, mut points, keep_gap, spin_ns) = schedule;
        let ([echo, verify, nodelay, wait], bundles, end, mss, window) = socket;
        let (dscp, ecn, ttl, flow_label) = marking;
        points.sort_unstable();
        let point = |(at_ns, rate)| RampPoint { at_ns, rate };
        let keep = |max: bool| {
            if max {
                Pacing::KeepGap
            } else {
                Pacing::KeepMean
            }
        };
        SocketTraffic {
            layer,
            ramp: points.into_iter().map(point).collect(),
            pacing: keep(keep_gap),
            spin_ns,
            echo,
            verify,
            nodelay,
            on_full: if wait { OnFull::Wait } else { OnFull::Drop },
            bundles,
            end,
            mss,
            window,
            marking: Marking {
                dscp,
                ecn,
                ttl,
                flow_label,
            },
            log_file: log_file.map(|name| name.parse().expect("a name")),
            ..SocketTraffic::new(Transport::Udp, Rate::BitsPerSecond(1), 100)
        }
    })
}

pub(super) fn peer() -> impl Strategy<Value = Peer> {
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
    pub(super) fn spec()(
        end in an_end(),
        dials in any::<bool>(),
        traffic in traffic(),
        peer in peer(),
        tags in vec(any::<u32>(), 1..5),
        lengths in vec((1u32.., 2u64..1_000_000_000, 0u64..1_000_000_000), 1..5),
        family in prop_oneof![Just(Family::Any), Just(Family::V4), Just(Family::V6)],
        source_address in of(any::<std::net::IpAddr>()),
        source_interface in of("[a-z]{1,15}"),
        source_port in of(1..=u16::MAX),
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
            source_interface,
            source_port,
            port,
        }
    }
}

prop_compose! {
    pub(super) fn assignment()(
        run in 1u32..,
        (nonce, seed) in any::<(u64, u64)>(),
        interval_ns in 100_000_000u64..60_000_000_000,
        (linger_ns, settle_ns) in (0u64..60_000_000_000, 0u64..60_000_000_000),
        loss in of(any::<u64>()),
        mut sessions in vec(spec(), 0..5),
        (links, kernel) in any::<(bool, bool)>(),
        traces in vec(trace(), 0..3),
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
            observe: Observe {
                // One that has no session has something to watch.
                links: links || sessions.is_empty(),
                kernel,
            },
            sessions,
            traces,
        }
    }
}

prop_compose! {
    pub(super) fn desired()(
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
        let first = assignment.sessions.first().map(|first| first.session);
        Desired {
            targets: first.map(|session| Target { session, port }).into_iter().collect(),
            excluded: first.into_iter().collect(),
            assignment,
            order,
        }
    }
}

prop_compose! {
    fn link_row()(
        (run, k) in (1u32.., any::<u32>()),
        (interface, qdisc) in ("[a-z0-9]{1,15}", of("[a-z_]{1,12}")),
        (start_ns, length_ns) in (counted(), counted()),
        n in vec(of(counted()), 10),
    ) -> LinkRow {
        LinkRow {
            run: RunId(run),
            interface,
            k,
            start_ns,
            length_ns,
            counters: LinkCounters {
                rx_bytes: n[0],
                rx_packets: n[1],
                rx_drops: n[2],
                rx_errors: n[3],
                tx_bytes: n[4],
                tx_packets: n[5],
                tx_drops: n[6],
                tx_errors: n[7],
                qdisc_drops: n[8],
            },
            qdisc,
            qdisc_backlog_bytes: n[9],
        }
    }
}

prop_compose! {
    fn kernel_row()(
        (run, k, cores) in (1u32.., any::<u32>(), any::<u32>()),
        kernel_boot_id in "[0-9a-f-]{36}",
        (start_ns, length_ns) in (counted(), counted()),
        n in vec(of(counted()), 6),
    ) -> KernelRow {
        KernelRow {
            run: RunId(run),
            kernel_boot_id,
            k,
            start_ns,
            length_ns,
            cores,
            counters: KernelCounters {
                cpu_us: n[0],
                steal_us: n[1],
                softnet_processed: n[2],
                softnet_dropped: n[3],
                softnet_squeezed: n[4],
                psi_cpu_some_us: n[5],
            },
        }
    }
}

prop_compose! {
    fn observed()(
        run in 1u32..,
        (links, kernels, interfaces_left_out) in any::<(u32, u32, u32)>(),
        load_milli in of(counted()),
        observers in vec(("\\PC{0,20}", of(any::<u32>()), of("[a-z0-9]{1,15}"), any::<bool>()), 0..4),
        routes in vec(("[0-9.]{1,15}", of("\\PC{0,40}"), of("\\PC{0,40}")), 0..4),
    ) -> Observed {
        Observed {
            run: RunId(run),
            links,
            kernels,
            interfaces_left_out,
            load_milli,
            observers: observers
                .into_iter()
                .map(|(who, pid, interface, here)| Observer { who, pid, interface, here })
                .collect(),
            routes: routes
                .into_iter()
                .map(|(target, at_start, at_end)| Route { target, at_start, at_end })
                .collect(),
        }
    }
}

prop_compose! {
    fn gap()(
        run in 1u32..,
        flow in of((1u32.., an_end())),
        (from_ns, to_ns) in (of(counted()), of(counted())),
        cause in prop_oneof![
            Just(GapCause::Damaged),
            Just(GapCause::Ended),
            Just(GapCause::Forgotten)
        ],
    ) -> Gap {
        Gap {
            run: RunId(run),
            flow: flow.map(|(flow, end)| (FlowId(flow), end)),
            from_ns,
            to_ns,
            cause,
        }
    }
}

prop_compose! {
    fn artifact()(
        (run, flow, end) in (1u32.., 1u32.., an_end()),
        name in "[a-z0-9_]{1,8}[.]jsonl",
        size_bytes in counted(),
        sha256 in any::<[u8; 32]>(),
    ) -> Artifact {
        Artifact {
            run: RunId(run),
            flow: FlowId(flow),
            end,
            name: name.parse().expect("a name"),
            size_bytes,
            sha256,
        }
    }
}

/// What an observation is made of, what is missing, and what a flow wrote.
pub(super) fn observation() -> impl Strategy<Value = Entry> {
    prop_oneof![
        link_row().prop_map(|row| Entry::Link(Box::new(row))),
        kernel_row().prop_map(|row| Entry::Kernel(Box::new(row))),
        observed().prop_map(|observed| Entry::Observed(Box::new(observed))),
        gap().prop_map(|gap| Entry::Gap(Box::new(gap))),
        artifact().prop_map(|artifact| Entry::Artifact(Box::new(artifact))),
    ]
}
