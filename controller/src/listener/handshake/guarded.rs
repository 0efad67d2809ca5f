//! A connection that may say only so much before its peer is known: what TLS keeps of
//! messages that never end is memory that anyone could take.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes of a peer before the handshake has ended: several times a ClientHello and a
/// certificate of ours.
const HANDSHAKE_BYTES: usize = 16 * 1024;

/// See the module.
#[derive(Debug)]
pub(in crate::listener) struct Guarded {
    stream: TcpStream,
    /// What it may still say; `None`: all it wants.
    left: Option<usize>,
}

impl Guarded {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            left: Some(HANDSHAKE_BYTES),
        }
    }

    /// The peer is known.
    pub(super) fn trust(&mut self) {
        self.left = None;
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == Some(0) {
            let why = format!("more than {HANDSHAKE_BYTES} bytes before its end");
            return Poll::Ready(Err(io::Error::new(ErrorKind::InvalidData, why)));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(buffer.filled().len() - before);
        }
        polled
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
