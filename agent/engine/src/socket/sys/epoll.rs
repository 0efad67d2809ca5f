//! epoll(7), and CPUs of a thread.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use super::{checked, timespec};

/// A new interest list.
pub(in crate::socket) fn create() -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let fd = checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    // SAFETY: the kernel just returned this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Adds, changes or removes one descriptor.
pub(in crate::socket) fn control(
    epoll: BorrowedFd<'_>,
    operation: i32,
    fd: BorrowedFd<'_>,
    events: u32,
    token: u64,
) -> io::Result<()> {
    let mut event = libc::epoll_event { events, u64: token };
    // SAFETY: `event` lives for the length of the call, which only reads it.
    let result =
        unsafe { libc::epoll_ctl(epoll.as_raw_fd(), operation, fd.as_raw_fd(), &raw mut event) };
    checked(result).map(drop)
}

/// Waits for events with a timeout of nanoseconds (epoll_pwait2, Linux 5.11).
pub(in crate::socket) fn wait_precisely(
    epoll: BorrowedFd<'_>,
    events: &mut [libc::epoll_event],
    timeout: Option<Duration>,
) -> io::Result<usize> {
    let timeout = timeout.map(|span| timespec(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)));
    let timeout_ptr = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    let most = libc::c_int::try_from(events.len()).unwrap_or(libc::c_int::MAX);
    // SAFETY: pointer and length describe one exclusive slice; the timeout is null
    // or a timespec that outlives the call; a null mask of size 0 is allowed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            epoll.as_raw_fd(),
            events.as_mut_ptr(),
            most,
            timeout_ptr,
            ptr::null::<libc::sigset_t>(),
            0_usize,
        )
    };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Takes the events that are there, without waiting.
pub(in crate::socket) fn take(
    epoll: BorrowedFd<'_>,
    events: &mut [libc::epoll_event],
) -> io::Result<usize> {
    let most = libc::c_int::try_from(events.len()).unwrap_or(libc::c_int::MAX);
    // SAFETY: pointer and length describe one exclusive slice.
    let result = unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), most, 0) };
    checked(result).map(|count| count as usize)
}

/// Lets the calling thread run on these CPUs only.
pub(in crate::socket) fn set_affinity(cpus: &[usize]) -> io::Result<()> {
    let mut set = [0_u64; AFFINITY_WORDS];
    for cpu in cpus {
        match set.get_mut(cpu / 64) {
            Some(word) => *word |= 1 << (cpu % 64),
            None => return Err(io::ErrorKind::InvalidInput.into()),
        }
    }
    // SAFETY: the kernel reads as many bytes as `set` has.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&set), set.as_ptr().cast()) };
    checked(result).map(drop)
}

/// The CPUs that the calling thread may run on.
pub(in crate::socket) fn affinity() -> io::Result<Vec<usize>> {
    let mut set = [0_u64; AFFINITY_WORDS];
    // SAFETY: the kernel writes at most as many bytes as `set` has.
    checked(unsafe { libc::sched_getaffinity(0, size_of_val(&set), set.as_mut_ptr().cast()) })?;
    let is_set = |cpu: &usize| set[cpu / 64] & (1 << (cpu % 64)) != 0;
    Ok((0..AFFINITY_WORDS * 64).filter(is_set).collect())
}

/// 8,192 CPUs, the most that Linux can be built for.
const AFFINITY_WORDS: usize = 128;

/// Raises the limit of open descriptors as far as the host allows; the limit now.
pub(in crate::socket) fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid rlimit to write to.
    checked(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: `limit` is a valid rlimit to read from.
        checked(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    }
    Ok(limit.rlim_cur)
}
