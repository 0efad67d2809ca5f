//! A plan for people.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::figure::{RateUnit, length, number, rate};
use super::result::ROWS_MOST;
use super::table::{Align, Table};
use super::text::{Put, plural, printable};

/// So many hosts are shown; `--flows` shows all.
const HOSTS_MOST: usize = 24;

/// What is read of a document of schema "weir.plan/1".
#[derive(Debug, Deserialize)]
struct Plan {
    schema: String,
    campaign: String,
    question: Option<String>,
    seed: u64,
    interval_s: f64,
    wall_s: Wall,
    records: Records,
    phases: Vec<Phase>,
    hosts: Vec<Host>,
    flows: Vec<Flow>,
    load: Load,
    warnings: Vec<Warning>,
}

#[derive(Debug, Deserialize)]
struct Wall {
    least: f64,
    most: f64,
}

#[derive(Debug, Deserialize)]
struct Records {
    expected: u64,
    at_most: bool,
}

#[derive(Debug, Deserialize)]
struct Phase {
    #[serde(rename = "phase")]
    name: String,
    start_s: f64,
    for_s: f64,
    warmup_s: f64,
    flows: usize,
}

#[derive(Debug, Deserialize)]
struct Host {
    #[serde(rename = "host")]
    name: String,
    labels: BTreeMap<String, String>,
    addresses: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Flow {
    #[serde(rename = "flow")]
    number: u32,
    set: String,
    phase: Option<String>,
    from: String,
    to: String,
    transport: String,
    streams: u32,
    rate_bps: Value,
    rate_pps: Option<f64>,
    size: Option<u32>,
    /// The law of its spacing, where it is not constant.
    #[serde(default)]
    arrival: Option<String>,
    /// The law of its sizes, whose mean `size` is.
    #[serde(default)]
    size_law: Option<String>,
    dial: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Load {
    hosts: Vec<HostLoad>,
    kernels: Vec<KernelLoad>,
}

#[derive(Debug, Deserialize)]
struct HostLoad {
    host: String,
    tx: Peak,
    rx: Peak,
}

#[derive(Debug, Deserialize)]
struct KernelLoad {
    kernel: String,
    hosts: u32,
    cores: u32,
    peak: Peak,
}

#[derive(Debug, Default, Deserialize)]
struct Peak {
    bps: f64,
    pps: f64,
    flows: u32,
    unlimited: u32,
}

#[derive(Debug, Deserialize)]
struct Warning {
    code: String,
    text: String,
}

/// The plan in lines; `all` shows every flow and host.
///
/// # Errors
/// A sentence, when the document is not one that this version knows.
pub(crate) fn lines(document: &str, all: bool) -> Result<Vec<String>, String> {
    let plan: Plan = serde_json::from_str(document).map_err(|error| {
        format!("the controller's plan is not a weir.plan/1 document ({error}); --json prints it as it is")
    })?;
    if plan.schema != "weir.plan/1" {
        return Err(format!(
            "the controller's plan is a {} document; --json prints it as it is",
            plan.schema
        ));
    }
    let mut lines = head(&plan);
    lines.extend(phases(&plan));
    lines.extend(flows(&plan, all));
    lines.extend(hosts(&plan, all));
    for kernel in &plan.load.kernels {
        let cores = match kernel.cores {
            0 => String::new(),
            cores => format!(", {}", plural(cores as usize, "core")),
        };
        let name: String = printable(&kernel.kernel).chars().take(8).collect();
        let hosts = plural(kernel.hosts as usize, "host");
        lines.push(format!(
            "kernel {name}, {hosts}{cores}: at most {}",
            peak(&kernel.peak)
        ));
    }
    for warning in &plan.warnings {
        lines.push(format!(
            "warning ({}): {}",
            printable(&warning.code),
            printable(&warning.text)
        ));
    }
    Ok(lines)
}

fn head(plan: &Plan) -> Vec<String> {
    let mut lines = vec![format!(
        "plan of {}   {}, {}, {}",
        printable(&plan.campaign),
        plural(plan.phases.len(), "phase"),
        plural(plan.flows.len(), "flow"),
        plural(plan.hosts.len(), "host"),
    )];
    lines.extend(plan.question.as_deref().map(printable));
    let (least, most) = (length(plan.wall_s.least), length(plan.wall_s.most));
    let wall = if least == most {
        least
    } else {
        format!("{least} to {most} (settle)")
    };
    let most = if plan.records.at_most { "at most " } else { "" };
    lines.push(format!(
        "takes {wall} · {most}{} of {} · seed {}",
        plural(plan.records.expected as usize, "record"),
        length(plan.interval_s),
        plan.seed
    ));
    lines
}

fn phases(plan: &Plan) -> Vec<String> {
    let mut table = Table::new([
        ("phase", Align::Left),
        ("at", Align::Right),
        ("for", Align::Right),
        ("warm-up", Align::Right),
        ("flows", Align::Right),
    ]);
    for phase in &plan.phases {
        table.row([
            phase.name.clone(),
            length(phase.start_s),
            length(phase.for_s),
            if phase.warmup_s > 0.0 {
                length(phase.warmup_s)
            } else {
                "-".to_owned()
            },
            phase.flows.to_string(),
        ]);
    }
    table.lines()
}

fn flows(plan: &Plan, all: bool) -> Vec<String> {
    let unit = RateUnit::fitting(plan.flows.iter().filter_map(|flow| flow.rate_bps.as_f64()));
    let mut table = Table::new([
        ("phase".to_owned(), Align::Left),
        ("set".to_owned(), Align::Left),
        ("flow".to_owned(), Align::Right),
        ("from -> to".to_owned(), Align::Left),
        ("by".to_owned(), Align::Left),
        (unit.name().to_owned(), Align::Right),
        ("pkt/s".to_owned(), Align::Right),
        ("size B".to_owned(), Align::Right),
        ("streams".to_owned(), Align::Right),
        ("notes".to_owned(), Align::Left),
    ]);
    let shown = if all { plan.flows.len() } else { ROWS_MOST };
    for flow in plan.flows.iter().take(shown) {
        let dials = flow.dial.as_deref() == Some("to");
        table.row([
            flow.phase.clone().unwrap_or_default(),
            flow.set.clone(),
            flow.number.to_string(),
            format!("{} -> {}", flow.from, flow.to),
            flow.transport.clone(),
            flow.rate_bps
                .as_f64()
                .map_or("max".to_owned(), |rate| unit.show(rate)),
            flow.rate_pps.map_or("-".to_owned(), number),
            flow.size.map_or("-".to_owned(), |size| size.to_string()),
            flow.streams.to_string(),
            notes(flow, dials),
        ]);
    }
    let mut lines = table.lines();
    let hidden = plan.flows.len().saturating_sub(shown);
    if hidden > 0 {
        lines.push(format!(
            "and {} (--flows shows all)",
            plural(hidden, "more flow")
        ));
    }
    lines
}

/// What of a flow is not usual.
fn notes(flow: &Flow, dials: bool) -> String {
    let dials = dials.then(|| "receiver dials".to_owned());
    let arrival = flow.arrival.as_ref().map(|law| format!("arrival {law}"));
    let size = flow.size_law.as_ref().map(|law| format!("size {law}"));
    let notes: Vec<String> = [dials, arrival, size].into_iter().flatten().collect();
    notes.join("; ")
}

fn hosts(plan: &Plan, all: bool) -> Vec<String> {
    let nothing = Peak::default();
    let mut table = Table::new([
        ("host", Align::Left),
        ("labels", Align::Left),
        ("address", Align::Left),
        ("sends at most", Align::Left),
        ("receives at most", Align::Left),
    ]);
    let shown = if all { plan.hosts.len() } else { HOSTS_MOST };
    for host in plan.hosts.iter().take(shown) {
        let load = plan.load.hosts.iter().find(|load| load.host == host.name);
        let labels = host
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"));
        table.row([
            host.name.clone(),
            labels.collect::<Vec<_>>().join(" "),
            host.addresses.first().cloned().unwrap_or_default(),
            peak(load.map_or(&nothing, |load| &load.tx)),
            peak(load.map_or(&nothing, |load| &load.rx)),
        ]);
    }
    let mut lines = table.lines();
    let hidden = plan.hosts.len().saturating_sub(shown);
    if hidden > 0 {
        lines.push(format!(
            "and {} (--flows shows all)",
            plural(hidden, "more host")
        ));
    }
    lines
}

/// `20.00 Mbit/s + 2 max, 1785.71 pkt/s, 3 flows`.
fn peak(peak: &Peak) -> String {
    if peak.flows == 0 {
        return "-".to_owned();
    }
    let mut parts = Vec::new();
    if peak.bps > 0.0 {
        parts.push(rate(peak.bps));
    }
    if peak.unlimited > 0 {
        parts.push(format!(
            "{} at max",
            plural(peak.unlimited as usize, "flow")
        ));
    }
    let mut text = parts.join(" + ");
    if peak.pps > 0.0 {
        text.put(format_args!(", {} pkt/s", number(peak.pps)));
    }
    format!("{text}, {}", plural(peak.flows as usize, "flow"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(flows: usize) -> String {
        let flow = |number: usize| {
            json!({
                "flow": number, "session": number, "set": "udp", "key": "udp/udp/a>b", "phase": "udp", "repeat": 1,
                "from": "150-a", "to": "162-b", "from_asn": 150, "to_asn": 162, "transport": "udp", "dial": "from",
                "streams": 1, "start_s": 0.0, "for_s": 60.0, "warmup_s": 0.0, "rate_bps": 10_000_000,
                "rows_per_end": 60, "rate_pps": 892.857, "size": 1400
            })
        };
        let peak = json!({ "bps": 10_000_000, "pps": 892.857, "flows": 1, "unlimited": 0 });
        let none = json!({ "bps": 0, "pps": 0.0, "flows": 0, "unlimited": 0 });
        json!({
            "schema": "weir.plan/1", "campaign": "x", "question": null, "seed": 1, "interval_s": 1.0,
            "linger_s": 2.0, "settle_s": 10.0, "lost_agent": "mark", "duration_s": 60.0,
            "wall_s": { "least": 62.0, "most": 72.0 }, "records": { "expected": 120, "at_most": false },
            "phases": [{ "phase": "udp", "start_s": 0.0, "for_s": 60.0, "warmup_s": 0.0, "flows": flows }],
            "hosts": [
                { "host": "150-a", "labels": { "asn": "150" }, "addresses": ["10.150.0.71"], "kernel": "k", "sessions": 1 },
                { "host": "162-b", "labels": { "asn": "162" }, "addresses": ["10.162.0.71"], "kernel": "k", "sessions": 1 }
            ],
            "flows": (1..=flows).map(flow).collect::<Vec<_>>(),
            "load": {
                "hosts": [{ "host": "150-a", "tx": peak, "rx": none }, { "host": "162-b", "tx": none, "rx": peak }],
                "kernels": [{ "kernel": "0123456789ab", "hosts": 2, "cores": 2, "peak": peak }],
                "total": peak
            },
            "warnings": [{ "code": "one-interval", "text": "short \u{1b}[2J" }]
        })
        .to_string()
    }

    #[test]
    fn a_plan_says_who_when_and_how_much() {
        let lines = lines(&document(1), false).unwrap();
        assert_eq!(
            lines,
            [
                "plan of x   1 phase, 1 flow, 2 hosts",
                "takes 1 min 2 s to 1 min 12 s (settle) · 120 records of 1 s · seed 1",
                "phase   at    for  warm-up  flows",
                "udp    0 s  1 min        -      1",
                "phase  set  flow  from -> to      by   Mbit/s   pkt/s  size B  streams  notes",
                "udp    udp     1  150-a -> 162-b  udp   10.00  892.86    1400        1",
                "host   labels   address      sends at most                       receives at most",
                "150-a  asn=150  10.150.0.71  10.00 Mbit/s, 892.86 pkt/s, 1 flow  -",
                "162-b  asn=162  10.162.0.71  -                                   10.00 Mbit/s, 892.86 pkt/s, 1 flow",
                "kernel 01234567, 2 hosts, 2 cores: at most 10.00 Mbit/s, 892.86 pkt/s, 1 flow",
                "warning (one-interval): short \\u{1b}[2J",
            ]
        );
    }

    #[test]
    fn many_flows_are_cut_and_said_so() {
        let few = lines(&document(30), false).unwrap();
        assert!(
            few.contains(&"and 6 more flows (--flows shows all)".to_owned()),
            "{few:?}"
        );
        let all = lines(&document(30), true).unwrap();
        assert_eq!(all.len(), few.len() + 5);
    }

    #[test]
    fn another_document_is_refused() {
        assert!(lines("{}", false).is_err());
        assert!(lines("not json", false).unwrap_err().contains("--json"));
    }
}
