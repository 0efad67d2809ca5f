//! Whose lab a namespace belongs to, and whether that process lives.
//!
//! A prefix is `weir.LAB.PID-START-PIDNS-NUMBER`: the start time tells a process
//! from a later one with its id, the pid namespace a process that cannot be
//! seen from here from one that is dead.

use std::path::PathBuf;

use crate::LabError;

/// A process that owns labs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pid: u32,
    /// Clock ticks after boot (proc(5), `/proc/PID/stat` field 22).
    started: u64,
    /// The inode of its pid namespace.
    pid_namespace: u64,
}

impl Owner {
    /// This process.
    pub(super) fn current() -> Result<Self, LabError> {
        let missing = |path: &str| LabError::Read {
            path: PathBuf::from(path),
            source: std::io::ErrorKind::InvalidData.into(),
        };
        let pid = std::process::id();
        Ok(Self {
            pid,
            started: started(pid).ok_or_else(|| missing("/proc/self/stat"))?,
            pid_namespace: pid_namespace().ok_or_else(|| missing("/proc/self/ns/pid"))?,
        })
    }

    /// The prefix of its lab with this name and number.
    pub(super) fn prefix(&self, lab: &str, number: u64) -> String {
        let Self {
            pid,
            started,
            pid_namespace,
        } = self;
        format!("weir.{lab}.{pid}-{started}-{pid_namespace}-{number}")
    }

    /// The owner in a prefix or in the name of a namespace; `None`: not ours.
    pub(super) fn of(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix("weir.")?.split('.');
        let mut numbers = parts.nth(1)?.split('-');
        let owner = Self {
            pid: numbers.next()?.parse().ok()?,
            started: numbers.next()?.parse().ok()?,
            pid_namespace: numbers.next()?.parse().ok()?,
        };
        let _number: u64 = numbers.next()?.parse().ok()?;
        numbers.next().is_none().then_some(owner)
    }

    /// Whether it lives, or cannot be known to be dead.
    pub(super) fn may_live(&self) -> bool {
        pid_namespace() != Some(self.pid_namespace) || started(self.pid) == Some(self.started)
    }
}

/// Whether a namespace has this prefix.
pub(super) fn belongs_to(namespace: &str, prefix: &str) -> bool {
    namespace
        .strip_prefix(prefix)
        .is_some_and(|rest| rest.starts_with('.'))
}

/// When a process started; `None` when there is none or it only awaits burial.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything, brackets and blanks included.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    // Field 22; the state was field 3.
    let started = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(started)
}

fn pid_namespace() -> Option<u64> {
    let link = std::fs::read_link("/proc/self/ns/pid").ok()?;
    let text = link.to_str()?.strip_prefix("pid:[")?.strip_suffix(']')?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn knows_its_own_and_lives() {
        let owner = Owner::current().unwrap();
        let prefix = owner.prefix("demo", 3);
        assert_eq!(Owner::of(&prefix), Some(owner));
        assert_eq!(Owner::of(&format!("{prefix}.150-router")), Some(owner));
        assert!(owner.may_live());
        assert!(belongs_to(&format!("{prefix}.150-router"), &prefix));
        assert!(!belongs_to(&format!("{prefix}1.150-router"), &prefix));
    }

    #[test]
    fn a_later_process_of_the_same_id_is_another() {
        let mut owner = Owner::current().unwrap();
        owner.started += 1;
        assert!(!owner.may_live());
        owner.pid_namespace += 1;
        assert!(
            owner.may_live(),
            "a process that cannot be seen is left alone"
        );
    }

    #[test]
    fn leaves_names_of_others_alone() {
        for name in [
            "",
            "weir",
            "weir.demo",
            "weir.demo.12",
            "blue",
            "weir.demo.1-2-3",
            "weir.demo.1-2-3-4-5",
            "weir.demo.1-2-x-4.150-router",
        ] {
            assert_eq!(Owner::of(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(name in "\\PC{0,40}", tail in "(weir)?[.0-9-]{0,40}") {
            let _ = Owner::of(&name);
            let _ = Owner::of(&tail);
        }
    }
}
