//! Receiving many datagrams a call, with what the kernel knows of each.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use super::control::{self, ControlMessage};
use super::error::{Describe, SocketError};
use super::sys::{self, Messages};
use super::udp::UdpSocket;

/// A slot that holds any bundle (and any datagram) whole.
pub const BUNDLE_BYTES: usize = 65_535;

/// What the kernel is to tell with each datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReceiveDetails {
    /// When it came in (SO_TIMESTAMPNS).
    pub stamps: bool,
    /// TTL or hop limit.
    pub ttl: bool,
    /// TOS or traffic class: DSCP and ECN.
    pub tos: bool,
    /// The address it was sent to, for sockets bound to the wildcard.
    pub destination: bool,
}

/// One received datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram<'batch> {
    /// What of its payload was captured: all of it if the slot was large enough.
    pub payload: &'batch [u8],
    /// Bytes of its payload.
    pub length: usize,
    /// When the kernel took it in, `CLOCK_REALTIME` ns; one stamp a bundle.
    pub realtime_ns: Option<u64>,
    /// Who sent it.
    pub source: Option<SocketAddr>,
    /// To which address.
    pub destination: Option<IpAddr>,
    /// TTL or hop limit on arrival.
    pub ttl: Option<u8>,
    /// TOS or traffic class on arrival.
    pub tos: Option<u8>,
    /// How many datagrams came in the same bundle: 1 without GRO.
    pub bundle: u32,
}

impl UdpSocket {
    /// Chooses what each received datagram is told with.
    pub fn set_receive_details(&self, details: ReceiveDetails) -> Result<(), SocketError> {
        let set = || -> io::Result<()> {
            let stamps = i32::from(details.stamps);
            sys::set_option(self.as_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, stamps)?;
            self.set_ip_option(
                libc::IP_RECVTTL,
                libc::IPV6_RECVHOPLIMIT,
                details.ttl.into(),
            )?;
            self.set_ip_option(libc::IP_RECVTOS, libc::IPV6_RECVTCLASS, details.tos.into())?;
            let destination = details.destination.into();
            self.set_ip_option(libc::IP_PKTINFO, libc::IPV6_RECVPKTINFO, destination)
        };
        set().describe("choose receive details of", || self.local_addr())
    }

    /// Lets datagrams arrive in bundles (UDP_GRO) where the kernel has them; whether
    /// it does. The batch must have slots of [`BUNDLE_BYTES`], and drops then count
    /// bundles.
    pub fn enable_gro(&self) -> bool {
        sys::set_option(self.as_fd(), libc::SOL_UDP, libc::UDP_GRO, 1).is_ok()
    }
}

/// Memory for one `recvmmsg`, made once and used again for every call.
#[derive(Debug)]
pub struct ReceiveBatch {
    messages: Messages,
}

impl ReceiveBatch {
    /// Room for `slots` datagrams (or bundles) of which `slot_bytes` each are
    /// captured; a receiver that reads only headers needs only their size.
    pub fn new(slots: usize, slot_bytes: usize) -> Self {
        Self {
            messages: Messages::new(slots, slot_bytes),
        }
    }

    /// Receives what is there, without waiting: the number of messages (bundles
    /// count as one), 0 when there is nothing. When it is the number of slots, there
    /// may be more.
    pub fn receive(&mut self, socket: &UdpSocket) -> Result<usize, SocketError> {
        loop {
            match self.messages.receive(socket.as_fd()) {
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // An ICMP error about something that this socket sent.
                Err(_) if socket.drain_errors() > 0 => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error).describe("receive on", || socket.local_addr()),
            }
        }
    }

    /// Payload bytes of all that the last [`receive`](Self::receive) took in, without
    /// looking at any of it.
    pub fn bytes(&self) -> u64 {
        let lengths = (0..self.messages.filled()).map(|slot| self.messages.payload(slot).1 as u64);
        lengths.sum()
    }

    /// The datagrams of the last [`receive`](Self::receive), bundles taken apart.
    pub fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        (0..self.messages.filled()).flat_map(|slot| self.split(slot))
    }

    fn split(&self, slot: usize) -> impl Iterator<Item = Datagram<'_>> {
        let (captured, total) = self.messages.payload(slot);
        let mut whole = Datagram {
            payload: captured,
            length: total,
            realtime_ns: None,
            source: self.messages.source(slot),
            destination: None,
            ttl: None,
            tos: None,
            bundle: 1,
        };
        let mut segment = None;
        for message in control::messages(self.messages.control(slot)) {
            tell(&mut whole, &mut segment, &message);
        }
        // An empty datagram is one segment of nothing.
        let segment = segment.unwrap_or(total).max(1);
        whole.bundle = total.div_ceil(segment).max(1) as u32;
        (0..whole.bundle as usize).map(move |index| {
            let begin = index * segment;
            let end = total.min(begin + segment);
            let seen = captured.len();
            let payload = &captured[begin.min(seen)..end.min(seen)];
            Datagram {
                payload,
                length: end - begin,
                ..whole
            }
        })
    }
}

/// Enters one control message into the datagram, or the size of a bundle's segments
/// into `segment`.
fn tell(whole: &mut Datagram<'_>, segment: &mut Option<usize>, message: &ControlMessage<'_>) {
    let byte = || message.int().and_then(|value| u8::try_from(value).ok());
    match (message.level, message.kind) {
        (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => whole.realtime_ns = message.timespec_ns(),
        (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
            whole.ttl = byte();
        }
        (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
            whole.tos = byte();
        }
        (libc::IPPROTO_IP, libc::IP_PKTINFO) | (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            whole.destination = message.destination();
        }
        (libc::SOL_UDP, libc::UDP_GRO) => {
            *segment = message.int().and_then(|size| usize::try_from(size).ok());
        }
        _ => {}
    }
}
