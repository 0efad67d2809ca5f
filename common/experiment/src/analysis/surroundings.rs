//! What agents saw of their hosts and kernels beside the flows, summed by phase.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_common::id::AgentName;
use weir_common::observation::{KernelCounters, KernelRow, LinkCounters, LinkRow, Observed};

use super::document::{LinkTotal, LostAt};
use crate::plan::{Plan, PlannedFlow};

/// Places of loss that a flow names.
const PLACES_MOST: usize = 5;

/// Interfaces that the document names.
const LINKS_MOST: usize = 200;

/// Interfaces, and kernels, that are kept in memory: their names come from agents.
const KEPT_MOST: usize = 100_000;

/// Everything known of hosts and kernels beside the flows.
///
/// Rows are taken in any order, each once; a row belongs to the phase that has
/// begun last by its middle.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Start and end of the warm-up of each phase, ns from T0.
    phases: Vec<(u64, u64)>,
    kernels: BTreeMap<String, Vec<KernelTotals>>,
    links: BTreeMap<(AgentName, String), LinkTotals>,
    observed: BTreeMap<AgentName, Observed>,
}

/// A kernel in the measured part of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct KernelTotals {
    counters: KernelCounters,
    /// Time of all cores together, us.
    core_us: f64,
}

impl KernelTotals {
    /// Share of the CPU time that the hypervisor gave to others.
    pub(super) fn steal(&self) -> Option<f64> {
        let steal_us = self.counters.steal_us? as f64;
        (self.core_us > 0.0).then(|| steal_us / self.core_us)
    }

    /// Packets dropped before the stack, and their share of all that came to it.
    pub(super) fn softnet_drops(&self) -> Option<(u64, f64)> {
        let dropped = self.counters.softnet_dropped?;
        let all = self
            .counters
            .softnet_processed
            .unwrap_or(0)
            .saturating_add(dropped);
        Some((dropped, dropped as f64 / (all.max(1)) as f64))
    }
}

/// An interface, over the run and by phase.
#[derive(Debug, Clone, PartialEq, Default)]
struct LinkTotals {
    all: LinkCounters,
    by_phase: Vec<LinkCounters>,
    /// Kinds of queueing disciplines, with what was dropped while they were named.
    qdiscs: BTreeMap<String, u64>,
    backlog_max_bytes: Option<u64>,
}

impl LinkTotals {
    /// The queueing discipline that dropped most.
    fn qdisc(&self) -> Option<&str> {
        let worst = self.qdiscs.iter().max_by_key(|(_, dropped)| **dropped)?;
        Some(worst.0)
    }
}

impl Surroundings {
    /// Of a run with this plan; nothing is known yet.
    pub fn new(plan: &Plan) -> Self {
        let phases = plan.phases.iter();
        Self {
            phases: phases
                .map(|phase| (phase.start_ns, phase.start_ns + phase.warmup_ns))
                .collect(),
            ..Self::default()
        }
    }

    /// Index of the phase of a row, and whether the row lies in its warm-up.
    fn phase(&self, start_ns: u64, length_ns: u64) -> Option<(usize, bool)> {
        let middle_ns = start_ns.saturating_add(length_ns / 2);
        let begun = self
            .phases
            .iter()
            .rposition(|(start, _)| *start <= middle_ns)?;
        Some((begun, middle_ns < self.phases[begun].1))
    }

    /// Takes a row of a kernel.
    pub fn kernel_row(&mut self, row: &KernelRow) {
        let Some((phase, false)) = self.phase(row.start_ns, row.length_ns) else {
            return;
        };
        let phases = self.phases.len();
        let is_new = !self.kernels.contains_key(&row.kernel_boot_id);
        if is_new && self.kernels.len() >= KEPT_MOST {
            return;
        }
        let known = self.kernels.entry(row.kernel_boot_id.clone()).or_default();
        known.resize(phases, KernelTotals::default());
        known[phase].counters.add(&row.counters);
        known[phase].core_us += row.length_ns as f64 / 1e3 * f64::from(row.cores);
    }

    /// Takes a row of an agent's interface.
    pub fn link_row(&mut self, agent: &AgentName, row: &LinkRow) {
        let phase = self.phase(row.start_ns, row.length_ns);
        let phases = self.phases.len();
        let key = (agent.clone(), row.interface.clone());
        if self.links.len() >= KEPT_MOST && !self.links.contains_key(&key) {
            return;
        }
        let known = self.links.entry(key).or_default();
        known.all.add(&row.counters);
        known.backlog_max_bytes = known.backlog_max_bytes.max(row.qdisc_backlog_bytes);
        if let Some(kind) = &row.qdisc {
            let dropped = row.counters.qdisc_drops.unwrap_or(0);
            let sum = known.qdiscs.entry(kind.clone()).or_default();
            *sum = sum.saturating_add(dropped);
        }
        if let Some((phase, _)) = phase {
            known.by_phase.resize(phases, LinkCounters::default());
            known.by_phase[phase].add(&row.counters);
        }
    }

    /// Takes the end of an agent's observation.
    pub fn observed(&mut self, agent: AgentName, observed: Observed) {
        self.observed.insert(agent, observed);
    }

    /// What observed, by agent.
    pub fn observations(&self) -> &BTreeMap<AgentName, Observed> {
        &self.observed
    }

    /// Who captured packets, by the agents that saw it.
    pub fn observers(&self) -> Vec<Value> {
        let all = self.observed.iter().flat_map(|(agent, observed)| {
            let observers = observed.observers.iter();
            observers.map(move |observer| (agent, observer))
        });
        let told = all.map(|(agent, observer)| {
            json!({
                "who": observer.who,
                "pid": observer.pid,
                "interface": observer.interface,
                "seen_by": agent,
                "on_its_host": observer.here,
            })
        });
        told.collect()
    }

    /// What a kernel went through in the measured part of each phase.
    pub fn kernel_summary(&self, kernel: &str, plan: &Plan) -> Vec<Value> {
        let phases = plan.phases.iter().filter_map(|phase| {
            let totals = self.kernel(kernel, phase.index)?;
            let share = |us: Option<u64>| {
                let us = us.filter(|_| totals.core_us > 0.0)?;
                Some(us as f64 / totals.core_us)
            };
            let counters = &totals.counters;
            Some(json!({
                "phase": phase.name,
                "busy": share(counters.cpu_us),
                "steal": share(counters.steal_us),
                "softnet_processed": counters.softnet_processed,
                "softnet_dropped": counters.softnet_dropped,
                "softnet_squeezed": counters.softnet_squeezed,
                "psi_cpu_some_us": counters.psi_cpu_some_us,
            }))
        });
        phases.collect()
    }

    /// A kernel in a phase.
    pub(super) fn kernel(&self, kernel: &str, phase: u16) -> Option<&KernelTotals> {
        self.kernels.get(kernel)?.get(usize::from(phase))
    }

    /// Interfaces at which something was lost over the run, the worst first.
    pub(super) fn lossy_links(&self) -> Vec<LinkTotal> {
        let lossy = self.links.iter().filter(|(_, link)| link.all.lost() > 0);
        let mut lossy: Vec<LinkTotal> = lossy.map(total).collect();
        lossy.sort_by_key(|link| std::cmp::Reverse(link.counters.lost()));
        lossy.truncate(LINKS_MOST);
        lossy
    }

    /// Where packets were dropped in a flow's phase, the worst first: at its own
    /// two hosts and at every agent that only watches. What other hosts lost was
    /// not on its way.
    pub(super) fn lost_at(&self, plan: &Plan, flow: &PlannedFlow) -> Vec<LostAt> {
        let mut places = Vec::new();
        for ((agent, interface), link) in &self.links {
            if *agent != flow.from && *agent != flow.to && plan.host(agent).is_some() {
                continue;
            }
            let Some(counters) = link.by_phase.get(usize::from(flow.phase)) else {
                continue;
            };
            let mut place = |by: &str, dropped: u64| {
                if dropped > 0 {
                    places.push(LostAt {
                        agent: agent.to_string(),
                        interface: interface.clone(),
                        by: by.to_owned(),
                        dropped,
                    });
                }
            };
            let sum =
                |a: Option<u64>, b: Option<u64>| a.unwrap_or(0).saturating_add(b.unwrap_or(0));
            // What arrives at the sender's host, and what leaves the receiver's,
            // is not the flow.
            if *agent != flow.to {
                place(
                    link.qdisc().unwrap_or("queue"),
                    counters.qdisc_drops.unwrap_or(0),
                );
                place("tx", sum(counters.tx_drops, counters.tx_errors));
            }
            if *agent != flow.from {
                place("rx", sum(counters.rx_drops, counters.rx_errors));
            }
        }
        places.sort_by_key(|place| std::cmp::Reverse(place.dropped));
        places.truncate(PLACES_MOST);
        places
    }
}

fn total(((agent, interface), link): (&(AgentName, String), &LinkTotals)) -> LinkTotal {
    LinkTotal {
        agent: agent.to_string(),
        interface: interface.clone(),
        qdisc: link.qdisc().map(str::to_owned),
        backlog_max_bytes: link.backlog_max_bytes.filter(|&bytes| bytes > 0),
        counters: link.all,
    }
}
