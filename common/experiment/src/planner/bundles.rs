//! Warns where datagrams would cross a link in bundles that the link takes for one packet.

use std::collections::BTreeMap;

use weir_common::assignment::{Bundles, Pacing, Rate, Transport};
use weir_common::id::AgentName;

use super::{Context, warn};
use crate::plan::{PlannedSession, Warning};

/// Queueing disciplines that act on packets: their rate, loss, delay and counters take a bundle for one.
const ON_PACKETS: [&str; 6] = ["tbf", "netem", "htb", "hfsc", "cake", "police"];

/// One warning for each flow set whose datagrams would leave in bundles from or to a host whose own interface
/// shapes packets. Impairments elsewhere on the path are not known.
pub(super) fn warn_of(
    context: &Context<'_>,
    sessions: &[PlannedSession],
    warnings: &mut Vec<Warning>,
) {
    let shaped: BTreeMap<&AgentName, &(String, String)> = context
        .agents
        .iter()
        .filter_map(|agent| {
            let on_packets = |(_, kind): &&(String, String)| ON_PACKETS.contains(&kind.as_str());
            Some((&agent.name, agent.qdiscs.iter().find(on_packets)?))
        })
        .collect();
    let mut told: Vec<&str> = Vec::new();
    for session in sessions {
        if told.contains(&session.set.as_str()) || !in_bundles(session) {
            continue;
        }
        let ends = [&session.from, &session.to];
        let Some((host, (interface, kind))) =
            ends.iter().find_map(|end| shaped.get_key_value(*end))
        else {
            continue;
        };
        told.push(&session.set);
        warn(
            warnings,
            "bundles-shaped",
            format!(
                "flow set `{}`: its packets would leave in bundles, which {kind} on {interface} of {host} takes for one packet each: its limit, loss and counters then act on up to 64 at once; `gso = \"off\"` sends them one by one",
                session.set
            ),
        );
    }
}

/// As the generator decides (IPv4: a few percent more packets than over IPv6).
fn in_bundles(session: &PlannedSession) -> bool {
    let traffic = &session.traffic;
    let paced = traffic.rate != Rate::Max;
    // Two datagrams of this size fit no bundle.
    let single = traffic.transport != Transport::Udp || traffic.size > 65_507 / 2;
    if single || (paced && traffic.pacing == Pacing::KeepGap) {
        return false;
    }
    match traffic.bundles {
        Bundles::Off => false,
        Bundles::On => true,
        Bundles::Auto {
            single_below_milli_pps,
        } => traffic
            .peak_milli_pps(false, session.tags.len() as u64)
            .is_none_or(|peak| peak > single_below_milli_pps),
    }
}
