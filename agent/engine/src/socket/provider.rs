//! Where the engine's sockets come from.
//!
//! The engine never creates a socket itself: it asks a provider, which is
//! [`DirectProvider`] in an ordinary agent, and may be a helper with privileges
//! that passes descriptors, or a test.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::error::{Describe, SocketError};
use super::privilege;

/// A UDP socket to make: bound, not connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UdpRequest {
    /// Address and port; port 0 lets the kernel choose.
    pub local: SocketAddr,
    /// Share address and port with other sockets (SO_REUSEADDR), for the connected
    /// child sockets of a receiver.
    pub reuse: bool,
    /// Bind to this interface (SO_BINDTODEVICE).
    pub interface: Option<String>,
}

/// A listening TCP socket to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenRequest {
    /// Address and port; port 0 lets the kernel choose.
    pub local: SocketAddr,
    /// Bind to this interface (SO_BINDTODEVICE).
    pub interface: Option<String>,
}

/// A TCP socket to make: not connected, bound if asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRequest {
    /// Where it will connect to: sets the address family.
    pub remote: SocketAddr,
    /// Source address and port, if they matter.
    pub local: Option<SocketAddr>,
    /// Bind to this interface (SO_BINDTODEVICE).
    pub interface: Option<String>,
}

/// Makes sockets. The engine sets its own options on what it gets.
pub trait SocketProvider: Send + Sync {
    /// A bound UDP socket.
    fn udp(&self, request: &UdpRequest) -> Result<OwnedFd, SocketError>;
    /// A listening TCP socket.
    fn tcp_listener(&self, request: &ListenRequest) -> Result<OwnedFd, SocketError>;
    /// A TCP socket to connect.
    fn tcp_stream(&self, request: &StreamRequest) -> Result<OwnedFd, SocketError>;
}

/// Makes sockets in this process, with its privileges, in its namespaces.
#[derive(Debug, Clone, Copy, Default)]
pub struct DirectProvider;

/// Many generators dial one listener in the same instant (T0), and one that is
/// turned away retries a second later. The kernel caps it at net.core.somaxconn.
const BACKLOG: i32 = 4096;

impl SocketProvider for DirectProvider {
    fn udp(&self, request: &UdpRequest) -> Result<OwnedFd, SocketError> {
        let socket = create(request.local, Type::DGRAM, Protocol::UDP)?;
        bind_interface(&socket, request.interface.as_deref())?;
        if request.reuse {
            socket
                .set_reuse_address(true)
                .describe("share", || request.local)?;
        }
        bind(&socket, request.local)?;
        Ok(socket.into())
    }

    fn tcp_listener(&self, request: &ListenRequest) -> Result<OwnedFd, SocketError> {
        let socket = create(request.local, Type::STREAM, Protocol::TCP)?;
        bind_interface(&socket, request.interface.as_deref())?;
        // A port whose last connections are in TIME_WAIT can be used again at once.
        socket
            .set_reuse_address(true)
            .describe("share", || request.local)?;
        bind(&socket, request.local)?;
        socket
            .listen(BACKLOG)
            .describe("listen on", || request.local)?;
        Ok(socket.into())
    }

    fn tcp_stream(&self, request: &StreamRequest) -> Result<OwnedFd, SocketError> {
        let socket = create(request.remote, Type::STREAM, Protocol::TCP)?;
        bind_interface(&socket, request.interface.as_deref())?;
        if let Some(local) = request.local {
            socket.set_reuse_address(true).describe("share", || local)?;
            bind(&socket, local)?;
        }
        Ok(socket.into())
    }
}

fn create(address: SocketAddr, kind: Type, protocol: Protocol) -> Result<Socket, SocketError> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))
        .describe("create a socket for", || address)?;
    if address.is_ipv6() {
        // One family per flow: an IPv6 wildcard does not take the IPv4 port.
        socket
            .set_only_v6(true)
            .describe("limit to IPv6", || address)?;
    }
    Ok(socket)
}

fn bind(socket: &Socket, local: SocketAddr) -> Result<(), SocketError> {
    let bind = || socket.bind(&SockAddr::from(local));
    let bound = match local.port() {
        1..1024 => privilege::with(privilege::NET_BIND_SERVICE, bind),
        _ => bind(),
    };
    bound.describe("bind", || local)
}

fn bind_interface(socket: &Socket, interface: Option<&str>) -> Result<(), SocketError> {
    match interface {
        None => Ok(()),
        Some(name) => socket
            .bind_device(Some(name.as_bytes()))
            .describe("bind to interface", || name),
    }
}
