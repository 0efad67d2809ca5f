//! What is SQLite's own: the file, its lock, its versions, its failures.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use rusqlite::Connection;
use tempfile::TempDir;
use weir_common::record::{End, Entry};

use super::*;
use crate::store::samples::{batch, boot, entries, full_row, manifest, name, planned, row};
use crate::store::{Fault, conformance};

fn open(dir: &TempDir) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(&dir.path().join("weir.db"))
}

fn fresh() -> (TempDir, SqliteStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).unwrap();
    (dir, store)
}

#[test]
fn it_keeps_every_contract() {
    for (what, check) in conformance::CHECKS {
        println!("{what}");
        let (_dir, store) = fresh();
        check(&store);
    }
}

#[test]
fn the_suite_holds_after_reopening() {
    let (dir, store) = fresh();
    let id = store.identity().clone();
    let run = planned(&store, 1);
    let sent = entries((0..10).map(|k| full_row(run, 1, End::Tx, k)));
    store.append_wait(batch(boot(1), 1, sent)).unwrap();
    let epoch = store.next_session_epoch().unwrap();
    drop(store);
    let store = open(&dir).unwrap();
    assert_eq!(store.identity().controller_id, id.controller_id);
    assert_eq!(store.identity().controller_epoch, id.controller_epoch + 1);
    assert!(store.next_session_epoch().unwrap() > epoch);
    assert_eq!(store.watermark(&name("a"), boot(1)).unwrap(), 10);
    assert_eq!(store.open_runs().unwrap(), [run]);
    let repeated = entries((8..12).map(|k| full_row(run, 1, End::Tx, k)));
    let appended = store.append_wait(batch(boot(1), 9, repeated)).unwrap();
    assert_eq!((appended.acked_seq, appended.stored.len()), (12, 2));
    assert_eq!(store.row_counts(run).unwrap()[0].rows, 12);
}

/// A copy of the files as they are at some moment is what kill -9 leaves.
#[test]
fn what_was_acked_survives_being_killed() {
    let (dir, store) = fresh();
    let run = planned(&store, 1);
    for k in 0..20 {
        let sent = entries([row(run, 1, End::Tx, k)]);
        store
            .append_wait(batch(boot(1), u64::from(k) + 1, sent))
            .unwrap();
    }
    let killed = tempfile::tempdir().unwrap();
    for file in ["weir.db", "weir.db-wal"] {
        std::fs::copy(dir.path().join(file), killed.path().join(file)).unwrap();
    }
    let store = open(&killed).unwrap();
    assert_eq!(store.watermark(&name("a"), boot(1)).unwrap(), 20);
    assert_eq!(store.row_counts(run).unwrap()[0].rows, 20);
}

#[test]
fn a_second_controller_is_kept_out() {
    let (dir, store) = fresh();
    let error = open(&dir).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .contains(&format!("process {}", std::process::id())),
        "{error}"
    );
    drop(store);
    open(&dir).unwrap();
}

#[test]
fn newer_and_foreign_files_are_left_alone() {
    let (dir, store) = fresh();
    drop(store);
    let path = dir.path().join("weir.db");
    let db = Connection::open(&path).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    let before = std::fs::read(&path).unwrap();
    let error = open(&dir).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Newer {
                found: 99,
                known: 1,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weir.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE theirs (x)")
        .unwrap();
    let error = open(&dir).unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error:?}");

    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("weir.db"), vec![b'x'; 8192]).unwrap();
    let error = open(&dir).unwrap_err();
    assert!(matches!(error, StoreError::Open { .. }), "{error:?}");
    assert!(
        error.to_string().contains("restore it from a copy"),
        "{error}"
    );

    let nowhere = SqliteStore::open(&dir.path().join("absent/weir.db")).unwrap_err();
    assert!(
        nowhere
            .to_string()
            .contains("check that the data directory exists"),
        "{nowhere}"
    );
}

#[test]
fn the_file_is_made_as_decided() {
    let (dir, store) = fresh();
    drop(store);
    let db = Connection::open(dir.path().join("weir.db")).unwrap();
    let pragma = |name: &str| -> String {
        db.query_row(&format!("PRAGMA {name}"), [], |row| {
            row.get::<_, rusqlite::types::Value>(0)
        })
        .map(|value| format!("{value:?}"))
        .unwrap()
    };
    assert_eq!(pragma("auto_vacuum"), "Integer(2)");
    assert_eq!(pragma("user_version"), "Integer(1)");
    assert_eq!(pragma("journal_mode"), "Text(\"wal\")");
    let integers: i64 = db
        .query_row(
            "SELECT count(*) FROM pragma_table_info('records') WHERE pk = 0",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(integers, 23, "the narrow core");
    let indexes: i64 = db
        .query_row(
            "SELECT count(*) FROM pragma_index_list('records')",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(indexes, 0, "no index on the hot path");
}

#[test]
fn a_full_disk_acks_nothing_and_loses_nothing() {
    let (_dir, store) = fresh();
    let run = planned(&store, 1);
    let send = |first: u32, count: u32| {
        let rows = (first..first + count).map(|k| full_row(run, 1, End::Tx, k));
        store.append_wait(batch(boot(1), u64::from(first) + 1, entries(rows)))
    };
    send(0, 100).unwrap();
    let pages: u32 = store
        .query("test", |db| {
            db.query_row("PRAGMA page_count", [], |row| row.get(0))
        })
        .unwrap();
    store.page_limit.store(pages + 3, Ordering::SeqCst);
    for _ in 0..2 {
        let error = send(100, 2_000).unwrap_err();
        assert!(
            matches!(
                error,
                StoreError::Storage {
                    fault: Fault::Full,
                    ..
                }
            ),
            "{error:?}"
        );
        assert!(error.to_string().contains("free space"), "{error}");
        assert_eq!(store.watermark(&name("a"), boot(1)).unwrap(), 100);
    }
    // What needs no room still works: a run can be stopped.
    assert!(store.set_stopping(run, "disk full").unwrap());
    store.page_limit.store(0, Ordering::SeqCst);
    assert_eq!(send(100, 2_000).unwrap().acked_seq, 2_100);
    assert_eq!(store.row_counts(run).unwrap()[0].rows, 2_100);
}

#[test]
fn a_damaged_file_is_a_clear_error() {
    let (dir, store) = fresh();
    drop(store);
    let path = dir.path().join("weir.db");
    let mut bytes = std::fs::read(&path).unwrap();
    // All but the first page, which holds the header and the schema.
    bytes[4096..].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let error = open(&dir).unwrap_err();
    assert!(matches!(error, StoreError::Open { .. }), "{error:?}");
    assert!(
        error.to_string().contains("restore it from a copy"),
        "{error}"
    );
}

/// A reader in another process that never lets go must not stop the writer.
#[test]
fn a_foreign_reader_does_not_hold_up_ingest() {
    let (dir, store) = fresh();
    let run = planned(&store, 1);
    let other = Connection::open(dir.path().join("weir.db")).unwrap();
    other
        .execute_batch("BEGIN; SELECT count(*) FROM records;")
        .unwrap();
    for k in 0..10 {
        let sent = entries([row(run, 1, End::Tx, k)]);
        store
            .append_wait(batch(boot(1), u64::from(k) + 1, sent))
            .unwrap();
    }
    let seen: i64 = other
        .query_row("SELECT count(*) FROM records", [], |row| row.get(0))
        .unwrap();
    assert_eq!(seen, 0);
    assert_eq!(store.row_counts(run).unwrap()[0].rows, 10);
}

#[test]
fn many_callers_share_commits_and_each_gets_its_own_answer() {
    let (_dir, store) = fresh();
    let run = planned(&store, 1);
    let (sender, answers) = mpsc::channel();
    for number in 1..=100_u8 {
        for seq in 1..=5_u64 {
            let sender = sender.clone();
            let wrong = number == 50;
            let flow = if wrong { 9 } else { 1 };
            let entry = entries([row(run, flow, End::Tx, seq as u32)]);
            let done = Box::new(move |result| sender.send((number, seq, result)).unwrap());
            store.append(batch(boot(number), seq, entry), done);
        }
    }
    for (number, seq, result) in answers.iter().take(500) {
        match result {
            Ok(appended) => assert_eq!((appended.acked_seq, number == 50), (seq, false)),
            Err(StoreError::Entry { .. } | StoreError::Expected(1)) => assert_eq!(number, 50),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(store.row_counts(run).unwrap()[0].rows, 99 * 5);
}

#[test]
fn a_run_is_deleted_while_another_is_stored() {
    let (dir, store) = fresh();
    let store = Arc::new(store);
    let (old, new) = (planned(&*store, 2), planned(&*store, 1));
    for slice in 0..15_u32 {
        let rows = (0..2_000).map(|i| full_row(old, 2, End::Rx, slice * 2_000 + i));
        store
            .append_wait(batch(boot(1), u64::from(slice) * 2_000 + 1, entries(rows)))
            .unwrap();
    }
    let closed = Entry::Closed(Box::new(manifest(old, 2, End::Rx, 30_000)));
    store
        .append_wait(batch(boot(1), 30_001, vec![closed]))
        .unwrap();
    store.close_run(old, "pass", "{}", 1).unwrap();
    store.checkpoint();
    let size = || std::fs::metadata(dir.path().join("weir.db")).unwrap().len();
    let before = size();

    let over = Arc::new(AtomicBool::new(false));
    let (going, started) = mpsc::channel();
    let ingest = {
        let (store, over) = (Arc::clone(&store), Arc::clone(&over));
        thread::spawn(move || {
            let mut seq = 0_u32;
            while !over.load(Ordering::SeqCst) || seq < 20 {
                let sent = entries([row(new, 1, End::Tx, seq)]);
                store
                    .append_wait(batch(boot(2), u64::from(seq) + 1, sent))
                    .unwrap();
                seq += 1;
                if seq == 1 {
                    going.send(()).unwrap();
                }
            }
            seq
        })
    };
    started.recv().unwrap();
    assert_eq!(store.delete_run(old).unwrap(), 30_000);
    over.store(true, Ordering::SeqCst);
    let stored = ingest.join().unwrap();

    assert_eq!(store.row_counts(new).unwrap()[0].rows, u64::from(stored));
    store.checkpoint();
    assert!(size() < before / 4, "{} of {before} bytes are left", size());
    let left: i64 = store
        .query("test", |db| {
            db.query_row(
                "SELECT (SELECT count(*) FROM record_delay) + (SELECT count(*) FROM record_tcp)
                 + (SELECT count(*) FROM record_more) + (SELECT count(*) FROM record_index)
                 + (SELECT count(*) FROM manifests)",
                [],
                |row| row.get(0),
            )
        })
        .unwrap();
    assert_eq!(left, 0);
}

#[test]
fn an_interrupted_delete_goes_on() {
    let (dir, store) = fresh();
    let run = planned(&store, 1);
    store
        .append_wait(batch(
            boot(1),
            1,
            entries((0..100).map(|k| row(run, 1, End::Tx, k))),
        ))
        .unwrap();
    store.close_run(run, "pass", "{}", 1).unwrap();
    store.write(move |db| sweep::begin_delete(db, run)).unwrap();
    drop(store);
    let store = open(&dir).unwrap();
    assert_eq!(store.runs(1).unwrap()[0].state, RunState::Deleting);
    assert_eq!(store.delete_run(run).unwrap(), 100);
    // The numbers of deleted rows do not come again, not even after a restart.
    drop(store);
    let store = open(&dir).unwrap();
    let next = planned(&store, 1);
    store
        .append_wait(batch(boot(2), 1, entries([row(next, 1, End::Tx, 0)])))
        .unwrap();
    let record: i64 = store
        .query("test", |db| {
            db.query_row("SELECT max(record) FROM records", [], |row| row.get(0))
        })
        .unwrap();
    assert_eq!(record, 101);
}

#[test]
fn an_index_that_was_interrupted_is_finished_on_opening() {
    let (dir, store) = fresh();
    let run = planned(&store, 1);
    let rows: Vec<_> = (0..30).map(|k| row(run, 1, End::Tx, k)).collect();
    store
        .append_wait(batch(boot(1), 1, entries(rows.clone())))
        .unwrap();
    store
        .write(move |db| sweep::close(db, run, "pass", "{}", 1))
        .unwrap();
    // Until then its rows are read without it.
    assert_eq!(store.row_counts(run).unwrap()[0].rows, 30);
    drop(store);
    let store = open(&dir).unwrap();
    let indexed: bool = store
        .query("test", |db| {
            db.query_row("SELECT indexed FROM runs", [], |row| row.get(0))
        })
        .unwrap();
    assert!(indexed);
    assert_eq!(store.row_counts(run).unwrap()[0].rows, 30);
    store
        .append_wait(batch(boot(1), 31, entries([row(run, 1, End::Tx, 30)])))
        .unwrap();
    store.close_run(run, "pass", "{}", 1).unwrap();
    assert_eq!(store.runs(1).unwrap()[0].records, 31);
    assert_eq!(store.row_counts(run).unwrap()[0].rows, 31);
}

/// Outages stand in a table of their own, from the receiver's manifest.
#[test]
fn outages_are_rows() {
    let (_dir, store) = fresh();
    let run = planned(&store, 2);
    let manifests = [End::Tx, End::Rx].map(|end| manifest(run, 2, end, 0));
    let closed = manifests.map(|closed| Entry::Closed(Box::new(closed)));
    store
        .append_wait(batch(boot(1), 1, closed.to_vec()))
        .unwrap();
    let rows: Vec<String> = store
        .query("test", |db| {
            db.prepare(
                "SELECT flows.number || ' ' || from_ns || ' ' || ifnull(to_ns, '-') || ' ' || outages.length_ns
                 || ' ' || first_seq || ' ' || last_seq || ' ' || ifnull(lost_packets, '-')
                 FROM outages JOIN flows USING (flow) ORDER BY outage",
            )?
            .query_map([], |row| row.get(0))?
            .collect()
        })
        .unwrap();
    assert_eq!(
        rows,
        [
            "2 1000000000 3000000000 2000000000 1000 2999 2000",
            "2 8000000000 - 2000000000 8000 9999 -",
        ]
    );
    assert_eq!(store.manifests(run).unwrap().len(), 2);
}

/// Every column of the view and every table of the file is explained.
#[test]
fn the_document_explains_the_file() {
    let document = include_str!("../../../../docs/records.md");
    let (_dir, store) = fresh();
    let names = |sql: &'static str| -> Vec<String> {
        store
            .query("test", |db| {
                db.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
            })
            .unwrap()
    };
    let columns = names("SELECT name FROM pragma_table_info('record_view')");
    let tables = names(
        "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'",
    );
    assert!(columns.len() > 60 && tables.len() > 15);
    let missing: Vec<_> = columns
        .iter()
        .chain(&tables)
        .filter(|name| !document.contains(&format!("`{name}`")))
        .collect();
    assert_eq!(missing, Vec::<&String>::new());
}

/// The view gives what was sent, under the names of the exports.
#[test]
fn the_view_shows_a_row_with_its_names() {
    let (_dir, store) = fresh();
    let run = planned(&store, 2);
    store
        .append_wait(batch(boot(1), 1, entries([full_row(run, 2, End::Rx, 4)])))
        .unwrap();
    let seen = store
        .query("test", |db| {
            db.query_row(
                "SELECT run || ' ' || flow || ' ' || end || ' ' || k || ' ' || source || ' ' || from_name
                 || ' ' || to_asn || ' ' || delay_min_us || ' ' || delay_max_us || ' ' || throttled_us
                 || ' ' || rx_packets FROM record_view",
                [],
                |row| row.get::<_, String>(0),
            )
        })
        .unwrap();
    assert_eq!(seen, "1 2 rx 4 reported a 162 20.0 119.0 145 105");
}
