//! Programs of a lab's hosts in time namespaces of their own.

use std::process::Command;

use weir_lab::Lab;

/// Masks the file that tells the offsets, then becomes the program: the shell's id is
/// the program's.
const MASKED: &str = "mount --bind /dev/null /proc/$$/timens_offsets && exec \"$0\" \"$@\"";

/// A time namespace (time_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeNamespace {
    /// What it adds to the monotonic clock, seconds.
    pub ahead_s: i64,
    /// Whether a program in it can read that.
    pub told: bool,
}

impl TimeNamespace {
    /// Its offset can be read.
    pub fn told(ahead_s: i64) -> Self {
        Self {
            ahead_s,
            told: true,
        }
    }

    /// Its offset cannot be read.
    pub fn masked(ahead_s: i64) -> Self {
        Self {
            ahead_s,
            told: false,
        }
    }

    /// A command for a program of this workspace in a host, without arguments. The
    /// program ends with a command that is killed; signals do not reach it.
    ///
    /// # Panics
    /// When the lab has no such host, or the program is not built.
    pub fn command(&self, lab: &Lab, host: &str, program: &str) -> Command {
        let mut command = lab
            .command(host, "unshare")
            .unwrap_or_else(|error| panic!("{error}"));
        command
            .args(["--time", "--monotonic", &self.ahead_s.to_string()])
            // A process enters its new time namespace by fork.
            .args(["--mount", "--fork", "--kill-child"]);
        if !self.told {
            command.args(["sh", "-c", MASKED]);
        }
        command.arg(crate::binary(program));
        command
    }
}
