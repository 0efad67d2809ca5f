//! What a check found: pairs, then hosts.

use serde_json::{Value, json};
use weir_experiment::analysis::floor::{Figures, Floor};
use weir_proto::controller::v1::Agent;

use super::figure::{time_in, time_unit};
use super::table::{Align, Table};

/// Name of the document's schema.
const SCHEMA: &str = "weir.check/1";
/// Queueing disciplines that delay, drop or limit by themselves.
const DISTORTING: [&str; 7] = ["netem", "tbf", "htb", "hfsc", "cake", "cbq", "red"];
/// What is not known.
const NONE: &str = "-";

/// The document.
pub(crate) fn document(floors: &[Floor], agents: &[Agent]) -> Value {
    json!({
        "schema": SCHEMA,
        "pairs": floors,
        "hosts": hosts(agents).into_iter().map(|host| json!({
            "host": host.name,
            "interface": host.interface,
            "qdisc": host.qdisc,
            "mtu": host.mtu,
            "gso": host.gso,
            "gro": host.gro,
            "distorts": host.distorts(),
        })).collect::<Vec<_>>(),
    })
}

/// The tables.
pub(crate) fn lines(floors: &[Floor], agents: &[Agent]) -> Vec<String> {
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
        ("run", Align::Left),
    ]);
    for floor in floors {
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
            floor
                .single_pps
                .map_or(NONE.to_owned(), |pps| format!("{pps:.0}")),
            beyond(floor),
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
    for host in hosts(agents) {
        let word = |has: bool| if has { "yes" } else { "no" };
        let note = if host.distorts() {
            "its queue delays, drops or limits: figures through it are its own"
        } else {
            ""
        };
        table.row([
            host.name,
            host.interface,
            host.qdisc,
            &host.mtu.to_string(),
            word(host.gso),
            word(host.gro),
            note,
        ]);
    }
    let mut lines = pairs.lines();
    lines.extend(table.lines());
    lines.push(
        "single pkt/s: the largest rate tried of which no datagram, each alone, was lost; gso = \"auto\" sends singly up to it"
            .to_owned(),
    );
    lines
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
    interface: &'a str,
    qdisc: &'a str,
    mtu: u32,
    gso: bool,
    gro: bool,
}

impl Host<'_> {
    fn distorts(&self) -> bool {
        DISTORTING.contains(&self.qdisc)
    }
}

/// The interfaces that have an address beside loopback's.
fn hosts(agents: &[Agent]) -> Vec<Host<'_>> {
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
                interface: &interface.name,
                qdisc: &interface.qdisc,
                mtu: interface.mtu,
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
    use weir_proto::types::v1::{Interface, Inventory};

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
            beyond: Some(Beyond {
                pps: 160_000.0,
                lost: Some(Lost {
                    sender: Some(5),
                    network: Some(0),
                    receiver: Some(2),
                }),
            }),
        }
    }

    fn agent(qdisc: &str) -> Agent {
        let interface = |name: &str, qdisc: &str| Interface {
            name: name.to_owned(),
            addresses: vec!["10.0.0.1/24".to_owned()],
            mtu: 1500,
            qdisc: qdisc.to_owned(),
            state: "up".to_owned(),
            ..Interface::default()
        };
        Agent {
            name: "a".to_owned(),
            state: "alive".to_owned(),
            inventory: Some(Inventory {
                interfaces: vec![interface("lo", "noqueue"), interface("eth0", qdisc)],
                gso: true,
                ..Inventory::default()
            }),
            ..Agent::default()
        }
    }

    #[test]
    fn pairs_and_hosts_have_a_table_each() {
        let lines = lines(&[floor()], &[agent("tbf")]);
        assert_eq!(lines.len(), 5, "{lines:#?}");
        assert!(lines[1].contains("80000  at 160000: lost sender 5, receiver 2  r-0003"));
        assert!(lines[3].starts_with("a     eth0       tbf    1500  yes  no   its queue"));
        let still = super::lines(&[floor()], &[agent("noqueue")]);
        assert!(!still[3].contains("its queue"));
    }

    #[test]
    fn the_document_has_every_figure() {
        let document = document(&[floor()], &[agent("netem")]);
        assert_eq!(document["schema"], SCHEMA);
        assert_eq!(document["pairs"][0]["single_pps"], 80_000.0);
        assert_eq!(document["hosts"][0]["distorts"], true);
    }
}
