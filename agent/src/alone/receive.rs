//! `weir-agent receive`: serves every generator that dials, until it is ended.

mod guest;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;
use weir_experiment::output::result::{self, Shown};
use weir_experiment::output::text::printable;
use weir_runtime::Shutdown;

use self::guest::guest;
use super::host::Host;
use super::{Error, tell};

/// Generators served at once; one more is told so.
const GUESTS_MOST: usize = 64;
/// Connections held at once, those that have not said yet what they are among them.
const CONNECTIONS_MOST: usize = 4 * GUESTS_MOST;
/// How long an ending receiver waits for its generators.
const END_GRACE: Duration = Duration::from_secs(4);

/// What a person asked for.
#[derive(Debug, Clone)]
pub(super) struct Options {
    /// Where generators are awaited; `None` = every address.
    pub(super) listen: Option<SocketAddr>,
    /// The port without `listen`.
    pub(super) port: u16,
    /// Send traffic too when a generator asks for it.
    pub(super) generates: bool,
    /// End after one test.
    pub(super) once: bool,
    /// Print documents.
    pub(super) json: bool,
}

struct Context {
    options: Options,
    host: Host,
    streams_in_use: AtomicUsize,
    shutdown: Shutdown,
}

/// What became of a connection.
enum Served {
    /// It was none of ours, or asked for nothing.
    Nothing,
    /// A test, with its exit code.
    Test(u8),
}

/// Serves until the end is requested, or with `once` until one test is over:
/// then its exit code.
///
/// # Errors
/// The port cannot be had.
pub(super) async fn serve(host: Host, options: Options, shutdown: Shutdown) -> Result<u8, Error> {
    let listener = bind(&options).await?;
    let at = listener
        .local_addr()
        .map_or(String::new(), |at| at.to_string());
    let port = listener.local_addr().map_or(options.port, |at| at.port());
    let context = Arc::new(Context {
        options,
        host,
        streams_in_use: AtomicUsize::new(0),
        shutdown: shutdown.clone(),
    });
    context.say(context.invitation(&at, port));
    let mut guests = JoinSet::new();
    let mut exit = 0;
    loop {
        let room = guests.len() < CONNECTIONS_MOST;
        tokio::select! {
            () = shutdown.requested() => break,
            Some(served) = guests.join_next(), if !guests.is_empty() => {
                if let (Ok(Served::Test(code)), true) = (served, context.options.once) {
                    exit = code;
                    break;
                }
            }
            accepted = listener.accept(), if room => match accepted {
                Ok((stream, peer)) => {
                    let busy = guests.len() >= GUESTS_MOST;
                    guests.spawn(guest(Arc::clone(&context), stream, peer, busy));
                }
                Err(error) => {
                    // No descriptor left: the connection waits; look again later.
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
    shutdown.request();
    let until = Instant::now() + END_GRACE;
    while tokio::time::timeout_at(until, guests.join_next())
        .await
        .is_ok_and(|ended| ended.is_some())
    {}
    Ok(exit)
}

async fn bind(options: &Options) -> Result<TcpListener, Error> {
    let failed = |at: SocketAddr, error: std::io::Error| {
        let fix = if error.kind() == std::io::ErrorKind::AddrInUse {
            "; another one: --listen ADDRESS:PORT"
        } else {
            ""
        };
        Error::infrastructure(format!("cannot listen at {at}: {error}{fix}"))
    };
    if let Some(at) = options.listen {
        return TcpListener::bind(at)
            .await
            .map_err(|error| failed(at, error));
    }
    // [::] takes IPv4 as well; a host without IPv6 has only the other.
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, options.port));
    match TcpListener::bind(any).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(failed(any, error)),
        Err(_) => {
            let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, options.port));
            let bound = TcpListener::bind(any).await;
            bound.map_err(|error| failed(any, error))
        }
    }
}

impl Context {
    /// What a person may type elsewhere to get here.
    fn address_for_people(&self) -> String {
        let one = self.options.listen.map(|at| at.ip());
        match one.filter(|address| !address.is_unspecified()) {
            Some(IpAddr::V6(address)) => format!("[{address}]"),
            Some(address) => address.to_string(),
            None => self.host.address().unwrap_or_else(|| "HOST".to_owned()),
        }
    }

    /// What to type elsewhere.
    fn invitation(&self, at: &str, port: u16) -> String {
        let port = if port == crate::AgentConfig::DEFAULT_PORT {
            String::new()
        } else {
            format!(":{port}")
        };
        let also = if self.options.generates {
            ", also --reverse and --both"
        } else {
            ""
        };
        format!(
            "{} waits for generators at {at}: `weir-agent generate {}{port} --udp 10M --for 10s`{also}",
            self.host.name,
            self.address_for_people(),
        )
    }

    /// A line for people: standard output is for documents with `--json`.
    fn say(&self, line: impl AsRef<str>) {
        if self.options.json {
            eprintln!("{}", line.as_ref());
        } else {
            tell(line.as_ref());
        }
    }
}

impl Context {
    /// Shows a result; its exit code.
    fn show(&self, text: &str) -> u8 {
        let document = match result::parse(text) {
            Ok(document) => document,
            Err(problem) => {
                self.say(printable(&problem));
                return 3;
            }
        };
        if self.options.json {
            // Written anew: one line, and nothing that a terminal obeys.
            let line = serde_json::to_string(&document);
            tell(&line.expect("a document that was read can be written"));
        } else {
            for line in result::lines(&document, Shown::default()) {
                tell(&line);
            }
        }
        document.exit
    }
}
