use proptest::prelude::*;

use super::*;
use crate::{Direction, Topology, TopologyError};

fn seed() -> Topology {
    Topology::new("demo")
        .exchange("ix100")
        .asn(150, |a| a.join("ix100").host("iperf-generator"))
        .asn(162, |a| a.join("ix100").host("iperf-receiver-1"))
        .asn(171, |a| a.join("ix100").host("iperf-receiver-2"))
}

fn routes_of(network: &Network, node: &str) -> Vec<String> {
    let routes = &network.node(node).unwrap().routes;
    let v4 = routes.iter().filter(|route| route.via.is_ipv4());
    v4.map(|route| format!("{}/{} {}", route.destination, route.length, route.via))
        .collect()
}

#[test]
fn seeds_first_example() {
    let network = seed().resolve().unwrap();
    let names: Vec<&str> = network
        .nodes()
        .iter()
        .map(|node| node.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "ix100",
            "150-router",
            "150-iperf-generator",
            "162-router",
            "162-iperf-receiver-1",
            "171-router",
            "171-iperf-receiver-2"
        ]
    );
    assert_eq!(
        network.address("150-iperf-generator").unwrap().to_string(),
        "10.150.0.71"
    );
    assert_eq!(
        network.address("171-router").unwrap().to_string(),
        "10.171.0.254"
    );
    assert!(network.address("ix100").is_err());
    assert_eq!(
        routes_of(&network, "150-iperf-generator"),
        ["0.0.0.0/0 10.150.0.254"]
    );
    assert_eq!(
        routes_of(&network, "150-router"),
        ["10.162.0.0/24 10.100.0.162", "10.171.0.0/24 10.100.0.171"]
    );
    let labels = network.labels("162-iperf-receiver-1").unwrap();
    assert_eq!(labels["asn"], "162");
    assert_eq!(labels["node"], "iperf-receiver-1");
    assert_eq!(labels["role"], "host");
    assert_eq!(network.hosts().count(), 3);
}

#[test]
fn unknown_names_list_the_known() {
    let network = seed().resolve().unwrap();
    let error = network.address("150-iperf").unwrap_err().to_string();
    assert!(error.contains("150-iperf-generator"), "{error}");
    let error = network.link("nowhere").unwrap_err().to_string();
    assert!(error.contains("171-router@ix100"), "{error}");
}

#[test]
fn several_routers_share_the_lan() {
    let network = Topology::new("two")
        .exchange("ix100")
        .exchange("ix101")
        .asn(2, |a| {
            a.router("r100").join("ix100").router("r101").join("ix101")
        })
        .asn(150, |a| a.join("ix100").host("h"))
        .asn(160, |a| a.join("ix101").host("h"))
        .resolve()
        .unwrap();
    assert_eq!(network.address("2-r101").unwrap().to_string(), "10.2.0.253");
    let routes = routes_of(&network, "150-router");
    assert!(
        routes.contains(&"10.160.0.0/24 10.100.0.2".to_owned()),
        "{routes:?}"
    );
    let routes = routes_of(&network, "2-r100");
    assert!(
        routes.contains(&"10.160.0.0/24 10.2.0.253".to_owned()),
        "{routes:?}"
    );
}

#[test]
fn takes_the_shortest_way() {
    let network = Topology::new("ring")
        .asn(1, |a| a.host("h"))
        .asn(2, |a| a)
        .asn(3, |a| a)
        .asn(4, |a| a.host("h"))
        .link(1, 2)
        .link(2, 3)
        .link(3, 4)
        .link("1-router", "4-router")
        .resolve()
        .unwrap();
    // Link 3 joins AS 1 and AS 4: 10.0.0.12/30.
    assert!(routes_of(&network, "1-router").contains(&"10.4.0.0/24 10.0.0.14".to_owned()));
    assert!(routes_of(&network, "4-router").contains(&"10.1.0.0/24 10.0.0.13".to_owned()));
    assert!(network.link("1-router--4-router").is_ok());
}

#[test]
fn limits_and_losses_reach_the_right_ends() {
    let network = seed()
        .asn(180, |a| {
            a.host("h").access(Shape::mbit(50).towards(Direction::Out))
        })
        .asn(181, |a| a.access(Shape::mbit(5)))
        .link(180, 150)
        .link(180, 181)
        .shape("150-iperf-generator", Shape::mbit(7).towards(Direction::In))
        .loss("171-router@ix100", Loss::percent(3).towards(Direction::Out))
        .resolve()
        .unwrap();
    let rate = |end: &End| {
        end.shape
            .map(|shape| shape.rate().bits_per_second() / 1_000_000)
    };
    let link = |name: &str| network.link(name).unwrap();
    let access = link("180-router--150-router");
    assert_eq!((rate(&access.near), rate(&access.far)), (Some(50), None));
    // The other AS limits both directions to less.
    let shared = link("180-router--181-router");
    assert_eq!((rate(&shared.near), rate(&shared.far)), (Some(5), Some(5)));
    let host = link("150-iperf-generator");
    assert_eq!((rate(&host.near), rate(&host.far)), (None, Some(7)));
    let lossy = link("171-router@ix100");
    assert_eq!(lossy.far.loss.map(|loss| loss.parts()), Some(300));
    assert_eq!(lossy.near.loss, None);
    let access: Vec<&str> = network
        .access_links(180)
        .map(|link| link.name.as_str())
        .collect();
    assert_eq!(access, ["180-router--150-router", "180-router--181-router"]);
}

/// Each wrong topology and words that its error must hold.
#[test]
fn errors_name_the_object_and_the_way_out() {
    let new = || Topology::new("lab");
    let cases: Vec<(Topology, &[&str])> = vec![
        (Topology::new("a b"), &["lab name \"a b\"", "letters"]),
        (Topology::new(""), &["1 to 32"]),
        (
            new().asn(1, |a| a.host("x;reboot")),
            &["host name", "x;reboot"],
        ),
        (new().asn(1, |a| a.host("x").host("x")), &["1-x", "twice"]),
        (new().asn(1, |a| a).asn(1, |a| a), &["AS 1", "twice"]),
        (
            new().asn(1, |a| a.join("ix7")),
            &["1-router", "ix7", "there is: none"],
        ),
        (
            new().exchange("ix100").exchange("ix100"),
            &["ix100", "twice"],
        ),
        (new().exchange("paris"), &["paris", "exchange_at"]),
        (new().exchange_at("paris", "10.1.0.0/16"), &["paris", "/24"]),
        (
            new().exchange("ix150").asn(150, |a| a),
            &["exchange ix150", "AS 150", "10.150.0.0/24"],
        ),
        (new().asn(0, |a| a), &["AS 0", "lan("]),
        (new().asn(64_512, |a| a), &["AS 64512", "lan("]),
        (new().asn(64_512, |a| a.lan("x")), &["AS 64512", "\"x\""]),
        (new().asn(1, |a| a.hosts("h", 130)), &["AS 1", "129 hosts"]),
        (new().asn(1, |a| a).asn(2, |a| a), &["AS 2 reaches no AS 1"]),
        (new().asn(1, |a| a).link(1, 1), &["1-router", "itself"]),
        (
            new().asn(1, |a| a).asn(2, |a| a).link(1, 2).link(2, 1),
            &["2-router--1-router", "twice"],
        ),
        (new().asn(1, |a| a).link(1, 9), &["of AS 9", "1-router"]),
        (
            new().asn(1, |a| a).shape("up", Shape::mbit(1)),
            &["no link up"],
        ),
        (
            new().asn(1, |a| a.host("h")).loss("1-x", Loss::percent(1)),
            &["no link 1-x", "1-h"],
        ),
        (
            new().asn(1, |a| a.host("h")).shape("1-h", Shape::mbit(0)),
            &["1-h", "rate"],
        ),
        (
            new()
                .exchange("ix9")
                .asn(1, |a| a.router("a").join("ix9").router("b").join("ix9")),
            &["AS 1 joins exchange ix9 twice"],
        ),
        (
            new()
                .exchange("ix9")
                .asn(1, |a| a.join("ix9").access(Shape::mbit(1).burst(9))),
            &["1-router@ix9", "burst of 9 B"],
        ),
    ];
    for (topology, words) in cases {
        let error = topology.resolve().unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "{word:?} is not in: {error}");
        }
    }
}

/// A random lab: a chain of ASes, some at exchanges, some by direct links.
fn topologies() -> impl Strategy<Value = Topology> {
    let system = (1_usize..4, 0_usize..5, any::<bool>());
    proptest::collection::vec(system, 1..12).prop_map(|systems| {
        let mut topology = Topology::new("any")
            .exchange("ix200")
            .exchange_at("far", "10.201.0.0/24");
        for (index, (routers, hosts, at_exchange)) in systems.iter().enumerate() {
            let asn = if index % 3 == 2 {
                65_000 + index as u32
            } else {
                1 + index as u32
            };
            topology = topology.asn(asn, |mut a| {
                if asn > 254 {
                    a = a.lan(&format!("10.{}.7.0/24", 100 + index));
                }
                for router in 0..*routers {
                    a = a.router(&format!("a-quite-long-router-name-{router}"));
                }
                if *at_exchange {
                    a = a.join(if index % 2 == 0 { "ix200" } else { "far" });
                }
                a.hosts("h", *hosts)
            });
            if index > 0 {
                let before = index as u32 - 1;
                let before = if before % 3 == 2 {
                    65_000 + before
                } else {
                    1 + before
                };
                topology = topology.link(before, asn);
            }
        }
        topology
    })
}

/// Follows routes hop by hop from a node to an address, as the kernel would.
fn walk(network: &Network, from: &str, to: IpAddr) -> Result<usize, String> {
    let holds = |node: &Node, address: IpAddr| {
        node.interfaces
            .iter()
            .filter_map(|interface| interface.addresses)
            .any(|at| address == IpAddr::V4(at.v4) || address == IpAddr::V6(at.v6))
    };
    let mut node = network.node(from).unwrap();
    for hops in 0..64 {
        if holds(node, to) {
            return Ok(hops);
        }
        let connected = node
            .interfaces
            .iter()
            .filter_map(|interface| interface.addresses)
            .any(|at| covers(at.v4.into(), at.v4_length, to) || covers(at.v6.into(), 64, to));
        let next = if connected {
            to
        } else {
            let route = node
                .routes
                .iter()
                .filter(|route| covers(route.destination, route.length, to))
                .max_by_key(|route| route.length);
            route
                .ok_or(format!("{} has no route to {to}", node.name))?
                .via
        };
        node = network
            .nodes()
            .iter()
            .find(|node| holds(node, next))
            .ok_or(format!("nobody has {next}"))?;
    }
    Err(format!("a loop from {from} to {to}"))
}

fn covers(network: IpAddr, length: u8, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            length == 0 || (u32::from(network) ^ u32::from(address)) >> (32 - length) == 0
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            length == 0 || (u128::from(network) ^ u128::from(address)) >> (128 - length) == 0
        }
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_host_reaches_every_other(topology in topologies()) {
        let network = topology.resolve().unwrap();
        for from in network.hosts() {
            for to in network.hosts() {
                let at = to.addresses().unwrap();
                let v4 = walk(&network, &from.name, at.v4.into());
                prop_assert!(v4.is_ok(), "{v4:?}");
                // Both families take the same way.
                prop_assert_eq!(v4, walk(&network, &from.name, at.v6.into()));
            }
        }
    }

    #[test]
    fn the_invariants_of_a_network_hold(topology in topologies()) {
        let network = topology.resolve().unwrap();
        let mut addresses = std::collections::BTreeSet::new();
        for node in network.nodes() {
            let mut names = std::collections::BTreeSet::new();
            for interface in &node.interfaces {
                prop_assert!(interface.name.len() <= 15);
                prop_assert!(names.insert(&interface.name));
                if let Some(at) = interface.addresses {
                    prop_assert!(addresses.insert(IpAddr::from(at.v4)), "{}", at.v4);
                    prop_assert!(addresses.insert(IpAddr::from(at.v6)), "{}", at.v6);
                }
            }
        }
        for link in network.links() {
            for end in link.ends() {
                let node = &network.nodes()[end.node];
                prop_assert!(node.interfaces.iter().any(|known| known.name == end.interface));
            }
        }
        prop_assert_eq!(&network, &topology.resolve().unwrap());
    }

    #[test]
    fn any_declaration_gives_a_network_or_an_error(
        name in "\\PC{0,8}", asn in any::<u32>(), lan in proptest::option::of("\\PC{0,16}"), host in "\\PC{0,8}",
    ) {
        let topology = Topology::new(&name).exchange(&host).asn(asn, |a| {
            let a = a.join(&name).host(&host);
            match &lan { Some(lan) => a.lan(lan), None => a }
        });
        let _: Result<Network, TopologyError> = topology.resolve();
    }
}
