//! The transition table, then what must never happen.

use proptest::prelude::*;
use weir_common::assignment::{
    Family, Kind, Observe, OnControllerLoss, Peer, Rate, Segment, SessionSpec, SocketTraffic,
    Target, Transport,
};
use weir_common::id::FlowId;
use weir_common::record::End;
use weir_proto::agent::v1::assignment_status::State;
use weir_proto::types::v1 as types;

use super::*;
use crate::state::Accepted;

const SECOND: u64 = 1_000_000_000;
const KERNEL: &str = "same-kernel";

fn assignment(run: u32, address: &str) -> Assignment {
    let session = |number, end, dials| SessionSpec {
        session: SessionId(number),
        end,
        dials,
        kind: Kind::Socket(SocketTraffic::new(
            Transport::Udp,
            Rate::BitsPerSecond(1_000_000),
            1200,
        )),
        peer: Peer::Agent {
            name: "b".parse().unwrap(),
            addresses: vec![address.parse().unwrap()],
        },
        tags: vec![1],
        segments: vec![Segment {
            flow: FlowId(1),
            start_ns: 0,
            length_ns: SECOND,
            warmup_ns: 0,
        }],
        family: Family::Any,
        source_address: None,
        source_interface: None,
        source_port: None,
        port: 0,
    };
    Assignment {
        run: RunId(run),
        nonce: u64::from(run) * 1000,
        seed: 1,
        interval_ns: SECOND,
        linger_ns: SECOND,
        settle_ns: SECOND,
        end_ns: 10 * SECOND,
        on_controller_loss: OnControllerLoss::RunToEnd,
        sessions: vec![session(1, End::Tx, true), session(2, End::Rx, false)],
        observe: Observe::default(),
        traces: Vec::new(),
    }
}

fn desired(run: u32, order: Order) -> Desired {
    Desired {
        assignment: assignment(run, "10.0.0.2"),
        targets: vec![],
        excluded: vec![],
        order,
    }
}

fn policy() -> LocalPolicy {
    LocalPolicy {
        lab: false,
        connected: vec![],
        max_sessions: 10,
        ..LocalPolicy::default()
    }
}

fn apply(runs: &mut Runs, items: Vec<Desired>) -> Vec<Action> {
    apply_with(runs, items, KERNEL)
}

fn apply_with(runs: &mut Runs, items: Vec<Desired>, clock_domain: &str) -> Vec<Action> {
    let policy = policy();
    let world = World {
        now_ns: 100 * SECOND,
        unix_ns: 5_000_000 * SECOND as i64 / 1000,
        clock_domain,
        policy: &policy,
    };
    runs.apply(items, &world)
}

fn start(mono_ns: u64, kernel: &str) -> Order {
    let unix_ns = 5_000_000 * SECOND as i64 / 1000 + 7 * SECOND as i64;
    Order::Start(StartAt {
        unix_ns,
        mono_ns,
        kernel_boot_id: kernel.to_owned(),
    })
}

fn state(runs: &Runs, run: u32) -> State {
    let status = runs.statuses().into_iter().find(|status| status.run == run);
    status.expect("the run is known").state()
}

fn ready(session: u32, end: End) -> Event {
    Event::Ready {
        session: SessionId(session),
        end,
        tuples: vec![],
        link: true,
    }
}

#[test]
fn a_policy_that_changes_stops_what_breaks_it() {
    let mut runs = Runs::default();
    let under = |text: &str| LocalPolicy {
        rules: text.parse().unwrap(),
        ..policy()
    };
    apply(
        &mut runs,
        vec![desired(1, Order::Prepare), desired(2, Order::Prepare)],
    );
    let same = runs.policy_changed(&under("max_rate = \"3 Mbit/s\""));
    assert_eq!(same, vec![]);
    // One megabit with headers, twice: the second run is too much.
    let stopped = runs.policy_changed(&under("max_rate = \"1.5 Mbit/s\""));
    let [Action::Stop(RunId(2), reason)] = &stopped[..] else {
        panic!("{stopped:?}");
    };
    assert!(reason.contains("policy has changed") && reason.contains("max_rate"));
    // Where it has got to is checked, not only where it was to go.
    let ready = Event::Ready {
        session: SessionId(2),
        end: End::Rx,
        tuples: vec!["11.0.0.2:7>10.0.0.1:7900".to_owned()],
        link: true,
    };
    runs.on_event(RunId(1), &ready);
    let stopped = runs.policy_changed(&under("deny_destinations = [\"11.0.0.0/8\"]"));
    assert!(
        matches!(&stopped[..], [Action::Stop(RunId(1), reason)] if reason.contains("deny_destinations")),
        "{stopped:?}"
    );
}

#[test]
fn runs_count_together() {
    let mut runs = Runs::default();
    let capped = LocalPolicy {
        rules: "max_rate = \"1.5 Mbit/s\"".parse().unwrap(),
        ..policy()
    };
    let world = World {
        now_ns: 0,
        unix_ns: 0,
        clock_domain: KERNEL,
        policy: &capped,
    };
    let actions = runs.apply(vec![desired(1, Order::Prepare)], &world);
    assert!(
        actions
            .iter()
            .any(|action| matches!(action, Action::Prepare(all) if all.sessions.len() == 2))
    );
    let actions = runs.apply(
        vec![desired(1, Order::Prepare), desired(2, Order::Prepare)],
        &world,
    );
    // Its generator is refused; its receiver sends nothing.
    assert!(
        actions
            .iter()
            .any(|action| matches!(action, Action::Prepare(all) if all.sessions.len() == 1))
    );
}

#[test]
fn a_run_from_accepted_to_finished() {
    let mut runs = Runs::default();
    let run = RunId(1);
    let actions = apply(&mut runs, vec![desired(1, Order::Prepare)]);
    assert_eq!(actions[0], Action::Persist);
    assert!(matches!(&actions[2], Action::Prepare(a) if a.sessions.len() == 2));
    assert_eq!(state(&runs, 1), State::Accepted);

    let listening = Event::Listening {
        session: SessionId(2),
        port: 7900,
    };
    assert_eq!(runs.on_event(run, &listening).len(), 1);
    assert_eq!(runs.on_event(run, &ready(1, End::Tx)).len(), 1);
    assert_eq!(
        runs.on_event(run, &ready(2, End::Rx)).len(),
        2,
        "the last end settles the run"
    );
    assert_eq!(state(&runs, 1), State::Prepared);
    assert_eq!(runs.replay().len(), 4, "port, two outcomes, the standing");

    let mut item = desired(1, start(103 * SECOND, KERNEL));
    item.targets = vec![Target {
        session: SessionId(1),
        port: 7901,
    }];
    let actions = apply(&mut runs, vec![item.clone()]);
    assert!(actions.contains(&Action::SetTarget(run, SessionId(1), 7901)));
    assert!(actions.contains(&Action::Start(run, 103 * SECOND)));
    assert_eq!(state(&runs, 1), State::Armed);
    assert_eq!(
        apply(&mut runs, vec![item]),
        [Action::Persist],
        "the same again changes nothing"
    );

    assert_eq!(runs.next_deadline_ns(), Some(103 * SECOND));
    assert!(runs.on_time(103 * SECOND - 1).is_empty());
    assert_eq!(runs.on_time(103 * SECOND).len(), 1);
    assert_eq!(state(&runs, 1), State::Running);
    assert_eq!(runs.next_deadline_ns(), None);

    let actions = runs.on_event(run, &Event::Finished);
    assert_eq!(actions[..2], [Action::Persist, Action::Release(run)]);
    assert_eq!(state(&runs, 1), State::Finished);
    assert!(!runs.is_busy());
}

/// A router: nothing to send, its interfaces to watch.
fn watching(run: u32, order: Order) -> Desired {
    let mut item = desired(run, order);
    item.assignment.sessions.clear();
    item.assignment.observe.links = true;
    item
}

#[test]
fn one_that_only_watches_is_never_in_the_engine() {
    let mut runs = Runs::default();
    let run = RunId(1);
    let actions = apply(&mut runs, vec![watching(1, Order::Prepare)]);
    assert!(
        !actions
            .iter()
            .any(|action| matches!(action, Action::Prepare(_)))
    );
    assert_eq!(state(&runs, 1), State::Prepared);
    let actions = apply(&mut runs, vec![watching(1, start(103 * SECOND, KERNEL))]);
    assert!(matches!(&actions[1], Action::Observe(it, t0) if it.run == run && *t0 == 103 * SECOND));
    assert!(
        !actions
            .iter()
            .any(|action| matches!(action, Action::Start(..)))
    );
    assert_eq!(state(&runs, 1), State::Armed);
    runs.on_time(103 * SECOND);
    assert_eq!(state(&runs, 1), State::Running);
    assert!(runs.is_busy());
    let actions = runs.observed(run);
    assert_eq!(actions[..2], [Action::Persist, Action::Release(run)]);
    assert_eq!(state(&runs, 1), State::Finished);
    assert!(runs.observed(run).is_empty(), "told once");
}

#[test]
fn an_observation_ends_with_its_run() {
    let mut runs = Runs::default();
    let run = RunId(1);
    let mut item = desired(1, start(103 * SECOND, KERNEL));
    item.assignment.observe.kernel = true;
    let actions = apply(&mut runs, vec![item]);
    assert!(actions.contains(&Action::Start(run, 103 * SECOND)));
    assert!(
        actions
            .iter()
            .any(|action| matches!(action, Action::Observe(..)))
    );
    // The observation may end first, and that ends no flow.
    let actions = runs.on_event(run, &Event::Finished);
    assert!(
        actions.contains(&Action::EndObservation(run)),
        "{actions:?}"
    );
    assert_eq!(state(&runs, 1), State::Finished);

    let stopped = watching(2, start(103 * SECOND, KERNEL));
    apply(&mut runs, vec![stopped]);
    let actions = runs.stop(RunId(2), "asked");
    assert!(
        actions.contains(&Action::EndObservation(RunId(2))),
        "{actions:?}"
    );
    assert_eq!(state(&runs, 2), State::Stopped);
}

#[test]
fn the_end_of_an_observation_ends_no_flow() {
    let mut runs = Runs::default();
    let mut item = desired(1, start(98 * SECOND, KERNEL));
    item.assignment.observe.links = true;
    apply(&mut runs, vec![item]);
    assert!(runs.observed(RunId(1)).is_empty());
    assert_eq!(state(&runs, 1), State::Running);
    let actions = runs.on_event(RunId(1), &Event::Finished);
    assert!(!actions.contains(&Action::EndObservation(RunId(1))));
}

#[test]
fn another_kernels_t0_goes_by_the_wall_clock() {
    let mut runs = Runs::default();
    let actions = apply(&mut runs, vec![desired(1, start(1, "another"))]);
    assert!(actions.contains(&Action::Start(RunId(1), 107 * SECOND)));
}

/// An agent that cannot read its time namespace's offset took a wrong one for 0.
#[test]
fn a_clock_without_a_name_is_nobody_elses() {
    for kernel in [KERNEL, ""] {
        let mut runs = Runs::default();
        let items = vec![desired(1, start(98 * SECOND, kernel))];
        let actions = apply_with(&mut runs, items, "");
        assert!(actions.contains(&Action::Start(RunId(1), 107 * SECOND)));
    }
}

#[test]
fn a_late_start_says_how_late() {
    let mut runs = Runs::default();
    let actions = apply(&mut runs, vec![desired(1, start(98 * SECOND, KERNEL))]);
    assert!(actions.contains(&Action::Start(RunId(1), 98 * SECOND)));
    assert_eq!(runs.statuses()[0].late_by_ns, 2 * SECOND);
    assert_eq!(state(&runs, 1), State::Running);
}

#[test]
fn stop_is_idempotent_and_keeps_its_reason() {
    let mut runs = Runs::default();
    apply(&mut runs, vec![desired(1, Order::Prepare)]);
    let stop = || {
        vec![desired(
            1,
            Order::Stop {
                reason: "asked".into(),
            },
        )]
    };
    let stopped = Action::Stop(RunId(1), "asked".into());
    assert!(apply(&mut runs, stop()).contains(&stopped));
    assert!(!apply(&mut runs, stop()).contains(&stopped));
    runs.on_event(RunId(1), &Event::Finished);
    assert_eq!(state(&runs, 1), State::Stopped);
    assert_eq!(runs.statuses()[0].reason, "asked");
    assert!(
        !apply(&mut runs, vec![desired(1, start(0, KERNEL))])
            .iter()
            .any(is_traffic)
    );
}

#[test]
fn what_never_began_is_stopped_without_the_engine() {
    let mut runs = Runs::default();
    let actions = apply(
        &mut runs,
        vec![desired(
            1,
            Order::Stop {
                reason: "asked".into(),
            },
        )],
    );
    assert!(!actions.iter().any(is_traffic));
    assert_eq!(state(&runs, 1), State::Stopped);
}

#[test]
fn unwanted_runs_are_stopped_and_then_forgotten() {
    let mut runs = Runs::default();
    apply(&mut runs, vec![desired(1, start(103 * SECOND, KERNEL))]);
    let actions = apply(&mut runs, vec![]);
    assert!(matches!(&actions[1], Action::Stop(RunId(1), _)));
    assert_eq!(runs.statuses().len(), 1, "told while it runs");
    runs.on_event(RunId(1), &Event::Finished);
    assert!(runs.statuses().is_empty());
    assert_eq!(runs.journal().len(), 1, "but never run again");
}

#[test]
fn policy_fails_sessions_and_spares_the_others() {
    let mut runs = Runs::default();
    let mut item = desired(1, Order::Prepare);
    item.assignment = assignment(1, "8.8.8.8");
    let actions = apply(&mut runs, vec![item]);
    let failed = actions.iter().find_map(|action| match action {
        Action::Report(report) => match report.as_ref() {
            Report::SessionStatus(status) => status.state.clone(),
            _ => None,
        },
        _ => None,
    });
    assert!(matches!(failed, Some(SessionState::Failed(f)) if f.code == "policy"));
    let prepared = actions.iter().find_map(|action| match action {
        Action::Prepare(assignment) => Some(assignment.sessions.len()),
        _ => None,
    });
    assert_eq!(prepared, Some(1), "the listening end dials nobody");
}

#[test]
fn a_run_without_an_allowed_session_ends_at_its_start() {
    let mut runs = Runs::default();
    let mut item = desired(1, Order::Prepare);
    item.assignment = assignment(1, "8.8.8.8");
    item.assignment.sessions.truncate(1);
    assert!(!apply(&mut runs, vec![item.clone()]).iter().any(is_traffic));
    assert_eq!(state(&runs, 1), State::Prepared);
    item.order = start(103 * SECOND, KERNEL);
    apply(&mut runs, vec![item]);
    assert_eq!(state(&runs, 1), State::Finished);
}

#[test]
fn a_refusing_engine_aborts_the_run() {
    let mut runs = Runs::default();
    apply(&mut runs, vec![desired(1, Order::Prepare)]);
    let actions = runs.prepare_failed(RunId(1), "no ports");
    assert_eq!(actions.len(), 2 + 3, "both ends, and the end of the run");
    assert_eq!(state(&runs, 1), State::Aborted);
}

#[test]
fn a_lost_controller_ends_a_run_with_a_lease() {
    let mut runs = Runs::default();
    let mut item = desired(1, start(100 * SECOND, KERNEL));
    item.assignment.on_controller_loss = OnControllerLoss::StopAfter(30 * SECOND);
    apply(&mut runs, vec![item]);
    runs.controller_seen(101 * SECOND);
    runs.on_time(100 * SECOND);
    assert_eq!(runs.next_deadline_ns(), Some(131 * SECOND));
    assert!(runs.on_time(131 * SECOND - 1).is_empty());
    assert!(matches!(
        &runs.on_time(131 * SECOND)[..],
        [Action::Stop(RunId(1), _)]
    ));
    assert_eq!(runs.next_deadline_ns(), None);
}

#[test]
fn faults_refuse_the_snapshot_by_field() {
    let mut runs = Runs::default();
    apply(&mut runs, vec![desired(1, Order::Prepare)]);
    let accepted = Accepted {
        controller_id: "c".into(),
        version: 5,
    };
    let refused = |runs: &Runs, epoch, version, controller, items: Vec<Desired>| {
        let items = items.iter().map(Into::into).collect();
        let snapshot = types::Snapshot {
            epoch,
            version,
            items,
        };
        let checked = runs.checked(&snapshot, 1, controller, &accepted, &policy());
        checked.err().map(|reasons| reasons[0].field.clone())
    };
    let good = || vec![desired(1, Order::Prepare)];
    let field = |text: &str| Some(text.to_owned());
    assert_eq!(refused(&runs, 1, 5, "c", good()), None);
    assert_eq!(refused(&runs, 2, 6, "c", good()), field("epoch"));
    assert_eq!(refused(&runs, 1, 4, "c", good()), field("version"));
    assert_eq!(refused(&runs, 1, 4, "another", good()), None);
    let twice = vec![desired(1, Order::Prepare), desired(1, Order::Prepare)];
    assert_eq!(
        refused(&runs, 1, 6, "c", twice),
        field("items[1].assignment.run")
    );
    let mut changed = desired(1, Order::Prepare);
    changed.assignment.seed += 1;
    assert_eq!(
        refused(&runs, 1, 6, "c", vec![changed.clone()]),
        field("items[0].assignment.run")
    );
    changed.assignment.nonce += 1;
    assert_eq!(
        refused(&runs, 1, 6, "c", vec![changed.clone()]),
        field("items[0].assignment.nonce")
    );
    runs.on_event(RunId(1), &Event::Finished);
    assert_eq!(
        refused(&runs, 1, 6, "c", vec![changed]),
        None,
        "a new run of another controller"
    );
    let mut large = desired(2, Order::Prepare);
    let session = large.assignment.sessions[0].clone();
    large.assignment.sessions = (1..=11)
        .map(|n| SessionSpec {
            session: SessionId(n),
            ..session.clone()
        })
        .collect();
    assert_eq!(
        refused(&runs, 1, 6, "c", vec![large]),
        field("items[0].assignment.sessions")
    );
    let mut absurd = desired(2, Order::Prepare);
    absurd.assignment.interval_ns = 0;
    assert_eq!(
        refused(&runs, 1, 6, "c", vec![absurd]),
        field("items[0].assignment.interval_ns")
    );
}

fn is_traffic(action: &Action) -> bool {
    matches!(action, Action::Prepare(_) | Action::Start(..))
}

#[derive(Debug, Clone)]
enum Step {
    Snapshot(Vec<(u32, u8)>),
    Ready(u32),
    Finished(u32),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => prop::collection::btree_map(1u32..4, 0u8..3, 0..4)
            .prop_map(|items| Step::Snapshot(items.into_iter().collect())),
        1 => (1u32..4).prop_map(Step::Ready),
        1 => (1u32..4).prop_map(Step::Finished),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    /// Over snapshots, events and restarts in any order an assignment is handed
    /// to the engine at most once and started at most once.
    #[test]
    fn nothing_is_ever_run_twice(steps in prop::collection::vec(step(), 0..60)) {
        let mut runs = Runs::default();
        let mut prepared = BTreeSet::new();
        let mut started = BTreeSet::new();
        for step in steps {
            let actions = match step {
                Step::Snapshot(items) => {
                    let item = |(run, order)| desired(run, match order {
                        0 => Order::Prepare,
                        1 => start(103 * SECOND, KERNEL),
                        _ => Order::Stop { reason: "asked".into() },
                    });
                    apply(&mut runs, items.into_iter().map(item).collect())
                }
                Step::Ready(run) => runs.on_event(RunId(run), &ready(1, End::Tx)),
                Step::Finished(run) => runs.on_event(RunId(run), &Event::Finished),
                Step::Restart => {
                    runs = Runs::after_restart(runs.journal(), false);
                    prop_assert!(!runs.is_busy());
                    Vec::new()
                }
            };
            for action in actions {
                match action {
                    Action::Prepare(a) => prop_assert!(prepared.insert(a.run), "{} prepared twice", a.run),
                    Action::Start(run, _) => prop_assert!(started.insert(run), "{run} started twice"),
                    _ => {}
                }
            }
        }
    }
}
