//! Errors name the flow set, the key, what is wrong and what there is.

use weir_common::campaign::policy::Load;
use weir_common::traffic::Rate;

use super::*;

fn error(set: FlowSet) -> PlanError {
    plan(&one_set(set), &agents(), 7).unwrap_err()
}

/// Asserts the place and that the message has every one of `parts`.
fn says(error: &PlanError, set: Option<&str>, key: &str, parts: &[&str]) {
    assert_eq!((error.set(), error.key().as_str()), (set, key), "{error}");
    for part in parts {
        assert!(
            error.to_string().contains(part),
            "`{part}` is not in: {error}"
        );
    }
}

#[test]
fn parties_that_mean_nothing_or_two_things() {
    let nothing = error(set("s", selector("asn=999"), names("b0")));
    says(
        &nothing,
        Some("s"),
        "from",
        &["asn=999", "150", "162", "171"],
    );
    says(
        &error(set("s", names("a0"), names("b9"))),
        Some("s"),
        "to",
        &["b9", "b0"],
    );
    let mut ambiguous = one_set(set("s", Party::Group("a0".to_owned()), names("b0")));
    ambiguous
        .groups
        .insert("a0".to_owned(), "asn=150".parse().unwrap());
    says(
        &plan(&ambiguous, &agents(), 7).unwrap_err(),
        Some("s"),
        "from",
        &["group", "agent"],
    );
}

#[test]
fn agents_that_are_not_connected() {
    let mut agents = agents();
    agents[0].alive = false;
    let mut campaign = one_set(set("s", selector("asn=150"), names("b0")));
    let plan_left = plan(&campaign, &agents, 7).unwrap();
    assert_eq!(pairs_of(&plan_left), ["a1>b0"]);
    campaign.lost_agent = LostAgent::Fail;
    says(
        &plan(&campaign, &agents, 7).unwrap_err(),
        Some("s"),
        "from",
        &["lost_agent", "a0"],
    );
    agents[1].alive = false;
    campaign.lost_agent = LostAgent::Mark;
    says(
        &plan(&campaign, &agents, 7).unwrap_err(),
        Some("s"),
        "from",
        &["only", "a0, a1"],
    );
}

#[test]
fn a_sample_takes_connected_agents() {
    let mut agents = agents();
    for agent in &mut agents[..5] {
        agent.alive = false;
    }
    let sample = one_set(set("s", selector("role=host sample=1"), names("c0")));
    agents[4].alive = true;
    // Only c0 and c1 are there: the sample is one of them for every seed.
    for seed in 0..8 {
        let campaign = Campaign {
            seed,
            ..sample.clone()
        };
        match plan(&campaign, &agents, 7) {
            Ok(plan) => assert_eq!(pairs_of(&plan), ["c1>c0"]),
            Err(error) => says(&error, Some("s"), "how", &["itself"]),
        }
    }
}

#[test]
fn pairs_that_cannot_be_made() {
    let how = |how, from, to| {
        error(FlowSet {
            how,
            ..set("s", from, to)
        })
    };
    says(
        &how(How::OneToOne, selector("asn=150"), selector("role=host")),
        Some("s"),
        "how",
        &["2", "6"],
    );
    says(
        &how(How::All, names("a0"), names("a0")),
        Some("s"),
        "how",
        &["itself"],
    );
    says(
        &how(How::Ring, names("a0"), names("a0")),
        Some("s"),
        "how",
        &["ring", "itself"],
    );
    says(
        &how(How::Random(5), selector("asn=150"), selector("asn=162")),
        Some("s"),
        "how",
        &["random(5)", "4"],
    );
    let apart = |label: &str| {
        error(FlowSet {
            apart: Some(label.to_owned()),
            ..set("s", names("a0"), names("a1"))
        })
    };
    says(&apart("asn"), Some("s"), "how", &["apart"]);
    says(
        &apart("ans"),
        Some("s"),
        "apart",
        &["asn, role", "did you mean `asn`"],
    );
}

#[test]
fn values_that_do_not_fit() {
    let with = |traffic: Traffic| {
        error(FlowSet {
            traffic,
            ..set("s", names("a0"), names("b0"))
        })
    };
    let cc = Traffic {
        cc: Some("cubik".to_owned()),
        ..Traffic::new(Transport::Tcp, Rate::Max)
    };
    says(
        &with(cc),
        Some("s"),
        "cc",
        &["a0", "cubik", "`cubic`", "reno"],
    );
    says(
        &with(Traffic {
            size: Some(11),
            ..udp("1M")
        }),
        Some("s"),
        "size",
        &["12", "65507"],
    );
    says(
        &with(Traffic {
            bind: Some("10.0.0.1".parse().unwrap()),
            ..udp("1M")
        }),
        Some("s"),
        "bind",
        &["10.150.0."],
    );
    let dialled = FlowSet {
        dial: Dial::To,
        traffic: Traffic {
            bind: Some("eth0".parse().unwrap()),
            ..udp("1M")
        },
        ..set("s", names("a0"), names("b0"))
    };
    says(&error(dialled), Some("s"), "bind", &["`eth0`", "dial"]);
    let many = Traffic {
        per: Per::Stream,
        streams: 128,
        ..udp("1 Tbit/s")
    };
    says(&with(many), Some("s"), "udp", &["128 streams", "10 Tbit/s"]);
    let long = FlowSet {
        duration: Some(Span::from_secs(11)),
        ..set("s", names("a0"), names("b0"))
    };
    says(&error(long), Some("s"), "for", &["11 s", "`p`"]);
}

#[test]
fn hosts_without_a_common_family() {
    let mut agents = agents();
    agents[2].addresses = vec!["fd00::1".parse().unwrap()];
    let error = plan(&one_set(set("s", names("a0"), names("b0"))), &agents, 7).unwrap_err();
    says(
        &error,
        Some("s"),
        "to",
        &["a0", "b0", "fd00::1", "10.150.0."],
    );
}

#[test]
fn limits_are_named_with_their_numbers() {
    let everyone = || selector("role=host");
    let mesh = || FlowSet {
        how: How::Mesh,
        ..set("s", everyone(), everyone())
    };
    let mut few = agents();
    few[5].max_sessions = 9;
    says(
        &plan(&one_set(mesh()), &few, 7).unwrap_err(),
        None,
        "pairs",
        &["flows per agent", "c1", "10", "9"],
    );

    let limited = |limits: Limits, set: FlowSet| {
        plan(
            &Campaign {
                limits,
                ..one_set(set)
            },
            &agents(),
            7,
        )
        .unwrap_err()
    };
    let flows = Limits {
        flows: Some(29),
        ..Limits::default()
    };
    says(&limited(flows, mesh()), None, "limits.flows", &["30", "29"]);
    let bits = |text: &str| Load::Bits(text.parse().unwrap());
    let target = Limits {
        target: Some(bits("40 Mbit/s")),
        ..Limits::default()
    };
    says(
        &limited(target, mesh()),
        None,
        "limits.target",
        &["40 Mbit/s", "50 Mbit/s", "a0", "`p`"],
    );
    let kernel = Limits {
        per_kernel: Some(Load::Packets("1 kpkt/s".parse().unwrap())),
        ..Limits::default()
    };
    says(
        &limited(kernel, mesh()),
        None,
        "limits.per_kernel",
        &["kernel", "pkt/s"],
    );
    let label = Limits {
        per_label: BTreeMap::from([("asn".to_owned(), bits("99 Mbit/s"))]),
        ..Limits::default()
    };
    says(
        &limited(label.clone(), mesh()),
        None,
        "limits.per_asn",
        &["asn 150", "100 Mbit/s"],
    );
    let unlimited = FlowSet {
        traffic: udp("max"),
        ..set("s", names("a0"), names("b0"))
    };
    says(&limited(label, unlimited), None, "limits.per_asn", &["max"]);
}

#[test]
fn bundles_over_a_shaped_interface_are_warned_of_once_for_each_set() {
    let mut agents = agents();
    agents[2].qdiscs = vec![
        ("lo".to_owned(), "noqueue".to_owned()),
        ("net0".to_owned(), "tbf".to_owned()),
    ];
    let told = |traffic: Traffic| {
        let mut flows = set("bulk", names("a0,a1"), names("b0"));
        flows.traffic = traffic;
        let plan = plan(&one_set(flows), &agents, 7).unwrap();
        let of_bundles = |warning: &&Warning| warning.code == "bundles-shaped";
        let texts = plan.warnings.iter().filter(of_bundles);
        texts
            .map(|warning| warning.text.clone())
            .collect::<Vec<_>>()
    };
    let [text] = &told(udp("max"))[..] else {
        panic!("one warning")
    };
    assert!(text.contains("tbf on net0 of b0"), "{text}");
    assert_eq!(told(udp("10 Mbit/s")), [""; 0], "one by one");
    let with = |rate, gso| Traffic {
        gso: Some(gso),
        ..udp(rate)
    };
    use weir_common::assignment::Bundles;
    assert_eq!(told(with("10 Mbit/s", Bundles::On)).len(), 1);
    assert_eq!(told(with("max", Bundles::Off)), [""; 0]);
    assert_eq!(
        told(udp("200000 pkt/s")).len(),
        1,
        "above what a kernel sends singly"
    );
}

#[test]
fn a_bucket_that_no_packet_fits_is_warned_of() {
    let mut agents = agents();
    agents[0].buckets = vec![TokenBucket {
        interface: "net0".to_owned(),
        place: "1: root".to_owned(),
        rate_bytes: 1_250_000,
        burst_bytes: 1_000,
        limit_bytes: 30_000,
    }];
    let told = |from: &str, to: &str, traffic: Traffic| {
        let mut flows = set("bulk", names(from), names(to));
        flows.traffic = traffic;
        let plan = plan(&one_set(flows), &agents, 7).unwrap();
        let of_buckets = |warning: &Warning| warning.code == "tbf-below-packet";
        let texts = plan.warnings.into_iter().filter(of_buckets);
        texts.map(|warning| warning.text).collect::<Vec<_>>()
    };
    let sized = |size| Traffic {
        size: Some(size),
        ..udp("1M")
    };
    let [text] = &told("a0", "b0", sized(1_400))[..] else {
        panic!("one warning")
    };
    for word in ["`bulk`", "tbf 1: root on net0 of a0", "1000 B", "1442 B"] {
        assert!(text.contains(word), "{text}");
    }
    assert_eq!(
        told("a0", "b0", Traffic::new(Transport::Tcp, Rate::Max)).len(),
        1
    );
    assert_eq!(told("a0", "b0", sized(958)), [""; 0], "it fits");
    assert_eq!(told("b0", "a0", sized(1_400)), [""; 0], "towards it");
}
