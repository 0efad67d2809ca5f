//! Waiting for sockets, and ending a wait from elsewhere.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::error::{Describe, SocketError};
use super::sys;

/// One descriptor to wait for. It borrows the descriptor, so that what is polled
/// is open.
#[derive(Debug, Clone)]
#[repr(transparent)]
pub struct PollFd<'fd> {
    inner: libc::pollfd,
    borrowed: PhantomData<BorrowedFd<'fd>>,
}

impl<'fd> PollFd<'fd> {
    /// Waits for something to read (or a connection to accept).
    pub fn readable(fd: &'fd impl AsFd) -> Self {
        Self::new(fd, libc::POLLIN)
    }

    /// Waits for room to write (or for a connect to end).
    pub fn writable(fd: &'fd impl AsFd) -> Self {
        Self::new(fd, libc::POLLOUT)
    }

    /// Waits for either.
    pub fn both(fd: &'fd impl AsFd) -> Self {
        Self::new(fd, libc::POLLIN | libc::POLLOUT)
    }

    fn new(fd: &'fd impl AsFd, events: libc::c_short) -> Self {
        let fd = fd.as_fd().as_raw_fd();
        Self {
            inner: libc::pollfd {
                fd,
                events,
                revents: 0,
            },
            borrowed: PhantomData,
        }
    }

    /// After [`poll`]: a read would not wait (data, the peer's end, or an error).
    pub fn is_readable(&self) -> bool {
        self.inner.revents & (libc::POLLIN | libc::POLLHUP | libc::POLLERR) != 0
    }

    /// After [`poll`]: a write would not wait (room, or an error).
    pub fn is_writable(&self) -> bool {
        self.inner.revents & (libc::POLLOUT | libc::POLLHUP | libc::POLLERR) != 0
    }

    /// After [`poll`]: an error is pending; on a UDP socket the error queue is not
    /// empty and must be taken, or every wait ends at once.
    pub fn has_error(&self) -> bool {
        self.inner.revents & libc::POLLERR != 0
    }
}

/// Waits until a descriptor is ready or `timeout` is over (`None`: for ever);
/// returns how many are ready. A signal ends the wait early with 0.
pub fn poll(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> Result<usize, SocketError> {
    match sys::ppoll(fds, timeout) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            for each in fds {
                each.inner.revents = 0;
            }
            Ok(0)
        }
        result => result.describe("poll", || format!("{} descriptors", fds.len())),
    }
}

/// Ends waits: once woken, it is readable for every thread that polls it, for good.
/// Clones are the same waker.
#[derive(Debug, Clone)]
pub struct Waker {
    event: Arc<OwnedFd>,
}

impl Waker {
    /// A waker that has not been woken.
    pub fn new() -> Result<Self, SocketError> {
        let event = sys::eventfd().describe("create", || "eventfd")?;
        Ok(Self {
            event: Arc::new(event),
        })
    }

    /// Ends all waits on it, present and future. May be called again, from anywhere.
    pub fn wake(&self) {
        // Fails only with EAGAIN, when the counter is full: then it is readable.
        let _full = sys::eventfd_add(self.event.as_fd());
    }

    /// Whether it was woken.
    pub fn is_woken(&self) -> bool {
        let mut fds = [PollFd::readable(self)];
        matches!(poll(&mut fds, Some(Duration::ZERO)), Ok(1))
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// How a wait for an instant ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woke {
    /// The instant came.
    Deadline,
    /// The waker was woken.
    Stopped,
}
