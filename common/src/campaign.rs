//! What the experimenter asks for: one model with two faces, the TOML file and the command line.
//!
//! [`file::parse`] reads the file, [`flags::parse`] the command line, [`render`] writes the file that either means.
//! A [`Campaign`] is resolved: every default is filled in, `[[phase]] traffic` has become a flow set, `[pairs]` has
//! been handed to each flow set, and each expectation names its phase and set where only one is possible.
//! What needs the registry (which agents a selector means, which group is also an agent's name) is left to
//! [`Campaign::resolve`] and the planner.
//!
//! Invariants: at least one phase; names of phases and of flow sets are unique, as are those of groups; every flow
//! set is active in at least one phase and every phase has at least one; `warmup < for`.

pub mod expect;
pub mod file;
pub mod flags;
pub mod policy;

mod error;
mod keys;
mod lower;
mod render;
mod resolve;
mod tree;

pub use error::{CampaignError, ErrorKind, Place};
pub use expect::{Bound, Each, Expectation, Level, Metric, Operator};
pub use policy::{Cause, Limits, Load, LostAgent, Valid};
pub use render::render;
pub use resolve::ResolveError;

use crate::selector::Selector;
use crate::traffic::{Law, Trace, TraceOf, Traffic};
use crate::unit::Span;
use std::collections::BTreeMap;
use std::fmt;

/// Seed if the campaign does not say.
pub const SEED: u64 = 1;
/// Largest seed: TOML and SQLite know no larger integer.
pub const SEED_MOST: u64 = i64::MAX as u64;
/// Reporting interval if the campaign does not say.
pub const INTERVAL: Span = Span::from_secs(1);
/// Shortest reporting interval.
pub const INTERVAL_LEAST: Span = Span::from_millis(100);
/// Longest reporting interval.
pub const INTERVAL_MOST: Span = Span::from_secs(60);
/// How long reachability is retried, if the campaign does not say.
pub const SETTLE: Span = Span::from_secs(10);
/// Longest settle.
pub const SETTLE_MOST: Span = Span::from_secs(3_600);
/// How long receivers wait for late packets, if the campaign does not say.
pub const LINGER: Span = Span::from_secs(2);
/// Longest linger.
pub const LINGER_MOST: Span = Span::from_secs(60);
/// Silence before a phase, if it does not say.
pub const PAUSE: Span = Span::from_secs(1);
/// Longest campaign: pauses and phases together.
pub const LENGTH_MOST: Span = Span::from_secs(7 * 24 * 3_600);
/// Most phases, flow sets, groups and expectations, each.
pub const ITEMS_MOST: usize = 1_000;

/// A campaign, complete and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Campaign {
    /// What runs of it are called.
    pub name: String,
    /// What it is to find out, in the experimenter's words.
    pub question: Option<String>,
    /// Source of every random draw.
    pub seed: u64,
    /// Reporting interval.
    pub interval: Span,
    /// How long reachability is retried before T0.
    pub settle: Span,
    /// How long receivers wait for late packets.
    pub linger: Span,
    /// What an agent lost in mid-run means.
    pub lost_agent: LostAgent,
    /// Named selectors.
    pub groups: BTreeMap<String, Selector>,
    /// Windows of time, in their order.
    pub phases: Vec<Phase>,
    /// Who sends what to whom, and when.
    pub flow_sets: Vec<FlowSet>,
    /// What must hold.
    pub expectations: Vec<Expectation>,
    /// When a flow's figures are not to be trusted.
    pub valid: Valid,
    /// What the plan may not exceed.
    pub limits: Limits,
    /// The files that its laws name, once they were read: see [`Campaign::trace_files`].
    pub traces: Vec<Trace>,
}

impl Campaign {
    /// The files that laws of arrival and size name, each once for what its values are. Reading them is up to whoever
    /// holds the campaign's file: paths are relative to it.
    pub fn trace_files(&self) -> Vec<(String, TraceOf)> {
        let mut files = Vec::new();
        for set in &self.flow_sets {
            let arrival = set.traffic.arrival.trace();
            let size = set.traffic.size_law.as_ref().and_then(Law::trace);
            let named = [(arrival, TraceOf::Arrival), (size, TraceOf::Size)];
            for (file, of) in named {
                let named = file.map(|file| (file.to_owned(), of));
                files.extend(named.filter(|named| !files.contains(named)));
            }
        }
        files
    }
}

/// A window of time in which the same flows are active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Unique in the campaign.
    pub name: String,
    /// Its length, `for` in the language; more than 0.
    pub duration: Span,
    /// The beginning that is recorded but in no figure; less than the length.
    pub warmup: Span,
    /// Silence before it. 0 joins it to the phase before: flows in both keep their sockets and sequence.
    pub pause: Span,
}

/// Flows declared together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowSet {
    /// Unique in the campaign.
    pub name: String,
    /// Where the data leaves.
    pub from: Party,
    /// Where it goes.
    pub to: Party,
    /// Which pairs of the two are made.
    pub how: How,
    /// Also the flow of opposite direction, with its own rate.
    pub both: bool,
    /// Pairs of an equal value of this label are left out.
    pub apart: Option<String>,
    /// Who opens the connection.
    pub dial: Dial,
    /// Indices of the phases in which it is active, rising.
    pub phases: Vec<usize>,
    /// Ends so long after the beginning of each phase; `None`: with the phase.
    pub duration: Option<Span>,
    /// What is sent.
    pub traffic: Traffic,
}

/// One side of the pairs of a flow set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Party {
    /// Every agent that a selector matches.
    Selector(Selector),
    /// A group of the campaign, by name.
    Group(String),
    /// Agents by name, in this order.
    Agents(Vec<String>),
}

/// Which pairs are made of `from` and `to`. An agent is never paired with itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum How {
    /// Every `from` to every `to`.
    #[default]
    All,
    /// Every ordered pair of the agents of both sides.
    Mesh,
    /// The first to the first, the second to the second; both sides must be equally many.
    OneToOne,
    /// Each to the next, the last to the first.
    Ring,
    /// So many of all pairs, drawn by the seed; at least 1.
    Random(u32),
}

/// The end that opens the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dial {
    /// The generator.
    #[default]
    From,
    /// The receiver.
    To,
}

impl Campaign {
    /// The flow sets active in a phase, with their indices.
    pub fn sets_in(&self, phase: usize) -> impl Iterator<Item = (usize, &FlowSet)> {
        let active = move |(_, set): &(usize, &FlowSet)| set.phases.contains(&phase);
        self.flow_sets.iter().enumerate().filter(active)
    }

    /// Beginning and end of a phase from T0. The pause of the first phase is not waited for.
    pub fn window(&self, phase: usize) -> (Span, Span) {
        let mut begin = 0;
        for (index, each) in self.phases.iter().enumerate().take(phase + 1) {
            if index > 0 {
                begin += self.phases[index - 1].duration.as_nanos() + each.pause.as_nanos();
            }
        }
        let length = self
            .phases
            .get(phase)
            .map_or(0, |phase| phase.duration.as_nanos());
        (Span::from_nanos(begin), Span::from_nanos(begin + length))
    }

    /// Time from T0 to the end of the last phase.
    pub fn length(&self) -> Span {
        self.window(self.phases.len().saturating_sub(1)).1
    }

    /// The same campaign without groups: each use is replaced by the group's selector.
    #[must_use]
    pub fn inlined(&self) -> Campaign {
        let mut campaign = self.clone();
        let groups = std::mem::take(&mut campaign.groups);
        for set in &mut campaign.flow_sets {
            for party in [&mut set.from, &mut set.to] {
                if let Party::Group(name) = party
                    && let Some(selector) = groups.get(name)
                {
                    *party = Party::Selector(selector.clone());
                }
            }
        }
        campaign
    }
}

impl How {
    /// True if the pairs are made within one set of agents, so that `to` may be left out.
    pub fn is_within_one_side(self) -> bool {
        matches!(self, How::Mesh | How::Ring)
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            How::All => f.pad("all"),
            How::Mesh => f.pad("mesh"),
            How::OneToOne => f.pad("one-to-one"),
            How::Ring => f.pad("ring"),
            How::Random(count) => f.pad(&format!("random({count})")),
        }
    }
}

impl Dial {
    /// The other end.
    #[must_use]
    pub fn reversed(self) -> Dial {
        match self {
            Dial::From => Dial::To,
            Dial::To => Dial::From,
        }
    }

    /// As the language writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Dial::From => "from",
            Dial::To => "to",
        }
    }
}

/// As on the command line: a selector's conditions, a group's name, or agents' names joined by commas.
impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Party::Selector(selector) => selector.fmt(f),
            Party::Group(name) => f.pad(name),
            Party::Agents(names) => f.pad(&names.join(",")),
        }
    }
}
#[cfg(test)]
mod tests;
