//! One attempt to reach a controller. The caller owns the retries: tonic's own
//! would hide the state and have no back-off.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint as TonicEndpoint, Uri};
use tower::service_fn;

use super::Endpoint;
use crate::tls::{ALPN, HANDSHAKE_TIMEOUT, SERVER_NAME};

/// How long a connection may take to be there; a TLS handshake has
/// [`HANDSHAKE_TIMEOUT`] more.
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
    /// No answer in time.
    #[error("connect to {endpoint}: no answer within {} s", limit.as_secs())]
    Timeout {
        /// Where.
        endpoint: Endpoint,
        /// How long was waited.
        limit: Duration,
    },
    /// It can be reached only with a certificate, and there is none.
    #[error(
        "connect to {0}: beyond this host the link needs a certificate, and there is none; \
         an agent gets one with a token (`weir token create`)"
    )]
    NoCertificate(Endpoint),
}

impl Endpoint {
    /// As [`connect_with`](Self::connect_with), without a certificate.
    ///
    /// # Errors
    /// As there, and an endpoint that is not plain.
    pub async fn connect(&self) -> Result<Channel, ConnectError> {
        self.connect_with(None).await
    }

    /// Opens one HTTP/2 connection, over TLS with this configuration unless the
    /// endpoint is plain. Calls over the channel share it; it does not come
    /// back once broken in any way that a caller should rely on.
    ///
    /// # Errors
    /// The attempt failed or took too long.
    pub async fn connect_with(
        &self,
        tls: Option<Arc<ClientConfig>>,
    ) -> Result<Channel, ConnectError> {
        let tls = match (self.is_plain(), tls) {
            (true, _) => None,
            (false, Some(tls)) => Some(TlsConnector::from(tls)),
            (false, None) => return Err(ConnectError::NoCertificate(self.clone())),
        };
        let limit = match tls {
            Some(_) => CONNECT_TIMEOUT + HANDSHAKE_TIMEOUT,
            None => CONNECT_TIMEOUT,
        };
        let target = self.clone();
        let connector = service_fn(move |_: Uri| {
            let (target, tls) = (target.clone(), tls.clone());
            async move { dial(&target, tls).await }
        });
        // The authority of the request is not looked at: the connector knows where to go.
        let link = TonicEndpoint::from_static("http://controller")
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true);
        let attempt = link.connect_with_connector(connector);
        match tokio::time::timeout(limit, attempt).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(source)) => Err(ConnectError::Transport {
                endpoint: self.clone(),
                source,
            }),
            Err(_) => Err(ConnectError::Timeout {
                endpoint: self.clone(),
                limit,
            }),
        }
    }
}

/// Any kind of connection, as one type.
enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
    // Of its own size only where there is one.
    Tls(Box<TlsStream<TcpStream>>),
}

async fn dial(endpoint: &Endpoint, tls: Option<TlsConnector>) -> io::Result<TokioIo<Stream>> {
    if let Endpoint::Unix(path) = endpoint {
        return UnixStream::connect(path)
            .await
            .map(Stream::Unix)
            .map(TokioIo::new);
    }
    let late = |what| io::Error::new(io::ErrorKind::TimedOut, what);
    let addresses = endpoint.addresses().await?;
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(addresses.as_slice()))
        .await
        .map_err(|_| late("no connection within 3 s"))??;
    stream.set_nodelay(true)?;
    // An older kernel without the option only notices a dead peer later.
    let _unsupported =
        rustix::net::sockopt::set_tcp_user_timeout(&stream, TCP_USER_TIMEOUT_MS).is_err();
    let Some(tls) = tls else {
        return Ok(TokioIo::new(Stream::Tcp(stream)));
    };
    let name = ServerName::try_from(SERVER_NAME).expect("the controller's name is a DNS name");
    let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.connect(name, stream))
        .await
        .map_err(|_| late("no TLS handshake within 5 s"))??;
    if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
        let other = "the peer speaks TLS, but not HTTP/2 over it";
        return Err(io::Error::new(io::ErrorKind::InvalidData, other));
    }
    Ok(TokioIo::new(Stream::Tls(Box::new(stream))))
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
                Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
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
                Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            }
        }

        fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            match self.get_mut() {
                Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
                Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
                Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            }
        }

        fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            match self.get_mut() {
                Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
                Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
                Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
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
