//! What has happened, and how often.

use std::collections::BTreeMap;

/// How often something has happened.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Counts(BTreeMap<&'static str, u64>);

impl Counts {
    pub(super) fn count(&mut self, what: &'static str, times: u64) {
        *self.0.entry(what).or_default() += times;
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (what, times) in &other.0 {
            self.count(what, *times);
        }
    }

    pub(super) fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    pub(super) fn all(&self) -> Vec<(&'static str, u64)> {
        self.0.iter().map(|(what, times)| (*what, *times)).collect()
    }
}
