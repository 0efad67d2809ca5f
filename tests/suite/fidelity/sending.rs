//! How packets leave, as the kernel and the receiver see it: marks, bundles, ramps,
//! back-pressure.

use std::fs;

use weir_common::record::End;
use weir_lab::{Direction, Shape};
use weir_tests::{Cluster, Ground, needs};

use super::check::{forget, kernel_agrees};
use super::{
    GENERATOR, RECEIVER, figure, flows, number, on_two_hosts, run, run_line, two_hosts, warnings,
};

#[test]
fn a_ttl_arrives_less_its_hops() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    let line = "--udp 600pkt/s --size 100 --ttl 9 --dscp ef --ecn ce --for 1s --interval 500ms";
    let (document, account) = run(&cluster, line, 0);
    let flow = &flows(&document)[0];
    // Two routers on the way.
    let ttl = (number(flow, "/ttl/min"), number(flow, "/ttl/max"));
    assert_eq!(ttl, (7, 7), "{flow:#}");
    assert_eq!(
        account[&(1, End::Rx)].closed.window.ce,
        Some(number(flow, "/received/packets")),
        "every packet came marked: {flow:#}"
    );
}

#[test]
fn bundles_are_one_packet_to_the_kernel_and_all_their_bytes() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    for (line, bundled) in [
        ("--udp 20000pkt/s --size 200 --gso on", true),
        ("--udp 20000pkt/s --size 200 --gso off", false),
        ("--udp 20000pkt/s --size 200", false),
        ("--udp max --size 1000", true),
        ("--udp max --size 1000 --gso off", false),
        (
            "--udp 5000pkt/s --size 200 --pacing keep-gap --spin 100us",
            false,
        ),
    ] {
        forget(&cluster, &[GENERATOR, RECEIVER]);
        let (document, account) = run(&cluster, &format!("{line} --for 1s --interval 250ms"), 0);
        kernel_agrees(&cluster, &account, GENERATOR, RECEIVER);
        let flow = &flows(&document)[0];
        let said = if bundled { "on" } else { "off" };
        assert_eq!(flow["path"]["gso"], said, "{line}: {flow:#}");
        let lab = cluster.lab();
        let target = lab.address(RECEIVER).expect("a host");
        let counters = lab.counters(GENERATOR).expect("hosts are counted");
        let counted = counters.udp().to(target).output().packets();
        let sent = &account[&(1, End::Tx)].closed;
        let all = sent.total.tx_packets.unwrap_or(0) + sent.control_packets.unwrap_or(0);
        if bundled {
            assert!(
                counted <= all * 3 / 4,
                "{line}: {counted} for {all} packets"
            );
        } else {
            assert_eq!(counted, all, "{line}: counted singly");
        }
    }
}

/// Datagrams above the MTU fit no bundle: the first one is refused, and said.
#[test]
fn where_bundles_are_refused_packets_leave_one_by_one() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    forget(&cluster, &[GENERATOR, RECEIVER]);
    let line = "--udp 500pkt/s --size 4000 --gso on --for 1s --interval 250ms";
    let (document, account) = run(&cluster, line, 0);
    // 500 a second are too far apart for a bundle, and nothing was refused.
    assert!(!warnings(&flows(&document)[0]).contains(&"gso-unavailable"));
    kernel_agrees(&cluster, &account, GENERATOR, RECEIVER);
    forget(&cluster, &[GENERATOR, RECEIVER]);
    let line = "--udp max --size 4000 --for 500ms --interval 250ms";
    let (document, account) = run(&cluster, line, 0);
    kernel_agrees(&cluster, &account, GENERATOR, RECEIVER);
    let flow = &flows(&document)[0];
    assert_eq!(flow["path"]["gso"], "off", "{flow:#}");
    assert!(warnings(flow).contains(&"gso-unavailable"), "{flow:#}");
    assert!(number(flow, "/sent/packets") > 500, "{flow:#}");
}

#[test]
fn a_ramp_is_sent_to_the_packet() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    let path = cluster.directory().join("ramp.toml");
    // 600 rising to 3,000 in 1 s, then 1,000 for half a second.
    let text = format!(
        r#"campaign = "ramp"
interval = "250ms"
[pairs]
from = "{GENERATOR}"
to   = "{RECEIVER}"
[[phase]]
name = "up"
for  = "1.5s"
traffic = {{ udp = "600 pkt/s", size = 100, ramp = ["0s 600 pkt/s", "1s 3000 pkt/s", "1s 1000 pkt/s"] }}
[valid]
ignore = ["behind", "frozen"]
"#
    );
    fs::write(&path, text).expect("a campaign");
    let (document, account) = run_line(&cluster, path.to_str().expect("a path"), 0);
    let flow = &flows(&document)[0];
    assert_eq!(number(flow, "/offered/packets"), 1_800 + 500, "{flow:#}");
    let rows: Vec<u64> = account[&(1, End::Tx)]
        .sums()
        .map(|row| row.counters.offered_packets.unwrap_or(0))
        .collect();
    assert!(rows[..4].is_sorted(), "it rises: {rows:?}");
}

/// A sender that waits for room loses nothing in its own queue, and says by how much
/// the link was too slow.
#[test]
fn a_waiting_sender_goes_at_the_pace_of_the_link() {
    needs!(Ground::Lab);
    let slow = Shape::mbit(5).towards(Direction::Out);
    let topology = two_hosts().shape(GENERATOR, slow);
    let cluster = Cluster::in_lab(&topology, &[GENERATOR, RECEIVER]);
    forget(&cluster, &[GENERATOR, RECEIVER]);
    let line = "--udp 10M --on-full wait --for 2s --interval 500ms";
    let (document, account) = run(&cluster, line, 0);
    kernel_agrees(&cluster, &account, GENERATOR, RECEIVER);
    let flow = &flows(&document)[0];
    assert_eq!(flow["valid"], true, "{flow:#}");
    assert_eq!(number(flow, "/lost_detail/egress"), 0, "{flow:#}");
    let share =
        number(flow, "/lost_detail/blocked") as f64 / number(flow, "/offered/packets") as f64;
    assert!(
        (0.35..0.65).contains(&share),
        "about half of it, not {share}"
    );
    assert!(figure(flow, "/rate_bps") < 5_200_000.0, "{flow:#}");
}
