use weir_common::campaign::ResolveError;
use weir_common::id::AgentName;
use weir_common::unit::Span;

/// Why a campaign cannot be planned. [`PlanError::set`] and [`PlanError::key`] say where in the campaign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A side of the pairs that means no agents, or two things.
    #[error("flow set `{set}`, `{key}`: {problem}")]
    Party {
        /// The flow set.
        set: String,
        /// `from` or `to`.
        key: &'static str,
        /// What is wrong, and what there is.
        problem: ResolveError,
    },
    /// Every agent that is meant is known but not connected; or some are and `lost_agent = "fail"`.
    #[error(
        "flow set `{set}`, `{key}`: `{party}` {of} not connected: {names}; start the agents, or see `weir agents`"
    )]
    NotConnected {
        /// The flow set.
        set: String,
        /// `from` or `to`.
        key: &'static str,
        /// The side, as written.
        party: String,
        /// "means only agents that are" or "means agents that are".
        of: &'static str,
        /// The agents.
        names: String,
    },
    /// `one-to-one` of unequal sizes.
    #[error(
        "flow set `{set}`: `how = \"one-to-one\"` needs equally many on both sides, but `from` has {from} agents and `to` has {to}"
    )]
    Sizes {
        /// The flow set.
        set: String,
        /// Agents of `from`.
        from: usize,
        /// Agents of `to`.
        to: usize,
    },
    /// No pair is left.
    #[error(
        "flow set `{set}`: `{how}` makes no pair of the {from} agents of `from` and the {to} of `to`: {why}"
    )]
    NoPairs {
        /// The flow set.
        set: String,
        /// Its `how`.
        how: String,
        /// Agents of `from`.
        from: usize,
        /// Agents of `to`.
        to: usize,
        /// What took them away.
        why: String,
    },
    /// `random(N)` of fewer than N pairs.
    #[error(
        "flow set `{set}`: `how = \"random({asked})\"`, but there are only {there} pairs to draw from"
    )]
    Random {
        /// The flow set.
        set: String,
        /// Pairs asked for.
        asked: u32,
        /// Pairs there are.
        there: usize,
    },
    /// `apart` by a label that no agent of the flow set has.
    #[error(
        "flow set `{set}`: `apart = \"{label}\"`, but none of its agents has that label{near}; labels: {labels}"
    )]
    Apart {
        /// The flow set.
        set: String,
        /// The label.
        label: String,
        /// ", did you mean ...?", or nothing.
        near: String,
        /// Labels there are.
        labels: String,
    },
    /// A value that does not fit the others, or these agents.
    #[error("flow set `{set}`, `{key}`: {problem}")]
    Value {
        /// The flow set.
        set: String,
        /// The key to change.
        key: &'static str,
        /// What is wrong and what is possible.
        problem: String,
    },
    /// Two agents without a common address family.
    #[error(
        "flow set `{set}`: {dialler} has no address at which it could reach {peer} ({dialler}: {own}; {peer}: {theirs})"
    )]
    NoAddress {
        /// The flow set.
        set: String,
        /// The end that dials.
        dialler: AgentName,
        /// The other end.
        peer: AgentName,
        /// Addresses of the end that dials.
        own: String,
        /// Addresses of the other.
        theirs: String,
    },
    /// More sessions than an agent takes.
    #[error(
        "flows per agent: {agent} would be an end of {wanted} flows that need sockets of their own, and its agent allows {allowed}: use `sample`, fewer pairs or several runs"
    )]
    Sessions {
        /// The agent.
        agent: AgentName,
        /// Sessions planned.
        wanted: usize,
        /// Sessions allowed.
        allowed: usize,
    },
    /// More flows than are allowed.
    #[error(
        "the campaign makes {wanted} flows, and {limit} allows {allowed}: use `sample`, fewer pairs or several runs"
    )]
    Flows {
        /// Flows planned, or pairs to choose from.
        wanted: usize,
        /// "`limits.flows`" or "one run".
        limit: &'static str,
        /// Flows allowed.
        allowed: u64,
    },
    /// A load above one of `[limits]`.
    #[error("`limits.{key}` allows {allowed}, but in phase `{phase}` {place} would have {wanted}")]
    Limit {
        /// The key, such as `per_asn`.
        key: String,
        /// The phase.
        phase: String,
        /// Who has the load.
        place: String,
        /// The load.
        wanted: String,
        /// The limit.
        allowed: String,
    },
    /// Longer than any run may be.
    #[error("the campaign lasts {length}: a run lasts at most 168 h")]
    TooLong {
        /// Pauses and phases together.
        length: Span,
    },
}

impl PlanError {
    /// The flow set at fault, when it is one.
    pub fn set(&self) -> Option<&str> {
        match self {
            Self::Party { set, .. }
            | Self::NotConnected { set, .. }
            | Self::Sizes { set, .. }
            | Self::NoPairs { set, .. }
            | Self::Random { set, .. }
            | Self::Apart { set, .. }
            | Self::Value { set, .. }
            | Self::NoAddress { set, .. } => Some(set),
            Self::Sessions { .. }
            | Self::Flows { .. }
            | Self::Limit { .. }
            | Self::TooLong { .. } => None,
        }
    }

    /// The key to change: of the flow set when there is one, else from the top of the campaign.
    pub fn key(&self) -> String {
        match self {
            Self::Party { key, .. } | Self::NotConnected { key, .. } | Self::Value { key, .. } => {
                (*key).to_owned()
            }
            Self::Sizes { .. } | Self::NoPairs { .. } | Self::Random { .. } => "how".to_owned(),
            Self::Apart { .. } => "apart".to_owned(),
            Self::NoAddress { .. } => "to".to_owned(),
            Self::Flows { .. } => "limits.flows".to_owned(),
            Self::Limit { key, .. } => format!("limits.{key}"),
            Self::Sessions { .. } => "pairs".to_owned(),
            Self::TooLong { .. } => "phase".to_owned(),
        }
    }
}
