//! Which pairs a flow set makes of its two sides.
//!
//! 1. `how` makes ordered pairs; an agent is never paired with itself.
//! 2. `apart` drops pairs whose agents have an equal value of the label; an agent without it is apart from all.
//! 3. With `both`, a pair and its opposite are one; then `random(N)` draws N of what is left.
//! 4. With `both`, each pair becomes two flows that name each other.

use std::collections::{BTreeSet, HashSet};

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use weir_common::campaign::{FlowSet, How};
use weir_common::nearest::nearest;

use super::{Context, FLOWS_MOST, PlanError};

/// One direction of one pair, by index of agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    /// The generator.
    pub(super) from: usize,
    /// The receiver.
    pub(super) to: usize,
    /// Distance to the opposite link within the flow set, with `both`: 1 or -1.
    pub(super) reverse: Option<i8>,
}

/// The links of a flow set, in a fixed order; at least one.
pub(super) fn links(
    context: &Context<'_>,
    set_index: usize,
    from: &[usize],
    to: &[usize],
) -> Result<Vec<Link>, PlanError> {
    let set = &context.campaign.flow_sets[set_index];
    let mut pairs = ordered(set, from, to)?;
    let before = pairs.len();
    if let Some(label) = &set.apart {
        apart(context, set, label, &mut pairs)?;
    }
    if pairs.is_empty() {
        let why = if before == 0 {
            "an agent is never paired with itself".to_owned()
        } else {
            format!(
                "`apart = \"{}\"` drops all {before} pairs",
                set.apart.as_deref().unwrap_or_default()
            )
        };
        return Err(PlanError::NoPairs {
            set: set.name.clone(),
            how: set.how.to_string(),
            from: from.len(),
            to: to.len(),
            why,
        });
    }
    if set.both {
        let mut seen = HashSet::new();
        pairs.retain(|&(from, to)| seen.insert((from.min(to), from.max(to))));
    }
    if let How::Random(asked) = set.how {
        if pairs.len() < asked as usize {
            return Err(PlanError::Random {
                set: set.name.clone(),
                asked,
                there: pairs.len(),
            });
        }
        draw(
            &mut pairs,
            asked as usize,
            context.campaign.seed,
            set_index as u64,
        );
    }
    Ok(pairs
        .into_iter()
        .flat_map(|pair| directions(pair, set.both))
        .collect())
}

fn directions((from, to): (usize, usize), both: bool) -> impl Iterator<Item = Link> {
    let forward = Link {
        from,
        to,
        reverse: both.then_some(1),
    };
    let backward = Link {
        from: to,
        to: from,
        reverse: Some(-1),
    };
    std::iter::once(forward).chain(both.then_some(backward))
}

fn ordered(set: &FlowSet, from: &[usize], to: &[usize]) -> Result<Vec<(usize, usize)>, PlanError> {
    let mut pairs = match set.how {
        How::All | How::Random(_) => product(from, to)?,
        How::Mesh => {
            let members = members(from, to);
            product(&members, &members)?
        }
        How::Ring => {
            let members = members(from, to);
            let next = members.iter().copied().cycle().skip(1);
            members.iter().copied().zip(next).collect()
        }
        How::OneToOne if from.len() != to.len() => {
            return Err(PlanError::Sizes {
                set: set.name.clone(),
                from: from.len(),
                to: to.len(),
            });
        }
        How::OneToOne => from.iter().copied().zip(to.iter().copied()).collect(),
    };
    let mut seen = HashSet::new();
    pairs.retain(|pair| pair.0 != pair.1 && seen.insert(*pair));
    Ok(pairs)
}

/// The agents of both sides, each once, in the order of `from` and then `to`.
fn members(from: &[usize], to: &[usize]) -> Vec<usize> {
    let mut seen = HashSet::new();
    from.iter()
        .chain(to)
        .copied()
        .filter(|agent| seen.insert(*agent))
        .collect()
}

fn product(from: &[usize], to: &[usize]) -> Result<Vec<(usize, usize)>, PlanError> {
    let wanted = from.len().saturating_mul(to.len());
    if wanted > FLOWS_MOST {
        return Err(PlanError::Flows {
            wanted,
            limit: "one run",
            allowed: FLOWS_MOST as u64,
        });
    }
    Ok(from
        .iter()
        .flat_map(|from| to.iter().map(|to| (*from, *to)))
        .collect())
}

fn apart(
    context: &Context<'_>,
    set: &FlowSet,
    label: &str,
    pairs: &mut Vec<(usize, usize)>,
) -> Result<(), PlanError> {
    let value = |agent: usize| context.agents[agent].labels.value(label);
    let agents: BTreeSet<usize> = pairs.iter().flat_map(|pair| [pair.0, pair.1]).collect();
    if !agents.is_empty() && agents.iter().all(|agent| value(*agent).is_none()) {
        let labels: BTreeSet<&str> = agents
            .iter()
            .flat_map(|agent| context.agents[*agent].labels.iter().map(|(key, _)| key))
            .collect();
        let near = nearest(label, labels.iter().copied());
        return Err(PlanError::Apart {
            set: set.name.clone(),
            label: label.to_owned(),
            near: near.map_or_else(String::new, |near| format!(", did you mean `{near}`?")),
            labels: if labels.is_empty() {
                "none".to_owned()
            } else {
                labels.into_iter().collect::<Vec<_>>().join(", ")
            },
        });
    }
    pairs.retain(|pair| value(pair.0).is_none() || value(pair.0) != value(pair.1));
    Ok(())
}

/// Keeps `count` of `pairs`, in their old order. Each flow set draws from a stream of its own.
fn draw(pairs: &mut Vec<(usize, usize)>, count: usize, seed: u64, stream: u64) {
    let mut random = ChaCha12Rng::seed_from_u64(seed);
    random.set_stream(stream);
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    for place in 0..count {
        let left = (order.len() - place) as u64;
        // The bias of the remainder is below 2^-44 for a million pairs.
        let other = place + (random.next_u64() % left) as usize;
        order.swap(place, other);
    }
    order.truncate(count);
    order.sort_unstable();
    *pairs = order.into_iter().map(|place| pairs[place]).collect();
}
