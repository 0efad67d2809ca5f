//! What holds for every plan.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use weir_common::id::{FlowId, SessionId};
use weir_common::traffic::Rate;

use super::*;

fn how() -> impl Strategy<Value = How> {
    prop_oneof![
        Just(How::All),
        Just(How::Mesh),
        Just(How::Ring),
        (1_u32..3).prop_map(How::Random)
    ]
}

fn traffic() -> impl Strategy<Value = Traffic> {
    let rates = prop_oneof![
        Just(udp("10 Mbit/s")),
        Just(udp("3000 pkt/s")),
        Just(udp("max")),
        Just(Traffic::new(Transport::Tcp, Rate::Max)),
    ];
    (rates, 1_u32..4, any::<bool>()).prop_map(|(traffic, streams, per_stream)| Traffic {
        streams,
        per: if per_stream { Per::Stream } else { Per::Flow },
        ..traffic
    })
}

fn flow_set(phases: usize) -> impl Strategy<Value = FlowSet> {
    let sides = prop::sample::select(vec!["role=host", "asn=150", "asn=162,171", "name!=a0"]);
    let active = prop::sample::subsequence((0..phases).collect::<Vec<_>>(), 1..=phases);
    let options = (how(), any::<bool>(), any::<bool>(), any::<bool>());
    (sides.clone(), sides, options, active, traffic()).prop_map(
        |(from, to, options, phases, traffic)| {
            let (how, both, apart, to_dials) = options;
            FlowSet {
                how,
                both,
                apart: apart.then(|| "asn".to_owned()),
                dial: if to_dials { Dial::To } else { Dial::From },
                phases,
                traffic,
                ..set("", selector(from), selector(to))
            }
        },
    )
}

fn campaigns() -> impl Strategy<Value = Campaign> {
    let phase = (1_u64..20, 0_u64..3, 0_u64..900).prop_map(|(length, pause, warmup)| Phase {
        warmup: Span::from_millis(warmup),
        ..phase("", length, pause)
    });
    prop::collection::vec(phase, 1..5).prop_flat_map(|phases| {
        let sets = prop::collection::vec(flow_set(phases.len()), 1..4);
        (Just(phases), sets, any::<u32>()).prop_map(|(mut phases, mut sets, seed)| {
            for (index, phase) in phases.iter_mut().enumerate() {
                phase.name = format!("p{index}");
            }
            for (index, set) in sets.iter_mut().enumerate() {
                set.name = format!("s{index}");
            }
            Campaign {
                seed: u64::from(seed),
                ..campaign(phases, sets)
            }
        })
    })
}

/// Every check of one plan.
fn holds(plan: &Plan) {
    let mut ends: BTreeMap<FlowId, Vec<End>> = BTreeMap::new();
    let mut dialled: BTreeMap<SessionId, usize> = BTreeMap::new();
    for agent in plan.agents() {
        let share = plan
            .assignment(agent, RunId(3), 9)
            .expect("every host of a plan has a share");
        share.check().expect("what is planned is well formed");
        for session in &share.sessions {
            *dialled.entry(session.session).or_default() += usize::from(session.dials);
            for segment in &session.segments {
                ends.entry(segment.flow).or_default().push(session.end);
            }
        }
    }
    for flow in &plan.flows {
        let mut ends = ends.remove(&flow.id).expect("a flow has ends");
        ends.sort_unstable();
        assert_eq!(ends, [End::Tx, End::Rx], "flow {}", flow.id);
        assert!(flow.from != flow.to && flow.end_ns() <= plan.end_ns);
        let session = plan.session(flow.session).expect("a flow has a session");
        assert!(plan.flows_of(session).any(|of_session| of_session == flow));
        if let Some(reverse) = flow.reverse_of {
            let reverse = plan.flow(reverse).expect("a reverse flow exists");
            assert_eq!(
                (reverse.reverse_of, &reverse.from, reverse.phase),
                (Some(flow.id), &flow.to, flow.phase)
            );
        }
    }
    assert!(ends.is_empty() && dialled.values().all(|count| *count == 1));
    let numbers: Vec<u32> = plan.flows.iter().map(|flow| flow.id.0).collect();
    assert_eq!(numbers, (1..=plan.flows.len() as u32).collect::<Vec<_>>());
    let tags: Vec<u32> = plan
        .sessions
        .iter()
        .flat_map(|session| session.tags.clone())
        .collect();
    assert_eq!(tags.iter().collect::<BTreeSet<_>>().len(), tags.len());
    let keys: BTreeSet<&str> = plan.flows.iter().map(|flow| flow.key.as_str()).collect();
    assert_eq!(keys.len(), plan.flows.len());
    let rows: u64 = plan
        .flows
        .iter()
        .map(|flow| 2 * u64::from(flow.rows_per_end))
        .sum();
    assert_eq!(rows, plan.records_expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn plans_are_whole_and_deterministic(campaign in campaigns(), tag_seed: u64) {
        let mut agents = agents();
        // A plan may be refused (no pair is left, too few to draw from); then it always is.
        let first = plan(&campaign, &agents, tag_seed);
        agents.reverse();
        prop_assert_eq!(&first, &plan(&campaign, &agents, tag_seed));
        if let Ok(first) = first {
            holds(&first);
            let text = serde_json::to_string(&first).expect("a plan is JSON");
            let read: Plan = serde_json::from_str(&text).expect("and reads back");
            prop_assert_eq!(&first, &read);
            let other = plan(&campaign, &agents, tag_seed.wrapping_add(1)).expect("as before");
            prop_assert_eq!(first.document(), other.document());
            prop_assert_ne!(&first.sessions[0].tags, &other.sessions[0].tags);
        }
    }
}

#[test]
fn a_session_never_has_more_segments_than_it_can_tell_apart() {
    let phases: Vec<Phase> = (0..70)
        .map(|index| phase(&format!("p{index}"), 1, 0))
        .collect();
    let all = FlowSet {
        phases: (0..70).collect(),
        ..set("s", names("a0"), names("b0"))
    };
    let plan = plan(&campaign(phases, vec![all]), &agents(), 7).unwrap();
    let segments: Vec<usize> = plan
        .sessions
        .iter()
        .map(|session| session.segments.len())
        .collect();
    assert_eq!(segments, [64, 6]);
    holds(&plan);
}
