//! The ledger: expected against stored rows, per flow and end.

use weir_common::record::End;

use super::document::{Gap, Ledger, Reason, Unclosed};
use super::evidence::{AGENT_LOST, FlowEvidence, ReportedGap};
use crate::plan::{Plan, PlannedFlow};

/// Balances the ledger. A flow that was never started owes nothing; an end
/// without a manifest owes its planned rows. What agents said is missing comes
/// first: it is exact.
pub(super) fn balance<'a>(
    plan: &Plan,
    started: bool,
    reported: &[ReportedGap],
    seen: impl Fn(&PlannedFlow) -> &'a FlowEvidence,
) -> Ledger {
    let mut ledger = Ledger {
        expected: 0,
        stored: 0,
        coalesced: 0,
        gaps: reported.iter().map(listed).collect(),
        unclosed: Vec::new(),
    };
    for flow in &plan.flows {
        let evidence = seen(flow);
        for (end, agent) in [(End::Tx, &flow.from), (End::Rx, &flow.to)] {
            let side = evidence.end(end);
            ledger.stored += side.rows;
            ledger.coalesced += side.coalesced;
            let Some(closed) = &side.closed else {
                if started && evidence.failure.is_none() {
                    let planned = u64::from(flow.rows_per_end).max(side.rows);
                    ledger.expected += planned;
                    ledger.unclosed.push(Unclosed {
                        agent: agent.to_string(),
                        flow: flow.id.0,
                        end: end.as_str().into(),
                        stored: side.rows,
                        planned,
                        why: why(flow, end, side.silence.as_deref()),
                    });
                } else {
                    ledger.expected += side.rows;
                }
                continue;
            };
            let named = u64::from(closed.rows);
            ledger.expected += named;
            if side.rows < named {
                // Rows that end too early lack their tail; else the hole is
                // somewhere between them.
                let last_ns = side.last_ns.max(flow.start_ns);
                let end_ns = closed
                    .window
                    .start_ns
                    .saturating_add(closed.window.length_ns);
                let tail = (last_ns < end_ns).then_some((last_ns, end_ns));
                ledger.gaps.push(Gap {
                    agent: agent.to_string(),
                    boot: None,
                    seq: None,
                    flow: Some(flow.id.0),
                    end: Some(end.as_str().into()),
                    rows: Some(named - side.rows),
                    from_s: tail.map(|(from_ns, _)| from_ns as f64 / 1e9),
                    to_s: tail.map(|(_, to_ns)| to_ns as f64 / 1e9),
                    why: "rows named by the manifest are not stored".into(),
                });
            }
        }
    }
    ledger
}

/// Why an end has no manifest; of a sender that may be out of reach also how long it may go on,
/// since it needs no controller until its planned end.
fn why(flow: &PlannedFlow, end: End, silence: Option<&str>) -> String {
    match silence {
        Some(AGENT_LOST) if end == End::Tx => {
            let until_s = flow.end_ns() as f64 / 1e9;
            format!("{AGENT_LOST}; it may send until {until_s} s after T0")
        }
        silence => silence.unwrap_or("no manifest came").to_owned(),
    }
}

fn listed(gap: &ReportedGap) -> Gap {
    Gap {
        agent: gap.agent.to_string(),
        boot: Some(gap.boot.to_string()),
        seq: gap.seq.map(|(first, last)| [first, last]),
        flow: gap.flow.map(|(flow, _)| flow.0),
        end: gap.flow.map(|(_, end)| end.as_str().into()),
        rows: gap
            .seq
            .map(|(first, last)| last.saturating_sub(first).saturating_add(1)),
        from_s: gap.from_ns.map(|ns| ns as f64 / 1e9),
        to_s: gap.to_ns.map(|ns| ns as f64 / 1e9),
        why: gap.why.clone(),
    }
}

/// Why a run is not whole though each of its flows may be: records that belong
/// to nobody knows which flow.
pub(super) fn unplaced(reported: &[ReportedGap]) -> Vec<Reason> {
    let unplaced = reported.iter().filter(|gap| gap.flow.is_none());
    let text = |gap: &ReportedGap| {
        let seq = gap.seq.map_or_else(String::new, |(first, last)| {
            format!(" {first} to {last} of boot {}", gap.boot)
        });
        format!("records{seq} of {}: {}", gap.agent, gap.why)
    };
    unplaced
        .map(|gap| Reason::of_run("gap", text(gap)))
        .collect()
}
