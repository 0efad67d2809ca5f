//! Our own accept loop: a role belongs to a listener, the number of
//! connections is bounded, and running out of descriptors never spins.
//!
//! Services see a [`Peer`], never a socket. Over TLS its name and role stand in
//! its certificate, and the role must fit the listener.

mod bind;
mod connection;
mod door;
mod frames;
mod gate;
mod handshake;
mod peer;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use weir_runtime::{Endpoint, Shutdown};

use crate::audit::Audit;
use crate::deny::DenyList;

pub use bind::ListenError;
pub use connection::Connection;
pub use gate::Called;
pub use handshake::Tls;
pub use peer::{Arrival, Peer, Role, Transport};

use bind::{Found, Socket, bind_tcp, bind_unix, failed, found_at};
use door::Door;
use gate::Gate;

/// Most connections of one listener at once: two for each of 2,000 agents, with room.
const CONNECTIONS: usize = 4_096;

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
                    Found::Stale => std::fs::remove_file(path).map_err(&failed)?,
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
    /// refused, or of no use, are told to the audit log; those of who is on the deny
    /// list end.
    pub fn accept(
        self,
        audit: Audit,
        deny: &Arc<DenyList>,
        shutdown: &Shutdown,
    ) -> ReceiverStream<io::Result<Connection>> {
        self.accept_at_most(CONNECTIONS, audit, deny, shutdown)
    }

    fn accept_at_most(
        self,
        connections: usize,
        audit: Audit,
        deny: &Arc<DenyList>,
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
                deny: Arc::clone(deny),
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
