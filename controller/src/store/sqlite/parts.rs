//! Phases, flows, sessions and assignments in SQLite.

use rusqlite::{Connection, OptionalExtension, Row, params};
use weir_common::assignment::Transport;
use weir_common::id::{AgentName, FlowId, RunId, SessionId};

use super::column::{count, int, opt, opt_count, read, small, storage, word};
use super::runs::expect_state;
use super::scan::end_word;
use super::writer::Db;
use crate::store::{
    AssignmentRow, AssignmentState, FlowRow, Party, PhaseRow, RunPlan, RunState, SessionRow,
    SessionState, StoreError,
};

/// See [`crate::store::Store::set_plan`].
pub(super) fn set_plan(db: &mut Db, run: RunId, plan: &RunPlan) -> Result<(), StoreError> {
    let operation = "planning";
    expect_state(&db.conn, operation, run, |state| state < RunState::Started)?;
    let in_order = (1..)
        .zip(&plan.flows)
        .all(|(number, flow)| flow.flow == FlowId(number));
    if !in_order {
        let state = "given flows that are not numbered 1, 2, ... in order".to_owned();
        return Err(StoreError::Refused {
            operation,
            run,
            state,
        });
    }
    db.runs.forget(run);
    put_plan(&db.conn, run, plan).map_err(storage("storing a plan"))
}

fn put_plan(db: &Connection, run: RunId, plan: &RunPlan) -> rusqlite::Result<()> {
    for table in ["phases", "flows", "assignments", "sessions"] {
        db.execute(&format!("DELETE FROM {table} WHERE run = ?1"), [run.0])?;
    }
    db.execute(
        "UPDATE runs SET plan_json = ?2, end_ns = ?3 WHERE run = ?1",
        params![run.0, plan.plan_json, int(plan.end_ns)],
    )?;
    let mut put = db.prepare_cached("INSERT INTO phases VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    for (position, phase) in (0_i64..).zip(&plan.phases) {
        put.execute(params![
            run.0,
            position,
            phase.name,
            phase.repeat,
            int(phase.start_ns),
            int(phase.length_ns),
            int(phase.warmup_ns),
        ])?;
    }
    for flow in &plan.flows {
        put_flow(db, run, flow)?;
    }
    let mut put = db.prepare_cached(
        "INSERT INTO assignments (run, agent, assignment, state) VALUES (?1, ?2, ?3, 'planned')",
    )?;
    for (agent, assignment) in &plan.assignments {
        put.execute((run.0, agent.as_str(), assignment))?;
    }
    Ok(())
}

fn put_flow(db: &Connection, run: RunId, flow: &FlowRow) -> rusqlite::Result<()> {
    let cell: serde_json::Map<String, serde_json::Value> = flow
        .cell
        .iter()
        .map(|(name, value)| (name.clone(), value.clone().into()))
        .collect();
    let mut put = db.prepare_cached(
        "INSERT INTO flows (run, number, session, set_name, phase, repeat, cell_json, round, key,
            from_name, from_agent, from_asn, to_name, to_agent, to_asn, transport, reverse_of,
            streams, offered_bps, offered_milli_pps, size_bytes, start_ns, length_ns, warmup_ns,
            planned_rows)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
            ?19, ?20, ?21, ?22, ?23, ?24, ?25)",
    )?;
    put.execute(params![
        run.0,
        flow.flow.0,
        flow.session.0,
        flow.set,
        flow.phase,
        flow.repeat,
        serde_json::Value::Object(cell).to_string(),
        flow.round,
        flow.key,
        flow.from.name(),
        flow.from.agent().is_some(),
        flow.from.asn(),
        flow.to.name(),
        flow.to.agent().is_some(),
        flow.to.asn(),
        flow.transport.as_str(),
        flow.reverse_of.map(|other| other.0),
        flow.streams,
        opt(flow.offered_bps),
        opt(flow.offered_milli_pps),
        flow.size,
        int(flow.start_ns),
        int(flow.length_ns),
        int(flow.warmup_ns),
        flow.planned_rows,
    ])?;
    Ok(())
}

pub(super) fn phases(db: &Connection, run: RunId) -> rusqlite::Result<Vec<PhaseRow>> {
    db.prepare_cached("SELECT * FROM phases WHERE run = ?1 ORDER BY position")?
        .query_map([run.0], |row| {
            Ok(PhaseRow {
                name: row.get("name")?,
                repeat: small(row, "repeat")?,
                start_ns: count(row, "start_ns")?,
                length_ns: count(row, "length_ns")?,
                warmup_ns: count(row, "warmup_ns")?,
            })
        })?
        .collect()
}

pub(super) fn flows(db: &Connection, run: RunId) -> rusqlite::Result<Vec<FlowRow>> {
    db.prepare_cached("SELECT * FROM flows WHERE run = ?1 ORDER BY number")?
        .query_map([run.0], flow)?
        .collect()
}

fn party(row: &Row<'_>, name: &str, agent: &str, asn: &str) -> rusqlite::Result<Party> {
    if row.get(agent)? {
        let name = read(row, name, |text: String| text.parse::<AgentName>())?;
        Ok(Party::Agent {
            name,
            asn: row.get(asn)?,
        })
    } else {
        Ok(Party::Address(row.get(name)?))
    }
}

fn flow(row: &Row<'_>) -> rusqlite::Result<FlowRow> {
    let cell = read(row, "cell_json", |json: String| {
        serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&json)
    })?;
    let text = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    };
    let reverse_of: Option<u32> = row.get("reverse_of")?;
    Ok(FlowRow {
        flow: FlowId(small(row, "number")?),
        session: SessionId(small(row, "session")?),
        set: row.get("set_name")?,
        phase: row.get("phase")?,
        repeat: small(row, "repeat")?,
        cell: cell
            .into_iter()
            .map(|(name, value)| (name, text(value)))
            .collect(),
        round: row.get("round")?,
        key: row.get("key")?,
        from: party(row, "from_name", "from_agent", "from_asn")?,
        to: party(row, "to_name", "to_agent", "to_asn")?,
        transport: word(
            row,
            "transport",
            &[Transport::Tcp, Transport::Udp],
            Transport::as_str,
        )?,
        reverse_of: reverse_of.map(FlowId),
        streams: row.get("streams")?,
        offered_bps: opt_count(row, "offered_bps")?,
        offered_milli_pps: opt_count(row, "offered_milli_pps")?,
        size: small(row, "size_bytes")?,
        start_ns: count(row, "start_ns")?,
        length_ns: count(row, "length_ns")?,
        warmup_ns: count(row, "warmup_ns")?,
        planned_rows: small(row, "planned_rows")?,
    })
}

pub(super) fn assignments(db: &Connection, run: RunId) -> rusqlite::Result<Vec<AssignmentRow>> {
    db.prepare_cached("SELECT * FROM assignments WHERE run = ?1 ORDER BY agent")?
        .query_map([run.0], |row| {
            Ok(AssignmentRow {
                agent: read(row, "agent", |text: String| text.parse())?,
                assignment: row.get("assignment")?,
                state: assignment_state(row)?,
                reason: row.get("reason")?,
                late_by_ns: count(row, "late_by_ns")?,
            })
        })?
        .collect()
}

fn assignment_state(row: &Row<'_>) -> rusqlite::Result<AssignmentState> {
    word(row, "state", &AssignmentState::ALL, AssignmentState::as_str)
}

/// See [`crate::store::Store::set_assignment_state`].
pub(super) fn set_assignment_state(
    db: &Connection,
    run: RunId,
    agent: &AgentName,
    state: AssignmentState,
    reason: &str,
    late_by_ns: u64,
) -> rusqlite::Result<()> {
    let known = db
        .prepare_cached("SELECT state FROM assignments WHERE run = ?1 AND agent = ?2")?
        .query_row((run.0, agent.as_str()), assignment_state)
        .optional()?;
    if known.is_some_and(|known| known <= state) {
        db.prepare_cached(
            "UPDATE assignments SET state = ?3, reason = ?4, late_by_ns = max(late_by_ns, ?5)
             WHERE run = ?1 AND agent = ?2",
        )?
        .execute(params![
            run.0,
            agent.as_str(),
            state.as_str(),
            reason,
            int(late_by_ns)
        ])?;
    }
    Ok(())
}

/// See [`crate::store::Store::set_session`].
pub(super) fn set_session(db: &Connection, run: RunId, row: &SessionRow) -> rusqlite::Result<()> {
    let (word, tuples, link, code, reason) = match &row.state {
        SessionState::Listening { .. } => ("listening", None, None, None, None),
        SessionState::Ready { tuples, link } => {
            let tuples = serde_json::to_string(tuples).expect("a list of texts is JSON");
            ("ready", Some(tuples), Some(*link), None, None)
        }
        SessionState::Failed { code, reason } => ("failed", None, None, Some(code), Some(reason)),
    };
    let port = match row.state {
        SessionState::Listening { port } => Some(port),
        _ => row.port,
    };
    db.prepare_cached(
        "INSERT INTO sessions (run, session, end, state, port, link, tuples_json, code, reason)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (run, session, end) DO UPDATE SET state = ?4, port = ifnull(?5, port),
            link = ?6, tuples_json = ?7, code = ?8, reason = ?9",
    )?
    .execute(params![
        run.0,
        row.session.0,
        row.end.as_str(),
        word,
        port,
        link,
        tuples,
        code,
        reason,
    ])?;
    Ok(())
}

pub(super) fn sessions(db: &Connection, run: RunId) -> rusqlite::Result<Vec<SessionRow>> {
    db.prepare_cached("SELECT * FROM sessions WHERE run = ?1 ORDER BY session, end = 'rx'")?
        .query_map([run.0], |row| {
            let port: Option<u16> = row.get("port")?;
            let state = match row.get::<_, String>("state")?.as_str() {
                "listening" => SessionState::Listening {
                    port: port.unwrap_or(0),
                },
                "ready" => SessionState::Ready {
                    tuples: read(row, "tuples_json", |json: String| {
                        serde_json::from_str(&json)
                    })?,
                    link: row.get("link")?,
                },
                _ => SessionState::Failed {
                    code: row.get("code")?,
                    reason: row.get("reason")?,
                },
            };
            let session = SessionId(small(row, "session")?);
            Ok(SessionRow {
                session,
                end: end_word(row, "end")?,
                state,
                port,
            })
        })?
        .collect()
}
