//! Which run an entry belongs to, when the entry itself is gone. Pure.

use std::collections::VecDeque;

use weir_common::id::RunId;

/// Changes from one run to another that are remembered: 16 KiB. Only runs that are
/// measured at the same time change often; of those the oldest entries then count for
/// a neighbour.
const MOST: usize = 1_024;

/// The run of each entry of a sequence.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// From this sequence on entries belong to this run.
    changes: VecDeque<(u64, RunId)>,
    last_run: Option<RunId>,
}

impl Marks {
    /// Of entries that were found on disk: those of which nothing is known count for `run`.
    pub(super) fn found(run: RunId, last_run: RunId) -> Self {
        Self {
            changes: [(1, run)].into(),
            last_run: Some(last_run),
        }
    }

    /// An entry was added.
    pub(super) fn put(&mut self, seq: u64, run: RunId) {
        if self.changes.back().is_some_and(|(_, last)| *last == run) {
            return;
        }
        if self.changes.len() == MOST {
            self.changes.pop_front();
        }
        self.changes.push_back((seq, run));
        self.last_run = self.last_run.max(Some(run));
    }

    /// Whose entry it is; `None` when there never was one.
    pub(super) fn run_of(&self, seq: u64) -> Option<RunId> {
        let after = self.changes.partition_point(|(first, _)| *first <= seq);
        let change = self.changes.get(after.saturating_sub(1));
        change.map(|(_, run)| *run)
    }

    /// The highest run.
    pub(super) fn last_run(&self) -> Option<RunId> {
        self.last_run
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_counts_for_its_run() {
        let mut marks = Marks::default();
        assert_eq!((marks.run_of(1), marks.last_run()), (None, None));
        for (seq, run) in [(1, 3), (2, 3), (3, 9), (4, 9), (5, 4)] {
            marks.put(seq, RunId(run));
        }
        let runs = [1, 2, 3, 4, 5, 6].map(|seq| marks.run_of(seq).unwrap().0);
        assert_eq!(runs, [3, 3, 9, 9, 4, 4]);
        assert_eq!(marks.last_run(), Some(RunId(9)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut marks = Marks::default();
        for seq in 1..=10_000 {
            marks.put(seq, RunId(1 + seq as u32 % 2));
        }
        assert_eq!(marks.changes.len(), MOST);
        assert_eq!(marks.run_of(9_999), Some(RunId(2)));
        assert!(marks.run_of(1).is_some());
    }
}
