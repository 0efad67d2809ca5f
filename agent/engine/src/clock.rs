//! The host's monotonic clock, as every figure of the engine uses it.
//!
//! A time namespace shifts `CLOCK_MONOTONIC` by a constant. [`MonotonicClock`] takes
//! the constant that it is given out, so that two agents of one kernel read the same
//! clock whatever namespace they were started in, and one-way delay between them is
//! exact. Whether the constant is known is the owner's to find out, and to say by
//! [`clock_domain`](crate::engine::EngineConfig::clock_domain).
//!
//! Kernel receive stamps are `CLOCK_REALTIME`, which no namespace shifts.
//! [`RealtimeOffset`] brings them to the monotonic clock; it is read around each
//! batch, and a change between two readings is a step (NTP, an operator) that
//! the record flags.

use std::time::Duration;

use crate::socket;

/// Where a driver reads the time. Pure cores take `now` instead.
pub trait Clock: Send + Sync {
    /// Nanoseconds of the host's monotonic clock (namespace offset taken out).
    fn now_ns(&self) -> u64;
}

/// The kernel's `CLOCK_MONOTONIC` less this process's time-namespace offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MonotonicClock {
    namespace_offset_ns: i64,
}

impl MonotonicClock {
    /// A clock with a given namespace offset, in nanoseconds.
    pub const fn with_namespace_offset(namespace_offset_ns: i64) -> Self {
        Self {
            namespace_offset_ns,
        }
    }

    /// What the time namespace adds to the kernel's clock, in nanoseconds.
    pub const fn namespace_offset_ns(&self) -> i64 {
        self.namespace_offset_ns
    }

    /// Reads how far the realtime clock is ahead of this one: the closest of three
    /// bracketed readings, so that a pre-emption between two reads does not count.
    pub fn realtime_offset(&self) -> RealtimeOffset {
        let mut best: Option<RealtimeOffset> = None;
        for _ in 0..REALTIME_READINGS {
            let before_ns = self.now_ns();
            let realtime_ns = socket::realtime_ns();
            let after_ns = self.now_ns();
            let reading = RealtimeOffset::bracketed(before_ns, realtime_ns, after_ns);
            if best.is_none_or(|kept| reading.bound_ns < kept.bound_ns) {
                best = Some(reading);
            }
        }
        best.expect("the loop ran at least once")
    }
}

impl Clock for MonotonicClock {
    fn now_ns(&self) -> u64 {
        socket::monotonic_ns().saturating_add_signed(self.namespace_offset_ns.saturating_neg())
    }
}

/// Three readings cost some 200 ns and one of them is practically never torn.
const REALTIME_READINGS: usize = 3;

/// `CLOCK_REALTIME` less the host's monotonic clock, as read at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RealtimeOffset {
    /// What to take from a realtime stamp to get host monotonic time, ns.
    pub offset_ns: i64,
    /// Half the bracket of the reading: the offset is right within this, ns.
    pub bound_ns: u64,
}

impl RealtimeOffset {
    /// The offset from a realtime reading between two monotonic ones.
    pub const fn bracketed(before_ns: u64, realtime_ns: u64, after_ns: u64) -> Self {
        let half = after_ns.saturating_sub(before_ns) / 2;
        let middle = before_ns.saturating_add(half);
        Self {
            offset_ns: realtime_ns.wrapping_sub(middle) as i64,
            bound_ns: half,
        }
    }

    /// A realtime stamp on the host's monotonic clock, ns; 0 for a stamp from
    /// before the host's boot.
    pub const fn to_monotonic_ns(&self, realtime_ns: u64) -> u64 {
        let monotonic_ns = (realtime_ns as i64).saturating_sub(self.offset_ns);
        if monotonic_ns < 0 {
            0
        } else {
            monotonic_ns as u64
        }
    }

    /// By how much the realtime clock was stepped since `earlier`, in nanoseconds;
    /// `None` when both readings agree within their bounds and a slewing clock's
    /// drift (500 ppm is the most `adjtimex` slews) over `elapsed`.
    pub fn step_since(&self, earlier: &Self, elapsed: Duration) -> Option<i64> {
        let moved_ns = self.offset_ns.saturating_sub(earlier.offset_ns);
        let slewed_ns = (elapsed.as_nanos() / 2000) as u64;
        let allowed_ns = self.bound_ns + earlier.bound_ns + slewed_ns + STEP_FLOOR_NS;
        (moved_ns.unsigned_abs() > allowed_ns).then_some(moved_ns)
    }
}

/// Below 1 us a change is clock-read noise, not a step anyone made.
const STEP_FLOOR_NS: u64 = 1_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn namespace_offset_is_taken_out() {
        let host = MonotonicClock::with_namespace_offset(0);
        let shifted = MonotonicClock::with_namespace_offset(-1_000_000_000);
        let (before, inside, after) = (host.now_ns(), shifted.now_ns(), host.now_ns());
        assert!((before..=after).contains(&(inside - 1_000_000_000)));
    }

    #[test]
    fn realtime_stamp_lands_between_monotonic_readings() {
        let clock = MonotonicClock::with_namespace_offset(0);
        let before = clock.now_ns();
        let offset = clock.realtime_offset();
        let stamp = offset.to_monotonic_ns(socket::realtime_ns());
        let after = clock.now_ns();
        let slack = offset.bound_ns + 10_000;
        assert!(stamp + slack >= before && stamp <= after + slack);
    }

    #[test]
    fn a_step_is_told_from_noise_and_slew() {
        let then = RealtimeOffset {
            offset_ns: 5_000_000,
            bound_ns: 100,
        };
        let slewed = RealtimeOffset {
            offset_ns: 5_400_000,
            bound_ns: 100,
        };
        let stepped = RealtimeOffset {
            offset_ns: 5_400_000 + 200_000,
            bound_ns: 100,
        };
        assert_eq!(slewed.step_since(&then, Duration::from_secs(1)), None);
        assert_eq!(
            stepped.step_since(&then, Duration::from_secs(1)),
            Some(600_000)
        );
    }

    proptest! {
        #[test]
        fn bracketed_offset_brings_the_middle_back(
            before in 0_u64..1 << 60, width in 0_u64..1_000_000, realtime in 1_u64 << 60..1 << 62
        ) {
            let offset = RealtimeOffset::bracketed(before, realtime, before + width);
            prop_assert_eq!(offset.to_monotonic_ns(realtime), before + width / 2);
        }
    }
}
