//! A line for each interval while a test runs: both ends of a flow beside each
//! other, as soon as both have told.

use std::collections::BTreeMap;

use weir_common::id::FlowId;
use weir_common::record::{End, Flags, Record};
use weir_common::traffic::Transport;
use weir_experiment::output::figure::{RateUnit, time_in};
use weir_experiment::plan::Plan;

/// Intervals by which one end may be ahead of the other before it is told alone.
const AHEAD: u32 = 2;
/// Width of a column, at least.
const WIDTH: usize = 8;
/// The value of a figure that a row does not have.
const NONE: &str = "-";

/// The columns of figures, each for one transport or both.
const COLUMNS: [(Option<Transport>, &str); 9] = [
    (Some(Transport::Udp), "lost"),
    (Some(Transport::Udp), "lateness p99 us"),
    (Some(Transport::Udp), "delay p50 us"),
    (Some(Transport::Udp), "p99 us"),
    (Some(Transport::Udp), "jitter us"),
    (Some(Transport::Tcp), "retransmits"),
    (Some(Transport::Tcp), "cwnd kB"),
    (Some(Transport::Tcp), "rtt us"),
    (None, ""),
];

/// See the module.
#[derive(Debug)]
pub(super) struct Lines {
    /// Transport and intervals of each flow.
    flows: BTreeMap<FlowId, (Transport, u32)>,
    waiting: BTreeMap<(FlowId, u32), Both>,
    offered: Vec<f64>,
    unit: Option<RateUnit>,
    has_udp: bool,
    has_tcp: bool,
}

#[derive(Debug, Default)]
struct Both {
    tx: Option<Record>,
    rx: Option<Record>,
}

impl Lines {
    /// For the flows of a plan.
    pub(super) fn new(plan: &Plan) -> Self {
        let has = |transport| plan.flows.iter().any(|flow| flow.transport == transport);
        Self {
            flows: plan
                .flows
                .iter()
                .map(|flow| (flow.id, (flow.transport, flow.rows_per_end)))
                .collect(),
            waiting: BTreeMap::new(),
            offered: plan
                .flows
                .iter()
                .filter_map(|flow| flow.offered_bps.map(|bps| bps as f64))
                .collect(),
            unit: None,
            has_udp: has(Transport::Udp),
            has_tcp: has(Transport::Tcp),
        }
    }

    /// Takes a row of either end; gives the lines that it completes.
    pub(super) fn take(&mut self, record: &Record) -> Vec<String> {
        let Some((_, rows)) = self.flows.get(&record.flow) else {
            return Vec::new();
        };
        if record.stream.is_some() || record.k >= *rows {
            return Vec::new();
        }
        let (flow, k) = (record.flow, record.k);
        let both = self.waiting.entry((flow, k)).or_default();
        match record.end {
            End::Tx => both.tx = Some(record.clone()),
            End::Rx => both.rx = Some(record.clone()),
        }
        let whole = both.tx.is_some() && both.rx.is_some();
        let old: Vec<u32> = self
            .waiting
            .range((flow, 0)..=(flow, k))
            .map(|((_, older), _)| *older)
            .filter(|older| older.saturating_add(AHEAD) < k || (whole && *older <= k))
            .collect();
        old.into_iter().flat_map(|k| self.tell(flow, k)).collect()
    }

    /// What is left when nothing more comes.
    pub(super) fn rest(&mut self) -> Vec<String> {
        let left: Vec<(FlowId, u32)> = self.waiting.keys().copied().collect();
        left.into_iter()
            .flat_map(|(flow, k)| self.tell(flow, k))
            .collect()
    }

    fn tell(&mut self, flow: FlowId, k: u32) -> Vec<String> {
        let Some(both) = self.waiting.remove(&(flow, k)) else {
            return Vec::new();
        };
        let mut lines = Vec::new();
        let unit = if let Some(unit) = self.unit {
            unit
        } else {
            let seen = [bps(both.tx.as_ref()), bps(both.rx.as_ref())];
            let rates = seen.into_iter().flatten().chain(self.offered.clone());
            let unit = RateUnit::fitting(rates);
            self.unit = Some(unit);
            lines.push(self.head(unit));
            unit
        };
        lines.extend(self.line(flow, &both, unit));
        lines
    }

    fn shows(&self, transport: Option<Transport>) -> bool {
        match transport {
            None => true,
            Some(Transport::Udp) => self.has_udp,
            Some(Transport::Tcp) => self.has_tcp,
        }
    }

    fn head(&self, unit: RateUnit) -> String {
        let rates = [
            format!("{:>9} {:>4}", "time s", "flow"),
            format!("{:>WIDTH$}", format!("sent {}", unit.name())),
            format!("{:>WIDTH$}", format!("got {}", unit.name())),
        ];
        let figures = COLUMNS
            .iter()
            .filter(|(transport, _)| self.shows(*transport))
            .map(|(_, head)| format!("{head:>WIDTH$}"));
        let cells: Vec<String> = rates.into_iter().chain(figures).collect();
        cells.join("  ").trim_end().to_owned()
    }

    fn line(&self, flow: FlowId, both: &Both, unit: RateUnit) -> Option<String> {
        let (transport, _) = *self.flows.get(&flow)?;
        let any = both.tx.as_ref().or(both.rx.as_ref())?;
        let rate = |row| bps(row).map_or(NONE.to_owned(), |bps| unit.show(bps));
        let mut cells = vec![
            format!("{:>9} {:>4}", time(any), flow.0),
            cell(rate(both.tx.as_ref()), &format!("sent {}", unit.name())),
            cell(rate(both.rx.as_ref()), &format!("got {}", unit.name())),
        ];
        for (of, head) in COLUMNS {
            if self.shows(of) {
                let figure = match of {
                    None => notes(both),
                    Some(of) if of == transport => figure(both, head).unwrap_or(NONE.to_owned()),
                    Some(_) => NONE.to_owned(),
                };
                cells.push(if of.is_none() {
                    figure
                } else {
                    cell(figure, head)
                });
            }
        }
        Some(cells.join("  ").trim_end().to_owned())
    }
}

fn cell(text: String, head: &str) -> String {
    format!("{text:>width$}", width = WIDTH.max(head.len()))
}

/// Begin and end from T0.
fn time(row: &Record) -> String {
    let (from, to) = (row.start_ns, row.start_ns.saturating_add(row.length_ns));
    let tenths = |ns: u64| (ns as f64 / 1e8).round() / 10.0;
    format!("{}-{}", tenths(from), tenths(to))
}

/// Payload bits per second of a row.
fn bps(row: Option<&Record>) -> Option<f64> {
    let row = row.filter(|row| row.length_ns > 0)?;
    let bytes = match row.end {
        End::Tx => row.counters.tx_bytes,
        End::Rx => row.counters.rx_bytes,
    };
    Some(bytes.unwrap_or(0) as f64 * 8e9 / row.length_ns as f64)
}

fn figure(both: &Both, head: &str) -> Option<String> {
    let us = |ns: u64| time_in(ns as f64 / 1e3, 1.0);
    let (tx, rx) = (both.tx.as_ref(), both.rx.as_ref());
    let delay = |percent| {
        let delay = rx?.delay.as_ref()?.delay.as_ref()?;
        delay.percentile_ns(percent).map(us)
    };
    let tcp = || tx?.tcp;
    match head {
        "lost" => rx.map(|rx| rx.counters.lost_packets.unwrap_or(0).to_string()),
        "lateness p99 us" => {
            let lateness = tx?.more.as_ref()?.lateness.as_ref()?;
            lateness.percentile_ns(99.0).map(us)
        }
        "delay p50 us" => delay(50.0),
        "p99 us" => delay(99.0),
        "jitter us" => rx?.more.as_ref()?.jitter_ns.map(us),
        "retransmits" => tcp()?.retransmits.map(|count| count.to_string()),
        "cwnd kB" => {
            let cwnd = tcp()?.cwnd_bytes?;
            Some(format!("{:.1}", cwnd as f64 / 1e3))
        }
        _ => tcp()?.srtt_us.map(|us| us.to_string()),
    }
}

/// What is not as usual.
fn notes(both: &Both) -> String {
    let mut notes = Vec::new();
    let warm = |row: &Option<Record>| {
        row.as_ref()
            .is_some_and(|row| row.flags.contains(Flags::WARMUP))
    };
    if warm(&both.tx) || warm(&both.rx) {
        notes.push("warm-up".to_owned());
    }
    let mut count = |what: &str, count: Option<u64>| {
        if let Some(count) = count.filter(|&count| count > 0) {
            notes.push(format!("{what} {count}"));
        }
    };
    if let Some(tx) = &both.tx {
        count("behind", tx.counters.behind_packets);
        count("blocked", tx.counters.blocked_packets);
        count("refused", tx.counters.refused_packets);
        count("egress", tx.counters.egress_packets);
    }
    if let Some(rx) = &both.rx {
        count("receiver drops", rx.counters.socket_drops);
        count("late", rx.counters.late);
        count("duplicate", rx.counters.duplicate);
        count("reordered", rx.counters.reordered);
    }
    notes.join(", ")
}

#[cfg(test)]
mod tests {
    use weir_common::campaign::flags;
    use weir_common::id::RunId;
    use weir_common::record::{Counters, Source, TcpColumns};
    use weir_experiment::planner;
    use weir_proto::types::v1::Inventory;

    use super::*;

    fn lines(line: &str) -> Lines {
        let words = format!("--from a --to b {line}");
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        let campaign = flags::parse(&words).unwrap();
        let facts = |name: &str, address: &str| {
            let name = name.parse().unwrap();
            super::super::host::facts(name, &Inventory::default(), address.parse().unwrap())
        };
        let hosts = [facts("a", "10.0.0.1"), facts("b", "10.0.0.2")];
        Lines::new(&planner::plan(&campaign, &hosts, 1).unwrap())
    }

    fn row(end: End, k: u32, bytes: u64) -> Record {
        let mut counters = Counters::default();
        match end {
            End::Tx => counters.tx_bytes = Some(bytes),
            End::Rx => {
                counters.rx_bytes = Some(bytes);
                counters.lost_packets = Some(u64::from(k));
            }
        }
        Record {
            run: RunId(1),
            flow: FlowId(1),
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

    #[test]
    fn a_line_comes_with_both_ends_and_the_head_once() {
        let mut lines = lines("--udp 10M --for 5s");
        assert!(lines.take(&row(End::Tx, 0, 1_250_000)).is_empty());
        assert_eq!(
            lines.take(&row(End::Rx, 0, 1_237_500)),
            [
                "   time s flow  sent Mbit/s  got Mbit/s      lost  lateness p99 us  delay p50 us    p99 us  jitter us",
                "      0-1    1        10.00        9.90         0                -             -         -          -",
            ]
        );
        assert!(lines.take(&row(End::Rx, 1, 1_250_000)).is_empty());
        let mut behind = row(End::Tx, 1, 1_250_000);
        behind.counters.behind_packets = Some(3);
        let told = lines.take(&behind);
        assert_eq!(told.len(), 1);
        assert!(told[0].ends_with("behind 3"), "{told:?}");
    }

    #[test]
    fn an_end_that_is_ahead_is_told_alone() {
        let mut lines = lines("--tcp max --for 9s");
        for k in 0..3 {
            let mut tx = row(End::Tx, k, 1_000_000);
            tx.tcp = Some(TcpColumns {
                retransmits: Some(2),
                cwnd_bytes: Some(64_000),
                srtt_us: Some(77),
                ..TcpColumns::default()
            });
            assert!(lines.take(&tx).is_empty());
        }
        let told = lines.take(&row(End::Tx, 3, 1_000_000));
        assert_eq!(
            told,
            [
                "   time s flow  sent Mbit/s  got Mbit/s  retransmits   cwnd kB    rtt us",
                "      0-1    1         8.00           -            2      64.0        77",
            ]
        );
        assert_eq!(lines.rest().len(), 3);
        assert!(lines.rest().is_empty());
    }

    #[test]
    fn rows_that_no_plan_has_are_not_kept() {
        let mut lines = lines("--udp 10M --for 5s");
        let strange = Record {
            flow: FlowId(2),
            ..row(End::Rx, 0, 1)
        };
        let late = row(End::Rx, 5, 1);
        let stream = Record {
            stream: Some(0),
            ..row(End::Rx, 0, 1)
        };
        for record in [strange, late, stream] {
            assert!(lines.take(&record).is_empty());
        }
        assert!(lines.rest().is_empty());
    }
}
