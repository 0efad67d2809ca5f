//! The receiver that a person names: an address or a name, with or without a port.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// A receiver as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    host: String,
    port: u16,
}

impl Target {
    /// Reads `10.162.0.71`, `10.162.0.71:7900`, `fd00::1`, `[fd00::1]:7900`,
    /// `host` or `host:7900`.
    ///
    /// # Errors
    /// A sentence: what is wrong and what is right.
    pub(super) fn read(text: &str, default_port: u16) -> Result<Self, String> {
        let wrong = |why: &str| {
            let shown: String = text.chars().take(80).collect();
            Err(format!(
                "`{shown}` is no receiver: {why}; write 10.162.0.71, host:7900 or [fd00::1]:7900"
            ))
        };
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self {
                host: address.ip().to_string(),
                port: address.port(),
            });
        }
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(text);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Self {
                host: address.to_string(),
                port: default_port,
            });
        }
        let (host, port) = match text.rsplit_once(':') {
            None => (text, default_port),
            Some((host, port)) => match port.parse() {
                Ok(port) => (host, port),
                Err(_) => return wrong("a port is a number up to 65535"),
            },
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() || host.len() > 253 || !host.chars().all(plain) {
            return wrong("that is neither an address nor a name");
        }
        if port == 0 {
            return wrong("port 0 is none");
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }

    /// Its addresses, those of DNS and of `/etc/hosts`.
    ///
    /// # Errors
    /// The resolver's.
    pub(super) async fn resolve(&self) -> std::io::Result<Vec<SocketAddr>> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await?;
        Ok(found.collect())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        for (text, shown) in [
            ("10.162.0.71", "10.162.0.71:7900"),
            ("10.162.0.71:7901", "10.162.0.71:7901"),
            ("fd00::1", "[fd00::1]:7900"),
            ("[fd00::1]", "[fd00::1]:7900"),
            ("[fd00::1]:7901", "[fd00::1]:7901"),
            ("host_0.net162", "host_0.net162:7900"),
            ("localhost:80", "localhost:80"),
        ] {
            let target = Target::read(text, 7900).unwrap();
            assert_eq!(target.to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_none_is_refused_with_what_is_right() {
        for text in [
            "",
            ":7900",
            "host:",
            "host:99999",
            "a b",
            "host:x",
            "host:0",
            "fd00::1::2",
        ] {
            let error = Target::read(text, 7900).unwrap_err();
            assert!(error.contains("[fd00::1]:7900"), "{text}: {error}");
        }
    }
}
