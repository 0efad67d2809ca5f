//! From parties to agents: the one part of the language that needs the registry.

use super::{Campaign, Party};
use crate::nearest::nearest;
use crate::selector::{Selector, Subject};

/// Why a party is no set of agents.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// A selector that matches nothing.
    #[error("`{selector}` matches no agent: {why}")]
    NoMatch {
        /// The selector, in the command-line form, or the group's name.
        selector: String,
        /// Which part fails, and what there is.
        why: String,
    },
    /// No agent and no group of that name.
    #[error("there is no agent{or_group} named `{name}`{meant} {there}", meant = meant(.near.as_deref()), or_group = or_group(*.groups))]
    NoAgent {
        /// The name.
        name: String,
        /// The name that was meant, if one is near.
        near: Option<String>,
        /// True if the campaign has groups.
        groups: bool,
        /// What there is.
        there: String,
    },
    /// A name with two meanings.
    #[error("`{name}` is a group of the campaign and the name of an agent: rename the group")]
    Ambiguous {
        /// The name.
        name: String,
    },
}

fn meant(near: Option<&str>) -> String {
    near.map_or_else(
        || ";".to_owned(),
        |near| format!(", did you mean `{near}`?"),
    )
}

fn or_group(groups: bool) -> &'static str {
    if groups { " or group" } else { "" }
}

/// Most names that an error lists.
const LISTED: usize = 12;

impl Campaign {
    /// Indices of the agents that `party` means: in the order of names for selectors and groups, as written for names.
    ///
    /// Fails if there are none, if an agent does not exist, or if a group has an agent's name.
    pub fn resolve(
        &self,
        party: &Party,
        subjects: &[Subject<'_>],
    ) -> Result<Vec<usize>, ResolveError> {
        match party {
            Party::Selector(selector) => self.select(selector, &selector.to_string(), subjects),
            Party::Group(name) => {
                if subjects.iter().any(|subject| subject.name == name) {
                    return Err(ResolveError::Ambiguous { name: name.clone() });
                }
                match self.groups.get(name) {
                    Some(selector) => self.select(selector, name, subjects),
                    None => Err(self.no_agent(name, subjects)),
                }
            }
            Party::Agents(names) => names
                .iter()
                .map(|name| self.agent(name, subjects))
                .collect(),
        }
    }

    fn select(
        &self,
        selector: &Selector,
        shown: &str,
        subjects: &[Subject<'_>],
    ) -> Result<Vec<usize>, ResolveError> {
        let chosen = selector.select(subjects, self.seed);
        if chosen.is_empty() {
            let (selector, why) = (shown.to_owned(), selector.explain(subjects));
            return Err(ResolveError::NoMatch { selector, why });
        }
        Ok(chosen)
    }

    fn agent(&self, name: &str, subjects: &[Subject<'_>]) -> Result<usize, ResolveError> {
        let found = subjects.iter().position(|subject| subject.name == name);
        found.ok_or_else(|| self.no_agent(name, subjects))
    }

    fn no_agent(&self, name: &str, subjects: &[Subject<'_>]) -> ResolveError {
        let agents = subjects.iter().map(|subject| subject.name);
        let mut known: Vec<&str> = agents
            .chain(self.groups.keys().map(String::as_str))
            .collect();
        known.sort_unstable();
        let near = nearest(name, known.iter().copied()).map(str::to_owned);
        let there = if known.is_empty() {
            "there are no agents".to_owned()
        } else {
            let more = if known.len() > LISTED {
                format!(" and {} more", known.len() - LISTED)
            } else {
                String::new()
            };
            format!(
                "there are: {}{more}",
                known
                    .iter()
                    .take(LISTED)
                    .copied()
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        };
        ResolveError::NoAgent {
            name: name.to_owned(),
            near,
            groups: !self.groups.is_empty(),
            there,
        }
    }
}
