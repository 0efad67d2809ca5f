//! The forms of the rows, and that every column is explained.

use std::collections::BTreeSet;

use weir_common::assignment::StartAt;
use weir_common::record::End;

use super::*;
use crate::store::SqliteStore;
use crate::store::samples::{batch, boot, entries, flow, full_row, observed, planned, row};

const DOCUMENT: &str = include_str!("../../../docs/records.md");

fn context() -> Context {
    Context::new(RunId(7), Some(1_000), vec![flow(1), flow(2)])
}

#[test]
fn an_end_row_has_its_columns_only() {
    let columns: BTreeSet<_> = context().columns(false).into_iter().collect();
    let full = context().end_row(&full_row(RunId(7), 1, End::Tx, 3));
    let names: BTreeSet<_> = full.keys().cloned().collect();
    assert_eq!(names, columns, "a row with everything has every column");
    assert_eq!(full["run"], "r-0007");
    assert_eq!(full["unix_ns"], 3_000_001_000_i64);
    assert_eq!(full["flags"], "warmup coalesced clock-step");
    assert_eq!(full["delay_min_us"], 20.0);
    assert_eq!(full["cell_cc"], "cubic");
    assert_eq!(full["from_asn"], "150");
    let sum = context().end_row(&row(RunId(7), 1, End::Tx, 3));
    assert!(!sum.contains_key("stream") && !sum.contains_key("rx_packets"));
    assert_eq!((&sum["end"], &sum["flags"]), (&"tx".into(), &"".into()));
}

#[test]
fn ends_are_joined_by_stream_and_k() {
    let context = context();
    let stream = |end, k| Record {
        stream: Some(0),
        ..row(RunId(7), 1, end, k)
    };
    let sent = [
        row(RunId(7), 1, End::Tx, 0),
        row(RunId(7), 1, End::Tx, 1),
        row(RunId(7), 1, End::Tx, 2),
        stream(End::Tx, 0),
        row(RunId(7), 1, End::Rx, 1),
        row(RunId(7), 1, End::Rx, 3),
        stream(End::Rx, 0),
        row(RunId(7), 2, End::Rx, 0),
    ];
    let mut rows = Vec::new();
    let mut joiner = Joiner::new(&context);
    for record in &sent {
        joiner.push(record, &mut |row| rows.push(row));
    }
    joiner.finish(&mut |row| rows.push(row));
    let seen: Vec<_> = rows
        .iter()
        .map(|row| {
            let stream = row.get("stream").is_some();
            let (tx, rx) = (
                row.contains_key("tx_packets"),
                row.contains_key("rx_packets"),
            );
            (
                row["flow"].as_u64().unwrap(),
                stream,
                row["k"].as_u64().unwrap(),
                tx,
                rx,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (1, false, 0, true, false),
            (1, false, 1, true, true),
            (1, false, 2, true, false),
            (1, false, 3, false, true),
            (1, true, 0, true, true),
            (2, false, 0, false, true),
        ]
    );
    assert_eq!(rows[1]["tx_start_ns"], 1_000_000_000);
    assert_eq!(rows[1]["rx_start_ns"], 1_000_000_000);
    assert_eq!(rows[3]["unix_ns"], 3_000_001_000_i64);
}

#[test]
fn a_joined_row_has_its_columns_only() {
    let context = context();
    let mut joiner = Joiner::new(&context);
    let mut rows = Vec::new();
    for end in [End::Tx, End::Rx] {
        joiner.push(&full_row(RunId(7), 1, end, 0), &mut |row| rows.push(row));
    }
    let columns = context.columns(true);
    let names: BTreeSet<_> = rows[0].keys().cloned().collect();
    assert_eq!(names, columns.iter().cloned().collect());
    assert_eq!(columns.len(), names.len(), "no name stands for two columns");
}

#[test]
fn rows_of_a_run_come_with_their_columns_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&dir.path().join("weir.db")).unwrap();
    let run = planned(&store, 1);
    let start = StartAt {
        unix_ns: 5,
        mono_ns: 1,
        kernel_boot_id: "k".into(),
    };
    store.set_started(run, &start).unwrap();
    let gather = |table| {
        let (mut heads, mut lines) = (Vec::new(), Vec::new());
        rows(&store, run, What::Records(table), &mut |columns, rows| {
            if !columns.is_empty() {
                heads.push(columns);
            }
            lines.extend(rows);
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(heads.len(), 1);
        lines
    };
    let joined = Table {
        joined: true,
        streams: false,
    };
    assert_eq!(gather(joined).len(), 0);
    let sent = (0..1_500).flat_map(|k| {
        let stream = Record {
            stream: Some(0),
            ..row(run, 1, End::Rx, k)
        };
        [row(run, 1, End::Tx, k), row(run, 1, End::Rx, k), stream]
    });
    store.append_wait(batch(boot(1), 1, entries(sent))).unwrap();
    let lines = gather(joined);
    assert_eq!(lines.len(), 1_500);
    let last: Value = serde_json::from_str(&lines[1_499]).unwrap();
    assert_eq!(
        (&last["k"], &last["unix_ns"]),
        (&1_499.into(), &1_499_000_000_005_i64.into())
    );
    assert_eq!(
        gather(Table {
            joined: false,
            streams: false
        })
        .len(),
        3_000
    );
    assert_eq!(
        gather(Table {
            joined: true,
            streams: true
        })
        .len(),
        3_000
    );
    assert_eq!(
        gather(Table {
            joined: false,
            streams: true
        })
        .len(),
        4_500
    );
    let absent = rows(&store, RunId(99), What::Records(joined), &mut |_, _| {
        ControlFlow::Continue(())
    });
    assert!(
        matches!(absent, Err(StoreError::NoSuchRun { .. })),
        "{absent:?}"
    );
}

#[test]
fn rows_of_interfaces_and_kernels_have_every_column() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&dir.path().join("weir.db")).unwrap();
    let run = planned(&store, 1);
    store
        .append_wait(batch(boot(1), 1, observed(run, 3)))
        .unwrap();
    for what in [What::Links, What::Kernels] {
        let (mut columns, mut lines) = (Vec::new(), Vec::new());
        rows(&store, run, what, &mut |head, rows| {
            columns.extend(head);
            lines.extend(rows);
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(lines.len(), 3, "{what:?}");
        let last: Map<String, Value> = serde_json::from_str(&lines[2]).unwrap();
        assert_eq!(last["k"], 2);
        // The run has no T0 yet, so that nothing has a wall-clock time.
        let missing: Vec<_> = columns
            .iter()
            .filter(|name| !last.contains_key(*name))
            .collect();
        assert_eq!(missing, ["unix_ns"], "{what:?}");
        let unexplained: Vec<_> = columns
            .iter()
            .filter(|name| !DOCUMENT.contains(&format!("`{name}`")))
            .collect();
        assert!(unexplained.is_empty(), "{unexplained:?}");
    }
}

#[test]
fn every_column_is_explained() {
    let explained = |name: &str| DOCUMENT.contains(&format!("`{name}`"));
    let missing: Vec<_> = context()
        .columns(false)
        .into_iter()
        .filter(|name| !name.starts_with("cell_") && !explained(name))
        .collect();
    assert_eq!(missing, Vec::<String>::new());
}
