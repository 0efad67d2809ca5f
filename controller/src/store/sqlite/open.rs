//! Opening the file: the lock, the checks, the settings, the migrations.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior};

use super::column::fault;
use crate::store::{Identity, StoreError};

/// `weir` in ASCII: how the file says whose it is.
const APPLICATION_ID: i64 = 0x7765_6972;

/// One step from each schema version to the next, from version 0.
const MIGRATIONS: &[&str] = &[include_str!("schema_1.sql")];

/// How long a statement waits for a reader or a checkpoint of this process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Statements kept compiled; more than there are in the append path.
const STATEMENTS: usize = 64;

/// Refuses SQLite versions whose WAL-reset race can lose committed writes:
/// 3.7.0 to 3.51.2, but for the fixes 3.50.7 and 3.44.6.
pub(super) fn check_library(version: i32) -> Result<(), StoreError> {
    let fixed = version >= 3_051_003
        || (3_050_007..3_051_000).contains(&version)
        || (3_044_006..3_045_000).contains(&version);
    if fixed {
        return Ok(());
    }
    let (major, minor, patch) = (version / 1_000_000, version / 1000 % 1000, version % 1000);
    Err(StoreError::UnsafeSqlite {
        version: format!("{major}.{minor}.{patch}"),
    })
}

/// Keeps other controllers out for as long as it lives. The kernel lets go of
/// it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock that stands beside the database.
    pub(super) fn take(database: &Path) -> Result<Self, StoreError> {
        let mut path = database.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let failed = |error| open_error(&path, Arc::new(error), MAKE_FIX);
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The name of the holder is a courtesy; the refusal stands without it.
                file.read_to_string(&mut holder).ok();
                let holder = match holder.trim() {
                    "" => "unknown process".to_owned(),
                    pid => format!("process {pid}"),
                };
                return Err(StoreError::InUse {
                    path: database.to_owned(),
                    holder,
                });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()));
        written.map_err(failed)?;
        Ok(Self { _file: file })
    }
}

const MAKE_FIX: &str = "check that the data directory exists and can be written to";

fn open_error(
    path: &Path,
    source: Arc<dyn std::error::Error + Send + Sync>,
    fix: &'static str,
) -> StoreError {
    StoreError::Open {
        path: path.to_owned(),
        fix,
        source,
    }
}

fn sql_error(path: &Path) -> impl Fn(rusqlite::Error) -> StoreError {
    move |error| {
        let fix = fault(&error).fix();
        open_error(path, Arc::new(error), fix)
    }
}

/// Checks what the file is, brings it to the newest schema and counts this opening.
pub(super) fn prepare(path: &Path) -> Result<Identity, StoreError> {
    let failed = sql_error(path);
    let mut db = Connection::open(path).map_err(&failed)?;
    db.busy_timeout(BUSY_TIMEOUT).map_err(&failed)?;
    let found = schema_version(&db, path)?;
    db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
        .map_err(&failed)?;
    migrate(&mut db, found).map_err(&failed)?;
    count_opening(&mut db).map_err(&failed)
}

/// The schema version of a file of ours, 0 for an empty one. Changes nothing
/// in a file that is not ours or newer.
fn schema_version(db: &Connection, path: &Path) -> Result<usize, StoreError> {
    let failed = sql_error(path);
    let pragma = |name: &str| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let application = pragma("application_id").map_err(&failed)?;
    let found = pragma("user_version").map_err(&failed)?;
    let objects: i64 = db
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(&failed)?;
    let empty = application == 0 && objects == 0 && found == 0;
    if !empty && application != APPLICATION_ID {
        return Err(StoreError::Foreign {
            path: path.to_owned(),
        });
    }
    let known = MIGRATIONS.len();
    match usize::try_from(found) {
        Ok(version) if version <= known => {
            if empty {
                // Must come before the first table, or it needs a full VACUUM.
                db.execute_batch("PRAGMA auto_vacuum = INCREMENTAL;")
                    .map_err(&failed)?;
            }
            Ok(version)
        }
        _ => Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            known: known as i64,
        }),
    }
}

/// Applies the missing migrations, each with its version in one transaction.
fn migrate(db: &mut Connection, found: usize) -> rusqlite::Result<()> {
    for (version, step) in (1_i64..).zip(MIGRATIONS).skip(found) {
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

fn count_opening(db: &mut Connection) -> rusqlite::Result<Identity> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute(
        "INSERT OR IGNORE INTO meta VALUES ('controller_id', lower(hex(randomblob(16))))",
        [],
    )?;
    let controller_epoch = draw(&transaction, "controller_epoch")?;
    let controller_id = transaction.query_row(
        "SELECT value FROM meta WHERE name = 'controller_id'",
        [],
        |row| row.get(0),
    )?;
    transaction.commit()?;
    Ok(Identity {
        controller_id,
        controller_epoch,
    })
}

/// Raises a counter of `meta` by one and gives its new value.
pub(super) fn draw(db: &Connection, name: &str) -> rusqlite::Result<u64> {
    let value: Option<String> = db
        .query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| {
            row.get(0)
        })
        .optional()?;
    let next = value.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) + 1;
    db.execute(
        "INSERT OR REPLACE INTO meta VALUES (?1, ?2)",
        (name, next.to_string()),
    )?;
    Ok(next)
}

/// The connection that writes.
pub(super) fn writing(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    // FULL: a commit survives a power cut, not only kill -9; an ack promises
    // that. The limit cuts a WAL that a slow reader let grow.
    db.execute_batch("PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 67108864;")?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(db)
}

/// A connection that only reads.
pub(super) fn reading(path: &Path) -> rusqlite::Result<Connection> {
    // Read-write flags: a reader of a WAL file maintains its shared index.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.execute_batch("PRAGMA query_only = ON;")?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(db)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_with_the_race_are_refused() {
        for bad in [3_007_000, 3_044_005, 3_045_000, 3_050_006, 3_051_002] {
            assert!(check_library(bad).is_err(), "{bad}");
        }
        for good in [3_044_006, 3_050_007, 3_051_003, 3_054_001] {
            assert!(check_library(good).is_ok(), "{good}");
        }
        assert!(check_library(rusqlite::version_number()).is_ok());
    }
}
