//! Whose turn it is: pure, `now` in, tasks out.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// A task's number on its worker.
pub(super) type Token = u32;

/// The tasks of one worker by what they wait for.
///
/// A task that is told to wait for an instant is due at it, in the order of the
/// instants; one that is ready for another reason takes its place behind those
/// that are due or ready already. Either way it has one turn, and waits for
/// nothing until it says so again.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    tasks: Vec<Entry>,
    /// At least the earliest instant of each waiting task. An instant that was put
    /// off stays until it comes; it then finds a later one, and takes that.
    instants: BinaryHeap<Reverse<(u64, Token)>>,
    turns: VecDeque<Token>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    wake_ns: Option<u64>,
    /// Its earliest instant in the heap.
    filed_ns: Option<u64>,
    has_turn: bool,
}

impl Agenda {
    /// The task has its turn at `wake_ns`, if not before.
    pub(super) fn wait(&mut self, task: Token, wake_ns: u64) {
        let entry = self.entry(task);
        entry.wake_ns = Some(wake_ns);
        if entry.filed_ns.is_none_or(|filed_ns| wake_ns < filed_ns) {
            entry.filed_ns = Some(wake_ns);
            self.instants.push(Reverse((wake_ns, task)));
        }
    }

    /// The task has its turn as soon as may be.
    pub(super) fn ready(&mut self, task: Token) {
        let entry = self.entry(task);
        if !std::mem::replace(&mut entry.has_turn, true) {
            self.turns.push_back(task);
        }
    }

    /// The task has ended.
    pub(super) fn forget(&mut self, task: Token) {
        self.entry(task).wake_ns = None;
    }

    /// Gives their turns to the tasks that are due at `now_ns`.
    pub(super) fn due(&mut self, now_ns: u64) {
        while let Some(Reverse((at_ns, task))) = self.instants.peek().copied() {
            if at_ns > now_ns {
                return;
            }
            self.instants.pop();
            let entry = &mut self.tasks[task as usize];
            if entry.filed_ns != Some(at_ns) {
                continue; // an earlier instant was filed after this one
            }
            entry.filed_ns = None;
            match entry.wake_ns {
                Some(wake_ns) if wake_ns > at_ns => self.wait(task, wake_ns),
                Some(_) => {
                    entry.wake_ns = None;
                    self.ready(task);
                }
                None => {}
            }
        }
    }

    /// How many turns are to be had now.
    pub(super) fn turns(&self) -> usize {
        self.turns.len()
    }

    /// Takes the next turn.
    pub(super) fn take(&mut self) -> Option<Token> {
        let task = self.turns.pop_front()?;
        let entry = &mut self.tasks[task as usize];
        entry.has_turn = false;
        entry.wake_ns = None;
        Some(task)
    }

    /// Until when nothing is due; `None` for ever. May be too early.
    pub(super) fn quiet_until_ns(&self) -> Option<u64> {
        self.instants.peek().map(|Reverse((at_ns, _))| *at_ns)
    }

    fn entry(&mut self, task: Token) -> &mut Entry {
        let at = task as usize;
        if at >= self.tasks.len() {
            self.tasks.resize(at + 1, Entry::default());
        }
        &mut self.tasks[at]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn turns(agenda: &mut Agenda) -> Vec<Token> {
        std::iter::from_fn(|| agenda.take()).collect()
    }

    #[test]
    fn due_in_the_order_of_the_instants_then_ready() {
        let mut agenda = Agenda::default();
        agenda.wait(0, 30);
        agenda.wait(1, 10);
        agenda.wait(2, 20);
        assert_eq!(agenda.quiet_until_ns(), Some(10));
        agenda.due(9);
        assert_eq!(agenda.turns(), 0);
        agenda.due(25);
        agenda.ready(0);
        agenda.ready(1);
        assert_eq!(turns(&mut agenda), [1, 2, 0]);
        agenda.due(100);
        assert_eq!(turns(&mut agenda), [0; 0], "each had its turn");
    }

    #[test]
    fn an_instant_may_be_put_off_and_brought_forward() {
        let mut agenda = Agenda::default();
        agenda.wait(0, 10);
        agenda.wait(0, 50);
        agenda.due(10);
        assert_eq!(turns(&mut agenda), [0; 0]);
        assert_eq!(agenda.quiet_until_ns(), Some(50));
        agenda.wait(0, 20);
        agenda.due(20);
        assert_eq!(turns(&mut agenda), [0]);
        agenda.due(50);
        assert_eq!(turns(&mut agenda), [0; 0], "the old instant is void");
        agenda.wait(0, 60);
        agenda.forget(0);
        agenda.due(60);
        assert_eq!(turns(&mut agenda), [0; 0]);
    }

    proptest! {
        /// A fake clock and a list that is searched from end to end say the same.
        #[test]
        fn agrees_with_a_list(
            steps in proptest::collection::vec((0_u32..12, 0_u64..40, 0_u8..4), 1..200)
        ) {
            let mut agenda = Agenda::default();
            let mut wakes: Vec<Option<u64>> = vec![None; 12];
            let mut now_ns = 0;
            for (task, ahead_ns, what) in steps {
                match what {
                    0 | 1 => {
                        agenda.wait(task, now_ns + ahead_ns);
                        wakes[task as usize] = Some(now_ns + ahead_ns);
                    }
                    2 => {
                        agenda.forget(task);
                        wakes[task as usize] = None;
                    }
                    _ => {
                        now_ns += ahead_ns;
                        agenda.due(now_ns);
                        let mut expected: Vec<(u64, Token)> = wakes
                            .iter()
                            .zip(0..)
                            .filter_map(|(wake, task)| Some(((*wake)?, task)))
                            .filter(|(wake, _)| *wake <= now_ns)
                            .collect();
                        expected.sort_unstable();
                        for (_, task) in &expected {
                            wakes[*task as usize] = None;
                        }
                        let expected: Vec<Token> = expected.into_iter().map(|(_, task)| task).collect();
                        prop_assert_eq!(turns(&mut agenda), expected);
                    }
                }
                let earliest = wakes.iter().flatten().min();
                if let Some(earliest) = earliest {
                    prop_assert!(agenda.quiet_until_ns().is_some_and(|at| at <= *earliest));
                }
            }
        }
    }
}
