//! Selectors: which agents are meant, by labels, name and address.
//!
//! Keys are joined by AND, the values of a key by OR, `*` and `?` stand for any characters, a negated value
//! excludes. Matching is pure: the same subjects and seed always give the same agents.
//!
//! The command-line form, `'asn=150,151 role=host node!=host_9'`, is [`FromStr`](std::str::FromStr) and
//! `Display` of [`Selector`]; the table form of a campaign file is built key by key with [`Selector::add`].

mod glob;
mod line;
mod prefix;

pub use glob::Glob;
pub use prefix::Prefix;

use crate::label::{self, LabelError, Labels};
use crate::nearest::nearest;
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What a selector looks at: one agent.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The agent's name.
    pub name: &'a str,
    /// Its labels, folded.
    pub labels: &'a Labels,
    /// The addresses of its interfaces, for `prefix`.
    pub addresses: &'a [IpAddr],
}

/// The condition on one label or on the name: one of `any` (if there are some), and none of `none`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// At least one must match, unless empty.
    pub any: Vec<Glob>,
    /// None may match.
    pub none: Vec<Glob>,
}

impl Condition {
    fn holds(&self, value: Option<&str>) -> bool {
        let Some(value) = value else {
            return self.any.is_empty();
        };
        let wanted = self.any.is_empty() || self.any.iter().any(|glob| glob.matches(value));
        wanted && !self.none.iter().any(|glob| glob.matches(value))
    }
}

/// A choice of agents. The empty selector is every agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Conditions on labels, by folded key.
    pub labels: BTreeMap<String, Condition>,
    /// Condition on the agent's name.
    pub name: Option<Condition>,
    /// Networks of which the agent must have an address; any of them suffices.
    pub prefix: Vec<Prefix>,
    /// Only so many of those that match, drawn by the campaign's seed.
    pub sample: Option<u32>,
    /// Names that are left out.
    pub except: Vec<Glob>,
}

/// Why a text or table is not a selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// No condition at all.
    #[error("an empty selector: write `label=value`, such as `asn=150`")]
    Empty,
    /// Several labels joined by a comma.
    #[error("`{text}` joins labels with a comma: write `{right}` (a space is AND, a comma is OR)")]
    Comma {
        /// The text as given.
        text: String,
        /// The right form.
        right: String,
    },
    /// A bare `!`, which shells expand.
    #[error("`{text}` has a bare `!`: write `{right}`")]
    Bang {
        /// The text as given.
        text: String,
        /// The right form.
        right: String,
    },
    /// A word without `=` among conditions.
    #[error("`{word}` is no condition: write `label=value`, such as `{example}`")]
    NoCondition {
        /// The word.
        word: String,
        /// A valid form.
        example: String,
    },
    /// The same key twice.
    #[error("`{key}` stands twice: give all its values once, `{key}=a,b`")]
    Twice {
        /// The key.
        key: String,
    },
    /// A key or value that cannot be a label.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// A pattern that can match nothing.
    #[error(
        "`{value}` is not a value of `{key}`: it must not be empty or hold blanks, `,`, `=`, `!` or quotes"
    )]
    Value {
        /// The key.
        key: String,
        /// The value as given.
        value: String,
    },
    /// `prefix` is not a network.
    #[error("`{text}` is not a network: write `10.150.0.0/24` or `fd00::/64`")]
    Prefix {
        /// The text as given.
        text: String,
    },
    /// `sample` is not a count.
    #[error("`{text}` is not a sample: write how many agents to take, from 1")]
    Sample {
        /// The text as given.
        text: String,
    },
    /// `!=` where only `=` has a meaning.
    #[error("`{key}` cannot be negated")]
    NotNegatable {
        /// The key.
        key: String,
    },
    /// A key of a later version.
    #[error("`{key}` in a selector is not available yet")]
    NotYet {
        /// The key.
        key: String,
    },
}

impl Selector {
    /// Adds the values of one key. `key` is a label, or `name`, `prefix`, `sample`, `except`; `negated` is `!=`.
    pub fn add(&mut self, key: &str, negated: bool, values: &[&str]) -> Result<(), SelectorError> {
        if values.is_empty() {
            return Err(SelectorError::Value {
                key: key.to_owned(),
                value: String::new(),
            });
        }
        match key {
            "per" | "discover" => {
                return Err(SelectorError::NotYet {
                    key: key.to_owned(),
                });
            }
            "prefix" | "sample" | "except" if negated => {
                return Err(SelectorError::NotNegatable {
                    key: key.to_owned(),
                });
            }
            "prefix" => {
                once(key, self.prefix.is_empty())?;
                self.prefix = values
                    .iter()
                    .map(|text| text.parse())
                    .collect::<Result<_, _>>()?;
            }
            "sample" => {
                once(key, self.sample.is_none())?;
                self.sample = Some(sample(values)?);
            }
            "except" => {
                once(key, self.except.is_empty())?;
                self.except = globs(key, values, false)?;
            }
            "name" => {
                let condition = self.name.get_or_insert_default();
                extend(key, condition, negated, globs(key, values, false)?)?;
            }
            _ => {
                let key = label::key(key)?;
                let values = globs(&key, values, true)?;
                extend(
                    &key,
                    self.labels.entry(key.clone()).or_default(),
                    negated,
                    values,
                )?;
            }
        }
        Ok(())
    }

    /// True if the agent is meant, `sample` apart.
    pub fn matches(&self, subject: &Subject<'_>) -> bool {
        let labelled = self
            .labels
            .iter()
            .all(|(key, condition)| condition.holds(subject.labels.value(key)));
        let named = self
            .name
            .as_ref()
            .is_none_or(|condition| condition.holds(Some(subject.name)));
        let inside = |prefix: &Prefix| {
            subject
                .addresses
                .iter()
                .any(|address| prefix.contains(*address))
        };
        let placed = self.prefix.is_empty() || self.prefix.iter().any(inside);
        labelled && named && placed && !self.except.iter().any(|glob| glob.matches(subject.name))
    }

    /// Indices of the agents that are meant, in the order of their names; `sample` draws from them by `seed`.
    pub fn select(&self, subjects: &[Subject<'_>], seed: u64) -> Vec<usize> {
        let mut chosen: Vec<usize> = (0..subjects.len())
            .filter(|index| self.matches(&subjects[*index]))
            .collect();
        chosen.sort_by_key(|index| subjects[*index].name);
        if let Some(sample) = self.sample {
            draw(&mut chosen, sample as usize, seed);
        }
        chosen
    }

    /// Values in lists of which no agent has any, though the selector matches some:
    /// `asn=151,152` where there is no 152. Each as `key value`.
    pub fn idle_values(&self, subjects: &[Subject<'_>]) -> Vec<String> {
        let idle = |key: &str, condition: &Condition, there: &BTreeSet<&str>| {
            let unmet = |glob: &&Glob| !there.iter().any(|value| glob.matches(value));
            let words = condition.any.iter().filter(unmet);
            words
                .map(|glob| format!("{key} {}", glob.as_str()))
                .collect::<Vec<_>>()
        };
        let mut found = Vec::new();
        for (key, condition) in &self.labels {
            let values = subjects
                .iter()
                .filter_map(|subject| subject.labels.value(key));
            found.extend(idle(key, condition, &values.collect()));
        }
        if let Some(condition) = &self.name {
            let names = subjects.iter().map(|subject| subject.name);
            found.extend(idle("name", condition, &names.collect()));
        }
        found
    }

    /// Says why this selector matches none of `subjects`, with the values that there are.
    pub fn explain(&self, subjects: &[Subject<'_>]) -> String {
        if subjects.is_empty() {
            return "there are no agents".to_owned();
        }
        let mut lines = Vec::new();
        for (key, condition) in &self.labels {
            let fits = |subject: &&Subject<'_>| condition.holds(subject.labels.value(key));
            if subjects.iter().any(|subject| fits(&subject)) {
                continue;
            }
            let there: BTreeSet<&str> = subjects
                .iter()
                .filter_map(|subject| subject.labels.value(key))
                .collect();
            lines.push(none_of(key, condition, &there, subjects));
        }
        if let Some(condition) = &self.name
            && !subjects
                .iter()
                .any(|subject| condition.holds(Some(subject.name)))
        {
            let there: BTreeSet<&str> = subjects.iter().map(|subject| subject.name).collect();
            lines.push(none_of("name", condition, &there, subjects));
        }
        if lines.is_empty() {
            lines.push(format!(
                "each part matches some agent, but none of the {} agents matches all parts",
                subjects.len()
            ));
        }
        lines.join("; ")
    }
}

/// Most values that an explanation lists.
const LISTED: usize = 20;

fn none_of(
    key: &str,
    condition: &Condition,
    there: &BTreeSet<&str>,
    subjects: &[Subject<'_>],
) -> String {
    if there.is_empty() {
        let keys: BTreeSet<&str> = subjects
            .iter()
            .flat_map(|s| s.labels.iter().map(|(key, _)| key))
            .collect();
        let meant = nearest(key, keys.iter().copied())
            .map_or_else(String::new, |near| format!(", did you mean `{near}`?"));
        return format!(
            "no agent has a label `{key}`{meant} (labels: {})",
            listed(&keys)
        );
    }
    let wanted: Vec<&str> = condition.any.iter().map(Glob::as_str).collect();
    let near = wanted
        .first()
        .and_then(|value| nearest(value, there.iter().copied()));
    let meant = near.map_or_else(String::new, |near| format!(", did you mean `{near}`?"));
    format!(
        "no agent has {key} {}{meant} (there are: {})",
        wanted.join(" or "),
        listed(there)
    )
}

fn listed(values: &BTreeSet<&str>) -> String {
    let first: Vec<&str> = values.iter().take(LISTED).copied().collect();
    let more = values.len() - first.len();
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{}{more}", first.join(", "))
}

/// Keeps `count` of `chosen`, drawn by `seed` (partial Fisher-Yates with ChaCha12), in their old order.
fn draw(chosen: &mut Vec<usize>, count: usize, seed: u64) {
    let mut random = ChaCha12Rng::seed_from_u64(seed);
    let mut order: Vec<usize> = (0..chosen.len()).collect();
    let count = count.min(order.len());
    for place in 0..count {
        let left = (order.len() - place) as u64;
        // The bias of the remainder is below 2^-40 for any number of agents there can be.
        let other = place + (random.next_u64() % left) as usize;
        order.swap(place, other);
    }
    order.truncate(count);
    order.sort_unstable();
    *chosen = order.into_iter().map(|place| chosen[place]).collect();
}

fn once(key: &str, first: bool) -> Result<(), SelectorError> {
    if first {
        Ok(())
    } else {
        Err(SelectorError::Twice {
            key: key.to_owned(),
        })
    }
}

fn extend(
    key: &str,
    condition: &mut Condition,
    negated: bool,
    values: Vec<Glob>,
) -> Result<(), SelectorError> {
    let place = if negated {
        &mut condition.none
    } else {
        &mut condition.any
    };
    once(key, place.is_empty())?;
    *place = values;
    Ok(())
}

fn globs(key: &str, values: &[&str], folded: bool) -> Result<Vec<Glob>, SelectorError> {
    let value_error = |value: &str| SelectorError::Value {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    let fold = |value: &str| {
        if folded {
            label::fold(value)
        } else {
            value.to_owned()
        }
    };
    values
        .iter()
        .map(|value| Glob::new(&fold(value)).ok_or_else(|| value_error(value)))
        .collect()
}

fn sample(values: &[&str]) -> Result<u32, SelectorError> {
    let text = values.join(",");
    let count = text.parse().ok().filter(|count| *count > 0);
    count.ok_or(SelectorError::Sample { text })
}

#[cfg(test)]
mod tests;
