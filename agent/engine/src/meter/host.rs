//! What the host did to the calling thread: CPU time used, time spent waiting for
//! a CPU, and wake-ups that came late.

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

/// Samples the calling thread. Made and used by that thread.
#[derive(Debug)]
pub(crate) struct HostMeter {
    /// The account at the last sample.
    last: HostSample,
    /// The latest wake-up since it was last asked for, ns.
    frozen: u64,
}

impl HostMeter {
    /// Starts from now.
    pub(crate) fn new() -> Self {
        Self {
            last: account(),
            frozen: 0,
        }
    }

    /// The changes since the last call.
    pub(crate) fn sample(&mut self) -> HostSample {
        let now = account();
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
}

/// The calling thread's account since it began.
fn account() -> HostSample {
    HostSample {
        cpu_ns: socket::thread_cpu_ns(),
        runq_wait_ns: socket::run_queue_wait_ns(),
    }
}
