//! Socket buffers: as large as may be, or exactly as asked for.

use std::io;
use std::os::fd::BorrowedFd;

use super::error::{Describe, SocketError};
use super::{privilege, sys};

/// One of a socket's two buffers.
#[derive(Debug)]
pub(super) struct Direction {
    operation: &'static str,
    /// The sysctl that bounds it for the unprivileged.
    limit: &'static str,
    option: i32,
    forced: i32,
}

/// What is sent and not taken by the local queue yet.
pub(super) const SEND: Direction = Direction {
    operation: "set the send buffer to",
    limit: "net.core.wmem_max",
    option: libc::SO_SNDBUF,
    forced: libc::SO_SNDBUFFORCE,
};

/// What has come and is not read yet.
pub(super) const RECEIVE: Direction = Direction {
    operation: "set the receive buffer to",
    limit: "net.core.rmem_max",
    option: libc::SO_RCVBUF,
    forced: libc::SO_RCVBUFFORCE,
};

/// A socket buffer as the kernel accounts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferSize {
    /// What the kernel gives, bytes: twice what was set, its own bookkeeping for
    /// each packet included.
    pub bytes: usize,
    /// Whether it is as large as asked for, past net.core.{w,r}mem_max if need be
    /// (a privilege that user namespaces do not give).
    pub forced: bool,
}

/// The largest value that the kernel can still double into an int.
const VALUE_MOST: i32 = i32::MAX / 2;

/// Makes a buffer at least so large, past the host's limit where that is allowed;
/// what it became.
pub(super) fn force(fd: BorrowedFd<'_>, of: &Direction, bytes: usize) -> io::Result<BufferSize> {
    let asked = i32::try_from(bytes).unwrap_or(VALUE_MOST).min(VALUE_MOST);
    let got = || sys::option(fd, libc::SOL_SOCKET, of.option).map(|size| size.max(0) as usize);
    if got()? < asked as usize * 2 {
        let forced = || sys::set_option(fd, libc::SOL_SOCKET, of.forced, asked);
        match privilege::with(privilege::NET_ADMIN, forced) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                sys::set_option(fd, libc::SOL_SOCKET, of.option, asked)?;
            }
            result => result?,
        }
    }
    let bytes = got()?;
    Ok(BufferSize {
        bytes,
        forced: bytes >= asked as usize * 2,
    })
}

/// Sets a buffer to so many bytes. The kernel keeps as much again for its own
/// accounting, and silently gives less than it is asked for beyond its limits: that
/// is refused, since the window would not be the one asked for.
pub(super) fn exact(
    fd: BorrowedFd<'_>,
    of: &Direction,
    window: u64,
) -> Result<BufferSize, SocketError> {
    let value = i32::try_from(window).unwrap_or(VALUE_MOST).min(VALUE_MOST);
    let object = || format!("{window} bytes");
    let set = |name| sys::set_option(fd, libc::SOL_SOCKET, name, value);
    let given = || sys::option(fd, libc::SOL_SOCKET, of.option).describe(of.operation, object);
    set(of.option).describe(of.operation, object)?;
    let mut got = given()?;
    let force = || set(of.forced).is_ok();
    if got / 2 < value && privilege::with(privilege::NET_ADMIN, force) {
        got = given()?;
    }
    if got / 2 < value {
        let object = format!(
            "{window} bytes: this host gives at most {} (raise {})",
            got / 2,
            of.limit
        );
        let source = io::ErrorKind::InvalidInput.into();
        return Err(SocketError::new(of.operation, object, source));
    }
    Ok(BufferSize {
        bytes: got.max(0) as usize,
        forced: true,
    })
}
