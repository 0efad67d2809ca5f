//! The network of the rows about links. Each agent reaches the controller over an
//! exchange of its own and the other agent over a third, so that what happens to
//! control and records does not touch what is measured:
//!
//! ```text
//! a1 (AS 150) ──── ix101 ──── controller (AS 162) ──── ix102 ──── a2 (AS 151)
//!      └──────────────────────── ix100 ───────────────────────────────┘
//! ```
//!
//! The kernel injects the faults; what it counted is the proof that they took effect.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use weir_lab::{Lab, Rate, Shape, Topology};

use crate::rig::AGENTS;

/// The node of the controller.
pub(crate) const CONTROLLER: &str = "162-router";
/// Nodes of the agents, and the exchanges over which they reach the controller.
const PLACES: [(&str, &str); 2] = [("150-router", "ix101"), ("151-router", "ix102")];
/// The port of agents, see `Doors`.
const PORT: u16 = 7901;
/// State of a TCP connection in `/proc/net/tcp`, `TCP_ESTABLISHED`.
const ESTABLISHED: &str = "01";

/// The node of an agent.
pub(crate) fn node(agent: &str) -> &'static str {
    PLACES[usize::from(agent == AGENTS[1])].0
}

/// The controller's address.
pub(crate) fn address(lab: &Lab) -> Ipv4Addr {
    lab.address(CONTROLLER)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// What is dropped between the agents and the controller; ARP passes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Drops {
    /// All from the agents, all to them.
    All { up: bool, down: bool },
    /// So many packets of a hundred, at random.
    Some { percent: u8 },
    /// Packets of more bytes than that.
    Longer { bytes: u16 },
}

impl Drops {
    /// What comes before `drop` in a rule.
    fn matches(self, is_up: bool) -> Option<String> {
        match self {
            Self::All { up, down } => (if is_up { up } else { down }).then(String::new),
            Self::Some { percent } => Some(format!("numgen random mod 100 < {percent} ")),
            Self::Longer { bytes } => Some(format!("meta length > {bytes} ")),
        }
    }
}

/// Packets that the kernel counted, of all links together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Seen since the rules are there.
    pub(crate) seen: u64,
    /// Of them, dropped.
    pub(crate) dropped: u64,
}

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wires<'a>(pub(crate) &'a Lab);

impl Wires<'_> {
    /// Builds the network.
    pub(crate) fn up() -> anyhow::Result<Lab> {
        let topology = Topology::new("faults")
            .exchange("ix100")
            .exchange("ix101")
            .exchange("ix102")
            .asn(150, |a| a.join("ix100").join("ix101"))
            .asn(151, |a| a.join("ix100").join("ix102"))
            .asn(162, |a| a.join("ix101").join("ix102"))
            // A bundle would be dropped or shaped as one packet.
            .packet_by_packet();
        Ok(Lab::up(&topology)?)
    }

    /// Drops packets from now on, in place of what was dropped before.
    pub(crate) fn drop_packets(self, drops: Drops) -> anyhow::Result<()> {
        for (node, exchange) in PLACES {
            let mut rules = without("netdev");
            rules.push_str("table netdev weir_faults {\ncounter seen { }\ncounter dropped { }\n");
            for (from, is_up) in [(node, true), (CONTROLLER, false)] {
                let Some(matches) = drops.matches(is_up) else {
                    continue;
                };
                let port = self.port(from, exchange)?;
                write!(
                    rules,
                    "chain {port} {{ type filter hook ingress device \"{port}\" priority 0;\n\
                     meta protocol {{ ip, ip6 }} counter name seen\n\
                     meta protocol {{ ip, ip6 }} {matches}counter name dropped drop\n}}\n"
                )?;
            }
            rules.push_str("}\n");
            self.nft(exchange, &rules)?;
        }
        Ok(())
    }

    /// Everything passes again; what was dropped meanwhile.
    pub(crate) fn pass_packets(self) -> anyhow::Result<Counted> {
        let mut sum = Counted::default();
        for (_, exchange) in PLACES {
            sum.seen += self.counter(exchange, "netdev", "seen")?;
            sum.dropped += self.counter(exchange, "netdev", "dropped")?;
            self.nft(exchange, &without("netdev"))?;
        }
        Ok(sum)
    }

    /// Answers every packet between agents and controller with a TCP reset.
    pub(crate) fn reset(self) -> anyhow::Result<()> {
        let mut nodes = vec![(CONTROLLER, "dport")];
        nodes.extend(PLACES.map(|(node, _)| (node, "sport")));
        for (node, end) in nodes {
            let mut rules = without("inet");
            rules.push_str("table inet weir_faults {\ncounter resets { }\n");
            let mut attempts = String::new();
            for (agent, (_, exchange)) in AGENTS.iter().zip(PLACES) {
                writeln!(rules, "counter {agent} {{ }}")?;
                if node == CONTROLLER {
                    let interface = self.interface(CONTROLLER, exchange)?;
                    writeln!(
                        attempts,
                        "iifname \"{interface}\" tcp dport {PORT} tcp flags & (syn | ack) == syn \
                         counter name {agent}"
                    )?;
                }
            }
            // A reset of the other side has to arrive.
            write!(
                rules,
                "chain arriving {{ type filter hook input priority 0;\n{attempts}\
                 tcp {end} {PORT} tcp flags & rst == 0 counter name resets reject with tcp reset\n\
                 }}\n}}\n"
            )?;
            self.nft(node, &rules)?;
        }
        Ok(())
    }

    /// How often each agent has tried to connect since [`reset`](Self::reset).
    pub(crate) fn attempts(self) -> anyhow::Result<[u64; 2]> {
        let of = |agent| self.counter(CONTROLLER, "inet", agent);
        Ok([of(AGENTS[0])?, of(AGENTS[1])?])
    }

    /// No resets any more; how many there were.
    pub(crate) fn no_reset(self) -> anyhow::Result<u64> {
        let mut resets = 0;
        for node in PLACES.map(|(node, _)| node).into_iter().chain([CONTROLLER]) {
            resets += self.counter(node, "inet", "resets")?;
            self.nft(node, &without("inet"))?;
        }
        Ok(resets)
    }

    /// Pulls the cables of the agents.
    pub(crate) fn unplug(self) -> anyhow::Result<()> {
        for (node, exchange) in PLACES {
            self.0.cut(&format!("{node}@{exchange}"))?;
        }
        Ok(())
    }

    /// Puts the cables in again.
    pub(crate) fn plug_in(self) -> anyhow::Result<()> {
        for (node, exchange) in PLACES {
            self.0.heal(&format!("{node}@{exchange}"))?;
        }
        Ok(())
    }

    /// How often the agents have seen their carrier go.
    pub(crate) fn carrier_losses(self) -> anyhow::Result<u64> {
        self.sum("carrier_down_count")
    }

    /// Limits the links of the agents in both directions, or no longer.
    pub(crate) fn limit(self, rate: Option<Rate>) -> anyhow::Result<()> {
        for (node, exchange) in PLACES {
            let shape = rate.map(|rate| Shape::new(rate).burst(2_000).limit(24_000));
            self.0.shape(&format!("{node}@{exchange}"), shape)?;
        }
        Ok(())
    }

    /// Bytes that the agents have sent towards the controller.
    pub(crate) fn sent_bytes(self) -> anyhow::Result<u64> {
        self.sum("statistics/tx_bytes")
    }

    /// Deletes the links of the agents: no end of a connection hears of it.
    pub(crate) fn delete(self) -> anyhow::Result<()> {
        for (node, exchange) in PLACES {
            let port = self.port(node, exchange)?;
            Self::ip(&["-n", &self.0.namespace(exchange)?, "link", "delete", &port])?;
        }
        Ok(())
    }

    /// Makes them again as they were.
    pub(crate) fn make(self) -> anyhow::Result<()> {
        let network = self.0.network();
        for (node, exchange) in PLACES {
            let (port, interface) = (self.port(node, exchange)?, self.interface(node, exchange)?);
            let (here, there) = (self.0.namespace(node)?, self.0.namespace(exchange)?);
            let known = network.node(node)?;
            let own = known.interfaces.iter().find(|own| own.name == interface);
            let own = own.and_then(|own| own.addresses);
            let own = own.context("a link with addresses")?;
            let (v4, v6) = (
                format!("{}/{}", own.v4, own.v4_length),
                format!("{}/64", own.v6),
            );
            let pair = format!(
                "link add name {interface} netns {here} gso_max_segs 1 type veth peer name {port} \
                 netns {there} gso_max_segs 1"
            );
            Self::ip(&pair.split(' ').collect::<Vec<_>>())?;
            let at = |namespace: &str, line: &str| {
                let words = ["-n", namespace].into_iter().chain(line.split(' '));
                Self::ip(&words.collect::<Vec<_>>())
            };
            at(&there, &format!("link set {port} master ix up"))?;
            at(&here, &format!("link set {interface} up"))?;
            at(&here, &format!("address add {v4} dev {interface}"))?;
            at(&here, &format!("address add {v6} dev {interface} nodad"))?;
            for route in &known.routes {
                let (to, length, via) = (route.destination, route.length, route.via);
                at(&here, &format!("route replace {to}/{length} via {via}"))?;
            }
        }
        Ok(())
    }

    /// Connections between agents and controller that are open at one of both ends.
    pub(crate) fn connections(self) -> anyhow::Result<usize> {
        let port = format!(":{PORT:04X}");
        let mut open = 0;
        for node in PLACES.map(|(node, _)| node).into_iter().chain([CONTROLLER]) {
            let table = self.read(node, "/proc/net/tcp")?;
            let lines = table.lines().skip(1).filter(|line| {
                let columns: Vec<&str> = line.split_whitespace().collect();
                let at = |column: usize| columns.get(column).copied().unwrap_or_default();
                at(3) == ESTABLISHED && (at(1).ends_with(&port) || at(2).ends_with(&port))
            });
            open += lines.count();
        }
        Ok(open)
    }

    /// The port of an exchange to which a node is joined.
    fn port(self, node: &str, exchange: &str) -> anyhow::Result<String> {
        let link = self.0.network().link(&format!("{node}@{exchange}"))?;
        Ok(link.far.interface.clone())
    }

    /// The interface of a node that leads to an exchange.
    fn interface(self, node: &str, exchange: &str) -> anyhow::Result<String> {
        let link = self.0.network().link(&format!("{node}@{exchange}"))?;
        Ok(link.near.interface.clone())
    }

    /// A number that the kernel tells of the agents' interfaces.
    fn sum(self, file: &str) -> anyhow::Result<u64> {
        let mut sum = 0;
        for (node, exchange) in PLACES {
            let interface = self.interface(node, exchange)?;
            let text = self.read(node, &format!("/sys/class/net/{interface}/{file}"))?;
            sum += text
                .trim()
                .parse::<u64>()
                .context("a count of the kernel")?;
        }
        Ok(sum)
    }

    fn read(self, node: &str, path: &str) -> anyhow::Result<String> {
        let output = self.0.command(node, "cat")?.arg(path).output()?;
        ensure!(output.status.success(), "read {path} in {node}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn ip(words: &[&str]) -> anyhow::Result<()> {
        let output = Command::new("ip").args(words).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ip {words:?}: {}", said.trim());
        Ok(())
    }

    fn nft(self, node: &str, rules: &str) -> anyhow::Result<()> {
        let mut nft = self.0.command(node, "nft")?;
        let mut nft = nft
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start nft (Debian package nftables)")?;
        let mut pipe = nft.stdin.take().context("a pipe")?;
        pipe.write_all(rules.as_bytes())?;
        drop(pipe);
        let output = nft.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "nft in {node}: {said}\n{rules}");
        Ok(())
    }

    /// Packets of a named counter.
    fn counter(self, node: &str, family: &str, name: &str) -> anyhow::Result<u64> {
        let mut nft = self.0.command(node, "nft")?;
        nft.args(["-j", "list", "counters", "table", family, "weir_faults"]);
        let output = nft.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "nft in {node}: {said}");
        let listed: Value = serde_json::from_slice(&output.stdout)?;
        let objects = listed["nftables"].as_array().context("a list of nft")?;
        let mut counters = objects.iter().map(|object| &object["counter"]);
        let found = counters.find(|counter| counter["name"] == name);
        let packets = found.and_then(|counter| counter["packets"].as_u64());
        packets.with_context(|| format!("counter {name} in {node}: {listed}"))
    }
}

/// Rules that take ours away, whether they are there or not.
fn without(family: &str) -> String {
    format!("table {family} weir_faults {{ }}\ndelete table {family} weir_faults\n")
}
