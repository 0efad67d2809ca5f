//! Waiting by the engine's clock, with an end by a stop.

use std::os::fd::AsFd;
use std::time::Duration;

use crate::clock::{Clock, RealtimeOffset};
use crate::pacer::{Approach, EarlyWake};
use crate::socket::{self, PollFd, Waker, Woke, poll};

/// Waits until `clock` reads `deadline_ns` or `stop` is woken. Long waits poll;
/// the last [`PRECISE_NS`] go to the absolute instant, as `early` says.
pub(crate) fn wait_until(
    clock: &dyn Clock,
    stop: &Waker,
    deadline_ns: u64,
    early: &mut EarlyWake,
) -> Woke {
    if poll_until(clock, stop, deadline_ns) == Woke::Stopped {
        return Woke::Stopped;
    }
    approach(clock, deadline_ns, early);
    Woke::Deadline
}

/// Waits until no more than [`PRECISE_NS`] are left.
fn poll_until(clock: &dyn Clock, stop: &Waker, deadline_ns: u64) -> Woke {
    loop {
        let left_ns = deadline_ns.saturating_sub(clock.now_ns());
        if left_ns <= PRECISE_NS {
            return Woke::Deadline;
        }
        let mut fds = [PollFd::readable(stop)];
        let timeout = short_of(Duration::from_nanos(left_ns - PRECISE_NS / 2));
        // A poll of one open descriptor fails only for want of memory; then the
        // loop asks again.
        if poll(&mut fds, Some(timeout)).unwrap_or(0) > 0 {
            return Woke::Stopped;
        }
    }
}

/// What to ask of a wait that must not end later than in `left`; what is then left is
/// waited for again. Linux lets ppoll and epoll_wait end a thousandth of their timeout
/// late, or five for a thread with a nice value (`select_estimate_accuracy` in its
/// fs/select.c): the phases at the end of a long campaign would begin 100 ms late.
pub(crate) fn short_of(left: Duration) -> Duration {
    if left < LONG { left } else { left / 100 * 99 }
}

/// From here on the kernel's thousandth is more than it takes to wake up.
const LONG: Duration = Duration::from_millis(50);

/// Sleeps and spins until `clock` reads `deadline_ns`, as `early` says; nothing
/// ends it before.
pub(crate) fn approach(clock: &dyn Clock, deadline_ns: u64, early: &mut EarlyWake) {
    let mut now_ns = clock.now_ns();
    loop {
        match early.approach(now_ns, deadline_ns) {
            Approach::Arrived => return,
            Approach::SleepUntil(until_ns) => {
                socket::sleep_until_monotonic(socket::monotonic_ns() + (until_ns - now_ns));
                now_ns = clock.now_ns();
                early.woke(until_ns, now_ns);
            }
            Approach::Spin => {
                let begun_ns = now_ns;
                while now_ns < deadline_ns {
                    std::hint::spin_loop();
                    now_ns = clock.now_ns();
                }
                early.spun(now_ns - begun_ns);
            }
        }
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

#[cfg(test)]
mod tests {
    use std::thread;

    use proptest::prelude::*;

    use super::*;
    use crate::clock::MonotonicClock;
    use crate::pacer::Precision;

    fn early() -> EarlyWake {
        EarlyWake::new(Precision::Sleep)
    }

    #[test]
    fn a_wait_ends_at_its_deadline_or_its_waker() {
        let clock = MonotonicClock::with_namespace_offset(0);
        let waker = Waker::new().unwrap();
        let deadline_ns = clock.now_ns() + 10_000_000;
        let woke = wait_until(&clock, &waker, deadline_ns, &mut early());
        assert_eq!(woke, Woke::Deadline);
        assert!(clock.now_ns() >= deadline_ns);
        assert!(!waker.is_woken());

        let waiting = thread::spawn({
            let waker = waker.clone();
            move || {
                wait_until(
                    &clock,
                    &waker,
                    clock.now_ns() + 3_600_000_000_000,
                    &mut early(),
                )
            }
        });
        waker.wake();
        assert_eq!(waiting.join().unwrap(), Woke::Stopped);
    }

    proptest! {
        /// A kernel that ends each wait as late as it may.
        #[test]
        fn long_waits_end_no_later_than_short_ones(
            left_ns in 0_u64..86_400_000_000_000, slack in 0_u64..=5,
        ) {
            let (mut left_ns, mut waits) = (left_ns as i64, 0);
            while left_ns > 0 {
                let timeout_ns = short_of(Duration::from_nanos(left_ns as u64)).as_nanos() as u64;
                let late_ns = (timeout_ns * slack / 1_000).min(100_000_000);
                left_ns -= (timeout_ns + late_ns) as i64;
                waits += 1;
            }
            prop_assert!(left_ns > -(LONG.as_nanos() as i64 / 200), "late by {} ns", -left_ns);
            prop_assert!(waits < 20, "{waits} waits");
        }
    }
}
