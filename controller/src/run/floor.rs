//! What earlier checks found: the floor beside a run's figures, and the rate up
//! to which datagrams leave one by one.

use std::collections::{BTreeMap, BTreeSet};

use weir_experiment::analysis::ResultDocument;
use weir_experiment::analysis::floor::{self, Floor};
use weir_experiment::plan::Plan;
use weir_experiment::planner::AgentFacts;

use crate::store::Store;

/// Runs among which checks are looked for: the newest.
const RUNS_MOST: usize = 256;

/// The newest floor of each pair. A store that cannot say has none: a floor is
/// told beside a result and never holds one up.
pub(super) fn recent(store: &dyn Store) -> Vec<Floor> {
    let runs = store.runs(RUNS_MOST).unwrap_or_default();
    let checks = runs.iter().filter(|run| run.campaign == floor::CAMPAIGN);
    // The store gives the newest first.
    let documents: Vec<ResultDocument> = checks
        .rev()
        .filter_map(|summary| {
            let text = store.run(summary.run).ok()??.result_json?;
            serde_json::from_str(&text).ok()
        })
        .collect();
    floor::of(&documents)
}

/// Those of the pairs of a plan.
pub(super) fn of_pairs(floors: Vec<Floor>, plan: &Plan) -> Vec<Floor> {
    let pairs: BTreeSet<(&str, &str)> = plan
        .sessions
        .iter()
        .map(|session| (session.from.as_str(), session.to.as_str()))
        .collect();
    let of_plan = |floor: &Floor| pairs.contains(&(floor.from.as_str(), floor.to.as_str()));
    floors.into_iter().filter(of_plan).collect()
}

/// The largest rate of single datagrams of which the hosts of a pair lost none, for
/// each kernel that sent it, packets a second by boot id. What the network lost of it
/// is no reason to send in bundles.
pub(super) fn single_rates(floors: &[Floor], agents: &[AgentFacts]) -> BTreeMap<String, u64> {
    let mut rates = BTreeMap::new();
    for floor in floors {
        let host = agents
            .iter()
            .find(|agent| agent.name.as_str() == floor.from);
        if let (Some(host), Some(pps)) = (host, floor.hosts_pps) {
            let rate: &mut u64 = rates.entry(host.kernel_boot_id.clone()).or_default();
            *rate = (*rate).max(pps as u64);
        }
    }
    rates
}

#[cfg(test)]
mod tests {
    use weir_common::label::Labels;

    use super::*;

    fn host(name: &str, kernel: &str) -> AgentFacts {
        AgentFacts {
            name: name.parse().unwrap(),
            labels: Labels::new(),
            addresses: Vec::new(),
            mtu: None,
            kernel_boot_id: kernel.to_owned(),
            clock_domain: kernel.to_owned(),
            cores: 2,
            max_sessions: 0,
            qdiscs: Vec::new(),
            buckets: Vec::new(),
            congestion_controls: Vec::new(),
            alive: true,
        }
    }

    fn floor(from: &str, single_pps: f64, hosts_pps: Option<f64>) -> Floor {
        Floor {
            run: "r-0001".to_owned(),
            from: from.to_owned(),
            to: "z".to_owned(),
            clock: None,
            delay_us: None,
            lateness_us: None,
            single_pps: Some(single_pps),
            beyond: None,
            hosts_pps,
            refined_by: Vec::new(),
        }
    }

    #[test]
    fn a_kernel_has_the_largest_rate_that_hosts_on_it_carried() {
        let hosts = [
            host("a", "one"),
            host("b", "one"),
            host("c", "two"),
            host("d", "three"),
        ];
        let floors = [
            // Its network took most of it.
            floor("a", 4_700.0, Some(80_000.0)),
            floor("b", 40_000.0, Some(40_000.0)),
            floor("c", 100.0, Some(150_000.0)),
            floor("d", 100.0, None),
            floor("gone", 160_000.0, Some(160_000.0)),
        ];
        let rates = single_rates(&floors, &hosts);
        let expected = [("one", 80_000), ("two", 150_000)];
        assert!(
            rates
                .iter()
                .map(|(kernel, pps)| (kernel.as_str(), *pps))
                .eq(expected)
        );
    }
}
