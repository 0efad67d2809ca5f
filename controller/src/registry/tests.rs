//! Liveness goes by the time that is passed in; nothing here waits.

use std::collections::BTreeMap;

use proptest::prelude::*;
use weir_common::assignment::{Assignment, Observe, OnControllerLoss, Order};
use weir_common::id::{BootId, RunId};
use weir_proto::types::v1::{Interface, TokenBucket};

use super::*;

const SECOND: u64 = 1_000_000_000;

fn name(text: &str) -> AgentName {
    text.parse().unwrap()
}

fn row(text: &str, inventory: &Inventory) -> AgentRow {
    AgentRow {
        name: name(text),
        labels: BTreeMap::from([("asn".to_owned(), "150".to_owned())]),
        public_key: vec![1; 32],
        generation: 1,
        boot: BootId([1; 16]),
        inventory: inventory.encode_to_vec(),
        first_seen_unix_ns: 0,
        last_seen_unix_ns: 0,
        snapshot_version: 0,
    }
}

fn plain(text: &str) -> AgentRow {
    row(text, &Inventory::default())
}

fn liveness(registry: &Registry, now_ns: u64) -> (Liveness, u64) {
    let view = &registry.view(now_ns)[0];
    (view.liveness, view.silent_ns)
}

fn interface(name: &str, addresses: &[&str], mtu: u32, state: &str) -> Interface {
    Interface {
        name: name.into(),
        addresses: addresses.iter().map(|&address| address.into()).collect(),
        mtu,
        state: state.into(),
        ..Interface::default()
    }
}

fn wanted(run: u32) -> Vec<Desired> {
    let assignment = Assignment {
        run: RunId(run),
        nonce: 1,
        seed: 1,
        interval_ns: SECOND,
        linger_ns: SECOND,
        settle_ns: SECOND,
        end_ns: SECOND,
        on_controller_loss: OnControllerLoss::RunToEnd,
        sessions: Vec::new(),
        observe: Observe {
            links: true,
            kernel: false,
        },
        traces: Vec::new(),
    };
    let (targets, excluded) = (Vec::new(), Vec::new());
    vec![Desired {
        assignment,
        targets,
        excluded,
        order: Order::Prepare,
    }]
}

#[test]
fn silence_makes_an_agent_suspect_and_then_lost() {
    let registry = Registry::default();
    let session = registry.admit(plain("a"), 1, 10 * SECOND);
    for (after_s, expected) in [
        (0, Liveness::Alive),
        (5, Liveness::Alive),
        (6, Liveness::Suspect),
        (14, Liveness::Suspect),
        (15, Liveness::Lost),
    ] {
        let (liveness, silent_ns) = liveness(&registry, (10 + after_s) * SECOND);
        assert_eq!(liveness, expected, "after {after_s} s");
        let silent_s = if expected == Liveness::Alive {
            0
        } else {
            after_s
        };
        assert_eq!(silent_ns, silent_s * SECOND);
    }
    assert!(registry.heard(&session.name, 1, 24 * SECOND));
    assert_eq!(liveness(&registry, 29 * SECOND).0, Liveness::Alive);
}

#[test]
fn an_agent_without_a_session_is_suspect_at_once() {
    let registry = Registry::default();
    registry.admit(plain("a"), 1, 0);
    registry.release(&name("a"), 1);
    assert_eq!(liveness(&registry, SECOND).0, Liveness::Suspect);
    assert!(!registry.is_current(&name("a"), 1));
    registry.admit(plain("a"), 2, 2 * SECOND);
    assert_eq!(liveness(&registry, 3 * SECOND).0, Liveness::Alive);
}

#[test]
fn who_is_turned_out_is_lost_at_once_and_silent_since_it_was_heard() {
    let registry = Registry::default();
    registry.admit(plain("a"), 1, 0);
    registry.expel(&name("a"));
    assert_eq!(liveness(&registry, SECOND).0, Liveness::Alive, "not gone");
    registry.release(&name("a"), 1);
    registry.expel(&name("a"));
    assert_eq!(liveness(&registry, SECOND), (Liveness::Lost, SECOND));
    assert_eq!(registry.sweep(SECOND), [name("a")]);
    registry.admit(plain("a"), 2, 2 * SECOND);
    assert_eq!(liveness(&registry, 3 * SECOND).0, Liveness::Alive);
}

#[test]
fn agents_known_from_before_are_lost_until_they_come_back() {
    let registry = Registry::new(vec![plain("a")], 0);
    assert_eq!(liveness(&registry, SECOND).0, Liveness::Lost);
    assert!(
        registry.sweep(100 * SECOND).is_empty(),
        "nobody has to be told"
    );
    registry.admit(plain("a"), 1, 100 * SECOND);
    assert_eq!(liveness(&registry, 101 * SECOND).0, Liveness::Alive);
}

#[test]
fn a_lost_agent_is_told_once_and_has_to_say_hello_again() {
    let registry = Registry::default();
    registry.admit(plain("a"), 1, 0);
    registry.admit(plain("b"), 2, 10 * SECOND);
    assert!(registry.sweep(14 * SECOND).is_empty());
    assert_eq!(registry.sweep(15 * SECOND), [name("a")]);
    assert!(registry.sweep(16 * SECOND).is_empty());
    assert!(
        !registry.heard(&name("a"), 1, 17 * SECOND),
        "its session is over"
    );
    assert_eq!(liveness(&registry, 17 * SECOND).0, Liveness::Lost);
    registry.admit(plain("a"), 3, 18 * SECOND);
    assert_eq!(
        registry.sweep(33 * SECOND),
        [name("a"), name("b")],
        "told of each loss"
    );
}

#[test]
fn the_newest_session_wins() {
    let registry = Registry::default();
    let older = registry.admit(plain("a"), 1, 0);
    let newer = registry.admit(plain("a"), 2, SECOND);
    assert!(older.superseded.is_cancelled());
    assert!(!newer.superseded.is_cancelled());
    assert!(
        !registry.heard(&name("a"), 1, 9 * SECOND),
        "a stale epoch is refused"
    );
    assert_eq!(liveness(&registry, 9 * SECOND).0, Liveness::Suspect);
    registry.release(&name("a"), 1);
    assert!(registry.is_current(&name("a"), 2), "and closes nothing");
    assert!(!registry.heard(&name("x"), 2, 0));
}

#[test]
fn an_older_hello_that_comes_late_does_not_win() {
    let registry = Registry::default();
    let newer = registry.admit(plain("a"), 2, 0);
    let older = registry.admit(plain("a"), 1, SECOND);
    assert!(older.superseded.is_cancelled());
    assert!(!newer.superseded.is_cancelled());
    assert!(registry.is_current(&name("a"), 2));
}

#[test]
fn what_is_wanted_is_kept_for_an_agent_that_is_away() {
    let registry = Registry::new(vec![plain("a")], 0);
    registry.publish(&name("a"), wanted(1));
    let session = registry.admit(plain("a"), 1, 0);
    assert_eq!(session.wanted.borrow()[0].assignment.run, RunId(1));
    registry.release(&name("a"), 1);
    drop(session);
    registry.publish(&name("a"), wanted(2));
    let session = registry.admit(plain("a"), 2, SECOND);
    assert_eq!(session.wanted.borrow()[0].assignment.run, RunId(2));
    // Nobody of this name has ever said hello: there is nothing to keep it in.
    registry.publish(&name("x"), wanted(3));
    assert_eq!(registry.view(0).len(), 1);
}

#[test]
fn a_live_session_is_woken_by_what_is_wanted() {
    let registry = Registry::default();
    let mut session = registry.admit(plain("a"), 1, 0);
    session.wanted.mark_unchanged();
    registry.publish(&name("a"), wanted(1));
    assert!(session.wanted.has_changed().unwrap());
}

#[test]
fn the_planner_is_told_the_usable_addresses_best_first() {
    let inventory = Inventory {
        kernel_boot_id: "kernel".into(),
        cores: 2,
        max_sessions: 100,
        interfaces: vec![
            interface("lo", &["127.0.0.1/8", "::1/128"], 65_536, "unknown"),
            interface(
                "eth0",
                &["fe80::1/64", "2001:db8::1/64", "10.150.0.71/24"],
                1_500,
                "up",
            ),
            interface("tun0", &["169.254.1.1/16"], 576, "up"),
            interface("br0", &[], 1_280, "up"),
            interface("eth1", &["10.9.0.1/24"], 1_400, "down"),
            interface(
                "eth2",
                &["10.151.0.71/24", "not an address"],
                9_000,
                "unknown",
            ),
        ],
        ..Inventory::default()
    };
    let registry = Registry::default();
    registry.admit(row("a", &inventory), 1, 0);
    let facts = registry.facts(0);
    let addresses: Vec<String> = facts[0].addresses.iter().map(ToString::to_string).collect();
    let expected = [
        "10.150.0.71",
        "10.151.0.71",
        "2001:db8::1",
        "127.0.0.1",
        "::1",
    ];
    assert_eq!(addresses, expected);
    assert_eq!(
        facts[0].mtu,
        Some(1_500),
        "of interfaces with such an address"
    );
    assert_eq!((facts[0].cores, facts[0].max_sessions), (2, 100));
    assert_eq!(facts[0].kernel_boot_id, "kernel");
    assert_eq!(facts[0].labels.value("asn"), Some("150"));
    assert!(facts[0].alive);
    assert!(!registry.facts(7 * SECOND)[0].alive);
}

#[test]
fn an_inventory_that_cannot_be_read_is_an_empty_one() {
    let registry = Registry::new(
        vec![AgentRow {
            inventory: vec![0xff; 9],
            ..plain("a")
        }],
        0,
    );
    assert_eq!(registry.facts(0)[0].addresses, Vec::<IpAddr>::new());
    assert_eq!(registry.facts(0)[0].mtu, None);
}

#[test]
fn interfaces_of_the_newest_session_are_taken() {
    let registry = Registry::default();
    registry.admit(plain("a"), 1, 0);
    registry.admit(plain("a"), 2, 0);
    let facts = || registry.facts(0).remove(0);
    let shaped = |burst_bytes| {
        let mut eth0 = interface("eth0", &["10.150.0.71/24"], 1_500, "up");
        eth0.qdiscs = vec!["tbf 1: root".into()];
        eth0.token_buckets = vec![TokenBucket {
            burst_bytes,
            ..TokenBucket::default()
        }];
        vec![eth0]
    };
    registry.interfaces(&name("a"), 1, shaped(1));
    assert_eq!(facts().qdiscs, []);
    registry.interfaces(&name("a"), 2, shaped(1_000));
    let facts = facts();
    assert_eq!(facts.qdiscs, [("eth0".to_owned(), "tbf".to_owned())]);
    assert_eq!(facts.buckets[0].burst_bytes, 1_000);
    assert_eq!(facts.addresses.len(), 1);
}

#[test]
fn a_host_that_was_cut_off_keeps_its_address() {
    let registry = Registry::default();
    registry.admit(plain("a"), 1, 0);
    let addresses = |state: [&str; 2]| {
        let loopback = interface("lo", &["127.0.0.1/8"], 65_536, "unknown");
        let eth0 = interface("eth0", &["10.150.0.71/24"], 1_500, state[0]);
        let eth1 = interface("eth1", &["10.9.0.1/24"], 1_400, state[1]);
        registry.interfaces(&name("a"), 1, vec![loopback, eth0, eth1]);
        let facts = registry.facts(0).remove(0);
        let texts = facts.addresses.iter().map(ToString::to_string);
        texts.collect::<Vec<_>>()
    };
    assert_eq!(addresses(["up", "down"]), ["10.150.0.71", "127.0.0.1"]);
    assert_eq!(
        addresses(["down", "down"]),
        ["10.150.0.71", "10.9.0.1", "127.0.0.1"]
    );
}

/// One thing that can happen to the sessions of an agent.
#[derive(Debug, Clone)]
enum Happens {
    /// A session comes; epochs need not come in order.
    Admit(u64),
    Heard(u64),
    Release(u64),
    Time(u64),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        3 => (1..12u64).prop_map(Happens::Admit),
        4 => (1..12u64).prop_map(Happens::Heard),
        2 => (1..12u64).prop_map(Happens::Release),
        3 => (1..20 * SECOND).prop_map(Happens::Time),
    ]
}

proptest! {
    /// Sessions against a model: the epoch of the newest, and when it was last heard.
    #[test]
    fn sessions_behave_as_the_newest_of_them(all in prop::collection::vec(happens(), 1..60)) {
        let registry = Registry::default();
        let agent = name("a");
        let mut sessions: Vec<Session> = Vec::new();
        let (mut newest, mut heard_ns, mut now_ns) = (None, 0, SECOND);
        for happens in all {
            match happens {
                // The store gives no epoch twice.
                Happens::Admit(epoch) if sessions.iter().any(|session| session.epoch == epoch) => {}
                Happens::Admit(epoch) => {
                    let session = registry.admit(plain("a"), epoch, now_ns);
                    let older = newest.is_some_and(|newest| newest > epoch);
                    prop_assert_eq!(session.superseded.is_cancelled(), older);
                    if !older {
                        (newest, heard_ns) = (Some(epoch), now_ns);
                    }
                    sessions.push(session);
                }
                Happens::Heard(epoch) => {
                    let current = registry.heard(&agent, epoch, now_ns);
                    prop_assert_eq!(current, newest == Some(epoch));
                    if current {
                        heard_ns = now_ns;
                    }
                }
                Happens::Release(epoch) => {
                    registry.release(&agent, epoch);
                    newest = newest.filter(|newest| *newest != epoch);
                }
                Happens::Time(ns) => now_ns += ns,
            }
            for epoch in 1..12 {
                prop_assert_eq!(registry.is_current(&agent, epoch), newest == Some(epoch));
            }
            if !sessions.is_empty() {
                let silent_ns = now_ns - heard_ns;
                let (told, _) = liveness(&registry, now_ns);
                let expected = match silent_ns {
                    LOST_NS.. => Liveness::Lost,
                    _ if newest.is_none() || silent_ns >= SUSPECT_NS => Liveness::Suspect,
                    _ => Liveness::Alive,
                };
                prop_assert_eq!(told, expected);
            }
        }
    }
}
