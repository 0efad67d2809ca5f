//! Why a run is what its verdict says: missing rows, reasons, warnings, expectations.

use crate::analysis::document::{ExpectationResult, LostAt, Reason, ResultDocument};

use crate::output::figure::measured;
use crate::output::text::{Put, printable};

/// So many lines of a kind are shown unless all are asked for.
const LINES_MOST: usize = 12;
/// So many flows are named in one line.
const FLOWS_MOST: usize = 8;

pub(super) fn lines(document: &ResultDocument, all: bool) -> Vec<String> {
    let mut lines = bounded(ledger(document), all);
    let reasons: Vec<&Reason> = document
        .reasons
        .iter()
        .filter(|reason| reason.code != "expectation")
        .collect();
    lines.extend(bounded(grouped(document.verdict.as_str(), &reasons), all));
    let of_flows = document.flows.iter().flat_map(|flow| &flow.warnings);
    let warnings: Vec<&Reason> = document.warnings.iter().chain(of_flows).collect();
    lines.extend(bounded(grouped("warning", &warnings), all));
    lines.extend(bounded(places(document), all));
    lines.extend(document.expectations.iter().map(expectation));
    lines
}

/// Where flows lost packets: each place with the flows that may have been met there.
fn places(document: &ResultDocument) -> Vec<String> {
    let mut places: Vec<(&LostAt, Vec<String>)> = Vec::new();
    for flow in &document.flows {
        for place in &flow.lost_at {
            let number = flow.flow.to_string();
            match places.iter_mut().find(|(known, _)| *known == place) {
                Some((_, flows)) => flows.push(number),
                None => places.push((place, vec![number])),
            }
        }
    }
    places.sort_by_key(|(place, _)| std::cmp::Reverse(place.dropped));
    let line = |(place, flows): &(&LostAt, Vec<String>)| {
        let what = match place.by.as_str() {
            "rx" => "on arrival".to_owned(),
            "tx" => "by the interface".to_owned(),
            by => format!("by {}", printable(by)),
        };
        format!(
            "lost on the way{}: {} {}: {} dropped {what}",
            listed(flows),
            printable(&place.agent),
            printable(&place.interface),
            place.dropped
        )
    };
    places.iter().map(line).collect()
}

/// Whether something of the run could not be reached.
pub(super) fn is_unreachable(document: &ResultDocument) -> bool {
    document
        .reasons
        .iter()
        .any(|reason| crate::output::is_unreachable(&reason.code))
}

fn bounded(mut lines: Vec<String>, all: bool) -> Vec<String> {
    if !all && lines.len() > LINES_MOST {
        let more = lines.len() - LINES_MOST;
        lines.truncate(LINES_MOST);
        lines.push(format!(
            "... and {more} more such lines (--flows shows all)"
        ));
    }
    lines
}

fn ledger(document: &ResultDocument) -> Vec<String> {
    let gaps = document.ledger.gaps.iter().map(|gap| {
        let when = match (gap.from_s, gap.to_s) {
            (Some(from), Some(to)) => format!(" from {from:.1} to {to:.1} s"),
            (Some(from), None) => format!(" from {from:.1} s on"),
            _ => String::new(),
        };
        let (agent, why) = (printable(&gap.agent), printable(&gap.why));
        let what = match gap.rows {
            Some(rows) => format!("{rows} rows"),
            None => "an interval".to_owned(),
        };
        let of = match (gap.flow, &gap.end) {
            (Some(flow), Some(end)) => format!(" of flow {flow} {}", printable(end)),
            _ => String::new(),
        };
        format!("missing: {what}{of} at {agent}{when}: {why}")
    });
    let unclosed = document.ledger.unclosed.iter().map(|end| {
        format!(
            "unclosed: flow {} {} at {}, {} of {} planned rows stored: {}",
            end.flow,
            end.end,
            printable(&end.agent),
            end.stored,
            end.planned,
            printable(&end.why)
        )
    });
    gaps.chain(unclosed).collect()
}

/// Reasons that become one line.
struct Group<'a> {
    /// The one whose sentence is told.
    worst: &'a Reason,
    /// Where they hold.
    flows: Vec<String>,
    /// Their sentences differ, by what was measured.
    differ: bool,
}

/// One line for each sentence, with all the flows that it is said of. Sentences of one code that differ only in
/// what was measured become one: that of the worst.
fn grouped(head: &str, reasons: &[&Reason]) -> Vec<String> {
    let mut groups: Vec<Group> = Vec::new();
    for &reason in reasons {
        let same = |group: &Group| {
            let first = group.worst;
            let measured =
                reason.value.is_some() && first.value.is_some() && first.limit == reason.limit;
            first.code == reason.code && (first.text == reason.text || measured)
        };
        let place = groups.iter().position(same).unwrap_or(groups.len());
        if place == groups.len() {
            groups.push(Group {
                worst: reason,
                flows: Vec::new(),
                differ: false,
            });
        }
        let group = &mut groups[place];
        group.differ |= reason.text != group.worst.text;
        if reason.value > group.worst.value {
            group.worst = reason;
        }
        group.flows.extend(place_of(reason));
    }
    groups.iter().map(|group| line(head, group)).collect()
}

/// The flow that a reason is about, and its end.
fn place_of(reason: &Reason) -> Option<String> {
    let end = reason
        .end
        .as_deref()
        .map_or(String::new(), |end| format!(" {}", printable(end)));
    reason.flow.map(|flow| format!("{flow}{end}"))
}

/// The flows of a line.
fn listed(flows: &[String]) -> String {
    match flows {
        [] => String::new(),
        [flow] => format!(", flow {flow}"),
        flows if flows.len() <= FLOWS_MOST => format!(", flows {}", flows.join(", ")),
        flows => {
            let more = flows.len() - FLOWS_MOST;
            format!(", flows {} and {more} more", flows[..FLOWS_MOST].join(", "))
        }
    }
}

fn line(head: &str, group: &Group) -> String {
    let (code, text) = (printable(&group.worst.code), printable(&group.worst.text));
    let flows = listed(&group.flows);
    let worst = place_of(group.worst).filter(|_| group.differ);
    let worst = worst.map_or(String::new(), |flow| format!("; worst {flow}"));
    format!("{head} ({code}){flows}{worst}: {text}")
}

fn expectation(result: &ExpectationResult) -> String {
    let mut what = String::new();
    if let Some(phase) = &result.phase {
        what.put(format_args!("{phase}/"));
    }
    if let Some(set) = &result.set {
        what.put(format_args!("{set}."));
    }
    what.push_str(&result.that);
    let outcome = match (result.pass, result.level.as_str()) {
        (true, _) => "held",
        (false, "warn") => "NOT HELD (warning)",
        (false, _) => "NOT HELD",
    };
    let worst = result
        .worst
        .map_or(String::new(), |flow| format!(", flow {flow}"));
    let value = match result.measured {
        Some(value) => format!("worst {}{worst}", measured(&result.that, value)),
        None => "nothing measured".to_owned(),
    };
    let excluded = match result.invalid_excluded {
        0 => String::new(),
        count => format!(", {count} invalid excluded"),
    };
    let each = if result.of == 1 {
        result.each.clone()
    } else {
        format!("{}s", result.each)
    };
    format!(
        "expect {}: {outcome}, {value}; {} of {} {each}{excluded}",
        printable(&what),
        result.held,
        result.of
    )
}
