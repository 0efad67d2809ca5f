//! Connections that have not called anything yet: how long they may take and
//! how many there may be; and how many connections one address may have.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::audit::{Audit, Entry, Event, Who};

/// How long a connection has for its first call: an honest one makes it at once.
const CALL_WAIT: Duration = Duration::from_secs(10);
/// Connections without a call at once; the oldest has to go for the next.
const SILENT: usize = 256;
/// Connections of one address at once: half of a listener's, for the agents that
/// share one.
const OF_ADDRESS: usize = super::CONNECTIONS / 2;

/// What the connections of one listener share.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    state: Arc<Mutex<State>>,
    audit: Audit,
    wait: Duration,
}

#[derive(Debug, Default)]
struct State {
    arrivals: u64,
    /// Those without a call, by arrival.
    silent: BTreeMap<u64, CancellationToken>,
    addresses: BTreeMap<IpAddr, usize>,
}

impl Gate {
    pub(super) fn new(audit: Audit) -> Self {
        Self {
            state: Arc::default(),
            audit,
            wait: CALL_WAIT,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Counts stay good whatever panicked beside them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection; `None` when its address has too many.
    pub(super) fn enter(&self, who: Who) -> Option<Place> {
        let address = who.address.map(|address| address.ip());
        let mut state = self.state();
        if let Some(address) = address {
            let count = state.addresses.entry(address).or_default();
            if *count >= OF_ADDRESS {
                drop(state);
                self.refuse(
                    &who,
                    &format!("more than {OF_ADDRESS} connections of one address: close some"),
                );
                return None;
            }
            *count += 1;
        }
        let arrival = state.arrivals;
        state.arrivals += 1;
        let token = CancellationToken::new();
        state.silent.insert(arrival, token.clone());
        if state.silent.len() > SILENT
            && let Some((_, oldest)) = state.silent.pop_first()
        {
            oldest.cancel();
        }
        drop(state);
        let called = Called::default();
        Some(Place {
            gate: self.clone(),
            arrival,
            address,
            called: called.clone(),
            silent: Some(Silent {
                who,
                called,
                late: Box::pin(tokio::time::sleep(self.wait)),
                pushed_out: Box::pin(token.cancelled_owned()),
            }),
        })
    }

    pub(super) fn refuse(&self, who: &Who, why: &str) {
        tracing::debug!(?who, why, "connection refused");
        let entry = Entry::new(Event::Connection, who.clone());
        self.audit.tell(entry.refused(why));
    }
}

/// Whether a connection has made its first call; set by who takes calls.
#[derive(Debug, Clone, Default)]
pub struct Called(Arc<AtomicBool>);

impl Called {
    /// It has.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A connection's place; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    gate: Gate,
    arrival: u64,
    address: Option<IpAddr>,
    called: Called,
    silent: Option<Silent>,
}

/// What ends a connection that calls nothing.
#[derive(Debug)]
struct Silent {
    who: Who,
    called: Called,
    late: Pin<Box<Sleep>>,
    pushed_out: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Silent {
    fn poll_why(&mut self, cx: &mut Context<'_>) -> Poll<&'static str> {
        if self.pushed_out.as_mut().poll(cx).is_ready() {
            return Poll::Ready("too many connections without a call: it was the oldest");
        }
        self.late.as_mut().poll(cx).map(|()| "no call within 10 s")
    }
}

impl Place {
    /// What its first call sets.
    pub(super) fn called(&self) -> Called {
        self.called.clone()
    }

    /// Tells that the connection is refused now.
    pub(super) fn refuse(&self, who: &Who, why: &str) {
        self.gate.refuse(who, why);
    }

    /// Whether the connection has to end, for being of no use. To be asked
    /// whenever it is read from; wakes the reader when that changes.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(silent) = &mut self.silent else {
            return Poll::Pending;
        };
        if silent.called.is_set() {
            self.silent = None;
            self.gate.state().silent.remove(&self.arrival);
            return Poll::Pending;
        }
        let Poll::Ready(why) = silent.poll_why(cx) else {
            return Poll::Pending;
        };
        self.gate.refuse(&silent.who, why);
        Poll::Ready(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        state.silent.remove(&self.arrival);
        if let Some(address) = self.address
            && let Some(count) = state.addresses.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                state.addresses.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::SocketAddr;

    use super::*;

    fn gate() -> (tempfile::TempDir, Gate) {
        let directory = tempfile::tempdir().unwrap();
        let audit = Audit::open(directory.path()).unwrap();
        (directory, Gate::new(audit))
    }

    fn from(address: &str) -> Who {
        Who {
            role: "agent",
            address: Some(SocketAddr::new(address.parse().unwrap(), 1)),
            ..Who::default()
        }
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(future)
    }

    async fn has_to_end(place: &mut Place) -> bool {
        poll_fn(|cx| Poll::Ready(place.poll_end(cx).is_ready())).await
    }

    #[test]
    fn the_oldest_without_a_call_makes_room() {
        block_on(async {
            let (_directory, gate) = gate();
            let mut first = gate.enter(from("192.0.2.1")).unwrap();
            let mut caller = gate.enter(from("192.0.2.2")).unwrap();
            caller.called().set();
            assert!(!has_to_end(&mut caller).await);
            let more: Vec<_> = (0..SILENT - 1)
                .map(|_| gate.enter(from("192.0.2.3")).unwrap())
                .collect();
            assert!(!has_to_end(&mut first).await);
            let _last = gate.enter(from("192.0.2.3")).unwrap();
            assert!(has_to_end(&mut first).await);
            assert!(!has_to_end(&mut caller).await);
            drop(more);
            assert_eq!(gate.state().silent.len(), 1);
        });
    }

    #[test]
    fn an_address_has_so_many_and_no_more() {
        block_on(async {
            let (_directory, gate) = gate();
            let mut places: Vec<_> = (0..OF_ADDRESS)
                .map(|_| gate.enter(from("192.0.2.1")).unwrap())
                .collect();
            assert!(gate.enter(from("192.0.2.1")).is_none());
            assert!(gate.enter(from("192.0.2.2")).is_some());
            places.pop();
            assert!(gate.enter(from("192.0.2.1")).is_some());
            drop(places);
            assert!(gate.state().addresses.is_empty());
        });
    }

    #[test]
    fn who_calls_nothing_is_late() {
        block_on(async {
            let (directory, mut gate) = gate();
            gate.wait = Duration::from_millis(1);
            let mut place = gate.enter(from("192.0.2.1")).unwrap();
            poll_fn(|cx| place.poll_end(cx)).await;
            gate.audit.flush();
            let log = std::fs::read_to_string(directory.path().join(crate::audit::FILE)).unwrap();
            assert!(log.contains("no call within 10 s"), "{log}");
        });
    }
}
