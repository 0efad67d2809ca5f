//! A row per flow.

use crate::analysis::document::{Distribution, Flow};

use crate::output::figure::{RateUnit, bytes, percent, time_in, time_unit};
use crate::output::table::{Align, Table};

/// The value of a figure that is not known, or that this kind of flow does not have.
const NONE: &str = "-";

/// The table of these flows, phase by phase. Columns that no flow has are left out.
pub(super) fn table(flows: &[&Flow], unit: RateUnit) -> Vec<String> {
    let has_set = flows.iter().any(|flow| flow.set != flow.phase);
    let has_repeat = flows.iter().any(|flow| flow.repeat > 1);
    let has_loss = flows.iter().any(|flow| flow.transport == "udp");
    let has_delay = flows.iter().any(|flow| flow.delay_us.is_some());
    let mut columns = vec![("phase", Align::Left)];
    if has_set {
        columns.push(("set", Align::Left));
    }
    if has_repeat {
        columns.push(("repeat", Align::Right));
    }
    columns.extend([
        ("flow", Align::Right),
        ("from -> to", Align::Left),
        ("asked", Align::Right),
        ("got", Align::Right),
    ]);
    if has_loss {
        columns.push(("loss %", Align::Right));
    }
    if has_delay {
        columns.extend([
            ("p50", Align::Right),
            ("p99", Align::Right),
            ("delay", Align::Left),
        ]);
    }
    columns.push(("notes", Align::Left));
    let mut table = Table::new(columns);
    for flow in by_phase(flows) {
        let mut row = vec![flow.phase.clone()];
        if has_set {
            row.push(flow.set.clone());
        }
        if has_repeat {
            row.push(flow.repeat.to_string());
        }
        row.push(flow.flow.to_string());
        row.push(format!("{} -> {}", flow.from, flow.to));
        row.push(asked(flow, unit));
        row.push(
            flow.rate_bps
                .map_or(NONE.to_owned(), |rate| unit.show(rate)),
        );
        if has_loss {
            row.push(flow.loss.map_or(NONE.to_owned(), percent));
        }
        if has_delay {
            row.extend(delay(flow));
        }
        row.push(notes(flow));
        table.row(row);
    }
    table.lines()
}

/// The flows, those of one phase together, the phases in time.
fn by_phase<'a>(flows: &[&'a Flow]) -> Vec<&'a Flow> {
    let begin = |name: &str| {
        let starts = flows.iter().filter(|flow| flow.phase == name);
        starts
            .map(|flow| flow.window_s[0])
            .fold(f64::INFINITY, f64::min)
    };
    let mut ordered = flows.to_vec();
    ordered.sort_by(|a, b| {
        begin(&a.phase)
            .total_cmp(&begin(&b.phase))
            .then_with(|| a.repeat.cmp(&b.repeat))
            .then_with(|| a.flow.cmp(&b.flow))
    });
    ordered
}

/// The schedule's rate. A flow that sent without one was as fast as it could be.
fn asked(flow: &Flow, unit: RateUnit) -> String {
    match (flow.rates_bps.offered, flow.sent) {
        (Some(offered), _) => unit.show(offered),
        (None, Some(_)) => "max".to_owned(),
        (None, None) => NONE.to_owned(),
    }
}

/// Median, 99th percentile and their unit.
fn delay(flow: &Flow) -> [String; 3] {
    let Some(delay) = &flow.delay_us else {
        return [NONE.to_owned(), NONE.to_owned(), String::new()];
    };
    let (name, unit) = time_unit(delay.p99);
    [
        time_in(delay.p50, unit),
        time_in(delay.p99, unit),
        name.to_owned(),
    ]
}

/// How the clocks stand by which delays were made.
pub(super) fn relation(delay: &Distribution) -> Option<String> {
    let clock = delay.clock.as_deref()?;
    Some(match (clock, delay.bound) {
        ("same-kernel", _) => "same kernel".to_owned(),
        (other, Some(bound)) if bound > 0.0 => {
            let (name, unit) = time_unit(bound);
            format!("clock {other} to {} {name}", time_in(bound, unit))
        }
        (other, _) => format!("clock {other}"),
    })
}

/// What to know of a flow: why it does not count, every part of its loss, what else is not as usual.
pub(super) fn notes(flow: &Flow) -> String {
    let mut notes = Vec::new();
    if !flow.valid {
        notes.push(format!("INVALID ({})", codes(flow)));
    } else if !flow.complete {
        notes.push(format!("INCOMPLETE ({})", codes(flow)));
    }
    notes.extend(flow.delay_us.as_ref().and_then(relation));
    let mut count = |what: &str, count: Option<u64>| {
        if let Some(count) = count.filter(|&count| count > 0) {
            notes.push(format!("{what} {count}"));
        }
    };
    if let Some(lost) = flow.lost_detail {
        count("behind", lost.behind);
        count("blocked", lost.blocked);
        count("refused", lost.refused);
        count("egress", lost.egress);
        count("path", lost.path);
        count("receiver drops", lost.socket);
    }
    count("corrupted", flow.corrupted);
    count("lost replies", flow.echo.and_then(|echo| echo.lost_replies));
    count("late", flow.late);
    count("duplicate", flow.duplicate);
    count("reordered", flow.reordered);
    count("ECN marks", flow.ce);
    count("retransmits", flow.retransmits);
    if let Some(tcp) = &flow.tcp {
        for (what, amount) in [("drained", tcp.drained_bytes), ("unread", tcp.unread_bytes)] {
            if let Some(amount) = amount.filter(|&amount| amount > 0) {
                notes.push(format!("{what} {}", bytes(amount)));
            }
        }
    }
    if let Some(limit) = &flow.limited {
        notes.push(format!("limited by {limit}"));
    }
    notes.join(", ")
}

/// The codes of the flow's reasons, each once.
fn codes(flow: &Flow) -> String {
    let mut codes: Vec<&str> = Vec::new();
    for reason in &flow.reasons {
        if !codes.contains(&reason.code.as_str()) {
            codes.push(&reason.code);
        }
    }
    if codes.is_empty() {
        "no reason given".to_owned()
    } else {
        codes.join(", ")
    }
}
