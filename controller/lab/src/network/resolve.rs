//! From declarations to a network: checks names, hands out addresses, joins
//! links, computes routes.

mod joins;
mod limits;

use std::collections::{BTreeMap, BTreeSet};

use super::address::{FIRST_HOST, FIRST_ROUTER, LAST_HOST, LAST_ROUTER, Subnet};
use super::routes::{Segment, default_routes, reachable_from, routes_of};
use super::{Addresses, End, Interface, InterfaceKind, Link, Network, Node, Role};
use crate::TopologyError;
use crate::topology::{AutonomousSystem, Topology};

/// Checks a topology and works out its network.
pub(crate) fn resolve(topology: &Topology) -> Result<Network, TopologyError> {
    check_name("lab", &topology.name, 32)?;
    let mut resolver = Resolver {
        topology,
        network: Network {
            name: topology.name.clone(),
            nodes: Vec::new(),
            links: Vec::new(),
            count: topology.count,
            packet_by_packet: topology.packet_by_packet,
        },
        segments: Vec::new(),
        by_name: BTreeMap::new(),
    };
    resolver.exchanges()?;
    let mut known = BTreeSet::new();
    for system in &topology.systems {
        if !known.insert(system.asn) {
            return Err(TopologyError::DuplicateAs { asn: system.asn });
        }
        resolver.system(system)?;
    }
    resolver.join_exchanges()?;
    resolver.direct_links()?;
    resolver.check_link_names()?;
    resolver.check_overlaps()?;
    resolver.routes()?;
    resolver.shapes_and_losses()?;
    Ok(resolver.network)
}

/// The network so far.
struct Resolver<'a> {
    topology: &'a Topology,
    network: Network,
    /// The exchanges come first, in the order of their declaration.
    segments: Vec<Segment>,
    by_name: BTreeMap<String, usize>,
}

impl Resolver<'_> {
    fn exchanges(&mut self) -> Result<(), TopologyError> {
        for (index, exchange) in self.topology.exchanges.iter().enumerate() {
            let name = &exchange.name;
            check_name("exchange", name, 32)?;
            let lan = exchange.lan.as_deref();
            let subnet =
                Subnet::of_exchange(name, lan, index).ok_or_else(|| match &exchange.lan {
                    Some(lan) => TopologyError::BadLan {
                        owner: format!("exchange {name}"),
                        lan: lan.clone(),
                    },
                    None => TopologyError::NoExchangeLan {
                        exchange: name.clone(),
                    },
                })?;
            let node = self.node(name.clone(), name, None, Role::Exchange)?;
            self.interface(node, "ix".to_owned(), InterfaceKind::Bridge, None);
            self.segment(subnet, format!("exchange {name}"));
        }
        Ok(())
    }

    /// One AS: its routers on the LAN, with the bridge in the first, its hosts.
    fn system(&mut self, system: &AutonomousSystem) -> Result<(), TopologyError> {
        let asn = system.asn;
        let owner = format!("AS {asn}");
        let subnet =
            Subnet::of_as(asn, system.lan.as_deref()).ok_or_else(|| match &system.lan {
                Some(lan) => TopologyError::BadLan {
                    owner: owner.clone(),
                    lan: lan.clone(),
                },
                None => TopologyError::NoLan { asn },
            })?;
        let lan = self.segment(subnet, owner.clone());
        let mut bridge = None;
        for (index, router) in system.routers_or_default().iter().enumerate() {
            check_name("router", &router.name, 48)?;
            let number = countdown(index).ok_or_else(|| TopologyError::TooMany {
                owner: owner.clone(),
                what: "routers",
                most: usize::from(FIRST_ROUTER - LAST_ROUTER) + 1,
            })?;
            let addresses = subnet.member(number);
            let name = format!("{asn}-{}", router.name);
            let node = self.node(name, &router.name, Some(asn), Role::Router)?;
            if let Some(first) = bridge {
                self.attach(node, first, addresses);
            } else {
                self.interface(node, LAN.to_owned(), InterfaceKind::Bridge, Some(addresses));
                bridge = Some(node);
            }
            self.segments[lan].routers.push((node, addresses));
        }
        let bridge = bridge.expect("an AS has at least the default router");
        let router = subnet.member(FIRST_ROUTER);
        for (index, host) in system.hosts.iter().enumerate() {
            check_name("host", host, 48)?;
            let number = u8::try_from(index)
                .ok()
                .and_then(|index| FIRST_HOST.checked_add(index))
                .filter(|number| *number <= LAST_HOST)
                .ok_or_else(|| TopologyError::TooMany {
                    owner: owner.clone(),
                    what: "hosts",
                    most: usize::from(LAST_HOST - FIRST_HOST) + 1,
                })?;
            let node = self.node(format!("{asn}-{host}"), host, Some(asn), Role::Host)?;
            self.attach(node, bridge, subnet.member(number));
            self.network.nodes[node].routes = default_routes(router);
        }
        Ok(())
    }

    /// Hyphens in names could make a host's link read like one of routers.
    fn check_link_names(&self) -> Result<(), TopologyError> {
        let mut names = BTreeSet::new();
        let twice = self
            .network
            .links
            .iter()
            .find(|link| !names.insert(&link.name));
        twice.map_or(Ok(()), |link| {
            Err(TopologyError::DuplicateLink {
                link: link.name.clone(),
            })
        })
    }

    fn check_overlaps(&self) -> Result<(), TopologyError> {
        for (index, second) in self.segments.iter().enumerate() {
            let clash = self.segments[..index]
                .iter()
                .find(|first| first.subnet.overlaps(&second.subnet));
            if let Some(first) = clash {
                return Err(TopologyError::Overlap {
                    first: first.owner.clone(),
                    second: second.owner.clone(),
                    prefix: second.subnet.to_string(),
                });
            }
        }
        Ok(())
    }

    fn routes(&mut self) -> Result<(), TopologyError> {
        let count = self.network.nodes.len();
        let routers: Vec<usize> = (0..count)
            .filter(|index| self.network.nodes[*index].role == Role::Router)
            .collect();
        if let Some(first) = routers.first() {
            let reached = reachable_from(*first, &self.segments, count);
            if let Some(lost) = routers.iter().find(|router| !reached[**router]) {
                let asn = |node: usize| self.network.nodes[node].asn.unwrap_or_default();
                return Err(TopologyError::Unreachable {
                    asn: asn(*lost),
                    from: asn(*first),
                });
            }
        }
        for router in routers {
            self.network.nodes[router].routes = routes_of(router, &self.segments, count);
        }
        Ok(())
    }

    fn node(
        &mut self,
        name: String,
        node: &str,
        asn: Option<u32>,
        role: Role,
    ) -> Result<usize, TopologyError> {
        let index = self.network.nodes.len();
        if self.by_name.insert(name.clone(), index).is_some() {
            return Err(TopologyError::DuplicateName { name });
        }
        self.network.nodes.push(Node {
            name,
            node: node.to_owned(),
            asn,
            role,
            interfaces: Vec::new(),
            routes: Vec::new(),
        });
        Ok(index)
    }

    fn segment(&mut self, subnet: Subnet, owner: String) -> usize {
        self.segments.push(Segment {
            subnet,
            owner,
            routers: Vec::new(),
        });
        self.segments.len() - 1
    }

    /// A host or further router to the LAN bridge of the first router.
    fn attach(&mut self, node: usize, bridge: usize, addresses: Addresses) {
        let near = self.interface(node, LAN.to_owned(), InterfaceKind::Plain, Some(addresses));
        let far = self.port(bridge, LAN);
        self.network.links.push(Link {
            name: self.network.nodes[node].name.clone(),
            near,
            far,
        });
    }

    fn uplink(&mut self, node: usize, addresses: Addresses) -> End {
        let name = self.next_name(node, "up");
        self.interface(node, name, InterfaceKind::Plain, Some(addresses))
    }

    fn port(&mut self, node: usize, bridge: &str) -> End {
        let name = self.next_name(node, "p");
        let kind = InterfaceKind::Port {
            bridge: bridge.to_owned(),
        };
        self.interface(node, name, kind, None)
    }

    /// `up0`, `up1` ...: short whatever the names of the ends are, since the
    /// kernel allows 15 characters.
    fn next_name(&self, node: usize, stem: &str) -> String {
        let taken = self.network.nodes[node]
            .interfaces
            .iter()
            .filter(|interface| {
                let number = interface.name.strip_prefix(stem);
                number.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
            })
            .count();
        format!("{stem}{taken}")
    }

    fn interface(
        &mut self,
        node: usize,
        name: String,
        kind: InterfaceKind,
        addresses: Option<Addresses>,
    ) -> End {
        self.network.nodes[node].interfaces.push(Interface {
            name: name.clone(),
            kind,
            addresses,
        });
        End {
            node,
            interface: name,
            shape: None,
            loss: None,
        }
    }
}

/// The interface on the LAN of an AS, as SEED names it.
const LAN: &str = "net0";

/// The last octet of the router with this index.
fn countdown(index: usize) -> Option<u8> {
    let number = FIRST_ROUTER.checked_sub(u8::try_from(index).ok()?)?;
    (number >= LAST_ROUTER).then_some(number)
}

/// Names go into file names and into the input of `ip`, so only harmless
/// characters are let through.
fn check_name(what: &'static str, name: &str, max: usize) -> Result<(), TopologyError> {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let fine = name.len() <= max
        && name.bytes().all(harmless)
        && name
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric());
    if fine {
        Ok(())
    } else {
        Err(TopologyError::BadName {
            what,
            name: name.to_owned(),
            max,
        })
    }
}
