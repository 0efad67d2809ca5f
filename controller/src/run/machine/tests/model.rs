//! Random orders of events against a model of what they may mean.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// Three agents, each sending to both others; every session carries two flows.
const MESH: &str = r#"campaign = "mesh"
[pairs]
from = ["a", "b", "c"]
to   = ["a", "b", "c"]
how  = "mesh"
[[phase]]
name    = "p"
for     = "20s"
[[phase]]
name    = "q"
for     = "20s"
pause   = "0s"
[[flow]]
name    = "load"
traffic = { udp = "1 Mbit/s" }
"#;

const AGENTS: [&str; 3] = ["a", "b", "c"];

/// What is true of the run, kept beside the machine.
#[derive(Debug, Default)]
struct Model {
    ready: BTreeSet<(u32, End)>,
    failed: BTreeSet<u32>,
    ports: BTreeSet<(u32, End)>,
    chosen: u32,
}

/// An event of one of the sessions, spoken by whoever may or may not speak for it.
fn of_session(sessions: u32) -> impl Strategy<Value = Event> {
    let end = select(vec![End::Tx, End::Rx]);
    (
        select(AGENTS.to_vec()),
        1..=sessions,
        end,
        0..8_u8,
        1..4_u16,
    )
        .prop_map(|(agent, session, end, what, port)| match what {
            0..=1 => listening(agent, session, end, port),
            2..=6 => ready(agent, session, end),
            _ => failed(agent, session, end),
        })
}

fn event(sessions: u32) -> impl Strategy<Value = Event> {
    let agent = || select(AGENTS.to_vec());
    let states = vec![
        AssignmentState::Accepted,
        AssignmentState::Prepared,
        AssignmentState::Running,
        AssignmentState::Finished,
        AssignmentState::Stopped,
        AssignmentState::Aborted,
    ];
    let end = select(vec![End::Tx, End::Rx]);
    prop_oneof![
        40 => of_session(sessions),
        10 => (1..=sessions * 2, end).prop_map(|(flow, end)| manifest(flow, end)),
        1 => agent().prop_map(lost),
        1 => (agent(), 1..=sessions).prop_map(|(agent, session)| refused(agent, &[session])),
        1 => agent().prop_map(|agent| refused(agent, &[])),
        2 => (agent(), select(states)).prop_map(|(agent, state)| stands(agent, state)),
        1 => Just(stop()),
        3 => Just(Event::Tick),
    ]
}

/// What must hold of every agent's desired state.
fn check_desired(machine: &Machine, model: &Model) {
    for agent in AGENTS.map(name) {
        let Some(desired) = machine.desired(&agent) else {
            let refused = machine.refusers.contains(&agent);
            assert!(machine.state() == State::Closed || refused);
            continue;
        };
        assert_ne!(
            machine.state(),
            State::Closed,
            "nothing is wanted of a closed run"
        );
        let specs = &desired.assignment.sessions;
        let excluded: BTreeSet<u32> = desired.excluded.iter().map(|id| id.0).collect();
        let mine: BTreeSet<u32> = specs
            .iter()
            .map(|spec| spec.session.0)
            .filter(|session| model.failed.contains(session))
            .collect();
        assert_eq!(excluded, mine, "the failed sessions of {agent}");
        for target in &desired.targets {
            let dials = |spec: &&weir_common::assignment::SessionSpec| {
                spec.session == target.session && spec.dials
            };
            let spec = specs
                .iter()
                .find(dials)
                .expect("a target is for an end that dials");
            assert!(model.ports.contains(&(spec.session.0, spec.end.other())));
        }
        match (&desired.order, machine.start(), machine.stop_reason()) {
            (Order::Start(start), Some(told), None) => assert_eq!(start, told),
            (Order::Prepare, None, None) | (Order::Stop { .. }, _, Some(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Follows the effects of one event.
fn follow(machine: &Machine, model: &mut Model, effects: &[Effect]) {
    for effect in effects {
        match effect {
            Effect::Decided(session, None) => {
                let both = [End::Tx, End::Rx].map(|end| model.ready.contains(&(session.0, end)));
                assert_eq!(both, [true, true], "{session} is ready without its ends");
                assert!(!model.failed.contains(&session.0));
            }
            Effect::Decided(session, Some(_)) => {
                assert!(model.failed.insert(session.0), "{session} fails twice");
            }
            Effect::ChooseStart => {
                model.chosen += 1;
                let decided = |session: &PlannedSession| {
                    let id = session.id.0;
                    let ready = [End::Tx, End::Rx]
                        .iter()
                        .all(|end| model.ready.contains(&(id, *end)));
                    ready || model.failed.contains(&id)
                };
                assert!(
                    machine.plan().sessions.iter().all(decided),
                    "somebody is undecided"
                );
            }
            Effect::Publish(_) | Effect::Entered(_) => {}
        }
    }
    assert!(model.chosen <= 1, "a run starts once");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_events_keeps_the_rules(
        events in prop::collection::vec((event(6), 0..SECOND), 1..400),
    ) {
        let mut machine = machine(MESH);
        prop_assert_eq!(machine.plan().sessions.len(), 6);
        let mut model = Model::default();
        let mut now_ns = 0;
        for (event, step_ns) in events {
            now_ns += step_ns;
            let before = (machine.state(), machine.start().cloned());
            if let Event::Session { agent, session, end, state } = &event {
                let planned = machine.plan().session(*session).unwrap();
                if party(planned, *end) == agent {
                    match state {
                        SessionState::Ready { .. } => {
                            model.ready.insert((session.0, *end));
                        }
                        SessionState::Listening { .. } => {
                            model.ports.insert((session.0, *end));
                        }
                        SessionState::Failed { .. } => {}
                    }
                }
            }
            let mut effects = machine.handle(now_ns, event);
            follow(&machine, &mut model, &effects);
            if effects.contains(&Effect::ChooseStart) {
                effects = machine.handle(now_ns, Event::Started(t0(now_ns + SECOND)));
                follow(&machine, &mut model, &effects);
            }
            check_desired(&machine, &model);
            if before.1.is_some() {
                prop_assert_eq!(machine.start(), before.1.as_ref(), "T0 never changes");
            }
            if before.0 == State::Closed {
                prop_assert_eq!(machine.state(), State::Closed);
                prop_assert!(effects.is_empty());
            }
            // Whatever happens, a run that is not closed has a deadline that closes it.
            prop_assert_eq!(machine.deadline_ns().is_none(), machine.state() == State::Closed);
        }
        // Silence from here on: deadline after deadline it comes to its end.
        for _ in 0..2 {
            let Some(deadline_ns) = machine.deadline_ns() else { break };
            let effects = machine.handle(deadline_ns, Event::Tick);
            follow(&machine, &mut model, &effects);
            if effects.contains(&Effect::ChooseStart) {
                machine.handle(deadline_ns, Event::Started(t0(deadline_ns)));
            }
            check_desired(&machine, &model);
        }
        prop_assert_eq!(machine.state(), State::Closed);
    }

    /// A run is closed by exactly the manifests that are still missing, in any
    /// order, however many were stored before the controller was restarted.
    #[test]
    fn a_resumed_run_closes_with_its_last_manifest(
        order in Just((1..=12_u32).flat_map(|flow| [(flow, End::Tx), (flow, End::Rx)])
            .collect::<Vec<_>>()).prop_shuffle(),
        stored in 0..24_usize,
    ) {
        let (before, after) = order.split_at(stored);
        let closed = before.iter().map(|(flow, end)| (FlowId(*flow), *end)).collect();
        let mut machine = machine(MESH).resume(t0(SECOND), None, Vec::new(), &closed, 2 * SECOND);
        prop_assert_eq!(machine.plan().flows.len(), 12);
        for (flow, end) in after {
            prop_assert_eq!(machine.state(), State::Running);
            machine.handle(3 * SECOND, manifest(*flow, *end));
        }
        prop_assert_eq!(machine.state(), State::Closed);
    }
}
