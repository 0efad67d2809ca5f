//! Observation beside the flows: it holds up nobody for longer than its grace.

use super::*;

fn observed(agent: &str) -> Event {
    Event::Observed { agent: name(agent) }
}

/// Every manifest of both flows.
fn manifests() -> Vec<Event> {
    [1, 2]
        .into_iter()
        .flat_map(|flow| [manifest(flow, End::Tx), manifest(flow, End::Rx)])
        .collect()
}

fn running() -> Machine {
    let mut machine = observed_machine(FAN);
    give(&mut machine, all_ready());
    let effects = give(&mut machine, [Event::Started(t0(SECOND))]);
    assert!(effects.contains(&Effect::Publish(name("r"))), "{effects:?}");
    machine
}

#[test]
fn a_router_is_asked_to_watch_and_only_one_to_tell_of_the_kernel() {
    let machine = observed_machine(FAN);
    let observe = |agent| machine.desired(&name(agent)).unwrap().assignment.observe;
    assert!(
        ["a", "b", "c", "r"]
            .into_iter()
            .all(|agent| observe(agent).links)
    );
    assert_eq!(
        ["a", "b", "c", "r"].map(|agent| observe(agent).kernel),
        [true, false, false, false]
    );
    assert!(
        machine
            .desired(&name("r"))
            .unwrap()
            .assignment
            .sessions
            .is_empty()
    );
}

#[test]
fn a_run_ends_when_manifests_and_observations_are_there() {
    let mut machine = running();
    give(&mut machine, ["a", "b", "c"].map(observed));
    let effects = give(&mut machine, manifests());
    assert_eq!(
        effects,
        [Effect::Publish(name("r"))],
        "the router is told to end"
    );
    let wanted = machine.desired(&name("r")).unwrap().order;
    assert!(matches!(wanted, Order::Stop { .. }), "{wanted:?}");
    let other = machine.desired(&name("a")).unwrap().order;
    assert!(
        matches!(other, Order::Start(_)),
        "hosts end by themselves: {other:?}"
    );
    assert_eq!(machine.state(), State::Running);
    give(&mut machine, [observed("r")]);
    assert_eq!(machine.state(), State::Closed);
}

#[test]
fn no_verdict_waits_longer_than_the_grace_for_a_router() {
    let mut machine = running();
    give(&mut machine, manifests());
    assert_eq!(machine.state(), State::Running);
    assert_eq!(machine.deadline_ns(), Some(OBSERVE_GRACE_NS));
    machine.handle(OBSERVE_GRACE_NS, Event::Tick);
    assert_eq!(machine.state(), State::Closed);
}

#[test]
fn an_observer_that_is_lost_or_refuses_is_not_waited_for() {
    for gone in [
        lost("r"),
        refused("r", &[]),
        stands("r", AssignmentState::Aborted),
    ] {
        let mut machine =
            observed_machine(&FAN.replace("[pairs]", "lost_agent = \"fail\"\n[pairs]"));
        give(&mut machine, all_ready());
        give(&mut machine, [gone]);
        give(&mut machine, [Event::Started(t0(SECOND))]);
        assert_eq!(machine.state(), State::Running, "it is missed by no flow");
        give(&mut machine, ["a", "b", "c"].map(observed));
        give(&mut machine, manifests());
        assert_eq!(machine.state(), State::Closed);
    }
    let mut machine = running();
    give(&mut machine, ["a", "b", "c"].map(observed));
    give(&mut machine, manifests());
    give(&mut machine, [lost("r")]);
    assert_eq!(machine.state(), State::Closed, "lost meanwhile");
}
