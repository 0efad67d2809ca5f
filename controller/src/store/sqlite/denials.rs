//! The deny list in SQLite.

use rusqlite::{Connection, Row, params};

use super::column::read;
use crate::store::{Denial, Subject};

/// See [`crate::store::Store::deny`].
pub(super) fn put(db: &Connection, denial: &Denial) -> rusqlite::Result<()> {
    db.execute(
        "INSERT INTO denials (subject, reason, denied_by, since_unix_ns)
         VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (subject) DO UPDATE SET reason = ?2, denied_by = ?3, since_unix_ns = ?4",
        params![
            denial.subject.to_string(),
            denial.reason,
            denial.by,
            denial.since_unix_ns,
        ],
    )
    .map(|_| ())
}

/// See [`crate::store::Store::allow`].
pub(super) fn remove(db: &Connection, subject: &Subject) -> rusqlite::Result<bool> {
    db.execute(
        "DELETE FROM denials WHERE subject = ?1",
        [subject.to_string()],
    )
    .map(|rows| rows > 0)
}

/// See [`crate::store::Store::denials`].
pub(super) fn all(db: &Connection) -> rusqlite::Result<Vec<Denial>> {
    db.prepare_cached("SELECT * FROM denials ORDER BY subject")?
        .query_map([], denial)?
        .collect()
}

fn denial(row: &Row<'_>) -> rusqlite::Result<Denial> {
    Ok(Denial {
        subject: read(row, "subject", |text: String| text.parse())?,
        reason: row.get("reason")?,
        by: row.get("denied_by")?,
        since_unix_ns: row.get("since_unix_ns")?,
    })
}
