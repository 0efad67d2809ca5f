//! Sessions and flows, numbered phase by phase, flow set by flow set, pair by pair.

use std::collections::HashSet;

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use weir_common::assignment::{Segment, SocketTraffic, bounds};
use weir_common::campaign::{Dial, FlowSet};
use weir_common::id::{FlowId, SessionId};
use weir_common::record::End;

use super::pairs::Link;
use super::{Context, PlanError, check, rows_per_end, traffic};
use crate::plan::{PlannedFlow, PlannedPhase, PlannedSession};

/// A flow set with its pairs.
pub(super) struct Paired<'a> {
    pub(super) set: &'a FlowSet,
    pub(super) links: Vec<Link>,
    pub(super) traffic: SocketTraffic,
}

/// What is built.
#[derive(Default)]
pub(super) struct Built {
    pub(super) sessions: Vec<PlannedSession>,
    pub(super) flows: Vec<PlannedFlow>,
}

/// Makes a flow of every link in every phase of its set.
///
/// A set that was active in the phase before keeps its sessions if there is no pause between the two;
/// otherwise, and after as many segments as a session can tell apart, it gets new ones.
pub(super) fn build(
    context: &Context<'_>,
    phases: &[PlannedPhase],
    sets: &[Paired<'_>],
    tag_seed: u64,
) -> Result<Built, PlanError> {
    let mut tags = Tags::new(tag_seed);
    let mut built = Built::default();
    // Index of the first of the sessions that each set has open; its links have them in their order.
    let mut open: Vec<usize> = vec![0; sets.len()];
    for (index, phase) in phases.iter().enumerate() {
        let joined = index > 0 && context.campaign.phases[index].pause.is_zero();
        for (place, set) in sets.iter().enumerate() {
            if !set.set.phases.contains(&index) {
                continue;
            }
            let goes_on = joined
                && set.set.phases.contains(&(index - 1))
                && built.sessions[open[place]].segments.len() < bounds::SEGMENTS;
            if !goes_on {
                open[place] = built.sessions.len();
                for (at, link) in set.links.iter().enumerate() {
                    let index = built.sessions.len();
                    let mut session = session(context, set, *link, index, &mut tags);
                    let (share, of) = traffic::share_of(set.set.traffic.per, &set.links, at);
                    traffic::divide(&mut session.traffic, share, of).map_err(|key| {
                        PlanError::Value {
                            set: set.set.name.clone(),
                            key,
                            problem: format!("too little to share among {of} flows"),
                        }
                    })?;
                    let streams = session.tags.len() as u64;
                    let means = session.traffic.means(streams, 0, &context.campaign.traces);
                    means.map_err(|(key, error)| PlanError::Value {
                        set: set.set.name.clone(),
                        key,
                        problem: format!("`{key}`: {error}"),
                    })?;
                    built.sessions.push(session);
                }
            }
            add_flows(context, &mut built, phase, set, open[place])?;
        }
    }
    Ok(built)
}

fn session(
    context: &Context<'_>,
    set: &Paired<'_>,
    link: Link,
    index: usize,
    tags: &mut Tags,
) -> PlannedSession {
    PlannedSession {
        id: SessionId(index as u32 + 1),
        set: set.set.name.clone(),
        from: context.agents[link.from].name.clone(),
        to: context.agents[link.to].name.clone(),
        dials: match set.set.dial {
            Dial::From => End::Tx,
            Dial::To => End::Rx,
        },
        traffic: set.traffic.clone(),
        bind: set.set.traffic.bind.as_ref().and_then(|bind| bind.address),
        interface: set
            .set
            .traffic
            .bind
            .as_ref()
            .and_then(|bind| bind.interface.clone()),
        source_port: set.set.traffic.bind.as_ref().and_then(|bind| bind.port),
        port: set.set.traffic.port.unwrap_or(0),
        tags: (0..set.set.traffic.streams).map(|_| tags.draw()).collect(),
        segments: Vec::new(),
    }
}

fn add_flows(
    context: &Context<'_>,
    built: &mut Built,
    phase: &PlannedPhase,
    set: &Paired<'_>,
    first_session: usize,
) -> Result<(), PlanError> {
    let (length_ns, warmup_ns) = times(phase, set.set)?;
    let streams = set.set.traffic.streams;
    for (place, link) in set.links.iter().enumerate() {
        let number = built.flows.len() as u32 + 1;
        let ipv6 = check::path(context, set.set, *link)?.is_ipv6();
        let session = &mut built.sessions[first_session + place];
        session.segments.push(Segment {
            flow: FlowId(number),
            start_ns: phase.start_ns,
            length_ns,
            warmup_ns,
        });
        let (offered_bps, offered_milli_pps) = traffic::offered(
            &session.traffic,
            (session.tags.len(), ipv6),
            &context.campaign.traces,
        );
        let asn = |agent: usize| {
            context.agents[agent]
                .labels
                .value("asn")
                .and_then(|asn| asn.parse().ok())
        };
        built.flows.push(PlannedFlow {
            id: FlowId(number),
            session: session.id,
            set: set.set.name.clone(),
            phase: phase.index,
            repeat: 1,
            key: format!(
                "{}/{}/{}>{}",
                phase.name, set.set.name, session.from, session.to
            ),
            from: session.from.clone(),
            to: session.to.clone(),
            from_asn: asn(link.from),
            to_asn: asn(link.to),
            transport: set.traffic.transport,
            reverse_of: link
                .reverse
                .map(|distance| FlowId(number.wrapping_add_signed(i32::from(distance)))),
            start_ns: phase.start_ns,
            length_ns,
            warmup_ns,
            offered_bps,
            offered_milli_pps,
            streams: streams as u16,
            size: set.traffic.size,
            rows_per_end: rows_per_end(
                length_ns,
                warmup_ns,
                context.campaign.interval.as_nanos(),
                streams,
            ),
            rows_at_most: set.traffic.bytes.is_some() || set.traffic.packets.is_some(),
        });
    }
    Ok(())
}

/// Length and warm-up of a set's flows in a phase, ns.
fn times(phase: &PlannedPhase, set: &FlowSet) -> Result<(u64, u64), PlanError> {
    let length = set
        .duration
        .map_or(phase.length_ns, |duration| duration.as_nanos());
    let problem = if length > phase.length_ns {
        "is longer than"
    } else if length <= phase.warmup_ns {
        "leaves nothing after the warm-up of"
    } else {
        return Ok((length, phase.warmup_ns));
    };
    let duration = set.duration.unwrap_or_default();
    Err(PlanError::Value {
        set: set.name.clone(),
        key: "for",
        problem: format!("`for = \"{duration}\"` {problem} phase `{}`", phase.name),
    })
}

/// Draws tags that are unique within the run. 0 is left out: it reads like no tag.
struct Tags {
    random: ChaCha12Rng,
    drawn: HashSet<u32>,
}

impl Tags {
    fn new(seed: u64) -> Self {
        Self {
            random: ChaCha12Rng::seed_from_u64(seed),
            drawn: HashSet::from([0]),
        }
    }

    fn draw(&mut self) -> u32 {
        loop {
            let tag = self.random.next_u32();
            if self.drawn.insert(tag) {
                return tag;
            }
        }
    }
}
