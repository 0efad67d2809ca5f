//! Evidence is made of manifests as two honest ends would write them; each
//! test then changes what it is about.

mod completeness;
mod document;
mod expectations;
mod properties;
mod surroundings;
mod validity;

use serde_json::json;
use weir_common::campaign::file;
use weir_common::id::BootId;
use weir_common::label::Labels;
use weir_common::record::{Counters, DataPath, FlowClosed, GapCause, Window};
use weir_common::stats::Histogram;

use super::*;
use crate::planner::{self, AgentFacts};

const T0: i64 = 1_795_000_000_250_000_000;

/// One UDP flow of 10 s at 1,000 pkt/s: 10,000 packets of 100 bytes in 10 rows.
const UDP: &str = r#"campaign = "one"
[pairs]
from = "a"
to   = "b"
[[phase]]
name    = "p"
traffic = { udp = "1000 pkt/s", size = 100 }
for     = "10s"
"#;

/// One TCP flow of 10 s, as fast as it can.
const TCP: &str = r#"campaign = "one"
[pairs]
from = "a"
to   = "b"
[[phase]]
name    = "p"
traffic = { tcp = "max" }
for     = "10s"
"#;

/// From `a` to `b` and to `c`.
const FAN: &str = r#"campaign = "fan"
[pairs]
from = "a"
to   = ["b", "c"]
[[phase]]
name    = "p"
traffic = { udp = "1000 pkt/s", size = 100 }
for     = "10s"
"#;

fn facts(name: &str) -> AgentFacts {
    let mut labels = Labels::new();
    labels.insert("asn", "150").unwrap();
    AgentFacts {
        name: name.parse().unwrap(),
        labels,
        addresses: vec![
            format!("10.150.0.{}", name.as_bytes()[0] % 250)
                .parse()
                .unwrap(),
        ],
        mtu: Some(1_500),
        kernel_boot_id: "kernel".into(),
        clock_domain: "kernel".into(),
        cores: 2,
        max_sessions: 4_096,
        qdiscs: Vec::new(),
        buckets: Vec::new(),
        congestion_controls: Vec::new(),
        alive: true,
    }
}

/// A run and what is known of its flows, whole and healthy to begin with.
struct Case {
    campaign: Campaign,
    plan: Plan,
    evidence: BTreeMap<FlowId, FlowEvidence>,
    surroundings: Surroundings,
    gaps: Vec<ReportedGap>,
    t0_unix_ns: Option<i64>,
    reasons: Vec<Reason>,
}

impl Case {
    fn new(text: &str) -> Self {
        let campaign = file::parse(text, "test.toml").unwrap();
        let plan = planner::plan(&campaign, &["a", "b", "c"].map(facts), 7).unwrap();
        let evidence = plan
            .flows
            .iter()
            .map(|flow| (flow.id, healthy(flow)))
            .collect();
        Self {
            campaign,
            surroundings: Surroundings::new(&plan),
            plan,
            evidence,
            gaps: Vec::new(),
            t0_unix_ns: Some(T0),
            reasons: Vec::new(),
        }
    }

    fn with(text: &str, change: impl FnOnce(&mut FlowEvidence)) -> ResultDocument {
        let mut case = Self::new(text);
        change(case.flow(1));
        case.result()
    }

    fn flow(&mut self, flow: u32) -> &mut FlowEvidence {
        self.evidence.get_mut(&FlowId(flow)).unwrap()
    }

    fn result(&self) -> ResultDocument {
        analyse(Input {
            run: RunId(7),
            campaign: &self.campaign,
            plan: &self.plan,
            t0_unix_ns: self.t0_unix_ns,
            evidence: &self.evidence,
            surroundings: &self.surroundings,
            gaps: &self.gaps,
            reasons: self.reasons.clone(),
            warnings: Vec::new(),
            provenance: json!({}),
        })
    }
}

fn codes(reasons: &[Reason]) -> Vec<&str> {
    reasons.iter().map(|reason| reason.code.as_str()).collect()
}

/// Both manifests of a flow without trouble.
fn healthy(planned: &PlannedFlow) -> FlowEvidence {
    match planned.transport {
        Transport::Udp => udp(planned, Udp::default()),
        Transport::Tcp => tcp(planned, 9_000, 1_000, 0),
    }
}

/// What became of 10,000 packets.
#[derive(Debug, Clone, Copy, Default)]
struct Udp {
    behind: u64,
    blocked: u64,
    refused: u64,
    egress: u64,
    path: u64,
    socket: u64,
}

const PACKETS: u64 = 10_000;
const SIZE: u64 = 100;

impl Udp {
    fn tx(self) -> Counters {
        let sent = PACKETS - self.behind - self.blocked - self.refused;
        Counters {
            offered_packets: Some(PACKETS),
            offered_bytes: Some(PACKETS * SIZE),
            tx_packets: Some(sent),
            tx_bytes: Some(sent * SIZE),
            behind_packets: Some(self.behind),
            blocked_packets: Some(self.blocked),
            refused_packets: Some(self.refused),
            egress_packets: Some(self.egress),
            ..Counters::default()
        }
    }

    fn rx(self) -> Counters {
        let lost = self.egress + self.path + self.socket;
        let received = self.tx().tx_packets.unwrap() - lost;
        Counters {
            rx_packets: Some(received),
            rx_bytes: Some(received * SIZE),
            rx_of_tx_packets: Some(received),
            lost_packets: Some(lost),
            socket_drops: Some(self.socket),
            late: Some(0),
            duplicate: Some(0),
            reordered: Some(0),
            ..Counters::default()
        }
    }
}

/// An end whose rows are all stored and add up to `counters`, all measured.
fn end(planned: &PlannedFlow, end: End, counters: Counters) -> EndEvidence {
    let warmup_ns = planned.warmup_ns;
    let closed = FlowClosed {
        run: RunId(7),
        flow: planned.id,
        end,
        rows: planned.rows_per_end,
        ending: Ending::Completed,
        total: counters,
        window: Window {
            start_ns: planned.start_ns + warmup_ns,
            length_ns: planned.length_ns - warmup_ns,
            counters,
            frozen_us: Some(3_000),
            cpu_us: Some(400_000),
            runq_wait_us: Some(40_000),
            ..Window::default()
        },
        drained_bytes: None,
        unread_bytes: None,
        corrupt_bytes: None,
        control_packets: Some(1),
        tuples: vec!["10.150.0.97:40112>10.150.0.98:7900".into()],
        first_packet_ns: Some(80_000),
        path: DataPath {
            call: "sendmmsg".into(),
            ..DataPath::default()
        },
        link: true,
        peer: None,
        warnings: Vec::new(),
    };
    EndEvidence {
        rows: u64::from(closed.rows),
        coalesced: 0,
        total: counters,
        measured: counters,
        last_ns: planned.end_ns(),
        closed: Some(closed),
        ..EndEvidence::default()
    }
}

fn samples(values_ns: impl IntoIterator<Item = u64>) -> Histogram {
    let mut histogram = Histogram::new();
    values_ns
        .into_iter()
        .for_each(|value| histogram.record(value));
    histogram
}

fn udp(planned: &PlannedFlow, counts: Udp) -> FlowEvidence {
    let mut flow = FlowEvidence {
        tx: end(planned, End::Tx, counts.tx()),
        rx: end(planned, End::Rx, counts.rx()),
        failure: None,
    };
    let window = &mut tx(&mut flow).window;
    window.lateness = Some(samples([60_000, 60_000, 700_000]));
    let window = &mut rx(&mut flow).window;
    window.delay = Some(samples([21_000, 31_000, 31_000, 88_000]));
    window.delay_bound_ns = Some(0);
    window.jitter_ns = Some(12_100);
    window.jitter_mean_ns = Some(11_000);
    window.ipdv_mean_abs_ns = Some(12_900);
    window.reorder_extent_max = Some(0);
    window.lost_head = Some(0);
    window.lost_tail = Some(0);
    window.loss_bursts = Some(0);
    window.ttl = Some((62, 62));
    window.ce = Some(0);
    flow
}

/// A TCP flow of which so many bytes were received in time, drained and never read.
fn tcp(planned: &PlannedFlow, received: u64, drained: u64, unread: u64) -> FlowEvidence {
    let scheduled = planned.offered_bps.is_some();
    let sent = Counters {
        offered_bytes: scheduled.then_some(received + drained + unread),
        tx_bytes: Some(received + drained + unread),
        ..Counters::default()
    };
    let read = Counters {
        rx_bytes: Some(received),
        ..Counters::default()
    };
    let mut flow = FlowEvidence {
        tx: end(planned, End::Tx, sent),
        rx: end(planned, End::Rx, read),
        failure: None,
    };
    let closed = rx(&mut flow);
    (closed.drained_bytes, closed.unread_bytes) = (Some(drained), Some(unread));
    closed.window.segs_in = Some(7);
    let closed = tx(&mut flow);
    closed.path.cc = Some("cubic".into());
    closed.path.mss = Some(1_448);
    closed.path.setup_us = Some(150);
    let window = &mut closed.window;
    window.rtt = Some(samples([40_000, 60_000]));
    window.retransmits = Some(3);
    window.retrans_bytes = Some(4_344);
    window.segs_out = Some(10);
    window.acked_bytes = Some(received);
    window.busy_us = Some(9_000_000);
    window.rwnd_limited_us = Some(1_000_000);
    window.sndbuf_limited_us = Some(500_000);
    flow
}

fn tx(flow: &mut FlowEvidence) -> &mut FlowClosed {
    flow.tx.closed.as_mut().unwrap()
}

fn rx(flow: &mut FlowEvidence) -> &mut FlowClosed {
    flow.rx.closed.as_mut().unwrap()
}

/// An end whose manifest never came, after so many seconds of rows.
fn cut_off(side: &mut EndEvidence, seconds: u64, counters: Counters) {
    side.closed = None;
    side.rows = seconds;
    side.last_ns = seconds * 1_000_000_000;
    (side.total, side.measured) = (counters, counters);
    side.silence = Some("the agent is lost".into());
}
