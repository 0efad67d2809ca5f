//! What a check found: pairs, then hosts.

use serde_json::{Value, json};
use weir_experiment::analysis::floor::{Figures, Floor, RESOLUTION};
use weir_experiment::distortion::{self, Distortion, Link, TokenBucket};
use weir_proto::controller::v1::Agent;
use weir_proto::types::v1::{self as pb, Interface};

use super::figure::{time_in, time_unit};
use super::table::{Align, Table};
use super::text::printable;

/// Name of the document's schema.
const SCHEMA: &str = "weir.check/1";
/// What is not known.
const NONE: &str = "-";

/// What a check found.
#[derive(Debug)]
pub(crate) struct Found {
    /// One of each pair.
    pub(crate) floors: Vec<Floor>,
    /// Those that took part, as they are afterwards.
    pub(crate) agents: Vec<Agent>,
}

impl Found {
    fn distortions(&self) -> Vec<Distortion> {
        let interfaces = interfaces(&self.agents);
        let of = |host: &Host<'_>| distortion::of(host.name, &host.link());
        interfaces.iter().flat_map(of).collect()
    }
}

/// The document.
pub(crate) fn document(found: &Found) -> Value {
    let distortions = found.distortions();
    json!({
        "schema": SCHEMA,
        "pairs": found.floors,
        "hosts": interfaces(&found.agents).into_iter().map(|host| json!({
            "host": host.name,
            "interface": host.interface.name,
            "driver": host.interface.driver,
            "qdisc": host.interface.qdisc,
            "qdiscs": host.interface.qdiscs,
            "offloads": host.interface.offloads,
            "mtu": host.interface.mtu,
            "gso": host.gso,
            "gro": host.gro,
            "distorts": host.is_among(&distortions),
        })).collect::<Vec<_>>(),
        "distortions": distortions,
    })
}

/// The tables.
pub(crate) fn lines(found: &Found) -> Vec<String> {
    let mut pairs = Table::new([
        ("from -> to", Align::Left),
        ("clock", Align::Left),
        ("delay p50", Align::Right),
        ("p99", Align::Right),
        ("", Align::Left),
        ("lateness p50", Align::Right),
        ("p99", Align::Right),
        ("", Align::Left),
        ("single pkt/s", Align::Right),
        ("beyond", Align::Left),
        ("hosts pkt/s", Align::Right),
        ("run", Align::Left),
    ]);
    for floor in &found.floors {
        let [delay_p50, delay_p99, delay_unit] = figures(floor.delay_us);
        let [late_p50, late_p99, late_unit] = figures(floor.lateness_us);
        pairs.row([
            format!("{} -> {}", floor.from, floor.to),
            floor.clock.clone().unwrap_or(NONE.to_owned()),
            delay_p50,
            delay_p99,
            delay_unit,
            late_p50,
            late_p99,
            late_unit,
            rate(floor.single_pps),
            beyond(floor),
            rate(floor.hosts_pps),
            floor.run.clone(),
        ]);
    }
    let mut table = Table::new([
        ("host", Align::Left),
        ("interface", Align::Left),
        ("qdisc", Align::Left),
        ("mtu", Align::Right),
        ("gso", Align::Left),
        ("gro", Align::Left),
        ("notes", Align::Left),
    ]);
    let distortions = found.distortions();
    for host in interfaces(&found.agents) {
        let word = |has: bool| if has { "yes" } else { "no" };
        let mut codes: Vec<&str> = host.of(&distortions).map(|each| each.code).collect();
        codes.dedup();
        table.row([
            host.name,
            &host.interface.name,
            &host.interface.qdisc,
            &host.interface.mtu.to_string(),
            word(host.gso),
            word(host.gro),
            &codes.join(" "),
        ]);
    }
    let mut lines = pairs.lines();
    lines.extend(table.lines());
    for each in &distortions {
        lines.push(printable(&format!(
            "{} {}: {}; {}",
            each.host, each.interface, each.text, each.fix
        )));
    }
    lines.push(format!(
        "single pkt/s: the largest rate tried of which no datagram, each alone, was lost; beyond: the next one tried, at most {:.0} % above it",
        (RESOLUTION - 1.0) * 1e2
    ));
    lines.push(
        "hosts pkt/s: the same but for loss in the network; gso = \"auto\" sends singly up to it"
            .to_owned(),
    );
    lines
}

fn rate(pps: Option<f64>) -> String {
    pps.map_or(NONE.to_owned(), |pps| format!("{pps:.0}"))
}

fn figures(of: Option<Figures>) -> [String; 3] {
    let Some(of) = of else {
        return [NONE.to_owned(), NONE.to_owned(), String::new()];
    };
    let (name, unit) = time_unit(of.p99);
    [
        time_in(of.p50, unit),
        time_in(of.p99, unit),
        name.to_owned(),
    ]
}

/// What ended the search.
fn beyond(floor: &Floor) -> String {
    let Some(beyond) = floor.beyond else {
        return "none lost at the highest rate".to_owned();
    };
    let places = beyond.lost.map_or_else(Vec::new, |lost| {
        [
            ("sender", lost.sender),
            ("network", lost.network),
            ("receiver", lost.receiver),
        ]
        .into_iter()
        .filter_map(|(place, count)| {
            let count = count.filter(|&count| count > 0)?;
            Some(format!("{place} {count}"))
        })
        .collect()
    });
    let lost = if places.is_empty() {
        "incomplete".to_owned()
    } else {
        format!("lost {}", places.join(", "))
    };
    format!("at {:.0}: {lost}", beyond.pps)
}

/// One interface of a host.
struct Host<'a> {
    name: &'a str,
    interface: &'a Interface,
    gso: bool,
    gro: bool,
}

impl Host<'_> {
    fn link(&self) -> Link {
        let interface = self.interface;
        let bucket = |bucket: &pb::TokenBucket| TokenBucket {
            interface: interface.name.clone(),
            place: bucket.place.clone(),
            rate_bytes: bucket.rate_bytes,
            burst_bytes: bucket.burst_bytes,
            limit_bytes: bucket.limit_bytes,
        };
        Link {
            name: interface.name.clone(),
            mtu: interface.mtu,
            driver: interface.driver.clone(),
            qdiscs: interface.qdiscs.clone(),
            buckets: interface.token_buckets.iter().map(bucket).collect(),
            offloads: interface.offloads.clone(),
        }
    }

    fn of<'d>(&self, all: &'d [Distortion]) -> impl Iterator<Item = &'d Distortion> {
        let (host, interface) = (self.name, self.interface.name.as_str());
        all.iter()
            .filter(move |each| each.host == host && each.interface == interface)
    }

    fn is_among(&self, all: &[Distortion]) -> bool {
        self.of(all).next().is_some()
    }
}

/// The interfaces that have an address beside loopback's.
fn interfaces(agents: &[Agent]) -> Vec<Host<'_>> {
    let mut hosts = Vec::new();
    for agent in agents.iter().filter(|agent| agent.state == "alive") {
        let Some(inventory) = &agent.inventory else {
            continue;
        };
        let interfaces = inventory.interfaces.iter();
        for interface in
            interfaces.filter(|interface| interface.name != "lo" && !interface.addresses.is_empty())
        {
            hosts.push(Host {
                name: &agent.name,
                interface,
                gso: inventory.gso,
                gro: inventory.gro,
            });
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    use weir_experiment::analysis::document::Lost;
    use weir_experiment::analysis::floor::Beyond;
    use weir_proto::types::v1::Inventory;

    use super::*;

    fn floor() -> Floor {
        Floor {
            run: "r-0003".to_owned(),
            from: "a".to_owned(),
            to: "b".to_owned(),
            clock: Some("same-kernel".to_owned()),
            delay_us: Some(Figures {
                p50: 7.0,
                p99: 20.0,
            }),
            lateness_us: None,
            single_pps: Some(80_000.0),
            hosts_pps: Some(130_000.0),
            refined_by: vec!["r-0004".to_owned()],
            beyond: Some(Beyond {
                pps: 87_200.0,
                lost: Some(Lost {
                    sender: Some(5),
                    network: Some(0),
                    receiver: Some(2),
                }),
            }),
        }
    }

    /// A host with a tbf of this burst, or without one.
    fn agent(burst_bytes: Option<u64>) -> Agent {
        let interface = |name: &str| Interface {
            name: name.to_owned(),
            addresses: vec!["10.0.0.1/24".to_owned()],
            mtu: 1500,
            qdisc: "noqueue".to_owned(),
            state: "up".to_owned(),
            ..Interface::default()
        };
        let mut eth0 = interface("eth0");
        if let Some(burst_bytes) = burst_bytes {
            eth0.qdisc = "tbf".to_owned();
            eth0.qdiscs = vec!["tbf 1: root".to_owned()];
            eth0.token_buckets = vec![pb::TokenBucket {
                place: "1: root".to_owned(),
                rate_bytes: 1_250_000,
                burst_bytes,
                limit_bytes: 30_000,
            }];
        }
        Agent {
            name: "a".to_owned(),
            state: "alive".to_owned(),
            inventory: Some(Inventory {
                interfaces: vec![interface("lo"), eth0],
                gso: true,
                ..Inventory::default()
            }),
            ..Agent::default()
        }
    }

    fn found(burst_bytes: Option<u64>) -> Found {
        Found {
            floors: vec![floor()],
            agents: vec![agent(burst_bytes)],
        }
    }

    #[test]
    fn pairs_and_hosts_have_a_table_each() {
        let told = lines(&found(Some(1_000)));
        assert_eq!(told.len(), 8, "{told:#?}");
        assert!(
            told[1].contains("80000  at 87200: lost sender 5, receiver 2"),
            "{told:#?}"
        );
        assert!(told[1].ends_with("130000  r-0003"), "{told:#?}");
        assert!(
            told[3].starts_with("a     eth0       tbf    1500  yes  no   tbf-below-packet shaped")
        );
        assert!(
            told[4].starts_with("a eth0: tbf 1: root has a burst of 1000 B"),
            "{told:#?}"
        );
        assert!(told[4].contains("at least 1514 B"), "{told:#?}");
        assert!(
            told[5].starts_with("a eth0: tbf (1: root) shapes"),
            "{told:#?}"
        );
        assert!(told[6].contains("at most 10 % above"), "{told:#?}");
        let still = lines(&found(None));
        assert_eq!(still.len(), 6, "{still:#?}");
    }

    #[test]
    fn the_document_has_every_figure() {
        let told = document(&found(Some(1_000)));
        assert_eq!(told["schema"], SCHEMA);
        assert_eq!(told["pairs"][0]["single_pps"], 80_000.0);
        assert_eq!(told["pairs"][0]["hosts_pps"], 130_000.0);
        assert_eq!(told["hosts"][0]["distorts"], true);
        assert_eq!(told["distortions"][0]["code"], "tbf-below-packet");
        assert_eq!(told["distortions"][0]["interface"], "eth0");
        assert_eq!(document(&found(None))["hosts"][0]["distorts"], false);
    }
}
