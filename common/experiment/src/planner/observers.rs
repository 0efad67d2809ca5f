//! Which agents watch their interfaces without having a flow.

use super::{Context, warn};
use crate::plan::{PlannedHost, PlannedObserver, Warning};

/// Most agents of a run that only watch: each row of each of their interfaces
/// is stored.
const MOST: usize = 1_024;

/// The connected routers that are no host of the run.
///
/// Every router takes part, wherever it stands: nobody but the routing knows
/// which way the packets will go, and it may change while the run goes on.
pub(super) fn choose(
    context: &Context<'_>,
    hosts: &[PlannedHost],
    warnings: &mut Vec<Warning>,
) -> Vec<PlannedObserver> {
    let taking_part = |name| hosts.binary_search_by(|host| host.name.cmp(name)).is_ok();
    let mut observers: Vec<PlannedObserver> = context
        .agents
        .iter()
        .filter(|agent| agent.alive && !taking_part(&agent.name))
        .filter(|agent| agent.labels.value("role").is_some_and(is_router))
        .map(|agent| PlannedObserver {
            name: agent.name.clone(),
            kernel: agent.kernel_boot_id.clone(),
        })
        .collect();
    if observers.len() > MOST {
        let text = format!(
            "{} routers have agents, more than the {MOST} that can watch in one run: the last by name do not",
            observers.len()
        );
        warn(warnings, "routers-left-out", text);
        observers.truncate(MOST);
    }
    observers
}

/// `router`, and kinds of it such as `border-router`.
fn is_router(role: &str) -> bool {
    role == "router" || role.ends_with("-router")
}
