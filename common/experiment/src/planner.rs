//! From a campaign and the agents there are to a plan. Pure: the same arguments always give the same plan.

mod build;
mod bundles;
mod check;
mod error;
mod limit;
mod load;
mod locate;
mod observers;
mod pairs;
mod party;
mod rows;
mod single;
mod traffic;

use std::collections::BTreeMap;
use std::net::IpAddr;

use weir_common::assignment::bounds;
use weir_common::campaign::{Campaign, How, LostAgent};
use weir_common::id::AgentName;
use weir_common::label::Labels;
use weir_common::selector::Subject;

pub use error::PlanError;
pub use rows::rows_per_end;

use crate::distortion::TokenBucket;
use crate::plan::{OnLostAgent, Plan, PlannedHost, PlannedPhase, Warning};

/// Most flows of a plan, and most pairs that a flow set may choose from: a mesh of 1,000 hosts.
pub const FLOWS_MOST: usize = 1_000_000;

/// What the planner knows of one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentFacts {
    /// Its name.
    pub name: AgentName,
    /// Its labels.
    pub labels: Labels,
    /// Addresses of its interfaces, best first: global ones, and loopback only if there is nothing else or
    /// the agent was started for a lab.
    pub addresses: Vec<IpAddr>,
    /// Least MTU of those interfaces, bytes; `None` = not known.
    pub mtu: Option<u32>,
    /// Boot id of its kernel: equal for agents that share one; empty = not known.
    pub kernel_boot_id: String,
    /// Name of the clock that it reads: equal for agents that read one; empty = not known.
    pub clock_domain: String,
    /// Cores that it may use; 0 = not known.
    pub cores: u32,
    /// Most sessions that its policy and descriptors allow in a run; 0 = not known.
    pub max_sessions: u32,
    /// Queueing disciplines of the interfaces that traffic may take: interface and kind.
    pub qdiscs: Vec<(String, String)>,
    /// Those of them that are token buckets.
    pub buckets: Vec<TokenBucket>,
    /// TCP congestion controls it may use; empty = not known.
    pub congestion_controls: Vec<String>,
    /// Whether it is connected.
    pub alive: bool,
}

impl AgentFacts {
    fn subject(&self) -> Subject<'_> {
        Subject {
            name: self.name.as_str(),
            labels: &self.labels,
            addresses: &self.addresses,
        }
    }

    fn host(&self) -> PlannedHost {
        let labels = self
            .labels
            .iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        PlannedHost {
            name: self.name.clone(),
            labels: labels.collect(),
            addresses: self.addresses.clone(),
            kernel: self.kernel_boot_id.clone(),
            clock: self.clock_domain.clone(),
            sessions: 0,
        }
    }
}

/// What the modules of the planner share: the campaign, the agents by name, and the hosts they would be.
struct Context<'a> {
    campaign: &'a Campaign,
    agents: Vec<&'a AgentFacts>,
    /// Same indices as `agents`.
    hosts: Vec<PlannedHost>,
}

/// Plans a campaign on the agents there are, of whose kernels no rate was measured; as [`plan_with`].
pub fn plan(campaign: &Campaign, agents: &[AgentFacts], tag_seed: u64) -> Result<Plan, PlanError> {
    plan_with(campaign, agents, tag_seed, &BTreeMap::new())
}

/// Plans a campaign on the agents there are. `single_pps` is what earlier checks found that each kernel sends and
/// receives one by one, packets a second by boot id.
///
/// Draws of the campaign (samples, random pairs) come from its own seed, so that they are the same in every
/// run. `tag_seed` belongs to the run: packets of an earlier run must not carry this run's tags.
pub fn plan_with(
    campaign: &Campaign,
    agents: &[AgentFacts],
    tag_seed: u64,
    single_pps: &BTreeMap<String, u64>,
) -> Result<Plan, PlanError> {
    let mut agents: Vec<&AgentFacts> = agents.iter().collect();
    agents.sort_by(|left, right| left.name.cmp(&right.name));
    let hosts = agents.iter().map(|agent| agent.host()).collect();
    let context = Context {
        campaign,
        agents,
        hosts,
    };
    let mut warnings = Vec::new();

    let phases = phases(campaign)?;
    let mut sets = Vec::with_capacity(campaign.flow_sets.len());
    for (index, set) in campaign.flow_sets.iter().enumerate() {
        let from = party::resolve(&context, set, "from", &set.from, &mut warnings)?;
        let to = party::resolve(&context, set, "to", &set.to, &mut warnings)?;
        let links = pairs::links(&context, index, &from, &to)?;
        if set.how == How::OneToOne && set.apart.is_none() && !set.both && links.len() < from.len()
        {
            let left_out = from.len() - links.len();
            let text = format!(
                "flow set `{}`: {left_out} of its pairs would be an agent with itself; left out",
                set.name
            );
            warn(&mut warnings, "self-pairs", text);
        }
        let traffic = traffic::socket_traffic(set, &campaign.traces)?;
        check::set(&context, set, &traffic, &links, &mut warnings)?;
        sets.push(build::Paired {
            set,
            links,
            traffic,
        });
    }
    check::flow_count(
        campaign,
        sets.iter()
            .map(|set| set.links.len() * set.set.phases.len())
            .sum(),
    )?;

    let built = build::build(&context, &phases, &sets, tag_seed)?;
    let hosts = check::sessions(&context, &built.sessions)?;
    let observers = observers::choose(&context, &hosts, &mut warnings);
    let load = load::peaks(&context, &phases, &built.flows);
    limit::check(&context, &phases, &built.flows)?;
    check::load(&context, &load, &mut warnings);

    let mut plan = Plan {
        name: campaign.name.clone(),
        question: campaign.question.clone(),
        seed: campaign.seed,
        interval_ns: campaign.interval.as_nanos(),
        linger_ns: campaign.linger.as_nanos(),
        settle_ns: campaign.settle.as_nanos(),
        lost_agent: match campaign.lost_agent {
            LostAgent::Mark => OnLostAgent::Mark,
            LostAgent::Fail => OnLostAgent::Fail,
        },
        observers,
        hosts,
        end_ns: built
            .flows
            .iter()
            .map(|flow| flow.end_ns())
            .max()
            .unwrap_or(0),
        records_expected: built
            .flows
            .iter()
            .map(|flow| 2 * u64::from(flow.rows_per_end))
            .sum(),
        records_at_most: built.flows.iter().any(|flow| flow.rows_at_most),
        phases,
        sessions: built.sessions,
        flows: built.flows,
        load,
        warnings,
        traces: campaign.traces.clone(),
    };
    single::share(&mut plan, single_pps);
    // What leaves in bundles is decided by the shares.
    bundles::warn_of(&context, &plan.sessions, &mut plan.warnings);
    Ok(plan)
}

fn phases(campaign: &Campaign) -> Result<Vec<PlannedPhase>, PlanError> {
    if campaign.length().as_nanos() > bounds::END_MAX_NS {
        return Err(PlanError::TooLong {
            length: campaign.length(),
        });
    }
    let planned = campaign
        .phases
        .iter()
        .enumerate()
        .map(|(index, phase)| PlannedPhase {
            index: index as u16,
            name: phase.name.clone(),
            start_ns: campaign.window(index).0.as_nanos(),
            length_ns: phase.duration.as_nanos(),
            warmup_ns: phase.warmup.as_nanos(),
        });
    Ok(planned.collect())
}

fn warn(warnings: &mut Vec<Warning>, code: &str, text: String) {
    let warning = Warning {
        code: code.to_owned(),
        text,
    };
    if !warnings.contains(&warning) {
        warnings.push(warning);
    }
}

#[cfg(test)]
mod tests;
