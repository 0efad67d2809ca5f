//! Storing batches: rows, manifests and the watermark in one transaction.

use std::collections::{HashMap, HashSet};

use rusqlite::{CachedStatement, Connection, OptionalExtension, params};
use weir_common::id::{AgentName, BootId, FlowId, RunId};
use weir_common::record::{End, Entry, MoreColumns, Record, Source};

use super::artifact::put_artifact;
use super::column::{int, opt, storage};
use super::gap::put_gap;
use super::observation::{put_kernel, put_link, put_observed};
use super::runs;
use super::side::{put_delay, put_manifest, put_more, put_tcp};
use super::writer::Db;
use crate::store::check::check_entry;
use crate::store::{Appended, Batch, RunState, StoreError};

/// What appending needs to know of runs; asked once per run.
#[derive(Default)]
pub(super) struct RunCache(HashMap<RunId, KnownRun>);

/// Runs remembered at once; more than run at the same time.
const RUNS: usize = 256;

impl RunCache {
    /// To be called by whatever changes a run's flows or its being closed.
    pub(super) fn forget(&mut self, run: RunId) {
        self.0.remove(&run);
    }
}

/// A run as appending sees it.
enum KnownRun {
    /// Deleted, or being deleted: its entries are dropped.
    Gone,
    /// There: its flows by number, the agents that take part, and whether it is closed.
    There {
        flows: HashMap<FlowId, KnownFlow>,
        agents: HashSet<String>,
        closed: bool,
    },
}

/// A flow as appending sees it.
struct KnownFlow {
    flow: i64,
    /// Names of the agents at its ends; `None` for an address without one.
    from: Option<String>,
    to: Option<String>,
}

impl KnownFlow {
    /// Whether an agent may speak for an end: it is that end, or that end is
    /// an address whose figures the agent at the other end reports.
    fn is_spoken_for(&self, end: End, agent: &AgentName) -> bool {
        let (own, other) = match end {
            End::Tx => (&self.from, &self.to),
            End::Rx => (&self.to, &self.from),
        };
        own.as_ref()
            .or(other.as_ref())
            .is_some_and(|name| name == agent.as_str())
    }
}

/// Where an entry goes.
#[derive(Clone, Copy)]
enum Place {
    Drop,
    /// It belongs to the run as a whole.
    Run,
    Flow {
        flow: i64,
        closed: bool,
    },
}

const OPERATION: &str = "storing records";

/// Stores what of a batch is new. On an error nothing of it is stored, or the
/// transaction must be abandoned.
pub(super) fn append(db: &mut Db, batch: Batch) -> Result<Appended, StoreError> {
    let acked = watermark(&db.conn, &batch.agent, batch.boot).map_err(storage(OPERATION))?;
    let expected = acked + 1;
    let known = batch.known(acked)?;
    let mut entries = batch.entries;
    if known >= entries.len() {
        return Ok(Appended {
            acked_seq: acked,
            stored: Vec::new(),
            dropped: 0,
        });
    }
    let fresh = entries.split_off(known);

    // Everything is checked before anything is stored, so that a refusal
    // leaves the transaction clean for the batches of others.
    let mut places = Vec::with_capacity(fresh.len());
    for (seq, entry) in (expected..).zip(&fresh) {
        let refuse = |(field, problem)| StoreError::Entry {
            seq,
            field,
            problem,
        };
        check_entry(entry).map_err(refuse)?;
        places.push(place(db, &batch.agent, seq, entry)?);
    }
    let acked_seq = acked + fresh.len() as u64;
    let mut dropped = 0;
    let mut stored = Vec::with_capacity(fresh.len());
    for ((seq, entry), place) in (expected..).zip(fresh).zip(places) {
        match (&entry, place) {
            (_, Place::Drop) => {
                dropped += 1;
                continue;
            }
            (Entry::Record(record), Place::Flow { flow, closed }) => {
                put_record(db, flow, record, closed)
            }
            (Entry::Closed(manifest), Place::Flow { flow, .. }) => {
                put_manifest(&db.conn, flow, &batch.agent, batch.boot, manifest)
            }
            (Entry::Link(row), _) => put_link(&db.conn, &batch.agent, row),
            (Entry::Kernel(row), _) => put_kernel(&db.conn, row),
            (Entry::Observed(observed), _) => {
                put_observed(&db.conn, &batch.agent, batch.boot, observed)
            }
            (Entry::Gap(gap), place) => {
                let flow = match place {
                    Place::Flow { flow, .. } => Some(flow),
                    Place::Run | Place::Drop => None,
                };
                put_gap(&db.conn, (&batch.agent, batch.boot, seq), flow, gap)
            }
            (Entry::Artifact(artifact), Place::Flow { flow, .. }) => {
                put_artifact(&db.conn, flow, &batch.agent, artifact)
            }
            (Entry::Record(_) | Entry::Closed(_) | Entry::Artifact(_), Place::Run) => {
                unreachable!("rows, manifests and artifacts are placed by their flow")
            }
        }
        .map_err(storage(OPERATION))?;
        stored.push(entry);
    }
    db.conn
        .prepare_cached("INSERT OR REPLACE INTO watermarks VALUES (?1, ?2, ?3)")
        .and_then(|mut put| {
            put.execute((batch.agent.as_str(), batch.boot.to_string(), int(acked_seq)))
        })
        .map_err(storage(OPERATION))?;
    Ok(Appended {
        acked_seq,
        stored,
        dropped,
    })
}

/// Sequence up to which a boot is stored.
pub(super) fn watermark(db: &Connection, agent: &AgentName, boot: BootId) -> rusqlite::Result<u64> {
    let acked: Option<i64> = db
        .prepare_cached("SELECT acked_seq FROM watermarks WHERE agent = ?1 AND boot = ?2")?
        .query_row((agent.as_str(), boot.to_string()), |row| row.get(0))
        .optional()?;
    Ok(acked.map_or(0, |acked| u64::try_from(acked).unwrap_or(0)))
}

fn place(db: &mut Db, agent: &AgentName, seq: u64, entry: &Entry) -> Result<Place, StoreError> {
    let run = entry.run();
    let of_flow = match entry {
        Entry::Record(record) => Some((record.flow, record.end)),
        Entry::Closed(closed) => Some((closed.flow, closed.end)),
        Entry::Gap(gap) => gap.flow,
        Entry::Artifact(artifact) => Some((artifact.flow, artifact.end)),
        Entry::Link(_) | Entry::Kernel(_) | Entry::Observed(_) => None,
    };
    let refuse = |field: &str, problem| StoreError::Entry {
        seq,
        field: field.to_owned(),
        problem,
    };
    if !db.runs.0.contains_key(&run) {
        let found = find_run(&db.conn, run).map_err(storage(OPERATION))?;
        let Some(found) = found else {
            return Err(refuse(
                "run",
                format!("{run} is not a run of this controller"),
            ));
        };
        if db.runs.0.len() >= RUNS {
            db.runs.0.clear();
        }
        db.runs.0.insert(run, found);
    }
    let KnownRun::There {
        flows,
        agents,
        closed,
    } = &db.runs.0[&run]
    else {
        return Ok(Place::Drop);
    };
    let Some((flow, end)) = of_flow else {
        if agents.contains(agent.as_str()) {
            return Ok(Place::Run);
        }
        return Err(refuse("run", format!("{agent} takes no part in {run}")));
    };
    let Some(known) = flows.get(&flow) else {
        return Err(refuse("flow", format!("{run} has no flow {flow}")));
    };
    if !known.is_spoken_for(end, agent) {
        let problem = format!(
            "{agent} is not the {} end of flow {flow} of {run}",
            end.as_str()
        );
        return Err(refuse("end", problem));
    }
    Ok(Place::Flow {
        flow: known.flow,
        closed: *closed,
    })
}

/// A run, `Gone` when its number was given but it is no more, `None` when it never was.
fn find_run(db: &Connection, run: RunId) -> rusqlite::Result<Option<KnownRun>> {
    let state: Option<String> = db
        .query_row("SELECT state FROM runs WHERE run = ?1", [run.0], |row| {
            row.get(0)
        })
        .optional()?;
    let Some(state) = state else {
        let was = (1..=runs::last_given(db)?).contains(&run.0);
        return Ok(was.then_some(KnownRun::Gone));
    };
    if state == RunState::Deleting.as_str() {
        return Ok(Some(KnownRun::Gone));
    }
    let mut select = db.prepare(
        "SELECT number, flow, iif(from_agent, from_name, NULL), iif(to_agent, to_name, NULL)
         FROM flows WHERE run = ?1",
    )?;
    let flows = select
        .query_map([run.0], |row| {
            let known = KnownFlow {
                flow: row.get(1)?,
                from: row.get(2)?,
                to: row.get(3)?,
            };
            Ok((FlowId(row.get(0)?), known))
        })?
        .collect::<Result<_, _>>()?;
    let agents = db
        .prepare("SELECT agent FROM assignments WHERE run = ?1")?
        .query_map([run.0], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(Some(KnownRun::There {
        flows,
        agents,
        closed: state == RunState::Closed.as_str(),
    }))
}

/// 0 = tx, 1 = rx.
pub(super) fn end_number(end: End) -> i64 {
    match end {
        End::Tx => 0,
        End::Rx => 1,
    }
}

fn put_record(db: &mut Db, flow: i64, record: &Record, closed: bool) -> rusqlite::Result<()> {
    let number = db.next_record;
    let (end, c) = (end_number(record.end), &record.counters);
    let mut put: CachedStatement<'_> = db.conn.prepare_cached(
        "INSERT INTO records VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,
         ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24)",
    )?;
    put.execute(params![
        number,
        flow,
        record.stream,
        end,
        record.k,
        int(record.start_ns),
        int(record.length_ns),
        record.flags.0,
        opt(c.offered_packets),
        opt(c.offered_bytes),
        opt(c.tx_packets),
        opt(c.tx_bytes),
        opt(c.rx_packets),
        opt(c.rx_bytes),
        opt(c.behind_packets),
        opt(c.blocked_packets),
        opt(c.refused_packets),
        opt(c.egress_packets),
        opt(c.rx_of_tx_packets),
        opt(c.lost_packets),
        opt(c.socket_drops),
        opt(c.late),
        opt(c.duplicate),
        opt(c.reordered),
    ])?;
    db.next_record += 1;
    if let Some(delay) = &record.delay {
        put_delay(&db.conn, number, delay)?;
    }
    if let Some(tcp) = &record.tcp {
        put_tcp(&db.conn, number, tcp)?;
    }
    let reported = (record.source == Source::Reported).then_some("reported");
    match &record.more {
        Some(more) => put_more(&db.conn, number, reported, more)?,
        None if reported.is_some() => {
            put_more(&db.conn, number, reported, &MoreColumns::default())?;
        }
        None => {}
    }
    if closed {
        // A record that came after its run was closed.
        let stream = record.stream.map_or(-1, i64::from);
        db.conn
            .prepare_cached("INSERT OR IGNORE INTO record_index VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![flow, end, stream, record.k, number])?;
        db.conn
            .prepare_cached("UPDATE runs SET records = records + 1 WHERE run = ?1")?
            .execute([record.run.0])?;
    }
    Ok(())
}
