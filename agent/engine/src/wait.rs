//! Waiting by the engine's clock, with an end by a stop.

use std::os::fd::AsFd;
use std::time::Duration;

use crate::clock::{Clock, RealtimeOffset};
use crate::socket::{self, PollFd, Waker, Woke, poll};

/// Waits until `clock` reads `deadline_ns` or `stop` is woken. Long waits poll;
/// the last [`PRECISE_NS`] sleep to the absolute instant.
pub(crate) fn wait_until(clock: &dyn Clock, stop: &Waker, deadline_ns: u64) -> Woke {
    loop {
        let left_ns = deadline_ns.saturating_sub(clock.now_ns());
        if left_ns <= PRECISE_NS {
            sleep_until(clock, deadline_ns);
            return Woke::Deadline;
        }
        let mut fds = [PollFd::readable(stop)];
        let timeout = Duration::from_nanos(left_ns - PRECISE_NS / 2);
        // A poll of one open descriptor fails only for want of memory; then the
        // loop asks again.
        if poll(&mut fds, Some(timeout)).unwrap_or(0) > 0 {
            return Woke::Stopped;
        }
    }
}

/// Sleeps until `clock` reads `deadline_ns`; nothing ends it early.
pub(crate) fn sleep_until(clock: &dyn Clock, deadline_ns: u64) {
    let left_ns = deadline_ns.saturating_sub(clock.now_ns());
    if left_ns > 0 {
        socket::sleep_until_monotonic(socket::monotonic_ns() + left_ns);
    }
}

/// A flow above 500 packets a second sleeps with one system call per packet; 2 ms
/// is also more than a wake-up of `ppoll` is ordinarily late.
const PRECISE_NS: u64 = 2_000_000;

/// What ended a wait for a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    /// The socket.
    Socket,
    /// The clock.
    Time,
}

/// Waits until `fd` is readable, `stop` is woken (unless `None`), or `clock` reads
/// `deadline_ns`. A stop counts as time.
pub(crate) fn wait_readable(
    clock: &dyn Clock,
    fd: &impl AsFd,
    stop: Option<&Waker>,
    deadline_ns: u64,
) -> Ready {
    wait_for(clock, PollFd::readable(fd), stop, deadline_ns)
}

/// As [`wait_readable`], for room to write.
pub(crate) fn wait_writable(
    clock: &dyn Clock,
    fd: &impl AsFd,
    stop: Option<&Waker>,
    deadline_ns: u64,
) -> Ready {
    wait_for(clock, PollFd::writable(fd), stop, deadline_ns)
}

fn wait_for(clock: &dyn Clock, first: PollFd<'_>, stop: Option<&Waker>, deadline_ns: u64) -> Ready {
    let timeout = Duration::from_nanos(deadline_ns.saturating_sub(clock.now_ns()));
    let ready = if let Some(stop) = stop {
        let mut fds = [first, PollFd::readable(stop)];
        poll(&mut fds, Some(timeout)).is_ok_and(|_| is_ready(&fds[0]))
    } else {
        let mut fds = [first];
        poll(&mut fds, Some(timeout)).is_ok_and(|_| is_ready(&fds[0]))
    };
    if ready { Ready::Socket } else { Ready::Time }
}

fn is_ready(fd: &PollFd<'_>) -> bool {
    fd.is_readable() || fd.is_writable()
}

/// How far the realtime clock is ahead of `clock` now: the closest of a few
/// bracketed readings.
pub(crate) fn realtime_offset(clock: &dyn Clock) -> RealtimeOffset {
    let mut best: Option<RealtimeOffset> = None;
    for _ in 0..2 {
        let before_ns = clock.now_ns();
        let realtime_ns = socket::realtime_ns();
        let reading = RealtimeOffset::bracketed(before_ns, realtime_ns, clock.now_ns());
        if best.is_none_or(|kept| reading.bound_ns < kept.bound_ns) {
            best = Some(reading);
        }
    }
    best.expect("the loop ran at least once")
}
