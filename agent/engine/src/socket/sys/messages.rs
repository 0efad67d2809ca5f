//! `recvmmsg` into memory that is laid out once, and the error queue.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Room for the control messages that a receiver can switch on: stamp 32 bytes,
/// TTL 24, TOS 24, packet info 40, GRO 24.
const CONTROL_WORDS: usize = 24;
type Control = [u64; CONTROL_WORDS]; // u64: the alignment of cmsghdr

/// `recvmmsg` and everything it points into.
///
/// Invariants, which make the stored pointers valid for the life of the value: the
/// vectors below are filled by [`Messages::new`] and never grow, shrink or get
/// replaced; `headers[n]` points at `iovecs[n]`, `names[n]` and `controls[n]`, and
/// `iovecs[n]` at its own `slot_bytes` of `payload`. Moving the value moves the
/// vectors' handles, not their heap blocks.
pub(in super::super) struct Messages {
    headers: Vec<libc::mmsghdr>,
    #[expect(dead_code, reason = "owned here, read by the kernel through `headers`")]
    iovecs: Vec<libc::iovec>,
    names: Vec<libc::sockaddr_storage>,
    controls: Vec<Control>,
    payload: Vec<u8>,
    slot_bytes: usize,
    filled: usize,
}

// SAFETY: the raw pointers in `headers` and `iovecs` point only into vectors that
// the same value owns, and are used only by `receive`, which takes it exclusively.
unsafe impl Send for Messages {}

impl std::fmt::Debug for Messages {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Messages")
            .field("slots", &self.headers.len())
            .field("slot_bytes", &self.slot_bytes)
            .field("filled", &self.filled)
            .finish_non_exhaustive()
    }
}

impl Messages {
    /// Room for `slots` messages of up to `slot_bytes` each; both at least 1.
    pub(in super::super) fn new(slots: usize, slot_bytes: usize) -> Self {
        let (slots, slot_bytes) = (slots.max(1), slot_bytes.max(1));
        let mut payload = vec![0_u8; slots * slot_bytes];
        let mut controls: Vec<Control> = vec![[0; CONTROL_WORDS]; slots];
        // SAFETY: sockaddr_storage is plain bytes; all zero is AF_UNSPEC.
        let empty_name: libc::sockaddr_storage = unsafe { mem::zeroed() };
        let mut names = vec![empty_name; slots];
        let mut iovecs: Vec<libc::iovec> = (0..slots)
            .map(|slot| libc::iovec {
                // SAFETY: slot < slots, so the offset stays inside `payload`.
                iov_base: unsafe { payload.as_mut_ptr().add(slot * slot_bytes) }.cast(),
                iov_len: slot_bytes,
            })
            .collect();
        let headers = (0..slots)
            .map(|slot| {
                // SAFETY: mmsghdr is pointers and integers; zero is valid for all.
                let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
                // SAFETY: slot is below the length of all three vectors.
                unsafe {
                    header.msg_hdr.msg_name = names.as_mut_ptr().add(slot).cast();
                    header.msg_hdr.msg_iov = iovecs.as_mut_ptr().add(slot);
                    header.msg_hdr.msg_control = controls.as_mut_ptr().add(slot).cast();
                }
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        let mut messages = Self {
            headers,
            iovecs,
            names,
            controls,
            payload,
            slot_bytes,
            filled: 0,
        };
        messages.reset(slots);
        messages
    }

    /// What the kernel changed in the first `count` headers, as before the call.
    fn reset(&mut self, count: usize) {
        for header in &mut self.headers[..count] {
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_hdr.msg_controllen = size_of::<Control>();
            header.msg_hdr.msg_flags = 0;
            header.msg_len = 0;
        }
    }

    /// Receives what is there, without waiting; the number of messages.
    ///
    /// MSG_TRUNC makes the kernel report the real length of a datagram that is
    /// longer than its slot, so a slot need only hold the header.
    pub(in super::super) fn receive(&mut self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        // One more than was filled: an error may have touched the next header.
        self.reset((self.filled + 1).min(self.headers.len()));
        self.filled = 0;
        // SAFETY: every header points at live memory of the stated length (the
        // invariants of the type); a null timeout is allowed with MSG_DONTWAIT.
        let count = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.headers.len() as libc::c_uint,
                (libc::MSG_DONTWAIT | libc::MSG_TRUNC) as _,
                ptr::null_mut(),
            )
        };
        self.filled = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        Ok(self.filled)
    }

    /// How many messages the last [`receive`](Self::receive) filled.
    pub(in super::super) fn filled(&self) -> usize {
        self.filled
    }

    /// The captured bytes and the real length of message `slot`.
    pub(in super::super) fn payload(&self, slot: usize) -> (&[u8], usize) {
        let length = self.headers[slot].msg_len as usize;
        let begin = slot * self.slot_bytes;
        (
            &self.payload[begin..begin + length.min(self.slot_bytes)],
            length,
        )
    }

    /// The control bytes of message `slot`.
    pub(in super::super) fn control(&self, slot: usize) -> &[u8] {
        let length = self.headers[slot]
            .msg_hdr
            .msg_controllen
            .min(size_of::<Control>());
        // SAFETY: a Control is at least `length` initialised bytes, and any
        // alignment suits u8.
        unsafe { std::slice::from_raw_parts(self.controls[slot].as_ptr().cast(), length) }
    }

    /// Who sent message `slot`.
    pub(in super::super) fn source(&self, slot: usize) -> Option<SocketAddr> {
        let name = &self.names[slot];
        let length = self.headers[slot].msg_hdr.msg_namelen as usize;
        match i32::from(name.ss_family) {
            libc::AF_INET if length >= size_of::<libc::sockaddr_in>() => {
                // SAFETY: the family says the kernel wrote a sockaddr_in, and a
                // sockaddr_storage is large enough and aligned for every address.
                let inet = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in>() };
                let address = Ipv4Addr::from(u32::from_be(inet.sin_addr.s_addr));
                Some(SocketAddrV4::new(address, u16::from_be(inet.sin_port)).into())
            }
            libc::AF_INET6 if length >= size_of::<libc::sockaddr_in6>() => {
                // SAFETY: as above, for a sockaddr_in6.
                let inet6 = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
                let address = Ipv6Addr::from(inet6.sin6_addr.s6_addr);
                let port = u16::from_be(inet6.sin6_port);
                let scope = inet6.sin6_scope_id;
                Some(SocketAddrV6::new(address, port, inet6.sin6_flowinfo, scope).into())
            }
            _ => None,
        }
    }
}

/// Takes one message off the socket's error queue (IP_RECVERR, ip(7)): its control
/// bytes, written to `control`, which should be aligned to 8 and hold 256 bytes.
/// `Ok(None)` when the queue is empty.
pub(in super::super) fn receive_error<'control>(
    fd: BorrowedFd<'_>,
    control: &'control mut [u8],
) -> io::Result<Option<&'control [u8]>> {
    // The payload of the packet in error comes along; none of it is needed.
    let mut nothing = [0_u8; 1];
    let mut iovec = libc::iovec {
        iov_base: nothing.as_mut_ptr().cast(),
        iov_len: nothing.len(),
    };
    // SAFETY: msghdr is pointers and integers; zero is valid for all of them.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut iovec;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = control.len();
    // SAFETY: the header points at one live iovec and one exclusive control slice,
    // each with its length.
    let result = unsafe {
        libc::recvmsg(
            fd.as_raw_fd(),
            &raw mut header,
            libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT,
        )
    };
    if result >= 0 {
        let length = header.msg_controllen.min(control.len());
        return Ok(Some(&control[..length]));
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::WouldBlock {
        Ok(None)
    } else {
        Err(error)
    }
}
