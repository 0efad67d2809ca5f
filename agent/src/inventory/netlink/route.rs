//! The route to an address, as the kernel would take it now.

use std::io;
use std::net::IpAddr;

use super::message::{Extent, ask, attribute, attributes, u32_at};
use super::{FAMILY_V4, FAMILY_V6, ip};

const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTMSG_LEN: usize = 12;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;

/// A route to one address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Route {
    /// The next hop; `None` = the target is on the link.
    pub gateway: Option<IpAddr>,
    /// Index of the interface.
    pub interface: Option<u32>,
    /// Source address.
    pub source: Option<IpAddr>,
}

/// Asks for the route to `target`.
///
/// # Errors
/// There is none (ENETUNREACH), or the kernel refuses the question.
pub fn to(target: IpAddr) -> io::Result<Route> {
    let mut found = Route::default();
    ask(
        None,
        RTM_GETROUTE,
        Extent::One,
        &question(target),
        &mut |kind, body| {
            if kind == RTM_NEWROUTE {
                found = route(body).unwrap_or_default();
            }
        },
    )?;
    Ok(found)
}

impl Route {
    /// As `ip route get` prints it, with the interface's name.
    pub fn describe(&self, name_of: impl FnOnce(u32) -> Option<String>) -> String {
        let mut words = Vec::new();
        if let Some(gateway) = self.gateway {
            words.push(format!("via {gateway}"));
        }
        if let Some(index) = self.interface {
            let name = name_of(index).unwrap_or_else(|| format!("index {index}"));
            words.push(format!("dev {name}"));
        }
        if let Some(source) = self.source {
            words.push(format!("src {source}"));
        }
        words.join(" ")
    }
}

/// `struct rtmsg` and the address.
fn question(target: IpAddr) -> Vec<u8> {
    let mut body = vec![0; RTMSG_LEN];
    let octets = match target {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    body[0] = if target.is_ipv4() {
        FAMILY_V4
    } else {
        FAMILY_V6
    };
    body[1] = (octets.len() * 8) as u8;
    body.extend(attribute(RTA_DST, &octets));
    body
}

fn route(body: &[u8]) -> Option<Route> {
    let family = *body.first()?;
    let mut found = Route::default();
    for (kind, value) in attributes(body.get(RTMSG_LEN..)?) {
        match kind {
            RTA_OIF => found.interface = u32_at(value, 0),
            RTA_GATEWAY => found.gateway = ip(family, value),
            RTA_PREFSRC => found.source = ip(family, value),
            _ => {}
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_as_the_kernel_gives_it() {
        let mut body = vec![0; RTMSG_LEN];
        body[0] = FAMILY_V4;
        body.extend(attribute(RTA_OIF, &3u32.to_ne_bytes()));
        body.extend(attribute(RTA_GATEWAY, &[10, 150, 0, 254]));
        body.extend(attribute(RTA_PREFSRC, &[10, 150, 0, 71]));
        let found = route(&body).unwrap();
        assert_eq!(
            found.describe(|index| (index == 3).then(|| "net0".to_owned())),
            "via 10.150.0.254 dev net0 src 10.150.0.71"
        );
        assert!(route(&body[..RTMSG_LEN - 1]).is_none());
    }

    #[test]
    fn loopback_is_reached_by_itself() {
        for target in ["127.0.0.1", "::1"] {
            let target: IpAddr = target.parse().unwrap();
            // A host without IPv6 has no route to ::1.
            let Ok(found) = to(target) else {
                assert!(target.is_ipv6());
                continue;
            };
            assert_eq!((found.interface, found.gateway), (Some(1), None));
        }
    }
}
