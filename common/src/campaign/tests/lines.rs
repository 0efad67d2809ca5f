//! The command line: structure, inheritance, names, errors.

use super::*;
use crate::traffic::Transport;

const PAIR: &str = "--from a --to b";

fn ok(text: &str) -> Campaign {
    line(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn error(text: &str) -> String {
    line(text).expect_err(text).to_string()
}

#[test]
fn then_with_and_always() {
    let campaign = ok(
        "--from a --to b --udp 1M --for 10s --with --tcp 3kbit/s --for 5s --then --tcp max --for 20s --pause 0 --always --udp 50pkt/s --size 64 --name ping",
    );
    let phases: Vec<(&str, Span)> = campaign
        .phases
        .iter()
        .map(|p| (p.name.as_str(), p.duration))
        .collect();
    assert_eq!(
        phases,
        [("udp", Span::from_secs(10)), ("tcp-2", Span::from_secs(20))]
    );
    assert_eq!(campaign.phases[1].pause, Span::ZERO);
    let sets: Vec<(&str, &[usize])> = campaign
        .flow_sets
        .iter()
        .map(|s| (s.name.as_str(), &s.phases[..]))
        .collect();
    assert_eq!(
        sets,
        [
            ("udp", &[0][..]),
            ("tcp", &[0]),
            ("tcp-2", &[1]),
            ("ping", &[0, 1])
        ]
    );
    assert_eq!(campaign.flow_sets[1].duration, Some(Span::from_secs(5)));
}

#[test]
fn what_stands_before_the_first_transport_is_for_all() {
    let campaign = ok(
        "--from a --to b --for 10s --size 512 --cc bbr --udp 1M --then --udp 2M --size 100 --with --tcp max",
    );
    let sizes: Vec<Option<u32>> = campaign
        .flow_sets
        .iter()
        .map(|set| set.traffic.size)
        .collect();
    assert_eq!(sizes, [Some(512), Some(100), Some(512)]);
    assert_eq!(campaign.flow_sets[2].traffic.cc.as_deref(), Some("bbr"));
    assert!(
        campaign
            .phases
            .iter()
            .all(|phase| phase.duration == Span::from_secs(10))
    );
    // Nothing else is inherited.
    let campaign = ok("--from a --to b --for 10s --udp 1M --size 100 --then --udp 2M");
    assert_eq!(campaign.flow_sets[1].traffic.size, None);
}

#[test]
fn an_always_set_may_be_alone() {
    let campaign = ok("--from a --to b --for 10s --always --udp 1M");
    assert_eq!((campaign.phases.len(), campaign.flow_sets.len()), (1, 1));
    let campaign = ok(
        "--from a --to b --always --udp 1M --name ping --then --for 10s --then --for 5s --tcp max",
    );
    assert_eq!(campaign.phases[0].name, "phase");
    assert_eq!(campaign.flow_sets[0].phases, [0, 1]);
}

#[test]
fn reverse_swaps_the_data_not_the_dialling() {
    let campaign = ok("--from a --to b --tcp max --for 1s --reverse --then --tcp max --for 1s");
    let [reversed, plain] = &campaign.flow_sets[..] else {
        panic!("two sets")
    };
    assert_eq!(
        (
            reversed.from.to_string().as_str(),
            reversed.to.to_string().as_str()
        ),
        ("b", "a")
    );
    assert_eq!(reversed.dial, Dial::To);
    assert_eq!(
        (plain.from.to_string().as_str(), plain.dial),
        ("a", Dial::From)
    );
    let wide = ok("--from a --to b --reverse --tcp max --for 1s");
    assert_eq!(
        wide.flow_sets[0],
        FlowSet {
            name: "tcp".into(),
            ..reversed.clone()
        }
    );
    let twice = ok("--from a --to b --dial to --reverse --tcp max --for 1s");
    assert_eq!(twice.flow_sets[0].dial, Dial::From);
}

#[test]
fn selectors_names_and_samples() {
    let campaign =
        ok("--from 'asn=150,151 role=host node!=host_9' --sample 5 --to x,y --tcp max --for 1s");
    assert_eq!(
        campaign.flow_sets[0].from.to_string(),
        "asn=150,151 node!=host_9 role=host sample=5"
    );
    assert_eq!(
        campaign.flow_sets[0].to,
        Party::Agents(vec!["x".into(), "y".into()])
    );
    let mesh = ok("--from role=host --how mesh --tcp max --for 1s");
    assert_eq!(mesh.flow_sets[0].from, mesh.flow_sets[0].to);
    assert_eq!(
        ok("--from role=host --to asn=1 --how 'random(5)' --tcp max --for 1s").flow_sets[0].how,
        How::Random(5)
    );
}

#[test]
fn every_option_arrives() {
    let campaign = ok(
        "--campaign night --question 'how fast?' --seed 7 --interval 500ms --settle 30s --linger 1s --lost-agent fail \
         --from a --to b --both --apart asn --dial to --udp=1M --size 100 --arrival exponential --pacing keep-mean \
         --streams 4 --per stream --packets 1000 --bind 10.0.0.1 --port 9000 --for 60s --warmup 5s --pause 2s \
         --expect 'loss<=1%' --each set --level warn --expect 'rate>=1M' --behind 2% --runq invalid --ignore runq \
         --per-asn 1G --per-kernel 1000pkt/s --target 10M",
    );
    assert_eq!(
        (campaign.name.as_str(), campaign.seed, campaign.lost_agent),
        ("night", 7, LostAgent::Fail)
    );
    let set = &campaign.flow_sets[0];
    assert_eq!(
        (set.both, set.apart.as_deref(), set.dial),
        (true, Some("asn"), Dial::To)
    );
    assert_eq!(
        (set.traffic.streams, set.traffic.packets, set.traffic.port),
        (4, Some(1000), Some(9000))
    );
    assert_eq!(campaign.expectations.len(), 2);
    assert_eq!(
        (
            campaign.expectations[0].each,
            campaign.expectations[0].level
        ),
        (Each::Set, Level::Warn)
    );
    assert_eq!(
        (
            campaign.expectations[1].each,
            campaign.expectations[1].level
        ),
        (Each::Flow, Level::Fail)
    );
    assert!(campaign.valid.runq.decides);
    assert_eq!(campaign.valid.ignore, ["runq"]);
    assert_eq!(campaign.limits.per_label["asn"].to_string(), "1 Gbit/s");
    assert_eq!(set.traffic.transport, Transport::Udp);
}

#[test]
fn errors_name_the_flag() {
    assert_eq!(
        error("--from a --to b --udp 10Mbits --for 1s"),
        "--udp: `10Mbits` is not a rate: unknown unit `Mbits`: did you mean `10 Mbit/s`? units: bit/s, kbit/s, Mbit/s, Gbit/s, Tbit/s, Kibit/s, Mibit/s, Gibit/s"
    );
    assert_eq!(
        error("--from asn=150,role=host --to b --udp 1M --for 1s"),
        "--from: `asn=150,role=host` joins labels with a comma: write `asn=150 role=host` (a space is AND, a comma is OR)"
    );
    assert!(
        error("--from a --to b --upd 1M").starts_with("--upd: unknown flag: did you mean `--udp`?")
    );
    assert!(
        error("--from a --to b --lost_agent x --udp 1M").contains("did you mean `--lost-agent`?")
    );
    assert!(error(PAIR).contains("no traffic: add `--udp 10M`"));
    assert!(error(&format!("{PAIR} --udp 1M")).contains("add `--for 60s`"));
    assert!(error(&format!("{PAIR} --udp 1M --for")).contains("--for TIME"));
    assert!(error(&format!("{PAIR} --udp --for 1s")).contains("its value is missing"));
    assert!(error(&format!("{PAIR} --udp 1M --tcp max --for 1s")).contains("exclude each other"));
    assert!(error(&format!("{PAIR} --udp 1M --udp 2M --for 1s")).contains("`--with`"));
    assert!(
        error(&format!("{PAIR} --udp 1M --for 1s --with")).contains("a flow set without traffic")
    );
    assert!(error(&format!("{PAIR} --udp 1M --for 1s --then --for 2s")).contains("has no traffic"));
    assert!(
        error(&format!(
            "{PAIR} --udp 1M --for 1s --with --tcp max --pause 1s"
        ))
        .contains("belongs to a phase")
    );
    assert!(error(&format!("{PAIR} --with --tcp max")).contains("none has begun"));
    assert!(
        error(&format!("{PAIR} --cc bbr --udp 1M --for 1s")).contains("applies to no flow set")
    );
    assert!(error(&format!("{PAIR} --name x --udp 1M --for 1s")).contains("names one flow set"));
    assert!(
        error(&format!(
            "{PAIR} --udp 1M --for 1s --name x --with --tcp max --name x"
        ))
        .contains("two times the flow set name `x`")
    );
    assert!(
        error(&format!("{PAIR} --udp 1M --for 1s --level warn")).contains("`--expect` before it")
    );
    assert!(
        error("--sample 5 --from a --to b --udp 1M --for 1s")
            .contains("`--from` or `--to` before it")
    );
    assert!(error("--udp 1M --for 1s --to b").contains("`from` is missing"));
    assert!(error("asn=150 --udp 1M").contains("every value stands behind its flag"));
    assert!(
        error(&format!("{PAIR} --udp 1M --for 1s --spoof 5s"))
            .contains("`--spoof` is not available yet")
    );
    assert!(
        error(&format!("{PAIR} --udp 1M --for 1s --expect 'loss <= 200%'"))
            .contains("at most 100 %")
    );
    assert!(
        error(&format!("{PAIR} --udp 1M --for 1s --both=perhaps")).contains("`true` or `false`")
    );
}
