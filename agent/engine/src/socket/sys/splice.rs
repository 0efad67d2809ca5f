//! Pages lent to a pipe, which splice(2) moves on without copying them.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;

use super::checked;

/// Lends `pages` to a pipe (vmsplice(2)), and waits while it is full; how many bytes
/// it took.
///
/// What is spliced on to a socket refers to these very pages until the peer has
/// acknowledged it, so they must never change again, which `'static` and shared says.
pub fn lend_to_pipe(pipe: impl AsFd, pages: &'static [u8]) -> io::Result<usize> {
    vmsplice(pipe.as_fd(), &[IoSlice::new(pages)], 0)
}

/// As [`lend_to_pipe`], without waiting: `WouldBlock` when the pipe is full.
pub(in crate::socket) fn lend(
    pipe: BorrowedFd<'_>,
    pages: &[IoSlice<'static>],
) -> io::Result<usize> {
    vmsplice(pipe, pages, libc::SPLICE_F_NONBLOCK)
}

fn vmsplice(pipe: BorrowedFd<'_>, pages: &[IoSlice<'static>], flags: u32) -> io::Result<usize> {
    // SAFETY: IoSlice is an iovec by its own contract, and the slice of them lives
    // for the call. The memory behind them is never freed or written again
    // (`'static`, shared); the kernel only reads it, and without SPLICE_F_GIFT it
    // does not take the pages over.
    let lent =
        unsafe { libc::vmsplice(pipe.as_raw_fd(), pages.as_ptr().cast(), pages.len(), flags) };
    usize::try_from(lent).map_err(|_| io::Error::last_os_error())
}

/// Moves up to `length` bytes from a pipe to a socket without copying them and
/// without waiting for room (splice(2)). A broken connection raises SIGPIPE, which
/// Rust programs ignore.
pub(in crate::socket) fn splice(
    pipe: BorrowedFd<'_>,
    socket: BorrowedFd<'_>,
    length: usize,
) -> io::Result<usize> {
    // SAFETY: no memory is passed: null offsets are what pipes and sockets need.
    let moved = unsafe {
        libc::splice(
            pipe.as_raw_fd(),
            ptr::null_mut(),
            socket.as_raw_fd(),
            ptr::null_mut(),
            length,
            libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK,
        )
    };
    usize::try_from(moved).map_err(|_| io::Error::last_os_error())
}

/// Makes a pipe hold `bytes`; how many it holds then. Refused beyond
/// fs.pipe-max-size and beyond what one user's pipes may hold together.
pub(in crate::socket) fn set_pipe_size(pipe: BorrowedFd<'_>, bytes: i32) -> io::Result<usize> {
    // SAFETY: F_SETPIPE_SZ takes an int; no pointers are passed.
    let size = checked(unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETPIPE_SZ, bytes) })?;
    Ok(size as usize)
}
