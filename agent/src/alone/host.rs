//! This host, as both sides of a meeting need it.

use std::net::IpAddr;

use weir_common::id::AgentName;
use weir_common::label::Labels;
use weir_experiment::distortion::TokenBucket;
use weir_experiment::planner::AgentFacts;
use weir_proto::convert::{clip, limits};
use weir_proto::types::v1::{Interface, Inventory};
use weir_runtime::HostClock;

use crate::inventory;
use crate::name::{Candidates, NameError};
use crate::policy::{LocalPolicy, PolicyFileError, Prefix, Rules};

/// What is read once.
#[derive(Debug, Clone)]
pub(super) struct Host {
    pub(super) name: AgentName,
    pub(super) inventory: Inventory,
    pub(super) clock: HostClock,
    connected: Vec<Prefix>,
    rules: Rules,
}

/// Why a host is not known well enough to begin.
#[derive(Debug, thiserror::Error)]
pub(super) enum HostError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Policy(#[from] PolicyFileError),
}

impl Host {
    /// Reads the host; blocks for some milliseconds.
    ///
    /// # Errors
    /// `--name` or `WEIR_NAME` is malformed, there is no name, or the policy file cannot
    /// be followed.
    pub(super) fn read(name: Option<&str>) -> Result<Self, HostError> {
        let environment = |key| std::env::var(key).ok();
        let name = Candidates {
            flag: name,
            environment: environment("WEIR_NAME").as_deref(),
            labels: None,
            container: environment("CONTAINER_NAME").as_deref(),
            hostname: inventory::hostname().as_deref(),
        }
        .choose()?;
        let host = inventory::read();
        Ok(Self {
            name,
            inventory: host.inventory,
            clock: HostClock::from_host(),
            connected: host.connected,
            rules: Rules::installed()?,
        })
    }

    /// An address that a person can type elsewhere, if there is one.
    pub(super) fn address(&self) -> Option<String> {
        let interfaces = self.inventory.interfaces.iter();
        let addresses = interfaces
            .filter(|interface| interface.state != "down")
            .flat_map(|interface| &interface.addresses)
            .filter_map(|address| address.split('/').next()?.parse::<IpAddr>().ok());
        let local = |address: &IpAddr| match address {
            IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
        };
        let mut addresses: Vec<IpAddr> = addresses.filter(|address| !local(address)).collect();
        addresses.sort_by_key(IpAddr::is_ipv6);
        addresses.first().map(ToString::to_string)
    }

    /// What this host allows towards a peer. Who types a loopback address, or
    /// dials one, is on this host: then loopback is meant.
    pub(super) fn policy(&self, peer: IpAddr) -> LocalPolicy {
        LocalPolicy {
            lab: peer.to_canonical().is_loopback(),
            connected: self.connected.clone(),
            max_sessions: self.inventory.max_sessions as usize,
            rules: self.rules.clone(),
            controller: Vec::new(),
        }
    }
}

/// What the planner is told of a side whose address is known.
pub(super) fn facts(name: AgentName, host: &Inventory, address: IpAddr) -> AgentFacts {
    let has = |text: &String| text.split('/').next().and_then(|a| a.parse().ok()) == Some(address);
    let interface = host
        .interfaces
        .iter()
        .find(|interface| interface.addresses.iter().any(has));
    AgentFacts {
        name,
        labels: Labels::new(),
        addresses: vec![address],
        mtu: interface
            .map(|interface| interface.mtu)
            .filter(|&mtu| mtu > 0),
        kernel_boot_id: clip(&host.kernel_boot_id, limits::WORD),
        clock_domain: clip(&host.clock_domain, limits::WORD),
        cores: host.cores,
        max_sessions: host.max_sessions,
        qdiscs: interface.map_or_else(Vec::new, qdiscs),
        buckets: interface.map_or_else(Vec::new, token_buckets),
        congestion_controls: host.congestion_controls.clone(),
        alive: true,
    }
}

/// The interface's queueing disciplines: its name, and the first word of each, which is the kind.
fn qdiscs(interface: &Interface) -> Vec<(String, String)> {
    let kind = |line: &String| line.split_whitespace().next().map(str::to_owned);
    let kinds = interface.qdiscs.iter().filter_map(kind);
    kinds.map(|kind| (interface.name.clone(), kind)).collect()
}

fn token_buckets(interface: &Interface) -> Vec<TokenBucket> {
    let buckets = interface.token_buckets.iter().map(|bucket| TokenBucket {
        interface: interface.name.clone(),
        place: bucket.place.clone(),
        rate_bytes: bucket.rate_bytes,
        burst_bytes: bucket.burst_bytes,
        limit_bytes: bucket.limit_bytes,
    });
    buckets.collect()
}

/// Names by which the two sides differ: their own, else what they do. An address
/// would be none: the campaign's language reads it as a target without an agent.
pub(super) fn names(here: &AgentName, there: &AgentName) -> (AgentName, AgentName) {
    if here == there {
        (role("generator"), role("receiver"))
    } else {
        (here.clone(), there.clone())
    }
}

fn role(word: &str) -> AgentName {
    word.parse().expect("a plain word is a name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_hosts_get_names_that_differ() {
        let [a, b] = ["a", "b"].map(role);
        let (generator, receiver) = (role("generator"), role("receiver"));
        assert_eq!(names(&a, &b), (a.clone(), b));
        assert_eq!(names(&a, &a), (generator, receiver));
    }
}
