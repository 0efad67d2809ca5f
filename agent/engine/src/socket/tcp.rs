//! TCP connections that do not block.

use std::io::{self, IoSlice, PipeReader};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket};
use weir_common::assignment::Marking;

use super::buffer;
use super::error::{Describe, SocketError};
use super::marks;
use super::poll::{PollFd, Waker, poll};
use super::privilege;
use super::sys;
use super::tcp_info::{TCP_INFO_BYTES, TcpInfo};

/// What a flow asks of its connections; `None` leaves the host's default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TcpOptions {
    /// Congestion control by the kernel's name.
    pub congestion: Option<String>,
    /// Maximum segment size, bytes.
    pub mss: Option<u32>,
    /// Send small writes at once (no Nagle).
    pub nodelay: bool,
    /// Send and receive buffer, bytes (turns their autotuning off).
    pub window: Option<u64>,
    /// How its packets are marked.
    pub marking: Marking,
}

impl TcpOptions {
    /// Sets them on a socket, before it is connected as far as it matters: the
    /// maximum segment size is told in the SYN, and so is the scale of the window.
    fn apply(&self, socket: &Socket) -> Result<(), SocketError> {
        if let Some(name) = &self.congestion {
            // Those that are not in net.ipv4.tcp_allowed_congestion_control need it.
            privilege::with(privilege::NET_ADMIN, || {
                socket.set_tcp_congestion(name.as_bytes())
            })
            .describe("use congestion control", || name)?;
        }
        if let Some(mss) = self.mss {
            socket.set_tcp_mss(mss).describe("set the MSS to", || mss)?;
        }
        if self.nodelay {
            socket
                .set_tcp_nodelay(true)
                .describe("set", || "TCP_NODELAY")?;
        }
        if let Some(window) = self.window {
            for of in [&buffer::SEND, &buffer::RECEIVE] {
                buffer::exact(socket.as_fd(), of, window)?;
            }
        }
        let v6 = socket
            .domain()
            .describe("read the family of", || "a TCP socket")?
            == Domain::IPV6;
        marks::mark(socket.as_fd(), v6, &self.marking)
    }
}

/// Linux keeps segments below half of the largest window that the peer has told,
/// and the first one, unscaled, is below 64 KiB; beyond that the segment size shows
/// only later.
const HALF_FIRST_WINDOW: u32 = 32_000;

/// How one read or write went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// So many bytes, at least 1.
    Moved(usize),
    /// Nothing now: wait until the socket is ready.
    WouldBlock,
    /// The peer has finished sending (reads only).
    Closed,
}

/// A listening socket.
#[derive(Debug)]
pub struct TcpListener {
    socket: Socket,
    local: SocketAddr,
}

impl TcpListener {
    /// Takes over a listening socket and makes it non-blocking; accepted
    /// connections inherit `options`.
    pub fn from_fd(fd: OwnedFd, options: &TcpOptions) -> Result<Self, SocketError> {
        let socket = Socket::from(fd);
        let local = local_addr(&socket)?;
        socket
            .set_nonblocking(true)
            .describe("make non-blocking", || local)?;
        options.apply(&socket)?;
        Ok(Self { socket, local })
    }

    /// Its address, with the port the kernel chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The next connection, if one waits. One that went away meanwhile is skipped.
    pub fn accept(&self) -> Result<Option<TcpConnection>, SocketError> {
        loop {
            match self.socket.accept() {
                Ok((socket, peer)) => {
                    let peer = peer.as_socket().ok_or_else(|| {
                        let source = io::ErrorKind::Unsupported.into();
                        SocketError::new("read the peer of", self.local, source)
                    })?;
                    return TcpConnection::adopt(socket, peer).map(Some);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if went_away(&error) => {}
                Err(error) => return Err(error).describe("accept on", || self.local),
            }
        }
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Errors of accept(2) that belong to the connection, not to the listener.
fn went_away(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EINTR
                | libc::ECONNABORTED
                | libc::EPROTO
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENONET
                | libc::ENOPROTOOPT
                | libc::EOPNOTSUPP
        )
    )
}

/// A connection that is being made; it turns writable when that is done, well or ill.
#[derive(Debug)]
pub struct Connecting {
    socket: Socket,
    peer: SocketAddr,
    options: TcpOptions,
}

impl Connecting {
    /// The connection, if it is there; otherwise this again, to be asked later.
    pub fn finish(self) -> Result<Result<TcpConnection, Self>, SocketError> {
        let peer = self.peer;
        let pending = self.socket.take_error().describe("connect to", || peer)?;
        if let Some(error) = pending {
            return Err(error).describe("connect to", || peer);
        }
        match self.socket.peer_addr() {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(Err(self)),
            result => result.describe("connect to", || peer)?,
        };
        let connection = TcpConnection::adopt(self.socket, peer)?;
        connection.check_mss(&self.options)?;
        Ok(Ok(connection))
    }
}

impl AsFd for Connecting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A connected, non-blocking TCP socket.
#[derive(Debug)]
pub struct TcpConnection {
    socket: Socket,
    local: SocketAddr,
    peer: SocketAddr,
}

impl TcpConnection {
    /// Connects the socket `fd` to `peer` within `timeout`; ends with
    /// `ErrorKind::Interrupted` when `stop` is woken, `TimedOut` when time is up.
    pub fn connect(
        fd: OwnedFd,
        peer: SocketAddr,
        options: &TcpOptions,
        timeout: Duration,
        stop: Option<&Waker>,
    ) -> Result<Self, SocketError> {
        let connecting = Self::begin(fd, peer, options)?;
        finish_connect(&connecting.socket, peer, timeout, stop)?;
        let connection = Self::adopt(connecting.socket, peer)?;
        connection.check_mss(options)?;
        Ok(connection)
    }

    /// Begins to connect the socket `fd` to `peer`, without waiting.
    pub fn begin(
        fd: OwnedFd,
        peer: SocketAddr,
        options: &TcpOptions,
    ) -> Result<Connecting, SocketError> {
        let socket = Socket::from(fd);
        socket
            .set_nonblocking(true)
            .describe("make non-blocking a socket to", || peer)?;
        options.apply(&socket)?;
        let target = marks::labelled(socket.as_fd(), peer, options.marking.flow_label)?;
        match socket.connect(&target) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => {
                Err(error).describe("connect to", || peer)
            }
            _ => Ok(Connecting {
                socket,
                peer,
                options: options.clone(),
            }),
        }
    }

    fn adopt(socket: Socket, peer: SocketAddr) -> Result<Self, SocketError> {
        socket
            .set_nonblocking(true)
            .describe("make non-blocking a connection to", || peer)?;
        let local = local_addr(&socket)?;
        Ok(Self {
            socket,
            local,
            peer,
        })
    }

    /// Sets options on a connection that was accepted without them. The maximum
    /// segment size is what the dialling end told, the window's scale what the host
    /// could need at most; a flow label can be set before a connect only.
    pub fn set_options(&self, options: &TcpOptions) -> Result<(), SocketError> {
        if let Some(label) = options.marking.flow_label {
            let object = format!("{label}: the end that sends must dial (dial = \"from\")");
            let source = io::ErrorKind::Unsupported.into();
            return Err(SocketError::new("set the flow label", object, source));
        }
        options.apply(&self.socket)?;
        self.check_mss(options)
    }

    /// Refuses a connection whose segments are smaller than asked for.
    fn check_mss(&self, options: &TcpOptions) -> Result<(), SocketError> {
        let Some(asked) = options.mss else {
            return Ok(());
        };
        let info = self.info()?;
        let got = info.mss_with_options();
        if got >= asked.min(HALF_FIRST_WINDOW) {
            return Ok(());
        }
        let object = format!(
            "{asked} bytes: the path to {} or its window allows {got}",
            self.peer
        );
        let source = io::ErrorKind::InvalidInput.into();
        Err(SocketError::new("set the MSS to", object, source))
    }

    /// This end.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The other end.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// Writes what the socket takes of `bytes`.
    pub fn write(&self, bytes: &[u8]) -> Result<Transfer, SocketError> {
        let write = || self.socket.send_with_flags(bytes, libc::MSG_NOSIGNAL);
        self.transfer("write to", write).map(|moved| match moved {
            Transfer::Closed => Transfer::WouldBlock, // nothing was asked to be written
            moved => moved,
        })
    }

    /// Writes what the socket takes of `slices`, one after the other.
    pub(super) fn write_vectored(&self, slices: &[IoSlice<'_>]) -> Result<Transfer, SocketError> {
        let write = || {
            self.socket
                .send_vectored_with_flags(slices, libc::MSG_NOSIGNAL)
        };
        self.transfer("write to", write)
    }

    /// Moves what the socket takes of the next `length` bytes in a pipe.
    pub(super) fn splice(&self, pipe: &PipeReader, length: usize) -> Result<Transfer, SocketError> {
        self.transfer("write to", || {
            sys::splice(pipe.as_fd(), self.as_fd(), length)
        })
    }

    /// Reads what is there into `buffer`, which must not be empty.
    pub fn read(&self, buffer: &mut [u8]) -> Result<Transfer, SocketError> {
        self.transfer("read from", || io::Read::read(&mut &self.socket, buffer))
    }

    /// Receives up to `most` bytes and throws them away in the kernel, without
    /// copying them.
    pub fn discard(&self, most: usize) -> Result<Transfer, SocketError> {
        self.transfer("read from", || sys::discard(self.as_fd(), most))
    }

    fn transfer(
        &self,
        operation: &'static str,
        mut call: impl FnMut() -> io::Result<usize>,
    ) -> Result<Transfer, SocketError> {
        loop {
            match call() {
                Ok(0) => return Ok(Transfer::Closed),
                Ok(count) => return Ok(Transfer::Moved(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Transfer::WouldBlock);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).describe(operation, || self.peer),
            }
        }
    }

    /// Finishes sending: the peer reads what was written, then the end.
    pub fn finish(&self) -> Result<(), SocketError> {
        self.socket
            .shutdown(std::net::Shutdown::Write)
            .describe("finish to", || self.peer)
    }

    /// Whether the connection still stands: the error that ended it, once.
    pub fn check(&self) -> Result<(), SocketError> {
        let pending = self
            .socket
            .take_error()
            .and_then(|error| error.map_or(Ok(()), Err));
        pending.describe("deliver to", || self.peer)
    }

    /// Makes dropping the connection reset it, so that unsent data is not delivered.
    pub fn reset_on_drop(&self) -> Result<(), SocketError> {
        self.socket
            .set_linger(Some(Duration::ZERO))
            .describe("reset", || self.peer)
    }

    /// What the kernel knows of the connection.
    pub fn info(&self) -> Result<TcpInfo, SocketError> {
        let mut bytes = [0_u8; TCP_INFO_BYTES];
        let length = sys::option_bytes(self.as_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, &mut bytes)
            .describe("read TCP_INFO of", || self.peer)?;
        Ok(TcpInfo::parse(&bytes[..length]))
    }

    /// The congestion control in use, by the kernel's name.
    pub fn congestion_control(&self) -> Result<String, SocketError> {
        let name = self
            .socket
            .tcp_congestion()
            .describe("read congestion of", || self.peer)?;
        let end = name
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(name.len());
        Ok(String::from_utf8_lossy(&name[..end]).into_owned())
    }

    /// Bytes written that the peer's kernel has not acknowledged (SIOCOUTQ).
    pub fn unacked_bytes(&self) -> Result<u64, SocketError> {
        sys::ioctl_count(self.as_fd(), libc::TIOCOUTQ).describe("read SIOCOUTQ of", || self.peer)
    }

    /// Bytes received that were not read (SIOCINQ).
    pub fn unread_bytes(&self) -> Result<u64, SocketError> {
        sys::ioctl_count(self.as_fd(), libc::FIONREAD).describe("read SIOCINQ of", || self.peer)
    }

    /// Send and receive buffer as the kernel accounts them now, bytes.
    pub fn buffer_bytes(&self) -> Result<(usize, usize), SocketError> {
        let send = self
            .socket
            .send_buffer_size()
            .describe("read the buffer of", || self.peer)?;
        let receive = self
            .socket
            .recv_buffer_size()
            .describe("read the buffer of", || self.peer)?;
        Ok((send, receive))
    }
}

impl AsFd for TcpConnection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Waits for a connect in progress.
fn finish_connect(
    socket: &Socket,
    peer: SocketAddr,
    timeout: Duration,
    stop: Option<&Waker>,
) -> Result<(), SocketError> {
    let failed = |kind: io::ErrorKind| SocketError::new("connect to", peer, kind.into());
    let begun = Instant::now();
    loop {
        let left = timeout.saturating_sub(begun.elapsed());
        let mut fds = vec![PollFd::writable(socket)];
        fds.extend(stop.map(PollFd::readable));
        poll(&mut fds, Some(left))?;
        if fds[0].is_writable() {
            let pending = socket.take_error().describe("connect to", || peer)?;
            return pending.map_or(Ok(()), |error| Err(error).describe("connect to", || peer));
        }
        if fds.get(1).is_some_and(PollFd::is_readable) {
            return Err(failed(io::ErrorKind::Interrupted));
        }
        if left.is_zero() {
            return Err(failed(io::ErrorKind::TimedOut));
        }
    }
}

fn local_addr(socket: &Socket) -> Result<SocketAddr, SocketError> {
    socket
        .local_addr()
        .and_then(|address| address.as_socket().ok_or(io::ErrorKind::Unsupported.into()))
        .describe("read the address of", || "a TCP socket")
}
