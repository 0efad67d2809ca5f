//! A way that loses, doubles, reorders and delays packets by script: every counter
//! tells exactly what it did.

use std::time::Duration;

use weir_common::record::End;
use weir_tests::{Cluster, Ground, Process, binary, eventually, needs};

use super::check::forget;
use super::{GENERATOR, RECEIVER, figure, flows, number, on_two_hosts, run};

/// On the way; a process there stands in for it.
const ROUTER: &str = "162-router";

/// Leads what goes to the receiver's port through a process at its router.
fn relay(cluster: &Cluster, script: &[&str]) -> Process {
    let lab = cluster.lab();
    let mut nft = lab.command(ROUTER, "nft").expect("a router");
    let status = nft
        .arg(
            "add table ip relayed\n\
             add chain ip relayed arriving { type nat hook prerouting priority -100; }\n\
             add rule ip relayed arriving udp dport 7900 redirect to :7901",
        )
        .status();
    assert!(status.expect("nft is there").success());
    let mut command = lab.command(ROUTER, binary("relay")).expect("a router");
    let receiver = lab.address(RECEIVER).expect("a host");
    command
        .args(["0.0.0.0:7901", &format!("{receiver}:7900")])
        .args(script);
    let process = Process::start("relay", command, &cluster.directory().join("relay.log"));
    eventually("the relay", Duration::from_secs(20), || {
        let mut cat = lab.command(ROUTER, "cat").expect("a router");
        let output = cat.arg("/proc/net/udp").output().ok()?;
        // Port 7901 in hexadecimal.
        String::from_utf8_lossy(&output.stdout)
            .contains(":1EDD ")
            .then_some(())
    });
    process
}

#[test]
fn a_relay_is_counted_to_the_packet() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    let _relay = relay(
        &cluster,
        &[
            "100-104:900", // 1.8 s later, long after the linger
            "3/20:",
            "4/20:",
            "7/20:0,0",
            "15/20:0,40", // the copy comes after 40 others
            "10/20:3",
            "16/40:5",
        ],
    );
    forget(&cluster, &[GENERATOR, RECEIVER]);
    let line = "--udp 500pkt/s --size 100 --gso off --port 7900 --for 3s --interval 500ms \
                --linger 500ms";
    let (document, account) = run(&cluster, line, 0);
    let flow = &flows(&document)[0];
    let sent = number(flow, "/sent/packets");
    assert!(sent > 1_100, "{flow:#}");
    let late = |number: u64| (100..=104).contains(&number);
    let of = |place: u64, every: u64| {
        (0..sent).filter(move |number| number % every == place && !late(*number))
    };
    let held = |place: u64, every: u64, after: u64| {
        let (came, never): (Vec<u64>, Vec<u64>) =
            of(place, every).partition(|number| number + after < sent);
        (came.len() as u64, never.len() as u64)
    };
    let ((reordered_3, never_3), (reordered_5, never_5)) = (held(10, 20, 3), held(16, 40, 5));
    let copies = of(7, 20).count() as u64 + held(15, 20, 40).0;
    let lost = (of(3, 20).count() + of(4, 20).count()) as u64 + never_3 + never_5 + 5;
    assert_eq!(number(flow, "/lost/network"), lost, "{flow:#}");
    assert_eq!(number(flow, "/received/packets"), sent - lost, "{flow:#}");
    assert_eq!(number(flow, "/late"), 5, "{flow:#}");
    assert_eq!(number(flow, "/duplicate"), copies, "{flow:#}");
    let reordered = reordered_3 + reordered_5;
    assert_eq!(number(flow, "/reordered"), reordered, "{flow:#}");
    assert_eq!(number(flow, "/reorder_extent_max"), 5, "{flow:#}");
    // What was held for three packets at 500 a second came 6 ms after it left.
    assert!(figure(flow, "/delay_us/p99") > 3_000.0, "{flow:#}");
    // And the receiver's kernel saw as many.
    let arrived = cluster.lab().counters(RECEIVER).expect("hosts are counted");
    let control = account[&(1, End::Rx)].closed.control_packets.unwrap_or(0);
    assert_eq!(
        arrived.udp().input().to_port(7900).packets(),
        sent - lost + copies + 5 + control
    );
}
