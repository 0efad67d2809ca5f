//! Which refusals get a line of their own, pure. The disk's share of a flood:
//! each different refusal once, then its count in windows that double up to an
//! hour; each peer at most [`PURSE`] different ones at once and one more per
//! [`REFILL_NS`]; what finds neither is counted.

use std::collections::BTreeMap;

use super::entry::{Entry, Event, Who};
use super::writer::Told;

const SECOND_NS: u64 = 1_000_000_000;
/// First window in which equal refusals are only counted.
const WINDOW_NS: u64 = 60 * SECOND_NS;
/// Longest window.
const WINDOW_MOST_NS: u64 = 3_600 * SECOND_NS;
/// Different refusals whose repetitions are counted.
const KINDS: usize = 256;
/// Different refusals that a peer has at once.
const PURSE: u64 = 16;
/// Time in which it gets another one.
const REFILL_NS: u64 = 600 * SECOND_NS;
/// Peers with a purse of their own; the others share one.
const PURSES: usize = 64;

/// A refusal whose repetitions are counted.
#[derive(Debug)]
struct Repeated {
    window_ns: u64,
    ends_ns: u64,
    count: u64,
    first_unix_ns: i64,
    last_unix_ns: i64,
}

/// What a peer may still write.
#[derive(Debug, Clone, Copy)]
struct Purse {
    coins: u64,
    refilled_ns: u64,
}

impl Purse {
    fn full(now_ns: u64) -> Self {
        Self {
            coins: PURSE,
            refilled_ns: now_ns,
        }
    }

    fn refill(&mut self, now_ns: u64) {
        let coins = now_ns.saturating_sub(self.refilled_ns) / REFILL_NS;
        self.refilled_ns += coins * REFILL_NS;
        self.coins = (self.coins + coins).min(PURSE);
    }

    fn pay(&mut self, now_ns: u64) -> bool {
        self.refill(now_ns);
        let paid = self.coins > 0;
        self.coins = self.coins.saturating_sub(1);
        paid
    }
}

/// The limiter. `now_ns` is monotonic; the wall clock's time is only noted down.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    repeated: BTreeMap<Entry, Repeated>,
    purses: BTreeMap<String, Purse>,
    others: Option<Purse>,
    /// Refusals without a line, since when, and when that is told.
    omitted: Option<Repeated>,
}

impl Limiter {
    /// Whether this refusal is written now; otherwise it has been counted.
    pub(super) fn offer(&mut self, entry: &Entry, now_ns: u64, unix_ns: i64) -> bool {
        let key = entry.without_port();
        if let Some(repeated) = self.repeated.get_mut(&key) {
            repeated.add(unix_ns);
            return false;
        }
        if self.repeated.len() < KINDS && self.pay(entry.who(), now_ns) {
            self.repeated.insert(key, Repeated::new(now_ns));
            return true;
        }
        let omitted = self.omitted.get_or_insert_with(|| Repeated::new(now_ns));
        omitted.add(unix_ns);
        false
    }

    fn pay(&mut self, who: &Who, now_ns: u64) -> bool {
        let origin = who.origin();
        if self.purses.len() >= PURSES && !self.purses.contains_key(&origin) {
            self.purses.retain(|_, purse| {
                purse.refill(now_ns);
                purse.coins < PURSE
            });
        }
        let purse = if self.purses.len() < PURSES || self.purses.contains_key(&origin) {
            self.purses
                .entry(origin)
                .or_insert_with(|| Purse::full(now_ns))
        } else {
            self.others.get_or_insert_with(|| Purse::full(now_ns))
        };
        purse.pay(now_ns)
    }

    /// Counts whose window has ended. A refusal that did not come again is forgotten.
    pub(super) fn due(&mut self, now_ns: u64) -> Vec<Told> {
        self.take(|repeated| repeated.ends_ns <= now_ns, now_ns)
    }

    /// All counts, whatever their windows.
    pub(super) fn all(&mut self, now_ns: u64) -> Vec<Told> {
        self.take(|_| true, now_ns)
    }

    fn take(&mut self, is_due: impl Fn(&Repeated) -> bool, now_ns: u64) -> Vec<Told> {
        let mut told = Vec::new();
        self.repeated.retain(|entry, repeated| {
            if !is_due(repeated) {
                return true;
            }
            let again = repeated.count > 0;
            if again {
                told.push(repeated.told(entry.clone()));
                repeated.next(now_ns);
            }
            again
        });
        if let Some(omitted) = self.omitted.take_if(|omitted| is_due(omitted)) {
            let what = "refusals beyond what each peer may have written one by one";
            let entry = Entry::new(Event::Omitted, Who::controller()).because(what);
            told.push(omitted.told(entry));
        }
        told
    }
}

impl Repeated {
    fn new(now_ns: u64) -> Self {
        Self {
            window_ns: WINDOW_NS,
            ends_ns: now_ns + WINDOW_NS,
            count: 0,
            first_unix_ns: 0,
            last_unix_ns: 0,
        }
    }

    fn add(&mut self, unix_ns: i64) {
        if self.count == 0 {
            self.first_unix_ns = unix_ns;
        }
        self.last_unix_ns = unix_ns;
        self.count = self.count.saturating_add(1);
    }

    fn next(&mut self, now_ns: u64) {
        self.count = 0;
        self.window_ns = (self.window_ns * 2).min(WINDOW_MOST_NS);
        self.ends_ns = now_ns + self.window_ns;
    }

    fn told(&self, entry: Entry) -> Told {
        Told {
            entry,
            unix_ns: self.last_unix_ns,
            since_unix_ns: Some(self.first_unix_ns),
            count: self.count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(origin: u32, reason: &str) -> Entry {
        let who = Who {
            role: "agent",
            uid: Some(origin),
            ..Who::default()
        };
        Entry::new(Event::Session, who).refused(reason)
    }

    #[test]
    fn equal_refusals_are_counted_in_windows_that_grow() {
        let mut limiter = Limiter::default();
        let entry = refusal(1, "why");
        assert!(limiter.offer(&entry, 0, 5));
        for i in 0..100 {
            assert!(!limiter.offer(&entry, i, 10 + i as i64));
        }
        assert!(limiter.due(WINDOW_NS - 1).is_empty());
        let told = limiter.due(WINDOW_NS);
        assert_eq!((told.len(), told[0].count), (1, 100));
        assert_eq!(told[0].since_unix_ns, Some(10));
        assert_eq!(told[0].unix_ns, 109);
        // The next window is twice as long, and ends the count when nothing came.
        assert!(!limiter.offer(&entry, WINDOW_NS + 1, 0));
        assert!(limiter.due(WINDOW_NS * 2).is_empty());
        assert_eq!(limiter.due(WINDOW_NS * 3)[0].count, 1);
        assert!(limiter.due(WINDOW_NS * 8).is_empty());
        assert!(limiter.offer(&entry, WINDOW_NS * 8, 0));
    }

    #[test]
    fn a_peer_with_many_reasons_has_a_purse() {
        let mut limiter = Limiter::default();
        let written = |limiter: &mut Limiter, origin, from: u64, now_ns| {
            let offer = |n| limiter.offer(&refusal(origin, &format!("{n}")), now_ns, 7);
            (from..from + 1_000).map(offer).filter(|new| *new).count() as u64
        };
        assert_eq!(written(&mut limiter, 1, 0, 0), PURSE);
        // Another peer is not its victim.
        assert_eq!(written(&mut limiter, 2, 0, 0), PURSE);
        assert_eq!(written(&mut limiter, 1, 5_000, REFILL_NS), 1);
        let told = limiter.all(REFILL_NS);
        let omitted: u64 = told.iter().map(|told| told.count).sum();
        assert_eq!(omitted, 3_000 - 2 * PURSE - 1);
    }

    #[test]
    fn a_flood_from_everywhere_is_bounded_and_counted() {
        let mut limiter = Limiter::default();
        let mut written = 0;
        for n in 0..100_000_u32 {
            written += u64::from(limiter.offer(&refusal(n, &format!("{n}")), 0, 1));
        }
        assert!(limiter.repeated.len() <= KINDS && limiter.purses.len() <= PURSES);
        assert!(written <= KINDS as u64);
        let counted: u64 = limiter.all(0).iter().map(|told| told.count).sum();
        assert_eq!(written + counted, 100_000);
    }
}
