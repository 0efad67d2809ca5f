//! UDP that never blocks and knows what became of each datagram.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

use socket2::{Domain, MsgHdr, SockAddr, Socket};

use weir_common::assignment::Marking;

use super::buffer::{self, BufferSize};
use super::error::{Describe, SocketError};
use super::{control, marks, sys};

/// Datagrams in one bundle: the kernel's limit before 6.9, UDP_MAX_SEGMENTS.
pub const MAX_SEGMENTS: u32 = 64;

/// The most payload one IPv4 packet holds, and so one bundle.
const MAX_PAYLOAD: u32 = 65_507;

/// How many datagrams of `segment` bytes fit one bundle, at least 1.
pub fn max_bundle(segment: u32) -> u32 {
    MAX_PAYLOAD
        .checked_div(segment)
        .unwrap_or(1)
        .clamp(1, MAX_SEGMENTS)
}

/// What became of one datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendOutcome {
    /// It reached IP and the local queue took it.
    Sent,
    /// It reached IP and the host's own qdisc dropped it (ENOBUFS, seen only with
    /// IP_RECVERR): `egress`, counted as sent.
    NoBufs,
    /// The socket's send buffer is full: `blocked`. It did not reach IP.
    WouldBlock,
    /// The kernel would not send it: `refused`. It did not reach IP.
    Refused(Refusal),
}

/// Why the kernel would not send a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A packet filter or a policy (EPERM, EACCES).
    NotPermitted,
    /// Larger than a datagram can be (EMSGSIZE).
    TooLarge,
    /// No route, or the network said so (ENETUNREACH, EHOSTUNREACH, ENETDOWN, ...).
    Unreachable,
    /// Nobody listens there (ECONNREFUSED).
    PortUnreachable,
    /// Another error number.
    Other(i32),
}

impl Refusal {
    fn from_errno(errno: i32) -> Self {
        match errno {
            libc::EPERM | libc::EACCES => Self::NotPermitted,
            libc::EMSGSIZE => Self::TooLarge,
            libc::ENETUNREACH
            | libc::EHOSTUNREACH
            | libc::ENETDOWN
            | libc::EHOSTDOWN
            | libc::EADDRNOTAVAIL => Self::Unreachable,
            libc::ECONNREFUSED => Self::PortUnreachable,
            other => Self::Other(other),
        }
    }
}

/// What the error queue held since it was last taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueuedErrors {
    /// ICMP errors that other hosts sent about this socket's packets.
    pub icmp: u64,
    /// Errors of this host (a datagram too large for the path).
    pub local: u64,
    /// The latest error number among them.
    pub last_errno: Option<i32>,
}

/// A non-blocking UDP socket with its error queue on.
///
/// It may be used from several threads; counts of queued errors are shared.
#[derive(Debug)]
pub struct UdpSocket {
    socket: Socket,
    local: SocketAddr,
    bundles: AtomicBool,
    queued_icmp: AtomicU64,
    queued_local: AtomicU64,
    queued_errno: AtomicI32,
}

impl UdpSocket {
    /// Takes over a bound UDP socket, makes it non-blocking and turns IP_RECVERR
    /// on, without which drops of the local queue look like success.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, SocketError> {
        let socket = Socket::from(fd);
        let local = socket
            .local_addr()
            .and_then(|address| address.as_socket().ok_or(io::ErrorKind::Unsupported.into()))
            .describe("read the address of", || "a UDP socket")?;
        socket
            .set_nonblocking(true)
            .describe("make non-blocking", || local)?;
        let udp = Self {
            socket,
            local,
            bundles: AtomicBool::new(false),
            queued_icmp: AtomicU64::new(0),
            queued_local: AtomicU64::new(0),
            queued_errno: AtomicI32::new(0),
        };
        udp.set_ip_option(libc::IP_RECVERR, libc::IPV6_RECVERR, 1)
            .describe("read errors of", || local)?;
        Ok(udp)
    }

    /// The address it was bound to when it was made, with the port the kernel chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The address it sends from, which a connected socket has even when it was
    /// bound to the wildcard.
    pub fn connected_addr(&self) -> Result<SocketAddr, SocketError> {
        self.socket
            .local_addr()
            .and_then(|address| address.as_socket().ok_or(io::ErrorKind::Unsupported.into()))
            .describe("read the address of", || self.local)
    }

    /// Fixes the peer: sends go to it, and only its datagrams are received. What
    /// came from others before stays in the queue; a receiver's child socket that
    /// shares its port meets such datagrams and must check their tag.
    pub fn connect(&self, peer: SocketAddr) -> Result<(), SocketError> {
        self.socket
            .connect(&SockAddr::from(peer))
            .describe("connect to", || peer)
    }

    /// Marks what is sent from now on; the flow label is
    /// [`label`](Self::label)'s.
    pub fn mark(&self, marking: &Marking) -> Result<(), SocketError> {
        marks::mark(self.as_fd(), self.local.is_ipv6(), marking)
    }

    /// Gives what is sent to `peer` from now on a flow label (RFC 6437): connects
    /// to it, again if need be. IPv6 only.
    pub fn label(&self, peer: SocketAddr, label: u32) -> Result<(), SocketError> {
        let peer = marks::labelled(self.as_fd(), peer, Some(label))?;
        self.socket.connect(&peer).describe("connect to", || {
            peer.as_socket()
                .map_or_else(String::new, |peer| peer.to_string())
        })
    }

    /// Makes the send buffer hold `window` bytes, neither less nor, but for the
    /// kernel's least, more (it doubles them for its own accounting).
    pub fn set_send_window(&self, window: u64) -> Result<BufferSize, SocketError> {
        buffer::exact(self.as_fd(), &buffer::SEND, window)
    }

    /// As [`set_send_window`](Self::set_send_window), for receiving.
    pub fn set_receive_window(&self, window: u64) -> Result<BufferSize, SocketError> {
        buffer::exact(self.as_fd(), &buffer::RECEIVE, window)
    }

    /// Makes the send buffer hold `bytes` (as payload and bookkeeping together;
    /// the kernel doubles it), past the host's limit where that is allowed.
    ///
    /// It must be larger than the local queue, so that the queue decides what is
    /// lost, not the socket. Where forcing is refused, what does not fit reads
    /// `blocked`.
    pub fn force_send_buffer(&self, bytes: usize) -> Result<BufferSize, SocketError> {
        buffer::force(self.as_fd(), &buffer::SEND, bytes)
            .describe("size the send buffer of", || self.local)
    }

    /// As [`force_send_buffer`](Self::force_send_buffer), for receiving.
    pub fn force_receive_buffer(&self, bytes: usize) -> Result<BufferSize, SocketError> {
        buffer::force(self.as_fd(), &buffer::RECEIVE, bytes)
            .describe("size the receive buffer of", || self.local)
    }

    /// Sends one datagram to the connected peer, without waiting.
    pub fn send(&self, datagram: &[u8]) -> SendOutcome {
        self.attempt(|| self.socket.send(datagram))
    }

    /// Sends one datagram to `peer`, without waiting.
    pub fn send_to(&self, datagram: &[u8], peer: SocketAddr) -> SendOutcome {
        let peer = SockAddr::from(peer);
        self.attempt(|| self.socket.send_to(datagram, &peer))
    }

    /// Turns bundles (UDP_SEGMENT) on where the kernel has them; whether it does.
    pub fn enable_bundles(&self) -> bool {
        let offered = sys::option(self.as_fd(), libc::SOL_UDP, libc::UDP_SEGMENT).is_ok();
        self.bundles.store(offered, Ordering::Relaxed);
        offered
    }

    /// Whether [`send_bundle`](Self::send_bundle) still makes bundles: it stops
    /// when the kernel refuses one, as for a device without checksum offload.
    pub fn bundles(&self) -> bool {
        self.bundles.load(Ordering::Relaxed)
    }

    /// Sends `datagrams` cut every `segment` bytes (the last may be shorter) to the
    /// connected peer as one bundle, whose datagrams share one outcome. At most
    /// [`max_bundle`] of them; a `segment` of 0 is taken as 1.
    ///
    /// A qdisc that cuts a bundle (tbf) reports only the loss of all of it.
    ///
    /// `None`: not sent, because bundles are not on, or the kernel refuses one here
    /// and they are off from now on. Then each datagram is for [`send`](Self::send):
    /// not for `sendmmsg`, which stops at the first that fails and reports only how
    /// many went before, so that a datagram that the qdisc dropped would be sent a
    /// second time and counted by no one. It gains nothing either: the cost is the
    /// walk through the stack.
    pub fn send_bundle(&self, datagrams: &[u8], segment: u16) -> Option<SendOutcome> {
        if !self.bundles() {
            return None;
        }
        let control = control::udp_segment(segment.max(1));
        let buffers = [IoSlice::new(datagrams)];
        let message = MsgHdr::new().with_buffers(&buffers).with_control(&control);
        let outcome = self.attempt(|| self.socket.sendmsg(&message, 0));
        if refuses_bundles(outcome) {
            self.bundles.store(false, Ordering::Relaxed);
            return None;
        }
        Some(outcome)
    }

    /// Empties the error queue and returns what came since the last call. Unless
    /// this is done now and then, the queue fills the receive buffer's account.
    pub fn take_errors(&self) -> QueuedErrors {
        self.drain_errors();
        let errno = self.queued_errno.swap(0, Ordering::Relaxed);
        QueuedErrors {
            icmp: self.queued_icmp.swap(0, Ordering::Relaxed),
            local: self.queued_local.swap(0, Ordering::Relaxed),
            last_errno: (errno != 0).then_some(errno),
        }
    }

    /// Datagrams that this socket dropped because its receive buffer was full,
    /// since it was made (SO_MEMINFO, Linux 4.12); bundles where GRO is on. The
    /// counter is 32 bits wide and wraps.
    pub fn drops(&self) -> Result<u32, SocketError> {
        const SO_MEMINFO: i32 = 55;
        const SK_MEMINFO_DROPS: usize = 8;
        let mut words = [0_u8; 4 * (SK_MEMINFO_DROPS + 1)];
        sys::option_bytes(self.as_fd(), libc::SOL_SOCKET, SO_MEMINFO, &mut words)
            .describe("read the drops of", || self.local)?;
        let (_, drops) = words.split_last_chunk().expect("36 bytes end in 4");
        Ok(u32::from_ne_bytes(*drops))
    }

    /// Drains the queue into the shared counts; how many ICMP errors it held.
    pub(super) fn drain_errors(&self) -> u64 {
        let mut control = [0_u8; 256];
        let mut icmp = 0;
        while let Ok(Some(bytes)) = sys::receive_error(self.as_fd(), &mut control) {
            for message in control::messages(bytes) {
                let Some((errno, origin)) = extended_error(&message) else {
                    continue;
                };
                if origin == libc::SO_EE_ORIGIN_LOCAL {
                    self.queued_local.fetch_add(1, Ordering::Relaxed);
                } else {
                    icmp += 1;
                }
                self.queued_errno.store(errno, Ordering::Relaxed);
            }
        }
        self.queued_icmp.fetch_add(icmp, Ordering::Relaxed);
        icmp
    }

    /// Sets an option of whichever IP version the socket speaks.
    pub(super) fn set_ip_option(&self, v4: i32, v6: i32, value: i32) -> io::Result<()> {
        if self.socket.domain()? == Domain::IPV6 {
            sys::set_option(self.as_fd(), libc::IPPROTO_IPV6, v6, value)
        } else {
            sys::set_option(self.as_fd(), libc::IPPROTO_IP, v4, value)
        }
    }

    /// Makes one send and says what became of it.
    ///
    /// An ICMP error about an *earlier* datagram makes the kernel refuse the next
    /// send without trying it. That datagram is not refused, so where the error
    /// queue explains the failure, the send is tried again.
    fn attempt(&self, mut send: impl FnMut() -> io::Result<usize>) -> SendOutcome {
        let mut reported_earlier = 0;
        loop {
            let Err(error) = send() else {
                return SendOutcome::Sent;
            };
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::EAGAIN) => return SendOutcome::WouldBlock,
                Some(libc::ENOBUFS) => return SendOutcome::NoBufs,
                errno => {
                    if self.drain_errors() == 0 || reported_earlier == MAX_RETRIES {
                        return SendOutcome::Refused(Refusal::from_errno(errno.unwrap_or(0)));
                    }
                    reported_earlier += 1;
                }
            }
        }
    }
}

/// Errors may come in as fast as they are taken; three in a row are the path's
/// answer to this datagram too.
const MAX_RETRIES: u32 = 3;

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Refusals that concern the form of a bundle, not the datagrams in it: EIO without
/// checksum offload, EINVAL and EMSGSIZE for segments above the MTU (single
/// datagrams are fragmented instead).
fn refuses_bundles(outcome: SendOutcome) -> bool {
    matches!(
        outcome,
        SendOutcome::Refused(
            Refusal::TooLarge | Refusal::Other(libc::EIO | libc::EINVAL | libc::EOPNOTSUPP)
        )
    )
}

/// Error number and origin of a `struct sock_extended_err` (ip(7)).
fn extended_error(message: &control::ControlMessage<'_>) -> Option<(i32, u8)> {
    let of_ip = (message.level == libc::IPPROTO_IP && message.kind == libc::IP_RECVERR)
        || (message.level == libc::IPPROTO_IPV6 && message.kind == libc::IPV6_RECVERR);
    let origin = *message.data.get(4)?;
    of_ip.then_some((message.int()?, origin))
}
