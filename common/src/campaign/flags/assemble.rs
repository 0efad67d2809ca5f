//! Segments of a command line to the tree of a file.

use super::specs::FlagSection;
use super::words::{Begins, Given, Line, Segment, find};
use crate::campaign::lower::free_name;
use crate::campaign::tree::{Entry, Node, Table, Value};
use crate::campaign::{CampaignError, ErrorKind, Place};
use std::collections::BTreeSet;

type Result<T> = std::result::Result<T, CampaignError>;

pub(super) fn tree(line: Line) -> Result<Table> {
    if line.segments.is_empty() {
        let message = "no traffic: add `--udp 10M` or `--tcp max`, and `--for 60s`";
        return Err(CampaignError::new(
            ErrorKind::Missing,
            &Place::Whole,
            message,
        ));
    }
    check_preamble(&line)?;
    let mut root = Table::new(Place::Whole);
    let (mut valid, mut limits) = (Table::new(Place::Whole), Table::new(Place::Whole));
    for given in &line.wide {
        let table = match given.section {
            FlagSection::Valid => &mut valid,
            FlagSection::Limits => &mut limits,
            _ => &mut root,
        };
        add(table, given);
    }
    root.push("valid", &Place::Whole, Value::Table(valid));
    root.push("limits", &Place::Whole, Value::Table(limits));
    root.push("pairs", &Place::Whole, Value::Table(pairs(&line.preamble)));
    let names = set_names(&line.segments);
    let (phases, flows) = phases_and_flows(&line, &names)?;
    root.push("phase", &Place::Whole, list(phases));
    root.push("flow", &Place::Whole, list(flows));
    let expectations = line
        .expectations
        .iter()
        .map(|options| table_of(options))
        .collect();
    root.push("expect", &Place::Whole, list(expectations));
    Ok(root)
}

fn add(table: &mut Table, given: &Given) {
    table.push(&given.key, &given.place, given.value.clone());
}

fn list(tables: Vec<Table>) -> Value {
    let node = |table: Table| Node {
        place: table.place.clone(),
        value: Value::Table(table),
    };
    Value::List(tables.into_iter().map(node).collect())
}

fn table_of(options: &[Given]) -> Table {
    let place = options
        .first()
        .map_or(Place::Whole, |first| first.place.clone());
    let mut table = Table::new(place);
    for given in options {
        add(&mut table, given);
    }
    table
}

/// Campaign-wide options that no flow set can have are slips, not defaults.
fn check_preamble(line: &Line) -> Result<()> {
    for given in &line.preamble {
        let slip = match (given.section, given.key.as_str()) {
            (FlagSection::Traffic, "name") => {
                "names one flow set: write it behind its `--udp` or `--tcp`"
            }
            (FlagSection::Traffic, _)
                if !line.segments.iter().any(|segment| takes(segment, given)) =>
            {
                "applies to no flow set here"
            }
            _ => continue,
        };
        return Err(CampaignError::new(ErrorKind::Conflict, &given.place, slip));
    }
    Ok(())
}

/// True if a campaign-wide traffic option is a default of this flow set.
fn takes(segment: &Segment, wide: &Given) -> bool {
    let Some(transport) = segment.transport() else {
        return false;
    };
    let max = find(&segment.given, transport)
        .is_some_and(|rate| matches!(&rate.value, Value::Word(word) if word == "max"));
    match wide.key.as_str() {
        "cc" | "mss" | "nodelay" | "end" => transport == "tcp",
        "packets" | "gso" | "on_full" | "ecn" => transport == "udp",
        "echo" | "layer" => transport == "udp" && !max,
        "arrival" | "pacing" | "spin" | "ramp" => !max,
        _ => true,
    }
}

/// The names of the flow sets, one for each segment; `None` for a phase that has none of its own.
fn set_names(segments: &[Segment]) -> Vec<Option<String>> {
    let word = |segment: &Segment| match find(&segment.given, "name").map(|name| &name.value) {
        Some(Value::Word(name)) => Some(name.clone()),
        _ => None,
    };
    let mut taken: BTreeSet<String> = segments.iter().filter_map(word).collect();
    let name = |segment: &Segment| {
        let transport = segment.transport()?;
        Some(word(segment).unwrap_or_else(|| {
            let name = free_name(transport, &taken);
            taken.insert(name.clone());
            name
        }))
    };
    segments.iter().map(name).collect()
}

fn phases_and_flows(line: &Line, names: &[Option<String>]) -> Result<(Vec<Table>, Vec<Table>)> {
    let (mut phases, mut flows) = (Vec::new(), Vec::new());
    let mut phase_names: BTreeSet<String> = names.iter().flatten().cloned().collect();
    let only_always = line
        .segments
        .iter()
        .all(|segment| segment.begins == Begins::Always);
    if only_always {
        let first = &line.segments[0];
        phases.push(phase(line, None, &first.place, "phase")?);
    }
    let mut phase_name = String::new();
    for (segment, name) in line.segments.iter().zip(names) {
        if segment.begins == Begins::Phase {
            phase_name = name
                .clone()
                .unwrap_or_else(|| free_name("phase", &phase_names));
            phase_names.insert(phase_name.clone());
            phases.push(phase(line, Some(segment), &segment.place, &phase_name)?);
        }
        let Some(name) = name else {
            check_empty(segment)?;
            continue;
        };
        let mut flow = flow(line, segment, name)?;
        if segment.begins != Begins::Always {
            flow.push("in", &segment.place, Value::Text(phase_name.clone()));
        }
        flows.push(flow);
    }
    Ok((phases, flows))
}

/// A segment without a transport can only be a phase of which the flow sets stand elsewhere.
fn check_empty(segment: &Segment) -> Result<()> {
    let stray = segment
        .given
        .iter()
        .find(|given| given.section != FlagSection::Phase);
    let place = match (segment.begins, stray) {
        (Begins::Phase, None) => return Ok(()),
        (_, Some(given)) => &given.place,
        (_, None) => &segment.place,
    };
    let message = "a flow set without traffic: add `--udp 10M` or `--tcp max` to it";
    Err(CampaignError::new(ErrorKind::Missing, place, message))
}

fn phase(line: &Line, segment: Option<&Segment>, place: &Place, name: &str) -> Result<Table> {
    let own = segment.map_or(&[][..], |segment| &segment.given);
    let mut table = Table::new(place.clone());
    table.push("name", place, Value::Text(name.to_owned()));
    for key in ["for", "warmup", "pause"] {
        if let Some(given) = find(own, key).or_else(|| find(&line.preamble, key)) {
            add(&mut table, given);
        }
    }
    if table.entry("for").is_none() {
        let message = "a phase without length: add `--for 60s` to it (behind `--with` and `--always` it is the flow set's)";
        return Err(CampaignError::new(ErrorKind::Missing, place, message));
    }
    Ok(table)
}

fn flow(line: &Line, segment: &Segment, name: &str) -> Result<Table> {
    let mut table = Table::new(segment.place.clone());
    let mut traffic = Table::new(segment.place.clone());
    let name_place = find(&segment.given, "name").map_or(&segment.place, |given| &given.place);
    table.push("name", name_place, Value::Text(name.to_owned()));
    for given in &segment.given {
        match (given.section, given.key.as_str()) {
            (FlagSection::Traffic, "name") => {}
            (FlagSection::Traffic, _) => add(&mut traffic, given),
            (FlagSection::Phase, _) if segment.begins == Begins::Phase => {}
            (FlagSection::Pairs, _) | (FlagSection::Phase, "for") => add(&mut table, given),
            _ => {
                let message = "belongs to a phase: write it before `--with` and `--always`";
                return Err(CampaignError::new(
                    ErrorKind::Conflict,
                    &given.place,
                    message,
                ));
            }
        }
    }
    for given in &line.preamble {
        let default = given.section == FlagSection::Traffic && takes(segment, given);
        if default && traffic.entry(&given.key).is_none() && !replaced(&traffic, &given.key) {
            add(&mut traffic, given);
        }
    }
    table.push("traffic", &segment.place, Value::Table(traffic));
    if taken_out(&mut table, "reverse") {
        let wide = pairs(&line.preamble);
        for key in ["from", "to", "dial"] {
            if let (None, Some(entry)) = (table.entry(key), wide.entry(key)) {
                table.entries.push(entry.clone());
            }
        }
        reverse(&mut table);
    }
    Ok(table)
}

/// `bytes` and `packets` exclude each other, so one's own takes the place of the campaign-wide other.
fn replaced(traffic: &Table, key: &str) -> bool {
    match key {
        "bytes" => traffic.entry("packets").is_some(),
        "packets" => traffic.entry("bytes").is_some(),
        _ => false,
    }
}

fn pairs(preamble: &[Given]) -> Table {
    let mut table = Table::new(Place::Whole);
    for given in preamble
        .iter()
        .filter(|given| given.section == FlagSection::Pairs)
    {
        add(&mut table, given);
    }
    if taken_out(&mut table, "reverse") {
        reverse(&mut table);
    }
    table
}

/// Removes a switch; true if it was set.
fn taken_out(table: &mut Table, key: &str) -> bool {
    let set = table
        .entry(key)
        .is_some_and(|entry| matches!(entry.node.value, Value::Bool(true)));
    table.entries.retain(|entry| entry.key != key);
    set
}

/// Swaps who sends and who receives; the one that dialled goes on dialling.
fn reverse(table: &mut Table) {
    let swapped = |key: &str| match key {
        "from" => Some("to"),
        "to" => Some("from"),
        _ => None,
    };
    for entry in &mut table.entries {
        if let Some(key) = swapped(&entry.key) {
            key.clone_into(&mut entry.key);
        }
    }
    let place = table.place.clone();
    match table.entries.iter_mut().find(|entry| entry.key == "dial") {
        Some(Entry {
            node: Node {
                value: Value::Word(end),
                ..
            },
            ..
        }) => {
            if let Some(other) = swapped(end) {
                other.clone_into(end);
            }
        }
        _ => table.push("dial", &place, Value::Word("to".to_owned())),
    }
}
