//! A CPU quota for a process: a control group of the test's own, version 1 or 2.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::eventually;

/// Enforcement period, us: the kernel's own default.
const PERIOD_US: u64 = 100_000;

/// How long processes of an ended test may take to leave their group.
const LEAVE_LIMIT: Duration = Duration::from_secs(10);

/// A control group with a CPU quota. Dropping it removes the group, once its
/// processes have ended: declare it before what runs in it.
#[derive(Debug)]
pub struct CpuQuota {
    group: PathBuf,
}

impl CpuQuota {
    /// A group that may use so many per cent of one core; `None` where this
    /// machine lets us make none. The name tells groups of one process apart.
    pub fn percent(percent: u64, name: &str) -> Option<Self> {
        let quota_us = PERIOD_US * percent / 100;
        let name = format!("weir-test-{name}-{}", std::process::id());
        let legacy = Path::new("/sys/fs/cgroup/cpu").join(&name);
        let unified = Path::new("/sys/fs/cgroup").join(&name);
        let written = |group: &Path, files: &[(&str, String)]| -> io::Result<()> {
            fs::create_dir(group)?;
            files
                .iter()
                .try_for_each(|(file, text)| fs::write(group.join(file), text))
        };
        let v1 = [
            ("cpu.cfs_period_us", PERIOD_US.to_string()),
            ("cpu.cfs_quota_us", quota_us.to_string()),
        ];
        let v2 = [("cpu.max", format!("{quota_us} {PERIOD_US}"))];
        for (group, files) in [(legacy, &v1[..]), (unified, &v2[..])] {
            let quota = Self { group };
            if written(&quota.group, files).is_ok() {
                return Some(quota);
            }
            // What was made in part goes with `quota`.
        }
        None
    }

    /// Puts a process and all its threads under the quota.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn hold(&self, pid: u32) {
        fs::write(self.group.join("cgroup.procs"), pid.to_string())
            .unwrap_or_else(|error| panic!("process {pid} under a quota: {error}"));
    }
}

impl Drop for CpuQuota {
    fn drop(&mut self) {
        if !self.group.is_dir() {
            return;
        }
        if std::thread::panicking() {
            fs::remove_dir(&self.group).ok();
            return;
        }
        eventually("an empty control group", LEAVE_LIMIT, || {
            fs::remove_dir(&self.group).ok()
        });
    }
}
