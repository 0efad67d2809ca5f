//! Our own accept loop: a role belongs to a listener, the number of
//! connections is bounded, and running out of descriptors never spins.
//!
//! Services see a [`Peer`], never a socket. Over TLS its name and role stand in
//! its certificate, and the role must fit the listener.

mod gate;
mod handshake;

use std::fmt;
use std::fs;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use weir_common::id::AgentName;
use weir_runtime::{Endpoint, Shutdown};

use crate::audit::{Audit, Who};

pub use gate::Called;
pub use handshake::Tls;

use gate::{Gate, Place};
use handshake::Secured;

/// Most connections of one listener at once: two for each of 2,000 agents, with room.
const CONNECTIONS: usize = 4_096;
/// Pause after accept() failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Least time between two lines that say so.
const ACCEPT_TOLD_EVERY: Duration = Duration::from_secs(60);

/// What a connection may do; set by the listener it came to, over TLS within
/// what its certificate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Register, take assignments, deliver records.
    Agent,
    /// Everything an experimenter does.
    Operator,
    /// What an experimenter reads.
    Viewer,
    /// Nothing but to enrol: it has no certificate yet.
    Newcomer,
}

impl Role {
    /// The word for it in certificates, messages and the audit log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
            Self::Newcomer => "newcomer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a peer is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// A unix socket; the user id that the kernel vouches for, if it does.
    Unix {
        /// User id.
        uid: Option<u32>,
    },
    /// A loopback TCP connection.
    Tcp,
    /// A TLS connection.
    Tls {
        /// Where it comes from.
        address: SocketAddr,
        /// Serial number of its certificate, hexadecimal; empty for a newcomer.
        serial: String,
    },
}

/// Who speaks: put into each request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// What it may do.
    pub role: Role,
    /// The name that the transport vouches for: that in its certificate. A plain
    /// socket vouches for none: an agent proves its name in Hello.
    pub name: Option<AgentName>,
    /// How it is connected.
    pub transport: Transport,
}

/// What a connection is, before its calls are looked at: put into each
/// request's extensions.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Who speaks.
    pub peer: Peer,
    /// To be set by the first call.
    pub called: Called,
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
    /// Only a dialling host has a gateway.
    #[error(
        "listening on {0}: a gateway is where an agent dials; listen on tcp://0.0.0.0:PORT or one address"
    )]
    Gateway(Endpoint),
    /// Plain text on an address that others can listen to, or TLS on one that needs none.
    #[error("listening on {0}: such an endpoint is not bound this way")]
    Security(Endpoint),
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
    tls: Option<Tls>,
}

impl Listener {
    /// Binds a plain endpoint. A unix socket of a dead process is replaced; its
    /// new one gets `mode`.
    ///
    /// # Errors
    /// A live process listens there, another file is in the way, the operating
    /// system refuses, or others could listen to what is said.
    pub async fn bind(endpoint: &Endpoint, role: Role, mode: u32) -> Result<Self, ListenError> {
        let failed = failed(endpoint);
        let (sockets, bound) = match endpoint {
            Endpoint::Unix(path) => {
                match found_at(path).await.map_err(&failed)? {
                    Found::Nothing => {}
                    Found::Stale => fs::remove_file(path).map_err(&failed)?,
                    Found::Live => return Err(ListenError::InUse(endpoint.clone())),
                    Found::Other => return Err(ListenError::NotASocket(endpoint.clone())),
                }
                let socket = Socket::Unix(bind_unix(path, mode).map_err(&failed)?);
                (vec![socket], endpoint.clone())
            }
            Endpoint::Tcp { .. } => bind_tcp(endpoint).await.map_err(&failed)?,
            Endpoint::Gateway { .. } => return Err(ListenError::Gateway(endpoint.clone())),
            Endpoint::Tls { .. } => return Err(ListenError::Security(endpoint.clone())),
        };
        Ok(Self {
            sockets,
            role,
            endpoint: bound,
            tls: None,
        })
    }

    /// Binds an endpoint whose connections are TLS.
    ///
    /// # Errors
    /// A live process listens there, the operating system refuses, or it is a
    /// plain endpoint.
    pub async fn bind_tls(endpoint: &Endpoint, role: Role, tls: Tls) -> Result<Self, ListenError> {
        let (sockets, bound) = match endpoint {
            Endpoint::Tls { .. } => bind_tcp(endpoint).await.map_err(failed(endpoint))?,
            Endpoint::Gateway { .. } => return Err(ListenError::Gateway(endpoint.clone())),
            _ => return Err(ListenError::Security(endpoint.clone())),
        };
        Ok(Self {
            sockets,
            role,
            endpoint: bound,
            tls: Some(tls),
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

    /// Starts accepting; ends when the shutdown is requested. Connections that are
    /// refused, or of no use, are told to the audit log.
    pub fn accept(
        self,
        audit: Audit,
        shutdown: &Shutdown,
    ) -> ReceiverStream<io::Result<Connection>> {
        self.accept_at_most(CONNECTIONS, audit, shutdown)
    }

    fn accept_at_most(
        self,
        connections: usize,
        audit: Audit,
        shutdown: &Shutdown,
    ) -> ReceiverStream<io::Result<Connection>> {
        let (sender, receiver) = mpsc::channel(64);
        let permits = Arc::new(Semaphore::new(connections));
        let gate = Gate::new(audit);
        for socket in self.sockets {
            let door = Door {
                socket,
                role: self.role,
                tls: self.tls.clone(),
                permits: Arc::clone(&permits),
                gate: gate.clone(),
                sender: sender.clone(),
            };
            let token = shutdown.token();
            shutdown.spawn(async move {
                tokio::select! {
                    () = door.accept_all() => {}
                    () = token.cancelled() => {}
                }
            });
        }
        ReceiverStream::new(receiver)
    }
}

fn failed(endpoint: &Endpoint) -> impl Fn(io::Error) -> ListenError {
    let endpoint = endpoint.clone();
    move |source| match source.kind() {
        ErrorKind::AddrInUse => ListenError::InUse(endpoint.clone()),
        _ => ListenError::Io {
            endpoint: endpoint.clone(),
            source,
        },
    }
}

/// Binds all addresses of an endpoint, and tells the port that was chosen.
async fn bind_tcp(endpoint: &Endpoint) -> io::Result<(Vec<Socket>, Endpoint)> {
    let mut bound = endpoint.clone();
    let mut sockets = Vec::new();
    for mut address in endpoint.addresses().await? {
        // All addresses get the port that was chosen for the first.
        address.set_port(bound.port().unwrap_or_default());
        match TcpListener::bind(address).await {
            Ok(listener) => {
                bound = endpoint.with_port(listener.local_addr()?.port());
                sockets.push(Socket::Tcp(listener));
            }
            // `localhost` is two addresses; a host may lack IPv6.
            Err(error) if !sockets.is_empty() && error.kind() != ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
    if sockets.is_empty() {
        return Err(io::Error::new(
            ErrorKind::NotFound,
            "the name has no address",
        ));
    }
    Ok((sockets, bound))
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

/// One listening socket and what its connections get.
struct Door {
    socket: Socket,
    role: Role,
    tls: Option<Tls>,
    permits: Arc<Semaphore>,
    gate: Gate,
    sender: mpsc::Sender<io::Result<Connection>>,
}

impl Door {
    /// Accepts for ever. A connection is accepted only once there is room for
    /// it, so that a flood waits in the kernel's backlog.
    async fn accept_all(self) {
        // Dropped with the door, which ends those that are not done.
        let mut handshakes = JoinSet::new();
        let mut told: Option<Instant> = None;
        loop {
            // No more than the gate lets wait.
            while handshakes.try_join_next().is_some() {}
            let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
                return;
            };
            let accepted = match accept_one(&self.socket).await {
                Ok(accepted) => accepted,
                // That connection only; the next one may be well.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
                    ) =>
                {
                    continue;
                }
                Err(error) => {
                    // Told seldom: a lack of descriptors lasts, and comes and goes.
                    if told.is_none_or(|told| told.elapsed() >= ACCEPT_TOLD_EVERY) {
                        tracing::warn!(%error, "accept failed: connections wait until it works again");
                        told = Some(Instant::now());
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(place) = self.gate.enter(accepted.who(self.role)) else {
                continue;
            };
            match (accepted, &self.tls) {
                (Accepted::Tcp(stream, address), Some(tls)) => {
                    handshakes.spawn(self.shake(tls.clone(), stream, address, permit, place));
                }
                (accepted, _) => {
                    if !self
                        .hand_over(accepted.plain(self.role, permit, place))
                        .await
                    {
                        return;
                    }
                }
            }
        }
    }

    async fn hand_over(&self, connection: Connection) -> bool {
        self.sender.send(Ok(connection)).await.is_ok()
    }

    /// A handshake, outside the loop that accepts.
    fn shake(
        &self,
        tls: Tls,
        stream: TcpStream,
        address: SocketAddr,
        permit: OwnedSemaphorePermit,
        mut place: Place,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (role, sender) = (self.role, self.sender.clone());
        async move {
            let shaken = tokio::select! {
                shaken = tls.shake(stream, address, role) => shaken,
                () = poll_fn(|cx| place.poll_end(cx)) => None,
            };
            if let Some((stream, peer)) = shaken {
                let connection = Connection {
                    stream: Stream::Tls(Box::new(stream)),
                    peer,
                    place,
                    _permit: permit,
                };
                // Nobody takes connections once the end was requested.
                sender.send(Ok(connection)).await.ok();
            }
        }
    }
}

/// What came, before anything was said.
enum Accepted {
    Unix(UnixStream),
    Tcp(TcpStream, SocketAddr),
}

impl Accepted {
    fn who(&self, role: Role) -> Who {
        let mut who = Who {
            role: role.as_str(),
            ..Who::default()
        };
        match self {
            Self::Unix(stream) => {
                who.uid = stream.peer_cred().ok().map(|credentials| credentials.uid());
            }
            Self::Tcp(_, address) => who.address = Some(*address),
        }
        who
    }

    fn plain(self, role: Role, permit: OwnedSemaphorePermit, place: Place) -> Connection {
        let (stream, transport) = match self {
            Self::Unix(stream) => {
                let uid = stream.peer_cred().ok().map(|credentials| credentials.uid());
                (Stream::Unix(stream), Transport::Unix { uid })
            }
            Self::Tcp(stream, _) => (Stream::Tcp(stream), Transport::Tcp),
        };
        Connection {
            stream,
            peer: Peer {
                role,
                name: None,
                transport,
            },
            place,
            _permit: permit,
        }
    }
}

async fn accept_one(socket: &Socket) -> io::Result<Accepted> {
    match socket {
        Socket::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            Ok(Accepted::Unix(stream))
        }
        Socket::Tcp(listener) => {
            let (stream, address) = listener.accept().await?;
            // It fails only for a connection that is gone already.
            stream.set_nodelay(true).ok();
            Ok(Accepted::Tcp(stream, address))
        }
    }
}

#[derive(Debug)]
enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<Secured>),
}

/// One accepted connection; its place is given back when it is dropped.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    peer: Peer,
    place: Place,
    _permit: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = Arrival;

    fn connect_info(&self) -> Arrival {
        Arrival {
            peer: self.peer.clone(),
            called: self.place.called(),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.place.poll_end(cx).is_ready() {
            return Poll::Ready(Err(ErrorKind::TimedOut.into()));
        }
        match &mut self.stream {
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
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
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests;
