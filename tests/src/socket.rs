//! A socket of either kind.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use weir_runtime::Endpoint;

/// A connected socket.
#[derive(Debug)]
pub enum Socket {
    /// A unix socket.
    Unix(UnixStream),
    /// A TCP connection.
    Tcp(TcpStream),
}

impl Socket {
    /// Connects and says nothing.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn connect(endpoint: &Endpoint) -> io::Result<Self> {
        if let Endpoint::Unix(path) = endpoint {
            return Ok(Self::Unix(UnixStream::connect(path)?));
        }
        let text = endpoint.to_string();
        let address = text
            .split_once("://")
            .map_or(text.as_str(), |(_, rest)| rest);
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self::Tcp(stream))
    }

    /// The same socket again.
    ///
    /// # Errors
    /// This process has no more descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
        })
    }

    /// How long a write may wait for who does not read.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn set_write_timeout(&self, limit: Duration) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.set_write_timeout(Some(limit)),
            Self::Tcp(stream) => stream.set_write_timeout(Some(limit)),
        }
    }

    /// Reads and writes wait: an accepted socket may be as its listener.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn set_blocking(&self) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.set_nonblocking(false),
            Self::Tcp(stream) => stream.set_nonblocking(false),
        }
    }

    /// Whether the other side has neither said anything nor closed.
    ///
    /// # Errors
    /// What the operating system says of the socket.
    pub fn is_silent(&mut self) -> io::Result<bool> {
        match self {
            Self::Unix(stream) => stream.set_nonblocking(true)?,
            Self::Tcp(stream) => stream.set_nonblocking(true)?,
        }
        let read = self.read(&mut [0]);
        self.set_blocking()?;
        Ok(read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock))
    }

    /// Reads end, writes fail.
    pub fn shutdown(&self) {
        // It may be closed already.
        match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Both).ok(),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both).ok(),
        };
    }
}

impl Read for Socket {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(bytes),
            Self::Tcp(stream) => stream.read(bytes),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
