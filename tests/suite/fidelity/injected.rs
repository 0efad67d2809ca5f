//! Losses that a firewall or a link on the way makes, in a known pattern or for a
//! known time, and what the result says of them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_common::record::End;
use weir_common::stats::Lengths;
use weir_tests::{Cluster, Ground, eventually, needs};

use super::check::{forget, kernel_agrees};
use super::rules::{OF_FLOWS, Rules};
use super::{GENERATOR, RECEIVER, await_packets, during, figure, flows, number, on_two_hosts, run};

/// On the way from the generator to the receiver.
const ROUTER: &str = "162-router";

/// Counts what of flows comes to the router, then what of it a rule drops.
fn dropping<'cluster>(cluster: &'cluster Cluster, which: &str) -> Rules<'cluster> {
    let seen = format!("{OF_FLOWS} counter name seen");
    let lost = format!("{OF_FLOWS} {which} counter name lost drop");
    Rules::arriving(cluster, ROUTER, &["seen", "lost"], &[&seen, &lost])
}

#[test]
fn random_loss_is_what_the_router_dropped() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    for percent in [1, 20] {
        let rules = dropping(&cluster, &format!("numgen random mod 100 < {percent}"));
        forget(&cluster, &[GENERATOR, RECEIVER]);
        let line = "--udp 2000pkt/s --size 100 --gso off --for 2s --linger 500ms --interval 500ms";
        let (document, account) = run(&cluster, line, 0);
        kernel_agrees(&cluster, &account, GENERATOR, RECEIVER);
        let flow = &flows(&document)[0];
        assert_eq!(number(flow, "/sent/packets"), rules.packets("seen"));
        let lost = rules.packets("lost");
        assert!(lost > 0, "{percent} %");
        assert_eq!(number(flow, "/lost/network"), lost, "{percent} %: {flow:#}");
        assert_eq!(number(flow, "/lost/receiver"), 0, "{percent} %: {flow:#}");
    }
}

/// Bundles cross a link of the kernel whole. Where the link has no segmentation of UDP,
/// the stack cuts them before it, and a router drops single packets.
#[test]
fn random_loss_of_bundles_that_the_link_cuts_is_what_the_router_dropped() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    let line = "--udp 20000pkt/s --size 200 --gso on --for 2s --linger 500ms --interval 500ms";
    let whole = dropping(&cluster, "numgen random mod 100 < 1");
    let (document, _) = run(&cluster, line, 0);
    let (seen, sent) = (
        whole.packets("seen"),
        number(&flows(&document)[0], "/sent/packets"),
    );
    assert!(seen <= sent * 3 / 4, "{seen} bundles of {sent} packets");

    cut_bundles(&cluster, GENERATOR);
    for percent in [1, 20] {
        let rules = dropping(&cluster, &format!("numgen random mod 100 < {percent}"));
        forget(&cluster, &[GENERATOR, RECEIVER]);
        let (document, account) = run(&cluster, line, 0);
        kernel_agrees(&cluster, &account, GENERATOR, RECEIVER);
        let flow = &flows(&document)[0];
        assert_eq!(flow["path"]["gso"], "on", "{flow:#}");
        assert_eq!(
            number(flow, "/sent/packets"),
            rules.packets("seen"),
            "the router sees single packets: {flow:#}"
        );
        let lost = rules.packets("lost");
        assert!(lost > 0, "{percent} %");
        assert_eq!(number(flow, "/lost/network"), lost, "{percent} %: {flow:#}");
    }
}

/// Takes the segmentation of UDP from the interface of a host.
fn cut_bundles(cluster: &Cluster, host: &str) {
    let mut command = cluster.lab().command(host, "ethtool").expect("a host");
    let output = command
        .args(["-K", "net0", "tx-udp-segmentation", "off"])
        .output()
        .expect("ethtool is there");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn bursts_and_their_distances_are_those_of_the_pattern() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    for (first, of) in [(3, 10), (1, 7), (18, 61)] {
        let rules = dropping(&cluster, &format!("numgen inc mod {of} < {first}"));
        let line = "--udp 1000pkt/s --size 100 --gso off --for 2s --linger 500ms --interval 500ms";
        let (document, _) = run(&cluster, line, 0);
        let flow = &flows(&document)[0];
        let sent = number(flow, "/sent/packets");
        let is_lost = |number: &u64| number % of < first;
        let lost: Vec<u64> = (0..sent).filter(is_lost).collect();
        assert_eq!(rules.packets("lost"), lost.len() as u64);
        assert_eq!(number(flow, "/lost/network"), lost.len() as u64);
        let bursts = &flow["bursts"];
        let (lengths, distances) = runs(&lost);
        assert_eq!(number(bursts, "/count"), lengths.count, "{flow:#}");
        assert_eq!(number(bursts, "/max"), lengths.max, "{flow:#}");
        assert_eq!(bursts["lengths"], classes(&lengths), "{flow:#}");
        let found = &bursts["distances"];
        assert_eq!(
            (number(found, "/min"), number(found, "/max")),
            (of - first + 1, of - first + 1),
            "{flow:#}"
        );
        assert_eq!(found["lengths"], classes(&distances), "{flow:#}");
        assert_eq!(number(flow, "/lost_detail/head"), first, "{flow:#}");
        let (whole, rest) = (sent / of * of, sent % of);
        let tail = if rest <= first { sent - whole } else { 0 };
        assert_eq!(number(flow, "/lost_detail/tail"), tail, "{flow:#}");
        // Three in a row are an outage, and the pattern leaves no second of quiet.
        let outages = u64::from(first >= 3);
        assert_eq!(number(flow, "/outages/count"), outages, "{flow:#}");
    }
}

/// Lengths of the runs of consecutive numbers, and from the last of each to the first
/// of the next.
fn runs(numbers: &[u64]) -> (Lengths, Lengths) {
    let (mut lengths, mut distances) = (Lengths::default(), Lengths::default());
    for run in numbers.chunk_by(|before, after| before + 1 == *after) {
        lengths.record(run.len() as u64);
    }
    for pair in numbers.windows(2).filter(|pair| pair[0] + 1 < pair[1]) {
        distances.record(pair[1] - pair[0]);
    }
    (lengths, distances)
}

/// As the result document has them: by octaves.
fn classes(lengths: &Lengths) -> Value {
    let class = |(octave, n): (usize, &u64)| json!({ "from": 1_u64 << octave, "to": (2_u64 << octave) - 1, "n": n });
    let used = lengths.classes.iter().enumerate().filter(|(_, n)| **n > 0);
    used.map(class).collect()
}

/// When something was begun and when it was done.
type Span = (Instant, Instant);

fn timed(act: impl FnOnce()) -> Span {
    let begun = Instant::now();
    act();
    (begun, Instant::now())
}

/// The only outage of a flow is as long as the cut was, as far as its own resolution,
/// the sender's stalls and the time that cutting and healing took allow.
fn lasts_as_long(flow: &Value, cut: Span, healed: Span) {
    assert_eq!(number(flow, "/outages/count"), 1, "{flow:#}");
    let outage = &flow["outages"]["kept"][0];
    let resolution = figure(flow, "/outages/resolution_s");
    let spacing = figure(flow, "/duration_s") / number(flow, "/sent/packets") as f64;
    assert!((resolution / spacing - 1.0).abs() < 0.1, "{flow:#}");
    // A busy machine may have stalled the sender for so long as it gave packets up.
    let slack = 2.0 * resolution
        + 2.0 * figure(flow, "/lateness_us/max") / 1e6
        + figure(flow, "/delay_us/max") / 1e6
        + number(flow, "/lost_detail/behind") as f64 * 0.002;
    let least = healed.0.duration_since(cut.1).as_secs_f64() - slack;
    let most = healed.1.duration_since(cut.0).as_secs_f64() + slack;
    let length = figure(outage, "/length_s");
    assert!(
        (least..=most).contains(&length),
        "cut for {least} to {most} s: {flow:#}"
    );
    let span = figure(outage, "/to_s") - figure(outage, "/from_s");
    assert!((span - length).abs() < 1e-6, "{flow:#}");
}

const CUT: &str =
    "--udp 500pkt/s --size 64 --gso off --for 5s --linger 1s --expect udp.outage.max<=20s";

#[test]
fn a_cut_of_two_seconds_is_one_outage_with_its_numbers() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    forget(&cluster, &[GENERATOR, RECEIVER]);
    let pass = format!("{OF_FLOWS} counter name passed");
    let rules = Rules::arriving(&cluster, ROUTER, &["passed", "lost"], &[&pass]);
    let (mut first, mut spans) = (0, None);
    let (document, account) = during(&cluster, CUT, || {
        await_packets(&cluster, End::Tx, 250);
        let cut = timed(|| {
            rules.replace(&[&format!("{OF_FLOWS} counter name lost drop"), &pass]);
        });
        first = rules.packets("passed");
        eventually("2 s of losses", Duration::from_secs(30), || {
            (rules.packets("lost") >= 1_000).then_some(())
        });
        spans = Some((cut, timed(|| rules.replace(&[&pass]))));
    });
    kernel_agrees(&cluster, &account, GENERATOR, RECEIVER);
    let flow = &flows(&document)[0];
    let lost = rules.packets("lost");
    assert_eq!(number(flow, "/lost/network"), lost, "{flow:#}");
    assert_eq!(number(flow, "/bursts/count"), 1, "{flow:#}");
    let (cut, healed) = spans.expect("the link was cut");
    lasts_as_long(flow, cut, healed);
    let outage = &flow["outages"]["kept"][0];
    assert_eq!(number(outage, "/lost"), lost, "{flow:#}");
    let numbers = (number(outage, "/first_seq"), number(outage, "/last_seq"));
    assert_eq!(numbers, (first, first + lost - 1), "{flow:#}");
    let shown = cluster.weir(&["show"]);
    assert!(shown.stdout.contains("outage: flow 1 "), "{shown:?}");
}

/// A router that has lost its link says so to the sender (ICMP), whose packets go on to
/// leave: they are the network's loss, not refused. The last of them wait at the router
/// for its neighbour's address and come late, but come: the outage is shorter by that.
#[test]
fn a_link_that_goes_down_is_an_outage_of_the_network() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    forget(&cluster, &[GENERATOR, RECEIVER]);
    let lab = cluster.lab();
    let mut spans = None;
    let (document, account) = during(&cluster, CUT, || {
        await_packets(&cluster, End::Tx, 250);
        let cut = timed(|| lab.cut("150-router@ix100").expect("a link"));
        await_packets(&cluster, End::Tx, 1_000);
        spans = Some((
            cut,
            timed(|| {
                lab.heal("150-router@ix100").expect("a link");
                await_packets(&cluster, End::Rx, 1);
            }),
        ));
    });
    kernel_agrees(&cluster, &account, GENERATOR, RECEIVER);
    let flow = &flows(&document)[0];
    assert_eq!(number(flow, "/lost_detail/refused"), 0, "{flow:#}");
    assert_eq!(number(flow, "/lost_detail/blocked"), 0, "{flow:#}");
    let (cut, healed) = spans.expect("the link was cut");
    lasts_as_long(flow, cut, healed);
    let outage = &flow["outages"]["kept"][0];
    let lost = number(flow, "/lost/network");
    assert!(lost >= 500, "{flow:#}");
    assert_eq!(number(outage, "/lost"), lost, "{flow:#}");
    let numbers = (number(outage, "/first_seq"), number(outage, "/last_seq"));
    assert_eq!(numbers.1 - numbers.0 + 1, lost, "{flow:#}");
}

/// What is lost around the border of two phases belongs to the one it was sent in.
#[test]
fn a_cut_across_phases_is_an_outage_of_each() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    forget(&cluster, &[GENERATOR, RECEIVER]);
    let pass = format!("{OF_FLOWS} counter name passed");
    let drop = format!("{OF_FLOWS} counter name lost drop");
    let rules = Rules::arriving(&cluster, ROUTER, &["passed", "lost"], &[&pass]);
    let line = "--linger 1s --udp 700pkt/s --size 64 --gso off --name first --for 2s --warmup 500ms \
                --then --udp 700pkt/s --size 64 --gso off --name second --for 2500ms --pause 0s \
                --always --udp 500pkt/s --size 100 --gso off --name probe";
    let (document, account) = during(&cluster, line, || {
        // 1.25 s of 1,200 packets a second; then until the second phase.
        await_packets(&cluster, End::Tx, 1_500);
        rules.replace(&[&drop, &pass]);
        eventually("losses", Duration::from_secs(30), || {
            (rules.packets("lost") >= 1_300).then_some(())
        });
        rules.replace(&[&pass]);
    });
    kernel_agrees(&cluster, &account, GENERATOR, RECEIVER);
    assert_eq!(flows(&document).len(), 4);
    let mut lost = 0;
    for flow in flows(&document) {
        let of_flow = number(flow, "/lost/network");
        assert!(of_flow > 10, "{flow:#}");
        assert_eq!(number(flow, "/outages/count"), 1, "{flow:#}");
        let outage = &flow["outages"]["kept"][0];
        assert_eq!(number(outage, "/lost"), of_flow, "{flow:#}");
        let in_first = flow["phase"] == "first";
        assert_eq!(outage["to_s"].is_null(), in_first, "{flow:#}");
        let border = if in_first { "tail" } else { "head" };
        let path = format!("/lost_detail/{border}");
        assert_eq!(number(flow, &path), of_flow, "{flow:#}");
        lost += of_flow;
    }
    assert_eq!(lost, rules.packets("lost"));
}

/// A router that says for each packet it rejects that it did (ICMP) makes the kernel
/// refuse the next send untried: that packet is sent all the same.
#[test]
fn what_a_router_rejects_is_lost_on_the_way() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    let mut shell = cluster.lab().command(ROUTER, "sh").expect("a router");
    let unlimited = "cd /proc/sys/net/ipv4 && echo 0 >icmp_ratemask && echo 0 >icmp_ratelimit";
    let status = shell.args(["-c", unlimited]).status().expect("a shell");
    assert!(status.success());
    for (answer, traffic) in [
        ("port-unreachable", "--udp 2000pkt/s --gso off"),
        ("host-unreachable", "--udp max --gso off"),
        ("admin-prohibited", "--udp 10000pkt/s --gso on"),
    ] {
        let reject = format!(
            "{OF_FLOWS} numgen inc mod 3 == 0 counter name lost reject with icmp type {answer}"
        );
        let rules = Rules::forwarded(&cluster, ROUTER, &["lost"], &[&reject]);
        forget(&cluster, &[GENERATOR, RECEIVER]);
        let line = format!("{traffic} --size 100 --for 1s --interval 250ms --linger 500ms");
        let (document, account) = run(&cluster, &line, 0);
        kernel_agrees(&cluster, &account, GENERATOR, RECEIVER);
        let flow = &flows(&document)[0];
        for part in ["refused", "blocked", "egress"] {
            let path = format!("/lost_detail/{part}");
            assert_eq!(number(flow, &path), 0, "{traffic}, {part}: {flow:#}");
        }
        let (lost, rejected) = (number(flow, "/lost/network"), rules.packets("lost"));
        assert!(rejected > 100, "{flow:#}");
        if flow["path"]["gso"] == "off" {
            assert_eq!(lost, rejected, "{traffic}: {flow:#}");
        } else {
            assert!(lost >= rejected, "bundles: {traffic}: {flow:#}");
        }
    }
}
