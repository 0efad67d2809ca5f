//! Runs in SQLite.

use rusqlite::{Connection, OptionalExtension, Row, params};
use weir_common::assignment::StartAt;
use weir_common::id::RunId;

use super::column::{count, int, opt_count, read, small, storage, word};
use super::scan;
use super::writer::Db;
use crate::store::{CampaignText, NewRun, RunRef, RunRow, RunState, RunSummary, StoreError};

/// See [`crate::store::Store::create_run`].
pub(super) fn create(db: &mut Db, new: &NewRun) -> Result<RunId, StoreError> {
    let argv = serde_json::to_string(&new.source.argv).expect("a list of texts is JSON");
    let number: i64 = db
        .conn
        .query_row(
            "INSERT INTO runs (campaign, state, created_unix_ns, interval_ns, linger_ns, nonce,
                seed, campaign_toml, campaign_file, campaign_argv_json, first_record)
             VALUES (?1, 'created', ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) RETURNING run",
            params![
                new.campaign,
                new.created_unix_ns,
                int(new.interval_ns),
                int(new.linger_ns),
                new.nonce as i64,
                new.seed as i64,
                new.source.toml,
                new.source.file,
                argv,
                db.next_record,
            ],
            |row| row.get(0),
        )
        .map_err(storage("making a run"))?;
    Ok(RunId(
        u32::try_from(number).expect("4 thousand million runs are not made"),
    ))
}

/// Numbers that may be skipped at once: no agent alone can use them up.
const SKIP: u32 = 10_000;

/// The last number given, to a run that may be no more.
pub(super) fn last_given(db: &Connection) -> rusqlite::Result<u32> {
    let given: Option<i64> = db
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'runs'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(given.map_or(0, |given| u32::try_from(given).unwrap_or(u32::MAX)))
}

/// See [`crate::store::Store::skip_runs`].
pub(super) fn skip(db: &Connection, last: RunId) -> Result<bool, StoreError> {
    const OPERATION: &str = "skipping numbers of runs";
    let given = last_given(db).map_err(storage(OPERATION))?;
    if last.0 <= given {
        return Ok(false);
    }
    if last.0 - given > SKIP {
        return Err(StoreError::Refused {
            operation: OPERATION,
            run: last,
            state: format!("more than {SKIP} beyond {given}, the last run there was"),
        });
    }
    db.execute("DELETE FROM sqlite_sequence WHERE name = 'runs'", [])
        .and_then(|_| {
            let put = "INSERT INTO sqlite_sequence (name, seq) VALUES ('runs', ?1)";
            db.execute(put, [last.0])
        })
        .map_err(storage(OPERATION))?;
    Ok(true)
}

/// A run's state, or that there is no such run.
pub(super) fn state(db: &Connection, run: RunId) -> Result<RunState, StoreError> {
    db.prepare_cached("SELECT state FROM runs WHERE run = ?1")
        .and_then(|mut select| select.query_row([run.0], run_state).optional())
        .map_err(storage("reading a run"))?
        .ok_or_else(|| no_such_run(db, &run.to_string()))
}

fn run_state(row: &Row<'_>) -> rusqlite::Result<RunState> {
    word(row, "state", &RunState::ALL, RunState::as_str)
}

/// Refuses unless the run's state is one that `allowed` names.
pub(super) fn expect_state(
    db: &Connection,
    operation: &'static str,
    run: RunId,
    allowed: impl FnOnce(RunState) -> bool,
) -> Result<RunState, StoreError> {
    let state = state(db, run)?;
    if allowed(state) {
        Ok(state)
    } else {
        Err(StoreError::Refused {
            operation,
            run,
            state: state.as_str().to_owned(),
        })
    }
}

/// See [`crate::store::Store::set_waiting`].
pub(super) fn set_waiting(db: &Connection, run: RunId, to: RunState) -> Result<(), StoreError> {
    let waiting = matches!(to, RunState::Queued | RunState::Preparing);
    expect_state(db, "queueing or preparing", run, |from| {
        waiting && from < RunState::Started
    })?;
    db.execute(
        "UPDATE runs SET state = ?2 WHERE run = ?1",
        (run.0, to.as_str()),
    )
    .map_err(storage("noting a run's state"))?;
    Ok(())
}

/// See [`crate::store::Store::set_started`].
pub(super) fn set_started(db: &Connection, run: RunId, start: &StartAt) -> Result<(), StoreError> {
    let operation = "starting";
    let state = expect_state(db, operation, run, |from| from <= RunState::Started)?;
    if state == RunState::Started {
        let known = one(db, run)
            .map_err(storage("reading a run"))?
            .and_then(|row| row.start);
        if known.as_ref() == Some(start) {
            return Ok(());
        }
        let state = "started with another T0".to_owned();
        return Err(StoreError::Refused {
            operation,
            run,
            state,
        });
    }
    db.execute(
        "UPDATE runs SET state = 'started', t0_unix_ns = ?2, t0_mono_ns = ?3,
         t0_kernel_boot_id = ?4 WHERE run = ?1",
        params![
            run.0,
            start.unix_ns,
            int(start.mono_ns),
            start.kernel_boot_id
        ],
    )
    .map_err(storage("noting a run's start"))?;
    Ok(())
}

/// See [`crate::store::Store::set_stopping`].
pub(super) fn set_stopping(db: &Connection, run: RunId, reason: &str) -> Result<bool, StoreError> {
    if state(db, run)? >= RunState::Stopping {
        return Ok(false);
    }
    db.execute(
        "UPDATE runs SET state = 'stopping', stop_reason = ?2 WHERE run = ?1",
        (run.0, reason),
    )
    .map_err(storage("noting a run's stop"))?;
    Ok(true)
}

pub(super) fn one(db: &Connection, run: RunId) -> rusqlite::Result<Option<RunRow>> {
    db.prepare_cached("SELECT * FROM runs WHERE run = ?1")?
        .query_row([run.0], whole)
        .optional()
}

fn whole(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    let start = match row.get("t0_unix_ns")? {
        Some(unix_ns) => Some(StartAt {
            unix_ns,
            mono_ns: count(row, "t0_mono_ns")?,
            kernel_boot_id: row.get("t0_kernel_boot_id")?,
        }),
        None => None,
    };
    Ok(RunRow {
        run: RunId(small(row, "run")?),
        new: NewRun {
            campaign: row.get("campaign")?,
            source: CampaignText {
                toml: row.get("campaign_toml")?,
                file: row.get("campaign_file")?,
                argv: read(row, "campaign_argv_json", |json: String| {
                    serde_json::from_str(&json)
                })?,
                files: Vec::new(),
            },
            nonce: row.get::<_, i64>("nonce")? as u64,
            seed: row.get::<_, i64>("seed")? as u64,
            interval_ns: count(row, "interval_ns")?,
            linger_ns: count(row, "linger_ns")?,
            created_unix_ns: row.get("created_unix_ns")?,
        },
        state: run_state(row)?,
        start,
        end_ns: count(row, "end_ns")?,
        plan_json: row.get("plan_json")?,
        stop_reason: row.get("stop_reason")?,
        verdict: row.get("verdict")?,
        result_json: row.get("result_json")?,
        closed_unix_ns: row.get("closed_unix_ns")?,
    })
}

/// See [`crate::store::Store::find_run`].
pub(super) fn find(db: &Connection, reference: &RunRef) -> Result<RunId, StoreError> {
    let first = |sql: &str, parameters: &[&dyn rusqlite::ToSql]| {
        db.prepare_cached(sql)
            .and_then(|mut select| select.query_row(parameters, |row| row.get(0)).optional())
            .map_err(storage("looking for a run"))
    };
    let found: Option<u32> = match reference {
        RunRef::Id(run) => first("SELECT run FROM runs WHERE run = ?1", &[&run.0])?,
        RunRef::Last(back) => first(
            "SELECT run FROM runs WHERE state <> 'deleting' ORDER BY run DESC LIMIT 1 OFFSET ?1",
            &[back],
        )?,
        RunRef::Campaign(name) => first(
            "SELECT run FROM runs WHERE campaign = ?1 ORDER BY state = 'deleting', run DESC LIMIT 1",
            &[name],
        )?,
    };
    found
        .map(RunId)
        .ok_or_else(|| no_such_run(db, &reference.to_string()))
}

/// Says what there is instead. That it fails too is no reason to say less.
fn no_such_run(db: &Connection, wanted: &str) -> StoreError {
    let newest = list(db, 5).unwrap_or_default();
    let have = if newest.is_empty() {
        "there is none yet".to_owned()
    } else {
        let names: Vec<_> = newest
            .iter()
            .map(|run| format!("{} {}", run.run, run.campaign))
            .collect();
        format!("the newest are {}", names.join(", "))
    };
    StoreError::NoSuchRun {
        wanted: wanted.to_owned(),
        have,
    }
}

/// See [`crate::store::Store::runs`].
pub(super) fn list(db: &Connection, limit: usize) -> rusqlite::Result<Vec<RunSummary>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut select = db.prepare_cached(
        "SELECT run, campaign, state, verdict, created_unix_ns, t0_unix_ns, closed_unix_ns, end_ns,
            records, (SELECT count(*) FROM flows WHERE flows.run = runs.run) AS flows
         FROM runs ORDER BY run DESC LIMIT ?1",
    )?;
    let rows: Vec<(RunSummary, Option<u64>)> = select
        .query_map([limit], |row| {
            let summary = RunSummary {
                run: RunId(small(row, "run")?),
                campaign: row.get("campaign")?,
                state: run_state(row)?,
                verdict: row.get("verdict")?,
                created_unix_ns: row.get("created_unix_ns")?,
                t0_unix_ns: row.get("t0_unix_ns")?,
                closed_unix_ns: row.get("closed_unix_ns")?,
                end_ns: count(row, "end_ns")?,
                flows: small(row, "flows")?,
                records: 0,
            };
            Ok((summary, opt_count(row, "records")?))
        })?
        .collect::<Result<_, _>>()?;
    rows.into_iter()
        .map(|(summary, records)| {
            // Only runs whose index is not built yet are counted row by row.
            let records = match records {
                Some(records) => records,
                None => scan::row_counts(db, summary.run)?
                    .iter()
                    .map(|count| count.rows)
                    .sum(),
            };
            Ok(RunSummary { records, ..summary })
        })
        .collect()
}

pub(super) fn open(db: &Connection) -> rusqlite::Result<Vec<RunId>> {
    db.prepare_cached(
        "SELECT run FROM runs WHERE state NOT IN ('closed', 'deleting') ORDER BY run",
    )?
    .query_map([], |row| row.get(0).map(RunId))?
    .collect()
}
