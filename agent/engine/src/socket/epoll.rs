//! Waiting for many sockets on one thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::error::{Describe, SocketError};
use super::poll::{PollFd, poll};
use super::sys;

/// What a watched socket is to be ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Something to read (or a connection to accept).
    Readable,
    /// Room to write (or a connect that ended).
    Writable,
    /// Either.
    Both,
}

impl Interest {
    fn events(self) -> u32 {
        let events = match self {
            Self::Readable => libc::EPOLLIN,
            Self::Writable => libc::EPOLLOUT,
            Self::Both => libc::EPOLLIN | libc::EPOLLOUT,
        };
        events as u32
    }
}

/// A list of watched sockets, each with a token of the caller's.
///
/// Level-triggered: a socket that is ready is told of again until it is not, or is
/// no longer watched. Errors and the peer's end count as ready. A socket that is
/// closed leaves the list by itself.
#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
    /// Whether waits take nanoseconds; found out at the first one.
    precise: AtomicBool,
}

/// The tokens of the sockets that were ready; memory for a number of them.
pub struct Tokens {
    events: Vec<libc::epoll_event>,
    filled: usize,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Tokens {
    /// Room for `most` tokens a wait, at least 1.
    pub fn new(most: usize) -> Self {
        let none = libc::epoll_event { events: 0, u64: 0 };
        Self {
            events: vec![none; most.max(1)],
            filled: 0,
        }
    }

    /// The tokens of the last wait.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.events[..self.filled].iter().map(|event| event.u64)
    }
}

impl Epoll {
    /// An empty list.
    pub fn new() -> Result<Self, SocketError> {
        let fd = sys::epoll::create().describe("create", || "an epoll list")?;
        Ok(Self {
            fd,
            precise: AtomicBool::new(true),
        })
    }

    /// Watches a socket, or changes what it is watched for.
    pub fn watch(
        &self,
        fd: BorrowedFd<'_>,
        token: u64,
        interest: Interest,
    ) -> Result<(), SocketError> {
        let control = |operation| {
            sys::epoll::control(self.fd.as_fd(), operation, fd, interest.events(), token)
        };
        match control(libc::EPOLL_CTL_MOD) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => control(libc::EPOLL_CTL_ADD),
            result => result,
        }
        .describe("watch", || "a socket")
    }

    /// Watches a socket no more. One that is not watched is none the worse.
    pub fn forget(&self, fd: BorrowedFd<'_>) {
        // Fails only with ENOENT: it was not there.
        let _absent = sys::epoll::control(self.fd.as_fd(), libc::EPOLL_CTL_DEL, fd, 0, 0);
    }

    /// Waits until a watched socket is ready or `timeout` is over (`None`: for
    /// ever). A signal ends the wait early with no token.
    pub fn wait(&self, tokens: &mut Tokens, timeout: Option<Duration>) -> Result<(), SocketError> {
        tokens.filled = 0;
        let result = if timeout == Some(Duration::ZERO) {
            sys::epoll::take(self.fd.as_fd(), &mut tokens.events)
        } else if self.precise.load(Ordering::Relaxed) {
            sys::epoll::wait_precisely(self.fd.as_fd(), &mut tokens.events, timeout)
        } else {
            self.wait_by_poll(tokens, timeout)
        };
        match result {
            Ok(filled) => tokens.filled = filled,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A kernel before 5.11, or a filter of system calls that is as old.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                self.precise.store(false, Ordering::Relaxed);
            }
            Err(error) => return Err(error).describe("wait for", || "sockets"),
        }
        Ok(())
    }

    /// The list is itself a descriptor, and ppoll takes nanoseconds everywhere.
    fn wait_by_poll(&self, tokens: &mut Tokens, timeout: Option<Duration>) -> io::Result<usize> {
        let mut fds = [PollFd::readable(&self.fd)];
        poll(&mut fds, timeout).map_err(|error| {
            error
                .errno()
                .map_or(io::ErrorKind::Other.into(), io::Error::from_raw_os_error)
        })?;
        sys::epoll::take(self.fd.as_fd(), &mut tokens.events)
    }
}

/// Rouses the thread that watches it, again and again. Clones are the same bell.
#[derive(Debug, Clone)]
pub struct Bell {
    event: Arc<OwnedFd>,
}

impl Bell {
    /// A silent bell.
    pub fn new() -> Result<Self, SocketError> {
        let event = sys::eventfd().describe("create", || "eventfd")?;
        Ok(Self {
            event: Arc::new(event),
        })
    }

    /// Makes it readable until it is silenced.
    pub fn ring(&self) {
        // Fails only with EAGAIN, when the counter is full: then it is readable.
        let _full = sys::eventfd_add(self.event.as_fd());
    }

    /// Makes it not readable.
    pub fn silence(&self) {
        // Fails only with EAGAIN, when it was not ringing.
        let _silent = sys::eventfd_reset(self.event.as_fd());
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn ready(epoll: &Epoll, timeout: Duration) -> Vec<u64> {
        let mut tokens = Tokens::new(8);
        epoll.wait(&mut tokens, Some(timeout)).unwrap();
        let mut ready: Vec<u64> = tokens.iter().collect();
        ready.sort_unstable();
        ready
    }

    #[test]
    fn tokens_of_what_is_ready_until_it_is_not() {
        let epoll = Epoll::new().unwrap();
        let (one, other) = (Bell::new().unwrap(), Bell::new().unwrap());
        epoll.watch(one.as_fd(), 1, Interest::Readable).unwrap();
        epoll.watch(other.as_fd(), 2, Interest::Readable).unwrap();
        assert!(ready(&epoll, Duration::ZERO).is_empty());
        one.ring();
        other.ring();
        assert_eq!(ready(&epoll, Duration::from_secs(10)), [1, 2]);
        one.silence();
        assert_eq!(
            ready(&epoll, Duration::from_secs(10)),
            [2],
            "level-triggered"
        );
        epoll.watch(one.as_fd(), 3, Interest::Both).unwrap();
        epoll.forget(other.as_fd());
        epoll.forget(other.as_fd());
        assert_eq!(ready(&epoll, Duration::from_secs(10)), [3], "room to write");
        drop(one);
        assert!(ready(&epoll, Duration::ZERO).is_empty(), "closed");
    }

    #[test]
    fn a_wait_ends_with_its_time_on_old_kernels_too() {
        for precise in [true, false] {
            let epoll = Epoll::new().unwrap();
            epoll.precise.store(precise, Ordering::Relaxed);
            let bell = Bell::new().unwrap();
            epoll.watch(bell.as_fd(), 7, Interest::Readable).unwrap();
            let begun = Instant::now();
            assert!(ready(&epoll, Duration::from_micros(300)).is_empty());
            let waited = begun.elapsed();
            assert!(waited >= Duration::from_micros(300), "{waited:?}");
            bell.ring();
            assert_eq!(ready(&epoll, Duration::from_secs(10)), [7]);
        }
    }
}
