//! Files that agents offer.

use rusqlite::{Connection, params};
use weir_common::id::{AgentName, FlowId, RunId};
use weir_common::record::{Artifact, End};

use super::column::{count, int, read};
use crate::store::ArtifactRow;

/// Stores an offer; one that comes again replaces the first.
pub(super) fn put_artifact(
    db: &Connection,
    flow: i64,
    agent: &AgentName,
    artifact: &Artifact,
) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT OR REPLACE INTO artifacts VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![
            flow,
            artifact.end.as_str(),
            agent.as_str(),
            artifact.name.as_str(),
            int(artifact.size_bytes),
            artifact.sha256,
        ])?;
    Ok(())
}

/// See [`crate::store::Store::artifacts`].
pub(super) fn artifacts(db: &Connection, run: RunId) -> rusqlite::Result<Vec<ArtifactRow>> {
    db.prepare_cached(
        "SELECT artifacts.*, flows.number FROM artifacts JOIN flows ON flows.flow = artifacts.flow
         WHERE flows.run = ?1 ORDER BY number, end DESC",
    )?
    .query_map([run.0], |row| {
        let end: String = row.get("end")?;
        Ok(ArtifactRow {
            agent: read(row, "agent", |text: String| text.parse())?,
            artifact: Artifact {
                run,
                flow: FlowId(row.get("number")?),
                end: if end == "tx" { End::Tx } else { End::Rx },
                name: read(row, "name", |text: String| text.parse())?,
                size_bytes: count(row, "size_bytes")?,
                sha256: row.get("sha256")?,
            },
        })
    })?
    .collect()
}
