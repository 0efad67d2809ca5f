//! Agents in SQLite.

use rusqlite::{Connection, OptionalExtension, Row, params};
use weir_common::id::AgentName;

use super::column::{count, int, read, storage};
use crate::store::{AgentHello, AgentRow, StoreError};

/// See [`crate::store::Store::register_agent`].
pub(super) fn register(db: &Connection, hello: &AgentHello) -> Result<AgentRow, StoreError> {
    let failed = storage("registering an agent");
    let owner = owner(db, &hello.name).map_err(&failed)?;
    if owner.is_some_and(|owner| owner != hello.public_key) {
        return Err(StoreError::NameTaken(hello.name.clone()));
    }
    if let Some(known) = one(db, &hello.name).map_err(&failed)?
        && known.boot != hello.boot
        && hello.generation <= known.generation
    {
        return Err(StoreError::StaleBoot {
            name: hello.name.clone(),
            generation: hello.generation,
            known_boot: known.boot,
            known_generation: known.generation,
        });
    }
    let labels = serde_json::to_string(&hello.labels).expect("a map of texts is JSON");
    db.execute(
        "INSERT INTO agents (name, labels_json, public_key, generation, boot, inventory,
            first_seen_unix_ns, last_seen_unix_ns)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)
         ON CONFLICT (name) DO UPDATE SET labels_json = ?2, generation = ?4, boot = ?5,
            inventory = ?6, last_seen_unix_ns = ?7",
        params![
            hello.name.as_str(),
            labels,
            hello.public_key,
            int(hello.generation),
            hello.boot.to_string(),
            hello.inventory,
            hello.seen_unix_ns,
        ],
    )
    .map_err(&failed)?;
    one(db, &hello.name)
        .map_err(&failed)?
        .ok_or_else(|| StoreError::UnknownAgent(hello.name.clone()))
}

/// The key that owns a name: the first that was proven, in a Hello or to enrol.
pub(super) fn owner(db: &Connection, name: &AgentName) -> rusqlite::Result<Option<Vec<u8>>> {
    db.prepare_cached(
        "SELECT public_key FROM agents WHERE name = ?1
         UNION ALL SELECT public_key FROM enrolments WHERE name = ?1",
    )?
    .query_row([name.as_str()], |row| row.get(0))
    .optional()
}

pub(super) fn touch(db: &Connection, name: &AgentName, unix_ns: i64) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE agents SET last_seen_unix_ns = ?2 WHERE name = ?1")?
        .execute((name.as_str(), unix_ns))
        .map(|_| ())
}

pub(super) fn one(db: &Connection, name: &AgentName) -> rusqlite::Result<Option<AgentRow>> {
    db.prepare_cached("SELECT * FROM agents WHERE name = ?1")?
        .query_row([name.as_str()], agent)
        .optional()
}

pub(super) fn all(db: &Connection) -> rusqlite::Result<Vec<AgentRow>> {
    db.prepare_cached("SELECT * FROM agents ORDER BY name")?
        .query_map([], agent)?
        .collect()
}

/// See [`crate::store::Store::next_snapshot_version`].
pub(super) fn next_snapshot_version(db: &Connection, name: &AgentName) -> Result<u64, StoreError> {
    let version: Option<i64> = db
        .query_row(
            "UPDATE agents SET snapshot_version = snapshot_version + 1 WHERE name = ?1
             RETURNING snapshot_version",
            [name.as_str()],
            |row| row.get(0),
        )
        .optional()
        .map_err(storage("drawing a snapshot's version"))?;
    version
        .map(i64::unsigned_abs)
        .ok_or_else(|| StoreError::UnknownAgent(name.clone()))
}

/// See [`crate::store::Store::skip_snapshot_versions`].
pub(super) fn skip_snapshot_versions(
    db: &Connection,
    name: &AgentName,
    accepted: u64,
) -> rusqlite::Result<bool> {
    let skipped = db.execute(
        "UPDATE agents SET snapshot_version = ?2 WHERE name = ?1 AND snapshot_version < ?2",
        params![name.as_str(), int(accepted)],
    )?;
    Ok(skipped > 0)
}

fn agent(row: &Row<'_>) -> rusqlite::Result<AgentRow> {
    Ok(AgentRow {
        name: read(row, "name", |text: String| text.parse())?,
        labels: read(row, "labels_json", |json: String| {
            serde_json::from_str(&json)
        })?,
        public_key: row.get("public_key")?,
        generation: count(row, "generation")?,
        boot: read(row, "boot", |text: String| text.parse())?,
        inventory: row.get("inventory")?,
        first_seen_unix_ns: row.get("first_seen_unix_ns")?,
        last_seen_unix_ns: row.get("last_seen_unix_ns")?,
        snapshot_version: count(row, "snapshot_version")?,
    })
}
