//! Records that come after their run was closed: its result is made anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_common::id::{AgentName, RunId};
use weir_experiment::analysis::ResultDocument;
use weir_experiment::analysis::document::Reason;

use super::ending::stored_result;
use super::{Command, Director};
use crate::run::closing::{self, Beside};
use crate::run::error::RunError;
use crate::run::provenance::Provenance;
use crate::run::resume;
use crate::store::Store;

/// How long a run has to be left alone before its result is made anew: an agent that
/// comes back delivers in many batches ...
const QUIET_NS: u64 = 1_000_000_000;
/// ... and how long that may hold it up.
const PATIENCE_NS: u64 = 5_000_000_000;
/// The code of the warning that a result was made anew.
const CODE: &str = "late-records";

/// Closed runs that have got entries.
#[derive(Debug, Default)]
pub(super) struct LateRuns {
    /// When the first and the last came that are in no result, ns.
    waiting: BTreeMap<RunId, (u64, u64)>,
    /// Results that are being made.
    busy: BTreeSet<RunId>,
}

impl LateRuns {
    fn note(&mut self, run: RunId, now_ns: u64) {
        self.waiting.entry(run).or_insert((now_ns, now_ns)).1 = now_ns;
    }

    /// Takes a run whose result is to be made now.
    fn take_due(&mut self, now_ns: u64) -> Option<RunId> {
        let is_due = |(run, (first, last)): &(&RunId, &(u64, u64))| {
            let past = |since: u64, time: u64| now_ns.saturating_sub(since) >= time;
            !self.busy.contains(run) && (past(*last, QUIET_NS) || past(*first, PATIENCE_NS))
        };
        let run = *self.waiting.iter().find(is_due)?.0;
        self.waiting.remove(&run);
        self.busy.insert(run);
        Some(run)
    }
}

impl Director {
    /// Closed runs that have got entries.
    pub(super) fn note_late(&mut self, runs: BTreeSet<RunId>) {
        let now_ns = self.clock.now_ns();
        for run in runs {
            self.late.note(run, now_ns);
        }
    }

    /// Begins to make results anew, off the task.
    pub(super) fn remake_due(&mut self, now_ns: u64) {
        while let Some(run) = self.late.take_due(now_ns) {
            let (store, to_self) = (Arc::clone(&self.store), self.to_self.clone());
            let (provenance, now_unix_ns) = (self.provenance(), self.clock.unix_ns());
            tokio::task::spawn_blocking(move || {
                let again = match remake(store.as_ref(), run, &provenance, now_unix_ns) {
                    Ok(Some(verdict)) => {
                        tracing::info!(%run, verdict, "records came after the run was closed: its result was made anew");
                        false
                    }
                    Ok(None) => false,
                    Err(RunError::Store(error)) if error.is_storage() => true,
                    Err(error) => {
                        tracing::warn!(%run, %error, "records came after the run was closed; its result stays as it was");
                        false
                    }
                };
                // The director ends only with the process.
                to_self.send(Command::Remade { run, again }).ok();
            });
        }
    }

    /// A result was made anew, or is to be tried again: nothing could be stored.
    pub(super) fn remade(&mut self, run: RunId, again: bool) {
        self.late.busy.remove(&run);
        if again {
            self.late.note(run, self.clock.now_ns());
        }
    }
}

/// Makes the result of a closed run from what is stored now; what was known beside the
/// store when it was closed stays. Its verdict, or `None` when nothing has changed.
fn remake(
    store: &dyn Store,
    run: RunId,
    provenance: &Provenance,
    now_unix_ns: i64,
) -> Result<Option<&'static str>, RunError> {
    let Some(row) = store.run(run)? else {
        return Ok(None); // deleted meanwhile
    };
    let before = stored_result(store, run)?;
    let loaded = resume::load(store, run)?;
    let beside = beside(&before, loaded.plan.warnings.len());
    let mut document = closing::result(
        store,
        &row,
        &loaded.campaign,
        &loaded.plan,
        &beside,
        provenance,
    )?;
    // Agents may have changed since, and the run was not made with what they are now.
    document.provenance = before.provenance.clone();
    let mut same = before.clone();
    same.warnings.retain(|warning| warning.code != CODE);
    let changed = document != same;
    if changed {
        document.warnings.push(warning(&row, now_unix_ns));
    } else {
        document = before;
    }
    let text = serde_json::to_string(&document).map_err(|error| RunError::Internal {
        operation: "writing the result",
        why: error.to_string(),
    })?;
    let verdict = document.verdict.as_str();
    store.remake_result(run, verdict, &text, row.late)?;
    Ok(changed.then_some(verdict))
}

/// What was known beside the store when a result was made. `planned`: so many warnings
/// are the plan's, which come again by themselves.
fn beside(before: &ResultDocument, planned: usize) -> Beside {
    let unclosed = before.ledger.unclosed.iter();
    let silence = |agent: &str, why: &str| Some((agent.parse::<AgentName>().ok()?, why.to_owned()));
    let own = before.warnings.iter().filter(|known| known.code != CODE);
    let own: Vec<Reason> = own.cloned().collect();
    let kept = own.len().saturating_sub(planned);
    Beside {
        silences: unclosed
            .filter_map(|end| silence(&end.agent, &end.why))
            .collect(),
        warnings: own.into_iter().take(kept).collect(),
    }
}

fn warning(row: &crate::store::RunRow, now_unix_ns: i64) -> Reason {
    let closed_unix_ns = row.closed_unix_ns.unwrap_or(now_unix_ns);
    let seconds = now_unix_ns.saturating_sub(closed_unix_ns) as f64 / 1e9;
    Reason::of_run(
        CODE,
        format!(
            "records came after the run was closed; this result was made {seconds:.1} s after that"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_result_is_made_when_a_run_is_left_alone_or_has_waited_long() {
        let (one, two) = (RunId(1), RunId(2));
        let mut late = LateRuns::default();
        late.note(one, 0);
        assert_eq!(late.take_due(SECOND - 1), None);
        assert_eq!(late.take_due(SECOND), Some(one));
        // One at a time: what comes meanwhile waits for the next.
        late.note(one, SECOND);
        assert_eq!(late.take_due(9 * SECOND), None);
        late.busy.remove(&one);
        assert_eq!(late.take_due(9 * SECOND), Some(one));
        assert_eq!(late.take_due(20 * SECOND), None);
        for now in 0..5 {
            late.note(two, now * SECOND);
            assert_eq!(late.take_due(now * SECOND), None);
        }
        late.note(two, 5 * SECOND);
        assert_eq!(late.take_due(5 * SECOND), Some(two));
    }
}
