//! Which connected agents one side of the pairs means.

use weir_common::campaign::{FlowSet, LostAgent, Party};
use weir_common::selector::Subject;

use super::{Context, PlanError, warn};
use crate::plan::Warning;

/// Most agents that a message lists.
const LISTED: usize = 8;

/// Indices into [`Context::agents`]: in the order of names for selectors and groups, as written for names.
///
/// Agents that are not connected are left out with a warning, whether by selector or by name; it is an
/// error if none remains, or if the campaign says `lost_agent = "fail"`.
pub(super) fn resolve(
    context: &Context<'_>,
    set: &FlowSet,
    key: &'static str,
    party: &Party,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<usize>, PlanError> {
    let error = |problem| PlanError::Party {
        set: set.name.clone(),
        key,
        problem,
    };
    let everyone: Vec<Subject<'_>> = context.agents.iter().map(|agent| agent.subject()).collect();
    let meant = context.campaign.resolve(party, &everyone).map_err(error)?;

    // A sample is drawn from the connected agents: a lost one must not take a place in it.
    let selector = match party {
        Party::Selector(selector) => Some(selector),
        Party::Group(name) => context.campaign.groups.get(name),
        Party::Agents(_) => None,
    };
    let idle = selector.map_or_else(Vec::new, |selector| selector.idle_values(&everyone));
    if !idle.is_empty() {
        let text = format!("`{party}`: no agent has {}", idle.join(", "));
        warn(warnings, "no-such-value", text);
    }
    let is_meant = |index: &usize| match selector {
        Some(selector) => selector.matches(&everyone[*index]),
        None => meant.contains(index),
    };
    let lost: Vec<usize> = (0..everyone.len())
        .filter(|index| !context.agents[*index].alive)
        .filter(is_meant)
        .collect();
    if lost.is_empty() {
        return Ok(meant);
    }
    let left = match selector {
        Some(selector) => {
            let alive: Vec<usize> = (0..everyone.len())
                .filter(|index| context.agents[*index].alive)
                .collect();
            let subjects: Vec<Subject<'_>> = alive.iter().map(|index| everyone[*index]).collect();
            let chosen = selector.select(&subjects, context.campaign.seed);
            chosen.into_iter().map(|place| alive[place]).collect()
        }
        None => meant
            .iter()
            .copied()
            .filter(|index| !lost.contains(index))
            .collect::<Vec<_>>(),
    };
    let names = listed(context, &lost);
    let not_connected = |of| PlanError::NotConnected {
        set: set.name.clone(),
        key,
        party: party.to_string(),
        of,
        names: names.clone(),
    };
    if left.is_empty() {
        return Err(not_connected("means only agents that are"));
    }
    if context.campaign.lost_agent == LostAgent::Fail {
        return Err(not_connected(
            "means agents that are (and `lost_agent = \"fail\"`)",
        ));
    }
    warn(
        warnings,
        "agents-left-out",
        format!("`{party}` also means agents that are not connected; left out: {names}"),
    );
    Ok(left)
}

fn listed(context: &Context<'_>, agents: &[usize]) -> String {
    let names: Vec<&str> = agents
        .iter()
        .take(LISTED)
        .map(|index| context.agents[*index].name.as_str())
        .collect();
    let more = agents.len().saturating_sub(LISTED);
    let more = if more == 0 {
        String::new()
    } else {
        format!(" and {more} more")
    };
    names.join(", ") + &more
}
