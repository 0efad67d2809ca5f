//! From a network to the commands that build it, change it and take it down.
//! Pure: the same network gives the same commands.
//!
//! Few programs are started, each with many lines on its standard input:
//! `ip -batch`, `tc -batch`, `nft -f`, and one `sh` per namespace for the
//! sysctls. Interfaces are made directly between named namespaces, so the
//! namespace of the caller is never touched.

mod netfilter;

use std::fmt;
use std::fmt::Write as _;

use crate::network::{End, Interface, InterfaceKind, Link, Network, Node, Role, Route};
use crate::{Discipline, Shape};

pub(crate) use netfilter::{COUNT_TABLE, MISSED_COUNTER};

/// A program that a plan uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    /// `ip -batch -`, stopping at the first error.
    Ip,
    /// `ip -force -batch -`, going on after errors.
    IpForce,
    /// `tc -batch -`.
    Tc,
    /// `nft -f -`.
    Nft,
    /// `sh -e`.
    Sh,
}

/// One program run: what to start, where, and its standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The program.
    pub tool: Tool,
    /// The namespace to act in; `None`: that of the caller.
    pub namespace: Option<String>,
    /// The standard input.
    pub input: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = match self.tool {
            Tool::Ip => "ip -batch",
            Tool::IpForce => "ip -force -batch",
            Tool::Tc => "tc -batch",
            Tool::Nft => "nft -f",
            Tool::Sh => "sh",
        };
        match &self.namespace {
            Some(namespace) => write!(f, "{line} in {namespace}"),
            None => f.write_str(line),
        }
    }
}

/// The steps of one operation, in order.
pub type Plan = Vec<Step>;

/// The names of a lab's namespaces: `PREFIX.NODE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespaces {
    prefix: String,
}

impl Namespaces {
    /// Namespaces that begin with `prefix`, unique to one lab.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
        }
    }

    /// The prefix.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The namespace of a node.
    pub fn of(&self, node: &Node) -> String {
        format!("{}.{}", self.prefix, node.name)
    }

    /// Builds the network:
    /// 1. the namespaces, so that their settings precede their interfaces,
    /// 2. forwarding on, filters and duplicate address detection off,
    /// 3. the veth pairs,
    /// 4. bridges and addresses everywhere,
    /// 5. a wait for the kernel to see every carrier, since it drops packets
    ///    until then,
    /// 6. routes, whose next hops are reachable now,
    /// 7. rate limits, then loss and counters, where asked for.
    pub fn up(&self, network: &Network) -> Plan {
        let mut plan = vec![Self::lines(Tool::Ip, network, |node, lines| {
            line(lines, format_args!("netns add {}", self.of(node)));
        })];
        plan.extend(self.each(network, Tool::Sh, |_, node| settings(node)));
        plan.push(self.pairs(network));
        plan.extend(self.each(network, Tool::Ip, |_, node| devices(node)));
        plan.extend(self.each(network, Tool::Sh, |index, _| {
            let carriers: Vec<&str> = ends_at(network, index)
                .map(|end| end.interface.as_str())
                .collect();
            carrier_wait(&carriers)
        }));
        plan.extend(self.each(network, Tool::Ip, |_, node| routes(&node.routes)));
        plan.extend(self.each(network, Tool::Tc, |index, _| {
            let shapes = ends_at(network, index).filter_map(|end| Some((end, end.shape?)));
            shapes
                .map(|(end, shape)| shaped(&end.interface, shape))
                .collect()
        }));
        plan.extend(self.each(network, Tool::Nft, |index, node| {
            let mut rules: String = ends_at(network, index)
                .filter_map(|end| Some(netfilter::loss(&end.interface, end.loss?)))
                .collect();
            if network.count && node.role == Role::Host {
                rules.push_str(netfilter::COUNT_RULES);
            }
            rules
        }));
        plan
    }

    /// Removes the namespaces; interfaces vanish with them.
    pub fn down(&self, network: &Network) -> Plan {
        vec![Self::lines(Tool::IpForce, network, |node, lines| {
            line(lines, format_args!("netns delete {}", self.of(node)));
        })]
    }

    /// Cuts a link at its far end: the host or AS that it serves keeps its
    /// routes and addresses and sees the carrier go, as when a cable is pulled.
    pub fn cut(&self, network: &Network, link: &Link) -> Plan {
        let input = format!("link set {} down\n", link.far.interface);
        vec![self.step(network, &link.far, Tool::Ip, input)]
    }

    /// Heals a cut link. The kernel forgot routes and IPv6 addresses of the far
    /// end, so they are told again.
    pub fn heal(&self, network: &Network, link: &Link) -> Plan {
        let node = &network.nodes[link.far.node];
        let up = format!("link set {} up\n", link.far.interface);
        let mut plan = vec![self.step(network, &link.far, Tool::Ip, up)];
        for end in link.ends() {
            plan.push(self.step(network, end, Tool::Sh, carrier_wait(&[&end.interface])));
        }
        let far = node
            .interfaces
            .iter()
            .find(|known| known.name == link.far.interface);
        if let Some(interface) = far.filter(|far| far.kind == InterfaceKind::Plain) {
            let mut input = String::new();
            address(interface, &mut input);
            input.push_str(&routes(&node.routes));
            plan.push(self.step(network, &link.far, Tool::Ip, input));
        }
        plan
    }

    /// Replaces the rate limits of both ends by those of `link`.
    pub(crate) fn reshape(&self, network: &Network, link: &Link) -> Plan {
        let mut plan = Vec::new();
        for end in link.ends() {
            let interface = &end.interface;
            // Deleting what may not be there is an error for tc; replacing by
            // a plain FIFO first makes one sequence serve every case.
            let mut input = format!("qdisc replace dev {interface} root handle ffff: pfifo\n");
            let _ = writeln!(input, "qdisc del dev {interface} root");
            if let Some(shape) = end.shape {
                input.push_str(&shaped(interface, shape));
            }
            plan.push(self.step(network, end, Tool::Tc, input));
        }
        plan
    }

    /// Replaces the loss of both ends by that of `link`.
    pub(crate) fn reloss(&self, network: &Network, link: &Link) -> Plan {
        let ends = link.ends().into_iter();
        ends.map(|end| {
            let input = match end.loss {
                Some(loss) => netfilter::loss(&end.interface, loss),
                None => netfilter::no_loss(&end.interface),
            };
            self.step(network, end, Tool::Nft, input)
        })
        .collect()
    }

    /// Sets the counters of a host to nothing.
    pub(crate) fn forget_counts(&self, node: &Node) -> Plan {
        vec![Step {
            tool: Tool::Nft,
            namespace: Some(self.of(node)),
            input: netfilter::COUNT_RULES.to_owned(),
        }]
    }

    fn step(&self, network: &Network, end: &End, tool: Tool, input: String) -> Step {
        Step {
            tool,
            namespace: Some(self.of(&network.nodes[end.node])),
            input,
        }
    }

    /// One step in the caller's namespace with lines for every node.
    fn lines(tool: Tool, network: &Network, write: impl Fn(&Node, &mut String)) -> Step {
        let mut input = String::new();
        for node in &network.nodes {
            write(node, &mut input);
        }
        Step {
            tool,
            namespace: None,
            input,
        }
    }

    /// One step for each node that has something to say.
    fn each<'a>(
        &'a self,
        network: &'a Network,
        tool: Tool,
        input: impl Fn(usize, &Node) -> String + 'a,
    ) -> impl Iterator<Item = Step> + 'a {
        let steps = network
            .nodes
            .iter()
            .enumerate()
            .map(move |(index, node)| Step {
                tool,
                namespace: Some(self.of(node)),
                input: input(index, node),
            });
        steps.filter(|step| !step.input.is_empty())
    }

    fn pairs(&self, network: &Network) -> Step {
        // With one segment at most per packet, the stack cuts bundles before
        // they enter the link; no ethtool is needed.
        let bundles = if network.packet_by_packet {
            " gso_max_segs 1"
        } else {
            ""
        };
        let mut input = String::new();
        for link in &network.links {
            let [near, far] = link.ends().map(|end| {
                let namespace = self.of(&network.nodes[end.node]);
                format!("name {} netns {namespace}{bundles}", end.interface)
            });
            line(
                &mut input,
                format_args!("link add {near} type veth peer {far}"),
            );
        }
        Step {
            tool: Tool::Ip,
            namespace: None,
            input,
        }
    }
}

/// Sysctls of a node, as shell lines. What a kernel without IPv6 or without
/// bridge filtering does not have is passed over.
fn settings(node: &Node) -> String {
    let mut input = String::from("put() { if [ -e \"$2\" ]; then echo \"$1\" > \"$2\"; fi; }\n");
    let mut put = |value: &str, path: &str| {
        line(&mut input, format_args!("put {value} /proc/sys/net/{path}"));
    };
    // Static routes of a mesh may be asymmetric, which strict filters drop.
    put("0", "ipv4/conf/all/rp_filter");
    put("0", "ipv4/conf/default/rp_filter");
    // An address that is being checked for duplicates is not usable for 1-2 s.
    put("0", "ipv6/conf/all/accept_dad");
    put("0", "ipv6/conf/default/accept_dad");
    if node.role == Role::Router {
        put("1", "ipv4/ip_forward");
        put("1", "ipv6/conf/all/forwarding");
        // A host must not learn another router of its LAN than the plan's.
        put("0", "ipv4/conf/all/send_redirects");
        put("0", "ipv4/conf/default/send_redirects");
    }
    if has_bridge(node) {
        // Bridged frames are not to be seen by IP filters a second time.
        put("0", "bridge/bridge-nf-call-iptables");
        put("0", "bridge/bridge-nf-call-ip6tables");
        put("0", "bridge/bridge-nf-call-arptables");
    }
    input
}

/// Interfaces and addresses of a node, as lines of `ip`.
fn devices(node: &Node) -> String {
    let mut input = String::from("link set lo up\n");
    for interface in &node.interfaces {
        let name = &interface.name;
        match &interface.kind {
            InterfaceKind::Bridge => line(
                &mut input,
                format_args!(
                    "link add name {name} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
                ),
            ),
            InterfaceKind::Port { bridge } => {
                line(&mut input, format_args!("link set {name} master {bridge}"));
            }
            InterfaceKind::Plain => {}
        }
        line(&mut input, format_args!("link set {name} up"));
        address(interface, &mut input);
    }
    input
}

/// Waits until the kernel has seen the carriers of these interfaces, as shell
/// lines. It looks at them in a queue of its own, which lags behind while many
/// namespaces come and go.
fn carrier_wait(interfaces: &[&str]) -> String {
    if interfaces.is_empty() {
        return String::new();
    }
    format!(
        "for name in {}; do tries=0\n\
         until read state < /sys/class/net/$name/operstate && [ $state = up ]; do\n\
         tries=$((tries + 1))\n\
         if [ $tries -gt {CARRIER_TRIES} ]; then echo \"no carrier on $name\" >&2; exit 1; fi\n\
         sleep 0.01; done; done\n",
        interfaces.join(" ")
    )
}

/// At least 20 s, far beyond what a crowded kernel needs.
const CARRIER_TRIES: u32 = 2_000;

/// `replace`, so that healing may repeat what is still there.
fn address(interface: &Interface, input: &mut String) {
    let name = &interface.name;
    if let Some(at) = interface.addresses {
        line(
            input,
            format_args!("address replace {}/{} dev {name}", at.v4, at.v4_length),
        );
        line(
            input,
            format_args!("address replace {}/64 dev {name} nodad", at.v6),
        );
    }
}

fn routes(routes: &[Route]) -> String {
    let mut input = String::new();
    for route in routes {
        let Route {
            destination,
            length,
            via,
        } = route;
        line(
            &mut input,
            format_args!("route replace {destination}/{length} via {via}"),
        );
    }
    input
}

/// The discipline of one interface, as lines of `tc`.
fn shaped(interface: &str, shape: Shape) -> String {
    let rate = shape.rate().bits_per_second();
    let (burst, limit) = (shape.burst_bytes(), shape.limit_bytes());
    match shape.discipline() {
        Discipline::Tbf => format!(
            "qdisc add dev {interface} root handle 1: tbf rate {rate}bit burst {burst}b limit {limit}b\n"
        ),
        Discipline::Htb => format!(
            "qdisc add dev {interface} root handle 1: htb default 10\n\
             class add dev {interface} parent 1: classid 1:10 htb rate {rate}bit ceil {rate}bit burst {burst}b cburst {burst}b\n\
             qdisc add dev {interface} parent 1:10 handle 10: bfifo limit {limit}b\n"
        ),
    }
}

fn ends_at(network: &Network, node: usize) -> impl Iterator<Item = &End> {
    network
        .links
        .iter()
        .flat_map(|link| link.ends())
        .filter(move |end| end.node == node)
}

fn has_bridge(node: &Node) -> bool {
    node.interfaces
        .iter()
        .any(|interface| interface.kind == InterfaceKind::Bridge)
}

fn line(input: &mut String, words: fmt::Arguments<'_>) {
    writeln!(input, "{words}").expect("a String takes every write");
}

#[cfg(test)]
mod tests;
