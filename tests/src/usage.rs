//! What a process uses.

use std::fs;

/// Memory and open files of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Resident anonymous memory, KiB.
    pub anonymous_kib: u64,
    /// Open files.
    pub files: usize,
}

impl Usage {
    /// Of a process; `None` when it is gone.
    pub fn of(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("RssAnon"))?;
        let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
        Some(Self {
            anonymous_kib: line.split_whitespace().nth(1)?.parse().ok()?,
            files,
        })
    }
}
