//! What makes a flow invalid, what a plan may not exceed, what a lost agent means.

use crate::unit::{BitRate, PacketRate, Ratio, Span};
use std::collections::BTreeMap;
use std::fmt;

/// What an agent lost in mid-run means for the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LostAgent {
    /// Its flows are marked, the others go on, the run is partial.
    #[default]
    Mark,
    /// The run is ended.
    Fail,
}

impl LostAgent {
    /// As the language writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            LostAgent::Mark => "mark",
            LostAgent::Fail => "fail",
        }
    }
}

/// When the figures of a flow are not to be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Valid {
    /// Share of packets that the CPU may have made late; more is invalid.
    pub behind: Ratio,
    /// Largest p99 of lateness; `None`: not looked at.
    pub lateness: Option<Span>,
    /// Largest clock step inside a delay figure.
    pub clock_step: Span,
    /// Throttled by the control group's CPU quota, as a share of the time.
    pub throttled: Cause,
    /// Waiting for a CPU, as a share of the time.
    pub runq: Cause,
    /// Stolen by the hypervisor, as a share of the time of all cores.
    pub steal: Cause,
    /// Dropped by a kernel before its stack saw them, as a share of the packets it processed.
    pub softnet_drops: Cause,
    /// Somebody captured packets on a host or kernel of the flow: whether that decides.
    pub observers: bool,
    /// Codes of reasons that are recorded but decide nothing, sorted.
    pub ignore: Vec<String>,
}

/// A possible cause of wrong figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cause {
    /// Above this share it is reported.
    pub above: Ratio,
    /// Then it makes the flow invalid; otherwise it is a warning.
    pub decides: bool,
}

impl Cause {
    /// A cause that only warns.
    pub const fn warn(above: Ratio) -> Cause {
        Cause {
            above,
            decides: false,
        }
    }
}

const fn percent(percent: u32) -> Ratio {
    match Ratio::from_percent(percent) {
        Some(ratio) => ratio,
        None => Ratio::ONE,
    }
}

impl Default for Valid {
    fn default() -> Valid {
        Valid {
            behind: percent(1),
            lateness: None,
            clock_step: Span::from_millis(1),
            throttled: Cause::warn(percent(1)),
            runq: Cause::warn(percent(10)),
            steal: Cause::warn(percent(2)),
            softnet_drops: Cause::warn(Ratio::ZERO),
            observers: false,
            ignore: Vec::new(),
        }
    }
}

/// What a plan may not exceed; what is left out is left to the agents' local policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Load of all agents that share a value of a label, by label: `per_asn`.
    pub per_label: BTreeMap<String, Load>,
    /// Load of all agents of one kernel.
    pub per_kernel: Option<Load>,
    /// Load towards one receiver.
    pub target: Option<Load>,
    /// Flows of the plan.
    pub flows: Option<u64>,
}

/// A load in bit/s or pkt/s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Load {
    /// Payload bits per second.
    Bits(BitRate),
    /// Packets per second.
    Packets(PacketRate),
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Load::Bits(rate) => rate.fmt(f),
            Load::Packets(rate) => rate.fmt(f),
        }
    }
}
