//! The closing table: what a run came to, for people.

mod details;
mod flows;
mod matrix;
mod outages;
mod verdict;

#[cfg(test)]
mod tests;

pub use self::details::details;

use crate::analysis::document::{Flow, ResultDocument, SCHEMA};
use crate::analysis::floor::{Figures, Floor};

use super::figure::{RateUnit, date, length, time_in, time_unit};
use super::text::{Put, plural, printable, short_path};

/// Up to so many flows are rows; more become a matrix.
pub const ROWS_MOST: usize = 24;

/// Pairs of which the noise floor is told.
const FLOORS_MOST: usize = 4;

/// Where the verdict stands in the second line.
const VERDICT_COLUMN: usize = 67;

/// What to print besides the document itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shown<'a> {
    /// Path of the database, when it is known.
    pub database: Option<&'a str>,
    /// The home directory, for a shorter path.
    pub home: Option<&'a str>,
    /// Every flow, reason and warning, however many.
    pub all: bool,
    /// The commands that come next.
    pub next: bool,
}

/// Reads a result document.
///
/// # Errors
/// A sentence, when it is not one that this version knows.
pub fn parse(text: &str) -> Result<ResultDocument, String> {
    serde_json::from_str(text).map_err(|error| {
        format!("the controller's result is not a {SCHEMA} document ({error}); --json prints it as it is")
    })
}

/// The lines of the closing table.
pub fn lines(document: &ResultDocument, shown: Shown<'_>) -> Vec<String> {
    let mut lines = head(document);
    let unit = RateUnit::fitting(document.flows.iter().flat_map(|flow| {
        [flow.rate_bps, flow.rates_bps.offered]
            .into_iter()
            .flatten()
    }));
    let all: Vec<&Flow> = document.flows.iter().collect();
    if all.len() <= ROWS_MOST || shown.all {
        lines.extend(flows::table(&all, unit));
    } else {
        lines.extend(matrix::lines(document, unit));
    }
    lines.push(foot(document, unit, shown));
    lines.extend(outages::lines(&all, shown.all));
    lines.extend(floor(document));
    lines.extend(verdict::lines(document, shown.all));
    if shown.next {
        lines.push(next(document));
    }
    lines
}

fn head(document: &ResultDocument) -> Vec<String> {
    let mut phases: Vec<&str> = document
        .flows
        .iter()
        .map(|flow| flow.phase.as_str())
        .collect();
    phases.sort_unstable();
    phases.dedup();
    let started = document
        .time
        .t0_unix_ns
        .and_then(date)
        .unwrap_or_else(|| "never started".to_owned());
    let mut lines = vec![format!(
        "run {} {}   {}, {started}",
        printable(&document.run),
        printable(&document.campaign),
        plural(phases.len(), "phase"),
    )];
    if let Some(question) = &document.question {
        lines.push(printable(question));
    }
    let repeats = document
        .flows
        .iter()
        .map(|flow| flow.repeat)
        .max()
        .unwrap_or(0);
    let mut second = format!(
        "{}, {}",
        plural(document.flows.len(), "flow"),
        plural(repeats as usize, "repeat")
    );
    if document.time.t0_unix_ns.is_some() {
        let end = document
            .flows
            .iter()
            .map(|flow| flow.window_s[1])
            .fold(0.0, f64::max);
        second.push_str(", ");
        second.push_str(&length(end + document.time.linger_s));
    }
    let verdict = document.verdict.as_str().to_uppercase();
    lines.push(format!("{second:<VERDICT_COLUMN$}{verdict}"));
    lines
}

fn foot(document: &ResultDocument, unit: RateUnit, shown: Shown<'_>) -> String {
    let has = |transport: &str| {
        document
            .flows
            .iter()
            .any(|flow| flow.transport == transport)
    };
    let payload = match (has("udp"), has("tcp")) {
        (true, false) => "UDP payload",
        (false, true) => "TCP payload",
        _ => "payload",
    };
    let ledger = &document.ledger;
    let mut records = format!("records {} of {}", ledger.stored, ledger.expected);
    if ledger.coalesced > 0 {
        records.put(format_args!(" ({} coalesced)", ledger.coalesced));
    }
    let invalid = document.flows.iter().filter(|flow| !flow.valid).count();
    let validity = if invalid == 0 {
        "no flow invalid".to_owned()
    } else {
        format!(
            "{invalid} of {} invalid, excluded",
            plural(document.flows.len(), "flow")
        )
    };
    let mut parts = vec![
        format!("rates in {} of {payload}", unit.name()),
        records,
        validity,
    ];
    if let Some(database) = shown.database {
        parts.push(format!("data {}", short_path(database, shown.home)));
    }
    parts.join(" · ")
}

/// What `weir check` had measured between the same hosts, beside which delay and
/// lateness are to be read.
fn floor(document: &ResultDocument) -> Vec<String> {
    let floors = document.provenance.get("floor").cloned();
    let floors: Vec<Floor> = floors
        .and_then(|floors| serde_json::from_value(floors).ok())
        .unwrap_or_default();
    let shown = |figures: Option<Figures>| {
        figures.map_or_else(
            || "-".to_owned(),
            |figures| {
                let (name, unit) = time_unit(figures.p99);
                let time = |us: f64| time_in(us, unit);
                format!(
                    "p50 {}, p99 {} {name}",
                    time(figures.p50),
                    time(figures.p99)
                )
            },
        )
    };
    let mut lines: Vec<String> = floors
        .iter()
        .take(FLOORS_MOST)
        .map(|floor| {
            printable(&format!(
                "floor {} -> {}: delay {}; lateness {}; no loss up to {} (check {})",
                floor.from,
                floor.to,
                shown(floor.delay_us),
                shown(floor.lateness_us),
                floor
                    .single_pps
                    .map_or("-".to_owned(), |pps| format!("{pps:.0} pkt/s")),
                floor.run
            ))
        })
        .collect();
    if floors.len() > FLOORS_MOST {
        lines.push(format!(
            "... and {} more floors (--json has them)",
            floors.len() - FLOORS_MOST
        ));
    }
    lines
}

/// What a person would type next.
fn next(document: &ResultDocument) -> String {
    let mut next = vec!["weir show".to_owned(), "weir records > r.csv".to_owned()];
    if verdict::is_unreachable(document) {
        next.insert(
            0,
            "again with --settle 120s while routes converge".to_owned(),
        );
    }
    if document.flows.len() > ROWS_MOST {
        next.insert(0, "weir show --flows".to_owned());
    }
    format!("next: {}", next.join(" · "))
}
