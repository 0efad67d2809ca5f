//! The deny list at work: which connections are open, whose they are, and how
//! they end when somebody is denied.
//!
//! A connection of somebody who is denied has [`CUT_AFTER`] left, old or new: long
//! enough for an order to stop and for the reason, and nothing else. Every call
//! is refused meanwhile. Entering and denying are under one lock, so that no
//! connection slips through between them. The store keeps the list
//! ([`crate::store::Store::denials`]); this is its copy in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::store::{Denial, Subject};

/// How long a connection lives on after its peer was denied.
pub const CUT_AFTER: Duration = Duration::from_millis(600);

/// Who is denied, and which connections there are.
#[derive(Debug, Default)]
pub struct DenyList {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    denied: BTreeMap<Subject, Denial>,
    open: BTreeMap<u64, Open>,
    entered: u64,
}

/// One connection.
#[derive(Debug)]
struct Open {
    /// Whose it is; a name stands here as often as it was claimed.
    subjects: Vec<Subject>,
    standing: Standing,
}

impl DenyList {
    /// The list as it was stored.
    pub fn new(denials: Vec<Denial>) -> Self {
        let denied = denials
            .into_iter()
            .map(|denial| (denial.subject.clone(), denial));
        let state = State {
            denied: denied.collect(),
            ..State::default()
        };
        Self {
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock leaves the maps whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection begins, of whom its certificate names. It has its time also
    /// when one of them is denied: to be told so.
    pub fn enter(self: &Arc<Self>, subjects: Vec<Subject>) -> Presence {
        let mut state = self.state();
        let id = state.entered;
        state.entered += 1;
        let standing = Standing(Arc::new(Held {
            list: Arc::downgrade(self),
            id,
            ..Held::default()
        }));
        if let Some(denial) = subjects.iter().find_map(|each| state.denied.get(each)) {
            standing.condemn(denial);
        }
        let open = Open {
            subjects,
            standing: standing.clone(),
        };
        state.open.insert(id, open);
        Presence(standing)
    }

    /// Denies somebody from now on; how many of its connections end.
    pub fn deny(&self, denial: &Denial) -> usize {
        let mut state = self.state();
        let concerned = state
            .open
            .values()
            .filter(|open| open.subjects.contains(&denial.subject));
        let mut ended = 0;
        for open in concerned {
            open.standing.condemn(denial);
            ended += 1;
        }
        state.denied.insert(denial.subject.clone(), denial.clone());
        ended
    }

    /// Lets somebody in again. Connections that were to end still do.
    pub fn allow(&self, subject: &Subject) {
        self.state().denied.remove(subject);
    }

    /// Why somebody is denied, if that is so.
    pub fn find(&self, subject: &Subject) -> Option<Denial> {
        self.state().denied.get(subject).cloned()
    }
}

/// What a connection and its calls share.
#[derive(Default)]
struct Held {
    list: Weak<DenyList>,
    id: u64,
    denied: OnceLock<Denial>,
    told: CancellationToken,
    is_cut: AtomicBool,
    /// The connection's task.
    waker: Mutex<Option<Waker>>,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("id", &self.id)
            .field("denied", &self.denied)
            .finish_non_exhaustive()
    }
}

impl Held {
    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut(&self) {
        self.is_cut.store(true, Ordering::Release);
        if let Some(waker) = self.waker().take() {
            waker.wake();
        }
    }
}

/// A connection's place on the list of those that are open, as its calls see it.
/// The default one is of no connection, and never denied.
#[derive(Debug, Clone, Default)]
pub struct Standing(Arc<Held>);

impl Standing {
    /// Why its calls are refused, if they are.
    pub fn denied(&self) -> Option<&Denial> {
        self.0.denied.get()
    }

    /// Waits until its peer is denied. Cancel-safe.
    pub async fn until_denied(&self) -> Denial {
        self.0.told.cancelled().await;
        let denial = self.0.denied.get().cloned();
        denial.expect("it is set before it is told")
    }

    /// The peer has a name that no certificate shows: the connection is its own
    /// until the claim is dropped.
    ///
    /// # Errors
    /// Why that name is denied; the connection ends then.
    pub fn claim(&self, subject: Subject) -> Result<Claim, Denial> {
        if let Some(list) = self.0.list.upgrade() {
            let mut state = list.state();
            if let Some(denial) = state.denied.get(&subject) {
                self.condemn(denial);
                return Err(denial.clone());
            }
            if let Some(open) = state.open.get_mut(&self.0.id) {
                open.subjects.push(subject.clone());
            }
        }
        Ok(Claim {
            standing: self.clone(),
            subject,
        })
    }

    /// The first reason stays. Needs a tokio runtime.
    fn condemn(&self, denial: &Denial) {
        if self.0.denied.set(denial.clone()).is_err() {
            return;
        }
        self.0.told.cancel();
        let held = Arc::clone(&self.0);
        tokio::spawn(async move {
            tokio::time::sleep(CUT_AFTER).await;
            held.cut();
        });
    }
}

/// A name that a connection has; given back when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Claim {
    standing: Standing,
    subject: Subject,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some(list) = self.standing.0.list.upgrade() else {
            return;
        };
        let mut state = list.state();
        if let Some(open) = state.open.get_mut(&self.standing.0.id)
            && let Some(at) = open.subjects.iter().position(|each| *each == self.subject)
        {
            open.subjects.swap_remove(at);
        }
    }
}

/// An open connection; off the list when it is dropped.
#[derive(Debug)]
pub struct Presence(Standing);

impl Presence {
    /// For its calls.
    pub fn standing(&self) -> Standing {
        self.0.clone()
    }

    /// Whether the connection has to end. To be asked whenever it is read from or
    /// written to; wakes the task that asked last when that changes.
    pub fn poll_cut(&self, cx: &Context<'_>) -> Poll<()> {
        let held = &self.0.0;
        let mut waker = held.waker();
        if held.is_cut.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        if !waker
            .as_ref()
            .is_some_and(|known| known.will_wake(cx.waker()))
        {
            *waker = Some(cx.waker().clone());
        }
        drop(waker);
        // It may have been cut before the waker was there.
        if held.is_cut.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if let Some(list) = self.0.0.list.upgrade() {
            list.state().open.remove(&self.0.0.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn subject(text: &str) -> Subject {
        text.parse().unwrap()
    }

    fn denial(text: &str) -> Denial {
        Denial {
            subject: subject(text),
            reason: "stolen".to_owned(),
            by: "uid 0".to_owned(),
            since_unix_ns: 1,
        }
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(future)
    }

    async fn is_cut(presence: &Presence) -> bool {
        poll_fn(|cx| Poll::Ready(presence.poll_cut(cx).is_ready())).await
    }

    #[test]
    fn whoever_is_denied_is_told_and_then_cut_and_nobody_else() {
        block_on(async {
            let list = Arc::new(DenyList::default());
            let denied = list.enter(vec![subject("a1"), subject("serial:01")]);
            let other = list.enter(vec![subject("a2"), subject("serial:02")]);
            assert_eq!(list.deny(&denial("a1")), 1);
            assert_eq!(denied.standing().until_denied().await, denial("a1"));
            assert!(!is_cut(&denied).await, "it has a moment to hear why");
            poll_fn(|cx| denied.poll_cut(cx)).await;
            assert!(!is_cut(&other).await);
            assert!(other.standing().denied().is_none());
            assert_eq!(list.deny(&denial("serial:02")), 1);
            poll_fn(|cx| other.poll_cut(cx)).await;
        });
    }

    #[test]
    fn who_comes_later_is_told_too_until_it_is_allowed() {
        block_on(async {
            let list = Arc::new(DenyList::new(vec![denial("a1")]));
            let late = list.enter(vec![subject("a1")]);
            assert_eq!(late.standing().denied(), Some(&denial("a1")));
            poll_fn(|cx| late.poll_cut(cx)).await;
            list.allow(&subject("a1"));
            assert!(list.find(&subject("a1")).is_none());
            let again = list.enter(vec![subject("a1")]);
            assert!(again.standing().denied().is_none());
            drop((late, again));
            assert!(list.state().open.is_empty());
        });
    }

    #[test]
    fn a_name_that_is_claimed_counts_as_long_as_the_claim() {
        block_on(async {
            let list = Arc::new(DenyList::default());
            let plain = list.enter(Vec::new());
            let first = plain.standing().claim(subject("a1")).unwrap();
            let second = plain.standing().claim(subject("a1")).unwrap();
            drop(first);
            assert_eq!(list.deny(&denial("a1")), 1);
            assert!(plain.standing().denied().is_some());
            list.allow(&subject("a1"));
            drop(second);
            assert_eq!(list.deny(&denial("a1")), 0, "nobody has that name now");
            let later = list.enter(Vec::new());
            let refused = later.standing().claim(subject("a1")).unwrap_err();
            assert_eq!(refused, denial("a1"));
            poll_fn(|cx| later.poll_cut(cx)).await;
        });
    }

    #[test]
    fn without_a_connection_nobody_is_denied() {
        let standing = Standing::default();
        assert!(standing.denied().is_none());
        let _claim = standing.claim(subject("a1")).unwrap();
    }
}
