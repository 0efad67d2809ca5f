//! Between the vocabulary and SQLite's signed integers and texts.

use std::sync::Arc;

use rusqlite::types::{FromSql, Type};
use rusqlite::{ErrorCode, Row};

use crate::store::{Fault, StoreError};

/// A count as SQLite keeps it. What comes from agents was checked to fit.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// An optional count.
pub(super) fn opt(value: Option<u64>) -> Option<i64> {
    value.map(int)
}

/// Reads a count.
pub(super) fn count(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|error| unreadable(column, error))
}

/// Reads a number of at most 32 bits.
pub(super) fn small(row: &Row<'_>, column: &str) -> rusqlite::Result<u32> {
    let value: i64 = row.get(column)?;
    u32::try_from(value).map_err(|error| unreadable(column, error))
}

/// Reads an optional count.
pub(super) fn opt_count(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<u64>> {
    let value: Option<i64> = row.get(column)?;
    value
        .map(u64::try_from)
        .transpose()
        .map_err(|error| unreadable(column, error))
}

/// Reads a text or blob through a conversion that may refuse it.
pub(super) fn read<C, T, E>(
    row: &Row<'_>,
    column: &str,
    convert: impl FnOnce(C) -> Result<T, E>,
) -> rusqlite::Result<T>
where
    C: FromSql,
    E: std::error::Error + Send + Sync + 'static,
{
    convert(row.get(column)?).map_err(|error| unreadable(column, error))
}

/// A word that is none of the known ones.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not one of its words")]
struct UnknownWord(String);

/// Reads one of a list of words.
pub(super) fn word<T: Copy>(
    row: &Row<'_>,
    column: &str,
    all: &[T],
    name: fn(T) -> &'static str,
) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    let found = all.iter().copied().find(|value| name(*value) == text);
    found.ok_or_else(|| unreadable(column, UnknownWord(text)))
}

/// A stored value that cannot be what it should be.
#[derive(Debug, thiserror::Error)]
#[error("column {column} cannot be read: {source}")]
struct UnreadableColumn {
    column: String,
    source: Box<dyn std::error::Error + Send + Sync>,
}

fn unreadable(
    column: &str,
    source: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    let error = UnreadableColumn {
        column: column.to_owned(),
        source: Box::new(source),
    };
    rusqlite::Error::FromSqlConversionFailure(0, Type::Null, Box::new(error))
}

/// Names the operation in an error of SQLite.
pub(super) fn storage(operation: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |error| StoreError::Storage {
        operation,
        fault: fault(&error),
        source: Arc::new(error),
    }
}

/// What kind of failure an error of SQLite is.
pub(super) fn fault(error: &rusqlite::Error) -> Fault {
    if let rusqlite::Error::FromSqlConversionFailure(..) = error {
        return Fault::Damaged;
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Fault::Full,
        Some(
            ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied,
        ) => Fault::Unreadable,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Fault::Damaged,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Fault::Busy,
        _ => Fault::Other,
    }
}
