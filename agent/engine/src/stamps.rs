//! Kernel stamps on the host's monotonic clock.
//!
//! The kernel stamps packets by the wall clock, which may be set while they come.
//! So the wall clock's offset to the monotonic one is read with every batch: where
//! it moved further than a clock is slewed, the stamps of the batch are of two
//! times, and the time of reading stands in for them. Rows are cut by the
//! monotonic clock alone.

use std::time::Duration;

use crate::clock::RealtimeOffset;

/// See the module.
#[derive(Debug)]
pub(crate) struct Stamps {
    offset: RealtimeOffset,
    /// When the offset was read, host monotonic ns.
    read_ns: u64,
    /// Whether the wall clock was set between the last two readings.
    stepped: bool,
    largest_step_ns: u64,
}

impl Stamps {
    /// From a first reading of the offset, at `now_ns`.
    pub(crate) fn new(offset: RealtimeOffset, now_ns: u64) -> Self {
        Self {
            offset,
            read_ns: now_ns,
            stepped: false,
            largest_step_ns: 0,
        }
    }

    /// The offset after a batch was received, at `now_ns`; whether the wall clock
    /// was set since the last time.
    pub(crate) fn read(&mut self, offset: RealtimeOffset, now_ns: u64) -> bool {
        let elapsed = Duration::from_nanos(now_ns.saturating_sub(self.read_ns));
        let step = offset.step_since(&self.offset, elapsed);
        let step_ns = step.map_or(0, i64::unsigned_abs);
        self.largest_step_ns = self.largest_step_ns.max(step_ns);
        self.stepped = step.is_some();
        (self.offset, self.read_ns) = (offset, now_ns);
        self.stepped
    }

    /// When a packet of the batch arrived, host monotonic ns: by its stamp, and no
    /// later than the batch was read.
    #[inline]
    pub(crate) fn arrival_ns(&self, realtime_ns: Option<u64>) -> u64 {
        let stamp = realtime_ns.filter(|_| !self.stepped);
        stamp.map_or(self.read_ns, |stamp| {
            self.offset.to_monotonic_ns(stamp).min(self.read_ns)
        })
    }

    /// Largest step since the last call, ns.
    pub(crate) fn take_step_ns(&mut self) -> u64 {
        std::mem::take(&mut self.largest_step_ns)
    }
}

#[cfg(test)]
mod tests;
