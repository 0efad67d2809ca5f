//! What is stored, held against what was measured.

use std::collections::BTreeMap;
use std::thread;
use std::time::Instant;

use serde_json::Value;
use weir_tests::account::{self, KeptRow};
use weir_tests::ledger::Key;

use super::{AGENTS, LIVE, LOOK, PATIENCE, Rig};
use crate::outcome::Outcome;

impl Rig {
    /// Holds what is stored of a run against what was measured, and looks whether
    /// everybody is well.
    pub(crate) fn judge(&self, outcome: &mut Outcome, run: u32, document: &Value) {
        self.compare(outcome, run);
        self.conserve(outcome, run, document);
        self.be_contiguous(outcome);
        self.be_well(outcome);
        outcome.grew_kib = outcome.grew_kib.max(self.watch.grew_kib());
    }

    /// As [`judge`](Self::judge), of a run that lacks the end of an agent.
    pub(crate) fn judge_part(&self, outcome: &mut Outcome, run: u32) {
        self.compare(outcome, run);
        self.be_contiguous(outcome);
        self.be_well(outcome);
        outcome.grew_kib = outcome.grew_kib.max(self.watch.grew_kib());
    }

    /// As [`judge`](Self::judge), where no second names of segments can be had: what was
    /// measured is what the ends say at their end.
    pub(crate) fn judge_by_totals(&self, outcome: &mut Outcome, run: u32, document: &Value) {
        self.conserve(outcome, run, document);
        let ledger = |key: &str| document["ledger"][key].as_u64().unwrap_or(0) as usize;
        outcome.expected += ledger("expected");
        outcome.lost += ledger("expected").saturating_sub(ledger("stored"));
        let twice = "SELECT count(*) FROM (SELECT 1 FROM records
                     GROUP BY flow, end, stream, k HAVING count(*) > 1)";
        let twice = self.try_ask(twice);
        outcome.check(twice == Some(0), || {
            format!("{twice:?} rows are stored twice")
        });
        outcome.doubled += twice.unwrap_or(0) as usize;
        self.be_well(outcome);
        outcome.grew_kib = outcome.grew_kib.max(self.watch.grew_kib());
    }

    /// Missing, altered, doubled and invented rows, by the ledger.
    pub(crate) fn compare(&self, outcome: &mut Outcome, run: u32) {
        let measured = self.tap.rows(run);
        let mut stored: BTreeMap<Key, Vec<KeptRow>> = BTreeMap::new();
        for row in account::stored_rows(&self.cluster.database(), run) {
            stored.entry(row.key()).or_default().push(row);
        }
        let (mut lost, mut altered, mut doubled) = (0, 0, 0);
        for (key, row) in &measured {
            match stored.remove(key).as_deref() {
                None => lost += 1,
                Some(rows) => {
                    altered += usize::from(rows[0] != *row);
                    doubled += rows.len() - 1;
                }
            }
        }
        let invented = stored.values().map(Vec::len).sum::<usize>();
        outcome.check(!measured.is_empty(), || "nothing was measured".into());
        outcome.check(lost == 0, || format!("{lost} rows are not stored"));
        outcome.check(altered == 0, || {
            format!("{altered} rows are not what was measured")
        });
        outcome.check(doubled == 0, || format!("{doubled} rows are stored twice"));
        outcome.check(invented == 0, || {
            format!("{invented} rows were never measured")
        });
        outcome.expected += measured.len();
        outcome.lost += lost + altered;
        outcome.doubled += doubled + invented;
    }

    /// The sum of the rows is what each end said at its end.
    pub(crate) fn conserve(&self, outcome: &mut Outcome, run: u32, document: &Value) {
        let ledger = &document["ledger"];
        let none = |key: &str| ledger[key].as_array().is_some_and(Vec::is_empty);
        let whole = if self.stopped {
            none("gaps") && none("unclosed") && ledger["expected"] == ledger["stored"]
        } else {
            document["checks"]["complete"] == true
        };
        outcome.check(whole, || {
            format!("the result lacks something: {}", document["ledger"])
        });
        if !whole {
            return;
        }
        let account = account::stored(&self.cluster, &format!("r-{run:04}"));
        for (key, kept) in &account {
            let holds = kept.rows.len() == kept.closed.rows as usize
                && kept.sum(false) == kept.closed.total;
            outcome.check(holds, || format!("{key:?}: the rows are not its total"));
        }
        let flows = document["flows"].as_array().map_or(0, Vec::len);
        outcome.check(account.len() == 2 * flows, || {
            format!("{} manifests of {flows} flows", account.len())
        });
    }

    /// Of each boot as much is stored as it has measured, without a hole.
    fn be_contiguous(&self, outcome: &mut Outcome) {
        // The ends of other runs' observations may come after the result.
        let begun = Instant::now();
        while self.unstored() > 0 && begun.elapsed() < LIVE {
            thread::sleep(LOOK);
        }
        let Some(acked) = self.watermarks() else {
            outcome
                .problems
                .push("the watermarks cannot be read".into());
            return;
        };
        for boot in self.tap.boots() {
            let (count, last) = (boot.entries.len() as u64, boot.last());
            let stored = acked.get(&(boot.agent.clone(), boot.boot.clone()));
            // What the last boot of an agent adds of gaps has no file.
            let holds = count == last && stored.is_some_and(|stored| *stored >= last);
            outcome.check(holds, || {
                format!(
                    "{} measured {count} entries up to {last}, stored up to {stored:?}",
                    boot.agent
                )
            });
        }
    }

    fn be_well(&self, outcome: &mut Outcome) {
        let logs = AGENTS.map(|name| self.cluster.agent(name).output());
        let controller = self.cluster.controller().output();
        for log in logs.iter().chain([&controller]) {
            outcome.check(!log.contains("panicked"), || "a process panicked".into());
        }
        let begun = Instant::now();
        // Connections of former sessions end on their own.
        while self.watch.files_above() > 8 && begun.elapsed() < PATIENCE / 3 {
            thread::sleep(LOOK);
        }
        let above = self.watch.files_above();
        outcome.check(above <= 8, || {
            format!("{above} files more are open than before")
        });
    }
}
