//! Where a controller listens: `unix:/path` or `tcp://127.0.0.1:port`.

mod connect;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

pub use connect::{
    CAMPAIGN_MESSAGE_BYTES, CONNECT_TIMEOUT, CONNECTION_WINDOW_BYTES, ConnectError,
    RECORDS_MESSAGE_BYTES, SNAPSHOT_MESSAGE_BYTES, STREAM_WINDOW_BYTES,
};

/// Longest path of a unix socket, bytes: `sun_path` less its closing 0 (unix(7)).
const UNIX_PATH_MOST: usize = 107;

/// Where a controller listens.
///
/// Everything here is plain text, so a TCP address is always a loopback one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A unix socket.
    Unix(PathBuf),
    /// A loopback address: an IP address or `localhost`.
    Tcp {
        /// The address, or `localhost`; IPv6 without brackets.
        host: String,
        /// The port, from 1 (0 lets a listener choose).
        port: u16,
    },
}

/// Why a text is not an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// No known form.
    #[error("`{0}` is not an endpoint: write unix:/path or tcp://127.0.0.1:port")]
    Form(String),
    /// A unix socket needs a short absolute path.
    #[error(
        "`{0}` is not the path of a unix socket: it must start with / and have at most 107 bytes"
    )]
    Path(String),
    /// The host is missing or the port is not a number.
    #[error("`{0}` has no host and port: write tcp://127.0.0.1:port or tcp://[::1]:port")]
    HostPort(String),
    /// An address that others could listen to.
    #[error(
        "`{0}` is refused: the link is plain text, which is limited to loopback addresses \
         (127.0.0.0/8, ::1, localhost) and unix sockets; share a unix socket instead"
    )]
    NotLoopback(String),
    /// A form of a later version.
    #[error(
        "`{0}`: gateway endpoints are not available yet; write unix:/path or tcp://127.0.0.1:port"
    )]
    Gateway(String),
}

impl Endpoint {
    /// The socket addresses of a TCP endpoint, to listen on; `None` for a unix socket.
    pub fn tcp_addresses(&self) -> Option<Vec<SocketAddr>> {
        let Self::Tcp { host, port } = self else {
            return None;
        };
        let ips = match host.parse::<IpAddr>() {
            Ok(ip) => vec![ip],
            // RFC 6761 section 6.3: localhost is always loopback; no resolver is asked.
            Err(_) => vec![
                std::net::Ipv4Addr::LOCALHOST.into(),
                std::net::Ipv6Addr::LOCALHOST.into(),
            ],
        };
        Some(
            ips.into_iter()
                .map(|ip| SocketAddr::new(ip, *port))
                .collect(),
        )
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
        if text == "gateway" || text.starts_with("gateway:") {
            return Err(EndpointError::Gateway(shown()));
        }
        let Some(rest) = text.strip_prefix("tcp://") else {
            return Err(EndpointError::Form(shown()));
        };
        let (host, port) = rest
            .rsplit_once(':')
            .ok_or_else(|| EndpointError::HostPort(shown()))?;
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let port = port.parse().ok().filter(|_| digits);
        let port = port.ok_or_else(|| EndpointError::HostPort(shown()))?;
        let inner = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let ip: Option<IpAddr> = match inner {
            Some(v6) => v6.parse::<std::net::Ipv6Addr>().ok().map(Into::into),
            None => host.parse::<std::net::Ipv4Addr>().ok().map(Into::into),
        };
        match ip {
            Some(ip) if ip.is_loopback() => Ok(Self::Tcp {
                host: ip.to_string(),
                port,
            }),
            None if inner.is_none() && host.eq_ignore_ascii_case("localhost") => Ok(Self::Tcp {
                host: "localhost".to_owned(),
                port,
            }),
            None if host.is_empty() || inner.is_some() || host.contains(':') => {
                Err(EndpointError::HostPort(shown()))
            }
            Some(_) | None => Err(EndpointError::NotLoopback(shown())),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
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
            ("tcp://10.0.0.1:7900", EndpointError::NotLoopback),
            ("tcp://0.0.0.0:7900", EndpointError::NotLoopback),
            ("tcp://[2001:db8::1]:7900", EndpointError::NotLoopback),
            ("tcp://controller.example:7900", EndpointError::NotLoopback),
            ("gateway:7900", EndpointError::Gateway),
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
        let error = "tcp://10.0.0.1:1"
            .parse::<Endpoint>()
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("loopback") && error.contains("unix sockets"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_never_leaves_the_host(text in "(unix:|tcp://|)[\\PC]{0,60}") {
            if let Ok(endpoint) = text.parse::<Endpoint>() {
                let reachable = endpoint.tcp_addresses().unwrap_or_default();
                prop_assert!(reachable.iter().all(|address| address.ip().is_loopback()));
                prop_assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
            }
        }
    }
}
