/// What a flag of the language belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlagSection {
    /// The whole campaign.
    Campaign,
    /// Who sends to whom: a flow set, or all of them if given before the first transport.
    Pairs,
    /// A phase.
    Phase,
    /// A flow set's traffic.
    Traffic,
    /// The expectation before it, or a new one.
    Expect,
    /// What makes a flow invalid.
    Valid,
    /// What a plan may not exceed.
    Limits,
    /// Begins a phase or a flow set.
    Structure,
}

impl FlagSection {
    /// What stands over the flags of the section in help.
    pub const fn heading(self) -> &'static str {
        match self {
            Self::Pairs => "Who (before the first traffic flag: for all flow sets)",
            Self::Traffic => "Traffic",
            Self::Phase => "When",
            Self::Structure => "Several phases and flow sets",
            Self::Expect => "What must hold",
            Self::Campaign => "Campaign",
            Self::Valid => "When a flow is invalid",
            Self::Limits => "What a plan may not exceed",
        }
    }
}

/// A flag of the language, for help, completion and for splitting a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlagSpec {
    /// Without the dashes.
    pub name: &'static str,
    /// Name of its value for help; `None` if it takes none.
    pub value: Option<&'static str>,
    /// One line.
    pub help: &'static str,
    /// What it belongs to.
    pub section: FlagSection,
}

impl FlagSpec {
    /// True if the next argument is its value, unless it is joined by `=`.
    pub const fn takes_value(&self) -> bool {
        self.value.is_some()
    }
}

use FlagSection::{Campaign, Expect, Limits, Pairs, Phase, Structure, Traffic, Valid};

const fn flag(
    section: FlagSection,
    name: &'static str,
    value: &'static str,
    help: &'static str,
) -> FlagSpec {
    FlagSpec {
        name,
        value: Some(value),
        help,
        section,
    }
}

const fn switch(section: FlagSection, name: &'static str, help: &'static str) -> FlagSpec {
    FlagSpec {
        name,
        value: None,
        help,
        section,
    }
}

/// Every flag of the language that this version understands, in the order of help.
pub const FLAGS: &[FlagSpec] = &[
    flag(
        Pairs,
        "from",
        "SELECTOR",
        "where the data leaves: 'asn=150 role=host', or an agent's name",
    ),
    flag(Pairs, "to", "SELECTOR", "where the data goes"),
    flag(
        Pairs,
        "sample",
        "N",
        "only N of the agents of the --from or --to before it, drawn by the seed",
    ),
    flag(
        Pairs,
        "except",
        "NAMES",
        "leave out these agents of the --from or --to before it",
    ),
    flag(
        Pairs,
        "how",
        "HOW",
        "which pairs: all, mesh, one-to-one, ring, random(N) [all]",
    ),
    switch(
        Pairs,
        "both",
        "also the flow of opposite direction, with its own rate",
    ),
    flag(
        Pairs,
        "apart",
        "LABEL",
        "no pairs of an equal value of this label",
    ),
    flag(
        Pairs,
        "dial",
        "END",
        "who opens the connection: from, to [from]",
    ),
    switch(
        Pairs,
        "reverse",
        "swap --from, --to and --dial: data flows towards the one that dials",
    ),
    flag(
        Traffic,
        "udp",
        "RATE",
        "UDP at a rate: 10M, '3 kbit/s', 3000pkt/s, max",
    ),
    flag(
        Traffic,
        "tcp",
        "RATE",
        "TCP at a rate: 10M, '3 kbit/s', max",
    ),
    flag(
        Traffic,
        "size",
        "SIZE",
        "payload of a packet, or of one TCP write: bytes, or a law: 'normal(mean = 200, sd = 30)' [1400, TCP: adapted]",
    ),
    flag(
        Traffic,
        "arrival",
        "LAW",
        "law of the spacing: exponential, 'pareto(shape = 1.5)', ... [constant]",
    ),
    flag(
        Traffic,
        "profile",
        "NAME",
        "size and spacing of an application: voip-g711-1, dns, quake3, ...; with --udp arrival",
    ),
    flag(
        Traffic,
        "pacing",
        "POLICY",
        "after a delay: keep-mean, keep-gap [keep-mean]",
    ),
    flag(
        Traffic,
        "streams",
        "N",
        "connections or 5-tuples of a flow [1]",
    ),
    flag(
        Traffic,
        "per",
        "WHAT",
        "what the rate is said of: flow, stream, sender, set [flow]",
    ),
    flag(
        Traffic,
        "bytes",
        "SIZE",
        "end the flow after so many payload bytes",
    ),
    flag(
        Traffic,
        "packets",
        "N",
        "end the flow after so many packets (UDP)",
    ),
    flag(
        Traffic,
        "spin",
        "TIME",
        "keep a core busy for so long before each packet [0]",
    ),
    flag(
        Traffic,
        "layer",
        "LAYER",
        "what a bit rate counts: payload, ip, frame, wire [payload]",
    ),
    flag(
        Traffic,
        "ramp",
        "POINTS",
        "rates over the phase: '0s 1M,30s 50M' is linear, equal times a step",
    ),
    switch(
        Traffic,
        "echo",
        "the receiver sends every packet back: round-trip times (UDP)",
    ),
    switch(
        Traffic,
        "verify",
        "the receiver reads and compares the payload",
    ),
    flag(
        Traffic,
        "gso",
        "WHEN",
        "bundles of datagrams: auto, on, off [auto]",
    ),
    flag(
        Traffic,
        "on-full",
        "WHAT",
        "when the socket is full: drop, wait [drop] (UDP)",
    ),
    flag(
        Traffic,
        "end",
        "HOW",
        "how a stream ends: 'drain(10s)', abort ['drain(10s)'] (TCP)",
    ),
    flag(
        Traffic,
        "mss",
        "BYTES",
        "TCP maximum segment size [the path's]",
    ),
    switch(Traffic, "nodelay", "TCP without Nagle's algorithm"),
    flag(
        Traffic,
        "window",
        "SIZE",
        "socket buffers at both ends [the host's own tuning]",
    ),
    flag(
        Traffic,
        "dscp",
        "CODE",
        "differentiated services: 0 to 63, or ef, af41, cs1 [the host's]",
    ),
    flag(
        Traffic,
        "ecn",
        "WORD",
        "ECN field: none, ect0, ect1, ce [the host's] (UDP)",
    ),
    flag(Traffic, "ttl", "HOPS", "TTL or hop limit [the host's]"),
    flag(Traffic, "flow-label", "N", "IPv6 flow label [the host's]"),
    flag(Traffic, "cc", "NAME", "TCP congestion control [the host's]"),
    flag(
        Traffic,
        "bind",
        "WHERE",
        "source: an address, an interface, :PORT, or with a port [the route's]",
    ),
    flag(Traffic, "port", "PORT", "the receiver's port"),
    flag(
        Traffic,
        "log-file",
        "NAME",
        "each end writes its rows on its own host, for `weir logs`: NAME.jsonl",
    ),
    flag(
        Traffic,
        "name",
        "NAME",
        "name of the flow set [its transport]",
    ),
    flag(
        Phase,
        "for",
        "TIME",
        "length of the phase; behind --with or --always, of the flow set",
    ),
    flag(
        Phase,
        "warmup",
        "TIME",
        "beginning of the phase that is in no figure [0]",
    ),
    flag(
        Phase,
        "pause",
        "TIME",
        "silence before the phase; 0 joins it to the one before [1s]",
    ),
    switch(Structure, "then", "begin the next phase"),
    switch(Structure, "with", "add a flow set to this phase"),
    switch(Structure, "always", "add a flow set to every phase"),
    flag(
        Expect,
        "expect",
        "THAT",
        "what must hold: 'udp.loss<=1%'; may be repeated",
    ),
    flag(
        Expect,
        "each",
        "WHAT",
        "what the --expect before it must hold for: flow, set, pair [flow]",
    ),
    flag(
        Expect,
        "level",
        "LEVEL",
        "what it means if the --expect before it fails: fail, warn [fail]",
    ),
    flag(Campaign, "campaign", "NAME", "name of the campaign"),
    flag(Campaign, "question", "TEXT", "what it is to find out"),
    flag(Campaign, "seed", "N", "source of every random draw [1]"),
    flag(
        Campaign,
        "interval",
        "TIME",
        "reporting interval, 100ms to 60s [1s]",
    ),
    flag(
        Campaign,
        "settle",
        "TIME",
        "how long reachability is retried [10s]",
    ),
    flag(
        Campaign,
        "linger",
        "TIME",
        "how long late packets are waited for [2s]",
    ),
    flag(
        Campaign,
        "lost-agent",
        "WHAT",
        "an agent lost in mid-run: mark, fail [mark]",
    ),
    flag(
        Valid,
        "behind",
        "SHARE",
        "most packets late by the CPU [1%]",
    ),
    flag(
        Valid,
        "lateness",
        "TIME",
        "largest p99 of lateness [not looked at]",
    ),
    flag(
        Valid,
        "clock-step",
        "TIME",
        "largest clock step in a delay [1ms]",
    ),
    flag(
        Valid,
        "throttled",
        "SHARE",
        "held back by a CPU quota: a share, invalid, warn [warn at 1%]",
    ),
    flag(
        Valid,
        "runq",
        "SHARE",
        "waiting for a CPU: a share, invalid, warn [warn at 10%]",
    ),
    flag(
        Valid,
        "steal",
        "SHARE",
        "CPU taken by the hypervisor: a share, invalid, warn [warn at 2%]",
    ),
    flag(
        Valid,
        "softnet-drops",
        "SHARE",
        "packets a kernel dropped at once: a share, invalid, warn [warn at 0%]",
    ),
    flag(
        Valid,
        "observers",
        "WHAT",
        "packet captures on the way: invalid, warn [warn]",
    ),
    flag(Valid, "ignore", "CODES", "reasons that decide nothing"),
    flag(
        Limits,
        "per-kernel",
        "RATE",
        "most load of the agents of one kernel",
    ),
    flag(Limits, "target", "RATE", "most load towards one receiver"),
    PER_LABEL,
];

/// Stands for `--per-asn` and every other label.
const PER_LABEL: FlagSpec = flag(
    Limits,
    "per-LABEL",
    "RATE",
    "most load of the agents with an equal value of a label: --per-asn 1G",
);

/// Flags of the language that are refused as not available yet.
pub(super) const LATER: &[&str] = &[
    "start",
    "budget",
    "at-once",
    "stagger",
    "at",
    "once",
    "share",
    "min-valid",
    "abort",
    "repeat",
    "order",
    "skip",
    "icmp",
    "raw",
    "pcap",
    "itg",
    "speaks",
    "spoof",
];

/// The flag of that name (without dashes), if the language has it.
pub fn spec(name: &str) -> Option<&'static FlagSpec> {
    let fixed = FLAGS.iter().find(|flag| flag.name == name);
    let is_label = || {
        name.strip_prefix("per-")
            .is_some_and(|label| !label.is_empty() && label != "LABEL")
    };
    fixed.or_else(|| is_label().then_some(&PER_LABEL))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::keys;

    #[test]
    fn every_key_has_its_flag() {
        let structural = [
            "groups", "pairs", "phase", "flow", "expect", "valid", "limits", "in", "traffic",
            "that", "flows",
        ];
        let sections = [
            &keys::TOP,
            &keys::PAIRS,
            &keys::PHASE,
            &keys::FLOW,
            &keys::TRAFFIC,
            &keys::EXPECT,
            &keys::VALID,
            &keys::LIMITS,
        ];
        for key in sections.iter().flat_map(|section| section.keys) {
            let name = key.replace('_', "-");
            assert!(
                structural.contains(key) || spec(&name).is_some(),
                "--{name}"
            );
        }
        for key in keys::TRAFFIC.later {
            assert!(LATER.contains(&key.replace('_', "-").as_str()), "--{key}");
        }
    }
}
