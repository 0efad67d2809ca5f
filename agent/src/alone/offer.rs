//! What a generator may ask of this side, whoever it is.
//!
//! This side answers one peer, the one that dialled: it dials nobody, and sends
//! traffic only where it was started to, and only to that peer.

use std::net::IpAddr;

use weir_common::assignment::{Assignment, Family, Peer};
use weir_common::record::End;
use weir_proto::types::v1 as pb;

use crate::policy::LocalPolicy;

/// How long a peer may let this side wait for it before T0, ns.
pub(super) const SETTLE_MAX_NS: u64 = 300_000_000_000;
/// The latest end from T0, ns: a day.
const END_MAX_NS: u64 = 86_400_000_000_000;

/// What this side is ready for.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    /// Whether it sends traffic too (`--allow-generate`).
    pub(super) generates: bool,
    /// What the host allows.
    pub(super) policy: LocalPolicy,
    /// Streams that it can serve beside those of other peers.
    pub(super) free_streams: usize,
}

/// Streams of all sessions: each has a socket and, mostly, a thread.
pub(super) fn streams(assignment: &Assignment) -> usize {
    let sessions = assignment.sessions.iter();
    sessions.map(|session| session.tags.len()).sum()
}

/// Takes an offer of the peer at this address, or says why not. What it says of
/// addresses is replaced by the peer's own.
///
/// # Errors
/// A sentence for the person at the other side: what is not allowed, and what
/// would allow it.
pub(super) fn admit(
    offer: &pb::Assignment,
    peer: IpAddr,
    terms: &Terms,
) -> Result<Assignment, String> {
    let mut assignment = Assignment::try_from(offer).map_err(|error| error.to_string())?;
    assignment.check().map_err(|error| error.to_string())?;
    for (value, most, what) in [
        (assignment.settle_ns, SETTLE_MAX_NS, "settle"),
        (assignment.end_ns, END_MAX_NS, "the length of the whole"),
    ] {
        if value > most {
            return Err(format!(
                "{what} of {} s is more than the {} s that a receiver without a controller allows",
                value / 1_000_000_000,
                most / 1_000_000_000
            ));
        }
    }
    if assignment.sessions.is_empty() {
        return Err("an offer without sessions measures nothing".to_owned());
    }
    for session in &mut assignment.sessions {
        if session.dials {
            return Err("a receiver without a controller dials nobody".to_owned());
        }
        if session.end == End::Tx && !terms.generates {
            return Err(NOT_GENERATING.to_owned());
        }
        let Peer::Agent { addresses, .. } = &mut session.peer else {
            return Err("the peer has to be an agent".to_owned());
        };
        *addresses = vec![peer];
        session.source_address = None;
        session.family = Family::Any;
        terms.policy.session(session)?;
    }
    // A listening end is asked nothing by its policy; here it has one peer only.
    terms.policy.destination(peer, None)?;
    let asked = streams(&assignment);
    if asked > terms.free_streams {
        return Err(format!(
            "{asked} streams are more than the {} that this host has descriptors for now; raise its limit (ulimit -n), or wait for other generators to end",
            terms.free_streams
        ));
    }
    Ok(assignment)
}

/// Why traffic the other way round is refused.
pub(super) const NOT_GENERATING: &str =
    "this receiver does not generate: start it with --allow-generate for --reverse and --both";

#[cfg(test)]
mod tests {
    use weir_common::campaign::flags;
    use weir_common::id::RunId;
    use weir_experiment::planner::{self, AgentFacts};

    use super::*;

    const PEER: &str = "10.150.0.71";

    fn terms() -> Terms {
        Terms {
            generates: false,
            policy: LocalPolicy {
                lab: false,
                connected: Vec::new(),
                max_sessions: 100,
                ..LocalPolicy::default()
            },
            free_streams: 10,
        }
    }

    fn facts(name: &str, address: &str) -> AgentFacts {
        super::super::host::facts(
            name.parse().unwrap(),
            &pb::Inventory::default(),
            address.parse().unwrap(),
        )
    }

    /// What a generator at [`PEER`] offers for this line.
    fn offer(line: &str) -> pb::Assignment {
        let words = format!("--from here --to there {line}");
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        let campaign = flags::parse(&words).unwrap();
        let hosts = [facts("here", PEER), facts("there", "10.162.0.71")];
        let plan = planner::plan(&campaign, &hosts, 7).unwrap();
        let there = plan.assignment(&"there".parse().unwrap(), RunId(1), 9);
        pb::Assignment::from(&there.unwrap())
    }

    fn peer() -> IpAddr {
        PEER.parse().unwrap()
    }

    #[test]
    fn an_offer_is_taken_for_the_one_that_dialled() {
        let mut offer = offer("--udp 10M --for 10s --streams 4");
        let Some(pb::session_spec::Peer::Agent(agent)) = &mut offer.sessions[0].peer else {
            panic!("an agent is offered");
        };
        agent.addresses = vec!["10.99.99.99".to_owned()];
        let taken = admit(&offer, peer(), &terms()).unwrap();
        let Peer::Agent { addresses, .. } = &taken.sessions[0].peer else {
            panic!("an agent is taken");
        };
        assert_eq!(addresses, &[peer()]);
        assert_eq!(streams(&taken), 4);
    }

    #[test]
    fn nothing_is_sent_unless_the_host_was_started_to() {
        let offer = offer("--udp 10M --for 10s --reverse");
        let refused = admit(&offer, peer(), &terms()).unwrap_err();
        assert!(refused.contains("--allow-generate"), "{refused}");
        let generates = Terms {
            generates: true,
            ..terms()
        };
        assert!(admit(&offer, peer(), &generates).is_ok());
        let mut dials = offer;
        dials.sessions[0].dials = true;
        let refused = admit(&dials, peer(), &generates).unwrap_err();
        assert!(refused.contains("dials nobody"), "{refused}");
    }

    #[test]
    fn what_passes_a_bound_or_the_policy_is_refused_by_name() {
        let refused = |change: &dyn Fn(&mut pb::Assignment)| {
            let mut offer = offer("--udp 10M --for 10s");
            change(&mut offer);
            admit(&offer, peer(), &terms()).unwrap_err()
        };
        type Change<'a> = &'a dyn Fn(&mut pb::Assignment);
        let cases: [(Change<'_>, &str); 5] = [
            (&|offer| offer.settle_ns = 301_000_000_000, "settle"),
            (
                &|offer| {
                    offer.end_ns = 7_200_000_000_000;
                    offer.sessions[0].segments[0].length_ns = 7_200_000_000_000;
                },
                "1 h",
            ),
            (
                &|offer| offer.end_ns = 90_000_000_000_000,
                "the length of the whole",
            ),
            (&|offer| offer.sessions.clear(), "sessions"),
            (
                &|offer| offer.sessions[0].tags = (1..=11).collect(),
                "11 streams",
            ),
        ];
        for (change, word) in cases {
            let said = refused(change);
            assert!(said.contains(word), "{said}");
        }
        let public = "8.8.8.8".parse().unwrap();
        let said = admit(&offer("--udp 10M --for 10s"), public, &terms()).unwrap_err();
        assert!(said.contains("public"), "{said}");
    }
}
