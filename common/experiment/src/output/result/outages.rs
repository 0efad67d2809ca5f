//! A line for each flow that had an outage, the longest first.

use crate::analysis::document::{Flow, Outages};
use crate::output::figure::time;
use crate::output::text::{Put, plural, printable};

/// So many flows are told of unless all are asked for.
const LINES_MOST: usize = 12;

pub(super) fn lines(flows: &[&Flow], all: bool) -> Vec<String> {
    let had = |flow: &&Flow| {
        let outages = flow.outages.clone()?;
        (outages.count > 0).then_some((outages, (*flow).clone()))
    };
    let mut found: Vec<(Outages, Flow)> = flows.iter().filter_map(had).collect();
    found.sort_by(|(a, _), (b, _)| b.max_s.total_cmp(&a.max_s));
    let shown = if all { found.len() } else { LINES_MOST };
    let mut lines: Vec<String> = found
        .iter()
        .take(shown)
        .map(|(outages, flow)| line(outages, flow))
        .collect();
    if found.len() > shown {
        lines.push(format!(
            "... and {} more flows with outages (--flows shows all)",
            found.len() - shown
        ));
    }
    lines
}

/// An outage reads in seconds; a short one in what fits it.
fn seconds(seconds: f64) -> String {
    if seconds >= 1.0 {
        format!("{seconds:.3} s")
    } else {
        time(seconds * 1e6)
    }
}

fn line(outages: &Outages, flow: &Flow) -> String {
    let count = usize::try_from(outages.count).unwrap_or(usize::MAX);
    let mut line = format!(
        "outage: flow {} {}: {}",
        flow.flow,
        printable(&flow.key),
        plural(count, "outage")
    );
    let longest = outages
        .kept
        .iter()
        .max_by(|a, b| a.length_s.total_cmp(&b.length_s));
    if let Some(longest) = longest {
        let which = if outages.count > 1 {
            ", the longest"
        } else {
            ""
        };
        let length = seconds(longest.length_s);
        let from = longest.from_s;
        line.put(format_args!("{which} {length} from {from:.3} s on"));
        match longest.lost {
            Some(lost) => line.put(format_args!(
                ", {lost} packets lost ({} to {})",
                longest.first_seq, longest.last_seq
            )),
            None => line.put(format_args!(", silence to the end")),
        }
        if longest.to_s.is_none() && longest.lost.is_some() {
            line.push_str(", not over when the flow ended");
        }
    }
    if outages.count > 1 {
        let sum = seconds(outages.sum_s);
        line.put(format_args!(", {sum} in all"));
    }
    if let Some(resolution) = outages.resolution_s {
        line.put(format_args!(" (within {})", time(resolution * 1e6)));
    }
    line
}
