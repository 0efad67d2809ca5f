//! Links between ASes: over exchanges and direct.

use std::collections::BTreeSet;

use super::super::address::Subnet;
use super::super::{Link, Role, listed};
use super::Resolver;
use crate::TopologyError;
use crate::topology::RouterRef;

impl Resolver<'_> {
    /// Joins routers to exchanges. Small AS numbers are the last octet; what is
    /// left is given to the others from 254 downward.
    pub(super) fn join_exchanges(&mut self) -> Result<(), TopologyError> {
        for index in 0..self.topology.exchanges.len() {
            let exchange = &self.topology.exchanges[index].name;
            let mut joined = BTreeSet::new();
            let mut members = Vec::new();
            for system in &self.topology.systems {
                for router in system.routers_or_default() {
                    for _ in router.exchanges.iter().filter(|name| *name == exchange) {
                        if !joined.insert(system.asn) {
                            return Err(TopologyError::JoinedTwice {
                                asn: system.asn,
                                exchange: exchange.clone(),
                            });
                        }
                        members.push((system.asn, format!("{}-{}", system.asn, router.name)));
                    }
                }
            }
            let mut free: Vec<u8> = (1..=254)
                .filter(|number| !joined.contains(&u32::from(*number)))
                .collect();
            for (asn, router) in members {
                let number = u8::try_from(asn)
                    .ok()
                    .filter(|asn| (1..=254).contains(asn))
                    .or_else(|| free.pop())
                    .ok_or_else(|| TopologyError::TooMany {
                        owner: format!("exchange {exchange}"),
                        what: "ASes",
                        most: 254,
                    })?;
                self.join(index, &router, number);
            }
        }
        self.check_joins()
    }

    /// One router to one exchange, whose node and segment have this index.
    fn join(&mut self, exchange: usize, router: &str, number: u8) {
        let node = self.by_name[router];
        let addresses = self.segments[exchange].subnet.member(number);
        let near = self.uplink(node, addresses);
        let far = self.port(exchange, "ix");
        self.network.links.push(Link {
            name: format!("{router}@{}", self.network.nodes[exchange].name),
            near,
            far,
        });
        self.segments[exchange].routers.push((node, addresses));
    }

    fn check_joins(&self) -> Result<(), TopologyError> {
        let known: BTreeSet<&str> = self
            .topology
            .exchanges
            .iter()
            .map(|e| e.name.as_str())
            .collect();
        for system in &self.topology.systems {
            for router in &system.routers {
                for exchange in &router.exchanges {
                    if !known.contains(exchange.as_str()) {
                        return Err(TopologyError::UnknownExchange {
                            router: format!("{}-{}", system.asn, router.name),
                            exchange: exchange.clone(),
                            known: listed(known.iter().copied()),
                        });
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn direct_links(&mut self) -> Result<(), TopologyError> {
        for (index, (from, to)) in self.topology.links.iter().enumerate() {
            let (from, to) = (self.router(from)?, self.router(to)?);
            let [first, second] = [from, to].map(|node| self.network.nodes[node].name.clone());
            if from == to {
                return Err(TopologyError::SelfLink { router: first });
            }
            let names = [format!("{first}--{second}"), format!("{second}--{first}")];
            if self
                .network
                .links
                .iter()
                .any(|link| names.contains(&link.name))
            {
                return Err(TopologyError::DuplicateLink {
                    link: names[0].clone(),
                });
            }
            let subnet = Subnet::of_link(index).ok_or_else(|| TopologyError::TooMany {
                owner: "the lab".to_owned(),
                what: "direct links",
                most: 16_384,
            })?;
            let near = self.uplink(from, subnet.member(1));
            let far = self.uplink(to, subnet.member(2));
            let segment = self.segment(subnet, format!("the link {}", names[0]));
            self.segments[segment].routers = vec![(from, subnet.member(1)), (to, subnet.member(2))];
            let [name, _] = names;
            self.network.links.push(Link { name, near, far });
        }
        Ok(())
    }

    fn router(&self, reference: &RouterRef) -> Result<usize, TopologyError> {
        let mut routers = self
            .network
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| node.role == Role::Router);
        let found = match reference {
            RouterRef::First(asn) => routers.find(|(_, node)| node.asn == Some(*asn)),
            RouterRef::Named(name) => routers.find(|(_, node)| node.name == *name),
        };
        found
            .map(|(index, _)| index)
            .ok_or_else(|| TopologyError::UnknownRouter {
                router: match reference {
                    RouterRef::First(asn) => format!("of AS {asn}"),
                    RouterRef::Named(name) => name.clone(),
                },
                known: listed(
                    self.network
                        .nodes
                        .iter()
                        .filter(|node| node.role == Role::Router)
                        .map(|node| node.name.as_str()),
                ),
            })
    }
}
