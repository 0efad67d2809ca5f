//! The `[limits]` of the campaign: what no phase may exceed.
//!
//! `per_LABEL` counts what leaves the agents of one value of the label, `target` what is sent to one agent,
//! `per_kernel` every flow with an end in the kernel, once. A flow that is as fast as it can be has no rate
//! that a limit could hold, so it breaks every limit that it comes under.

use std::collections::BTreeMap;

use weir_common::campaign::policy;
use weir_common::unit::{BitRate, PacketRate};

use super::{Context, PlanError, load};
use crate::plan::{Peak, PlannedFlow, PlannedPhase};

/// Checks every limit in every phase.
pub(super) fn check(
    context: &Context<'_>,
    phases: &[PlannedPhase],
    flows: &[PlannedFlow],
) -> Result<(), PlanError> {
    let limits = &context.campaign.limits;
    if limits.per_label.is_empty() && limits.per_kernel.is_none() && limits.target.is_none() {
        return Ok(());
    }
    for phase in phases {
        let load = load::of_phase(context, flows, phase);
        for (label, limit) in &limits.per_label {
            let mut sums: BTreeMap<&str, Peak> = BTreeMap::new();
            for (agent, tx) in context.agents.iter().zip(&load.tx) {
                if let Some(value) = agent.labels.value(label) {
                    load::add(sums.entry(value).or_default(), tx);
                }
            }
            let key = format!("per_{label}");
            for (value, sum) in sums {
                within(
                    &key,
                    *limit,
                    phase,
                    || format!("what leaves {label} {value}"),
                    &sum,
                )?;
            }
        }
        if let Some(limit) = limits.target {
            for (agent, rx) in context.agents.iter().zip(&load.rx) {
                within(
                    "target",
                    limit,
                    phase,
                    || format!("what is sent to {}", agent.name),
                    rx,
                )?;
            }
        }
        if let Some(limit) = limits.per_kernel {
            for (kernel, sum) in &load.kernels {
                within(
                    "per_kernel",
                    limit,
                    phase,
                    || format!("kernel {kernel}"),
                    sum,
                )?;
            }
        }
    }
    Ok(())
}

fn within(
    key: &str,
    limit: policy::Load,
    phase: &PlannedPhase,
    place: impl Fn() -> String,
    load: &Peak,
) -> Result<(), PlanError> {
    let (over, sum) = match limit {
        policy::Load::Bits(most) => (load.bps > most.bits_per_second(), bits(load.bps)),
        policy::Load::Packets(most) => (load.milli_pps > most.millis(), packets(load.milli_pps)),
    };
    let wanted = match load.unlimited {
        0 if !over => return Ok(()),
        0 => sum,
        1 => "a flow of `max`, which has no rate: give it one".to_owned(),
        several => format!("{several} flows of `max`, which has no rate: give them one"),
    };
    Err(PlanError::Limit {
        key: key.to_owned(),
        phase: phase.name.clone(),
        place: place(),
        wanted,
        allowed: limit.to_string(),
    })
}

fn bits(bps: u64) -> String {
    BitRate::new(bps).map_or_else(|| format!("{bps} bit/s"), |rate| rate.to_string())
}

fn packets(milli_pps: u64) -> String {
    PacketRate::from_millis(milli_pps).map_or_else(
        || format!("{} pkt/s", milli_pps / 1_000),
        |rate| rate.to_string(),
    )
}
