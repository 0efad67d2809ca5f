//! Real sockets in a temporary directory and on loopback.

use std::fs;
use std::future::Future;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net as std_unix;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio_stream::StreamExt as _;
use tonic::transport::server::Connected as _;

use super::*;

mod denied;
mod deployment;
mod identity;

/// Long enough for any machine: only a failing test waits for it.
const LIMIT: Duration = Duration::from_secs(60);

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { tokio::time::timeout(LIMIT, future).await.expect("in time") })
}

fn unix() -> (tempfile::TempDir, PathBuf, Endpoint) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agents.sock");
    let endpoint = Endpoint::Unix(path.clone());
    (directory, path, endpoint)
}

async fn bind(endpoint: &Endpoint) -> Result<Listener, ListenError> {
    Listener::bind(endpoint, Role::Agent, 0o600).await
}

#[test]
fn the_socket_of_a_dead_process_is_replaced() {
    block_on(async {
        let (_directory, path, endpoint) = unix();
        drop(std_unix::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "closing a socket leaves its file");
        let listener = bind(&endpoint).await.unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!((mode & 0o777, listener.endpoint()), (0o600, &endpoint));
        UnixStream::connect(&path).await.unwrap();
    });
}

#[test]
fn the_socket_of_a_live_process_is_left_alone() {
    block_on(async {
        let (_directory, path, endpoint) = unix();
        let live = std_unix::UnixListener::bind(&path).unwrap();
        let error = bind(&endpoint).await.unwrap_err();
        assert!(matches!(error, ListenError::InUse(_)), "{error}");
        drop(live);
        bind(&endpoint).await.unwrap();
    });
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    block_on(async {
        let (_directory, path, endpoint) = unix();
        fs::write(&path, "precious").unwrap();
        let error = bind(&endpoint).await.unwrap_err();
        assert!(error.to_string().contains("no socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    });
}

#[test]
fn a_directory_that_is_missing_is_named() {
    block_on(async {
        let (directory, ..) = unix();
        let endpoint = Endpoint::Unix(directory.path().join("no/agents.sock"));
        let error = bind(&endpoint).await.unwrap_err();
        assert!(error.to_string().contains("no/agents.sock"), "{error}");
    });
}

#[test]
fn localhost_listens_on_one_port_of_every_address() {
    block_on(async {
        let asked = Endpoint::Tcp {
            host: "localhost".into(),
            port: 0,
        };
        let listener = bind(&asked).await.unwrap();
        let Endpoint::Tcp { port, .. } = listener.endpoint() else {
            panic!("{listener:?}")
        };
        assert_ne!(*port, 0);
        for socket in &listener.sockets {
            let Socket::Tcp(socket) = socket else {
                panic!("{socket:?}")
            };
            assert_eq!(socket.local_addr().unwrap().port(), *port);
        }
        let error = bind(listener.endpoint()).await.unwrap_err();
        assert!(matches!(error, ListenError::InUse(_)), "{error}");
    });
}

#[test]
fn a_connection_knows_its_role_and_transport_and_carries_bytes() {
    block_on(async {
        let (directory, path, endpoint) = unix();
        let audit = Audit::open(directory.path()).unwrap();
        let shutdown = Shutdown::new();
        let listener = Listener::bind(&endpoint, Role::Operator, 0o600)
            .await
            .unwrap();
        assert_eq!(listener.role(), Role::Operator);
        let mut accepted = listener.accept(audit, &Arc::default(), &shutdown);
        let mut client = UnixStream::connect(&path).await.unwrap();
        let mut connection = accepted.next().await.unwrap().unwrap();
        let peer = connection.connect_info().peer;
        assert_eq!(peer.role, Role::Operator);
        assert!(
            matches!(peer.transport, Transport::Unix { uid: Some(_) }),
            "{peer:?}"
        );
        client.write_all(b"ping").await.unwrap();
        let mut bytes = [0; 4];
        connection.read_exact(&mut bytes).await.unwrap();
        connection.write_all(&bytes).await.unwrap();
        connection.shutdown().await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"ping");
        assert!(
            shutdown.finish(LIMIT).await,
            "accepting ends with the process"
        );
    });
}

#[test]
fn no_more_connections_are_accepted_than_there_is_room_for() {
    block_on(async {
        let (directory, path, endpoint) = unix();
        let audit = Audit::open(directory.path()).unwrap();
        let shutdown = Shutdown::new();
        let listener = bind(&endpoint).await.unwrap();
        let mut accepted = listener.accept_at_most(2, audit, &Arc::default(), &shutdown);
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(UnixStream::connect(&path).await.unwrap());
        }
        let first = accepted.next().await.unwrap().unwrap();
        let _second = accepted.next().await.unwrap().unwrap();
        // The third waits in the kernel: nothing comes however often the others run.
        for _ in 0..100 {
            tokio::task::yield_now().await;
            let third = poll_once(&mut accepted).await;
            assert!(third.is_pending());
        }
        drop(first);
        accepted.next().await.unwrap().unwrap();
        shutdown.request();
    });
}

/// Asks once for the next connection, without waiting for it.
async fn poll_once(
    stream: &mut ReceiverStream<io::Result<Connection>>,
) -> Poll<Option<io::Result<Connection>>> {
    std::future::poll_fn(|cx| {
        Poll::Ready(tokio_stream::Stream::poll_next(Pin::new(&mut *stream), cx))
    })
    .await
}
