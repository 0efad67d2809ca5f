//! What this host allows, whatever a controller says.
//!
//! Built in until a file says otherwise: private, test and documentation
//! ranges and the prefixes of the host's own interfaces may be sent to;
//! loopback only in a lab; one flow lasts at most an hour.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use weir_common::assignment::{Peer, SessionSpec};

/// A range of addresses: those that share the first `len` bits of `address`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    address: IpAddr,
    len: u8,
}

impl Prefix {
    /// A prefix; the length is cut to that of the address family.
    pub fn new(address: IpAddr, len: u8) -> Self {
        let most = if address.is_ipv4() { 32 } else { 128 };
        Self {
            address,
            len: len.min(most),
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
}

/// Ranges that are never public: RFC 1918, RFC 6598 (shared), RFC 2544
/// (benchmarks), RFC 5737 and RFC 3849 (documentation), RFC 4193 (unique local).
const ALLOWED: [(IpAddr, u8); 11] = [
    (v4(10, 0, 0, 0), 8),
    (v4(172, 16, 0, 0), 12),
    (v4(192, 168, 0, 0), 16),
    (v4(100, 64, 0, 0), 10),
    (v4(198, 18, 0, 0), 15),
    (v4(192, 0, 2, 0), 24),
    (v4(198, 51, 100, 0), 24),
    (v4(203, 0, 113, 0), 24),
    (IpAddr::V6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0)), 7),
    (
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0)),
        32,
    ),
    (IpAddr::V6(Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0)), 20),
];

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

/// The longest a flow may last.
const FLOW_MOST: Duration = Duration::from_secs(3600);

/// The policy of one agent.
#[derive(Debug, Clone)]
pub struct LocalPolicy {
    /// Whether loopback destinations are allowed (`--lab`).
    pub lab: bool,
    /// Prefixes of the host's own interfaces.
    pub connected: Vec<Prefix>,
    /// Most sessions of one assignment.
    pub max_sessions: usize,
}

impl LocalPolicy {
    /// Whether packets may be sent to an address. The rules, in this order:
    ///
    /// 1. unspecified, multicast and broadcast addresses are refused;
    /// 2. loopback needs `--lab`;
    /// 3. link-local addresses are refused, even if connected;
    /// 4. built-in ranges and connected prefixes are allowed, except the
    ///    broadcast address of a connected prefix;
    /// 5. the rest is public and refused.
    ///
    /// # Errors
    /// The rule, and the key that would allow it.
    pub fn destination(&self, address: IpAddr) -> Result<(), String> {
        let address = address.to_canonical();
        let broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
        if address.is_unspecified() || address.is_multicast() || broadcast {
            let kind = if address.is_unspecified() {
                "the unspecified address"
            } else if broadcast {
                "a broadcast address"
            } else {
                "a multicast address"
            };
            return Err(format!(
                "{address} is {kind}: only `allow_destinations` of a policy file can allow it"
            ));
        }
        if address.is_loopback() {
            return if self.lab {
                Ok(())
            } else {
                Err(format!(
                    "{address} is a loopback address: start the agent with --lab to allow it"
                ))
            };
        }
        let link_local = match address {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        if link_local {
            return Err(format!(
                "{address} is a link-local address: only `allow_destinations` of a policy file can allow it"
            ));
        }
        if self
            .connected
            .iter()
            .any(|prefix| prefix.is_broadcast(address))
        {
            return Err(format!(
                "{address} is a broadcast address: only `allow_destinations` of a policy file can allow it"
            ));
        }
        let built_in = ALLOWED
            .iter()
            .map(|(address, len)| Prefix::new(*address, *len));
        if built_in
            .chain(self.connected.iter().copied())
            .any(|prefix| prefix.contains(address))
        {
            return Ok(());
        }
        Err(format!(
            "{address} is a public address: only `allow_destinations` of a policy file can allow it"
        ))
    }

    /// Whether a session may run here: its length, and for the end that dials
    /// at least one allowed address of its peer.
    ///
    /// # Errors
    /// A sentence for the report of the failed session.
    pub fn session(&self, session: &SessionSpec) -> Result<(), String> {
        let most_ns = FLOW_MOST.as_nanos() as u64;
        if let Some(long) = session
            .segments
            .iter()
            .find(|segment| segment.length_ns > most_ns)
        {
            return Err(format!(
                "flow {} lasts {} s: this host allows {} s; only `max_flow_seconds` of a policy file can allow more",
                long.flow,
                long.length_ns.div_ceil(1_000_000_000),
                FLOW_MOST.as_secs(),
            ));
        }
        if !session.dials {
            return Ok(());
        }
        let addresses: Vec<IpAddr> = match &session.peer {
            Peer::Agent { addresses, .. } => addresses.clone(),
            Peer::Address { address, .. } => vec![address.ip()],
        };
        let mut refusal = None;
        for address in addresses {
            match self.destination(address) {
                Ok(()) => return Ok(()),
                Err(reason) => refusal = refusal.or(Some(reason)),
            }
        }
        refusal.map_or(Ok(()), Err)
    }
}

impl Prefix {
    /// Whether the address is all ones in the host part of an IPv4 prefix
    /// that has such a part (RFC 919; RFC 3021 for /31).
    fn is_broadcast(&self, address: IpAddr) -> bool {
        let (IpAddr::V4(_), IpAddr::V4(address4)) = (self.address, address) else {
            return false;
        };
        let host_bits = u32::MAX.checked_shr(self.len.into()).unwrap_or(0);
        self.len < 31 && self.contains(address) && address4.to_bits() & host_bits == host_bits
    }
}

/// The policy of a running agent: connected prefixes follow the host's interfaces.
#[derive(Debug)]
pub(crate) struct LivePolicy(RwLock<LocalPolicy>);

impl LivePolicy {
    pub(crate) fn new(policy: LocalPolicy) -> Self {
        Self(RwLock::new(policy))
    }

    /// The policy as it is now.
    pub(crate) fn now(&self) -> LocalPolicy {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes the prefixes that the interfaces have now.
    pub(crate) fn set_connected(&self, connected: Vec<Prefix>) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .connected = connected;
    }
}

impl weir_engine::engine::Policy for LivePolicy {
    fn allows_destination(&self, address: IpAddr) -> Result<(), String> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .destination(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(lab: bool) -> LocalPolicy {
        LocalPolicy {
            lab,
            connected: vec![Prefix::new("9.9.9.1".parse().unwrap(), 24)],
            max_sessions: 100,
        }
    }

    #[test]
    fn the_table_of_destinations() {
        let allowed = [
            "10.150.0.71",
            "172.16.0.1",
            "172.31.255.254",
            "192.168.1.1",
            "100.64.0.1",
            "100.127.255.254",
            "198.18.0.1",
            "198.19.255.1",
            "192.0.2.1",
            "198.51.100.7",
            "203.0.113.9",
            "fd00::1",
            "2001:db8::1",
            "3fff::1",
            "9.9.9.77",
            "::ffff:10.0.0.1",
        ];
        for address in allowed {
            assert_eq!(
                policy(false).destination(address.parse().unwrap()),
                Ok(()),
                "{address}"
            );
        }
        let refused = [
            ("127.0.0.1", "--lab"),
            ("::1", "--lab"),
            ("0.0.0.0", "allow_destinations"),
            ("224.0.0.1", "multicast"),
            ("ff02::1", "multicast"),
            ("255.255.255.255", "broadcast"),
            ("9.9.9.255", "broadcast"),
            ("169.254.1.1", "link-local"),
            ("fe80::1", "link-local"),
            ("8.8.8.8", "public"),
            ("172.32.0.1", "public"),
            ("100.128.0.1", "public"),
            ("2606:4700::1", "public"),
            ("9.9.10.1", "public"),
            ("::ffff:8.8.8.8", "public"),
        ];
        for (address, word) in refused {
            let reason = policy(false)
                .destination(address.parse().unwrap())
                .unwrap_err();
            assert!(reason.contains(word), "{address}: {reason}");
        }
        assert_eq!(
            policy(true).destination("127.0.0.1".parse().unwrap()),
            Ok(())
        );
        assert!(
            policy(true)
                .destination("8.8.8.8".parse().unwrap())
                .is_err()
        );
    }

    #[test]
    fn a_default_route_prefix_has_no_odd_edges() {
        let all = Prefix::new("0.0.0.0".parse().unwrap(), 0);
        assert!(all.contains("255.1.2.3".parse().unwrap()));
        assert!(!all.contains("::1".parse().unwrap()));
        let one = Prefix::new("10.0.0.1".parse().unwrap(), 99);
        assert!(one.contains("10.0.0.1".parse().unwrap()));
        assert!(!one.contains("10.0.0.0".parse().unwrap()));
        assert!(!one.is_broadcast("10.0.0.1".parse().unwrap()));
    }
}
