//! A lab that runs: namespaces of this machine.

mod owner;
mod stray;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::network::{Network, Role};
use crate::plan::{COUNT_TABLE, Namespaces, Step, Tool};
use crate::privilege::{self, Privilege};
use crate::program::{Programs, feed, find};
use crate::{Counters, LabError, Loss, Shape, Topology};
use owner::Owner;

/// A running lab. Dropping it takes it down.
///
/// Each lab has namespaces of its own, whose names carry the lab's name, the
/// process that owns it and a number, so any number of labs live side by side.
/// What a killed process leaves behind is removed by the next [`Lab::up`].
#[derive(Debug)]
pub struct Lab {
    network: Network,
    namespaces: Namespaces,
    programs: Programs,
    is_up: bool,
}

impl Lab {
    /// Builds a topology, after removing what labs of dead processes left.
    ///
    /// # Errors
    /// A wrong topology, a missing program, a refused privilege, or the step
    /// that failed; in every case nothing is left behind.
    pub fn up(topology: &Topology) -> Result<Self, LabError> {
        let network = topology.resolve()?;
        let programs = Programs::find()?;
        if let Err(error) = sweep() {
            tracing::warn!(%error, "leftovers of earlier labs remain");
        }
        let namespaces = Namespaces::new(
            Owner::current()?.prefix(network.name(), NEXT.fetch_add(1, Ordering::Relaxed)),
        );
        let plan = namespaces.up(&network);
        Programs::check(&plan)?;
        let mut lab = Self {
            network,
            namespaces,
            programs,
            is_up: true,
        };
        if let Err(error) = lab.programs.run(&plan) {
            lab.take_down();
            return Err(explain(error));
        }
        Ok(lab)
    }

    /// The network, with every name, address and link.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// A command that runs `program` inside a host or router. The process that
    /// it starts is the program itself, under the same process id.
    ///
    /// The file system is the caller's, except that `/sys` shows the namespace.
    pub fn command(&self, host: &str, program: impl AsRef<OsStr>) -> Result<Command, LabError> {
        let mut command = self.programs.inside(&self.namespace(host)?, program);
        command.env(stray::MARKER, self.namespaces.prefix());
        Ok(command)
    }

    /// The name of a node's namespace, for `ip -n`.
    pub fn namespace(&self, host: &str) -> Result<String, LabError> {
        self.network.node(host).map(|node| self.namespaces.of(node))
    }

    /// The IPv4 address of a host or router on its LAN.
    pub fn address(&self, host: &str) -> Result<Ipv4Addr, LabError> {
        self.network.address(host)
    }

    /// The IPv6 address of a host or router on its LAN.
    pub fn address_v6(&self, host: &str) -> Result<Ipv6Addr, LabError> {
        self.network.addresses(host).map(|addresses| addresses.v6)
    }

    /// The labels of an agent in that host: `asn`, `node` and `role`.
    pub fn labels(&self, host: &str) -> Result<BTreeMap<&'static str, String>, LabError> {
        self.network.labels(host)
    }

    /// Cuts a link: nothing passes in either direction.
    pub fn cut(&self, link: &str) -> Result<(), LabError> {
        let link = self.network.link(link)?;
        self.run(&self.namespaces.cut(&self.network, link))
    }

    /// Heals a cut link.
    pub fn heal(&self, link: &str) -> Result<(), LabError> {
        let link = self.network.link(link)?;
        self.run(&self.namespaces.heal(&self.network, link))
    }

    /// Replaces the rate limits of a link; `None` takes them away.
    pub fn shape(&self, link: &str, shape: Option<Shape>) -> Result<(), LabError> {
        let mut link = self.network.link(link)?.clone();
        (link.near.shape, link.far.shape) = (None, None);
        if let Some(shape) = shape {
            if let Some(why) = shape.flaw() {
                return Err(crate::TopologyError::BadShape {
                    link: link.name,
                    why,
                }
                .into());
            }
            link.set_shape(shape);
        }
        self.run(&self.namespaces.reshape(&self.network, &link))
    }

    /// Replaces the loss of a link; `None` takes it away. Needs `nft`.
    pub fn lose(&self, link: &str, loss: Option<Loss>) -> Result<(), LabError> {
        let mut link = self.network.link(link)?.clone();
        (link.near.loss, link.far.loss) = (None, None);
        if let Some(loss) = loss {
            link.set_loss(loss);
        }
        self.run(&self.namespaces.reloss(&self.network, &link))
    }

    /// What the kernel counted at a host since the lab came up or
    /// [`Lab::forget_counts`]. The topology must have been built with
    /// [`Topology::count`].
    pub fn counters(&self, host: &str) -> Result<Counters, LabError> {
        let node = self.counted(host)?;
        let mut command = self
            .programs
            .inside(&self.namespaces.of(node), find("nft")?);
        command.args(["-j", "-n", "list", "table", "inet", COUNT_TABLE]);
        let unreadable = |why: String| LabError::Counters {
            host: host.to_owned(),
            why,
        };
        let output = feed(command, "")?;
        if !output.status.success() {
            return Err(unreadable(
                String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            ));
        }
        Counters::parse(&String::from_utf8_lossy(&output.stdout)).map_err(unreadable)
    }

    /// Starts the counters of a host from zero.
    pub fn forget_counts(&self, host: &str) -> Result<(), LabError> {
        let node = self.counted(host)?;
        self.run(&self.namespaces.forget_counts(node))
    }

    /// Ends what still runs inside the lab and removes it.
    ///
    /// # Errors
    /// What could not be removed; a later [`sweep`] will try again.
    pub fn down(mut self) -> Result<(), LabError> {
        self.take_down();
        let left: Vec<String> = namespaces_there()?
            .into_iter()
            .filter(|name| owner::belongs_to(name, self.namespaces.prefix()))
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        Err(LabError::Step {
            step: "ip netns delete".to_owned(),
            message: format!("still there: {}", left.join(", ")),
        })
    }

    fn run(&self, plan: &[Step]) -> Result<(), LabError> {
        Programs::check(plan)?;
        self.programs.run(plan)
    }

    fn counted(&self, host: &str) -> Result<&crate::Node, LabError> {
        let node = self.network.node(host)?;
        if self.network.count && node.role == Role::Host {
            Ok(node)
        } else {
            Err(LabError::NotCounted {
                host: host.to_owned(),
            })
        }
    }

    /// Best effort; once.
    fn take_down(&mut self) {
        if !std::mem::take(&mut self.is_up) {
            return;
        }
        stray::end(|lab| lab == self.namespaces.prefix());
        if let Err(error) = self.programs.run(&self.namespaces.down(&self.network)) {
            tracing::debug!(%error, "not all namespaces could be deleted");
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.take_down();
    }
}

/// Removes what labs of dead processes left: their namespaces and the programs
/// that run in them. Labs of living processes are left alone. Gives the names
/// of the removed namespaces.
pub fn sweep() -> Result<Vec<String>, LabError> {
    stray::end(|lab| Owner::of(lab).is_some_and(|owner| !owner.may_live()));
    let dead: Vec<String> = namespaces_there()?
        .into_iter()
        .filter(|name| Owner::of(name).is_some_and(|owner| !owner.may_live()))
        .collect();
    if dead.is_empty() {
        return Ok(dead);
    }
    let step = Step {
        tool: Tool::IpForce,
        namespace: None,
        input: dead.iter().fold(String::new(), |input, name| {
            input + "netns delete " + name + "\n"
        }),
    };
    let done = Programs::find()?.run(&[step]);
    let left = namespaces_there()?;
    match done {
        // Another process may have swept the same names; gone is gone.
        Err(error) if dead.iter().any(|name| left.contains(name)) => Err(error),
        _ => Ok(dead),
    }
}

/// The named namespaces of this machine.
fn namespaces_there() -> Result<Vec<String>, LabError> {
    let read = |source| LabError::Read {
        path: PathBuf::from(NAMED),
        source,
    };
    let directory = match Path::new(NAMED).read_dir() {
        Ok(directory) => directory,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(read(error)),
    };
    let mut names = Vec::new();
    for entry in directory {
        names.extend(entry.map_err(read)?.file_name().into_string());
    }
    names.sort_unstable();
    Ok(names)
}

/// A step that failed for want of privilege is better explained by that.
fn explain(error: LabError) -> LabError {
    match (&error, privilege::probe()) {
        (LabError::Step { .. }, Privilege::UserNamespace) => LabError::Refused {
            why: "this process is not root; start it again through \
                  privilege::reexec_in_user_namespace"
                .to_owned(),
        },
        (LabError::Step { .. }, Privilege::Refused { why }) => LabError::Refused { why },
        _ => error,
    }
}

/// Where `ip netns` keeps its names.
const NAMED: &str = "/run/netns";

/// Numbers the labs of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);
