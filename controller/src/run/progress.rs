//! How a run goes, from its live figures.

use weir_proto::controller::v1 as pb;

use super::machine::Machine;
use crate::ingest::LiveView;

/// Most flows told at once: a screen.
const FLOWS: usize = 24;

/// Progress now; `None` before T0.
pub(super) fn of(machine: &Machine, live: Option<&LiveView>, now_ns: u64) -> Option<pb::Progress> {
    let plan = machine.plan();
    let elapsed_ns = now_ns.checked_sub(machine.start()?.mono_ns)?;
    let phase = plan
        .phases
        .iter()
        .find(|phase| (phase.start_ns..phase.start_ns + phase.length_ns).contains(&elapsed_ns));
    let live = live?;
    let mut flows: Vec<pb::FlowProgress> = Vec::new();
    let (mut rx_bps, mut tx_bps) = (0, 0);
    for flow in &plan.flows {
        // A flow stays on the screen until its last row has had time to come.
        let shown = flow.start_ns <= elapsed_ns
            && elapsed_ns < flow.end_ns().saturating_add(plan.interval_ns);
        let Some(figures) = live.flow(flow.id).filter(|_| shown) else {
            continue;
        };
        rx_bps += figures.rx_bps;
        tx_bps += figures.tx_bps;
        if flows.len() < FLOWS {
            flows.push(pb::FlowProgress {
                flow: flow.id.0,
                set: flow.set.clone(),
                from: flow.from.to_string(),
                to: flow.to.to_string(),
                tx_bps: figures.tx_bps,
                rx_bps: figures.rx_bps,
                lost_packets: figures.lost_packets,
            });
        }
    }
    Some(pb::Progress {
        elapsed_ns,
        phase: phase.map_or_else(String::new, |phase| phase.name.clone()),
        records: live.stored(),
        records_expected: plan.records_expected,
        rx_bps,
        tx_bps,
        flows,
    })
}
