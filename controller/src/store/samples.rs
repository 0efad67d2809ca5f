//! Things to store, for the tests of the store, of ingest and of export.

use std::collections::BTreeMap;

use weir_common::assignment::Transport;
use weir_common::id::{AgentName, BootId, FlowId, RunId, SessionId};
use weir_common::observation::{
    KernelCounters, KernelRow, LinkCounters, LinkRow, Observed, Observer,
};
use weir_common::record::{
    Counters, DataPath, DelayColumns, DscpSet, End, Ending, Entry, Flags, FlowClosed, FlowOutage,
    MoreColumns, Outages, PeerTotals, Record, Source, TcpColumns, Window,
};
use weir_common::stats::Histogram;

use super::{AgentHello, Batch, CampaignText, FlowRow, NewRun, Party, PhaseRow, RunPlan, Store};

pub(crate) fn name(text: &str) -> AgentName {
    text.parse().unwrap()
}

pub(crate) fn boot(number: u8) -> BootId {
    BootId([number; 16])
}

pub(crate) fn hello(agent: &str, key: u8, generation: u64, boot_number: u8) -> AgentHello {
    AgentHello {
        name: name(agent),
        labels: BTreeMap::from([("asn".into(), "150".into())]),
        public_key: vec![key; 32],
        generation,
        boot: boot(boot_number),
        inventory: vec![1, 2, 3],
        seen_unix_ns: 1_000,
    }
}

pub(crate) fn new_run(campaign: &str) -> NewRun {
    NewRun {
        campaign: campaign.into(),
        source: CampaignText {
            toml: "campaign = \"x\"".into(),
            file: "x.toml".into(),
            argv: vec!["weir".into(), "run".into()],
            files: Vec::new(),
        },
        nonce: u64::MAX,
        seed: 1 << 63,
        interval_ns: 1_000_000_000,
        linger_ns: 2_000_000_000,
        created_unix_ns: 5,
    }
}

/// Flow `number` from `a` to itself, one row a second for ten seconds.
pub(crate) fn flow(number: u32) -> FlowRow {
    let party = |agent: &str, asn: &str| Party::Agent {
        name: name(agent),
        asn: Some(asn.into()),
    };
    FlowRow {
        flow: FlowId(number),
        session: SessionId(number),
        set: "probe".into(),
        phase: "main".into(),
        repeat: 1,
        cell: vec![("cc".into(), "cubic".into())],
        round: None,
        key: format!("main/probe/a>a#{number}"),
        from: party("a", "150"),
        to: party("a", "162"),
        transport: Transport::Udp,
        reverse_of: (number > 1).then_some(FlowId(1)),
        streams: 1,
        offered_bps: Some(10_000_000),
        offered_milli_pps: None,
        size: 1400,
        start_ns: 0,
        length_ns: 10_000_000_000,
        warmup_ns: 0,
        planned_rows: 10,
    }
}

pub(crate) fn plan(flows: u32) -> RunPlan {
    RunPlan {
        plan_json: "{}".into(),
        end_ns: 10_000_000_000,
        phases: vec![PhaseRow {
            name: "main".into(),
            repeat: 1,
            start_ns: 0,
            length_ns: 10_000_000_000,
            warmup_ns: 0,
        }],
        flows: (1..=flows).map(flow).collect(),
        assignments: vec![(name("a"), vec![1]), (name("b"), vec![2])],
    }
}

/// A planned run of so many flows.
pub(crate) fn planned(store: &dyn Store, flows: u32) -> RunId {
    let run = store.create_run(&new_run("sample")).unwrap();
    store.set_plan(run, &plan(flows)).unwrap();
    run
}

/// A row with the counters of its end only.
pub(crate) fn row(run: RunId, flow: u32, end: End, k: u32) -> Record {
    let counters = match end {
        End::Tx => Counters {
            offered_packets: Some(100),
            offered_bytes: Some(140_000),
            tx_packets: Some(100),
            tx_bytes: Some(140_000),
            ..Counters::default()
        },
        End::Rx => Counters {
            rx_packets: Some(98),
            rx_bytes: Some(137_200),
            lost_packets: Some(2),
            ..Counters::default()
        },
    };
    Record {
        run,
        flow: FlowId(flow),
        stream: None,
        end,
        k,
        source: Source::Measured,
        start_ns: u64::from(k) * 1_000_000_000,
        length_ns: 1_000_000_000,
        flags: Flags::default(),
        counters,
        delay: None,
        tcp: None,
        more: None,
    }
}

fn histogram(first_ns: u64) -> Histogram {
    let mut histogram = Histogram::new();
    for step in 0..100 {
        histogram.record(first_ns + step * 1_000);
    }
    histogram
}

/// A row in which every column holds a figure of its own.
pub(crate) fn full_row(run: RunId, flow: u32, end: End, k: u32) -> Record {
    let mut next = 100;
    let mut n = || {
        next += 1;
        Some(next)
    };
    Record {
        stream: Some(3),
        source: Source::Reported,
        flags: Flags(0b10_0101),
        counters: Counters {
            offered_packets: n(),
            offered_bytes: n(),
            tx_packets: n(),
            tx_bytes: n(),
            rx_packets: n(),
            rx_bytes: n(),
            behind_packets: n(),
            blocked_packets: n(),
            refused_packets: n(),
            egress_packets: n(),
            rx_of_tx_packets: n(),
            lost_packets: n(),
            socket_drops: n(),
            late: n(),
            duplicate: n(),
            reordered: n(),
        },
        delay: Some(DelayColumns {
            delay: Some(histogram(20_000)),
            delay_bound_ns: n(),
            rtt: Some(histogram(40_000)),
        }),
        tcp: Some(TcpColumns {
            acked_bytes: n(),
            retransmits: n(),
            retrans_bytes: n(),
            cwnd_bytes: n(),
            srtt_us: n(),
            min_rtt_us: n(),
            rttvar_us: n(),
            delivery_bps: n(),
            busy_us: n(),
            rwnd_limited_us: n(),
            sndbuf_limited_us: n(),
            unacked_bytes: n(),
            segs_out: n(),
        }),
        more: Some(MoreColumns {
            lateness: Some(histogram(1_000)),
            blocked_us: n(),
            control_packets: n(),
            sndbuf_bytes: n(),
            rcvbuf_bytes: n(),
            reorder_extent_max: n(),
            jitter_ns: n(),
            ttl_min: n(),
            ttl_max: n(),
            ttl_changes: n(),
            dscp_seen: Some(DscpSet::from_bits(1 << 63 | 1)),
            ce: n(),
            corrupt_packets: n(),
            echo_packets: n(),
            cpu_us: n(),
            runq_wait_us: n(),
            throttled_us: n(),
        }),
        ..row(run, flow, end, k)
    }
}

/// An outage that ended, and one that did not.
pub(crate) fn outages() -> Outages {
    let outage = |from_ns, ended, lost_packets| FlowOutage {
        stream: 0,
        from_ns,
        length_ns: 2_000_000_000,
        ended,
        first_seq: from_ns / 1_000_000,
        last_seq: from_ns / 1_000_000 + 1_999,
        lost_packets,
    };
    Outages {
        count: 2,
        sum_ns: 4_000_000_000,
        resolution_ns: Some(1_000_000),
        kept: vec![
            outage(1_000_000_000, true, Some(2_000)),
            outage(8_000_000_000, false, None),
        ],
    }
}

pub(crate) fn manifest(run: RunId, flow: u32, end: End, rows: u32) -> FlowClosed {
    FlowClosed {
        run,
        flow: FlowId(flow),
        end,
        rows,
        ending: Ending::Stopped {
            reason: "asked to".into(),
        },
        total: Counters {
            tx_packets: Some(1_000),
            ..Counters::default()
        },
        window: Window {
            length_ns: 10_000_000_000,
            delay: Some(histogram(20_000)),
            ttl: Some((57, 58)),
            outages: (end == End::Rx).then(outages),
            ..Window::default()
        },
        drained_bytes: None,
        unread_bytes: Some(0),
        corrupt_bytes: None,
        control_packets: Some(2),
        tuples: vec!["10.0.0.1:1>10.0.0.2:2".into()],
        first_packet_ns: Some(7),
        path: DataPath {
            call: "sendmmsg".into(),
            ..DataPath::default()
        },
        link: true,
        peer: Some(PeerTotals {
            packets: 998,
            bytes: 9,
        }),
        warnings: vec!["buffer-below-queue".into()],
    }
}

/// A row of an interface in which every column holds a figure of its own.
pub(crate) fn link_row(run: RunId, k: u32) -> LinkRow {
    LinkRow {
        run,
        interface: "ix100".into(),
        k,
        start_ns: u64::from(k) * 1_000_000_000,
        length_ns: 1_000_000_000,
        counters: LinkCounters {
            rx_bytes: Some(1),
            rx_packets: Some(2),
            rx_drops: Some(3),
            rx_errors: Some(4),
            tx_bytes: Some(5),
            tx_packets: Some(6),
            tx_drops: Some(7),
            tx_errors: Some(8),
            qdisc_drops: Some(9),
        },
        qdisc: Some("tbf".into()),
        qdisc_backlog_bytes: Some(10),
    }
}

/// A row of a kernel in which every column holds a figure of its own.
pub(crate) fn kernel_row(run: RunId, k: u32) -> KernelRow {
    KernelRow {
        run,
        kernel_boot_id: "kernel".into(),
        k,
        start_ns: u64::from(k) * 1_000_000_000,
        length_ns: 1_000_000_000,
        cores: 2,
        counters: KernelCounters {
            cpu_us: Some(1),
            steal_us: Some(2),
            softnet_processed: Some(3),
            softnet_dropped: Some(4),
            softnet_squeezed: Some(5),
            psi_cpu_some_us: Some(6),
        },
    }
}

/// The end of an observation.
pub(crate) fn observed_end(run: RunId) -> Entry {
    Entry::Observed(Box::new(Observed {
        run,
        links: 3,
        kernels: 4,
        interfaces_left_out: 5,
        load_milli: Some(6),
        observers: vec![Observer {
            who: "tcpdump".into(),
            pid: Some(7),
            interface: None,
            here: true,
        }],
        routes: Vec::new(),
    }))
}

/// An observation of so many rows of each kind.
pub(crate) fn observed(run: RunId, rows: u32) -> Vec<Entry> {
    let each = |k| {
        [
            Entry::Link(Box::new(link_row(run, k))),
            Entry::Kernel(Box::new(kernel_row(run, k))),
        ]
    };
    (0..rows)
        .flat_map(each)
        .chain([observed_end(run)])
        .collect()
}

pub(crate) fn batch(boot: BootId, first_seq: u64, entries: Vec<Entry>) -> Batch {
    Batch {
        agent: name("a"),
        boot,
        first_seq,
        entries,
    }
}

pub(crate) fn entries(records: impl IntoIterator<Item = Record>) -> Vec<Entry> {
    records
        .into_iter()
        .map(|record| Entry::Record(Box::new(record)))
        .collect()
}
