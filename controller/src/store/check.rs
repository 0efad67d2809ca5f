//! What an entry may hold: figures that every store can keep.

use weir_common::record::{Counters, Entry, FlowClosed, Record};
use weir_common::stats::Histogram;

/// The largest count that every store can keep: 2^63 - 1.
pub const COUNT_MAX: u64 = i64::MAX as u64;

/// The first figure of an entry that cannot be kept: its path and the problem.
pub type Problem = (String, String);

/// Checks every figure of an entry that becomes a column.
///
/// # Errors
/// The path of the field, such as `record.tx_bytes`, and what is wrong.
pub fn check_entry(entry: &Entry) -> Result<(), Problem> {
    match entry {
        Entry::Record(record) => check_record(record),
        Entry::Closed(closed) => check_closed(closed),
        Entry::Link(row) => {
            check_time("link", row.start_ns, row.length_ns)?;
            bounded("link", "qdisc_backlog_bytes", row.qdisc_backlog_bytes)?;
            check_columns("link", row.counters.columns())
        }
        Entry::Kernel(row) => {
            check_time("kernel", row.start_ns, row.length_ns)?;
            check_columns("kernel", row.counters.columns())
        }
        Entry::Observed(observed) => bounded("observed", "load_milli", observed.load_milli),
        Entry::Gap(gap) => {
            bounded("gap", "from_ns", gap.from_ns)?;
            bounded("gap", "to_ns", gap.to_ns)
        }
        Entry::Artifact(artifact) => bounded("artifact", "size_bytes", Some(artifact.size_bytes)),
    }
}

fn bounded(path: &str, name: &str, value: Option<u64>) -> Result<(), Problem> {
    match value {
        Some(value) if value > COUNT_MAX => Err((
            format!("{path}.{name}"),
            format!("{value} is above 2^63 - 1"),
        )),
        _ => Ok(()),
    }
}

fn histogram(path: &str, name: &str, value: Option<&Histogram>) -> Result<(), Problem> {
    bounded(path, name, value.map(Histogram::count))
}

fn counters(path: &str, counters: &Counters) -> Result<(), Problem> {
    check_columns(path, counters.columns())
}

fn check_columns(
    path: &str,
    columns: impl IntoIterator<Item = (&'static str, Option<u64>)>,
) -> Result<(), Problem> {
    columns
        .into_iter()
        .try_for_each(|(name, value)| bounded(path, name, value))
}

/// A row's start, length and end.
fn check_time(path: &str, start_ns: u64, length_ns: u64) -> Result<(), Problem> {
    bounded(path, "start_ns", Some(start_ns))?;
    bounded(path, "length_ns", Some(length_ns))?;
    let end_ns = start_ns.checked_add(length_ns).or(Some(u64::MAX));
    bounded(path, "end of the row", end_ns)
}

fn check_record(record: &Record) -> Result<(), Problem> {
    check_time("record", record.start_ns, record.length_ns)?;
    counters("record", &record.counters)?;
    if let Some(delay) = &record.delay {
        histogram("record.delay", "delay", delay.delay.as_ref())?;
        bounded("record.delay", "delay_bound_ns", delay.delay_bound_ns)?;
        histogram("record.delay", "rtt", delay.rtt.as_ref())?;
    }
    if let Some(tcp) = &record.tcp {
        let columns = [
            ("acked_bytes", tcp.acked_bytes),
            ("retransmits", tcp.retransmits),
            ("retrans_bytes", tcp.retrans_bytes),
            ("cwnd_bytes", tcp.cwnd_bytes),
            ("srtt_us", tcp.srtt_us),
            ("min_rtt_us", tcp.min_rtt_us),
            ("rttvar_us", tcp.rttvar_us),
            ("delivery_bps", tcp.delivery_bps),
            ("busy_us", tcp.busy_us),
            ("rwnd_limited_us", tcp.rwnd_limited_us),
            ("sndbuf_limited_us", tcp.sndbuf_limited_us),
            ("unacked_bytes", tcp.unacked_bytes),
            ("segs_out", tcp.segs_out),
        ];
        for (name, value) in columns {
            bounded("record.tcp", name, value)?;
        }
    }
    if let Some(more) = &record.more {
        histogram("record.more", "lateness", more.lateness.as_ref())?;
        let columns = [
            ("blocked_us", more.blocked_us),
            ("control_packets", more.control_packets),
            ("sndbuf_bytes", more.sndbuf_bytes),
            ("rcvbuf_bytes", more.rcvbuf_bytes),
            ("reorder_extent_max", more.reorder_extent_max),
            ("jitter_ns", more.jitter_ns),
            ("ttl_min", more.ttl_min),
            ("ttl_max", more.ttl_max),
            ("ttl_changes", more.ttl_changes),
            ("ce", more.ce),
            ("corrupt_packets", more.corrupt_packets),
            ("echo_packets", more.echo_packets),
            ("cpu_us", more.cpu_us),
            ("runq_wait_us", more.runq_wait_us),
            ("throttled_us", more.throttled_us),
        ];
        for (name, value) in columns {
            bounded("record.more", name, value)?;
        }
    }
    Ok(())
}

fn check_closed(closed: &FlowClosed) -> Result<(), Problem> {
    counters("closed.total", &closed.total)?;
    counters("closed.window", &closed.window.counters)?;
    bounded("closed.window", "start_ns", Some(closed.window.start_ns))?;
    bounded("closed.window", "length_ns", Some(closed.window.length_ns))?;
    let outages = closed.window.outages.iter();
    for outage in outages.flat_map(|outages| &outages.kept) {
        let path = "closed.window.outages.kept";
        let to_ns = outage.from_ns.checked_add(outage.length_ns);
        bounded(path, "end of the outage", to_ns.or(Some(u64::MAX)))?;
        bounded(path, "first_seq", Some(outage.first_seq))?;
        bounded(path, "last_seq", Some(outage.last_seq))?;
        bounded(path, "lost_packets", outage.lost_packets)?;
    }
    bounded("closed", "drained_bytes", closed.drained_bytes)?;
    bounded("closed", "unread_bytes", closed.unread_bytes)?;
    bounded("closed", "corrupt_bytes", closed.corrupt_bytes)?;
    bounded("closed", "control_packets", closed.control_packets)
}
