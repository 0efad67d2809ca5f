//! Writing what of an entry does not fit the narrow core.

use rusqlite::{Connection, params};
use weir_common::id::{AgentName, BootId};
use weir_common::record::{DelayColumns, Ending, FlowClosed, MoreColumns, TcpColumns};
use weir_common::stats::Histogram;

use super::column::{int, opt};

/// A histogram that has any samples.
fn samples(histogram: Option<&Histogram>) -> Option<&Histogram> {
    histogram.filter(|histogram| !histogram.is_empty())
}

pub(super) fn put_delay(
    db: &Connection,
    number: i64,
    columns: &DelayColumns,
) -> rusqlite::Result<()> {
    let (delay, rtt) = (
        samples(columns.delay.as_ref()),
        samples(columns.rtt.as_ref()),
    );
    if delay.is_none() && rtt.is_none() && columns.delay_bound_ns.is_none() {
        return Ok(());
    }
    let percentile = |h: Option<&Histogram>, p| opt(h.and_then(|h| h.percentile_ns(p)));
    let mean = delay
        .and_then(Histogram::mean_ns)
        .map(|ns| ns.round() as i64);
    db.prepare_cached(
        "INSERT INTO record_delay VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )?
    .execute(params![
        number,
        opt(delay.map(Histogram::count)),
        opt(delay.and_then(Histogram::min_ns)),
        mean,
        percentile(delay, 50.0),
        percentile(delay, 90.0),
        percentile(delay, 99.0),
        opt(delay.and_then(Histogram::max_ns)),
        opt(columns.delay_bound_ns),
        delay.map(Histogram::encode),
        opt(rtt.map(Histogram::count)),
        percentile(rtt, 50.0),
        percentile(rtt, 99.0),
        rtt.map(Histogram::encode),
    ])?;
    Ok(())
}

pub(super) fn put_tcp(db: &Connection, number: i64, tcp: &TcpColumns) -> rusqlite::Result<()> {
    if *tcp == TcpColumns::default() {
        return Ok(());
    }
    db.prepare_cached(
        "INSERT INTO record_tcp VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )?
    .execute(params![
        number,
        opt(tcp.acked_bytes),
        opt(tcp.retransmits),
        opt(tcp.retrans_bytes),
        opt(tcp.cwnd_bytes),
        opt(tcp.srtt_us),
        opt(tcp.min_rtt_us),
        opt(tcp.rttvar_us),
        opt(tcp.delivery_bps),
        opt(tcp.busy_us),
        opt(tcp.rwnd_limited_us),
        opt(tcp.sndbuf_limited_us),
        opt(tcp.unacked_bytes),
        opt(tcp.segs_out),
    ])?;
    Ok(())
}

pub(super) fn put_more(
    db: &Connection,
    number: i64,
    source: Option<&str>,
    more: &MoreColumns,
) -> rusqlite::Result<()> {
    let lateness = samples(more.lateness.as_ref());
    let without_lateness = MoreColumns {
        lateness: None,
        ..more.clone()
    };
    if source.is_none() && lateness.is_none() && without_lateness == MoreColumns::default() {
        return Ok(());
    }
    let percentile = |p| opt(lateness.and_then(|h| h.percentile_ns(p)));
    db.prepare_cached(
        "INSERT INTO record_more VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,
         ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22)",
    )?
    .execute(params![
        number,
        source,
        percentile(50.0),
        percentile(99.0),
        percentile(100.0),
        lateness.map(Histogram::encode),
        opt(more.blocked_us),
        opt(more.control_packets),
        opt(more.sndbuf_bytes),
        opt(more.rcvbuf_bytes),
        opt(more.reorder_extent_max),
        opt(more.jitter_ns),
        opt(more.ttl_min),
        opt(more.ttl_max),
        opt(more.ttl_changes),
        more.dscp_seen.map(|seen| seen.to_string()),
        opt(more.ce),
        opt(more.corrupt_packets),
        opt(more.echo_packets),
        opt(more.cpu_us),
        opt(more.runq_wait_us),
        opt(more.throttled_us),
    ])?;
    Ok(())
}

pub(super) fn put_manifest(
    db: &Connection,
    flow: i64,
    agent: &AgentName,
    boot: BootId,
    closed: &FlowClosed,
) -> rusqlite::Result<()> {
    let (how, reason) = match &closed.ending {
        Ending::Completed => ("completed", None),
        Ending::Stopped { reason } => ("stopped", Some(reason)),
        Ending::Failed { reason } => ("failed", Some(reason)),
    };
    let json = serde_json::to_string(closed)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    let (total, window) = (&closed.total, &closed.window);
    db.prepare_cached(
        "INSERT INTO manifests (flow, end, agent, boot, rows, how, reason,
         total_tx_packets, total_tx_bytes, total_rx_packets, total_rx_bytes, total_lost_packets,
         window_start_ns, window_length_ns, window_tx_packets, window_tx_bytes,
         window_rx_packets, window_rx_bytes, window_lost_packets,
         drained_bytes, unread_bytes, control_packets, closed_json)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
         ?18, ?19, ?20, ?21, ?22, ?23)",
    )?
    .execute(params![
        flow,
        closed.end.as_str(),
        agent.as_str(),
        boot.to_string(),
        closed.rows,
        how,
        reason,
        opt(total.tx_packets),
        opt(total.tx_bytes),
        opt(total.rx_packets),
        opt(total.rx_bytes),
        opt(total.lost_packets),
        int(window.start_ns),
        int(window.length_ns),
        opt(window.counters.tx_packets),
        opt(window.counters.tx_bytes),
        opt(window.counters.rx_packets),
        opt(window.counters.rx_bytes),
        opt(window.counters.lost_packets),
        opt(closed.drained_bytes),
        opt(closed.unread_bytes),
        opt(closed.control_packets),
        json,
    ])?;
    put_outages(db, flow, closed)
}

fn put_outages(db: &Connection, flow: i64, closed: &FlowClosed) -> rusqlite::Result<()> {
    let Some(outages) = &closed.window.outages else {
        return Ok(());
    };
    let mut put = db.prepare_cached(
        "INSERT INTO outages (flow, stream, from_ns, to_ns, length_ns, first_seq, last_seq,
         lost_packets) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for outage in &outages.kept {
        put.execute(params![
            flow,
            outage.stream,
            int(outage.from_ns),
            opt(outage.to_ns()),
            int(outage.length_ns),
            int(outage.first_seq),
            int(outage.last_seq),
            opt(outage.lost_packets),
        ])?;
    }
    Ok(())
}
