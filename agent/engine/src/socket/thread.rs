//! What a traffic thread asks of the scheduler, and what the scheduler did to it.

use std::fs;

use super::error::{Describe, SocketError};
use super::sys;

/// Sets how late the kernel may let the calling thread's timers run, to join them
/// with others. The default of 50 us is most of a sleeping sender's lateness; 1 ns
/// is the least there is (0 means the default).
pub fn set_timer_slack_ns(slack_ns: u64) -> Result<(), SocketError> {
    sys::set_timer_slack(slack_ns).describe("set timer slack of", || "the calling thread")
}

/// Lets the calling thread, and those it starts, run on these CPUs only. Fails for
/// CPUs that the host does not have or its cpuset does not allow.
pub fn pin_thread(cpus: &[usize]) -> Result<(), SocketError> {
    sys::epoll::set_affinity(cpus).describe("run on CPUs", || crate::cpus::CpuList::from(cpus))
}

/// The CPUs that the calling thread may run on.
pub fn thread_cpus() -> Result<Vec<usize>, SocketError> {
    sys::epoll::affinity().describe("read the CPUs of", || "the calling thread")
}

/// Raises the limit of open descriptors as far as the host allows; a stream needs
/// one. Returns the limit.
pub fn raise_descriptor_limit() -> Result<u64, SocketError> {
    sys::epoll::raise_descriptor_limit().describe("raise the limit of", || "open descriptors")
}

/// CPU time that the calling thread has used, ns.
pub fn thread_cpu_ns() -> u64 {
    sys::thread_cpu_ns()
}

/// Time that the calling thread was ready to run and waited for a CPU, ns; `None`
/// where the kernel keeps no such account.
pub fn run_queue_wait_ns() -> Option<u64> {
    parse_run_queue_wait(&fs::read_to_string("/proc/thread-self/schedstat").ok()?)
}

/// The second number of a `schedstat` file (Documentation/scheduler/sched-stats):
/// ns spent waiting on a run queue.
pub fn parse_run_queue_wait(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedstat_as_the_kernel_writes_it() {
        assert_eq!(parse_run_queue_wait("1527840 205003 12\n"), Some(205_003));
        for text in ["", "1", "1 x", "1 -2 3"] {
            assert_eq!(parse_run_queue_wait(text), None, "{text:?}");
        }
    }

    #[test]
    fn cpu_time_advances_with_work() {
        let before = thread_cpu_ns();
        let mut sum = 0_u64;
        while thread_cpu_ns() == before {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(thread_cpu_ns() > before);
        set_timer_slack_ns(1).unwrap();
    }
}
