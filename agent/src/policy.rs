//! What this host allows, whatever a controller says.
//!
//! Built in until a file says otherwise: private, test and documentation
//! ranges and the prefixes of the host's own interfaces may be sent to;
//! loopback only in a lab; one flow lasts at most an hour. docs/policy.md has the
//! whole of it.

mod admission;
mod file;
mod prefix;
mod watch;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{PoisonError, RwLock};

use weir_common::assignment::{Peer, SessionSpec};
use weir_common::unit::Span;

pub use admission::Held;
pub use file::{INSTALLED, PolicyFileError, Rules, TextError};
pub use prefix::{Destinations, Prefix, Service};
pub(crate) use watch::watch;

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

/// Addresses that only an entry of their own allows, as they are called.
const SPECIAL: [(IpAddr, u8, &str); 6] = [
    (v4(127, 0, 0, 0), 8, "a loopback"),
    (IpAddr::V6(Ipv6Addr::LOCALHOST), 128, "a loopback"),
    (v4(169, 254, 0, 0), 16, "a link-local"),
    (
        IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)),
        10,
        "a link-local",
    ),
    (v4(224, 0, 0, 0), 4, "a multicast"),
    (
        IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)),
        8,
        "a multicast",
    ),
];

/// The policy of one agent.
#[derive(Debug, Clone, Default)]
pub struct LocalPolicy {
    /// Whether loopback destinations are allowed (`--lab`).
    pub lab: bool,
    /// Prefixes of the host's own interfaces.
    pub connected: Vec<Prefix>,
    /// Most sessions of one assignment.
    pub max_sessions: usize,
    /// What the policy file says.
    pub rules: Rules,
    /// Where the controller listens: no flow goes there.
    pub controller: Vec<SocketAddr>,
}

impl LocalPolicy {
    /// Whether packets may be sent to an address, for a service; `None` = for some. The
    /// rules, in this order:
    ///
    /// 1. an address that stands for an IPv4 one is that;
    /// 2. the unspecified address and the controller's own are refused;
    /// 3. what `deny_destinations` covers is refused;
    /// 4. loopback, link-local, multicast and broadcast addresses need an entry of
    ///    `allow_destinations` that holds nothing else, or, for loopback, `--lab`;
    /// 5. what an entry covers is allowed, and unless the file takes that away,
    ///    built-in ranges and connected prefixes;
    /// 6. the rest is refused.
    ///
    /// # Errors
    /// The rule, and the key that would allow it.
    pub fn destination(&self, address: IpAddr, service: Service) -> Result<(), String> {
        let reached = prefix::reached(address);
        if reached.is_unspecified() {
            return Err(format!(
                "{address} is the unspecified address, which nothing allows"
            ));
        }
        let of_controller = |at: &SocketAddr| {
            prefix::reached(at.ip()) == reached
                && service.is_some_and(|(_, port)| port == at.port())
        };
        if let Some(at) = self.controller.iter().find(|at| of_controller(at)) {
            return Err(format!(
                "{at} is where the controller listens, which nothing allows"
            ));
        }
        let denies = |entry: &&Destinations| {
            entry.cover_all(reached, service) || entry.cover_all(address, service)
        };
        if let Some(entry) = self.rules.deny.iter().find(denies) {
            return Err(format!(
                "{address} is denied by {} in `deny_destinations` of this host's policy file",
                entry.prefix
            ));
        }
        let mut covering = self.rules.allow.iter();
        if let Some((kind, special)) = self.special(reached) {
            let allowed = covering.any(|entry| {
                entry.prefix.is_within(&special) && entry.cover_some(reached, service)
            });
            return match kind {
                _ if allowed => Ok(()),
                "a loopback" if self.lab => Ok(()),
                "a loopback" => Err(format!(
                    "{address} is a loopback address: start the agent with --lab to allow it"
                )),
                _ => Err(format!(
                    "{address} is {kind} address: only an entry of its own in `allow_destinations` of a policy file can allow it"
                )),
            };
        }
        let built_in = ALLOWED
            .iter()
            .map(|(address, len)| Prefix::new(*address, *len))
            .chain(self.connected.iter().copied());
        if covering.any(|entry| entry.cover_some(reached, service))
            || (self.rules.built_in && built_in.into_iter().any(|it| it.contains(reached)))
        {
            return Ok(());
        }
        let kind = if self.rules.built_in && self.rules.allow.is_empty() {
            "is a public address"
        } else {
            "is in no entry for what is sent there"
        };
        Err(format!(
            "{address} {kind}: only `allow_destinations` of a policy file can allow it"
        ))
    }

    /// What an address is that needs an entry of its own, and what that may hold.
    fn special(&self, reached: IpAddr) -> Option<(&'static str, Prefix)> {
        let host = Prefix::new(reached, 128);
        let broadcast = self
            .connected
            .iter()
            .any(|prefix| prefix.is_broadcast(reached));
        if broadcast || reached == IpAddr::V4(Ipv4Addr::BROADCAST) {
            return Some(("a broadcast", host));
        }
        let (address, len, kind) = SPECIAL
            .iter()
            .find(|(address, len, _)| Prefix::new(*address, *len).contains(reached))?;
        Some((kind, Prefix::new(*address, *len)))
    }

    /// Whether a session may run here, by itself: its length, and for the end that dials
    /// at least one allowed address of its peer.
    ///
    /// # Errors
    /// A sentence for the report of the failed session.
    pub fn session(&self, session: &SessionSpec) -> Result<(), String> {
        let most = self.rules.max_duration;
        if let Some(long) = session
            .segments
            .iter()
            .find(|segment| segment.length_ns > most.as_nanos())
        {
            return Err(format!(
                "flow {} lasts {}: this host allows {most}; only `max_duration` of a policy file can allow more",
                long.flow,
                Span::from_nanos(long.length_ns),
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
            match self.destination(address, None) {
                Ok(()) => return Ok(()),
                Err(reason) => refusal = refusal.or(Some(reason)),
            }
        }
        refusal.map_or(Ok(()), Err)
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

impl LivePolicy {
    /// Takes the addresses at which the controller was reached.
    pub(crate) fn set_controller(&self, controller: Vec<SocketAddr>) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .controller = controller;
    }

    /// Takes the rules that the policy file has now.
    pub(crate) fn set_rules(&self, rules: Rules) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).rules = rules;
    }
}

impl weir_engine::engine::Policy for LivePolicy {
    fn allows_destination(&self, address: IpAddr, service: Service) -> Result<(), String> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .destination(address, service)
    }
}

#[cfg(test)]
mod tests;
