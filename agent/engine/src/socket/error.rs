//! The one error of the module: what was tried, on what, and what may help.

use std::io;

/// A socket operation that failed. It prints the operation and its object, with
/// what to do about it where that is known; the system's words are its source.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {object}{}", advice(.source))]
pub struct SocketError {
    operation: &'static str,
    object: String,
    #[source]
    source: io::Error,
}

impl SocketError {
    /// An error of `operation` (a verb) on `object` (an address, an interface).
    pub fn new(operation: &'static str, object: impl ToString, source: io::Error) -> Self {
        Self {
            operation,
            object: object.to_string(),
            source,
        }
    }

    /// The kind of the system's error.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// The system's error number, if it was one.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }
}

/// A remedy for the errors that have an ordinary one.
fn advice(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EADDRINUSE) => " (choose another port, or stop the program that holds this one)",
        Some(libc::EADDRNOTAVAIL) => " (use an address of this host: see `ip address`)",
        Some(libc::EACCES | libc::EPERM) => {
            " (needs a privilege, or a packet filter forbids it: see `nft list ruleset`)"
        }
        Some(libc::EMFILE | libc::ENFILE) => " (raise the limit of open files: `ulimit -n`)",
        Some(libc::ENODEV) => " (no such interface: see `ip link`)",
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH) => " (no route: see `ip route get`)",
        Some(libc::ECONNREFUSED) => " (nothing listens there: is the receiver running?)",
        _ => "",
    }
}

/// Shorthand for `map_err` on an I/O result.
pub(super) trait Describe<T> {
    /// Names the operation and, lazily, the object of a failure.
    fn describe<O: ToString>(
        self,
        operation: &'static str,
        object: impl FnOnce() -> O,
    ) -> Result<T, SocketError>;
}

impl<T> Describe<T> for io::Result<T> {
    fn describe<O: ToString>(
        self,
        operation: &'static str,
        object: impl FnOnce() -> O,
    ) -> Result<T, SocketError> {
        self.map_err(|source| SocketError::new(operation, object(), source))
    }
}
