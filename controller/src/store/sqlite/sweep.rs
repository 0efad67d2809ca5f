//! What is done to many rows of a run, in slices: building its index when it
//! closes, deleting it. Between two slices the writer serves whoever waits.

use rusqlite::{Connection, OptionalExtension, params};
use weir_common::id::RunId;

use super::column::storage;
use super::runs::expect_state;
use super::writer::Db;
use crate::store::{RunState, StoreError};

/// Rows, or numbers of rows, of one slice: some ten milliseconds of work.
const SLICE: i64 = 10_000;

/// Pages given back to the file system in one slice (16 MiB).
const SLICE_PAGES: i64 = 4_096;

/// Where a sweep over a run's rows stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sweep {
    run: RunId,
    first_flow: i64,
    last_flow: i64,
    /// Next row to look at.
    next: i64,
    /// Last row to look at.
    last: i64,
}

/// Closes a run; gives the sweep that builds its index, or `None` when it has one.
pub(super) fn close(
    db: &mut Db,
    run: RunId,
    verdict: &str,
    result_json: &str,
    closed_unix_ns: i64,
) -> Result<Option<Sweep>, StoreError> {
    expect_state(&db.conn, "closing", run, |state| state <= RunState::Closed)?;
    // From here on appending writes the index itself, so the sweep need not
    // look beyond today's last row.
    db.runs.forget(run);
    let failed = storage("closing a run");
    db.conn
        .execute(
            "UPDATE runs SET state = 'closed', verdict = ?2, result_json = ?3, closed_unix_ns = ?4
             WHERE run = ?1",
            params![run.0, verdict, result_json, closed_unix_ns],
        )
        .map_err(&failed)?;
    let indexed: bool = db
        .conn
        .query_row("SELECT indexed FROM runs WHERE run = ?1", [run.0], |row| {
            row.get(0)
        })
        .map_err(&failed)?;
    if indexed {
        return Ok(None);
    }
    sweep(db, run).map(Some).map_err(failed)
}

/// Closed runs whose index was not finished.
pub(super) fn unindexed(db: &Connection) -> rusqlite::Result<Vec<RunId>> {
    db.prepare("SELECT run FROM runs WHERE state = 'closed' AND NOT indexed")?
        .query_map([], |row| row.get(0).map(RunId))?
        .collect()
}

/// The sweep that builds the index of a closed run from the beginning.
pub(super) fn resume(db: &mut Db, run: RunId) -> Result<Option<Sweep>, StoreError> {
    sweep(db, run)
        .map(Some)
        .map_err(storage("building a run's index"))
}

/// Over all rows of a run up to the last there is.
fn sweep(db: &Db, run: RunId) -> rusqlite::Result<Sweep> {
    db.conn.query_row(
        "SELECT first_record,
            ifnull((SELECT min(flow) FROM flows WHERE run = ?1), 0),
            ifnull((SELECT max(flow) FROM flows WHERE run = ?1), -1)
         FROM runs WHERE run = ?1",
        [run.0],
        |row| {
            Ok(Sweep {
                run,
                first_flow: row.get(1)?,
                last_flow: row.get(2)?,
                next: row.get(0)?,
                last: db.next_record - 1,
            })
        },
    )
}

impl Sweep {
    /// The next slice of row numbers from the front, leaping over holes.
    fn slice(&mut self, db: &Db) -> rusqlite::Result<Option<(i64, i64)>> {
        let first: Option<i64> = db
            .conn
            .prepare_cached(
                "SELECT record FROM records WHERE record >= ?1 ORDER BY record LIMIT 1",
            )?
            .query_row([self.next], |row| row.get(0))
            .optional()?;
        Ok(first.filter(|first| *first <= self.last).map(|first| {
            let last = self.last.min(first + SLICE - 1);
            self.next = last + 1;
            (first, last)
        }))
    }

    /// The next slice from the back.
    fn slice_back(&mut self, db: &Db) -> rusqlite::Result<Option<(i64, i64)>> {
        let last: Option<i64> = db
            .conn
            .prepare_cached(
                "SELECT record FROM records WHERE record <= ?1 ORDER BY record DESC LIMIT 1",
            )?
            .query_row([self.last], |row| row.get(0))
            .optional()?;
        Ok(last.filter(|last| *last >= self.next).map(|last| {
            let first = self.next.max(last - SLICE + 1);
            self.last = first - 1;
            (first, last)
        }))
    }

    /// Indexes one slice; `None` when all is indexed, and the run says so.
    pub(super) fn index(mut self, db: &Db) -> rusqlite::Result<Option<Self>> {
        let flows = (self.first_flow, self.last_flow);
        if let Some((first, last)) = self.slice(db)? {
            db.conn
                .prepare_cached(
                    "INSERT OR IGNORE INTO record_index
                     SELECT flow, end, ifnull(stream, -1), k, record FROM records
                     WHERE record BETWEEN ?1 AND ?2 AND flow BETWEEN ?3 AND ?4
                     ORDER BY 1, 2, 3, 4",
                )?
                .execute((first, last, flows.0, flows.1))?;
            return Ok(Some(self));
        }
        db.conn.execute(
            "UPDATE runs SET indexed = 1, records =
                (SELECT count(*) FROM record_index WHERE flow BETWEEN ?2 AND ?3) WHERE run = ?1",
            (self.run.0, flows.0, flows.1),
        )?;
        Ok(None)
    }

    /// Deletes the run's rows in one slice and counts them; `None` when none are left.
    ///
    /// From the back, since the newest rows lie near the end of the file, where
    /// free pages are cut off and need no other page moved into them. Each slice
    /// gives its pages back, so the file shrinks as it goes.
    pub(super) fn delete(mut self, db: &Db) -> rusqlite::Result<Option<(Self, u64)>> {
        let Some((first, last)) = self.slice_back(db)? else {
            return Ok(None);
        };
        let parameters = (first, last, self.first_flow, self.last_flow);
        for side in ["record_delay", "record_tcp", "record_more"] {
            db.conn
                .prepare_cached(&format!(
                    "DELETE FROM {side} WHERE record BETWEEN ?1 AND ?2 AND record IN
                     (SELECT record FROM records WHERE record BETWEEN ?1 AND ?2
                      AND flow BETWEEN ?3 AND ?4)"
                ))?
                .execute(parameters)?;
        }
        let rows = db
            .conn
            .prepare_cached(
                "DELETE FROM records WHERE record BETWEEN ?1 AND ?2 AND flow BETWEEN ?3 AND ?4",
            )?
            .execute(parameters)?;
        vacuum(db)?;
        Ok(Some((self, rows as u64)))
    }

    /// Deletes one slice of the run's index; `false` when nothing was left.
    pub(super) fn delete_index(self, db: &Db) -> rusqlite::Result<bool> {
        let rows = db
            .conn
            .prepare_cached(
                "DELETE FROM record_index WHERE (flow, end, stream, k, record) IN
                 (SELECT flow, end, stream, k, record FROM record_index
                  WHERE flow BETWEEN ?1 AND ?2 LIMIT ?3)",
            )?
            .execute((self.first_flow, self.last_flow, SLICE))?;
        vacuum(db)?;
        Ok(rows > 0)
    }

    /// Deletes everything else that belongs to the run, and the run.
    pub(super) fn delete_run(self, db: &mut Db) -> rusqlite::Result<()> {
        for table in ["manifests", "outages", "artifacts"] {
            db.conn.execute(
                &format!("DELETE FROM {table} WHERE flow BETWEEN ?1 AND ?2"),
                (self.first_flow, self.last_flow),
            )?;
        }
        let tables = [
            "events",
            "gaps",
            "links",
            "kernels",
            "observations",
            "sessions",
            "assignments",
            "phases",
            "flows",
            "runs",
        ];
        for table in tables {
            db.conn
                .execute(&format!("DELETE FROM {table} WHERE run = ?1"), [self.run.0])?;
        }
        db.runs.forget(self.run);
        Ok(())
    }
}

/// Marks a closed run as being deleted; from here on its entries are dropped.
pub(super) fn begin_delete(db: &mut Db, run: RunId) -> Result<Sweep, StoreError> {
    expect_state(&db.conn, "deleting", run, |state| state >= RunState::Closed)?;
    db.runs.forget(run);
    let begin = || {
        db.conn
            .execute("UPDATE runs SET state = 'deleting' WHERE run = ?1", [run.0])?;
        // The newest rows may go: their numbers must not come again.
        db.conn.execute(
            "INSERT OR REPLACE INTO meta VALUES ('record_floor', ?1)",
            [db.next_record.to_string()],
        )?;
        let mut sweep = sweep(db, run)?;
        let last_indexed: Option<i64> = db.conn.query_row(
            "SELECT max(record) FROM record_index WHERE flow BETWEEN ?1 AND ?2
             AND (SELECT indexed FROM runs WHERE run = ?3)",
            (sweep.first_flow, sweep.last_flow, run.0),
            |row| row.get(0),
        )?;
        if let Some(last) = last_indexed {
            // Spares a look at the rows of all later runs.
            sweep.last = sweep.last.min(last);
        }
        Ok(sweep)
    };
    begin().map_err(storage("deleting a run"))
}

/// Gives free pages back to the file system; `true` while there are more.
pub(super) fn vacuum(db: &Db) -> rusqlite::Result<bool> {
    let free = || {
        db.conn
            .query_row("PRAGMA freelist_count", [], |row| row.get::<_, i64>(0))
    };
    let before = free()?;
    if before == 0 {
        return Ok(false);
    }
    // Each step of the statement frees one page.
    let mut vacuum = db
        .conn
        .prepare(&format!("PRAGMA incremental_vacuum({SLICE_PAGES})"))?;
    let mut freed = vacuum.query([])?;
    while freed.next()?.is_some() {}
    let after = free()?;
    Ok(after > 0 && after < before)
}
