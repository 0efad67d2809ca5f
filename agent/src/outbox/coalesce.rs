//! Merges rows when the spool is nearly full: counts stay exact, the
//! resolution goes down, and each such row says so. Pure.

use std::collections::BTreeMap;

use weir_common::id::{FlowId, RunId};
use weir_common::record::{End, Entry, Record};

/// Intervals that become one row.
const INTERVALS: u32 = 10;

type FlowEnd = (RunId, FlowId, End);

/// Rows under way, and how many are no more.
#[derive(Debug, Default)]
pub(super) struct Coalescer {
    rows: BTreeMap<(FlowEnd, Option<u16>), (Box<Record>, u32)>,
    /// Rows merged into others, per end of a flow: its manifest names so many less.
    merged: BTreeMap<FlowEnd, u32>,
}

impl Coalescer {
    /// Takes an entry and gives those that are to be kept now, in order. `on`:
    /// rows are to be merged; when they no longer are, all under way come out.
    pub(super) fn take(&mut self, entry: Entry, on: bool) -> Vec<Entry> {
        let mut kept = Vec::new();
        if !on {
            let rows = std::mem::take(&mut self.rows);
            kept.extend(rows.into_values().map(|(row, _)| Entry::Record(row)));
        }
        match entry {
            Entry::Record(row) if on => kept.extend(self.row(row).map(Entry::Record)),
            Entry::Closed(mut closed) => {
                let end = (closed.run, closed.flow, closed.end);
                let first = (end, None);
                while let Some((key, _)) = self.rows.range(first..).next()
                    && key.0 == end
                {
                    let key = *key;
                    kept.extend(self.rows.remove(&key).map(|(row, _)| Entry::Record(row)));
                }
                let merged = self.merged.remove(&end).unwrap_or(0);
                closed.rows = closed.rows.saturating_sub(merged);
                kept.push(Entry::Closed(closed));
            }
            entry => kept.push(entry),
        }
        kept
    }

    /// Merges a row into the one under way; gives a row that is done.
    fn row(&mut self, row: Box<Record>) -> Option<Box<Record>> {
        let end = (row.run, row.flow, row.end);
        let key = (end, row.stream);
        let Some((under_way, intervals)) = self.rows.get_mut(&key) else {
            self.rows.insert(key, (row, 1));
            return None;
        };
        if !under_way.continues_in(&row) {
            let done = std::mem::replace(under_way, row);
            *intervals = 1;
            return Some(done);
        }
        under_way.coalesce(&row);
        *intervals += 1;
        *self.merged.entry(end).or_default() += 1;
        if *intervals < INTERVALS {
            return None;
        }
        self.rows.remove(&key).map(|(row, _)| row)
    }
}
