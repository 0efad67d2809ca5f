//! One attempt to reach a controller. The caller owns the retries: tonic's own
//! would hide the state and have no back-off.

use std::io;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tonic::transport::{Channel, Endpoint as TonicEndpoint, Uri};
use tower::service_fn;

use super::Endpoint;

/// How long one attempt may take: a controller on this host answers in milliseconds.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// HTTP/2 window of a stream, bytes.
pub const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// HTTP/2 window of a connection, bytes: h2 scales its budget of small unread
/// frames to half of it.
pub const CONNECTION_WINDOW_BYTES: u32 = 512 * 1024;
/// Largest message of a records stream, bytes.
pub const RECORDS_MESSAGE_BYTES: usize = 256 * 1024;
/// Largest message of a control stream, bytes: a whole snapshot, with the values of traces.
pub const SNAPSHOT_MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// Largest message of an operator, bytes: a campaign with its trace files.
pub const CAMPAIGN_MESSAGE_BYTES: usize = 40 * 1024 * 1024;

/// Pings keep a silent connection honest; a peer that does not answer one is gone.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// Unacknowledged data older than this ends a TCP connection (tcp(7)).
const TCP_USER_TIMEOUT_MS: u32 = 10_000;

/// Why an endpoint could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Refused, missing, or not speaking HTTP/2.
    #[error("connect to {endpoint}")]
    Transport {
        /// Where.
        endpoint: Endpoint,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
    /// No answer within [`CONNECT_TIMEOUT`].
    #[error("connect to {endpoint}: no answer within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout {
        /// Where.
        endpoint: Endpoint,
    },
}

impl Endpoint {
    /// Opens one HTTP/2 connection. Calls over the channel share it; it does
    /// not come back once broken in any way that a caller should rely on.
    ///
    /// # Errors
    /// The attempt failed or took longer than [`CONNECT_TIMEOUT`].
    pub async fn connect(&self) -> Result<Channel, ConnectError> {
        let target = self.clone();
        let connector = service_fn(move |_: Uri| {
            let target = target.clone();
            async move { dial(&target).await }
        });
        // The authority of the request is not looked at: the connector knows where to go.
        let link = TonicEndpoint::from_static("http://controller")
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true);
        let attempt = link.connect_with_connector(connector);
        match tokio::time::timeout(CONNECT_TIMEOUT, attempt).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(source)) => Err(ConnectError::Transport {
                endpoint: self.clone(),
                source,
            }),
            Err(_) => Err(ConnectError::Timeout {
                endpoint: self.clone(),
            }),
        }
    }
}

/// Either kind of connection, as one type.
enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

async fn dial(endpoint: &Endpoint) -> io::Result<TokioIo<Stream>> {
    if let Endpoint::Unix(path) = endpoint {
        return UnixStream::connect(path)
            .await
            .map(Stream::Unix)
            .map(TokioIo::new);
    }
    let addresses = endpoint.tcp_addresses().unwrap_or_default();
    let stream = TcpStream::connect(addresses.as_slice()).await?;
    stream.set_nodelay(true)?;
    // An older kernel without the option only notices a dead peer later.
    let _unsupported =
        rustix::net::sockopt::set_tcp_user_timeout(&stream, TCP_USER_TIMEOUT_MS).is_err();
    Ok(TokioIo::new(Stream::Tcp(stream)))
}

/// Forwards the four calls of a byte stream to whichever kind it is.
mod forward {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::Stream;

    impl AsyncRead for Stream {
        fn poll_read(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            match self.get_mut() {
                Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
                Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            }
        }
    }

    impl AsyncWrite for Stream {
        fn poll_write(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            match self.get_mut() {
                Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
                Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            }
        }

        fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            match self.get_mut() {
                Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
                Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            }
        }

        fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            match self.get_mut() {
                Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
                Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn a_missing_socket_is_named() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let directory = tempfile::tempdir().unwrap();
        let endpoint = Endpoint::Unix(directory.path().join("none.sock"));
        let error = runtime.unwrap().block_on(endpoint.connect()).unwrap_err();
        assert!(error.to_string().contains("none.sock"), "{error}");
        assert!(error.source().is_some());
    }
}
