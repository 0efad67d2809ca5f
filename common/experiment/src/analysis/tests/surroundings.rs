//! What was seen of hosts and kernels: causes, places of loss, what limited.

use weir_common::id::AgentName;
use weir_common::observation::{
    KernelCounters, KernelRow, LinkCounters, LinkRow, Observed, Observer,
};

use super::*;

const SECOND: u64 = 1_000_000_000;

fn name(text: &str) -> AgentName {
    text.parse().unwrap()
}

/// A second of a kernel with two cores.
fn kernel(k: u32, counters: KernelCounters) -> KernelRow {
    KernelRow {
        run: RunId(7),
        kernel_boot_id: "kernel".into(),
        k,
        start_ns: u64::from(k) * SECOND,
        length_ns: SECOND,
        cores: 2,
        counters,
    }
}

fn link(interface: &str, k: u32, counters: LinkCounters, qdisc: Option<&str>) -> LinkRow {
    LinkRow {
        run: RunId(7),
        interface: interface.into(),
        k,
        start_ns: u64::from(k) * SECOND,
        length_ns: SECOND,
        counters,
        qdisc: qdisc.map(str::to_owned),
        qdisc_backlog_bytes: Some(u64::from(k) * 100),
    }
}

fn dropped(drops: u64) -> LinkCounters {
    LinkCounters {
        tx_packets: Some(500),
        qdisc_drops: Some(drops),
        ..LinkCounters::default()
    }
}

fn observed(who: &str, pid: u32, here: bool) -> Observed {
    Observed {
        run: RunId(7),
        links: 10,
        kernels: 0,
        interfaces_left_out: 0,
        load_milli: None,
        observers: vec![Observer {
            who: who.into(),
            pid: Some(pid),
            interface: here.then(|| "net0".into()),
            here,
        }],
        routes: Vec::new(),
    }
}

/// A flow of which a third was given up, as `change` says of its host.
fn late(text: &str, change: impl FnOnce(&mut Case)) -> ResultDocument {
    let mut case = Case::new(text);
    let planned = case.plan.flows[0].clone();
    let counts = Udp {
        behind: 3_400,
        ..Udp::default()
    };
    case.evidence.insert(planned.id, udp(&planned, counts));
    change(&mut case);
    case.result()
}

fn throttle(case: &mut Case, us: u64) {
    tx(case.flow(1)).window.throttled_us = Some(us);
}

#[test]
fn a_throttled_sender_is_behind_and_says_why() {
    let result = late(UDP, |case| throttle(case, 9_300_000));
    let flow = &result.flows[0];
    assert_eq!(result.verdict, Verdict::Invalid);
    assert_eq!(codes(&flow.reasons), ["behind"]);
    let text = &flow.reasons[0].text;
    assert!(
        text.ends_with("allowed is 1 %: throttled 93 % of the time"),
        "{text}"
    );
    assert_eq!(codes(&flow.warnings), ["throttled"]);
    let told = &flow.warnings[0];
    assert_eq!((told.value, told.limit), (Some(0.93), Some(0.01)));
    assert_eq!(flow.cpu.throttled_pct, Some(93.0));
}

#[test]
fn throttling_alone_decides_only_where_it_is_said_to() {
    for (us, warned) in [(100_000, false), (100_001, true)] {
        let mut case = Case::new(UDP);
        throttle(&mut case, us);
        let result = case.result();
        assert!(result.checks.valid);
        assert_eq!(
            codes(&result.flows[0].warnings),
            if warned { vec!["throttled"] } else { vec![] }
        );
    }
    for (valid, reasons) in [
        ("throttled = \"50%\"", vec![]),
        ("throttled = \"20%\"", vec!["throttled"]),
        ("throttled = \"invalid\"", vec!["throttled"]),
        ("throttled = \"invalid\"\nignore = [\"throttled\"]", vec![]),
    ] {
        let mut case = Case::new(&format!("{UDP}[valid]\n{valid}\n"));
        throttle(&mut case, 3_000_000);
        assert_eq!(codes(&case.result().flows[0].reasons), reasons, "{valid}");
    }
}

#[test]
fn threads_on_several_cores_are_throttled_at_most_always() {
    let mut case = Case::new(UDP);
    throttle(&mut case, 19_000_000);
    let result = case.result();
    assert_eq!(result.flows[0].warnings[0].value, Some(1.0));
}

#[test]
fn an_unlimited_flow_under_a_quota_is_limited_by_its_cpu() {
    for text in [TCP, &UDP.replace("1000 pkt/s", "max")] {
        let mut case = Case::new(text);
        tx(case.flow(1)).window.cpu_us = Some(500_000);
        throttle(&mut case, 9_300_000);
        let result = case.result();
        assert!(result.checks.valid, "{:?}", result.reasons);
        assert_eq!(result.flows[0].limited.as_deref(), Some("cpu"));
    }
}

#[test]
fn an_unlimited_flow_says_what_limited_it() {
    let limited = |busy, rwnd, sndbuf| {
        let result = Case::with(TCP, |flow| {
            let window = &mut tx(flow).window;
            window.cpu_us = Some(1_000_000);
            window.runq_wait_us = None;
            window.busy_us = Some(busy);
            window.rwnd_limited_us = Some(rwnd);
            window.sndbuf_limited_us = Some(sndbuf);
        });
        result.flows[0].limited.clone()
    };
    let cases = [
        ((10_000_000, 0, 0), "network"),
        ((10_000_000, 6_000_000, 1_000_000), "receiver"),
        ((10_000_000, 1_000_000, 8_000_000), "buffer"),
        ((2_000_000, 0, 0), "app"),
    ];
    for ((busy, rwnd, sndbuf), what) in cases {
        assert_eq!(limited(busy, rwnd, sndbuf).as_deref(), Some(what));
    }
    let udp = Case::with(&UDP.replace("1000 pkt/s", "max"), |flow| {
        tx(flow).window.cpu_us = Some(1_000_000);
        tx(flow).window.runq_wait_us = None;
    });
    assert_eq!(udp.flows[0].limited, None, "nothing tells");
    assert_eq!(
        Case::new(UDP).result().flows[0].limited,
        None,
        "it has a schedule"
    );
}

#[test]
fn steal_and_softnet_drops_are_of_the_kernel_and_told_once() {
    let counters = |steal_us, dropped| KernelCounters {
        steal_us: Some(steal_us),
        softnet_processed: Some(999),
        softnet_dropped: Some(dropped),
        ..KernelCounters::default()
    };
    let with = |text: &str, steal_us, dropped| {
        let mut case = Case::new(text);
        for k in 0..10 {
            case.surroundings
                .kernel_row(&kernel(k, counters(steal_us, dropped)));
        }
        // The row of another kernel is nobody's business.
        case.surroundings.kernel_row(&KernelRow {
            kernel_boot_id: "other".into(),
            ..kernel(0, counters(2_000_000, 50))
        });
        case.result().flows[0].clone()
    };
    assert!(with(UDP, 40_000, 0).warnings.is_empty(), "2 % of two cores");
    let stolen = with(UDP, 60_000, 1);
    assert_eq!(codes(&stolen.warnings), ["steal", "softnet_drops"]);
    assert_eq!(stolen.warnings[0].value, Some(0.03));
    assert_eq!(stolen.warnings[1].value, Some(0.001));
    let decided = with(&format!("{UDP}[valid]\nsteal = \"invalid\"\n"), 60_000, 1);
    assert_eq!(codes(&decided.reasons), ["steal"]);
    let allowed = with(&format!("{UDP}[valid]\nsoftnet_drops = \"1%\"\n"), 0, 1);
    assert!(allowed.valid && allowed.warnings.is_empty());
}

#[test]
fn kernel_rows_of_a_warm_up_are_left_out() {
    let text = UDP.replace("for     = \"10s\"", "for = \"10s\"\nwarmup = \"2s\"");
    let mut case = Case::new(&text);
    for k in 0..10 {
        let steal_us = if k < 2 { 2_000_000 } else { 0 };
        let counters = KernelCounters {
            steal_us: Some(steal_us),
            ..KernelCounters::default()
        };
        case.surroundings.kernel_row(&kernel(k, counters));
    }
    assert!(case.result().flows[0].warnings.is_empty());
}

#[test]
fn who_captures_is_named_with_its_place() {
    let mut case = Case::new(UDP);
    case.surroundings
        .observed(name("a"), observed("tcpdump", 41, true));
    // The kernel's own view of the same process, and another.
    let mut elsewhere = observed("tcpdump", 41, false);
    elsewhere
        .observers
        .extend(observed("seedemu_sniffer", 90, false).observers);
    case.surroundings.observed(name("b"), elsewhere);
    let result = case.result();
    let flow = &result.flows[0];
    assert!(flow.valid);
    assert_eq!(codes(&flow.warnings), ["observed"]);
    let text = &flow.warnings[0].text;
    assert!(
        text.ends_with("tcpdump (pid 41) at a net0, seedemu_sniffer (pid 90) on the kernel of b"),
        "{text}"
    );
    assert_eq!(flow.warnings[0].value, Some(2.0));
    case.campaign.valid.observers = true;
    assert_eq!(codes(&case.result().flows[0].reasons), ["observed"]);
    case.campaign.valid.ignore = vec!["observed".into()];
    assert!(case.result().checks.valid);
}

#[test]
fn the_place_of_a_loss_is_named() {
    let mut case = Case::new(FAN);
    for flow in case.plan.flows.clone() {
        let counts = Udp {
            path: if flow.id.0 == 1 { 1_200 } else { 0 },
            ..Udp::default()
        };
        case.evidence.insert(flow.id, udp(&flow, counts));
    }
    let router = name("150-router0");
    for k in 0..10 {
        case.surroundings
            .link_row(&router, &link("ix100", k, dropped(123), Some("tbf")));
        case.surroundings
            .link_row(&router, &link("net0", k, dropped(0), Some("noqueue")));
        // Another flow's host: what it drops is not on the way of flow 1.
        case.surroundings
            .link_row(&name("c"), &link("net0", k, dropped(9), Some("tbf")));
    }
    let result = case.result();
    assert_eq!(result.flows[0].lost.unwrap().network, Some(1_200));
    let place = &result.flows[0].lost_at[..];
    assert_eq!(place.len(), 1, "{place:?}");
    assert_eq!(
        (
            place[0].agent.as_str(),
            place[0].interface.as_str(),
            place[0].by.as_str(),
            place[0].dropped
        ),
        ("150-router0", "ix100", "tbf", 1_230)
    );
    assert!(result.flows[1].lost_at.is_empty(), "it lost nothing");
    let links: Vec<_> = result
        .links
        .iter()
        .map(|link| link.agent.as_str())
        .collect();
    assert_eq!(links, ["150-router0", "c"]);
    assert_eq!(result.links[0].backlog_max_bytes, Some(900));
    assert_eq!(result.links[0].counters.tx_packets, Some(5_000));
}

#[test]
fn drops_of_another_phase_explain_nothing() {
    let second =
        "[[phase]]\nname = \"q\"\ntraffic = { udp = \"1000 pkt/s\", size = 100 }\nfor = \"10s\"\n";
    let mut case = Case::new(&format!("{UDP}{second}"));
    for flow in case.plan.flows.clone() {
        let counts = Udp {
            path: 50,
            ..Udp::default()
        };
        case.evidence.insert(flow.id, udp(&flow, counts));
    }
    let start_s = case.plan.phases[1].start_ns / SECOND;
    for k in 0..20 {
        let drops = if u64::from(k) >= start_s { 5 } else { 0 };
        case.surroundings
            .link_row(&name("r"), &link("ix100", k, dropped(drops), Some("netem")));
    }
    let result = case.result();
    assert!(result.flows[0].lost_at.is_empty());
    assert_eq!(result.flows[1].lost_at[0].by, "netem");
}
