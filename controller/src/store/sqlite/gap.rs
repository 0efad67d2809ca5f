//! Records that agents could not deliver.

use rusqlite::{Connection, params};
use weir_common::id::{AgentName, BootId, FlowId, RunId};
use weir_common::record::{End, Gap, GapCause};
use weir_experiment::analysis::ReportedGap;

use super::column::{int, opt, opt_count, read};

/// Stores what stands at a sequence number in the place of a record. Numbers
/// that follow each other make one row.
pub(super) fn put_gap(
    db: &Connection,
    (agent, boot, seq): (&AgentName, BootId, u64),
    flow: Option<i64>,
    gap: &Gap,
) -> rusqlite::Result<()> {
    let (boot, why) = (boot.to_string(), gap.cause.as_str());
    let seq = (gap.cause != GapCause::Ended).then(|| int(seq));
    if let (Some(seq), None) = (seq, flow) {
        let longer = db
            .prepare_cached(
                "UPDATE gaps SET last_seq = ?1 WHERE run = ?2 AND agent = ?3 AND boot = ?4
                 AND last_seq = ?1 - 1 AND flow IS NULL AND why = ?5",
            )?
            .execute(params![seq, gap.run.0, agent.as_str(), boot, why])?;
        if longer > 0 {
            return Ok(());
        }
    }
    db.prepare_cached(
        "INSERT INTO gaps (run, agent, boot, first_seq, last_seq, flow, end, from_ns, to_ns, why)
         VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        gap.run.0,
        agent.as_str(),
        boot,
        seq,
        flow,
        gap.flow.map(|(_, end)| end.as_str()),
        opt(gap.from_ns),
        opt(gap.to_ns),
        why,
    ])?;
    Ok(())
}

/// What the ledger says of numbers that came with two contents.
const CONFLICT: &str = "came again with other content: what came first is kept";
/// Conflicts that are listed of a run: one is enough to distrust an agent.
const CONFLICTS: u32 = 100;

/// See [`crate::store::Store::note_conflict`].
pub(super) fn put_conflict(
    db: &Connection,
    run: RunId,
    (agent, boot): (&AgentName, BootId),
    (first, last): (u64, u64),
) -> rusqlite::Result<()> {
    db.execute(
        "INSERT INTO gaps (run, agent, boot, first_seq, last_seq, why)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6
         WHERE EXISTS (SELECT 1 FROM assignments WHERE run = ?1 AND agent = ?2)
         AND NOT EXISTS (SELECT 1 FROM gaps WHERE run = ?1 AND agent = ?2 AND boot = ?3
                         AND first_seq = ?4 AND last_seq = ?5 AND why = ?6)
         AND (SELECT count(*) FROM gaps WHERE run = ?1 AND why = ?6) < ?7",
        params![
            run.0,
            agent.as_str(),
            boot.to_string(),
            int(first),
            int(last),
            CONFLICT,
            CONFLICTS
        ],
    )
    .map(|_| ())
}

/// See [`crate::store::Store::gaps`].
pub(super) fn gaps(db: &Connection, run: RunId) -> rusqlite::Result<Vec<ReportedGap>> {
    db.prepare_cached(
        "SELECT gaps.*, flows.number FROM gaps LEFT JOIN flows ON flows.flow = gaps.flow
         WHERE gaps.run = ?1 ORDER BY gap",
    )?
    .query_map([run.0], |row| {
        let number: Option<u32> = row.get("number")?;
        let end: Option<String> = row.get("end")?;
        let end = end.map(|end| if end == "tx" { End::Tx } else { End::Rx });
        Ok(ReportedGap {
            agent: read(row, "agent", |text: String| text.parse())?,
            boot: read(row, "boot", |text: String| text.parse())?,
            seq: opt_count(row, "first_seq")?.zip(opt_count(row, "last_seq")?),
            flow: number.map(FlowId).zip(end),
            from_ns: opt_count(row, "from_ns")?,
            to_ns: opt_count(row, "to_ns")?,
            why: row.get("why")?,
        })
    })?
    .collect()
}
