//! The TLS handshake of an accepted connection, and who the peer is then.

mod guarded;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use weir_runtime::tls::{
    ALPN, CertRole, HANDSHAKE_TIMEOUT, ServerTls, TlsError, peer_name, serial,
};

use super::{Peer, Role, Transport};
use crate::audit::{Audit, Entry, Event, Who};
use guarded::Guarded;

/// A connection whose peer is known.
pub(super) type Secured = TlsStream<Guarded>;

/// What makes a listener's connections TLS.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The controller's certificate, and whom it lets in.
    pub server: Arc<ServerTls>,
    /// The deployment that a peer's certificate has to name.
    pub deployment: String,
    /// Refusals are told to this log.
    pub audit: Audit,
}

/// Why a connection is refused before any service sees it.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("no TLS handshake within {} s", HANDSHAKE_TIMEOUT.as_secs())]
    Late,
    /// Plain text, another version, or a certificate that is not valid here.
    #[error("TLS handshake: {0}")]
    Handshake(io::Error),
    #[error("TLS without HTTP/2 (ALPN h2)")]
    Protocol,
    #[error(transparent)]
    Certificate(#[from] TlsError),
    #[error("the certificate is of deployment {theirs}, this is {ours}")]
    Deployment { theirs: String, ours: String },
    #[error("a certificate of role {role} has no business at this listener")]
    Role { role: CertRole },
}

impl Tls {
    /// Shakes hands, and finds out who came to a listener of this role; `None`
    /// for those who have no business there, which is told to the audit log.
    pub(super) async fn shake(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        listener: Role,
    ) -> Option<(Secured, Peer)> {
        match self.try_shake(stream, address, listener).await {
            Ok(shaken) => Some(shaken),
            Err(reason) => {
                tracing::info!(%address, %reason, %listener, "connection refused");
                let who = Who {
                    address: Some(address),
                    ..Who::default()
                };
                let entry = Entry::new(Event::Connection, who).to(listener);
                self.audit.tell(entry.refused(reason));
                None
            }
        }
    }

    async fn try_shake(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        listener: Role,
    ) -> Result<(Secured, Peer), Refusal> {
        let acceptor = TlsAcceptor::from(self.server.current());
        let shaking = acceptor.accept(Guarded::new(stream));
        let mut stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, shaking)
            .await
            .map_err(|_| Refusal::Late)?
            .map_err(Refusal::Handshake)?;
        if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(Refusal::Protocol);
        }
        let peer = self.peer(&stream, address, listener)?;
        stream.get_mut().0.trust();
        Ok((stream, peer))
    }

    fn peer(&self, stream: &Secured, address: SocketAddr, listener: Role) -> Result<Peer, Refusal> {
        let certificates = stream.get_ref().1.peer_certificates();
        let Some(certificate) = certificates.and_then(<[_]>::first) else {
            // Only a listener for newcomers lets the handshake come so far.
            return Ok(Peer {
                role: Role::Newcomer,
                name: None,
                transport: Transport::Tls {
                    address,
                    serial: String::new(),
                },
            });
        };
        let name = peer_name(certificate)?;
        if name.deployment != self.deployment {
            return Err(Refusal::Deployment {
                theirs: name.deployment,
                ours: self.deployment.clone(),
            });
        }
        let role = role(listener, name.role).ok_or(Refusal::Role { role: name.role })?;
        Ok(Peer {
            role,
            name: Some(name.name),
            transport: Transport::Tls {
                address,
                serial: serial(certificate)?,
            },
        })
    }
}

/// What the holder of a certificate may be at a listener.
fn role(listener: Role, certificate: CertRole) -> Option<Role> {
    match (listener, certificate) {
        (Role::Agent, CertRole::Agent) => Some(Role::Agent),
        (Role::Operator, CertRole::Operator) => Some(Role::Operator),
        (Role::Operator, CertRole::Viewer) => Some(Role::Viewer),
        _ => None,
    }
}
