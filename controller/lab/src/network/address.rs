//! The address plan: which subnet is whose, and who is which number in it.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::Addresses;

/// An IPv4 subnet and the IPv6 /64 beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subnet {
    v4: Ipv4Addr,
    v4_length: u8,
    v6: Ipv6Addr,
}

impl Subnet {
    /// The LAN of an AS: `10.ASN.0.0/24` unless `lan` is given.
    /// `None`: the number is outside 1 to 254, or `lan` is no /24.
    pub(super) fn of_as(asn: u32, lan: Option<&str>) -> Option<Self> {
        let v4 = match lan {
            Some(text) => parse_lan(text)?,
            None => numbered_lan(asn)?,
        };
        let v6 = match u16::try_from(asn) {
            Ok(small) if small <= MAX_DECIMAL => [0xfd00, as_decimal(small)],
            _ => [0xfd01, (asn >> 16) as u16],
        };
        let low = if v6[0] == 0xfd01 { asn as u16 } else { 0 };
        Some(Self::lan(v4, [v6[0], v6[1], low]))
    }

    /// The LAN of an exchange: from the number at the end of its name unless
    /// `lan` is given. `index` keeps the IPv6 prefixes of the latter apart.
    pub(super) fn of_exchange(name: &str, lan: Option<&str>, index: usize) -> Option<Self> {
        let (v4, third) = if let Some(text) = lan {
            let own = u16::try_from(index).ok()?.checked_add(0x8000)?;
            (parse_lan(text)?, own)
        } else {
            let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
            let number: u16 = name[stem.len()..].parse().ok()?;
            (numbered_lan(u32::from(number))?, as_decimal(number))
        };
        Some(Self::lan(v4, [0xfd00, 0xff00, third]))
    }

    /// The subnet of the direct link number `index`; there are 16,384.
    pub(super) fn of_link(index: usize) -> Option<Self> {
        let index = u16::try_from(index).ok().filter(|index| *index < 16_384)?;
        Some(Self {
            v4: Ipv4Addr::new(10, 0, (index / 64) as u8, (index % 64 * 4) as u8),
            v4_length: 30,
            v6: prefix([0xfd00, 0xff01, index]),
        })
    }

    /// The member with this last octet (of a link: 1 or 2).
    pub(super) fn member(&self, number: u8) -> Addresses {
        let [a, b, c, d] = self.v4.octets();
        let mut groups = self.v6.segments();
        groups[7] = as_decimal(u16::from(number));
        Addresses {
            v4: Ipv4Addr::new(a, b, c, d | number),
            v4_length: self.v4_length,
            v6: Ipv6Addr::from(groups),
        }
    }

    /// The IPv4 prefix.
    pub(super) fn v4(&self) -> (Ipv4Addr, u8) {
        (self.v4, self.v4_length)
    }

    /// The IPv6 prefix.
    pub(super) fn v6(&self) -> (Ipv6Addr, u8) {
        (self.v6, 64)
    }

    /// Whether an address could belong to both.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let shift = 32 - u32::from(self.v4_length.min(other.v4_length));
        u32::from(self.v4) >> shift == u32::from(other.v4) >> shift || self.v6 == other.v6
    }

    const fn lan(v4: Ipv4Addr, groups: [u16; 3]) -> Self {
        Self {
            v4,
            v4_length: 24,
            v6: prefix(groups),
        }
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.v4, self.v4_length)
    }
}

/// The first host of a LAN, as in SEED.
pub(super) const FIRST_HOST: u8 = 71;
/// Hosts end where routers, counted down from [`FIRST_ROUTER`], begin.
pub(super) const LAST_HOST: u8 = 199;
/// The router of the hosts, as in SEED.
pub(super) const FIRST_ROUTER: u8 = 254;
/// The last of the routers, counted down.
pub(super) const LAST_ROUTER: u8 = 200;

/// The largest number whose decimal digits fit four hexadecimal ones.
const MAX_DECIMAL: u16 = 9_999;

const fn prefix(groups: [u16; 3]) -> Ipv6Addr {
    Ipv6Addr::new(groups[0], groups[1], groups[2], 0, 0, 0, 0, 0)
}

/// The number whose hexadecimal digits are the decimal ones of `number`
/// (at most [`MAX_DECIMAL`]): 150 gives 0x150.
const fn as_decimal(number: u16) -> u16 {
    number % 10 + (number / 10 % 10) * 16 + (number / 100 % 10) * 256 + (number / 1000 % 10) * 4096
}

fn numbered_lan(number: u32) -> Option<Ipv4Addr> {
    let octet = u8::try_from(number)
        .ok()
        .filter(|n| (1..=254).contains(n))?;
    Some(Ipv4Addr::new(10, octet, 0, 0))
}

/// The base of a /24 that is written as such, of unicast addresses.
fn parse_lan(text: &str) -> Option<Ipv4Addr> {
    let base: Ipv4Addr = text.strip_suffix("/24")?.parse().ok()?;
    let unusable = base.octets()[3] != 0
        || base.octets()[0] == 0
        || base.is_loopback()
        || base.octets()[0] >= 224;
    (!unusable).then_some(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_plan_of_seed() {
        let lan = Subnet::of_as(150, None).unwrap();
        assert_eq!(lan.to_string(), "10.150.0.0/24");
        let host = lan.member(FIRST_HOST);
        assert_eq!(host.v4.to_string(), "10.150.0.71");
        assert_eq!(host.v6.to_string(), "fd00:150::71");
        let exchange = Subnet::of_exchange("ix100", None, 0).unwrap();
        assert_eq!(exchange.member(150).v4.to_string(), "10.100.0.150");
        assert_eq!(exchange.member(150).v6.to_string(), "fd00:ff00:100::150");
        let link = Subnet::of_link(65).unwrap();
        assert_eq!(link.to_string(), "10.0.1.4/30");
        assert_eq!(link.member(2).v4.to_string(), "10.0.1.6");
    }

    #[test]
    fn large_as_numbers_bring_their_own_lan() {
        assert_eq!(Subnet::of_as(64_512, None), None);
        let lan = Subnet::of_as(64_512, Some("10.200.1.0/24")).unwrap();
        assert_eq!(lan.member(71).v6.to_string(), "fd01:0:fc00::71");
        let wide = Subnet::of_as(u32::MAX, Some("10.200.1.0/24")).unwrap();
        assert_eq!(wide.v6().0.to_string(), "fd01:ffff:ffff::");
    }

    #[test]
    fn refuses_what_is_no_lan() {
        for text in [
            "",
            "10.1.2.0",
            "10.1.2.3/24",
            "10.1.2.0/16",
            "x/24",
            "127.0.0.0/24",
            "224.0.0.0/24",
            "fd00::/24",
        ] {
            assert_eq!(Subnet::of_as(150, Some(text)), None, "{text}");
        }
        for name in ["ix", "", "ix0", "ix255", "ix99999999999"] {
            assert_eq!(Subnet::of_exchange(name, None, 0), None, "{name}");
        }
        assert_eq!(Subnet::of_link(16_384), None);
    }

    #[test]
    fn sees_overlaps() {
        let lan = Subnet::of_as(7, Some("10.0.0.0/24")).unwrap();
        assert!(lan.overlaps(&Subnet::of_link(3).unwrap()));
        assert!(Subnet::of_link(3).unwrap().overlaps(&lan));
        assert!(!lan.overlaps(&Subnet::of_link(64).unwrap()));
    }
}
