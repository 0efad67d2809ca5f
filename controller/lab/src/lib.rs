//! Multi-AS labs on one machine, from a few lines.
//!
//! A [`Topology`] says which autonomous systems, hosts, exchanges and links
//! there are. [`Topology::resolve`] turns it into a [`Network`]: every
//! interface with its addresses and every static route, without touching the
//! machine. [`Lab::up`] builds that network out of network namespaces, veth
//! pairs and bridges; when the [`Lab`] is dropped, nothing of it is left.
//!
//! ```no_run
//! use weir_lab::{Lab, Shape, Topology};
//!
//! # fn main() -> Result<(), weir_lab::LabError> {
//! let topology = Topology::new("demo")
//!     .exchange("ix100")
//!     .asn(150, |a| a.join("ix100").host("iperf-generator"))
//!     .asn(162, |a| a.join("ix100").host("iperf-receiver-1"))
//!     .asn(171, |a| {
//!         a.join("ix100").host("iperf-receiver-2").access(Shape::mbit(50))
//!     })
//!     .count();
//!
//! let lab = Lab::up(&topology)?;
//! let receiver = lab.address("162-iperf-receiver-1")?; // 10.162.0.71
//! let status = lab
//!     .command("150-iperf-generator", "ping")?
//!     .args(["-c", "1", &receiver.to_string()])
//!     .status();
//! # let _ = status;
//!
//! lab.cut("171-router@ix100")?; // AS 171 falls off the exchange ...
//! lab.heal("171-router@ix100")?; // ... and comes back
//! let sent = lab.counters("150-iperf-generator")?.output().udp().packets();
//! # let _ = sent;
//! lab.down()
//! # }
//! ```
//!
//! # The address plan
//! It is that of the SEED Emulator, so that figures and files carry over.
//! AS `N` has the LAN `10.N.0.0/24` with hosts from `.71` upward and routers
//! from `.254` downward; exchange `ixN` is `10.N.0.0/24` with the AS number as
//! last octet; direct links are `/30`s of `10.0.0.0/16`. IPv6 mirrors it with
//! the decimal digits written as hexadecimal ones: host `.71` of AS 150 is
//! also `fd00:150::71`.
//!
//! # Names
//! A host or router is `ASN-NAME`, such as `150-iperf-generator`; a router is
//! called `router` until [`AutonomousSystem::router`] says otherwise. The link
//! of a host has the host's name, a link to an exchange is
//! `150-router@ix100`, a direct link `150-router--162-router`.
//!
//! # What it needs
//! `ip` and `tc` (Debian package iproute2), `sh`, and `nft` (nftables) only for
//! packet loss and counters; `unshare` (util-linux) where [`privilege`] has to
//! make a user namespace because the caller is not root.

mod counters;
mod error;
mod namespace;
mod network;
mod plan;
pub mod privilege;
mod program;
mod shape;
mod topology;

pub use counters::{Counter, Counters, Hook, Protocol};
pub use error::{LabError, TopologyError};
pub use namespace::{Lab, sweep};
pub use network::{Addresses, End, Interface, InterfaceKind, Link, Network, Node, Role, Route};
pub use plan::{Namespaces, Plan, Step, Tool};
pub use shape::{Direction, Discipline, Loss, Rate, Shape};
pub use topology::{AutonomousSystem, RouterRef, Topology};
