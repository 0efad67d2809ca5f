//! What agents saw beside the flows: rows of interfaces and kernels, and the
//! manifests that end them.

use std::ops::ControlFlow;

use rusqlite::{Connection, Row, params};
use weir_common::id::{AgentName, BootId, RunId};
use weir_common::observation::{KernelCounters, KernelRow, LinkCounters, LinkRow, Observed};

use super::column::{count, int, opt, opt_count, read, small};
use crate::store::{AgentLinkRow, ObservedRow};

/// Rows given at once.
const CHUNK: i64 = 1_000;

/// Stores a row of an interface. A row that is there stays: an agent observes a
/// run once.
pub(super) fn put_link(db: &Connection, agent: &AgentName, row: &LinkRow) -> rusqlite::Result<()> {
    let c = &row.counters;
    db.prepare_cached(
        "INSERT OR IGNORE INTO links VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12,
         ?13, ?14, ?15, ?16, ?17)",
    )?
    .execute(params![
        row.run.0,
        agent.as_str(),
        row.interface,
        row.k,
        int(row.start_ns),
        int(row.length_ns),
        opt(c.rx_bytes),
        opt(c.rx_packets),
        opt(c.rx_drops),
        opt(c.rx_errors),
        opt(c.tx_bytes),
        opt(c.tx_packets),
        opt(c.tx_drops),
        opt(c.tx_errors),
        row.qdisc,
        opt(row.qdisc_backlog_bytes),
        opt(c.qdisc_drops),
    ])?;
    Ok(())
}

/// Stores a row of a kernel. A row that is there stays.
pub(super) fn put_kernel(db: &Connection, row: &KernelRow) -> rusqlite::Result<()> {
    let c = &row.counters;
    db.prepare_cached(
        "INSERT OR IGNORE INTO kernels VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?
    .execute(params![
        row.run.0,
        row.kernel_boot_id,
        row.k,
        int(row.start_ns),
        int(row.length_ns),
        row.cores,
        opt(c.cpu_us),
        opt(c.steal_us),
        opt(c.softnet_processed),
        opt(c.softnet_dropped),
        opt(c.softnet_squeezed),
        opt(c.psi_cpu_some_us),
    ])?;
    Ok(())
}

/// Stores the end of an observation; the first stands.
pub(super) fn put_observed(
    db: &Connection,
    agent: &AgentName,
    boot: BootId,
    observed: &Observed,
) -> rusqlite::Result<()> {
    let json = serde_json::to_string(observed)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    db.prepare_cached("INSERT OR IGNORE INTO observations VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            observed.run.0,
            agent.as_str(),
            boot.to_string(),
            json
        ])?;
    Ok(())
}

/// See [`crate::store::Store::links`].
pub(super) fn links(
    db: &Connection,
    run: RunId,
    each: &mut dyn FnMut(Vec<AgentLinkRow>) -> ControlFlow<()>,
) -> rusqlite::Result<()> {
    let mut select = db.prepare_cached(
        "SELECT * FROM links WHERE run = ?1 AND (agent, interface, k) > (?2, ?3, ?4)
         ORDER BY agent, interface, k LIMIT ?5",
    )?;
    let mut after = (String::new(), String::new(), -1);
    loop {
        let rows = select
            .query_map(params![run.0, after.0, after.1, after.2, CHUNK], |row| {
                link(row, run)
            })?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        let Some(last) = rows.last() else {
            return Ok(());
        };
        let (agent, row) = (&last.agent, &last.row);
        after = (agent.to_string(), row.interface.clone(), i64::from(row.k));
        if each(rows).is_break() {
            return Ok(());
        }
    }
}

fn link(row: &Row<'_>, run: RunId) -> rusqlite::Result<AgentLinkRow> {
    Ok(AgentLinkRow {
        agent: read(row, "agent", |text: String| text.parse())?,
        row: LinkRow {
            run,
            interface: row.get("interface")?,
            k: small(row, "k")?,
            start_ns: count(row, "start_ns")?,
            length_ns: count(row, "length_ns")?,
            counters: LinkCounters {
                rx_bytes: opt_count(row, "rx_bytes")?,
                rx_packets: opt_count(row, "rx_packets")?,
                rx_drops: opt_count(row, "rx_drops")?,
                rx_errors: opt_count(row, "rx_errors")?,
                tx_bytes: opt_count(row, "tx_bytes")?,
                tx_packets: opt_count(row, "tx_packets")?,
                tx_drops: opt_count(row, "tx_drops")?,
                tx_errors: opt_count(row, "tx_errors")?,
                qdisc_drops: opt_count(row, "qdisc_drops")?,
            },
            qdisc: row.get("qdisc")?,
            qdisc_backlog_bytes: opt_count(row, "qdisc_backlog_bytes")?,
        },
    })
}

/// See [`crate::store::Store::kernels`].
pub(super) fn kernels(
    db: &Connection,
    run: RunId,
    each: &mut dyn FnMut(Vec<KernelRow>) -> ControlFlow<()>,
) -> rusqlite::Result<()> {
    let mut select = db.prepare_cached(
        "SELECT * FROM kernels WHERE run = ?1 AND (kernel_boot_id, k) > (?2, ?3)
         ORDER BY kernel_boot_id, k LIMIT ?4",
    )?;
    let mut after = (String::new(), -1);
    loop {
        let rows = select
            .query_map(params![run.0, after.0, after.1, CHUNK], |row| {
                kernel(row, run)
            })?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        let Some(last) = rows.last() else {
            return Ok(());
        };
        after = (last.kernel_boot_id.clone(), i64::from(last.k));
        if each(rows).is_break() {
            return Ok(());
        }
    }
}

fn kernel(row: &Row<'_>, run: RunId) -> rusqlite::Result<KernelRow> {
    Ok(KernelRow {
        run,
        kernel_boot_id: row.get("kernel_boot_id")?,
        k: small(row, "k")?,
        start_ns: count(row, "start_ns")?,
        length_ns: count(row, "length_ns")?,
        cores: small(row, "cores")?,
        counters: KernelCounters {
            cpu_us: opt_count(row, "cpu_us")?,
            steal_us: opt_count(row, "steal_us")?,
            softnet_processed: opt_count(row, "softnet_processed")?,
            softnet_dropped: opt_count(row, "softnet_dropped")?,
            softnet_squeezed: opt_count(row, "softnet_squeezed")?,
            psi_cpu_some_us: opt_count(row, "psi_cpu_some_us")?,
        },
    })
}

/// See [`crate::store::Store::observations`].
pub(super) fn observations(db: &Connection, run: RunId) -> rusqlite::Result<Vec<ObservedRow>> {
    db.prepare_cached(
        "SELECT agent, observed_json FROM observations WHERE run = ?1 ORDER BY agent",
    )?
    .query_map([run.0], |row| {
        Ok(ObservedRow {
            agent: read(row, "agent", |text: String| text.parse())?,
            observed: read(row, "observed_json", |json: String| {
                serde_json::from_str(&json)
            })?,
        })
    })?
    .collect()
}
