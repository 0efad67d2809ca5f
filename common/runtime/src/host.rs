//! What daemons on one host compare to know that they share a clock.

use std::fs;
use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

const NANOS: i64 = 1_000_000_000;

/// Raises the number of files that this process may have open to what the system
/// allows it (setrlimit(2)): each connection is one. `None`: it stays as it was.
pub fn raise_open_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).ok()?;
    limit.maximum
}

/// The host's monotonic clock: `CLOCK_MONOTONIC` less the offset of this
/// process's time namespace, so that all processes of one kernel read the same.
///
/// Where the offset is not known ([`is_host_wide`](Self::is_host_wide)) it is the
/// clock of the namespace alone: good for intervals, and for nobody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostClock {
    namespace_offset_ns: Option<i64>,
}

impl HostClock {
    /// Reads the namespace's offset, which cannot change while a process lives in
    /// the namespace.
    pub fn from_host() -> Self {
        Self {
            namespace_offset_ns: TimeNamespace::of_this_process().monotonic_offset_ns(),
        }
    }

    /// Now by the host's monotonic clock, ns.
    pub fn now_ns(&self) -> u64 {
        let now_ns = nanoseconds(ClockId::Monotonic);
        u64::try_from(now_ns.saturating_sub(self.namespace_offset_ns())).unwrap_or(0)
    }

    /// Now by the wall clock, ns since the Unix epoch.
    pub fn unix_ns(&self) -> i64 {
        nanoseconds(ClockId::Realtime)
    }

    /// What is taken out of `CLOCK_MONOTONIC`, ns; 0 where it is not known.
    pub fn namespace_offset_ns(&self) -> i64 {
        self.namespace_offset_ns.unwrap_or(0)
    }

    /// Whether every process of the kernel that says so reads the same clock.
    pub fn is_host_wide(&self) -> bool {
        self.namespace_offset_ns.is_some()
    }

    /// Name of the clock: the kernel's boot id. Who reads a clock of the same name
    /// reads the same clock. Empty where it is that of a namespace alone, or /proc
    /// cannot be read.
    pub fn domain(&self) -> String {
        let boot_id = self.is_host_wide().then(kernel_boot_id);
        boot_id.and_then(Result::ok).unwrap_or_default()
    }
}

fn nanoseconds(clock: ClockId) -> i64 {
    let now = clock_gettime(clock);
    now.tv_sec.saturating_mul(NANOS).saturating_add(now.tv_nsec)
}

/// What /proc says of a process's time namespace (time_namespaces(7)).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct TimeNamespace {
    /// Whether /proc lists the process's namespaces at all.
    listed: bool,
    /// Identity of the namespace that it lives in.
    own: Option<String>,
    /// Identity of the one that its children will live in.
    for_children: Option<String>,
    /// Text of `timens_offsets`: of the namespace for the children.
    offsets: Option<String>,
}

impl TimeNamespace {
    fn of_this_process() -> Self {
        let link = |name: &str| {
            let link = fs::read_link(format!("/proc/self/ns/{name}")).ok()?;
            Some(link.to_string_lossy().into_owned())
        };
        Self {
            listed: link("mnt").is_some(),
            own: link("time"),
            for_children: link("time_for_children"),
            offsets: fs::read_to_string("/proc/self/timens_offsets").ok(),
        }
    }

    /// What the namespace adds to `CLOCK_MONOTONIC`, ns; `None` = not known.
    ///
    /// 1. A kernel that lists namespaces and no time namespace among them has none.
    /// 2. The offsets are told of the children's namespace, so they say something
    ///    only if that is the process's own.
    /// 3. Without /proc, or where the offsets are hidden, nothing is known.
    fn monotonic_offset_ns(&self) -> Option<i64> {
        match (&self.own, &self.for_children) {
            (None, None) => self.listed.then_some(0),
            (Some(own), Some(for_children)) if own == for_children => {
                monotonic_offset_ns(self.offsets.as_deref()?)
            }
            _ => None,
        }
    }
}

/// The `monotonic` line of `/proc/PID/timens_offsets`: `monotonic SECONDS
/// NANOSECONDS`. `None` when there is no such line or it does not parse.
fn monotonic_offset_ns(text: &str) -> Option<i64> {
    let mut lines = text.lines().map(str::split_ascii_whitespace);
    let mut words =
        lines.find_map(|mut line| (line.next() == Some("monotonic")).then_some(line))?;
    let seconds: i64 = words.next()?.parse().ok()?;
    let nanoseconds: i64 = words.next()?.parse().ok()?;
    seconds.checked_mul(NANOS)?.checked_add(nanoseconds)
}

/// Boot id of the kernel: two processes that read the same one share a kernel.
/// Whether they share a clock says [`HostClock::domain`].
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
        let text = "monotonic           0         0\nboottime            0         0\n";
        assert_eq!(monotonic_offset_ns(text), Some(0));
        let shifted = "boottime  1  0\nmonotonic  -86400  500000000\n";
        assert_eq!(monotonic_offset_ns(shifted), Some(-86_399_500_000_000));
        for odd in [
            "",
            "monotonic",
            "monotonic x 0",
            "monotonic 9223372036854775807 0",
            "monotonicity 1 2",
        ] {
            assert_eq!(monotonic_offset_ns(odd), None, "{odd:?}");
        }
    }

    fn namespace(own: &str, for_children: &str, offsets: Option<&str>) -> TimeNamespace {
        TimeNamespace {
            listed: true,
            own: Some(own.to_owned()),
            for_children: Some(for_children.to_owned()),
            offsets: offsets.map(str::to_owned),
        }
    }

    #[test]
    fn an_offset_is_known_or_it_is_not() {
        let text = Some("monotonic 5 0\nboottime 0 0\n");
        let known = |namespace: TimeNamespace| namespace.monotonic_offset_ns();
        let own = "time:[4026532000]";
        assert_eq!(known(namespace(own, own, text)), Some(5_000_000_000));
        assert_eq!(known(namespace(own, own, None)), None, "hidden");
        assert_eq!(known(namespace(own, own, Some(""))), None, "masked");
        let after_unshare = namespace("time:[4026531834]", own, text);
        assert_eq!(known(after_unshare), None, "told of another namespace");
        let old_kernel = TimeNamespace {
            listed: true,
            ..TimeNamespace::default()
        };
        assert_eq!(known(old_kernel), Some(0), "no time namespaces");
        assert_eq!(known(TimeNamespace::default()), None, "no /proc");
    }

    #[test]
    fn the_clock_never_goes_back() {
        let clock = HostClock::from_host();
        let first = clock.now_ns();
        assert!(first > 0 && clock.now_ns() >= first);
    }

    #[test]
    fn a_clock_of_a_namespace_alone_has_no_name() {
        let alone = HostClock {
            namespace_offset_ns: None,
        };
        assert_eq!(
            (alone.domain(), alone.is_host_wide()),
            (String::new(), false)
        );
        assert_eq!(alone.namespace_offset_ns(), 0);
        let shared = HostClock {
            namespace_offset_ns: Some(7),
        };
        assert_eq!(shared.domain(), kernel_boot_id().expect("/proc is mounted"));
    }

    #[test]
    fn the_boot_id_is_stable() {
        let first = kernel_boot_id().expect("/proc is mounted");
        assert_eq!(first.len(), 36);
        assert_eq!(first, kernel_boot_id().expect("/proc is mounted"));
    }
}
