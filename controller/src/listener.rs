//! Our own accept loop: a role belongs to a listener, the number of
//! connections is bounded, and running out of descriptors never spins.
//!
//! Services see a [`Peer`], never a socket.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use weir_common::id::AgentName;
use weir_runtime::{Endpoint, Shutdown};

/// Most connections of one listener at once: two for each of 2,000 agents, with room.
const CONNECTIONS: usize = 4_096;
/// Pause after accept() failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a connection may do; set by the listener it came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Register, take assignments, deliver records.
    Agent,
    /// Everything an experimenter does.
    Operator,
    /// What an experimenter reads.
    Viewer,
}

impl Role {
    /// The word for it in certificates, messages and the audit log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a peer is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A unix socket; the user id that the kernel vouches for, if it does.
    Unix {
        /// User id.
        uid: Option<u32>,
    },
    /// A loopback TCP connection.
    Tcp,
}

/// Who speaks: put into each request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// What it may do.
    pub role: Role,
    /// The name that the transport vouches for. A plain socket vouches for
    /// none: an agent proves its name in Hello.
    pub name: Option<AgentName>,
    /// How it is connected.
    pub transport: Transport,
}

/// Why a listener could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// A live process holds the socket.
    #[error("listening on {0}: another process listens there; stop it or choose another endpoint")]
    InUse(Endpoint),
    /// A file that is no socket is in the way.
    #[error(
        "listening on {0}: a file that is no socket is there; move it away or choose another endpoint"
    )]
    NotASocket(Endpoint),
    /// The operating system refused.
    #[error("listening on {endpoint}")]
    Io {
        /// Where.
        endpoint: Endpoint,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

#[derive(Debug)]
enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// A bound listener that accepts nothing yet.
#[derive(Debug)]
pub struct Listener {
    sockets: Vec<Socket>,
    role: Role,
    endpoint: Endpoint,
}

impl Listener {
    /// Binds. A unix socket of a dead process is replaced; its new one gets `mode`.
    ///
    /// # Errors
    /// A live process listens there, another file is in the way, or the
    /// operating system refuses.
    pub async fn bind(endpoint: &Endpoint, role: Role, mode: u32) -> Result<Self, ListenError> {
        let failed = |source: io::Error| match source.kind() {
            ErrorKind::AddrInUse => ListenError::InUse(endpoint.clone()),
            _ => ListenError::Io {
                endpoint: endpoint.clone(),
                source,
            },
        };
        let mut bound = endpoint.clone();
        let sockets = match endpoint {
            Endpoint::Unix(path) => {
                match found_at(path).await.map_err(failed)? {
                    Found::Nothing => {}
                    Found::Stale => fs::remove_file(path).map_err(failed)?,
                    Found::Live => return Err(ListenError::InUse(endpoint.clone())),
                    Found::Other => return Err(ListenError::NotASocket(endpoint.clone())),
                }
                vec![Socket::Unix(bind_unix(path, mode).map_err(failed)?)]
            }
            Endpoint::Tcp { host, .. } => {
                let mut sockets = Vec::new();
                for mut address in endpoint.tcp_addresses().unwrap_or_default() {
                    if let Endpoint::Tcp { port, .. } = bound {
                        // All addresses get the port that was chosen for the first.
                        address.set_port(port);
                    }
                    match TcpListener::bind(address).await {
                        Ok(listener) => {
                            let port = listener.local_addr().map_err(failed)?.port();
                            bound = Endpoint::Tcp {
                                host: host.clone(),
                                port,
                            };
                            sockets.push(Socket::Tcp(listener));
                        }
                        // `localhost` is two addresses; a host may lack IPv6.
                        Err(error)
                            if !sockets.is_empty() && error.kind() != ErrorKind::AddrInUse => {}
                        Err(source) => return Err(failed(source)),
                    }
                }
                sockets
            }
        };
        Ok(Self {
            sockets,
            role,
            endpoint: bound,
        })
    }

    /// Where it listens, with the port that was chosen.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What its connections may do.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Starts accepting; ends when the shutdown is requested.
    pub fn accept(self, shutdown: &Shutdown) -> ReceiverStream<io::Result<Connection>> {
        self.accept_at_most(CONNECTIONS, shutdown)
    }

    fn accept_at_most(
        self,
        connections: usize,
        shutdown: &Shutdown,
    ) -> ReceiverStream<io::Result<Connection>> {
        let (sender, receiver) = mpsc::channel(64);
        let permits = Arc::new(Semaphore::new(connections));
        for socket in self.sockets {
            let (sender, permits, role) = (sender.clone(), Arc::clone(&permits), self.role);
            let token = shutdown.token();
            shutdown.spawn(async move {
                tokio::select! {
                    () = accept_all(socket, role, permits, sender) => {}
                    () = token.cancelled() => {}
                }
            });
        }
        ReceiverStream::new(receiver)
    }
}

/// What is at the path of a unix socket.
enum Found {
    Nothing,
    /// A socket that nobody listens on.
    Stale,
    /// A socket that somebody listens on.
    Live,
    /// Any other kind of file.
    Other,
}

async fn found_at(path: &Path) -> io::Result<Found> {
    let kind = match fs::symlink_metadata(path) {
        Ok(file) => file.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
    };
    if !kind.is_socket() {
        return Ok(Found::Other);
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(Found::Stale),
        // Connected; or there is a listener that has no room, or not for us.
        _ => Ok(Found::Live),
    }
}

fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

/// Accepts for ever. A connection is accepted only once there is room for it,
/// so that a flood waits in the kernel's backlog.
async fn accept_all(
    socket: Socket,
    role: Role,
    permits: Arc<Semaphore>,
    sender: mpsc::Sender<io::Result<Connection>>,
) {
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        match accept_one(&socket, role, permit).await {
            Ok(connection) => {
                if sender.send(Ok(connection)).await.is_err() {
                    return;
                }
            }
            // That connection only; the next one may be well.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
                ) => {}
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn accept_one(
    socket: &Socket,
    role: Role,
    permit: OwnedSemaphorePermit,
) -> io::Result<Connection> {
    let (stream, transport) = match socket {
        Socket::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            let uid = stream.peer_cred().ok().map(|credentials| credentials.uid());
            (Stream::Unix(stream), Transport::Unix { uid })
        }
        Socket::Tcp(listener) => {
            let (stream, _) = listener.accept().await?;
            // It fails only for a connection that is gone already.
            stream.set_nodelay(true).ok();
            (Stream::Tcp(stream), Transport::Tcp)
        }
    };
    Ok(Connection {
        stream,
        peer: Peer {
            role,
            name: None,
            transport,
        },
        _permit: permit,
    })
}

#[derive(Debug)]
enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// One accepted connection; its place is given back when it is dropped.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    peer: Peer,
    _permit: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests;
