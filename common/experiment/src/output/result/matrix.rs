//! Many flows: a line and a matrix of medians for each flow set, the worst flows, and the invalid ones.

use std::collections::BTreeMap;

use crate::analysis::document::{Flow, ResultDocument, Set};
use serde_json::Value;

use super::flows;
use crate::output::figure::{RateUnit, percent, share};
use crate::output::table::{Align, Table};
use crate::output::text::{Put, plural, printable};

/// Most columns of a matrix: more do not fit a terminal.
const COLUMNS_MOST: usize = 16;
/// So many of the worst flows are shown.
const WORST: usize = 10;
/// So many of the invalid flows are shown; `--flows` shows all.
const INVALID_MOST: usize = 24;

pub(super) fn lines(document: &ResultDocument, unit: RateUnit) -> Vec<String> {
    let mut lines = Vec::new();
    for set in &document.sets {
        let members: Vec<&Flow> = document
            .flows
            .iter()
            .filter(|flow| {
                flow.set == set.set && flow.phase == set.phase && flow.repeat == set.repeat
            })
            .collect();
        lines.push(summary(set, unit));
        let valid: Vec<&Flow> = members.into_iter().filter(|flow| flow.valid).collect();
        lines.extend(matrix(
            "got",
            unit.name(),
            &valid,
            |flow| flow.rate_bps,
            |rate| unit.show(rate),
        ));
        if valid
            .iter()
            .any(|flow| flow.loss.is_some_and(|loss| loss > 0.0))
        {
            lines.extend(matrix("loss", "%", &valid, |flow| flow.loss, percent));
        }
    }
    let mut worst: Vec<&Flow> = document.flows.iter().filter(|flow| flow.valid).collect();
    worst.sort_by(|a, b| badness(document, b).total_cmp(&badness(document, a)));
    worst.truncate(WORST);
    lines.push(format!("the {} worst flows", worst.len()));
    lines.extend(flows::table(&worst, unit));
    let mut invalid: Vec<&Flow> = document.flows.iter().filter(|flow| !flow.valid).collect();
    if !invalid.is_empty() {
        let all = invalid.len();
        invalid.truncate(INVALID_MOST);
        lines.push(if all > INVALID_MOST {
            format!("the first {INVALID_MOST} of {all} invalid flows (--flows shows all)")
        } else {
            format!("the {}", plural(all, "invalid flow"))
        });
        lines.extend(flows::table(&invalid, unit));
    }
    lines
}

fn summary(set: &Set, unit: RateUnit) -> String {
    let mut line = format!(
        "{}/{}: {}",
        printable(&set.phase),
        printable(&set.set),
        plural(set.flows as usize, "flow")
    );
    if set.valid < set.flows {
        line.put(format_args!(
            ", {} invalid, excluded",
            set.flows - set.valid
        ));
    }
    let rate = &set.rate_bps;
    for (what, value) in [
        ("sum", rate.sum),
        ("least", rate.min),
        ("median", rate.median),
        ("most", rate.max),
    ] {
        if let Some(value) = value {
            line.put(format_args!(", {what} {}", unit.show(value)));
        }
    }
    line.put(format_args!(" {}", unit.name()));
    if let Some(fairness) = rate.fairness {
        line.put(format_args!(", fairness {fairness:.3}"));
    }
    if let Some(loss) = set.loss {
        line.put(format_args!(", loss {}", share(loss)));
    }
    line
}

/// Medians by the AS of both ends; by host where no host has an AS. Nothing when it would be too wide.
fn matrix(
    what: &str,
    unit: &str,
    flows: &[&Flow],
    figure: impl Fn(&Flow) -> Option<f64>,
    show: impl Fn(f64) -> String,
) -> Vec<String> {
    let has_asn = flows
        .iter()
        .any(|flow| flow.from_asn.is_some() || flow.to_asn.is_some());
    let place = |asn: Option<&Value>, host: &str| {
        if !has_asn {
            return host.to_owned();
        }
        asn.map_or("none".to_owned(), |asn| {
            asn.as_str().map_or_else(|| asn.to_string(), str::to_owned)
        })
    };
    let mut cells: BTreeMap<(Place, Place), Vec<f64>> = BTreeMap::new();
    let (mut rows, mut columns) = (Vec::new(), Vec::new());
    for flow in flows {
        let from = Place::new(place(flow.from_asn.as_ref(), &flow.from));
        let to = Place::new(place(flow.to_asn.as_ref(), &flow.to));
        rows.push(from.clone());
        columns.push(to.clone());
        if let Some(value) = figure(flow) {
            cells.entry((from, to)).or_default().push(value);
        }
    }
    for places in [&mut rows, &mut columns] {
        places.sort();
        places.dedup();
    }
    if rows.is_empty() || columns.len() > COLUMNS_MOST {
        return Vec::new();
    }
    let by = if has_asn { "AS" } else { "host" };
    let corner = format!("median {what} {unit}, {by} -> {by}");
    let heads = columns
        .iter()
        .map(|column| (column.name.clone(), Align::Right));
    let mut table = Table::new(std::iter::once((corner, Align::Right)).chain(heads));
    for from in rows {
        let mut row = vec![from.name.clone()];
        for to in &columns {
            let values = cells.get_mut(&(from.clone(), to.clone()));
            row.push(
                values
                    .and_then(|values| median(values))
                    .map_or("-".to_owned(), &show),
            );
        }
        table.row(row);
    }
    table.lines()
}

/// A row or column: numbers in their order, then names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    number: u64,
    name: String,
}

impl Place {
    fn new(name: String) -> Self {
        Self {
            number: name.parse().unwrap_or(u64::MAX),
            name,
        }
    }
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get((values.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// How bad a flow came out, from 0: what was lost of its packets, or what is missing of its rate against what was
/// asked, or against its set's median for an unlimited one. A flow without figures is the worst.
fn badness(document: &ResultDocument, flow: &Flow) -> f64 {
    let Some(got) = flow.rate_bps else {
        return f64::INFINITY;
    };
    let of_set = || {
        let mut sets = document.sets.iter();
        sets.find(|set| set.set == flow.set && set.phase == flow.phase)?
            .rate_bps
            .median
    };
    let wanted = flow
        .rates_bps
        .offered
        .or_else(of_set)
        .filter(|&wanted| wanted > 0.0);
    let missing = wanted.map_or(0.0, |wanted| (1.0 - got / wanted).max(0.0));
    missing.max(flow.loss.unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [3.0, 1.0]), Some(2.0));
        assert_eq!(median(&mut [9.0, 1.0, 2.0]), Some(2.0));
    }

    #[test]
    fn numbers_come_in_their_order() {
        let mut places = ["none", "1000", "150"].map(|name| Place::new(name.to_owned()));
        places.sort();
        assert_eq!(places.map(|place| place.name), ["150", "1000", "none"]);
    }
}
