//! Load by phase, host and kernel, and its peaks.

use std::collections::BTreeMap;

use weir_common::assignment::Transport;
use weir_common::id::AgentName;

use super::Context;
use crate::plan::{HostLoad, KernelLoad, Load, Peak, PlannedFlow, PlannedPhase};

/// Payload of a full TCP segment over Ethernet with time stamps, bytes: makes packets of a TCP rate.
const TCP_SEGMENT: u64 = 1_448;

/// The load of one phase; flows of a phase all start with it, so this is the load of its first moment.
pub(super) struct PhaseLoad<'a> {
    /// What leaves each agent, by its index.
    pub(super) tx: Vec<Peak>,
    /// What is sent to each agent.
    pub(super) rx: Vec<Peak>,
    /// Flows with an end in each known kernel.
    pub(super) kernels: BTreeMap<&'a str, Peak>,
    total: Peak,
}

/// Sums the flows of a phase.
pub(super) fn of_phase<'a>(
    context: &Context<'a>,
    flows: &[PlannedFlow],
    phase: &PlannedPhase,
) -> PhaseLoad<'a> {
    let none = vec![Peak::default(); context.agents.len()];
    let mut load = PhaseLoad {
        tx: none.clone(),
        rx: none,
        kernels: BTreeMap::new(),
        total: Peak::default(),
    };
    for flow in flows.iter().filter(|flow| flow.phase == phase.index) {
        let (Some(from), Some(to)) = (index(context, &flow.from), index(context, &flow.to)) else {
            continue;
        };
        let one = of_flow(flow);
        add(&mut load.tx[from], &one);
        add(&mut load.rx[to], &one);
        add(&mut load.total, &one);
        let (left, right) = (
            &context.agents[from].kernel_boot_id,
            &context.agents[to].kernel_boot_id,
        );
        let kernels = [Some(left), (right != left).then_some(right)];
        for kernel in kernels
            .into_iter()
            .flatten()
            .filter(|kernel| !kernel.is_empty())
        {
            add(load.kernels.entry(kernel).or_default(), &one);
        }
    }
    load
}

/// The peaks of all phases, for the agents that take part.
pub(super) fn peaks(context: &Context<'_>, phases: &[PlannedPhase], flows: &[PlannedFlow]) -> Load {
    let none = vec![(Peak::default(), Peak::default()); context.agents.len()];
    let (mut hosts, mut kernels, mut total) =
        (none, BTreeMap::<&str, Peak>::new(), Peak::default());
    for phase in phases {
        let load = of_phase(context, flows, phase);
        for (host, (tx, rx)) in hosts.iter_mut().zip(load.tx.iter().zip(&load.rx)) {
            raise(&mut host.0, tx);
            raise(&mut host.1, rx);
        }
        for (kernel, peak) in &load.kernels {
            raise(kernels.entry(kernel).or_default(), peak);
        }
        raise(&mut total, &load.total);
    }
    let takes_part = |(tx, rx): &(Peak, Peak)| tx.flows + rx.flows > 0;
    let members: Vec<usize> = (0..hosts.len())
        .filter(|index| takes_part(&hosts[*index]))
        .collect();
    let kernels = kernels.into_iter().map(|(kernel, peak)| {
        let here = members
            .iter()
            .map(|index| context.agents[*index])
            .filter(|agent| agent.kernel_boot_id == kernel);
        KernelLoad {
            kernel: kernel.to_owned(),
            agents: here.clone().count() as u32,
            cores: here.map(|agent| agent.cores).max().unwrap_or(0),
            peak,
        }
    });
    Load {
        kernels: kernels.collect(),
        hosts: members
            .iter()
            .map(|index| HostLoad {
                agent: context.agents[*index].name.clone(),
                tx: hosts[*index].0,
                rx: hosts[*index].1,
            })
            .collect(),
        total,
    }
}

fn index(context: &Context<'_>, name: &AgentName) -> Option<usize> {
    context
        .agents
        .binary_search_by(|agent| agent.name.cmp(name))
        .ok()
}

fn of_flow(flow: &PlannedFlow) -> Peak {
    let bps = flow.offered_bps.unwrap_or(0);
    let milli_pps = match flow.transport {
        Transport::Udp => flow.offered_milli_pps.unwrap_or(0),
        Transport::Tcp => (bps / 8).saturating_mul(1_000) / TCP_SEGMENT,
    };
    Peak {
        bps,
        milli_pps,
        flows: 1,
        unlimited: u32::from(flow.offered_bps.is_none()),
    }
}

/// Adds one load to another.
pub(super) fn add(sum: &mut Peak, one: &Peak) {
    sum.bps = sum.bps.saturating_add(one.bps);
    sum.milli_pps = sum.milli_pps.saturating_add(one.milli_pps);
    sum.flows = sum.flows.saturating_add(one.flows);
    sum.unlimited = sum.unlimited.saturating_add(one.unlimited);
}

fn raise(peak: &mut Peak, to: &Peak) {
    peak.bps = peak.bps.max(to.bps);
    peak.milli_pps = peak.milli_pps.max(to.milli_pps);
    peak.flows = peak.flows.max(to.flows);
    peak.unlimited = peak.unlimited.max(to.unlimited);
}
