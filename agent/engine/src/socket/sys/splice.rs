//! Pages lent to a pipe, which splice(2) moves on without copying them.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Lends `pages` to a pipe (vmsplice(2)), and waits while it is full; how many bytes
/// it took.
///
/// What is spliced on to a socket refers to these very pages until the peer has
/// acknowledged it, so they must never change again, which `'static` and shared says.
pub fn lend_to_pipe(pipe: impl AsFd, pages: &'static [u8]) -> io::Result<usize> {
    let iovec = libc::iovec {
        iov_base: pages.as_ptr().cast_mut().cast(),
        iov_len: pages.len(),
    };
    // SAFETY: one live iovec over memory that is never freed or written again; the
    // kernel only reads it, without SPLICE_F_GIFT it does not take the pages over.
    let lent = unsafe { libc::vmsplice(pipe.as_fd().as_raw_fd(), &raw const iovec, 1, 0) };
    usize::try_from(lent).map_err(|_| io::Error::last_os_error())
}
