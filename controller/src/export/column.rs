//! The columns: name, whose they are, where their value comes from.

use serde_json::{Map, Value};
use weir_common::record::{DelayColumns, End, MoreColumns, Record, Source, TcpColumns};
use weir_common::stats::Histogram;

/// Which end fills a column. In the joined form a column of one end keeps its
/// name, one of both gets `tx_` and `rx_` before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Tx,
    Rx,
    Both,
}

/// One column.
pub(super) struct Column {
    name: &'static str,
    of: Of,
    value: fn(&Record) -> Value,
}

impl Column {
    /// Puts a record's value into a row, if it has one. With `end` the row is
    /// a joined one.
    pub(super) fn put(&self, row: &mut Map<String, Value>, end: Option<End>, record: &Record) {
        let name = match (end, self.of) {
            (Some(end), Of::Both) => format!("{}_{}", end.as_str(), self.name),
            (Some(End::Tx), Of::Rx) | (Some(End::Rx), Of::Tx) => return,
            _ => self.name.to_owned(),
        };
        let value = (self.value)(record);
        if !value.is_null() {
            row.insert(name, value);
        }
    }

    fn joined_names(&self, end: End) -> Option<String> {
        match (self.of, end) {
            (Of::Both, _) => Some(format!("{}_{}", end.as_str(), self.name)),
            (Of::Tx, End::Tx) | (Of::Rx, End::Rx) => Some(self.name.to_owned()),
            _ => None,
        }
    }
}

const NAMES: [&str; 7] = [
    "set",
    "key",
    "from",
    "from_asn",
    "to",
    "to_asn",
    "transport",
];

/// Names of the columns before and after the cell variables, one row per end.
pub(super) fn per_end() -> (Vec<String>, Vec<String>) {
    let before = ["run", "repeat", "phase", "flow", "stream", "end", "k"]
        .iter()
        .chain(&NAMES);
    let figures = TIME
        .iter()
        .chain(FIGURES)
        .map(|column| column.name.to_owned());
    let after = std::iter::once("unix_ns".to_owned())
        .chain(figures)
        .collect();
    (before.map(|name| (*name).to_owned()).collect(), after)
}

/// The same for the joined form: everything of tx, then everything of rx.
pub(super) fn joined() -> (Vec<String>, Vec<String>) {
    let before = ["run", "repeat", "phase", "flow", "stream", "k"]
        .iter()
        .chain(&NAMES);
    let of = |end| {
        TIME.iter()
            .chain(FIGURES)
            .filter_map(move |column| column.joined_names(end))
    };
    let after = std::iter::once("unix_ns".to_owned())
        .chain(of(End::Tx))
        .chain(of(End::Rx));
    (
        before.map(|name| (*name).to_owned()).collect(),
        after.collect(),
    )
}

/// Microseconds of a figure in ns.
fn us(ns: Option<u64>) -> Value {
    ns.map(|ns| ns as f64 / 1e3).into()
}

fn mean_us(histogram: Option<&Histogram>) -> Value {
    histogram
        .and_then(Histogram::mean_ns)
        .map(|ns| ns / 1e3)
        .into()
}

fn percentile_us(histogram: Option<&Histogram>, percent: f64) -> Value {
    us(histogram.and_then(|histogram| histogram.percentile_ns(percent)))
}

/// The digits that a histogram is written as.
fn digits(histogram: Option<&Histogram>) -> Value {
    histogram.map_or(Value::Null, |histogram| {
        serde_json::to_value(histogram).unwrap_or_default()
    })
}

fn samples(histogram: Option<&Histogram>) -> Value {
    histogram.map(Histogram::count).filter(|n| *n > 0).into()
}

fn delay(record: &Record) -> Option<&Histogram> {
    record.delay.as_ref()?.delay.as_ref()
}

fn rtt(record: &Record) -> Option<&Histogram> {
    record.delay.as_ref()?.rtt.as_ref()
}

fn lateness(record: &Record) -> Option<&Histogram> {
    record.more.as_ref()?.lateness.as_ref()
}

fn of_delay(record: &Record, value: fn(&DelayColumns) -> Value) -> Value {
    record.delay.as_ref().map_or(Value::Null, value)
}

fn of_tcp(record: &Record, value: fn(&TcpColumns) -> Option<u64>) -> Value {
    record.tcp.as_ref().and_then(value).into()
}

fn of_more(record: &Record, value: fn(&MoreColumns) -> Option<u64>) -> Value {
    record.more.as_ref().and_then(value).into()
}

fn dscp(record: &Record) -> Value {
    let seen = record.more.as_ref().and_then(|more| more.dscp_seen);
    seen.map(|seen| seen.to_string()).into()
}

macro_rules! columns {
    ($($of:ident $name:literal = $value:expr;)+) => {
        &[$(Column { name: $name, of: Of::$of, value: $value }),+]
    };
}

/// When, by whom, and what to know before using the figures.
pub(super) const TIME: &[Column] = columns! {
    Both "source" = |r| match r.source {
        Source::Measured => "measured",
        Source::Reported => "reported",
    }.into();
    Both "start_ns" = |r| r.start_ns.into();
    Both "length_ns" = |r| r.length_ns.into();
    Both "flags" = |r| r.flags.names().join(" ").into();
};

/// The figures, in the order of `docs/records.md`.
pub(super) const FIGURES: &[Column] = columns! {
    Tx "offered_packets" = |r| r.counters.offered_packets.into();
    Tx "offered_bytes" = |r| r.counters.offered_bytes.into();
    Tx "tx_packets" = |r| r.counters.tx_packets.into();
    Tx "tx_bytes" = |r| r.counters.tx_bytes.into();
    Tx "behind_packets" = |r| r.counters.behind_packets.into();
    Tx "blocked_packets" = |r| r.counters.blocked_packets.into();
    Tx "refused_packets" = |r| r.counters.refused_packets.into();
    Tx "egress_packets" = |r| r.counters.egress_packets.into();
    Tx "lateness_p50_us" = |r| percentile_us(lateness(r), 50.0);
    Tx "lateness_p99_us" = |r| percentile_us(lateness(r), 99.0);
    Tx "lateness_max_us" = |r| percentile_us(lateness(r), 100.0);
    Tx "blocked_us" = |r| of_more(r, |m| m.blocked_us);
    Both "control_packets" = |r| of_more(r, |m| m.control_packets);
    Tx "sndbuf_bytes" = |r| of_more(r, |m| m.sndbuf_bytes);
    Tx "acked_bytes" = |r| of_tcp(r, |t| t.acked_bytes);
    Tx "retransmits" = |r| of_tcp(r, |t| t.retransmits);
    Tx "retrans_bytes" = |r| of_tcp(r, |t| t.retrans_bytes);
    Tx "cwnd_bytes" = |r| of_tcp(r, |t| t.cwnd_bytes);
    Tx "srtt_us" = |r| of_tcp(r, |t| t.srtt_us);
    Tx "min_rtt_us" = |r| of_tcp(r, |t| t.min_rtt_us);
    Tx "rttvar_us" = |r| of_tcp(r, |t| t.rttvar_us);
    Tx "delivery_bps" = |r| of_tcp(r, |t| t.delivery_bps);
    Tx "busy_us" = |r| of_tcp(r, |t| t.busy_us);
    Tx "rwnd_limited_us" = |r| of_tcp(r, |t| t.rwnd_limited_us);
    Tx "sndbuf_limited_us" = |r| of_tcp(r, |t| t.sndbuf_limited_us);
    Tx "unacked_bytes" = |r| of_tcp(r, |t| t.unacked_bytes);
    Tx "segs_out" = |r| of_tcp(r, |t| t.segs_out);
    Rx "rcvbuf_bytes" = |r| of_more(r, |m| m.rcvbuf_bytes);
    Rx "rx_packets" = |r| r.counters.rx_packets.into();
    Rx "rx_bytes" = |r| r.counters.rx_bytes.into();
    Rx "rx_of_tx_packets" = |r| r.counters.rx_of_tx_packets.into();
    Rx "lost_packets" = |r| r.counters.lost_packets.into();
    Rx "socket_drops" = |r| r.counters.socket_drops.into();
    Rx "late" = |r| r.counters.late.into();
    Rx "duplicate" = |r| r.counters.duplicate.into();
    Rx "reordered" = |r| r.counters.reordered.into();
    Rx "reorder_extent_max" = |r| of_more(r, |m| m.reorder_extent_max);
    Rx "jitter_us" = |r| us(r.more.as_ref().and_then(|m| m.jitter_ns));
    Rx "ttl_min" = |r| of_more(r, |m| m.ttl_min);
    Rx "ttl_max" = |r| of_more(r, |m| m.ttl_max);
    Rx "ttl_changes" = |r| of_more(r, |m| m.ttl_changes);
    Rx "dscp_seen" = |r| dscp(r);
    Rx "ce" = |r| of_more(r, |m| m.ce);
    Rx "corrupt_packets" = |r| of_more(r, |m| m.corrupt_packets);
    Both "echo_packets" = |r| of_more(r, |m| m.echo_packets);
    Rx "delay_n" = |r| samples(delay(r));
    Rx "delay_min_us" = |r| percentile_us(delay(r), 0.0);
    Rx "delay_mean_us" = |r| mean_us(delay(r));
    Rx "delay_p50_us" = |r| percentile_us(delay(r), 50.0);
    Rx "delay_p90_us" = |r| percentile_us(delay(r), 90.0);
    Rx "delay_p99_us" = |r| percentile_us(delay(r), 99.0);
    Rx "delay_max_us" = |r| percentile_us(delay(r), 100.0);
    Rx "delay_bound_us" = |r| of_delay(r, |d| us(d.delay_bound_ns));
    Rx "delay_hist" = |r| digits(delay(r));
    Tx "rtt_n" = |r| samples(rtt(r));
    Tx "rtt_p50_us" = |r| percentile_us(rtt(r), 50.0);
    Tx "rtt_p99_us" = |r| percentile_us(rtt(r), 99.0);
    Tx "rtt_hist" = |r| digits(rtt(r));
    Both "cpu_us" = |r| of_more(r, |m| m.cpu_us);
    Both "runq_wait_us" = |r| of_more(r, |m| m.runq_wait_us);
    Both "throttled_us" = |r| of_more(r, |m| m.throttled_us);
};
