//! What the agents can do, against what the plan asks of them: errors, and warnings where it may still work.

use std::collections::BTreeMap;
use std::net::IpAddr;

use weir_common::assignment::{Rate, SocketTraffic, Transport, bounds};
use weir_common::campaign::{Campaign, Dial, FlowSet};
use weir_common::id::AgentName;
use weir_common::nearest::nearest;
use weir_common::unit::Span;

use super::pairs::Link;
use super::{AgentFacts, Context, FLOWS_MOST, PlanError, warn};
use crate::distortion::frame_bytes;
use crate::plan::{Load, PlannedHost, PlannedSession, Warning, reachable};

/// Packets per second and core above which the CPU rather than the network is likely to be measured. Senders
/// of single datagrams came to 180,000 on two cores that also held the receiver and the path.
const PACKETS_PER_CORE: u64 = 90_000;

/// The longest flow that an agent's built-in policy allows.
const FLOW_MOST: Span = Span::from_secs(3_600);

/// MTU when an agent does not tell it: Ethernet's.
const MTU: u32 = 1_500;

/// Warns where the sender's own interface drops every packet of a flow set; it may have another.
fn small_bucket(
    set: &FlowSet,
    traffic: &SocketTraffic,
    from: &AgentFacts,
    warnings: &mut Vec<Warning>,
) {
    let mtu = from.mtu.unwrap_or(MTU);
    let packet = match traffic.transport {
        // IPv4 and UDP header; a greater packet is cut to the MTU.
        Transport::Udp => traffic.size.saturating_add(28).min(mtu),
        Transport::Tcp => mtu,
    };
    let frame = frame_bytes(packet.into());
    let Some(bucket) = from
        .buckets
        .iter()
        .find(|bucket| bucket.drops_all_of(frame))
    else {
        return;
    };
    if warnings.iter().any(|told| told.code == "tbf-below-packet") {
        return;
    }
    warn(
        warnings,
        "tbf-below-packet",
        format!(
            "flow set `{}`: tbf {} on {} of {} has a burst of {} B and a queue of {} B: it drops every packet of {frame} B (with Ethernet's header), at any rate; give it a greater `burst` and `limit`",
            set.name,
            bucket.place,
            bucket.interface,
            from.name,
            bucket.burst_bytes,
            bucket.limit_bytes
        ),
    );
}

/// Checks a flow set against the agents of its pairs.
pub(super) fn set(
    context: &Context<'_>,
    set: &FlowSet,
    traffic: &SocketTraffic,
    links: &[Link],
    warnings: &mut Vec<Warning>,
) -> Result<(), PlanError> {
    let mut fragmented: Option<(Link, u32, u32)> = None;
    for link in links {
        let (from, to) = (context.agents[link.from], context.agents[link.to]);
        congestion_control(set, traffic, from)?;
        bound(set, from)?;
        small_bucket(set, traffic, from, warnings);
        let path = path(context, set, *link)?;
        if traffic.transport == Transport::Udp
            && !within_one_host(context, *link, path)
            && fragmented.is_none()
        {
            // IPv4 (RFC 791) or IPv6 (RFC 8200) header and UDP header (RFC 768).
            let packet = traffic.size + if path.is_ipv4() { 28 } else { 48 };
            let mtu = from.mtu.unwrap_or(MTU).min(to.mtu.unwrap_or(MTU));
            fragmented = (packet > mtu).then_some((*link, packet, mtu));
        }
    }
    if let Some((link, packet, mtu)) = fragmented {
        let (from, to) = (
            &context.agents[link.from].name,
            &context.agents[link.to].name,
        );
        warn(
            warnings,
            "fragmentation",
            format!(
                "flow set `{}`: packets of {packet} B with headers do not fit the MTU of {mtu} B ({from} > {to}): each is sent in fragments, and one lost fragment loses the packet",
                set.name
            ),
        );
    }
    if traffic.transport == Transport::Udp && traffic.rate == Rate::Max {
        warn(
            warnings,
            "unlimited-udp",
            format!(
                "flow set `{}`: `udp = \"max\"` does not yield: other flows on its path will starve",
                set.name
            ),
        );
    }
    lengths(context, set, warnings);
    Ok(())
}

/// Warns of flows that are too short for their intervals, or longer than agents allow by themselves.
fn lengths(context: &Context<'_>, set: &FlowSet, warnings: &mut Vec<Warning>) {
    let phases = set
        .phases
        .iter()
        .map(|phase| context.campaign.phases[*phase].duration);
    let lengths: Vec<Span> = phases
        .map(|length| set.duration.unwrap_or(length))
        .collect();
    let interval = context.campaign.interval;
    if lengths.iter().any(|length| *length <= interval) {
        warn(
            warnings,
            "one-interval",
            format!(
                "flow set `{}`: a flow of it is no longer than one interval of {interval}",
                set.name
            ),
        );
    }
    if let Some(length) = lengths.iter().find(|length| **length > FLOW_MOST) {
        warn(
            warnings,
            "long-flow",
            format!(
                "flow set `{}`: flows of {length} start only where the agents' policy files allow more than {FLOW_MOST}",
                set.name
            ),
        );
    }
}

/// The generator must have the congestion control that is asked for.
fn congestion_control(
    set: &FlowSet,
    traffic: &SocketTraffic,
    from: &AgentFacts,
) -> Result<(), PlanError> {
    let Some(wanted) = &traffic.congestion_control else {
        return Ok(());
    };
    let there = &from.congestion_controls;
    if there.is_empty() || there.contains(wanted) {
        return Ok(());
    }
    let near = nearest(wanted, there.iter().map(String::as_str));
    let near = near.map_or_else(String::new, |near| format!(", did you mean `{near}`?"));
    Err(PlanError::Value {
        set: set.name.clone(),
        key: "cc",
        problem: format!(
            "{} has no congestion control `{wanted}`{near} (it has: {})",
            from.name,
            there.join(", ")
        ),
    })
}

/// `bind` must be an address of the generator; an interface or a port can only be chosen by the end that dials.
fn bound(set: &FlowSet, from: &AgentFacts) -> Result<(), PlanError> {
    let Some(bind) = &set.traffic.bind else {
        return Ok(());
    };
    if set.dial == Dial::To && (bind.interface.is_some() || bind.port.is_some()) {
        return Err(PlanError::Value {
            set: set.name.clone(),
            key: "bind",
            problem: format!(
                "`{bind}` needs `dial = \"from\"`: a generator that is dialled can be bound to an address only"
            ),
        });
    }
    match bind.address {
        Some(bind) if !from.addresses.contains(&bind) => Err(PlanError::Value {
            set: set.name.clone(),
            key: "bind",
            problem: format!(
                "{bind} is no address of {} (it has: {})",
                from.name,
                texts(&from.addresses)
            ),
        }),
        _ => Ok(()),
    }
}

/// Whether packets to this address of one end never leave the host of the other.
fn within_one_host(context: &Context<'_>, link: Link, path: IpAddr) -> bool {
    let owns = |agent: usize| context.agents[agent].addresses.contains(&path);
    path.is_loopback() || (owns(link.from) && owns(link.to))
}

/// The first address that will be dialled.
pub(super) fn path(context: &Context<'_>, set: &FlowSet, link: Link) -> Result<IpAddr, PlanError> {
    let (dialler, peer) = match set.dial {
        Dial::From => (link.from, link.to),
        Dial::To => (link.to, link.from),
    };
    let (dialler, peer) = (&context.hosts[dialler], &context.hosts[peer]);
    let addresses = reachable(dialler, peer);
    let of_family = |address: &&IpAddr| {
        let bind = set.traffic.bind.as_ref();
        bind.and_then(|bind| bind.address)
            .is_none_or(|bind| bind.is_ipv4() == address.is_ipv4())
    };
    addresses
        .iter()
        .find(of_family)
        .copied()
        .ok_or_else(|| PlanError::NoAddress {
            set: set.name.clone(),
            dialler: dialler.name.clone(),
            peer: peer.name.clone(),
            own: texts(&dialler.addresses),
            theirs: texts(&peer.addresses),
        })
}

fn texts(addresses: &[IpAddr]) -> String {
    if addresses.is_empty() {
        return "none".to_owned();
    }
    addresses
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Flows of the campaign, against its own limit and what one run may have.
pub(super) fn flow_count(campaign: &Campaign, wanted: usize) -> Result<(), PlanError> {
    let own = campaign.limits.flows.unwrap_or(u64::MAX);
    let most = FLOWS_MOST as u64;
    if wanted as u64 > own.min(most) {
        let limit = if own <= most {
            "`limits.flows`"
        } else {
            "one run"
        };
        return Err(PlanError::Flows {
            wanted,
            limit,
            allowed: own.min(most),
        });
    }
    Ok(())
}

/// The hosts that take part, with their sessions counted and within what each agent allows.
pub(super) fn sessions(
    context: &Context<'_>,
    sessions: &[PlannedSession],
) -> Result<Vec<PlannedHost>, PlanError> {
    let mut counts: BTreeMap<&AgentName, usize> = BTreeMap::new();
    for session in sessions {
        *counts.entry(&session.from).or_default() += 1;
        *counts.entry(&session.to).or_default() += 1;
    }
    let mut hosts = Vec::with_capacity(counts.len());
    for (agent, host) in context.agents.iter().zip(&context.hosts) {
        let Some(&wanted) = counts.get(&agent.name) else {
            continue;
        };
        let own = if agent.max_sessions == 0 {
            usize::MAX
        } else {
            agent.max_sessions as usize
        };
        let allowed = own.min(bounds::SESSIONS);
        if wanted > allowed {
            return Err(PlanError::Sessions {
                agent: agent.name.clone(),
                wanted,
                allowed,
            });
        }
        hosts.push(PlannedHost {
            sessions: wanted as u32,
            ..host.clone()
        });
    }
    Ok(hosts)
}

/// Warns where the CPU of a kernel is likely to decide the figures.
pub(super) fn load(context: &Context<'_>, load: &Load, warnings: &mut Vec<Warning>) {
    for kernel in load.kernels.iter().filter(|kernel| kernel.cores > 0) {
        let member = context
            .agents
            .iter()
            .find(|agent| agent.kernel_boot_id == kernel.kernel);
        let place = match (kernel.agents, member) {
            (1, Some(agent)) => agent.name.to_string(),
            (hosts, _) => format!("the kernel that {hosts} hosts share"),
        };
        let (cores, peak) = (kernel.cores, &kernel.peak);
        if peak.unlimited > cores {
            warn(
                warnings,
                "cpu-shared",
                format!(
                    "{} unlimited flows at once on the {cores} cores of {place}: the CPU will share them out, not the network",
                    peak.unlimited
                ),
            );
        }
        let most = u64::from(cores) * PACKETS_PER_CORE;
        if peak.milli_pps / 1_000 > most {
            warn(
                warnings,
                "packet-rate",
                format!(
                    "{} pkt/s on the {cores} cores of {place}: above {most} pkt/s senders are likely to be late",
                    peak.milli_pps / 1_000
                ),
            );
        }
    }
}
