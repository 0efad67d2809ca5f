//! What is kept of a run, read twice: from the database without the controller,
//! and from `weir records`.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row, params};
use serde_json::{Map, Value};
use weir_common::record::{Counters, End, FlowClosed};

use crate::Cluster;
use crate::ledger::Key;

/// The narrow part of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRow {
    /// Flow number.
    pub flow: u32,
    /// Which end.
    pub end: End,
    /// `None`: the sum over all streams.
    pub stream: Option<u16>,
    /// Number of the interval.
    pub k: u32,
    /// Start from T0, ns.
    pub start_ns: u64,
    /// Length, ns.
    pub length_ns: u64,
    /// Whether it is of the warm-up.
    pub warmup: bool,
    /// Its counters.
    pub counters: Counters,
}

impl KeptRow {
    /// Its place, which no other row of its run has.
    pub fn key(&self) -> Key {
        (self.flow, self.end, self.stream, self.k)
    }
}

/// Everything kept of one end of one flow.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Its rows, of streams too, in the order of stream (sum first) and `k`.
    pub rows: Vec<KeptRow>,
    /// Its manifest.
    pub closed: FlowClosed,
}

impl Kept {
    /// Counters added up over the sum rows, or over the rows of single streams.
    pub fn sum(&self, of_streams: bool) -> Counters {
        let mut sum = Counters::default();
        for row in self
            .rows
            .iter()
            .filter(|row| row.stream.is_some() == of_streams)
        {
            sum.add(&row.counters);
        }
        sum
    }

    /// The sum rows.
    pub fn sums(&self) -> impl Iterator<Item = &KeptRow> {
        self.rows.iter().filter(|row| row.stream.is_none())
    }
}

/// Everything kept of a run, by flow and end.
pub type Account = BTreeMap<(u32, End), Kept>;

/// Reads a run from the database.
///
/// # Panics
/// When the file cannot be read, or a flow has rows and no manifest.
pub fn stored(cluster: &Cluster, run: &str) -> Account {
    let database =
        Connection::open_with_flags(cluster.database(), OpenFlags::SQLITE_OPEN_READ_ONLY)
            .expect("the database can be read");
    let number: i64 = run
        .trim_start_matches("r-")
        .parse()
        .expect("a run such as r-0007");
    let mut account = manifests(&database, number);
    for row in rows(&database, number) {
        let kept = account.get_mut(&(row.flow, row.end));
        kept.unwrap_or_else(|| panic!("a row without a manifest: {row:?}"))
            .rows
            .push(row);
    }
    account
}

/// All rows of a run in the database, whether or not their ends are closed.
///
/// # Panics
/// When the file cannot be read.
pub fn stored_rows(database: &Path, run: u32) -> Vec<KeptRow> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = Connection::open_with_flags(database, flags).expect("the database can be read");
    rows(&database, i64::from(run))
}

fn manifests(database: &Connection, run: i64) -> Account {
    let mut select = database
        .prepare(
            "SELECT flows.number, manifests.closed_json FROM manifests
             JOIN flows ON flows.flow = manifests.flow WHERE flows.run = ?1",
        )
        .expect("the schema has manifests");
    let found = select
        .query_map(params![run], |row| {
            Ok((row.get::<_, u32>(0)?, row.get::<_, String>(1)?))
        })
        .expect("manifests can be read");
    let mut account = Account::new();
    for manifest in found {
        let (flow, json) = manifest.expect("a manifest can be read");
        let closed: FlowClosed = serde_json::from_str(&json).expect("a manifest is one");
        let before = account.insert(
            (flow, closed.end),
            Kept {
                rows: Vec::new(),
                closed,
            },
        );
        assert!(before.is_none(), "flow {flow} has two manifests of one end");
    }
    account
}

fn rows(database: &Connection, run: i64) -> Vec<KeptRow> {
    let names: Vec<&str> = Counters::default()
        .columns()
        .iter()
        .map(|(name, _)| *name)
        .collect();
    let query = format!(
        "SELECT flows.number, records.stream, records.end, records.k, records.start_ns,
                records.length_ns, records.flags, {}
         FROM records JOIN flows ON flows.flow = records.flow WHERE flows.run = ?1
         ORDER BY flows.number, records.end, ifnull(records.stream, -1), records.k",
        names.join(", ")
    );
    let mut select = database.prepare(&query).expect("the schema has records");
    let length = |ns: i64| u64::try_from(ns).expect("a length is not negative");
    let read = |row: &Row<'_>| -> rusqlite::Result<KeptRow> {
        let mut counters = Map::new();
        for (at, name) in names.iter().enumerate() {
            counters.insert(
                (*name).to_owned(),
                row.get::<_, Option<i64>>(7 + at)?.into(),
            );
        }
        Ok(KeptRow {
            flow: row.get(0)?,
            stream: row.get(1)?,
            end: if row.get::<_, u8>(2)? == 0 {
                End::Tx
            } else {
                End::Rx
            },
            k: row.get(3)?,
            start_ns: length(row.get(4)?),
            length_ns: length(row.get(5)?),
            warmup: row.get::<_, u32>(6)? & 1 != 0,
            counters: serde_json::from_value(counters.into()).expect("counters are counts"),
        })
    };
    let found = select
        .query_map(params![run], read)
        .expect("records can be read");
    found
        .map(|row| row.expect("a record can be read"))
        .collect()
}

/// Reads a run's rows through `weir records`, in the order of flow, end, stream and `k`.
///
/// # Panics
/// When the command fails, or a row is not what docs/records.md says.
pub fn exported(cluster: &Cluster, run: &str) -> Vec<KeptRow> {
    let ran = cluster.weir(&["records", run, "--per-end", "--streams", "--format", "json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let Value::Array(rows) = ran.json() else {
        panic!("not a list: {ran:?}")
    };
    rows.into_iter().map(exported_row).collect()
}

fn exported_row(row: Value) -> KeptRow {
    let count = |name: &str| {
        row[name]
            .as_u64()
            .unwrap_or_else(|| panic!("{name}: {row}"))
    };
    let optional = |name: &str| row[name].as_u64();
    KeptRow {
        flow: count("flow") as u32,
        stream: optional("stream").map(|stream| stream as u16),
        end: serde_json::from_value(row["end"].clone()).expect("tx or rx"),
        k: count("k") as u32,
        start_ns: count("start_ns"),
        length_ns: count("length_ns"),
        warmup: row["flags"].to_string().contains("warmup"),
        counters: serde_json::from_value(row).expect("counters are counts"),
    }
}
