//! Tables for pairs, phases and errors here; properties in `properties`.

mod errors;
mod files;
mod laws;
mod properties;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use weir_common::assignment::{Bundles, Rate as EngineRate};
use weir_common::campaign::{Campaign, Dial, FlowSet, How, Limits, Party, Phase, Valid};
use weir_common::id::RunId;
use weir_common::record::End;
use weir_common::selector::Selector;
use weir_common::traffic::{Law, Per, Rate, Traffic, Transport};
use weir_common::unit::Span;

use super::*;
use crate::distortion::TokenBucket;

fn agent(name: &str, asn: u32) -> AgentFacts {
    let mut labels = Labels::new();
    labels.insert("asn", &asn.to_string()).unwrap();
    labels.insert("role", "host").unwrap();
    AgentFacts {
        name: name.parse().unwrap(),
        labels,
        addresses: vec![
            format!(
                "10.{asn}.0.{}",
                1 + name.bytes().map(u32::from).sum::<u32>() % 250
            )
            .parse()
            .unwrap(),
        ],
        mtu: Some(1_500),
        kernel_boot_id: "kernel".to_owned(),
        clock_domain: "kernel".to_owned(),
        cores: 2,
        max_sessions: 4_096,
        qdiscs: Vec::new(),
        buckets: Vec::new(),
        congestion_controls: vec!["cubic".to_owned(), "reno".to_owned()],
        alive: true,
    }
}

/// Six hosts: two in each of AS 150, 162 and 171.
fn agents() -> Vec<AgentFacts> {
    let hosts = [
        ("a0", 150),
        ("a1", 150),
        ("b0", 162),
        ("b1", 162),
        ("c0", 171),
        ("c1", 171),
    ];
    hosts.iter().map(|(name, asn)| agent(name, *asn)).collect()
}

/// Agents of one process: they differ in name only.
fn loopback_agents(count: usize) -> Vec<AgentFacts> {
    let one = |index: usize| AgentFacts {
        addresses: vec!["127.0.0.1".parse().unwrap()],
        ..agent(&format!("host-{index:03}"), 150)
    };
    (0..count).map(one).collect()
}

fn selector(text: &str) -> Party {
    Party::Selector(text.parse::<Selector>().unwrap())
}

fn names(text: &str) -> Party {
    Party::Agents(text.split(',').map(str::to_owned).collect())
}

fn udp(rate: &str) -> Traffic {
    Traffic::new(Transport::Udp, rate.parse::<Rate>().unwrap())
}

fn set(name: &str, from: Party, to: Party) -> FlowSet {
    FlowSet {
        name: name.to_owned(),
        from,
        to,
        how: How::All,
        both: false,
        apart: None,
        dial: Dial::From,
        phases: vec![0],
        duration: None,
        traffic: udp("10 Mbit/s"),
    }
}

fn phase(name: &str, seconds: u64, pause: u64) -> Phase {
    Phase {
        name: name.to_owned(),
        duration: Span::from_secs(seconds),
        warmup: Span::ZERO,
        pause: Span::from_secs(pause),
    }
}

fn campaign(phases: Vec<Phase>, flow_sets: Vec<FlowSet>) -> Campaign {
    Campaign {
        traces: Vec::new(),
        name: "test".to_owned(),
        question: None,
        seed: 1,
        interval: Span::from_secs(1),
        settle: Span::from_secs(10),
        linger: Span::from_secs(2),
        lost_agent: LostAgent::Mark,
        groups: BTreeMap::new(),
        phases,
        flow_sets,
        expectations: Vec::new(),
        valid: Valid::default(),
        limits: Limits::default(),
    }
}

fn one_set(set: FlowSet) -> Campaign {
    campaign(vec![phase("p", 10, 1)], vec![set])
}

fn pairs_of(plan: &Plan) -> Vec<String> {
    plan.flows
        .iter()
        .map(|flow| format!("{}>{}", flow.from, flow.to))
        .collect()
}

fn pairs(how: How, from: Party, to: Party) -> Vec<String> {
    pairs_of(
        &plan(
            &one_set(FlowSet {
                how,
                ..set("s", from, to)
            }),
            &agents(),
            7,
        )
        .unwrap(),
    )
}

#[test]
fn each_how_makes_its_pairs() {
    let (src, dst) = (|| selector("asn=150"), || selector("asn=162"));
    assert_eq!(
        pairs(How::All, src(), dst()),
        ["a0>b0", "a0>b1", "a1>b0", "a1>b1"]
    );
    assert_eq!(pairs(How::All, src(), src()), ["a0>a1", "a1>a0"]);
    assert_eq!(pairs(How::OneToOne, src(), dst()), ["a0>b0", "a1>b1"]);
    assert_eq!(
        pairs(How::OneToOne, names("a1,a0"), dst()),
        ["a1>b0", "a0>b1"]
    );
    assert_eq!(
        pairs(How::Ring, names("a0,b0,c0"), names("a0,b0,c0")),
        ["a0>b0", "b0>c0", "c0>a0"]
    );
    assert_eq!(
        pairs(How::Mesh, selector("role=host"), selector("role=host")).len(),
        30
    );
    assert_eq!(pairs(How::Mesh, src(), dst()).len(), 12);
    let drawn = pairs(How::Random(5), selector("role=host"), selector("role=host"));
    assert_eq!(drawn.len(), 5);
    assert_eq!(
        drawn,
        pairs(How::Random(5), selector("role=host"), selector("role=host"))
    );
}

#[test]
fn apart_drops_pairs_of_one_as() {
    let everyone = || selector("role=host");
    let set = FlowSet {
        apart: Some("asn".to_owned()),
        how: How::Mesh,
        ..set("s", everyone(), everyone())
    };
    let plan = plan(&one_set(set), &agents(), 7).unwrap();
    assert_eq!(plan.flows.len(), 24);
    assert!(plan.flows.iter().all(|flow| flow.from_asn != flow.to_asn));
}

#[test]
fn both_makes_flows_that_name_each_other() {
    let both = |how, from, to| {
        let set = FlowSet {
            both: true,
            how,
            ..set("s", from, to)
        };
        plan(&one_set(set), &agents(), 7).unwrap()
    };
    let two = both(How::All, names("a0"), names("b0"));
    assert_eq!(pairs_of(&two), ["a0>b0", "b0>a0"]);
    let reverse: Vec<_> = two
        .flows
        .iter()
        .map(|flow| flow.reverse_of.map(|id| id.0))
        .collect();
    assert_eq!(reverse, [Some(2), Some(1)]);
    assert_eq!(two.sessions.len(), 2);
    // A mesh has both directions already: none is doubled.
    let mesh = both(How::Mesh, selector("asn=150"), selector("asn=162"));
    assert_eq!(mesh.flows.len(), 12);
    for flow in &mesh.flows {
        let reverse = mesh.flow(flow.reverse_of.unwrap()).unwrap();
        assert_eq!(
            (&reverse.from, &reverse.to, reverse.reverse_of),
            (&flow.to, &flow.from, Some(flow.id))
        );
    }
}

#[test]
fn the_dialling_end_is_as_asked() {
    for (dial, end) in [(Dial::From, End::Tx), (Dial::To, End::Rx)] {
        let set = FlowSet {
            dial,
            ..set("s", names("a0"), names("b0"))
        };
        let plan = plan(&one_set(set), &agents(), 7).unwrap();
        for agent in ["a0", "b0"] {
            let share = plan
                .assignment(&agent.parse().unwrap(), RunId(1), 2)
                .unwrap();
            assert_eq!(share.sessions[0].dials, share.sessions[0].end == end);
        }
    }
}

#[test]
fn phases_follow_each_other_and_sessions_last_over_no_pause() {
    let phases = vec![
        phase("idle", 20, 1),
        Phase {
            warmup: Span::from_millis(2_500),
            ..phase("up", 60, 0)
        },
        phase("down", 10, 3),
    ];
    let ping = FlowSet {
        phases: vec![0, 1, 2],
        ..set("ping", names("a0"), names("b0"))
    };
    let bulk = FlowSet {
        phases: vec![1],
        duration: Some(Span::from_secs(30)),
        ..set("bulk", names("a0"), names("b0"))
    };
    let plan = plan(&campaign(phases, vec![ping, bulk]), &agents(), 7).unwrap();
    let seconds = |ns: u64| ns as f64 / 1e9;
    let times: Vec<_> = plan
        .phases
        .iter()
        .map(|phase| (seconds(phase.start_ns), seconds(phase.length_ns)))
        .collect();
    assert_eq!(times, [(0.0, 20.0), (20.0, 60.0), (83.0, 10.0)]);
    assert_eq!(plan.end_ns, 93_000_000_000);
    let keys: Vec<_> = plan
        .flows
        .iter()
        .map(|flow| (flow.key.as_str(), flow.session.0, flow.rows_per_end))
        .collect();
    let expected = [
        ("idle/ping/a0>b0", 1, 20),
        ("up/ping/a0>b0", 1, 61),
        ("up/bulk/a0>b0", 2, 31),
        ("down/ping/a0>b0", 3, 10),
    ];
    assert_eq!(keys, expected);
    assert_eq!(plan.records_expected, 2 * (20 + 61 + 31 + 10));
    assert_eq!(plan.sessions[0].segments.len(), 2);
    let load = &plan.load.hosts[0];
    assert_eq!(
        (
            load.agent.as_str(),
            load.tx.bps,
            load.tx.flows,
            load.rx.flows
        ),
        ("a0", 20_000_000, 2, 0)
    );
    assert_eq!(plan.load.kernels[0].peak.bps, 20_000_000);
}

#[test]
fn rates_become_those_of_the_session() {
    let planned = |traffic: Traffic| {
        let set = FlowSet {
            traffic,
            ..set("s", names("a0"), names("b0"))
        };
        plan(&one_set(set), &agents(), 7).unwrap()
    };
    let streams = Traffic {
        per: Per::Stream,
        streams: 4,
        packets: Some(100),
        ..udp("1 Mbit/s")
    };
    let four = planned(streams);
    assert_eq!(
        four.sessions[0].traffic.rate,
        EngineRate::BitsPerSecond(4_000_000)
    );
    assert_eq!(four.sessions[0].traffic.packets, Some(400));
    assert_eq!(
        (four.sessions[0].streams(), four.flows[0].rows_per_end),
        (4, 50)
    );
    assert!(four.records_at_most);
    let packets = planned(Traffic {
        size: Some(512),
        ..udp("3000 pkt/s")
    });
    assert_eq!(packets.flows[0].offered_bps, Some(12_288_000));
    let law = Law::Exponential {
        mean: Some(Span::from_millis(2)),
    };
    let drawn = planned(Traffic {
        arrival: law,
        ..udp("arrival")
    });
    assert_eq!(drawn.flows[0].offered_pps(), Some(500.0));
    let unlimited = planned(Traffic::new(Transport::Tcp, Rate::Max));
    assert_eq!(
        (
            unlimited.flows[0].offered_bps,
            unlimited.load.total.unlimited
        ),
        (None, 1)
    );
    assert!(unlimited.warnings.is_empty());
}

#[test]
fn singly_is_sent_as_much_as_a_check_found() {
    let campaign = one_set(FlowSet {
        traffic: udp("60000 pkt/s"),
        ..set("s", names("a0,a1"), names("b0"))
    });
    let below = |measured: &[(&str, u64)]| {
        let measured = measured
            .iter()
            .map(|(kernel, pps)| ((*kernel).to_owned(), *pps));
        let plan = plan_with(&campaign, &agents(), 7, &measured.collect()).unwrap();
        let Bundles::Auto {
            single_below_milli_pps,
        } = plan.sessions[0].traffic.bundles
        else {
            panic!("left to weir")
        };
        single_below_milli_pps
    };
    // Two flows share a kernel.
    assert_eq!(below(&[]), 50_000_000);
    assert_eq!(below(&[("kernel", 130_000)]), 65_000_000);
    assert_eq!(below(&[("another", 1)]), 50_000_000);
}

#[test]
fn bind_is_where_the_data_leaves() {
    let mut agents = agents();
    agents[0].addresses.push("10.9.9.9".parse().unwrap());
    for dial in [Dial::From, Dial::To] {
        let traffic = Traffic {
            bind: Some("10.9.9.9".parse().unwrap()),
            port: Some(7_000),
            ..udp("1M")
        };
        let set = FlowSet {
            dial,
            traffic,
            ..set("s", names("a0"), names("b0"))
        };
        let plan = plan(&one_set(set), &agents, 7).unwrap();
        let tx = &plan
            .assignment(&"a0".parse().unwrap(), RunId(1), 2)
            .unwrap()
            .sessions[0];
        let rx = &plan
            .assignment(&"b0".parse().unwrap(), RunId(1), 2)
            .unwrap()
            .sessions[0];
        assert_eq!(tx.source_address.is_some(), dial == Dial::From);
        assert_eq!((rx.source_address, rx.port), (None, 7_000));
        let weir_common::assignment::Peer::Agent { addresses, .. } = &rx.peer else {
            panic!("an agent")
        };
        assert_eq!(addresses, &["10.9.9.9".parse::<IpAddr>().unwrap()]);
    }
}

#[test]
fn warnings_say_what_to_expect() {
    let traffic = Traffic {
        size: Some(1_480),
        ..udp("max")
    };
    let sets = vec![FlowSet {
        traffic,
        ..set("s", selector("asn=150"), selector("asn=162"))
    }];
    let mut agents = agents();
    agents[3].alive = false;
    let short = Phase {
        duration: Span::from_secs(1),
        ..phase("p", 1, 1)
    };
    let codes: Vec<_> = plan(&campaign(vec![short], sets.clone()), &agents, 7)
        .unwrap()
        .warnings
        .into_iter()
        .map(|warning| warning.code)
        .collect();
    assert_eq!(
        codes,
        [
            "agents-left-out",
            "fragmentation",
            "unlimited-udp",
            "one-interval"
        ]
    );
    agents[3].alive = true;
    let plan = plan(&campaign(vec![phase("p", 10, 1)], sets), &agents, 7).unwrap();
    assert!(
        plan.warnings
            .iter()
            .any(|warning| warning.code == "cpu-shared"),
        "{:?}",
        plan.warnings
    );
}

#[test]
fn a_value_that_no_agent_has_is_told() {
    let sets = vec![set("s", selector("asn=150"), selector("asn=162,999"))];
    let plan = plan(&campaign(vec![phase("p", 10, 1)], sets), &agents(), 7).unwrap();
    let told: Vec<_> = plan
        .warnings
        .iter()
        .filter(|warning| warning.code == "no-such-value")
        .map(|warning| warning.text.as_str())
        .collect();
    assert_eq!(told, ["`asn=162,999`: no agent has asn 999"]);
}

#[test]
fn warnings_of_lengths_and_of_agents_paired_with_themselves() {
    let sides = FlowSet {
        how: How::OneToOne,
        ..set("s", names("a0,b0"), names("a0,c0"))
    };
    let plan = plan(
        &campaign(vec![phase("p", 3_601, 1)], vec![sides]),
        &agents(),
        7,
    )
    .unwrap();
    assert_eq!(pairs_of(&plan), ["b0>c0"]);
    let codes: Vec<_> = plan
        .warnings
        .iter()
        .map(|warning| warning.code.as_str())
        .collect();
    assert_eq!(codes, ["self-pairs", "long-flow"]);
}

#[test]
fn a_mesh_of_twenty_and_two_hundred_loopback_agents_plan_fast() {
    let everyone = || selector("role=host");
    let mesh = one_set(FlowSet {
        how: How::Mesh,
        ..set("s", everyone(), everyone())
    });
    for (count, flows) in [(20, 380), (200, 39_800)] {
        let agents = loopback_agents(count);
        let begin = Instant::now();
        let plan = plan(&mesh, &agents, 7).unwrap();
        for agent in agents.iter().take(20) {
            plan.assignment(&agent.name, RunId(1), 2)
                .unwrap()
                .check()
                .unwrap();
        }
        assert_eq!(plan.flows.len(), flows);
        // The aim is 1 s; ten times that is no measure of a busy machine.
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "{count} agents took {:?}",
            begin.elapsed()
        );
    }
}

#[test]
fn the_document_has_what_people_ask_for() {
    let plan = plan(&one_set(set("s", names("a0"), names("b0"))), &agents(), 7).unwrap();
    let document = plan.document();
    assert_eq!(document["schema"], "weir.plan/1");
    assert_eq!(document["flows"][0]["key"], "p/s/a0>b0");
    assert_eq!(document["flows"][0]["from_asn"], 150);
    assert_eq!(document["records"]["expected"], 20);
    assert_eq!(document["wall_s"]["most"], 22.0);
}
