use std::net::{IpAddr, SocketAddr};
use std::{fmt, str::FromStr};

/// Where packets leave from: an address, an interface, a port, or a port with either.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bind {
    /// Source address.
    pub address: Option<IpAddr>,
    /// Interface; excludes an address.
    pub interface: Option<String>,
    /// Port of the first stream; later streams count up.
    pub port: Option<u16>,
}

/// Why a text is not a place to bind to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is neither an address of the sending host, such as `10.150.0.71`, nor an interface, such as `eth0`, nor one of them with a port, such as `10.150.0.71:5000` or `:5000`"
)]
pub struct BindError {
    text: String,
}

/// Longest name of an interface (IFNAMSIZ of Linux less the final zero).
const INTERFACE_MOST: usize = 15;

impl FromStr for Bind {
    type Err = BindError;

    fn from_str(text: &str) -> Result<Bind, BindError> {
        let wrong = || BindError {
            text: text.chars().take(60).collect(),
        };
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Bind {
                address: Some(address),
                ..Bind::default()
            });
        }
        if let Ok(socket) = text.parse::<SocketAddr>() {
            let port = Some(socket.port()).filter(|port| *port > 0);
            return Ok(Bind {
                address: Some(socket.ip()),
                port: Some(port.ok_or_else(wrong)?),
                ..Bind::default()
            });
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => {
                let port = port.parse::<u16>().ok().filter(|port| *port > 0);
                (name, Some(port.ok_or_else(wrong)?))
            }
            None => (text, None),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '@');
        // A name of digits and dots is an address with a slip in it.
        let named = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.len() <= INTERFACE_MOST
            && name.chars().all(plain);
        if !(named || name.is_empty() && port.is_some()) {
            return Err(wrong());
        }
        Ok(Bind {
            interface: named.then(|| name.to_owned()),
            port,
            ..Bind::default()
        })
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, &self.interface, self.port) {
            (Some(address), _, Some(port)) => write!(f, "{}", SocketAddr::new(address, port)),
            (Some(address), _, None) => write!(f, "{address}"),
            (None, name, port) => {
                f.write_str(name.as_deref().unwrap_or(""))?;
                port.map_or(Ok(()), |port| write!(f, ":{port}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for text in [
            "10.0.0.1",
            "fd00::1",
            "10.0.0.1:5000",
            "[fd00::1]:5000",
            "eth0",
            "eth0:5000",
            ":5000",
        ] {
            assert_eq!(text.parse::<Bind>().unwrap().to_string(), text);
        }
        for text in [
            "",
            ":",
            ":0",
            "10.0.0",
            "10.0.0.1:0",
            "eth0:",
            "eth0:70000",
            "a b",
            "an-interface-too-long",
        ] {
            assert!(text.parse::<Bind>().is_err(), "{text}");
        }
    }
}
