//! The control groups (cgroups(7)) that may hold back this process's CPU: where
//! they are mounted, what quota they have, how long they were throttled.
//!
//! Version 1 and version 2 are both read, also side by side. Parsers are pure;
//! odd text gives nothing, never a panic. What a container does not show of the
//! hierarchy above it is not known, and not counted.

use std::fs;
use std::path::{Path, PathBuf};

/// Version of a hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// The `cpu` hierarchy of its own.
    V1,
    /// The unified hierarchy.
    V2,
}

/// One control group that limits CPU time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuGroup {
    /// Its directory.
    pub directory: PathBuf,
    /// What its files look like.
    pub version: Version,
}

/// The CPU groups of this process: its own and each above it that is visible.
pub fn of_this_process() -> Vec<CpuGroup> {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    groups(
        &Membership::parse(&text("/proc/self/cgroup")),
        &mounts(&text("/proc/self/mountinfo")),
    )
}

/// The tightest quota of these groups, thousandths of a core; `None` = no limit.
pub fn quota_milli(groups: &[CpuGroup]) -> Option<u64> {
    groups.iter().filter_map(CpuGroup::quota_milli).min()
}

impl CpuGroup {
    /// Its quota, thousandths of a core.
    pub fn quota_milli(&self) -> Option<u64> {
        let file = |name: &str| fs::read_to_string(self.directory.join(name)).ok();
        match self.version {
            Version::V1 => cfs_quota_milli(&file("cpu.cfs_quota_us")?, &file("cpu.cfs_period_us")?),
            Version::V2 => cpu_max_milli(&file("cpu.max")?),
        }
    }

    /// What it says of throttling; `None` where it counts none.
    pub fn throttled(&self) -> Option<Throttled> {
        Throttled::parse(&fs::read_to_string(self.directory.join("cpu.stat")).ok()?)
    }
}

/// Counters of `cpu.stat` since the group was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Throttled {
    /// Enforcement periods that have passed.
    pub periods: u64,
    /// Of them those in which the quota was used up.
    pub throttled_periods: u64,
    /// Time throttled, us: summed over the CPUs on which the group had work, so
    /// that it may rise faster than the clock.
    pub throttled_us: u64,
}

impl Throttled {
    /// Reads `cpu.stat`: `throttled_time` in ns (version 1) or `throttled_usec`
    /// (version 2). A version 2 group without the cpu controller has neither.
    pub fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| -> Option<u64> {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
                .and_then(|value| value.trim().parse().ok())
        };
        let throttled_us = match (value("throttled_usec"), value("throttled_time")) {
            (Some(us), _) => us,
            (None, Some(ns)) => ns / 1_000,
            (None, None) => return None,
        };
        Some(Self {
            periods: value("nr_periods").unwrap_or(0),
            throttled_periods: value("nr_throttled").unwrap_or(0),
            throttled_us,
        })
    }
}

/// In which groups a process is, from /proc/PID/cgroup.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Membership {
    /// Path in the unified hierarchy (version 2).
    pub unified: Option<String>,
    /// Path in the `cpu` hierarchy (version 1).
    pub cpu: Option<String>,
}

impl Membership {
    /// Lines are `number:controllers:path`.
    pub fn parse(text: &str) -> Self {
        let mut groups = Self::default();
        for line in text.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(number), Some(controllers), Some(path)) =
                (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            if number == "0" && controllers.is_empty() {
                groups.unified = Some(path.to_owned());
            } else if controllers.split(',').any(|controller| controller == "cpu") {
                groups.cpu = Some(path.to_owned());
            }
        }
        groups
    }
}

/// A mounted hierarchy that may limit CPU time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Which version.
    pub version: Version,
    /// The group that is seen at the mount point; `/` is the hierarchy's root.
    pub root: String,
    /// Where.
    pub point: PathBuf,
}

/// Hierarchies with the cpu controller in /proc/PID/mountinfo (proc(5)).
pub fn mounts(mountinfo: &str) -> Vec<Mount> {
    mountinfo.lines().filter_map(mount).collect()
}

/// `ID parent major:minor root point options [fields] - type source super-options`.
fn mount(line: &str) -> Option<Mount> {
    let (place, kind) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(3);
    let (root, point) = (unescaped(place.next()?), unescaped(place.next()?));
    let mut kind = kind.split(' ');
    let (kind, options) = (kind.next()?, kind.nth(1).unwrap_or(""));
    let version = match kind {
        "cgroup2" => Version::V2,
        "cgroup" if options.split(',').any(|option| option == "cpu") => Version::V1,
        _ => return None,
    };
    Some(Mount {
        version,
        root,
        point: point.into(),
    })
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescaped(text: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .into_iter()
    .fold(text.to_owned(), |text, (code, plain)| {
        text.replace(code, plain)
    })
}

/// The groups of a process by hierarchy: its own first, then those above it up
/// to the mount point. Where its path does not lie below what is mounted (a
/// container with a part of the hierarchy), the mount point itself is the group.
pub fn groups(membership: &Membership, mounts: &[Mount]) -> Vec<CpuGroup> {
    let mut found: Vec<CpuGroup> = Vec::new();
    for mount in mounts {
        let path = match mount.version {
            Version::V1 => membership.cpu.as_deref(),
            Version::V2 => membership.unified.as_deref(),
        };
        let Some(path) = path else { continue };
        let below = below(path, &mount.root).unwrap_or(Path::new(""));
        for step in below.ancestors() {
            let directory = if step.as_os_str().is_empty() {
                mount.point.clone()
            } else {
                mount.point.join(step)
            };
            let known = found.iter().any(|group| group.directory == directory);
            if !known {
                found.push(CpuGroup {
                    directory,
                    version: mount.version,
                });
            }
        }
    }
    found
}

/// A group's path relative to the one that is mounted.
fn below<'a>(path: &'a str, root: &str) -> Option<&'a Path> {
    let below = Path::new(path).strip_prefix(root).ok()?;
    // A path beyond the namespace's own root begins with `..`.
    let outside = below
        .components()
        .any(|part| part == std::path::Component::ParentDir);
    (!outside).then_some(below)
}

/// `cpu.max` of version 2: `max 100000` or `50000 100000`, as thousandths of a core.
pub fn cpu_max_milli(text: &str) -> Option<u64> {
    let mut words = text.split_ascii_whitespace();
    let (quota, period) = (words.next()?, words.next()?);
    milli(quota.parse().ok()?, period.parse().ok()?)
}

/// Quota and period of version 1, as thousandths of a core; -1 is no quota.
pub fn cfs_quota_milli(quota_us: &str, period_us: &str) -> Option<u64> {
    milli(
        quota_us.trim().parse().ok()?,
        period_us.trim().parse().ok()?,
    )
}

fn milli(quota_us: u64, period_us: u64) -> Option<u64> {
    quota_us.checked_mul(1000)?.checked_div(period_us)
}

#[cfg(test)]
mod tests;
