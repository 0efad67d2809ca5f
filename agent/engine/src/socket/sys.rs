//! The system calls, one safe function each. Nothing here decides anything.

#![expect(
    unsafe_code,
    reason = "the project's only unsafe code; every block says why it is sound"
)]

pub(super) mod epoll;
mod messages;
mod splice;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

pub(super) use self::messages::{Messages, receive_error};
pub use self::splice::lend_to_pipe;
pub(super) use self::splice::{lend, set_pipe_size, splice};
use super::poll::PollFd;

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid timespec to write to for the length of the call.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    // Fails only for a clock the kernel does not have; the three used here are as
    // old as 2.6.12.
    debug_assert_eq!(result, 0, "clock_gettime({clock})");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// `CLOCK_MONOTONIC` as this process sees it (time-namespace offset included), ns.
pub fn monotonic_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// `CLOCK_REALTIME`, ns since 1970; the clock of kernel receive stamps.
pub fn realtime_ns() -> u64 {
    clock_ns(libc::CLOCK_REALTIME)
}

/// CPU time of the calling thread, ns.
pub(super) fn thread_cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn timespec(ns: u64) -> libc::timespec {
    libc::timespec {
        tv_sec: (ns / 1_000_000_000) as libc::time_t,
        tv_nsec: (ns % 1_000_000_000) as libc::c_long,
    }
}

/// Sleeps until this process's `CLOCK_MONOTONIC` reads `deadline_ns`; at once when
/// it is past. Signals do not end it early.
pub fn sleep_until_monotonic(deadline_ns: u64) {
    let deadline = timespec(deadline_ns);
    loop {
        // SAFETY: `deadline` is a valid timespec; with TIMER_ABSTIME the remaining
        // time is not written, so null is allowed.
        let result = unsafe {
            libc::clock_nanosleep(
                libc::CLOCK_MONOTONIC,
                libc::TIMER_ABSTIME,
                &raw const deadline,
                ptr::null_mut(),
            )
        };
        if result != libc::EINTR {
            return;
        }
    }
}

/// `ppoll` without a signal mask; `None` waits for ever.
pub(super) fn ppoll(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> io::Result<usize> {
    let timeout = timeout.map(|span| timespec(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)));
    let timeout_ptr = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the pointer and length come from one exclusive slice, whose elements
    // are transparent over pollfd; the timeout is null or a timespec that outlives
    // the call; a null mask is allowed.
    let result = unsafe {
        libc::ppoll(
            fds.as_mut_ptr().cast(),
            fds.len() as libc::nfds_t,
            timeout_ptr,
            ptr::null(),
        )
    };
    checked(result).map(|ready| ready as usize)
}

/// A non-blocking event counter.
pub(super) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let fd = checked(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    // SAFETY: the kernel just returned this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Adds 1 to an event counter.
pub(super) fn eventfd_add(fd: BorrowedFd<'_>) -> io::Result<()> {
    let one = 1_u64;
    // SAFETY: 8 bytes are read from a live u64.
    let wrote = unsafe { libc::write(fd.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
    if wrote < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Sets an event counter back to 0.
pub(super) fn eventfd_reset(fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut count = 0_u64;
    // SAFETY: 8 bytes are written to a live u64.
    let read = unsafe { libc::read(fd.as_raw_fd(), (&raw mut count).cast(), size_of::<u64>()) };
    if read < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// An integer socket option.
pub(super) fn option(fd: BorrowedFd<'_>, level: i32, name: i32) -> io::Result<i32> {
    let mut bytes = [0_u8; size_of::<i32>()];
    let length = option_bytes(fd, level, name, &mut bytes)?;
    if length == bytes.len() {
        Ok(i32::from_ne_bytes(bytes))
    } else {
        Ok(i32::from(bytes[0])) // the kernel returns small IP options as one byte
    }
}

/// A socket option as bytes; returns how many the kernel wrote.
pub(super) fn option_bytes(
    fd: BorrowedFd<'_>,
    level: i32,
    name: i32,
    value: &mut [u8],
) -> io::Result<usize> {
    let mut length = value.len() as libc::socklen_t;
    // SAFETY: pointer and length describe one exclusive slice; the kernel writes at
    // most `length` bytes and stores how many.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            name,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    checked(result).map(|_| (length as usize).min(value.len()))
}

/// Sets an integer socket option.
pub(super) fn set_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the kernel reads the four bytes of a live i32.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    checked(result).map(drop)
}

/// Sets a socket option that is a struct.
pub(super) fn set_option_bytes(
    fd: BorrowedFd<'_>,
    level: i32,
    name: i32,
    value: &[u8],
) -> io::Result<()> {
    // SAFETY: pointer and length describe one live slice, which the kernel reads.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            value.as_ptr().cast(),
            value.len() as libc::socklen_t,
        )
    };
    checked(result).map(drop)
}

/// An ioctl that answers with one int (SIOCOUTQ, SIOCINQ).
pub(super) fn ioctl_count(fd: BorrowedFd<'_>, request: libc::Ioctl) -> io::Result<u64> {
    let mut count: libc::c_int = 0;
    // SAFETY: both requests used write one int, and `count` is one.
    checked(unsafe { libc::ioctl(fd.as_raw_fd(), request, &raw mut count) })?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Receives up to `length` bytes of a TCP socket and throws them away in the
/// kernel (tcp(7), MSG_TRUNC), without copying them.
pub(super) fn discard(fd: BorrowedFd<'_>, length: usize) -> io::Result<usize> {
    // SAFETY: on a TCP socket MSG_TRUNC writes nothing to the buffer, so null is
    // never written through; a kernel that did try would fail with EFAULT.
    let count = unsafe {
        libc::recv(
            fd.as_raw_fd(),
            ptr::null_mut(),
            length,
            libc::MSG_TRUNC | libc::MSG_DONTWAIT,
        )
    };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Sets the timer slack of the calling thread.
pub(super) fn set_timer_slack(slack_ns: u64) -> io::Result<()> {
    // SAFETY: PR_SET_TIMERSLACK takes a number; no pointers are passed.
    checked(unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, slack_ns as libc::c_ulong) }).map(drop)
}
