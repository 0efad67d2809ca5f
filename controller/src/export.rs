//! Rows of a run for other programs: JSON objects and CSV lines with the
//! columns of `docs/records.md`.
//!
//! Two forms. *Per end*: one row for each (flow, stream, end, k). *Joined*: the
//! two ends of a flow beside each other by (stream, k); each end's interval k
//! is its own, so a receiver's column is by arrival time and never comparable
//! packet by packet with the generator's beside it.

mod column;
pub mod csv;
mod join;
mod observation;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde_json::{Map, Value};
use weir_common::id::{FlowId, RunId};
use weir_common::record::Record;

use self::join::Joiner;
use crate::store::{FlowRow, RecordQuery, Store, StoreError, Streams};

/// Which rows, in which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Both ends of a flow in one row.
    pub joined: bool,
    /// Rows of single streams too, not only the sums.
    pub streams: bool,
}

/// What rows are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// What the ends of flows saw.
    Records(Table),
    /// What passed interfaces.
    Links,
    /// What kernels went through.
    Kernels,
}

/// What all rows of a run have in common.
#[derive(Debug, Clone)]
pub struct Context {
    run: RunId,
    t0_unix_ns: Option<i64>,
    flows: BTreeMap<FlowId, FlowRow>,
    /// Matrix variables of the campaign, by name.
    variables: Vec<String>,
}

impl Context {
    /// Of a run, its T0 (ns since the Unix epoch, if it has one) and its flows.
    pub fn new(run: RunId, t0_unix_ns: Option<i64>, flows: Vec<FlowRow>) -> Self {
        let mut variables: Vec<String> = flows
            .iter()
            .flat_map(|flow| flow.cell.iter().map(|(name, _)| name.clone()))
            .collect();
        variables.sort_unstable();
        variables.dedup();
        let flows = flows.into_iter().map(|flow| (flow.flow, flow)).collect();
        Self {
            run,
            t0_unix_ns,
            flows,
            variables,
        }
    }

    /// Names of the columns of a form, in order.
    pub fn columns(&self, joined: bool) -> Vec<String> {
        let cells = self.variables.iter().map(|name| format!("cell_{name}"));
        let (before, after) = if joined {
            column::joined()
        } else {
            column::per_end()
        };
        before.into_iter().chain(cells).chain(after).collect()
    }

    /// A row of one end.
    pub fn end_row(&self, record: &Record) -> Map<String, Value> {
        let mut row = self.named(record);
        row.insert("end".into(), record.end.as_str().into());
        for column in column::TIME.iter().chain(column::FIGURES) {
            column.put(&mut row, None, record);
        }
        row
    }

    /// A row's names and its wall-clock time, which both forms have.
    fn named(&self, record: &Record) -> Map<String, Value> {
        let mut row = Map::new();
        let mut put = |name: &str, value: Value| {
            if !value.is_null() {
                row.insert(name.to_owned(), value);
            }
        };
        put("run", self.run.to_string().into());
        put("flow", record.flow.0.into());
        put("stream", record.stream.into());
        put("k", record.k.into());
        if let Some(flow) = self.flows.get(&record.flow) {
            put("repeat", flow.repeat.into());
            put("phase", flow.phase.as_str().into());
            put("set", flow.set.as_str().into());
            put("key", flow.key.as_str().into());
            put("from", flow.from.name().into());
            put("from_asn", flow.from.asn().into());
            put("to", flow.to.name().into());
            put("to_asn", flow.to.asn().into());
            put("transport", flow.transport.as_str().into());
            for (name, value) in &flow.cell {
                put(&format!("cell_{name}"), value.as_str().into());
            }
        }
        if let Some(unix_ns) = unix_ns(self.t0_unix_ns, record.start_ns) {
            row.insert("unix_ns".into(), unix_ns.into());
        }
        row
    }
}

/// The wall-clock time of an instant of a run, ns since the Unix epoch.
fn unix_ns(t0_unix_ns: Option<i64>, start_ns: u64) -> Option<i64> {
    t0_unix_ns?.checked_add(i64::try_from(start_ns).ok()?)
}

/// Gives the rows of a run, some at a time, as JSON objects in text; columns
/// without a figure are left out of an object. The names of all columns come
/// with the first call, also when there is no row, and with no other.
///
/// Blocking: call it from `spawn_blocking`. `each` may be slow, and may end it.
///
/// # Errors
/// [`StoreError::NoSuchRun`] and storage errors.
pub fn rows(
    store: &dyn Store,
    run: RunId,
    what: What,
    each: &mut dyn FnMut(Vec<String>, Vec<String>) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let Some(row) = store.run(run)? else {
        let have = "it was deleted".to_owned();
        return Err(StoreError::NoSuchRun {
            wanted: run.to_string(),
            have,
        });
    };
    let t0 = row.start.map(|start| start.unix_ns);
    match what {
        What::Records(table) => records(store, run, t0, table, each),
        What::Links => observation::links(store, run, t0, each),
        What::Kernels => observation::kernels(store, run, t0, each),
    }
}

/// Rows of flows.
fn records(
    store: &dyn Store,
    run: RunId,
    t0: Option<i64>,
    table: Table,
    each: &mut dyn FnMut(Vec<String>, Vec<String>) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let context = Context::new(run, t0, store.flows(run)?);
    if each(context.columns(table.joined), Vec::new()).is_break() {
        return Ok(());
    }
    let streams = if table.streams {
        Streams::All
    } else {
        Streams::Sum
    };
    let query = RecordQuery {
        streams,
        ..RecordQuery::default()
    };
    let mut joiner = Joiner::new(&context);
    let mut going = ControlFlow::Continue(());
    store.records(run, &query, &mut |records| {
        let mut lines = Vec::with_capacity(records.len());
        for record in &records {
            if table.joined {
                joiner.push(record, &mut |row| lines.push(text(row)));
            } else {
                lines.push(text(context.end_row(record)));
            }
        }
        if !lines.is_empty() {
            going = each(Vec::new(), lines);
        }
        going
    })?;
    let mut rest = Vec::new();
    joiner.finish(&mut |row| rest.push(text(row)));
    if going.is_continue() && !rest.is_empty() {
        // The last call: whether it asks for more makes no difference.
        let _: ControlFlow<()> = each(Vec::new(), rest);
    }
    Ok(())
}

fn text(row: Map<String, Value>) -> String {
    Value::Object(row).to_string()
}

#[cfg(test)]
mod tests;
