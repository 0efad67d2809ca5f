//! Binding: unix sockets that nobody else holds, every address of a TCP endpoint.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use tokio::net::{TcpListener, UnixListener, UnixStream};
use weir_runtime::Endpoint;

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
pub(super) enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

pub(super) fn failed(endpoint: &Endpoint) -> impl Fn(io::Error) -> ListenError {
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
pub(super) async fn bind_tcp(endpoint: &Endpoint) -> io::Result<(Vec<Socket>, Endpoint)> {
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
pub(super) enum Found {
    Nothing,
    /// A socket that nobody listens on.
    Stale,
    /// A socket that somebody listens on.
    Live,
    /// Any other kind of file.
    Other,
}

pub(super) async fn found_at(path: &Path) -> io::Result<Found> {
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

pub(super) fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(listener)
}
