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
    let mut floors: BTreeMap<(String, String), Floor> = BTreeMap::new();
    let runs = store.runs(RUNS_MOST).unwrap_or_default();
    for summary in runs.iter().filter(|run| run.campaign == floor::CAMPAIGN) {
        let Ok(Some(row)) = store.run(summary.run) else {
            continue;
        };
        let document = row
            .result_json
            .and_then(|text| serde_json::from_str::<ResultDocument>(&text).ok());
        for floor in document.iter().flat_map(floor::of) {
            let pair = (floor.from.clone(), floor.to.clone());
            floors.entry(pair).or_insert(floor);
        }
    }
    floors.into_values().collect()
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

/// The largest rate of single datagrams that was found on each kernel, packets a
/// second by boot id. A slower pair of the kernel was held up by its network.
pub(super) fn single_rates(floors: &[Floor], agents: &[AgentFacts]) -> BTreeMap<String, u64> {
    let mut rates = BTreeMap::new();
    for floor in floors {
        let host = agents
            .iter()
            .find(|agent| agent.name.as_str() == floor.from);
        if let (Some(host), Some(pps)) = (host, floor.single_pps) {
            let rate: &mut u64 = rates.entry(host.kernel_boot_id.clone()).or_default();
            *rate = (*rate).max(pps as u64);
        }
    }
    rates
}
