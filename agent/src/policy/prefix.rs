//! Ranges of addresses, and what a policy file says of where packets go.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use weir_common::assignment::Transport;

/// A range of addresses: those that share the first `len` bits of `address`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    address: IpAddr,
    len: u8,
}

/// Addresses that stand for IPv4 ones: mapped (RFC 4291) and translated (RFC 6052).
const MAPPED: Prefix = Prefix::v6(0, 0, 96, 0xffff);
const TRANSLATED: Prefix = Prefix::v6(0x64, 0xff9b, 96, 0);

impl Prefix {
    /// A prefix; the length is cut to that of the address family.
    pub fn new(address: IpAddr, len: u8) -> Self {
        let most = if address.is_ipv4() { 32 } else { 128 };
        Self {
            address,
            len: len.min(most),
        }
    }

    const fn v6(first: u16, second: u16, len: u8, sixth: u16) -> Self {
        Self {
            address: IpAddr::V6(Ipv6Addr::new(first, second, 0, 0, 0, sixth, 0, 0)),
            len,
        }
    }

    /// Whether the address lies in the prefix.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (a, b, width) = match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits().into(), b.to_bits().into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
            _ => return false,
        };
        let differing: u128 = a ^ b;
        let host_bits = width - u32::from(self.len);
        differing.checked_shr(host_bits).unwrap_or(0) == 0
    }

    /// Whether all of it lies in another.
    pub fn is_within(&self, other: &Self) -> bool {
        self.len >= other.len && other.contains(self.address)
    }

    /// Whether it is a single address.
    pub fn is_host(&self) -> bool {
        self.len == if self.address.is_ipv4() { 32 } else { 128 }
    }

    /// Whether the address is all ones in the host part of an IPv4 prefix
    /// that has such a part (RFC 919; RFC 3021 for /31).
    pub(super) fn is_broadcast(&self, address: IpAddr) -> bool {
        let (IpAddr::V4(_), IpAddr::V4(address4)) = (self.address, address) else {
            return false;
        };
        let host_bits = u32::MAX.checked_shr(self.len.into()).unwrap_or(0);
        self.len < 31 && self.contains(address) && address4.to_bits() & host_bits == host_bits
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form =
            || format!("`{text}` is no prefix: write 10.0.0.0/8, 2001:db8::/32 or one address");
        let (address, len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| form())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let len = match len {
            None => most,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                let len = digits.parse().map_err(|_| form())?;
                if len > most {
                    return Err(format!(
                        "`{text}`: an address of its family has {most} bits"
                    ));
                }
                len
            }
            Some(_) => return Err(form()),
        };
        let prefix = Self { address, len };
        if prefix.is_within(&MAPPED) || prefix.is_within(&TRANSLATED) {
            return Err(format!(
                "`{text}` stands for IPv4 addresses: write the IPv4 prefix, which covers both forms"
            ));
        }
        Ok(prefix)
    }
}

/// The address that packets to this one reach: an IPv4 address behind its mapped
/// (RFC 4291) or translated form (RFC 6052) is what it is.
pub(super) fn reached(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    if TRANSLATED.contains(address) {
        return Ipv4Addr::from_bits(v6.to_bits() as u32).into();
    }
    address.to_canonical()
}

/// An entry of `allow_destinations` or `deny_destinations`: a prefix, and if
/// they are given only one transport, only some ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destinations {
    pub(super) prefix: Prefix,
    transport: Option<Transport>,
    ports: Option<RangeInclusive<u16>>,
}

/// Which packets of a destination are asked for.
pub type Service = Option<(Transport, u16)>;

impl Destinations {
    /// Whether packets to the address, for this service, are meant. `None` asks for any:
    /// whether there is a service that is meant.
    pub fn cover_some(&self, address: IpAddr, service: Service) -> bool {
        self.prefix.contains(address) && service.is_none_or(|service| self.serves(service))
    }

    /// As [`cover_some`](Self::cover_some), but `None` asks whether every service is meant.
    pub fn cover_all(&self, address: IpAddr, service: Service) -> bool {
        let all = || self.transport.is_none() && self.ports.is_none();
        self.prefix.contains(address) && service.map_or_else(all, |service| self.serves(service))
    }

    fn serves(&self, (transport, port): (Transport, u16)) -> bool {
        self.transport.is_none_or(|only| only == transport)
            && self
                .ports
                .as_ref()
                .is_none_or(|ports| ports.contains(&port))
    }
}

impl FromStr for Destinations {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let prefix = words.next().unwrap_or_default().parse()?;
        let mut destinations = Self {
            prefix,
            transport: None,
            ports: None,
        };
        for word in words {
            let ports = || {
                let (first, last) = word.split_once('-').unwrap_or((word, word));
                let ports = first.parse().ok()?..=last.parse().ok()?;
                (!ports.is_empty()).then_some(ports)
            };
            match word {
                "tcp" if destinations.transport.is_none() => {
                    destinations.transport = Some(Transport::Tcp);
                }
                "udp" if destinations.transport.is_none() => {
                    destinations.transport = Some(Transport::Udp);
                }
                _ if destinations.ports.is_none() && ports().is_some() => {
                    destinations.ports = ports();
                }
                _ => {
                    return Err(format!(
                        "`{word}` in `{text}` is neither tcp nor udp nor ports such as 5000-5999"
                    ));
                }
            }
        }
        Ok(destinations)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_default_route_prefix_has_no_odd_edges() {
        let all = Prefix::new(at("0.0.0.0"), 0);
        assert!(all.contains(at("255.1.2.3")));
        assert!(!all.contains(at("::1")));
        let one = Prefix::new(at("10.0.0.1"), 99);
        assert!(one.contains(at("10.0.0.1")) && one.is_host());
        assert!(!one.contains(at("10.0.0.0")));
        assert!(!one.is_broadcast(at("10.0.0.1")));
        assert!(one.is_within(&all) && !all.is_within(&one));
    }

    #[test]
    fn an_address_is_what_it_reaches() {
        for (given, meant) in [
            ("::ffff:8.8.8.8", "8.8.8.8"),
            ("64:ff9b::8.8.8.8", "8.8.8.8"),
            ("64:ff9b::10.0.0.1", "10.0.0.1"),
            ("64:ff9b:1::10.0.0.1", "64:ff9b:1::10.0.0.1"),
            ("::1", "::1"),
            ("10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(reached(at(given)), at(meant), "{given}");
        }
    }

    #[test]
    fn an_entry_may_name_a_service() {
        let entry: Destinations = "198.51.100.0/24 udp 5000-5999".parse().unwrap();
        let to = at("198.51.100.7");
        assert!(entry.cover_some(to, None) && !entry.cover_all(to, None));
        assert!(entry.cover_all(to, Some((Transport::Udp, 5999))));
        assert!(!entry.cover_some(to, Some((Transport::Tcp, 5999))));
        assert!(!entry.cover_some(to, Some((Transport::Udp, 6000))));
        assert!(!entry.cover_some(at("198.51.101.7"), None));
        let plain: Destinations = "2001:db8::/32".parse().unwrap();
        assert!(plain.cover_all(at("2001:db8::1"), None));
    }

    #[test]
    fn what_is_no_entry_is_refused_with_a_reason() {
        for (text, word) in [
            ("", "no prefix"),
            ("10.0.0.0/33", "32 bits"),
            ("10.0.0.0/+8", "no prefix"),
            ("10.0.0.0/8 sctp", "neither"),
            ("10.0.0.0/8 udp udp", "neither"),
            ("10.0.0.0/8 9-1", "neither"),
            ("::ffff:10.0.0.0/104", "IPv4 prefix"),
            ("64:ff9b::/96", "IPv4 prefix"),
            ("example.org", "no prefix"),
        ] {
            let error = text.parse::<Destinations>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9a-f:./ -]{0,30}|\\PC{0,30}") {
            let _either = text.parse::<Destinations>();
        }

        #[test]
        fn a_v4_address_is_covered_in_all_its_forms(bits: u32, len in 0u8..=32) {
            let address = Ipv4Addr::from_bits(bits);
            let prefix = Prefix::new(address.into(), len);
            let translated = Ipv6Addr::from_bits(0x64_ff9b << 96 | u128::from(bits));
            prop_assert!(prefix.contains(reached(address.to_ipv6_mapped().into())));
            prop_assert!(prefix.contains(reached(translated.into())));
        }
    }
}
