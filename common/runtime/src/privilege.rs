//! Giving up what a daemon needs no more, before it has any other thread: the
//! capabilities of the kernel (capabilities(7)), the way back to them, and writing
//! outside of its directory (landlock(7)).

use std::fmt;
use std::io;
use std::path::Path;

use landlock::{
    ABI, AccessFs, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus,
    path_beneath_rules,
};
pub use rustix::thread::CapabilitySet;
use rustix::thread::{
    CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// What is kept.
#[derive(Debug, Clone, Copy)]
pub struct Keep<'a> {
    /// In force all the time.
    pub effective: CapabilitySet,
    /// Besides, to be raised for a single call.
    pub raisable: CapabilitySet,
    /// The only directory that may be written to, and nothing executed; `None` = no
    /// such bound.
    pub writes: Option<&'a Path>,
}

/// What a process is left with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confined {
    /// Capabilities in force.
    pub effective: CapabilitySet,
    /// Those and what can be raised.
    pub permitted: CapabilitySet,
    /// What was there before and is not any more.
    pub dropped: CapabilitySet,
    /// Whether writing is bound to one directory; `false` where the kernel lacks it.
    pub writes_bound: bool,
}

/// Why a process kept more than it should.
#[derive(Debug, thiserror::Error)]
#[error("give up {what}")]
pub struct PrivilegeError {
    what: &'static str,
    #[source]
    source: io::Error,
}

fn failed<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> PrivilegeError {
    move |error| PrivilegeError {
        what,
        source: error.into(),
    }
}

/// Confines the calling thread and all that it will start. Call it before there are
/// others: they keep what they have.
///
/// # Errors
/// The kernel refused; then the caller should not go on.
pub fn confine(keep: Keep<'_>) -> Result<Confined, PrivilegeError> {
    set_no_new_privs(true).map_err(failed("new privileges by execution"))?;
    let before = capabilities(None).map_err(failed("capabilities: read them"))?;
    if before.effective.contains(CapabilitySet::SETPCAP) {
        // Ends at the first number that this kernel does not have.
        let numbers = (0..64).map(|bit| CapabilitySet::from_bits_retain(1 << bit));
        for capability in numbers {
            if remove_capability_from_bounding_set(capability).is_err() {
                break;
            }
        }
    }
    clear_ambient_capability_set().map_err(failed("ambient capabilities"))?;
    let after = CapabilitySets {
        effective: before.permitted & keep.effective,
        permitted: before.permitted & (keep.effective | keep.raisable),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, after).map_err(failed("capabilities"))?;
    let writes_bound = match keep.writes {
        Some(directory) => bind_writes(directory)
            .map_err(|error| io::Error::other(error.to_string()))
            .map_err(failed("writing outside of the data directory"))?,
        None => false,
    };
    Ok(Confined {
        effective: after.effective,
        permitted: after.permitted,
        dropped: before.permitted - after.permitted,
        writes_bound,
    })
}

/// Whether the kernel binds writes now. What it knows of is used.
fn bind_writes(directory: &Path) -> Result<bool, landlock::RulesetError> {
    // The newest that refuses no system call which an agent makes besides.
    let writes = AccessFs::from_write(ABI::V3);
    let status = Ruleset::default()
        .handle_access(writes | AccessFs::Execute)?
        .create()?
        .add_rules(path_beneath_rules([directory], writes))?
        .restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

/// Names as capabilities(7) has them, for a log.
struct Names(CapabilitySet);

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (i, (name, _)) in self.0.iter_names().enumerate() {
            let comma = if i > 0 { " " } else { "" };
            write!(f, "{comma}CAP_{name}")?;
        }
        Ok(())
    }
}

impl Confined {
    /// Writes to the log what is left.
    pub fn log(&self) {
        tracing::info!(
            capabilities = %Names(self.effective),
            raised_for_single_calls = %Names(self.permitted - self.effective),
            dropped = self.dropped.iter_names().count(),
            writes_bound = self.writes_bound,
            "confined"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;
    use std::thread;

    use super::*;

    fn status(field: &str) -> String {
        let text = fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = text.lines().find(|line| line.starts_with(field));
        line.unwrap().split_whitespace().nth(1).unwrap().to_owned()
    }

    #[test]
    fn a_confined_thread_has_what_was_kept_and_no_way_back() {
        let confined = thread::spawn(|| {
            let keep = Keep {
                effective: CapabilitySet::DAC_OVERRIDE,
                raisable: CapabilitySet::NET_ADMIN,
                writes: None,
            };
            let before = capabilities(None).unwrap().permitted;
            let confined = confine(keep).unwrap();
            assert_eq!(confined.effective, before & CapabilitySet::DAC_OVERRIDE);
            assert_eq!(
                confined.permitted,
                before & (CapabilitySet::DAC_OVERRIDE | CapabilitySet::NET_ADMIN)
            );
            assert_eq!(status("NoNewPrivs"), "1");
            let effective = u64::from_str_radix(&status("CapEff"), 16).unwrap();
            assert_eq!(effective, confined.effective.bits());
            if before.contains(CapabilitySet::SETPCAP) {
                assert_eq!(status("CapBnd"), "0000000000000000");
            }
            let all = CapabilitySets {
                effective: before,
                permitted: before,
                inheritable: CapabilitySet::empty(),
            };
            assert!(before.is_empty() || set_capabilities(None, all).is_err());
        });
        confined.join().unwrap();
    }

    #[test]
    fn writes_stay_in_the_directory() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("old"), "x").unwrap();
        let there = outside.path().to_owned();
        let here = inside.path().to_owned();
        let confined = thread::spawn(move || {
            let keep = Keep {
                effective: CapabilitySet::all(),
                raisable: CapabilitySet::empty(),
                writes: Some(&here),
            };
            if !confine(keep).unwrap().writes_bound {
                eprintln!("skipped: this kernel has no Landlock");
                return;
            }
            fs::write(here.join("a"), "x").unwrap();
            fs::create_dir(here.join("d")).unwrap();
            fs::rename(here.join("a"), here.join("d/b")).unwrap();
            fs::remove_file(here.join("d/b")).unwrap();
            assert_eq!(
                fs::read(there.join("old")).unwrap(),
                b"x",
                "reading goes on"
            );
            let refused = |done: io::Result<()>| {
                assert_eq!(done.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
            };
            refused(fs::write(there.join("new"), "x"));
            refused(fs::write(there.join("old"), "y"));
            refused(fs::remove_file(there.join("old")));
            refused(fs::create_dir(there.join("d")));
            refused(Command::new("/bin/true").status().map(drop));
        });
        confined.join().unwrap();
    }

    #[test]
    fn names_are_those_of_the_manual() {
        let two = CapabilitySet::NET_ADMIN | CapabilitySet::NET_BIND_SERVICE;
        assert_eq!(Names(two).to_string(), "CAP_NET_BIND_SERVICE CAP_NET_ADMIN");
        assert_eq!(Names(CapabilitySet::empty()).to_string(), "none");
    }
}
