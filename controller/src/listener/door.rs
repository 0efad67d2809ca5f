//! One listening socket: connections in, each with its place and its peer.

use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

use super::bind::Socket;
use super::connection::{Connection, Stream};
use super::gate::{Gate, Place};
use super::handshake::Tls;
use super::peer::{Peer, Role, Transport};
use crate::audit::Who;
use crate::deny::{DenyList, Presence};

/// Pause after accept() failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Least time between two lines that say so.
const ACCEPT_TOLD_EVERY: Duration = Duration::from_secs(60);

/// One listening socket and what its connections get.
pub(super) struct Door {
    pub(super) socket: Socket,
    pub(super) role: Role,
    pub(super) tls: Option<Tls>,
    pub(super) permits: Arc<Semaphore>,
    pub(super) gate: Gate,
    pub(super) deny: Arc<DenyList>,
    pub(super) sender: mpsc::Sender<io::Result<Connection>>,
}

impl Door {
    /// Accepts for ever. A connection is accepted only once there is room for
    /// it, so that a flood waits in the kernel's backlog.
    pub(super) async fn accept_all(self) {
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
                    // Whose it is, is said later.
                    let presence = self.deny.enter(Vec::new());
                    if !self
                        .hand_over(accepted.plain(self.role, permit, place, presence))
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
        let (deny, gate) = (Arc::clone(&self.deny), self.gate.clone());
        async move {
            let shaken = tokio::select! {
                shaken = tls.shake(stream, address, role) => shaken,
                () = poll_fn(|cx| place.poll_end(cx)) => None,
            };
            if let Some((stream, peer)) = shaken {
                let stream = Stream::Tls(Box::new(stream));
                let presence = deny.enter(peer.subjects());
                if let Some(denial) = presence.standing().denied() {
                    gate.refuse(&Who::from(&peer), &denial.to_string());
                }
                let connection = Connection::new(stream, peer, place, presence, permit);
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

    fn plain(
        self,
        role: Role,
        permit: OwnedSemaphorePermit,
        place: Place,
        presence: Presence,
    ) -> Connection {
        let (stream, transport) = match self {
            Self::Unix(stream) => {
                let uid = stream.peer_cred().ok().map(|credentials| credentials.uid());
                (Stream::Unix(stream), Transport::Unix { uid })
            }
            Self::Tcp(stream, _) => (Stream::Tcp(stream), Transport::Tcp),
        };
        let peer = Peer {
            role,
            name: None,
            transport,
        };
        Connection::new(stream, peer, place, presence, permit)
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
