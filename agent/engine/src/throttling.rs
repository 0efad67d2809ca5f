//! How long the agent's control group was throttled, told in every row.
//!
//! The group's counter is that of the whole process, so it is read beside the
//! traffic threads and put into their rows on the way out: [`Throttling`] is a
//! sink around the run's own. Each row gets the counter's change between its own
//! start and end, however late the row itself leaves.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use weir_common::id::{FlowId, RunId};
use weir_common::record::{End, Flags, Record};

use crate::cgroup::{self, CpuGroup};
use crate::clock::Clock;
use crate::engine::{Event, Sink};

/// A reading younger than this serves again: a thousand rows that leave
/// together cost one.
const FRESH_NS: u64 = 5_000_000;

/// Readings kept: at five a second over three minutes of them, more than any
/// row is long.
const READINGS: usize = 1_024;

/// A rising counter, read now and then.
///
/// Invariant: readings rise in time, and never fall in value.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    /// Instant, ns, and value.
    kept: VecDeque<(u64, u64)>,
}

impl Readings {
    /// Adds a reading; one of the past is ignored.
    pub(crate) fn add(&mut self, at_ns: u64, value: u64) {
        let n = self.kept.len();
        if let Some(&(last_ns, last)) = self.kept.back() {
            if at_ns <= last_ns {
                return;
            }
            // A counter that stands still needs its first and its last reading.
            if n >= 2 && self.kept[n - 2].1 == last && value == last {
                self.kept.pop_back();
            }
        }
        if self.kept.len() == READINGS {
            self.kept.pop_front();
        }
        let least = self.kept.back().map_or(0, |(_, last)| *last);
        self.kept.push_back((at_ns, value.max(least)));
    }

    /// The newest reading's instant.
    fn newest_ns(&self) -> Option<u64> {
        self.kept.back().map(|(at_ns, _)| *at_ns)
    }

    /// The value at an instant: between two readings as if it rose evenly,
    /// beyond them as the nearest one.
    fn at(&self, at_ns: u64) -> Option<u64> {
        let after = self
            .kept
            .partition_point(|(known_ns, _)| *known_ns <= at_ns);
        let before = after.checked_sub(1).and_then(|i| self.kept.get(i));
        match (before, self.kept.get(after)) {
            (Some(&(from_ns, from)), Some(&(to_ns, to))) => {
                let part = u128::from(to - from) * u128::from(at_ns - from_ns)
                    / u128::from(to_ns - from_ns);
                Some(from + part as u64)
            }
            (Some(&(_, value)), None) | (None, Some(&(_, value))) => Some(value),
            (None, None) => None,
        }
    }

    /// The change between two instants.
    pub(crate) fn change(&self, from_ns: u64, to_ns: u64) -> Option<u64> {
        Some(self.at(to_ns)?.saturating_sub(self.at(from_ns)?))
    }
}

/// Puts `throttled_us` into rows and manifests.
pub(crate) struct Throttling {
    inner: Arc<dyn Sink>,
    clock: Arc<dyn Clock>,
    /// Groups that count throttling; none: nothing is filled in.
    groups: Vec<CpuGroup>,
    t0_ns: OnceLock<u64>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    readings: Readings,
    /// What the measured rows of a flow's end add up to, until it closes.
    measured: BTreeMap<(FlowId, End), u64>,
}

impl Throttling {
    /// Around a sink, for the groups this process is in now.
    pub(crate) fn around(inner: Arc<dyn Sink>, clock: Arc<dyn Clock>) -> Self {
        let mut groups = cgroup::of_this_process();
        groups.retain(|group| group.throttled().is_some());
        Self {
            inner,
            clock,
            groups,
            t0_ns: OnceLock::new(),
            state: Mutex::default(),
        }
    }

    /// T0 on the host's monotonic clock; the first call counts.
    pub(crate) fn start(&self, t0_ns: u64) {
        let _known = self.t0_ns.set(t0_ns);
        self.read();
    }

    /// Reads the counter, if the last reading is not fresh. To be called a few
    /// times a second while traffic runs, so that a change is told in its row.
    pub(crate) fn read(&self) {
        if self.groups.is_empty() {
            return;
        }
        let mut state = self.lock();
        self.refresh(&mut state);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refresh(&self, state: &mut State) {
        let now_ns = self.clock.now_ns();
        let fresh = |newest: u64| now_ns.saturating_sub(newest) < FRESH_NS;
        if state.readings.newest_ns().is_some_and(fresh) {
            return;
        }
        // A group is throttled by its own quota or by one above it, hardly by two at once.
        let groups = self.groups.iter().filter_map(CpuGroup::throttled);
        let sum = groups.map(|group| group.throttled_us).sum();
        state.readings.add(now_ns, sum);
    }

    fn fill(&self, record: &mut Record) {
        let Some(&t0_ns) = self.t0_ns.get() else {
            return;
        };
        let mut state = self.lock();
        self.refresh(&mut state);
        let from_ns = t0_ns.saturating_add(record.start_ns);
        let to_ns = from_ns.saturating_add(record.length_ns);
        let Some(throttled_us) = state.readings.change(from_ns, to_ns) else {
            return;
        };
        record.more.get_or_insert_default().throttled_us = Some(throttled_us);
        if record.stream.is_none() && !record.flags.contains(Flags::WARMUP) {
            *state.measured.entry((record.flow, record.end)).or_default() += throttled_us;
        }
    }
}

impl Sink for Throttling {
    fn event(&self, run: RunId, mut event: Event) {
        if !self.groups.is_empty() {
            match &mut event {
                Event::Record(record) => self.fill(record),
                Event::Closed(closed) => {
                    let key = (closed.flow, closed.end);
                    closed.window.throttled_us = self.lock().measured.remove(&key);
                }
                _ => {}
            }
        }
        self.inner.event(run, event);
    }
}

impl fmt::Debug for Throttling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttling")
            .field("groups", &self.groups)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_change_is_spread_between_two_readings() {
        let mut readings = Readings::default();
        assert_eq!(readings.change(0, 10), None);
        for (at_ns, value) in [(100, 0), (200, 50), (300, 50), (400, 50), (500, 90)] {
            readings.add(at_ns, value);
        }
        assert_eq!(readings.change(100, 500), Some(90));
        assert_eq!(readings.change(100, 150), Some(25));
        assert_eq!(readings.change(250, 400), Some(0));
        assert_eq!(readings.change(450, 900), Some(20));
        assert_eq!(readings.change(0, 50), Some(0), "nothing is known before");
        assert_eq!(readings.kept.len(), 4, "standing still is two readings");
    }

    #[test]
    fn what_goes_back_is_no_change() {
        let mut readings = Readings::default();
        readings.add(100, 70);
        readings.add(90, 80);
        readings.add(200, 10);
        assert_eq!(readings.change(100, 200), Some(0));
    }

    proptest! {
        /// Rows that follow each other add up to the whole, however they are read.
        #[test]
        fn rows_add_up(steps in prop::collection::vec((1_u64..1_000, 0_u64..1_000), 2..60), cuts in prop::collection::vec(0_u64..60_000, 0..40)) {
            let (mut readings, mut at_ns, mut value) = (Readings::default(), 0, 0);
            for (time, rise) in steps {
                at_ns += time;
                value += rise;
                readings.add(at_ns, value);
            }
            let mut cuts: Vec<u64> = cuts.into_iter().map(|cut| cut % at_ns).chain([0, at_ns]).collect();
            cuts.sort_unstable();
            let sum: u64 = cuts.windows(2).filter_map(|pair| readings.change(pair[0], pair[1])).sum();
            prop_assert_eq!(Some(sum), readings.change(0, at_ns));
        }
    }
}
