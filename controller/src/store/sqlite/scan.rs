//! Reading rows back.

use std::ops::ControlFlow;
use std::str::FromStr;

use rusqlite::types::{FromSql, Type};
use rusqlite::{Connection, OptionalExtension, Row};
use weir_common::id::{FlowId, RunId};
use weir_common::record::{
    Counters, DelayColumns, End, Flags, FlowClosed, MoreColumns, Record, Source, TcpColumns,
};
use weir_common::stats::Histogram;

use super::append::end_number;
use super::column::{read, word};
use crate::store::{ManifestRow, RecordQuery, RowCount, Streams};

/// Rows given at once.
const CHUNK: usize = 1_000;

/// Both ends, for reading the word back.
const ENDS: [End; 2] = [End::Tx, End::Rx];

/// Where a run's rows lie.
pub(super) struct Extent {
    first_record: i64,
    indexed: bool,
    /// The flows' numbers over all runs: consecutive, for flow 1, 2, ... of
    /// the run (`set_plan` sees to it).
    first_flow: i64,
    last_flow: i64,
}

impl Extent {
    /// `None` when the run or its plan is not there.
    pub(super) fn of(db: &Connection, run: RunId) -> rusqlite::Result<Option<Self>> {
        let extent = db
            .query_row(
                "SELECT first_record, indexed,
                 (SELECT min(flow) FROM flows WHERE run = ?1) AS first_flow,
                 (SELECT max(flow) FROM flows WHERE run = ?1) AS last_flow
                 FROM runs WHERE run = ?1",
                [run.0],
                |row| {
                    let flows: (Option<i64>, Option<i64>) = (row.get(2)?, row.get(3)?);
                    let (Some(first_flow), Some(last_flow)) = flows else {
                        return Ok(None);
                    };
                    Ok(Some(Self {
                        first_record: row.get(0)?,
                        indexed: row.get(1)?,
                        first_flow,
                        last_flow,
                    }))
                },
            )
            .optional()?;
        Ok(extent.flatten())
    }

    /// Number within the run of a flow of it.
    fn flow(&self, global: i64) -> FlowId {
        FlowId((global - self.first_flow + 1) as u32)
    }

    /// Numbers of the rows asked for, in the order of the contract.
    fn ordered(&self, db: &Connection, query: &RecordQuery) -> rusqlite::Result<Vec<i64>> {
        let (first, last) = match query.flow {
            Some(flow) => {
                let global = self.first_flow + i64::from(flow.0) - 1;
                (global.max(self.first_flow), global.min(self.last_flow))
            }
            None => (self.first_flow, self.last_flow),
        };
        let end = query.end.map(end_number);
        let sums_only = query.streams == Streams::Sum;
        let sql = if self.indexed {
            "SELECT record FROM record_index WHERE flow BETWEEN ?1 AND ?2
             AND (?3 IS NULL OR end = ?3) AND (NOT ?4 OR stream = -1) AND ?5 IS NOT NULL
             ORDER BY flow, end, stream, k, record"
        } else {
            "SELECT record FROM records WHERE record >= ?5 AND flow BETWEEN ?1 AND ?2
             AND (?3 IS NULL OR end = ?3) AND (NOT ?4 OR stream IS NULL)
             ORDER BY flow, end, stream, k, record"
        };
        db.prepare_cached(sql)?
            .query_map((first, last, end, sums_only, self.first_record), |row| {
                row.get(0)
            })?
            .collect()
    }
}

/// See [`crate::store::Store::records`].
pub(super) fn records(
    db: &Connection,
    run: RunId,
    query: &RecordQuery,
    each: &mut dyn FnMut(Vec<Record>) -> ControlFlow<()>,
) -> rusqlite::Result<()> {
    let Some(extent) = Extent::of(db, run)? else {
        return Ok(());
    };
    let order = extent.ordered(db, query)?;
    for numbers in order.chunks(CHUNK) {
        let mut rows = Vec::with_capacity(numbers.len());
        let mut select = db.prepare_cached(SELECT_RECORD)?;
        for number in numbers {
            // A row may have been deleted since the order was taken.
            rows.extend(
                select
                    .query_row([number], |row| record(row, run, &extent))
                    .optional()?,
            );
        }
        if each(rows).is_break() {
            break;
        }
    }
    Ok(())
}

/// Every stored column of a row, in the order in which [`record`] takes them.
const SELECT_RECORD: &str = "SELECT
    r.flow, r.stream, r.end, r.k, r.start_ns, r.length_ns, r.flags,
    r.offered_packets, r.offered_bytes, r.tx_packets, r.tx_bytes, r.rx_packets, r.rx_bytes,
    r.behind_packets, r.blocked_packets, r.refused_packets, r.egress_packets, r.rx_of_tx_packets,
    r.lost_packets, r.socket_drops, r.late, r.duplicate, r.reordered,
    d.delay_hist, d.delay_bound_ns, d.rtt_hist,
    t.acked_bytes, t.retransmits, t.retrans_bytes, t.cwnd_bytes, t.srtt_us, t.min_rtt_us,
    t.rttvar_us, t.delivery_bps, t.busy_us, t.rwnd_limited_us, t.sndbuf_limited_us, t.unacked_bytes,
    t.segs_out,
    m.source, m.lateness_hist, m.blocked_us, m.control_packets, m.sndbuf_bytes, m.rcvbuf_bytes,
    m.reorder_extent_max, m.jitter_ns, m.ttl_min, m.ttl_max, m.ttl_changes, m.dscp_seen, m.ce,
    m.corrupt_packets, m.echo_packets, m.cpu_us, m.runq_wait_us, m.throttled_us
    FROM records r LEFT JOIN record_delay d USING (record) LEFT JOIN record_tcp t USING (record)
    LEFT JOIN record_more m USING (record) WHERE r.record = ?1";

/// Takes a row's columns one after the other: looking each up by its name
/// would cost more than reading it.
struct Columns<'row, 'stmt> {
    row: &'row Row<'stmt>,
    next: usize,
}

impl Columns<'_, '_> {
    fn take<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        let value = self.row.get(self.next);
        self.next += 1;
        value
    }

    /// A count; every stored one was checked not to be negative.
    fn count(&mut self) -> rusqlite::Result<Option<u64>> {
        Ok(self.take::<Option<i64>>()?.map(i64::unsigned_abs))
    }

    fn parsed<T>(&mut self) -> rusqlite::Result<Option<T>>
    where
        T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
    {
        let column = self.next;
        let text: Option<String> = self.take()?;
        text.as_deref()
            .map(T::from_str)
            .transpose()
            .map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
            })
    }

    fn histogram(&mut self) -> rusqlite::Result<Option<Histogram>> {
        let column = self.next;
        let bytes: Option<Vec<u8>> = self.take()?;
        bytes
            .as_deref()
            .map(Histogram::decode)
            .transpose()
            .map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, Box::new(error))
            })
    }
}

fn record(row: &Row<'_>, run: RunId, extent: &Extent) -> rusqlite::Result<Record> {
    let mut columns = Columns { row, next: 0 };
    let c = &mut columns;
    let flow = extent.flow(c.take()?);
    let stream = c.take()?;
    let end = if c.take::<i64>()? == 0 {
        End::Tx
    } else {
        End::Rx
    };
    let k = c.take()?;
    let (start_ns, length_ns) = (c.count()?.unwrap_or(0), c.count()?.unwrap_or(0));
    let flags = Flags(c.take()?);
    let (counters, delay, tcp) = (counters(c)?, delay(c)?, tcp(c)?);
    let source = match c.take::<Option<String>>()? {
        Some(_) => Source::Reported,
        None => Source::Measured,
    };
    let more = more(c)?;
    Ok(Record {
        run,
        flow,
        stream,
        end,
        k,
        source,
        start_ns,
        length_ns,
        flags,
        counters,
        delay,
        tcp,
        more,
    })
}

fn counters(c: &mut Columns<'_, '_>) -> rusqlite::Result<Counters> {
    Ok(Counters {
        offered_packets: c.count()?,
        offered_bytes: c.count()?,
        tx_packets: c.count()?,
        tx_bytes: c.count()?,
        rx_packets: c.count()?,
        rx_bytes: c.count()?,
        behind_packets: c.count()?,
        blocked_packets: c.count()?,
        refused_packets: c.count()?,
        egress_packets: c.count()?,
        rx_of_tx_packets: c.count()?,
        lost_packets: c.count()?,
        socket_drops: c.count()?,
        late: c.count()?,
        duplicate: c.count()?,
        reordered: c.count()?,
    })
}

fn delay(c: &mut Columns<'_, '_>) -> rusqlite::Result<Option<DelayColumns>> {
    let columns = DelayColumns {
        delay: c.histogram()?,
        delay_bound_ns: c.count()?,
        rtt: c.histogram()?,
    };
    Ok((columns != DelayColumns::default()).then_some(columns))
}

fn tcp(c: &mut Columns<'_, '_>) -> rusqlite::Result<Option<TcpColumns>> {
    let columns = TcpColumns {
        acked_bytes: c.count()?,
        retransmits: c.count()?,
        retrans_bytes: c.count()?,
        cwnd_bytes: c.count()?,
        srtt_us: c.count()?,
        min_rtt_us: c.count()?,
        rttvar_us: c.count()?,
        delivery_bps: c.count()?,
        busy_us: c.count()?,
        rwnd_limited_us: c.count()?,
        sndbuf_limited_us: c.count()?,
        unacked_bytes: c.count()?,
        segs_out: c.count()?,
    };
    Ok((columns != TcpColumns::default()).then_some(columns))
}

fn more(c: &mut Columns<'_, '_>) -> rusqlite::Result<Option<MoreColumns>> {
    let columns = MoreColumns {
        lateness: c.histogram()?,
        blocked_us: c.count()?,
        control_packets: c.count()?,
        sndbuf_bytes: c.count()?,
        rcvbuf_bytes: c.count()?,
        reorder_extent_max: c.count()?,
        jitter_ns: c.count()?,
        ttl_min: c.count()?,
        ttl_max: c.count()?,
        ttl_changes: c.count()?,
        dscp_seen: c.parsed()?,
        ce: c.count()?,
        corrupt_packets: c.count()?,
        echo_packets: c.count()?,
        cpu_us: c.count()?,
        runq_wait_us: c.count()?,
        throttled_us: c.count()?,
    };
    Ok((columns != MoreColumns::default()).then_some(columns))
}

/// See [`crate::store::Store::manifests`].
pub(super) fn manifests(db: &Connection, run: RunId) -> rusqlite::Result<Vec<ManifestRow>> {
    db.prepare_cached(
        "SELECT agent, boot, closed_json FROM manifests
         WHERE flow IN (SELECT flow FROM flows WHERE run = ?1) ORDER BY manifest",
    )?
    .query_map([run.0], |row| {
        Ok(ManifestRow {
            agent: read(row, "agent", |text: String| text.parse())?,
            boot: read(row, "boot", |text: String| text.parse())?,
            closed: read(row, "closed_json", |json: String| {
                serde_json::from_str::<FlowClosed>(&json)
            })?,
        })
    })?
    .collect()
}

/// See [`crate::store::Store::row_counts`].
pub(super) fn row_counts(db: &Connection, run: RunId) -> rusqlite::Result<Vec<RowCount>> {
    let Some(extent) = Extent::of(db, run)? else {
        return Ok(Vec::new());
    };
    let sql = if extent.indexed {
        "SELECT flow, end, count(*) FROM record_index
         WHERE flow BETWEEN ?1 AND ?2 AND ?3 IS NOT NULL GROUP BY flow, end ORDER BY flow, end"
    } else {
        "SELECT flow, end, count(*) FROM records
         WHERE flow BETWEEN ?1 AND ?2 AND record >= ?3 GROUP BY flow, end ORDER BY flow, end"
    };
    db.prepare_cached(sql)?
        .query_map(
            (extent.first_flow, extent.last_flow, extent.first_record),
            |row| {
                let flow: i64 = row.get(0)?;
                let rows: i64 = row.get(2)?;
                Ok(RowCount {
                    flow: extent.flow(flow),
                    end: if row.get::<_, i64>(1)? == 0 {
                        End::Tx
                    } else {
                        End::Rx
                    },
                    rows: rows.unsigned_abs(),
                })
            },
        )?
        .collect()
}

/// An end stored as its word.
pub(super) fn end_word(row: &Row<'_>, column: &str) -> rusqlite::Result<End> {
    word(row, column, &ENDS, End::as_str)
}
