//! How the packets of a socket are marked: DSCP and ECN, TTL, flow label.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use socket2::SockAddr;
use weir_common::assignment::Marking;

use super::error::{Describe, SocketError};
use super::sys;

/// Marks whatever leaves the socket from now on; the flow label is
/// [`labelled`]'s. TCP keeps the ECN bits to itself (RFC 3168).
pub(super) fn mark(fd: BorrowedFd<'_>, v6: bool, marking: &Marking) -> Result<(), SocketError> {
    let set = |v4_name, v6_name, value: u8| {
        let (level, name) = if v6 {
            (libc::IPPROTO_IPV6, v6_name)
        } else {
            (libc::IPPROTO_IP, v4_name)
        };
        sys::set_option(fd, level, name, i32::from(value))
    };
    if marking.dscp.is_some() || marking.ecn.is_some() {
        let tos = marking.dscp.unwrap_or(0) << 2 | marking.ecn.unwrap_or(0);
        set(libc::IP_TOS, libc::IPV6_TCLASS, tos).describe("set the traffic class to", || tos)?;
    }
    if let Some(ttl) = marking.ttl {
        set(libc::IP_TTL, libc::IPV6_UNICAST_HOPS, ttl.max(1))
            .describe("set the TTL to", || ttl)?;
    }
    Ok(())
}

/// The address to connect the socket to, so that its packets carry `label`
/// (RFC 6437). Before the connect: a connected socket keeps the label it has.
pub(super) fn labelled(
    fd: BorrowedFd<'_>,
    peer: SocketAddr,
    label: Option<u32>,
) -> Result<SockAddr, SocketError> {
    let Some(label) = label else {
        return Ok(peer.into());
    };
    let SocketAddr::V6(mut v6) = peer else {
        let object = format!("{label} to {peer}: IPv4 has none");
        let source = io::ErrorKind::InvalidInput.into();
        return Err(SocketError::new("set the flow label", object, source));
    };
    let set = |name, value| sys::set_option(fd, libc::IPPROTO_IPV6, name, value);
    if label == 0 {
        set(IPV6_AUTOFLOWLABEL, 0).describe("set the flow label", || label)?;
        return Ok(peer.into());
    }
    let mut request = [0; LABEL_REQUEST_BYTES];
    request[..16].copy_from_slice(&v6.ip().octets());
    request[16..20].copy_from_slice(&label.to_be_bytes());
    request[21] = FL_SHARE_ANY;
    request[22..24].copy_from_slice(&FL_CREATE.to_ne_bytes());
    sys::set_option_bytes(fd, libc::IPPROTO_IPV6, IPV6_FLOWLABEL_MGR, &request)
        .and_then(|()| set(IPV6_FLOWINFO_SEND, 1))
        .describe("set the flow label", || label)?;
    v6.set_flowinfo(label.to_be());
    Ok(SocketAddr::V6(v6).into())
}

// include/uapi/linux/in6.h. `struct in6_flowlabel_req`: address (16 bytes), label
// (4, network order), action (1: 0 = get), share (1), flags (2), and lifetimes that
// the kernel chooses.
const IPV6_FLOWLABEL_MGR: i32 = 32;
const IPV6_FLOWINFO_SEND: i32 = 33;
const IPV6_AUTOFLOWLABEL: i32 = 70;
const LABEL_REQUEST_BYTES: usize = 32;
const FL_SHARE_ANY: u8 = 255;
const FL_CREATE: u16 = 1;
