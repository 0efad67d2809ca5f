//! What the host did to a stream: CPU time used, time its thread spent waiting for
//! a CPU, and wake-ups that came late.
//!
//! A thread of a stream's own has its accounts in the kernel. Streams that share a
//! thread are charged for their steps, each with what it cost, so that the sum over
//! the streams is the thread's CPU time; waiting for a CPU meets all of them alike.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::socket;

/// Changes since the last sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct HostSample {
    /// CPU time used, ns.
    pub(crate) cpu_ns: u64,
    /// Time ready to run and waiting for a CPU, ns.
    pub(crate) runq_wait_ns: Option<u64>,
}

impl HostSample {
    /// Adds another sample.
    pub(crate) fn add(&mut self, other: &Self) {
        self.cpu_ns += other.cpu_ns;
        self.runq_wait_ns = weir_common::record::add_counts(self.runq_wait_ns, other.runq_wait_ns);
    }
}

/// A shared thread's time on the run queue, as the thread itself reads it now and
/// then; others may ask for it.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// When it was last read, host monotonic ns; 0 = never.
    read_ns: AtomicU64,
    /// Time waited since the thread began, ns; [`UNKNOWN`] if the kernel does not say.
    waited_ns: AtomicU64,
    /// The CPU that the thread is kept to.
    cpu: Option<usize>,
}

/// More than any thread waits.
const UNKNOWN: u64 = u64::MAX;

/// Rows are at least 100 ms long.
const REFRESH_NS: u64 = 20_000_000;

impl Account {
    /// The account of a thread that is kept to a CPU, or to none.
    pub(crate) fn new(cpu: Option<usize>) -> Self {
        Self {
            cpu,
            ..Self::default()
        }
    }

    /// The CPU that the thread is kept to.
    pub(crate) fn cpu(&self) -> Option<usize> {
        self.cpu
    }

    /// Reads the calling thread's account again if that was long ago.
    pub(crate) fn refresh(&self, now_ns: u64) {
        let read_ns = self.read_ns.load(Ordering::Relaxed);
        if read_ns == 0 || now_ns >= read_ns + REFRESH_NS {
            let waited_ns = socket::run_queue_wait_ns().unwrap_or(UNKNOWN);
            self.waited_ns.store(waited_ns, Ordering::Relaxed);
            self.read_ns.store(now_ns.max(1), Ordering::Relaxed);
        }
    }

    fn waited_ns(&self) -> Option<u64> {
        Some(self.waited_ns.load(Ordering::Relaxed)).filter(|ns| *ns != UNKNOWN)
    }
}

/// Samples the thread that a stream runs on.
#[derive(Debug)]
pub(crate) struct HostMeter {
    /// The shared thread, if it is one.
    shared: Option<Arc<Account>>,
    /// What steps on a shared thread have cost, ns.
    charged_ns: u64,
    /// The account at the last sample.
    last: HostSample,
    /// The latest wake-up since it was last asked for, ns.
    frozen: u64,
}

impl HostMeter {
    /// Starts from now, on the calling thread (which then samples) or on a shared
    /// one.
    pub(crate) fn new(shared: Option<Arc<Account>>) -> Self {
        let mut meter = Self {
            shared,
            charged_ns: 0,
            last: HostSample::default(),
            frozen: 0,
        };
        meter.last = meter.account();
        meter
    }

    /// A step on a shared thread cost so much CPU time.
    #[inline]
    pub(crate) fn charge(&mut self, cpu_ns: u64) {
        self.charged_ns += cpu_ns;
    }

    /// The changes since the last call.
    pub(crate) fn sample(&mut self) -> HostSample {
        let now = self.account();
        let last = std::mem::replace(&mut self.last, now);
        HostSample {
            cpu_ns: now.cpu_ns.saturating_sub(last.cpu_ns),
            runq_wait_ns: match (now.runq_wait_ns, last.runq_wait_ns) {
                (Some(now), Some(then)) => Some(now.saturating_sub(then)),
                _ => None,
            },
        }
    }

    /// A wait for `deadline_ns` ended at `now_ns`.
    pub(crate) fn woke(&mut self, deadline_ns: u64, now_ns: u64) {
        self.frozen = self.frozen.max(now_ns.saturating_sub(deadline_ns));
    }

    /// The latest wake-up since the last call, ns.
    pub(crate) fn take_frozen_ns(&mut self) -> u64 {
        std::mem::take(&mut self.frozen)
    }

    /// The account since the stream's or its thread's beginning.
    fn account(&self) -> HostSample {
        match &self.shared {
            Some(shared) => HostSample {
                cpu_ns: self.charged_ns,
                runq_wait_ns: shared.waited_ns(),
            },
            None => HostSample {
                cpu_ns: socket::thread_cpu_ns(),
                runq_wait_ns: socket::run_queue_wait_ns(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_on_a_shared_thread_has_what_it_was_charged() {
        let account = Arc::new(Account::default());
        account.refresh(1);
        let mut meter = HostMeter::new(Some(Arc::clone(&account)));
        meter.charge(700);
        meter.charge(300);
        assert_eq!(meter.sample().cpu_ns, 1000);
        assert_eq!(meter.sample().cpu_ns, 0);
        account.waited_ns.store(UNKNOWN, Ordering::Relaxed);
        assert_eq!(meter.sample().runq_wait_ns, None);
    }
}
