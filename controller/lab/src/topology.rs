//! What the caller asks for: systems, hosts, exchanges and links, in any order.
//!
//! Nothing is checked here; [`Topology::resolve`] checks everything at once
//! and hands out a [`Network`] that needs no further checks.

use crate::{Loss, Network, Shape, TopologyError};

/// A lab to be: the declarations, as made.
#[derive(Debug, Clone)]
pub struct Topology {
    pub(crate) name: String,
    pub(crate) exchanges: Vec<Exchange>,
    pub(crate) systems: Vec<AutonomousSystem>,
    pub(crate) links: Vec<(RouterRef, RouterRef)>,
    pub(crate) shapes: Vec<(String, Shape)>,
    pub(crate) losses: Vec<(String, Loss)>,
    pub(crate) count: bool,
    pub(crate) packet_by_packet: bool,
}

/// A declared exchange.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) name: String,
    /// `None`: from the number in the name.
    pub(crate) lan: Option<String>,
}

/// One autonomous system of a [`Topology`]: a LAN with routers and hosts.
#[derive(Debug, Clone)]
pub struct AutonomousSystem {
    pub(crate) asn: u32,
    /// `None`: `10.ASN.0.0/24`.
    pub(crate) lan: Option<String>,
    pub(crate) routers: Vec<Router>,
    pub(crate) hosts: Vec<String>,
    pub(crate) access: Option<Shape>,
}

/// A declared router and the exchanges it joins.
#[derive(Debug, Clone)]
pub(crate) struct Router {
    pub(crate) name: String,
    pub(crate) exchanges: Vec<String>,
}

/// Names a router: by AS number (its first router) or by full name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouterRef {
    /// The first router of this AS.
    First(u32),
    /// A router such as `150-router`.
    Named(String),
}

impl From<u32> for RouterRef {
    fn from(asn: u32) -> Self {
        Self::First(asn)
    }
}

impl From<&str> for RouterRef {
    fn from(name: &str) -> Self {
        Self::Named(name.to_owned())
    }
}

impl Topology {
    /// An empty lab of this name: letters, digits and hyphens, at most 32.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            exchanges: Vec::new(),
            systems: Vec::new(),
            links: Vec::new(),
            shapes: Vec::new(),
            losses: Vec::new(),
            count: false,
            packet_by_packet: false,
        }
    }

    /// An exchange with a number in its name: `ix100` is `10.100.0.0/24`.
    #[must_use]
    pub fn exchange(mut self, name: &str) -> Self {
        self.exchanges.push(Exchange {
            name: name.to_owned(),
            lan: None,
        });
        self
    }

    /// An exchange with a /24 of its own, such as `10.99.0.0/24`.
    #[must_use]
    pub fn exchange_at(mut self, name: &str, lan: &str) -> Self {
        self.exchanges.push(Exchange {
            name: name.to_owned(),
            lan: Some(lan.to_owned()),
        });
        self
    }

    /// An autonomous system; `describe` gives it hosts, routers and exchanges.
    #[must_use]
    pub fn asn(
        mut self,
        asn: u32,
        describe: impl FnOnce(AutonomousSystem) -> AutonomousSystem,
    ) -> Self {
        self.systems.push(describe(AutonomousSystem {
            asn,
            lan: None,
            routers: Vec::new(),
            hosts: Vec::new(),
            access: None,
        }));
        self
    }

    /// A direct link between two routers, without an exchange.
    #[must_use]
    pub fn link(mut self, from: impl Into<RouterRef>, to: impl Into<RouterRef>) -> Self {
        self.links.push((from.into(), to.into()));
        self
    }

    /// Limits the rate of a link (see the crate's page for link names).
    #[must_use]
    pub fn shape(mut self, link: &str, shape: Shape) -> Self {
        self.shapes.push((link.to_owned(), shape));
        self
    }

    /// Loses packets on a link. Needs `nft`.
    #[must_use]
    pub fn loss(mut self, link: &str, loss: Loss) -> Self {
        self.losses.push((link.to_owned(), loss));
        self
    }

    /// Counts the TCP and UDP packets of every host for [`crate::Lab::counters`].
    /// Needs `nft`.
    #[must_use]
    pub fn count(mut self) -> Self {
        self.count = true;
        self
    }

    /// Makes every link carry packets one by one. Without it a link of the
    /// kernel carries GSO and TSO bundles whole, so that rate limits and loss
    /// act on up to 64 packets at once. It costs speed: unlimited TCP over a lab
    /// falls from some Gbit/s to a few hundred Mbit/s.
    #[must_use]
    pub fn packet_by_packet(mut self) -> Self {
        self.packet_by_packet = true;
        self
    }

    /// Checks the declarations and works out every address and route.
    pub fn resolve(&self) -> Result<Network, TopologyError> {
        crate::network::resolve(self)
    }
}

impl AutonomousSystem {
    /// A host on the LAN. Its full name is `ASN-NAME`.
    #[must_use]
    pub fn host(mut self, name: &str) -> Self {
        self.hosts.push(name.to_owned());
        self
    }

    /// So many hosts: `NAME-1`, `NAME-2` and so on.
    #[must_use]
    pub fn hosts(mut self, name: &str, count: usize) -> Self {
        self.hosts
            .extend((1..=count).map(|number| format!("{name}-{number}")));
        self
    }

    /// A router on the LAN; a following [`join`](Self::join) is its own.
    /// The first one routes for the hosts. An AS that names none has `router`.
    #[must_use]
    pub fn router(mut self, name: &str) -> Self {
        self.routers.push(Router::named(name));
        self
    }

    /// Joins the router that was named last to an exchange.
    #[must_use]
    pub fn join(mut self, exchange: &str) -> Self {
        if self.routers.is_empty() {
            self.routers.push(Router::named(DEFAULT_ROUTER));
        }
        if let Some(router) = self.routers.last_mut() {
            router.exchanges.push(exchange.to_owned());
        }
        self
    }

    /// Limits the links of this AS to exchanges and to other ASes.
    #[must_use]
    pub fn access(mut self, shape: Shape) -> Self {
        self.access = Some(shape);
        self
    }

    /// Replaces `10.ASN.0.0/24` by another /24.
    #[must_use]
    pub fn lan(mut self, lan: &str) -> Self {
        self.lan = Some(lan.to_owned());
        self
    }

    /// The routers, with the default one if none was named.
    pub(crate) fn routers_or_default(&self) -> Vec<Router> {
        if self.routers.is_empty() {
            vec![Router::named(DEFAULT_ROUTER)]
        } else {
            self.routers.clone()
        }
    }
}

impl Router {
    fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            exchanges: Vec::new(),
        }
    }
}

/// The router of an AS that names none.
const DEFAULT_ROUTER: &str = "router";
