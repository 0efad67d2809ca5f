//! Where a controller listens: `unix:/path`, `tcp://host:port` or `gateway:port`.
//!
//! On a unix socket and on a loopback address the link is plain text, as
//! nobody else can listen there; everywhere else it is TLS. `tls://` asks for
//! it on a loopback address too, behind which another host may be (a port
//! that is forwarded).

mod connect;
mod gateway;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::{fmt, io};

pub use connect::{
    CAMPAIGN_MESSAGE_BYTES, CONNECT_TIMEOUT, CONNECTION_WINDOW_BYTES, ConnectError,
    RECORDS_MESSAGE_BYTES, SNAPSHOT_MESSAGE_BYTES, STREAM_WINDOW_BYTES,
};

/// Longest path of a unix socket, bytes: `sun_path` less its closing 0 (unix(7)).
const UNIX_PATH_MOST: usize = 107;

/// Longest name of a host, bytes (RFC 1035 section 2.3.4).
const HOST_MOST: usize = 253;

/// Where a controller listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A unix socket.
    Unix(PathBuf),
    /// A loopback address in plain text: an IP address or `localhost`.
    Tcp {
        /// The address, or `localhost`; IPv6 without brackets.
        host: String,
        /// The port, from 1 (0 lets a listener choose).
        port: u16,
    },
    /// Any address, over TLS with certificates at both ends.
    Tls {
        /// The address or the name of a host; IPv6 without brackets.
        host: String,
        /// The port, from 1 (0 lets a listener choose).
        port: u16,
    },
    /// The first address of the dialling host's own network, over TLS: where
    /// the host of an emulated network listens.
    Gateway {
        /// The port.
        port: u16,
    },
}

/// Why a text is not an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// No known form.
    #[error(
        "`{0}` is not an endpoint: write unix:/path, tcp://host:port or, at an agent, gateway:port"
    )]
    Form(String),
    /// A unix socket needs a short absolute path.
    #[error(
        "`{0}` is not the path of a unix socket: it must start with / and have at most 107 bytes"
    )]
    Path(String),
    /// The host is missing or the port is not a number.
    #[error("`{0}` has no host and port: write tcp://192.0.2.1:port or tcp://[2001:db8::1]:port")]
    HostPort(String),
}

impl Endpoint {
    /// Whether bytes go over it as they are.
    pub fn is_plain(&self) -> bool {
        matches!(self, Self::Unix(_) | Self::Tcp { .. })
    }

    /// The socket addresses that it means now; none for a unix socket. A name
    /// is looked up, and a gateway is taken from the routing table.
    ///
    /// # Errors
    /// The name is not known, or the host has no network of its own.
    pub async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let (host, port) = match self {
            Self::Unix(_) => return Ok(Vec::new()),
            Self::Gateway { port } => return Ok(vec![(gateway::find()?, *port).into()]),
            Self::Tcp { host, port } | Self::Tls { host, port } => (host, *port),
        };
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![(ip, port).into()]);
        }
        // RFC 6761 section 6.3: localhost is always loopback; no resolver is asked.
        if is_localhost(host) {
            return Ok(vec![
                (Ipv4Addr::LOCALHOST, port).into(),
                (Ipv6Addr::LOCALHOST, port).into(),
            ]);
        }
        Ok(tokio::net::lookup_host((host.as_str(), port))
            .await?
            .collect())
    }

    /// The same with another port; a unix socket as it is.
    #[must_use]
    pub fn with_port(&self, port: u16) -> Self {
        let mut other = self.clone();
        if let Some(old) = other.port_mut() {
            *old = port;
        }
        other
    }

    /// The port; `None` for a unix socket.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Unix(_) => None,
            Self::Tcp { port, .. } | Self::Tls { port, .. } | Self::Gateway { port } => Some(*port),
        }
    }

    fn port_mut(&mut self) -> Option<&mut u16> {
        match self {
            Self::Unix(_) => None,
            Self::Tcp { port, .. } | Self::Tls { port, .. } | Self::Gateway { port } => Some(port),
        }
    }
}

fn is_localhost(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
}

fn port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// A host and a port; the host as an address or a name, without brackets.
fn host_port(text: &str) -> Option<(String, u16)> {
    let (host, digits) = text.rsplit_once(':')?;
    let port = port(digits)?;
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    if let Some(inner) = inner {
        return Some((inner.parse::<Ipv6Addr>().ok()?.to_string(), port));
    }
    if let Ok(ip) = host.parse::<Ipv4Addr>() {
        return Some((ip.to_string(), port));
    }
    let well_formed = (1..=HOST_MOST).contains(&host.len())
        && host.starts_with(|first: char| first.is_ascii_alphanumeric())
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    let numeric = host
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    // Four numbers that are no address are a slip, not a name.
    (well_formed && !numeric).then(|| (host.to_ascii_lowercase(), port))
}

fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback(),
        Err(_) => is_localhost(host),
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let shown = || text.chars().take(160).collect::<String>();
        if let Some(path) = text.strip_prefix("unix:") {
            // unix:///path is what other tools write.
            let path = path.strip_prefix("//").unwrap_or(path);
            if !path.starts_with('/') || path.len() > UNIX_PATH_MOST || path.contains('\0') {
                return Err(EndpointError::Path(shown()));
            }
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        if let Some(digits) = text.strip_prefix("gateway:") {
            let port = port(digits).ok_or_else(|| EndpointError::HostPort(shown()))?;
            return Ok(Self::Gateway { port });
        }
        let tls = text.strip_prefix("tls://");
        let Some(rest) = tls.or_else(|| text.strip_prefix("tcp://")) else {
            return Err(EndpointError::Form(shown()));
        };
        let (host, port) = host_port(rest).ok_or_else(|| EndpointError::HostPort(shown()))?;
        if tls.is_none() && is_loopback(&host) {
            return Ok(Self::Tcp { host, port });
        }
        Ok(Self::Tls { host, port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = match self {
            Self::Unix(path) => return write!(f, "unix:{}", path.display()),
            Self::Gateway { port } => return write!(f, "gateway:{port}"),
            Self::Tls { host, port } if is_loopback(host) => ("tls", host, port),
            Self::Tcp { host, port } | Self::Tls { host, port } => ("tcp", host, port),
        };
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}")
        } else {
            write!(f, "{scheme}://{host}:{port}")
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn forms_print_as_they_parse() {
        for text in [
            "unix:/var/lib/weir/join/agents.sock",
            "tcp://127.0.0.1:7900",
            "tcp://127.3.2.1:1",
            "tcp://[::1]:7900",
            "tcp://localhost:65535",
            "tcp://10.0.0.1:7900",
            "tcp://0.0.0.0:7900",
            "tcp://[2001:db8::1]:7900",
            "tcp://controller.example:7900",
            "tls://127.0.0.1:7900",
            "tls://[::1]:7900",
            "gateway:7900",
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        assert_eq!(
            "unix:///run/w.sock"
                .parse::<Endpoint>()
                .unwrap()
                .to_string(),
            "unix:/run/w.sock"
        );
    }

    #[test]
    fn refusals_say_why() {
        type Kind = fn(String) -> EndpointError;
        let table: &[(&str, Kind)] = &[
            ("", EndpointError::Form),
            ("http://127.0.0.1:1", EndpointError::Form),
            ("127.0.0.1:7900", EndpointError::Form),
            ("unix:relative", EndpointError::Path),
            ("tcp://127.0.0.1", EndpointError::HostPort),
            ("tcp://127.0.0.1:x", EndpointError::HostPort),
            ("tcp://127.0.0.1:+7", EndpointError::HostPort),
            ("tcp://127.0.0.1:70000", EndpointError::HostPort),
            ("tcp://:7900", EndpointError::HostPort),
            ("tcp://::1:7900", EndpointError::HostPort),
            ("tcp://10.0.0.256:7900", EndpointError::HostPort),
            ("tcp://a b:7900", EndpointError::HostPort),
            ("tcp://[10.0.0.1]:7900", EndpointError::HostPort),
            ("gateway", EndpointError::Form),
            ("gateway:", EndpointError::HostPort),
            ("gateway:-1", EndpointError::HostPort),
        ];
        for (text, kind) in table {
            assert_eq!(
                text.parse::<Endpoint>(),
                Err(kind((*text).to_owned())),
                "{text}"
            );
        }
        let long = format!("unix:/{}", "x".repeat(200));
        assert!(matches!(
            long.parse::<Endpoint>(),
            Err(EndpointError::Path(_))
        ));
    }

    #[test]
    fn only_this_host_is_reached_in_plain_text() {
        for (text, plain) in [
            ("unix:/a", true),
            ("tcp://127.0.0.1:1", true),
            ("tcp://LOCALHOST:1", true),
            ("tcp://[::1]:1", true),
            ("tls://127.0.0.1:1", false),
            ("tcp://[::ffff:127.0.0.1]:1", false),
            ("tcp://localhost.example:1", false),
            ("tcp://0.0.0.0:1", false),
            ("gateway:1", false),
        ] {
            assert_eq!(
                text.parse::<Endpoint>().unwrap().is_plain(),
                plain,
                "{text}"
            );
        }
    }

    #[test]
    fn a_port_can_be_exchanged() {
        let other = |text: &str| text.parse::<Endpoint>().unwrap().with_port(5).to_string();
        assert_eq!(other("tcp://10.0.0.1:1"), "tcp://10.0.0.1:5");
        assert_eq!(other("gateway:1"), "gateway:5");
        assert_eq!(other("unix:/a"), "unix:/a");
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_plain_text_stays_on_the_host(
            text in "(unix:|tcp://|tls://|gateway:|)([\\PC]{0,60}|[a-z0-9.]{1,12}:[0-9]{1,5})"
        ) {
            if let Ok(endpoint) = text.parse::<Endpoint>() {
                if let Endpoint::Tcp { host, .. } = &endpoint {
                    prop_assert!(is_loopback(host));
                }
                prop_assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
            }
        }
    }
}
