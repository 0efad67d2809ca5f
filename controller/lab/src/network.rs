//! The network that a topology means: every node, interface, address, route
//! and link, worked out and checked. Pure data.

mod address;
mod resolve;
mod routes;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{LabError, Loss, Shape};

pub(crate) use resolve::resolve;

/// A resolved topology. Its nodes and links are in the order of declaration.
///
/// Invariants: names of nodes and of links are unique; interface names are
/// unique within a node and at most 15 characters; the ends of links name
/// existing nodes and interfaces; prefixes do not overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    pub(crate) name: String,
    pub(crate) nodes: Vec<Node>,
    pub(crate) links: Vec<Link>,
    pub(crate) count: bool,
    pub(crate) packet_by_packet: bool,
}

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Sends and receives traffic.
    Host,
    /// Forwards; carries the bridge of its LAN when it is the AS's first.
    Router,
    /// Carries the bridge of an exchange; has no address.
    Exchange,
}

impl Role {
    /// The label's value: `host`, `router` or `exchange`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Router => "router",
            Self::Exchange => "exchange",
        }
    }
}

/// One network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The full name, such as `150-iperf-generator`.
    pub name: String,
    /// The name within its AS, such as `iperf-generator`.
    pub node: String,
    /// The AS; an exchange has none.
    pub asn: Option<u32>,
    /// What it is for.
    pub role: Role,
    /// Bridges come before their ports.
    pub interfaces: Vec<Interface>,
    /// Static routes, in a fixed order.
    pub routes: Vec<Route>,
}

impl Node {
    /// The address on the LAN of the AS (`None` for an exchange).
    pub fn addresses(&self) -> Option<Addresses> {
        self.interfaces
            .iter()
            .find_map(|interface| interface.addresses)
    }
}

/// An interface of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The name in its namespace: `net0` on the LAN, `up0` to the outside,
    /// `p0` on a bridge.
    pub name: String,
    /// How it is made.
    pub kind: InterfaceKind,
    /// Its addresses.
    pub addresses: Option<Addresses>,
}

/// How an interface is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InterfaceKind {
    /// A bridge.
    Bridge,
    /// A veth end that is a port of the named bridge.
    Port {
        /// The bridge.
        bridge: String,
    },
    /// A veth end with addresses of its own.
    Plain,
}

/// The two addresses of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The IPv4 address.
    pub v4: Ipv4Addr,
    /// The length of its prefix.
    pub v4_length: u8,
    /// The IPv6 address; its prefix has 64 bits.
    pub v6: Ipv6Addr,
}

/// A static route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The destination; all zero with length 0 is the default route.
    pub destination: IpAddr,
    /// The length of its prefix.
    pub length: u8,
    /// The next hop.
    pub via: IpAddr,
}

/// A veth pair between two nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The name for shaping and cutting.
    pub name: String,
    /// The end at the host or the AS that the link serves.
    pub near: End,
    /// The other end: a port of the LAN or exchange, or the peer's router.
    pub far: End,
}

impl Link {
    /// Both ends, the near one first.
    pub fn ends(&self) -> [&End; 2] {
        [&self.near, &self.far]
    }
}

/// One end of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The node, as an index into [`Network::nodes`].
    pub node: usize,
    /// The interface's name in that node.
    pub interface: String,
    /// The rate limit of what leaves through this end.
    pub shape: Option<Shape>,
    /// The loss of what arrives at this end.
    pub loss: Option<Loss>,
}

impl Network {
    /// The name of the lab.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All nodes: exchanges, then each AS with its routers and hosts.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// All links: of each AS its LAN, then to its exchanges; direct ones last.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// The hosts alone.
    pub fn hosts(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.role == Role::Host)
    }

    /// The links of an AS to exchanges and to other ASes.
    pub fn access_links(&self, asn: u32) -> impl Iterator<Item = &Link> {
        self.links.iter().filter(move |link| {
            let [near, far] = link.ends().map(|end| self.nodes[end.node].asn);
            near != far && (near == Some(asn) || far == Some(asn))
        })
    }

    /// A node by its full name.
    pub fn node(&self, name: &str) -> Result<&Node, LabError> {
        self.nodes
            .iter()
            .find(|node| node.name == name)
            .ok_or_else(|| LabError::UnknownHost {
                name: name.to_owned(),
                known: listed(self.nodes.iter().map(|node| node.name.as_str())),
            })
    }

    /// A link by its name.
    pub fn link(&self, name: &str) -> Result<&Link, LabError> {
        self.links
            .iter()
            .find(|link| link.name == name)
            .ok_or_else(|| LabError::UnknownLink {
                name: name.to_owned(),
                known: listed(self.links.iter().map(|link| link.name.as_str())),
            })
    }

    /// The IPv4 address of a host or router.
    pub fn address(&self, name: &str) -> Result<Ipv4Addr, LabError> {
        self.addresses(name).map(|addresses| addresses.v4)
    }

    /// Both addresses of a host or router on its LAN.
    pub fn addresses(&self, name: &str) -> Result<Addresses, LabError> {
        self.node(name)?
            .addresses()
            .ok_or_else(|| LabError::UnknownHost {
                name: name.to_owned(),
                known: listed(
                    self.nodes
                        .iter()
                        .filter(|node| node.role != Role::Exchange)
                        .map(|node| node.name.as_str()),
                ),
            })
    }

    /// The labels an agent in that node carries: `asn`, `node` and `role`.
    pub fn labels(&self, name: &str) -> Result<BTreeMap<&'static str, String>, LabError> {
        let node = self.node(name)?;
        let mut labels = BTreeMap::from([
            ("node", node.node.clone()),
            ("role", node.role.as_str().to_owned()),
        ]);
        if let Some(asn) = node.asn {
            labels.insert("asn", asn.to_string());
        }
        Ok(labels)
    }
}

/// Names in one line, for errors; long lists are cut.
pub(crate) fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const MOST: usize = 20;
    let names: Vec<&str> = names.collect();
    match names.len() {
        0 => "none".to_owned(),
        count if count > MOST => {
            format!("{} and {} more", names[..MOST].join(", "), count - MOST)
        }
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests;
