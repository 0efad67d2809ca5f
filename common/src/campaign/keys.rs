//! Every key of the language, those that are not built yet included: a key of a later version is refused as such,
//! never as unknown and never silently.

use super::tree::Table;
use super::{CampaignError, ErrorKind};
use crate::nearest::nearest;

/// A table of the language.
#[derive(Debug)]
pub(super) struct Section {
    /// As a file writes it.
    pub(super) title: &'static str,
    pub(super) keys: &'static [&'static str],
    /// Keys of the language that are refused as not available yet.
    pub(super) later: &'static [&'static str],
}

pub(super) const TOP: Section = Section {
    title: "the campaign",
    keys: &[
        "campaign",
        "question",
        "seed",
        "interval",
        "settle",
        "linger",
        "lost_agent",
        "groups",
        "pairs",
        "phase",
        "flow",
        "expect",
        "valid",
        "limits",
    ],
    later: &["start", "budget", "matrix", "event"],
};

pub(super) const PAIRS: Section = Section {
    title: "[pairs]",
    keys: &["from", "to", "how", "both", "apart", "dial"],
    later: &["at_once"],
};

pub(super) const PHASE: Section = Section {
    title: "[[phase]]",
    keys: &["name", "for", "warmup", "pause", "traffic"],
    later: &["once"],
};

pub(super) const FLOW: Section = Section {
    title: "[[flow]]",
    keys: &[
        "name", "in", "for", "from", "to", "how", "both", "apart", "dial", "traffic",
    ],
    later: &["stagger", "at", "at_once"],
};

pub(super) const TRAFFIC: Section = Section {
    title: "traffic",
    keys: &[
        "udp",
        "tcp",
        "size",
        "arrival",
        "profile",
        "pacing",
        "spin",
        "layer",
        "ramp",
        "per",
        "streams",
        "bytes",
        "packets",
        "echo",
        "cc",
        "mss",
        "nodelay",
        "window",
        "dscp",
        "ecn",
        "ttl",
        "flow_label",
        "bind",
        "port",
        "log_file",
        "gso",
        "verify",
        "on_full",
        "end",
    ],
    later: &["icmp", "raw", "pcap", "itg", "speaks", "spoof"],
};

pub(super) const EXPECT: Section = Section {
    title: "[[expect]]",
    keys: &["that", "phase", "each", "level"],
    later: &["share", "min_valid", "abort"],
};

pub(super) const VALID: Section = Section {
    title: "[valid]",
    keys: &[
        "behind",
        "lateness",
        "clock_step",
        "throttled",
        "runq",
        "steal",
        "softnet_drops",
        "observers",
        "ignore",
    ],
    later: &[],
};

/// Besides these, `per_LABEL` for any label.
pub(super) const LIMITS: Section = Section {
    title: "[limits]",
    keys: &["per_kernel", "target", "flows"],
    later: &[],
};

/// Sections in which a key may have been meant to stand.
const SECTIONS: [&Section; 8] = [
    &TOP, &PAIRS, &PHASE, &FLOW, &TRAFFIC, &EXPECT, &VALID, &LIMITS,
];

impl Section {
    /// Refuses the first key that is not of this section.
    pub(super) fn check(&self, table: &Table) -> Result<(), CampaignError> {
        for entry in &table.entries {
            let key = entry.key.as_str();
            if self.keys.contains(&key) {
                continue;
            }
            if self.later.contains(&key) {
                return Err(CampaignError::new(
                    ErrorKind::NotAvailable,
                    &entry.place,
                    not_yet(key),
                ));
            }
            return Err(CampaignError::new(
                ErrorKind::UnknownKey,
                &entry.place,
                self.unknown(key),
            ));
        }
        Ok(())
    }

    pub(super) fn unknown(&self, key: &str) -> String {
        let key: String = key.chars().take(40).collect();
        let known = self.keys.iter().chain(self.later).copied();
        let elsewhere = SECTIONS
            .iter()
            .find(|section| section.keys.contains(&key.as_str()));
        let hint = match (elsewhere, nearest(&key, known)) {
            (Some(section), _) => format!("`{key}` belongs in {}; ", section.title),
            (None, Some(near)) => format!("did you mean `{near}`? "),
            (None, None) => String::new(),
        };
        let keys = self.keys.join(", ");
        format!(
            "unknown key `{key}` in {}: {hint}keys here: {keys}",
            self.title
        )
    }
}

/// The refusal of what a later version will have.
pub(super) fn not_yet(key: &str) -> String {
    format!("`{key}` is not available yet")
}
