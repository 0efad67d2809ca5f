//! The hosts of the demo, and what stands in for them: namespaces, or this host's loopback.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use weir_lab::{Lab, LabError, Shape, Topology};

/// The limited AS, and its limit in Mbit/s.
const LIMITED: (u32, u64) = (171, 50);

/// Three autonomous systems at one exchange, as in SEED's first traffic example.
pub(super) fn topology() -> Topology {
    Topology::new("demo")
        .exchange("ix100")
        .asn(150, |a| a.join("ix100").host("iperf-generator"))
        .asn(162, |a| a.join("ix100").host("iperf-receiver-1"))
        .asn(LIMITED.0, |a| {
            a.join("ix100")
                .host("iperf-receiver-2")
                .access(Shape::mbit(LIMITED.1))
        })
}

/// A host of the demo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    /// Its name, and its agent's.
    pub(super) name: String,
    /// Its agent's labels.
    pub(super) labels: BTreeMap<&'static str, String>,
}

/// The hosts of a topology, in its order.
pub(super) fn hosts(topology: &Topology) -> Result<Vec<Host>, LabError> {
    let network = topology.resolve()?;
    let host = |name: &str| {
        let labels = network.labels(name)?;
        Ok(Host {
            name: name.to_owned(),
            labels,
        })
    };
    network.hosts().map(|node| host(&node.name)).collect()
}

/// What the hosts are made of.
#[derive(Debug)]
pub(super) enum Ground {
    /// A network namespace each.
    Namespaces(Lab),
    /// All of them are this host, and only loopback is between them.
    Loopback {
        /// Why there are no namespaces.
        why: String,
    },
}

impl Ground {
    /// Builds the network, unless it is known why it cannot be; a kernel or a container that refuses in the
    /// middle is such a reason too.
    pub(super) fn build(topology: &Topology, refused: Option<String>) -> Self {
        let lab = match refused {
            Some(why) => return Self::Loopback { why },
            None => Lab::up(topology),
        };
        match lab {
            Ok(lab) => Self::Namespaces(lab),
            Err(error) => Self::Loopback { why: chain(&error) },
        }
    }

    /// A command that runs a program in a host.
    pub(super) fn command(&self, host: &Host, program: &Path) -> Result<Command, LabError> {
        match self {
            Self::Namespaces(lab) => lab.command(&host.name, program),
            Self::Loopback { .. } => Ok(Command::new(program)),
        }
    }

    /// Whether agents may send to loopback: there is nothing else.
    pub(super) fn is_loopback(&self) -> bool {
        matches!(self, Self::Loopback { .. })
    }

    /// What there is now, for people.
    pub(super) fn lines(&self) -> Vec<String> {
        match self {
            Self::Namespaces(lab) => {
                let network = lab.network();
                let mut systems: Vec<u32> = network.nodes().iter().filter_map(|node| node.asn).collect();
                systems.dedup();
                let (asn, limit) = LIMITED;
                let hosts = network.hosts().count();
                vec![format!(
                    "lab up: {} ASes, {hosts} hosts; the access link of AS {asn} is limited to {limit} Mbit/s",
                    systems.len(),
                )]
            }
            Self::Loopback { why } => vec![
                format!("no network namespaces here: {why}"),
                "the same campaign runs between agents on this host's loopback: no routers, no rate limit".to_owned(),
            ],
        }
    }

    /// Takes it down; what is left is said, not failed upon.
    pub(super) fn end(self) -> Result<(), LabError> {
        match self {
            Self::Namespaces(lab) => lab.down(),
            Self::Loopback { .. } => Ok(()),
        }
    }
}

/// An error and its sources in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_those_of_the_campaign() {
        let hosts = hosts(&topology()).unwrap();
        let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "150-iperf-generator",
                "162-iperf-receiver-1",
                "171-iperf-receiver-2"
            ]
        );
        assert_eq!(hosts[2].labels["asn"], "171");
        assert_eq!(hosts[2].labels["node"], "iperf-receiver-2");
        assert_eq!(hosts[2].labels["role"], "host");
    }

    #[test]
    fn a_refusal_is_said_and_hosts_become_this_one() {
        let topology = topology();
        let ground = Ground::build(&topology, Some("not root".to_owned()));
        assert!(ground.is_loopback());
        assert!(ground.lines()[0].ends_with("not root"));
        let host = &hosts(&topology).unwrap()[0];
        let command = ground.command(host, Path::new("/bin/weir")).unwrap();
        assert_eq!(command.get_program(), "/bin/weir");
        ground.end().unwrap();
    }
}
