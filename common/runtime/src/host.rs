//! What daemons on one host compare to know that they share a clock.

use std::fs;
use std::io;

use rustix::time::{ClockId, clock_gettime};

const NANOS: i64 = 1_000_000_000;

/// The host's monotonic clock: `CLOCK_MONOTONIC` less the offset of this
/// process's time namespace, so that all processes of one kernel read the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostClock {
    namespace_offset_ns: i64,
}

impl HostClock {
    /// Reads the namespace's offset; a kernel without time namespaces has none.
    pub fn from_host() -> Self {
        let offset = fs::read_to_string("/proc/self/timens_offsets")
            .ok()
            .and_then(|text| monotonic_offset_ns(&text));
        Self {
            namespace_offset_ns: offset.unwrap_or(0),
        }
    }

    /// Now by the host's monotonic clock, ns.
    pub fn now_ns(&self) -> u64 {
        let now_ns = nanoseconds(ClockId::Monotonic);
        u64::try_from(now_ns.saturating_sub(self.namespace_offset_ns)).unwrap_or(0)
    }

    /// Now by the wall clock, ns since the Unix epoch.
    pub fn unix_ns(&self) -> i64 {
        nanoseconds(ClockId::Realtime)
    }
}

fn nanoseconds(clock: ClockId) -> i64 {
    let now = clock_gettime(clock);
    now.tv_sec.saturating_mul(NANOS).saturating_add(now.tv_nsec)
}

/// The `monotonic` line of `/proc/PID/timens_offsets` (time_namespaces(7)), ns.
fn monotonic_offset_ns(text: &str) -> Option<i64> {
    let line = text
        .lines()
        .find(|line| line.trim_start().starts_with("monotonic"))?;
    let mut words = line.split_ascii_whitespace().skip(1);
    let seconds: i64 = words.next()?.parse().ok()?;
    let nanoseconds: i64 = words.next()?.parse().ok()?;
    seconds.checked_mul(NANOS)?.checked_add(nanoseconds)
}

/// Boot id of the kernel: two processes that read the same one share a kernel,
/// and so a monotonic clock.
///
/// # Errors
/// /proc cannot be read.
pub fn kernel_boot_id() -> io::Result<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|text| text.trim().to_owned())
}

/// Identity of this process's time namespace, such as `time:[4026531834]`;
/// `None` when the kernel has none.
pub fn time_namespace() -> Option<String> {
    let link = fs::read_link("/proc/self/ns/time").ok()?;
    Some(link.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_as_the_kernel_writes_them() {
        let text = "monotonic     -86400 500000000\nboottime           0         0\n";
        assert_eq!(monotonic_offset_ns(text), Some(-86_399_500_000_000));
        assert_eq!(monotonic_offset_ns("boottime 1 2\n"), None);
        assert_eq!(monotonic_offset_ns("monotonic 9223372036854775807 0"), None);
    }

    #[test]
    fn the_clock_never_goes_back() {
        let clock = HostClock::from_host();
        let first = clock.now_ns();
        assert!(first > 0 && clock.now_ns() >= first);
    }

    #[test]
    fn the_boot_id_is_stable() {
        let first = kernel_boot_id().expect("/proc is mounted");
        assert_eq!(first.len(), 36);
        assert_eq!(first, kernel_boot_id().expect("/proc is mounted"));
    }
}
