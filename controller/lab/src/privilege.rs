//! Whether namespaces may be made here, and the way in for ordinary users.
//!
//! Making network namespaces needs root's capabilities. Most machines let an
//! ordinary user have them inside a *user namespace* of one's own, where they
//! reach nothing but what was made inside. A process cannot enter one once it
//! has threads, so the program starts itself again:
//!
//! ```no_run
//! use std::os::unix::process::CommandExt;
//! use weir_lab::privilege::{self, Privilege};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! match privilege::probe() {
//!     Privilege::Root => {} // also where the program comes back in
//!     Privilege::UserNamespace => {
//!         return Err(privilege::reexec_in_user_namespace()?.exec().into());
//!     }
//!     Privilege::Refused { why } => println!("no namespaces here: {why}"),
//! }
//! # Ok(())
//! # }
//! ```

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::LabError;
use crate::program::{feed, find};

/// What this process may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Privilege {
    /// Namespaces can be made directly: by root, or inside a user namespace.
    Root,
    /// Namespaces can be made after [`reexec_in_user_namespace`].
    UserNamespace,
    /// Neither.
    Refused {
        /// What was tried, what the system said, and what would allow it.
        why: String,
    },
}

/// Finds out by trying, which takes a few milliseconds and leaves nothing.
pub fn probe() -> Privilege {
    let unshare = match (find("unshare"), find("ip")) {
        (Ok(unshare), Ok(_)) => unshare,
        (Err(error), _) | (_, Err(error)) => {
            return Privilege::Refused {
                why: error.to_string(),
            };
        }
    };
    if attempt(&unshare, &["--mount", "--net"], "ip link set lo up").is_ok() {
        return Privilege::Root;
    }
    let script = format!(
        "{ENTER} && ip netns add trial && ip -n trial link add name a type veth peer name b"
    );
    match attempt(&unshare, USER_NAMESPACE, &script) {
        Ok(()) => Privilege::UserNamespace,
        Err(said) => Privilege::Refused {
            why: format!(
                "this process is not root, and a user namespace is refused ({said}); \
                 see the sysctls user.max_user_namespaces, kernel.unprivileged_userns_clone and \
                 kernel.apparmor_restrict_unprivileged_userns, and the seccomp profile in a container"
            ),
        },
    }
}

/// Whether this process came through [`reexec_in_user_namespace`].
pub fn is_in_user_namespace() -> bool {
    std::env::var_os(MARKER).is_some()
}

/// The command that starts this program again, with the same arguments, inside
/// a user namespace of its own, where it is root and [`crate::Lab::up`] works.
/// Best run with `exec`, so that process id, signals and exit code stay.
///
/// Inside, `/run` is empty: sockets below it are out of reach. What labs of
/// killed processes left running is ended first, since it cannot be seen from
/// inside.
pub fn reexec_in_user_namespace() -> Result<Command, LabError> {
    let program = std::env::current_exe().map_err(|source| LabError::Read {
        path: PathBuf::from("/proc/self/exe"),
        source,
    })?;
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    in_user_namespace(&program, &arguments)
}

/// As [`reexec_in_user_namespace`], for any program and arguments.
pub fn in_user_namespace(program: &Path, arguments: &[OsString]) -> Result<Command, LabError> {
    if let Err(error) = crate::sweep() {
        tracing::debug!(%error, "leftovers of earlier labs remain");
    }
    find("ip")?;
    Ok(prepared(&find("unshare")?, program, arguments))
}

/// `unshare` with a shell that prepares the namespace and becomes `program`.
fn prepared(unshare: &Path, program: &Path, arguments: &[OsString]) -> Command {
    let mut command = Command::new(unshare);
    command
        .args(USER_NAMESPACE)
        .args(["--", "sh", "-c"])
        .arg(format!("{ENTER} && exec \"$0\" \"$@\""))
        .arg(program)
        .args(arguments)
        .env(MARKER, "1")
        .env("PATH", path_with_sbin());
    command
}

/// Runs a shell script behind `unshare`; what it complained of, if it failed.
fn attempt(unshare: &Path, options: &[&str], script: &str) -> Result<(), String> {
    let mut command = Command::new(unshare);
    command
        .args(options)
        .args(["--", "sh", "-c", script])
        .env("PATH", path_with_sbin());
    let output = feed(command, "").map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.trim().replace('\n', "; "))
}

/// PATH with the directories of `ip` and `mount` for administrators, which
/// ordinary users do not have.
fn path_with_sbin() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_else(|| OsStr::new("/usr/bin:/bin").into());
    path.push(":/usr/sbin:/sbin");
    path
}

/// A user namespace in which the caller is root, with a network and a mount
/// namespace of its own.
const USER_NAMESPACE: &[&str] = &["--user", "--map-root-user", "--net", "--mount"];

/// `ip netns add` wants to write below `/run`.
const ENTER: &str = "mount -t tmpfs -o mode=755 tmpfs /run && ip link set lo up";

/// Marks a program that was started again.
const MARKER: &str = "WEIR_LAB_USER_NAMESPACE";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_the_same_program_with_the_same_arguments() {
        let arguments = [OsString::from("demo"), OsString::from("--for=5 s; $(x)")];
        let command = prepared(Path::new("/u/unshare"), Path::new("/opt/a b"), &arguments);
        let words: Vec<&OsStr> = command.get_args().collect();
        assert_eq!(command.get_program(), "/u/unshare");
        assert_eq!(
            words[..4],
            ["--user", "--map-root-user", "--net", "--mount"]
        );
        assert_eq!(
            words[words.len() - 3..],
            ["/opt/a b", "demo", "--for=5 s; $(x)"]
        );
        assert!(
            command
                .get_envs()
                .any(|(name, value)| name == MARKER && value.is_some())
        );
    }

    #[test]
    fn a_failed_attempt_says_what_the_system_said() {
        let unshare = find("unshare").unwrap();
        let said = attempt(&unshare, &[], "echo no luck >&2; exit 1").unwrap_err();
        assert_eq!(said, "no luck");
    }
}
