//! What processes use while faults are injected.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use weir_tests::Usage;

/// See the module.
pub(super) struct Watch {
    seen: Arc<Mutex<BTreeMap<u32, Seen>>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy)]
struct Seen {
    first: Usage,
    most_kib: u64,
}

impl Watch {
    pub(super) fn start() -> Self {
        Self {
            seen: Arc::default(),
            thread: None,
        }
    }

    /// Looks at these from now on, until this value is dropped.
    pub(super) fn begin(&mut self, pids: &[u32]) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for pid in pids {
            if let Some(first) = Usage::of(*pid) {
                let most_kib = first.anonymous_kib;
                seen.entry(*pid).or_insert(Seen { first, most_kib });
            }
        }
        drop(seen);
        if self.thread.is_none() {
            let watched = Arc::downgrade(&self.seen);
            self.thread = Some(thread::spawn(move || {
                while let Some(watched) = watched.upgrade() {
                    let mut seen = watched.lock().unwrap_or_else(PoisonError::into_inner);
                    for (pid, seen) in seen.iter_mut() {
                        if let Some(now) = Usage::of(*pid) {
                            seen.most_kib = seen.most_kib.max(now.anonymous_kib);
                        }
                    }
                    drop(seen);
                    drop(watched);
                    thread::sleep(Duration::from_millis(100));
                }
            }));
        }
    }

    fn of_all(&self, figure: impl Fn(u32, &Seen) -> u64) -> u64 {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let figures = seen.iter().map(|(pid, seen)| figure(*pid, seen));
        figures.max().unwrap_or(0)
    }

    /// The most that one process has grown.
    pub(super) fn grew_kib(&self) -> u64 {
        self.of_all(|_, seen| seen.most_kib - seen.first.anonymous_kib)
    }

    /// How many files more than at first one process has open now.
    pub(super) fn files_above(&self) -> u64 {
        self.of_all(|pid, seen| {
            let now = Usage::of(pid).map_or(0, |now| now.files);
            now.saturating_sub(seen.first.files) as u64
        })
    }
}
