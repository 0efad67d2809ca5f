//! Single rules first, then every state against every event; random orders of
//! events in `model`.

mod model;
mod observing;

use weir_common::assignment::Observe;
use weir_common::assignment::Order;
use weir_common::campaign::file;
use weir_common::label::Labels;
use weir_experiment::plan::OnLostAgent;
use weir_experiment::planner::{self, AgentFacts};

use super::*;

const SECOND: u64 = 1_000_000_000;

fn name(text: &str) -> AgentName {
    text.parse().unwrap()
}

fn facts(text: &str) -> AgentFacts {
    AgentFacts {
        name: name(text),
        labels: Labels::new(),
        addresses: vec![
            format!("10.0.0.{}", 1 + text.as_bytes()[0] % 250)
                .parse()
                .unwrap(),
        ],
        mtu: Some(1_500),
        kernel_boot_id: "kernel".into(),
        clock_domain: "kernel".into(),
        cores: 2,
        max_sessions: 4_096,
        qdiscs: Vec::new(),
        buckets: Vec::new(),
        congestion_controls: Vec::new(),
        alive: true,
    }
}

/// A machine for a campaign between the agents `a`, `b` and `c`, at time 0.
/// `settle` is 10 s and `linger` 2 s unless the campaign says so.
fn machine(campaign: &str) -> Machine {
    let campaign = file::parse(campaign, "test.toml").unwrap();
    let plan = planner::plan(&campaign, &["a", "b", "c"].map(facts), 7).unwrap();
    let assignments = plan
        .agents()
        .map(|agent| {
            let mut assignment = plan.assignment(agent, RunId(1), 9).unwrap();
            assignment.observe = Observe::default();
            (agent.clone(), assignment)
        })
        .collect();
    Machine::new(RunId(1), plan, assignments, 0)
}

/// The same, in which a router `r` without flows observes beside `a`, `b` and `c`.
fn observed_machine(text: &str) -> Machine {
    let campaign = file::parse(text, "test.toml").unwrap();
    let mut agents = ["a", "b", "c", "r"].map(facts);
    agents[3].labels.insert("role", "border-router").unwrap();
    let plan = planner::plan(&campaign, &agents, 7).unwrap();
    let assignments = plan
        .everyone()
        .map(|agent| (agent.clone(), plan.assignment(agent, RunId(1), 9).unwrap()))
        .collect();
    Machine::new(RunId(1), plan, assignments, 0)
}

/// `a` sends to `b` (session 1) and to `c` (session 2); `a` dials.
const FAN: &str = r#"campaign = "fan"
[pairs]
from = "a"
to   = ["b", "c"]
[[phase]]
name    = "p"
traffic = { udp = "1 Mbit/s" }
for     = "20s"
"#;

/// `a` and `b` send to each other; each session is dialled by its generator.
const BOTH: &str = r#"campaign = "both"
[pairs]
from = "a"
to   = "b"
both = true
[[phase]]
name    = "p"
traffic = { udp = "1 Mbit/s" }
for     = "20s"
"#;

fn said(agent: &str, session: u32, end: End, state: SessionState) -> Event {
    Event::Session {
        agent: name(agent),
        session: SessionId(session),
        end,
        state,
    }
}

fn listening(agent: &str, session: u32, end: End, port: u16) -> Event {
    said(agent, session, end, SessionState::Listening { port })
}

fn ready(agent: &str, session: u32, end: End) -> Event {
    said(
        agent,
        session,
        end,
        SessionState::Ready {
            tuples: Vec::new(),
            link: true,
        },
    )
}

fn failed(agent: &str, session: u32, end: End) -> Event {
    let state = SessionState::Failed {
        code: "unreachable".into(),
        reason: "no route".into(),
    };
    said(agent, session, end, state)
}

fn stands(agent: &str, state: AssignmentState) -> Event {
    Event::Assignment {
        agent: name(agent),
        state,
        reason: "why".into(),
    }
}

fn refused(agent: &str, sessions: &[u32]) -> Event {
    let sessions = sessions.iter().copied().map(SessionId).collect();
    Event::Refused {
        agent: name(agent),
        sessions,
        reason: "policy".into(),
    }
}

fn manifest(flow: u32, end: End) -> Event {
    Event::Manifest {
        flow: FlowId(flow),
        end,
    }
}

fn lost(agent: &str) -> Event {
    Event::AgentLost(name(agent))
}

fn stop() -> Event {
    Event::Stop {
        reason: "asked".into(),
    }
}

fn t0(mono_ns: u64) -> StartAt {
    StartAt {
        unix_ns: 1,
        mono_ns,
        kernel_boot_id: "kernel".into(),
    }
}

fn published(effects: &[Effect]) -> BTreeSet<&str> {
    let agent = |effect: &'_ Effect| match effect {
        Effect::Publish(agent) => Some(agent.clone()),
        _ => None,
    };
    let agents: BTreeSet<AgentName> = effects.iter().filter_map(agent).collect();
    ["a", "b", "c"]
        .into_iter()
        .filter(|text| agents.contains(&name(text)))
        .collect()
}

fn excluded(machine: &Machine, agent: &str) -> Vec<u32> {
    let desired = machine.desired(&name(agent)).unwrap();
    desired.excluded.iter().map(|session| session.0).collect()
}

fn targets(machine: &Machine, agent: &str) -> Vec<(u32, u16)> {
    let desired = machine.desired(&name(agent)).unwrap();
    desired
        .targets
        .iter()
        .map(|target| (target.session.0, target.port))
        .collect()
}

/// Gives events at time 0 and returns all effects.
fn give(machine: &mut Machine, events: impl IntoIterator<Item = Event>) -> Vec<Effect> {
    events
        .into_iter()
        .flat_map(|event| machine.handle(0, event))
        .collect()
}

fn prepared(campaign: &str) -> Machine {
    let mut machine = machine(campaign);
    give(&mut machine, all_ready());
    assert_eq!(machine.state(), State::Starting);
    machine
}

fn all_ready() -> Vec<Event> {
    vec![
        ready("a", 1, End::Tx),
        ready("b", 1, End::Rx),
        ready("a", 2, End::Tx),
        ready("c", 2, End::Rx),
    ]
}

/// Running since T0 = 1 s.
fn running() -> Machine {
    let mut machine = prepared(FAN);
    give(&mut machine, [Event::Started(t0(SECOND))]);
    assert_eq!(machine.state(), State::Running);
    machine
}

#[test]
fn a_listening_port_reaches_the_end_that_dials_and_no_other() {
    let mut machine = machine(FAN);
    let effects = give(&mut machine, [listening("b", 1, End::Rx, 7900)]);
    assert_eq!(effects, [Effect::Publish(name("a"))]);
    assert_eq!(targets(&machine, "a"), [(1, 7900)]);
    assert!(targets(&machine, "b").is_empty());
    assert!(
        give(&mut machine, [listening("b", 1, End::Rx, 7900)]).is_empty(),
        "told once"
    );
    give(&mut machine, [listening("b", 1, End::Rx, 7901)]);
    assert_eq!(targets(&machine, "a"), [(1, 7901)]);
}

#[test]
fn nobody_speaks_for_another_end() {
    let mut machine = machine(FAN);
    let wrong = [
        listening("c", 1, End::Rx, 7900),
        listening("a", 1, End::Tx, 7900),
        ready("c", 1, End::Tx),
        failed("c", 1, End::Rx),
        failed("b", 9, End::Rx),
        refused("c", &[1]),
        refused("x", &[]),
        lost("x"),
        stands("x", AssignmentState::Aborted),
    ];
    assert!(give(&mut machine, wrong).is_empty());
    assert_eq!(machine.tally(), (0, 0, 2));
}

#[test]
fn with_both_each_generator_dials_its_own_session() {
    let mut machine = machine(BOTH);
    give(
        &mut machine,
        [
            listening("b", 1, End::Rx, 7900),
            listening("a", 2, End::Rx, 7901),
        ],
    );
    assert_eq!(targets(&machine, "a"), [(1, 7900)]);
    assert_eq!(targets(&machine, "b"), [(2, 7901)]);
    give(&mut machine, [failed("b", 1, End::Rx)]);
    assert_eq!(
        (excluded(&machine, "a"), excluded(&machine, "b")),
        (vec![1], vec![1])
    );
    let effects = give(
        &mut machine,
        [ready("a", 2, End::Rx), ready("b", 2, End::Tx)],
    );
    assert!(
        effects.contains(&Effect::ChooseStart),
        "the other direction starts"
    );
}

#[test]
fn with_dial_to_the_receiver_dials() {
    let mut machine = machine(&FAN.replace("[[phase]]", "dial = \"to\"\n[[phase]]"));
    let effects = give(&mut machine, [listening("a", 2, End::Tx, 7900)]);
    assert_eq!(effects, [Effect::Publish(name("c"))]);
    assert_eq!(targets(&machine, "c"), [(2, 7900)]);
}

#[test]
fn a_failed_session_is_excluded_at_both_ends() {
    // Whichever end it is, and also the one that does not know it.
    for event in [
        failed("a", 1, End::Tx),
        failed("b", 1, End::Rx),
        refused("b", &[1]),
    ] {
        let mut machine = machine(FAN);
        let effects = give(&mut machine, [event.clone()]);
        assert_eq!(published(&effects), BTreeSet::from(["a", "b"]), "{event:?}");
        assert_eq!(
            (excluded(&machine, "a"), excluded(&machine, "b")),
            (vec![1], vec![1])
        );
        assert!(excluded(&machine, "c").is_empty());
        assert_eq!(machine.tally(), (0, 1, 2));
        assert!(
            give(&mut machine, [event, ready("b", 1, End::Rx)]).is_empty(),
            "decided once"
        );
    }
}

#[test]
fn an_agent_that_refuses_all_of_it_is_not_sent_it_again() {
    let mut machine = machine(FAN);
    let effects = give(&mut machine, [refused("b", &[])]);
    assert_eq!(published(&effects), BTreeSet::from(["a", "b"]));
    assert_eq!(machine.desired(&name("b")), None, "its other runs go on");
    assert_eq!(excluded(&machine, "a"), [1]);
    assert_eq!(machine.silence(&name("b")), Some("policy"));
}

#[test]
fn the_start_waits_for_every_session_and_comes_once() {
    let mut machine = machine(FAN);
    let mut effects = give(
        &mut machine,
        [ready("a", 1, End::Tx), ready("b", 1, End::Rx)],
    );
    assert_eq!(effects, [Effect::Decided(SessionId(1), None)]);
    effects = give(&mut machine, [failed("c", 2, End::Rx)]);
    assert_eq!(effects.last(), Some(&Effect::ChooseStart));
    assert_eq!(machine.state(), State::Starting);
    effects = give(&mut machine, [Event::Started(t0(5)), Event::Started(t0(6))]);
    assert_eq!(published(&effects), BTreeSet::from(["a", "b", "c"]));
    assert_eq!(machine.start(), Some(&t0(5)));
    for agent in ["a", "b", "c"] {
        assert_eq!(
            machine.desired(&name(agent)).unwrap().order,
            Order::Start(t0(5))
        );
    }
    assert_eq!(excluded(&machine, "c"), [2]);
}

#[test]
fn a_session_can_fail_after_it_was_ready() {
    let mut machine = machine(FAN);
    give(
        &mut machine,
        [
            ready("a", 1, End::Tx),
            ready("b", 1, End::Rx),
            failed("b", 1, End::Rx),
        ],
    );
    assert_eq!(machine.tally(), (0, 1, 2));
    give(
        &mut machine,
        [ready("a", 2, End::Tx), ready("c", 2, End::Rx)],
    );
    give(
        &mut machine,
        [
            Event::Started(t0(0)),
            manifest(2, End::Tx),
            manifest(2, End::Rx),
        ],
    );
    assert_eq!(
        machine.state(),
        State::Closed,
        "a failed session owes no manifest"
    );
}

#[test]
fn a_dead_target_holds_the_others_no_longer_than_settle_and_a_grace() {
    let mut machine = machine(FAN);
    give(
        &mut machine,
        [listening("b", 1, End::Rx, 1), ready("b", 1, End::Rx)],
    );
    give(&mut machine, [ready("a", 1, End::Tx)]);
    let deadline_ns = machine.deadline_ns().unwrap();
    assert_eq!(deadline_ns, 20 * SECOND, "settle 10 s and 10 s");
    assert!(machine.handle(deadline_ns - 1, Event::Tick).is_empty());
    let effects = machine.handle(deadline_ns, Event::Tick);
    assert_eq!(effects.last(), Some(&Effect::ChooseStart));
    let (end, code, reason) = machine.failure(SessionId(2)).unwrap();
    assert_eq!((*end, code.as_str()), (End::Rx, "unreachable"));
    assert!(reason.contains("c did not get ready"), "{reason}");
    assert!(
        published(&effects).contains("c"),
        "the end that is blamed may be alive"
    );
}

#[test]
fn nothing_ready_closes_the_run_and_frees_the_agents() {
    let mut machine = machine(FAN);
    let effects = give(
        &mut machine,
        [failed("b", 1, End::Rx), failed("c", 2, End::Rx)],
    );
    assert!(effects.contains(&Effect::Entered(State::Closed)));
    assert!(!effects.contains(&Effect::ChooseStart));
    assert_eq!(published(&effects), BTreeSet::from(["a", "b", "c"]));
    assert_eq!(machine.desired(&name("a")), None);
    assert_eq!(machine.deadline_ns(), None);
}

#[test]
fn an_agent_lost_before_t0_is_out_even_if_it_comes_back() {
    let mut machine = machine(FAN);
    let effects = give(&mut machine, [lost("b")]);
    assert_eq!(
        published(&effects),
        BTreeSet::from(["a", "b"]),
        "it finds its exclusion"
    );
    give(
        &mut machine,
        [listening("b", 1, End::Rx, 7900), ready("b", 1, End::Rx)],
    );
    give(&mut machine, [ready("a", 1, End::Tx)]);
    assert_eq!(machine.tally(), (0, 1, 2));
    assert_eq!(excluded(&machine, "b"), [1]);
    let effects = give(
        &mut machine,
        [ready("a", 2, End::Tx), ready("c", 2, End::Rx)],
    );
    assert!(effects.contains(&Effect::ChooseStart));
}

#[test]
fn an_agent_lost_after_t0_may_come_back_and_deliver() {
    let mut machine = running();
    give(
        &mut machine,
        [lost("b"), manifest(1, End::Tx), manifest(2, End::Tx)],
    );
    give(&mut machine, [manifest(2, End::Rx)]);
    assert_eq!(machine.state(), State::Running);
    assert_eq!(machine.silence(&name("b")), Some("the agent is lost"));
    give(&mut machine, [stands("b", AssignmentState::Running)]);
    assert_eq!(machine.silence(&name("b")), None);
    give(&mut machine, [manifest(1, End::Rx)]);
    assert_eq!(machine.state(), State::Closed);
}

#[test]
fn an_agent_that_aborted_owes_no_manifest() {
    let mut machine = running();
    give(&mut machine, [stands("b", AssignmentState::Aborted)]);
    give(
        &mut machine,
        [
            manifest(1, End::Tx),
            manifest(2, End::Tx),
            manifest(2, End::Rx),
        ],
    );
    assert_eq!(machine.state(), State::Closed);
    assert_eq!(machine.silence(&name("b")), Some("why"));
}

#[test]
fn an_agent_that_was_stopped_still_owes_its_manifests() {
    let mut machine = running();
    give(&mut machine, [stop()]);
    give(
        &mut machine,
        ["a", "b", "c"].map(|agent| stands(agent, AssignmentState::Stopped)),
    );
    assert_eq!(
        machine.state(),
        State::Stopping,
        "they come by another connection"
    );
    let flows = [(1, End::Tx), (1, End::Rx), (2, End::Tx), (2, End::Rx)];
    give(&mut machine, flows.map(|(flow, end)| manifest(flow, end)));
    assert_eq!(machine.state(), State::Closed);
    assert_eq!(machine.silence(&name("a")), None);
}

#[test]
fn an_agent_that_stops_before_t0_is_out() {
    let mut machine = machine(FAN);
    give(&mut machine, [stands("b", AssignmentState::Stopped)]);
    assert_eq!(machine.failure(SessionId(1)).unwrap().1, "stopped");
}

#[test]
fn an_end_that_fails_at_t0_owes_no_manifest_and_its_peer_does() {
    let mut machine = running();
    let effects = give(&mut machine, [failed("b", 1, End::Rx)]);
    assert!(
        matches!(effects[..], [Effect::Decided(SessionId(1), Some(_))]),
        "{effects:?}"
    );
    give(&mut machine, [manifest(2, End::Tx), manifest(2, End::Rx)]);
    assert_eq!(machine.state(), State::Running);
    give(&mut machine, [failed("a", 1, End::Tx)]);
    assert_eq!(machine.state(), State::Closed);
    assert_eq!(
        machine.failure(SessionId(1)).unwrap().0,
        End::Rx,
        "the first one counts"
    );
}

#[test]
fn what_was_accepted_goes_on_whatever_is_refused_later() {
    let mut machine = running();
    assert!(give(&mut machine, [refused("b", &[]), refused("c", &[2])]).is_empty());
    assert!(machine.desired(&name("b")).is_some());
    let flows = [(1, End::Tx), (2, End::Tx), (2, End::Rx)];
    give(&mut machine, flows.map(|(flow, end)| manifest(flow, end)));
    assert_eq!(machine.state(), State::Running);
    assert_eq!(machine.silence(&name("b")), Some("refused: policy"));
}

#[test]
fn while_nothing_can_be_stored_the_wait_goes_on_for_who_still_owes() {
    let mut machine = running();
    let before_ns = machine.deadline_ns().unwrap();
    machine.hold(0);
    assert_eq!(machine.deadline_ns(), Some(before_ns), "never earlier");
    machine.hold(before_ns);
    let held_ns = machine.deadline_ns().unwrap();
    assert_eq!(held_ns, before_ns + RESUME_GRACE_NS);
    assert!(machine.handle(before_ns, Event::Tick).is_empty());
    // Nobody is there any more who could deliver: it ends when it would have.
    give(&mut machine, ["a", "b", "c"].map(lost));
    machine.hold(held_ns);
    assert_eq!(machine.deadline_ns(), Some(held_ns));
}

#[test]
fn a_lost_agent_stops_the_run_where_the_campaign_says_so() {
    let mut machine = machine(FAN);
    machine.plan.lost_agent = OnLostAgent::Fail;
    give(&mut machine, all_ready());
    give(&mut machine, [Event::Started(t0(0)), lost("b")]);
    assert_eq!(machine.state(), State::Stopping);
    assert_eq!(machine.stop_reason(), Some("agent b is lost"));
}

#[test]
fn a_stop_is_told_to_all_and_waits_for_manifests_so_long() {
    let mut machine = running();
    let effects = machine.handle(5 * SECOND, stop());
    assert_eq!(published(&effects), BTreeSet::from(["a", "b", "c"]));
    let order = machine.desired(&name("a")).unwrap().order;
    assert_eq!(
        order,
        Order::Stop {
            reason: "asked".into()
        }
    );
    assert_eq!(
        machine.deadline_ns(),
        Some(27 * SECOND),
        "linger 2 s and 20 s"
    );
    assert!(machine.handle(6 * SECOND, stop()).is_empty());
    machine.handle(27 * SECOND, Event::Tick);
    assert_eq!(machine.state(), State::Closed);
}

#[test]
fn a_run_closes_without_its_manifests_at_the_deadline() {
    let mut machine = running();
    // T0 1 s, 20 s of traffic, linger 2 s, 20 s.
    assert_eq!(machine.deadline_ns(), Some(43 * SECOND));
    machine.handle(43 * SECOND - 1, Event::Tick);
    assert_eq!(machine.state(), State::Running);
    machine.handle(43 * SECOND, Event::Tick);
    assert_eq!(machine.state(), State::Closed);
}

#[test]
fn a_restart_goes_on_with_what_is_missing() {
    let closed = BTreeSet::from([(FlowId(1), End::Tx), (FlowId(1), End::Rx)]);
    let mut machine = machine(FAN).resume(t0(SECOND), None, Vec::new(), &closed, 30 * SECOND);
    assert_eq!(
        (machine.state(), machine.tally()),
        (State::Running, (2, 0, 2))
    );
    assert_eq!(
        machine.desired(&name("a")).unwrap().order,
        Order::Start(t0(SECOND))
    );
    assert_eq!(
        machine.deadline_ns(),
        Some(60 * SECOND),
        "agents have 30 s to come back"
    );
    give(&mut machine, [manifest(2, End::Tx)]);
    assert_eq!(machine.state(), State::Running);
    give(&mut machine, [manifest(2, End::Rx)]);
    assert_eq!(machine.state(), State::Closed);
}

#[test]
fn a_restart_remembers_what_failed_and_what_is_over() {
    let failure = vec![(SessionId(1), End::Rx, "lost".into(), "why".into())];
    let closed = BTreeSet::from([(FlowId(2), End::Tx), (FlowId(2), End::Rx)]);
    let mut machine = machine(FAN).resume(t0(SECOND), None, failure, &closed, 0);
    assert_eq!(excluded(&machine, "b"), [1]);
    machine.handle(0, Event::Tick);
    assert_eq!(
        machine.state(),
        State::Closed,
        "everything is stored already"
    );
}

#[test]
fn a_stopped_run_does_not_wait_for_its_planned_end_after_a_restart() {
    let campaign = FAN.replace("20s", "3000s");
    let stopped = Some("asked".to_owned());
    let machine =
        machine(&campaign).resume(t0(0), stopped, Vec::new(), &BTreeSet::new(), 10 * SECOND);
    assert_eq!(machine.state(), State::Stopping);
    assert_eq!(
        machine.deadline_ns(),
        Some(40 * SECOND),
        "agents have 30 s to come back"
    );
}

#[test]
fn a_queued_run_has_its_whole_settle_once_it_is_its_turn() {
    let mut machine = machine(FAN);
    machine.restart_preparing(100 * SECOND);
    assert_eq!(machine.deadline_ns(), Some(120 * SECOND));
}

/// A machine in each state; session 1 and flow 1 are still open in all but `Closed`.
fn in_state(state: State) -> Machine {
    match state {
        State::Preparing => machine(FAN),
        State::Starting => prepared(FAN),
        State::Running => running(),
        State::Stopping => {
            let mut machine = running();
            give(&mut machine, [stop()]);
            machine
        }
        State::Closed => {
            let mut machine = machine(FAN);
            give(&mut machine, [stop()]);
            machine
        }
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_state_against_every_event() {
    use State::{Closed, Preparing, Running, Starting, Stopping};
    let late = 1_000 * SECOND;
    // Event; the state it leads to from Preparing, Starting, Running, Stopping, Closed.
    let table: [(u64, Event, [State; 5]); 15] = [
        (
            0,
            listening("b", 1, End::Rx, 1),
            [Preparing, Starting, Running, Stopping, Closed],
        ),
        (
            0,
            ready("b", 1, End::Rx),
            [Preparing, Starting, Running, Stopping, Closed],
        ),
        (
            0,
            failed("b", 1, End::Rx),
            [Preparing, Starting, Running, Stopping, Closed],
        ),
        (
            0,
            refused("b", &[1]),
            [Preparing, Starting, Running, Stopping, Closed],
        ),
        // Without `a` nothing is left of it.
        (
            0,
            refused("a", &[]),
            [Closed, Starting, Running, Stopping, Closed],
        ),
        (0, lost("a"), [Closed, Starting, Running, Stopping, Closed]),
        (
            0,
            lost("b"),
            [Preparing, Starting, Running, Stopping, Closed],
        ),
        (
            0,
            stands("a", AssignmentState::Aborted),
            [Closed, Starting, Running, Stopping, Closed],
        ),
        (
            0,
            stands("a", AssignmentState::Stopped),
            [Closed, Starting, Running, Stopping, Closed],
        ),
        (
            0,
            stands("a", AssignmentState::Finished),
            [Preparing, Starting, Running, Stopping, Closed],
        ),
        (
            0,
            manifest(1, End::Tx),
            [Preparing, Starting, Running, Stopping, Closed],
        ),
        (
            0,
            Event::Started(t0(0)),
            [Preparing, Running, Running, Stopping, Closed],
        ),
        (0, stop(), [Closed, Closed, Stopping, Stopping, Closed]),
        (
            0,
            Event::Tick,
            [Preparing, Starting, Running, Stopping, Closed],
        ),
        (
            late,
            Event::Tick,
            [Closed, Starting, Closed, Closed, Closed],
        ),
    ];
    let states = [Preparing, Starting, Running, Stopping, Closed];
    for (now_ns, event, outcomes) in table {
        for (state, outcome) in states.into_iter().zip(outcomes) {
            let mut machine = in_state(state);
            let effects = machine.handle(now_ns, event.clone());
            assert_eq!(machine.state(), outcome, "{state:?} and {event:?}");
            if state == Closed {
                assert!(effects.is_empty(), "{event:?}");
            }
            let entered = effects.contains(&Effect::Entered(outcome));
            assert_eq!(
                entered,
                outcome != state,
                "{state:?} and {event:?}: {effects:?}"
            );
        }
    }
}
