//! What is written reads back equal; whatever is read, nothing panics.

use super::*;
use crate::selector::Glob;
use crate::traffic::{
    Bundles, Law, Layer, Marking, OnFull, Pacing, Per, Profile, Ramp, Rate, StreamEnd, Traffic,
    Transport,
};
use crate::unit::{BitRate, ByteCount, PacketRate, Ratio};
use proptest::prelude::*;

fn selector() -> impl Strategy<Value = Selector> {
    let labels = prop::collection::btree_map(
        "x[a-z0-9_]{0,4}",
        ("[a-z0-9*.]{1,6}", any::<bool>(), "[a-z0-9]{1,3}"),
        0..3,
    );
    let sample = prop::option::of(1..9_u32);
    let except = prop::option::of("[a-z*]{1,5}");
    (labels, sample, except, any::<bool>()).prop_map(|(labels, sample, except, prefix)| {
        let mut selector = Selector {
            sample,
            ..Selector::default()
        };
        for (key, (value, negated, other)) in &labels {
            selector.add(key, *negated, &[value, other]).unwrap();
        }
        selector.except = except
            .and_then(|name| Glob::new(&name))
            .into_iter()
            .collect();
        if prefix {
            selector.prefix = vec![
                "10.150.0.0/24".parse().unwrap(),
                "fd00::/8".parse().unwrap(),
            ];
        }
        selector
    })
}

fn party() -> impl Strategy<Value = Party> {
    prop_oneof![
        selector().prop_map(Party::Selector),
        Just(Party::Group("g1".to_owned())),
        prop::collection::btree_set("h[a-z0-9_-]{1,8}", 1..4)
            .prop_map(|names| Party::Agents(names.into_iter().collect())),
    ]
}

fn rate() -> impl Strategy<Value = Rate> {
    prop_oneof![
        (1..10_000_000_000_u64).prop_map(|bits| Rate::Bits(BitRate::new(bits).unwrap())),
        (1..1_000_000_000_u64)
            .prop_map(|millis| Rate::Packets(PacketRate::from_millis(millis).unwrap())),
        Just(Rate::Max),
        Just(Rate::Arrival),
    ]
}

fn ends() -> impl Strategy<Value = (Option<ByteCount>, Option<u64>)> {
    prop_oneof![
        Just((None, None)),
        (1..1_u64 << 50).prop_map(|bytes| (Some(ByteCount::new(bytes)), None)),
        (1..1_u64 << 50).prop_map(|packets| (None, Some(packets))),
    ]
}

fn traffic() -> impl Strategy<Value = Traffic> {
    let laws = (
        prop_oneof![1 => Just(Law::Constant), 2 => crate::traffic::law::strategies::arrival()],
        prop::option::of(crate::traffic::law::strategies::size()),
        prop::option::weighted(0.1, profile()),
    );
    let small = (
        prop::option::of(12..65_507_u32),
        1..129_u32,
        any::<bool>(),
        prop::option::of(1..u16::MAX),
    );
    let text = (
        prop::option::of("[a-z]{1,8}"),
        any::<bool>(),
        prop::option::of("[a-z0-9_]{1,8}[.]jsonl"),
    );
    let made = (any::<bool>(), rate(), laws, ends(), small, text, sockets()).prop_map(
        |(
            udp,
            rate,
            (arrival, size_law, profile),
            (bytes, packets),
            (size, streams, per_stream, port),
            (cc, bound, log_file),
            sockets,
        )| {
            let transport = if udp { Transport::Udp } else { Transport::Tcp };
            if let Some(profile) = profile {
                return Traffic {
                    arrival: profile.arrival(),
                    size_law: Some(profile.size()),
                    profile: Some(profile),
                    ..Traffic::new(transport, Rate::Arrival)
                };
            }
            // An open law needs a rate, any other one has its own.
            let rate = match rate {
                Rate::Bits(_) | Rate::Packets(_) if !arrival.is_open() => Rate::Arrival,
                rate => rate,
            };
            Traffic {
                size: size.filter(|_| size_law.is_none()),
                size_law,
                arrival,
                per: if per_stream { Per::Stream } else { Per::Set },
                streams,
                bytes,
                packets,
                cc: cc.filter(|_| !udp),
                bind: bound.then(|| "10.150.0.71:5000".parse().unwrap()),
                port,
                log_file: log_file.map(|name| name.parse().unwrap()),
                transport,
                rate,
                mss: sockets.mss.filter(|_| !udp),
                nodelay: sockets.nodelay && !udp,
                end: if udp {
                    StreamEnd::default()
                } else {
                    sockets.end
                },
                gso: sockets.gso.filter(|_| udp),
                echo: sockets.echo && udp,
                verify: sockets.verify,
                pacing: if udp {
                    sockets.pacing
                } else {
                    Pacing::default()
                },
                spin: if udp { sockets.spin } else { Span::ZERO },
                on_full: if udp { sockets.on_full } else { OnFull::Drop },
                marking: Marking {
                    ecn: sockets.marking.ecn.filter(|_| udp),
                    ..sockets.marking
                },
                ..sockets
            }
        },
    );
    made.prop_map(or_plain)
}

/// What does not go together falls back to plain traffic, so that few cases are thrown away.
fn or_plain(traffic: Traffic) -> Traffic {
    match traffic.check() {
        Ok(()) => traffic,
        Err(_) => Traffic {
            size: traffic.size,
            port: traffic.port,
            ..Traffic::new(traffic.transport, Rate::Max)
        },
    }
}

fn profile() -> impl Strategy<Value = Profile> {
    let names = [
        "voip-g729-3-crtp-vad",
        "voip-g711-1",
        "dns",
        "telnet",
        "quake3",
        "cs-active",
        "cs-inactive",
    ];
    prop::sample::select(names.to_vec()).prop_map(|name| name.parse().unwrap())
}

/// Any of the options of sockets and schedules, whether they go together or not.
fn sockets() -> impl Strategy<Value = Traffic> {
    let schedule = (
        any::<bool>(),
        0..20_000_000_u64,
        prop::sample::select(vec![Layer::Payload, Layer::Ip, Layer::Frame, Layer::Wire]),
        prop::collection::vec((0..100_u64, 1..1_000_000_u64), 0..3),
    );
    let socket = (
        prop::option::of(88..65_495_u32),
        any::<[bool; 4]>(),
        prop::option::of(2_048..1_u64 << 30),
        prop::sample::select(vec![None, Some(Bundles::On), Some(Bundles::Off)]),
        prop_oneof![
            Just(StreamEnd::Abort),
            (0..60_000_u64).prop_map(|ms| StreamEnd::Drain(ms * 1_000_000))
        ],
    );
    let marking = (
        prop::option::of(0..64_u8),
        prop::option::of(0..4_u8),
        prop::option::of(1..=255_u8),
        prop::option::of(0..=0xf_ffff_u32),
    );
    (schedule, socket, marking).prop_map(|(schedule, socket, marking)| {
        let (keep_gap, spin, layer, mut points) = schedule;
        let (mss, [nodelay, echo, verify, wait], window, gso, end) = socket;
        let (dscp, ecn, ttl, flow_label) = marking;
        points.sort_unstable();
        let points = points.iter().map(|(at, bits)| {
            (
                Span::from_millis(*at),
                Rate::Bits(BitRate::new(*bits).unwrap()),
            )
        });
        Traffic {
            layer,
            ramp: Ramp::new(points.collect()).unwrap(),
            pacing: if keep_gap {
                Pacing::KeepGap
            } else {
                Pacing::KeepMean
            },
            spin: Span::from_nanos(spin),
            mss,
            nodelay,
            window: window.map(ByteCount::new),
            gso,
            end,
            echo,
            verify,
            on_full: if wait { OnFull::Wait } else { OnFull::Drop },
            marking: Marking {
                dscp,
                ecn,
                ttl,
                flow_label,
            },
            ..Traffic::new(Transport::Udp, Rate::Max)
        }
    })
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![
        Just(How::All),
        Just(How::Mesh),
        Just(How::OneToOne),
        Just(How::Ring),
        (1..99_u32).prop_map(How::Random)
    ]
}

fn flow_sets(phases: usize) -> impl Strategy<Value = Vec<FlowSet>> {
    let active = prop::sample::subsequence((0..phases).collect::<Vec<_>>(), 1..=phases);
    let sides = (
        party(),
        party(),
        how(),
        any::<bool>(),
        prop::option::of(Just("asn".to_owned())),
        any::<bool>(),
    );
    let own_name = any::<bool>();
    let set = (
        sides,
        active,
        any::<bool>(),
        traffic(),
        own_name,
        any::<bool>(),
    );
    let sets = prop::collection::vec(set, 1..5);
    sets.prop_map(move |sets| {
        let first = sets[0].0.clone();
        let named = sets.into_iter().enumerate().map(
            |(index, (sides, active, short, traffic, own_name, common))| {
                let (from, to, how, both, apart, to_dials) =
                    if common { first.clone() } else { sides };
                let dial = if to_dials { Dial::To } else { Dial::From };
                // The name of the phase makes it the phase's own traffic.
                let name = if own_name {
                    format!("p{}", active[0])
                } else {
                    format!("s{index}")
                };
                let duration = short.then(|| Span::from_secs(3));
                FlowSet {
                    name,
                    from,
                    to,
                    how,
                    both,
                    apart,
                    dial,
                    phases: active,
                    duration,
                    traffic,
                }
            },
        );
        let mut seen = std::collections::BTreeSet::new();
        let mut sets: Vec<FlowSet> = named.filter(|set| seen.insert(set.name.clone())).collect();
        // Every phase has traffic.
        let cover = FlowSet {
            name: "cover".to_owned(),
            phases: (0..phases).collect(),
            ..sets[0].clone()
        };
        sets.push(FlowSet {
            duration: None,
            ..cover
        });
        sets
    })
}

fn campaign() -> impl Strategy<Value = Campaign> {
    let phase = (
        4_000_000_000..100_000_000_000_u64,
        0..2_000_000_000_u64,
        0..3_u64,
    );
    let phases = prop::collection::vec(phase, 1..4);
    let spans = (100_000_000..60_000_000_000_u64, 0..3_600_u64, 0..60_000_u64);
    let policy = (
        any::<bool>(),
        0..100_u32,
        any::<bool>(),
        prop::option::of(1..1000_u64),
    );
    let text = "[ -~\u{e4}\u{4e2d}]{1,30}";
    let parts = phases.prop_flat_map(|phases| {
        let sets = flow_sets(phases.len());
        (Just(phases), sets)
    });
    (parts, spans, 0..SEED_MOST, policy, text, selector()).prop_map(
        |((phases, flow_sets), spans, seed, policy, text, group)| {
            let phase = |(index, (length, warmup, pause)): (usize, (u64, u64, u64))| Phase {
                name: format!("p{index}"),
                duration: Span::from_nanos(length),
                warmup: Span::from_nanos(warmup),
                pause: Span::from_secs(pause),
            };
            let (decides, percent, fail, flows) = policy;
            let mut valid = Valid::default();
            if decides {
                valid.runq = Cause {
                    above: Ratio::from_percent(percent).unwrap(),
                    decides,
                };
                valid.steal.decides = fail;
                // A cause that only warns does so above its default.
                if !fail {
                    valid.throttled = Cause {
                        above: Ratio::from_percent(100 - percent).unwrap(),
                        decides: true,
                    };
                }
                valid.softnet_drops.decides = !fail;
                valid.observers = fail;
                valid.ignore = vec!["runq".to_owned()];
            }
            let load = Load::Bits(BitRate::new(1_000_000 + seed % 1_000).unwrap());
            let name = if text.trim().is_empty() {
                "x".to_owned()
            } else {
                text.trim().to_owned()
            };
            Campaign {
                traces: Vec::new(),
                question: fail.then(|| name.clone()),
                name,
                seed,
                interval: Span::from_nanos(spans.0),
                settle: Span::from_secs(spans.1),
                linger: Span::from_millis(spans.2),
                lost_agent: if fail {
                    LostAgent::Fail
                } else {
                    LostAgent::Mark
                },
                groups: [("g1".to_owned(), group)].into(),
                phases: phases.into_iter().enumerate().map(phase).collect(),
                expectations: expectations(&flow_sets),
                flow_sets,
                valid,
                limits: Limits {
                    per_label: flows
                        .map(|_| ("asn".to_owned(), load))
                        .into_iter()
                        .collect(),
                    flows,
                    ..Limits::default()
                },
            }
        },
    )
}

/// One expectation for each set that has one phase: what the reader would narrow down is already narrow.
fn expectations(sets: &[FlowSet]) -> Vec<Expectation> {
    let only = sets.iter().filter(|set| set.phases.len() == 1);
    let expectation = |set: &FlowSet| Expectation {
        phase: Some(format!("p{}", set.phases[0])),
        set: Some(set.name.clone()),
        metric: Metric::Rate,
        operator: Operator::AtLeast,
        bound: Bound::Rate(BitRate::new(1_500_000)),
        each: Each::Pair,
        level: Level::Warn,
    };
    only.map(expectation).collect()
}

/// Command lines of known parts.
fn command_line() -> impl Strategy<Value = String> {
    let traffic = prop_oneof![
        Just("--udp 10M --size 512 --arrival exponential"),
        Just("--tcp max --streams 4 --cc cubic"),
        Just("--udp 300pkt/s --packets 1000 --both"),
        Just("--tcp 3kbit/s --reverse --bytes 10MB"),
        Just("--udp arrival --arrival 'exponential(mean = 2 ms)' --from role=host --how mesh"),
    ];
    let begin = prop_oneof![Just("--then"), Just("--with"), Just("--always")];
    let more = prop::collection::vec((begin, traffic.clone()), 0..4);
    let wide = prop_oneof![
        Just(""),
        Just("--seed 5 --interval 200ms"),
        Just("--size 900 --warmup 1s --expect 'rate>=1M'")
    ];
    (wide, traffic, more).prop_map(|(wide, first, more)| {
        let mut line =
            format!("--from 'asn=150 role=host' --to asn=162,171 --for 30s {wide} {first}");
        for (begin, traffic) in more {
            line = format!("{line} {begin} {traffic}");
        }
        line
    })
}

/// A valid file with something of everything, to damage.
const WHOLE: &str = r#"campaign = "whole"
question = "?"
seed = 7
interval = "500 ms"
[groups]
src = { asn = [150, "15?"], role = "!router", prefix = "10.0.0.0/8", sample = 5, except = "x" }
[pairs]
from = "src"
to = ["a", "b"]
how = "random(3)"
both = true
[[phase]]
name = "one"
for = "60s"
warmup = "5s"
traffic = { udp = "10 Mbit/s", size = 1400, arrival = "exponential" }
[[phase]]
name = "two"
for = "1 min"
[[flow]]
in = ["two"]
apart = "asn"
traffic = { tcp = "max", streams = 2, cc = "bbr", bytes = "10 MiB" }
[[expect]]
that = "one/one.loss <= 1%"
[valid]
runq = "20%"
[limits]
per_asn = "1 Gbit/s"
"#;

#[test]
fn the_damaged_file_was_whole() {
    let whole = read(WHOLE).unwrap();
    assert_eq!(read(&render(&whole)).unwrap(), whole);
}

#[test]
fn hostile_files_are_refused() {
    let deep = format!("x = {}1{}", "[".repeat(20_000), "]".repeat(20_000));
    let dotted = format!("{}x = 1", "a.".repeat(20_000));
    let tables = format!("x = {}{}", "{ a = ".repeat(20_000), "}".repeat(20_000));
    let large = "#".repeat(file::FILE_MOST + 1);
    let many = "[[phase]]\n".repeat(ITEMS_MOST + 1);
    for text in [deep, dotted, tables, large, many] {
        let error = read(&text).unwrap_err().to_string();
        assert!(error.len() < 1_000, "{}", error.len());
    }
}

proptest! {
    #[test]
    fn files_read_back_equal(campaign in campaign()) {
        let text = render(&campaign);
        let back = read(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        prop_assert_eq!(back, campaign, "{}", text);
    }

    #[test]
    fn a_line_and_its_file_are_one_campaign(command in command_line()) {
        let from_line = line(&command).map_err(|error| TestCaseError::fail(format!("{error}\n{command}")))?;
        let text = render(&from_line);
        let from_file = read(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        prop_assert_eq!(from_file, from_line, "{}", text);
    }

    #[test]
    fn any_text_is_a_campaign_or_an_error(text in "\\PC{0,200}") {
        let _ = read(&text);
    }

    #[test]
    fn any_toml_is_a_campaign_or_an_error(text in "([a-z_]{1,8}|\\[\\[?(phase|flow|pairs|groups|expect)\\]?\\]|=|\"[0-9a-z %<=./-]{0,9}\"|[0-9.-]{1,4}|\\{|\\}|,|\n| ){0,60}") {
        let _ = read(&text);
    }

    #[test]
    fn damaged_files_never_panic(at in 0..WHOLE.len(), cut in 0..20_usize, put in "\\PC{0,4}") {
        let mut text = WHOLE.to_owned();
        let end = (at + cut).min(text.len());
        text.replace_range(at..end, &put);
        if let Err(error) = read(&text) {
            prop_assert!(!error.message().is_empty());
        }
    }

    #[test]
    fn swapped_lines_never_panic(a in 0..32_usize, b in 0..32_usize) {
        let mut lines: Vec<&str> = WHOLE.lines().collect();
        let count = lines.len();
        lines.swap(a % count, b % count);
        let _ = read(&lines.join("\n"));
    }

    #[test]
    fn any_arguments_are_a_campaign_or_an_error(
        words in prop::collection::vec(prop_oneof![
            "--(from|to|udp|tcp|size|for|then|with|always|expect|sample|reverse|per-x|name)",
            "[a-z0-9=,!%<. -]{0,12}",
            "\\PC{0,6}",
            Just("10M".to_owned()),
            Just("asn=1".to_owned()),
        ], 0..14),
    ) {
        let _ = flags::parse(&words);
    }
}
