//! Loss is told by its place: the sender's own queue, the way, the socket.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use weir_common::record::End;
use weir_lab::{Direction, Loss, Shape, privilege};
use weir_tests::{Cluster, Ground, eventually, needs};

use super::check::{forget, kernel_agrees};
use super::{GENERATOR, RECEIVER, figure, flows, number, run, two_hosts, warnings};

#[test]
fn the_senders_own_queue_loses_on_the_network() {
    needs!(Ground::Lab);
    let slow = Shape::mbit(5).towards(Direction::Out);
    let topology = two_hosts().shape(GENERATOR, slow);
    let cluster = Cluster::in_lab(&topology, &[GENERATOR, RECEIVER]);
    forget(&cluster, &[GENERATOR, RECEIVER]);
    let line = "--udp 10M --for 3s --interval 500ms --expect udp.loss.egress>=10%";
    let (document, account) = run(&cluster, line, 0);
    kernel_agrees(&cluster, &account, GENERATOR, RECEIVER);
    let flow = &flows(&document)[0];
    assert_eq!(flow["valid"], true, "{flow:#}");
    let loss = figure(flow, "/loss");
    assert!(
        (0.35..0.65).contains(&loss),
        "10 into 5 Mbit/s loses about half, not {loss}"
    );
    let (egress, path) = (
        number(flow, "/lost_detail/egress"),
        number(flow, "/lost_detail/path"),
    );
    assert_eq!(egress + path, number(flow, "/lost/network"));
    assert_eq!(path, 0, "all of it is known to be the host's own: {flow:#}");
    assert_eq!(number(flow, "/lost/sender"), 0, "{flow:#}");
}

/// What an ordinary user may give a socket as its send buffer, bytes as asked for.
/// The kernel doubles it, and counts packets with their bookkeeping.
fn most_allowed() -> u64 {
    let most = fs::read_to_string("/proc/sys/net/core/wmem_max").expect("Linux has it");
    most.trim().parse().expect("a number of bytes")
}

/// In a user namespace no buffer can be forced. Where the queue is deeper than the
/// buffer that one gets, the socket is full before the queue is.
#[test]
fn a_queue_deeper_than_the_buffer_reads_as_blocked() {
    needs!(Ground::UserNamespace);
    let deep = Shape::mbit(20)
        .towards(Direction::Out)
        .limit(4 * most_allowed());
    let cluster = Cluster::in_lab(&two_hosts().shape(GENERATOR, deep), &[GENERATOR, RECEIVER]);
    let line = "--udp 80M --for 2s --interval 500ms --linger 6s --expect udp.sent_ratio>=90%";
    let (document, account) = run(&cluster, line, 1);
    kernel_agrees(&cluster, &account, GENERATOR, RECEIVER);
    let flow = &flows(&document)[0];
    assert_eq!(
        flow["valid"], true,
        "back-pressure is no fault of the measurement: {flow:#}"
    );
    let blocked = number(flow, "/lost_detail/blocked");
    assert!(blocked > 0, "{flow:#}");
    assert_eq!(number(flow, "/lost_detail/egress"), 0, "{flow:#}");
    let warnings = warnings(flow);
    for code in ["blocked", "buffer-below-queue"] {
        assert!(warnings.contains(&code), "{code}: {warnings:?}");
    }
    assert_eq!(
        account[&(1, End::Tx)].closed.path.buffer_forced,
        Some(false)
    );
    let expectation = &document["expectations"][0];
    let ratio = number(flow, "/sent/packets") as f64 / number(flow, "/offered/packets") as f64;
    assert_eq!(expectation["pass"], false);
    assert!(
        (figure(expectation, "/measured") - ratio).abs() < 1e-9,
        "{expectation:#}"
    );
}

/// Where a buffer may be forced it grows until the queue behind it decides.
#[test]
fn a_forced_buffer_grows_beyond_the_queue() {
    needs!(Ground::Lab);
    if privilege::is_in_user_namespace() {
        return; // nothing can be forced there: the test above
    }
    // Deeper than 4 MiB, the buffer to begin with, and passed within the linger.
    let deep = Shape::mbit(40).towards(Direction::Out).limit(10_000_000);
    let cluster = Cluster::in_lab(&two_hosts().shape(GENERATOR, deep), &[GENERATOR, RECEIVER]);
    forget(&cluster, &[GENERATOR, RECEIVER]);
    let line = "--udp 120M --for 2s --interval 500ms --linger 5s";
    let (document, account) = run(&cluster, line, 0);
    kernel_agrees(&cluster, &account, GENERATOR, RECEIVER);
    let flow = &flows(&document)[0];
    assert_eq!(number(flow, "/lost_detail/blocked"), 0, "{flow:#}");
    assert!(number(flow, "/lost_detail/egress") > 0, "{flow:#}");
    assert_eq!(number(flow, "/lost_detail/path"), 0, "{flow:#}");
    assert!(number(flow, "/path/sndbuf_bytes") > 8 << 20, "{flow:#}");
}

#[test]
fn loss_on_the_way_is_what_the_kernel_says() {
    needs!(Ground::Lab);
    let loss = Loss::percent(2).towards(Direction::In);
    let topology = two_hosts().loss("162-router@ix100", loss);
    let cluster = Cluster::in_lab(&topology, &[GENERATOR, RECEIVER]);
    for streams in ["1", "2"] {
        forget(&cluster, &[GENERATOR, RECEIVER]);
        let line =
            format!("--udp 2000pkt/s --size 100 --streams {streams} --for 2s --interval 500ms");
        let (document, account) = run(&cluster, &line, 0);
        kernel_agrees(&cluster, &account, GENERATOR, RECEIVER);
        let flow = &flows(&document)[0];
        let lost = number(flow, "/lost/network");
        // Binomial with n = 4,000: ten standard deviations are 89 packets.
        assert!((1..=170).contains(&lost), "{lost} of 4,000 at 2 %");
        let counted = |host: &str| {
            let counters = cluster.lab().counters(host).expect("hosts are counted");
            counters
                .udp()
                .to(cluster.lab().address(RECEIVER).expect("it is there"))
        };
        let (sent, received) = (counted(GENERATOR).output(), counted(RECEIVER).input());
        let control = |end| account[&(1, end)].closed.control_packets.unwrap_or(0);
        let hellos_lost = control(End::Tx) - control(End::Rx);
        assert_eq!(sent.packets() - received.packets() - hellos_lost, lost);
        assert_eq!(number(flow, "/lost_detail/path"), lost);
        let bursts = &flow["bursts"];
        assert!(
            figure(bursts, "/mean") >= 1.0 && number(bursts, "/max") >= 1,
            "{flow:#}"
        );
        assert!(number(flow, "/lost_detail/head") + number(flow, "/lost_detail/tail") <= lost);
    }
}

#[test]
fn loss_across_joined_phases_is_lost_once() {
    needs!(Ground::Lab);
    let loss = Loss::percent(5).towards(Direction::In);
    let topology = two_hosts().loss("162-router@ix100", loss);
    let cluster = Cluster::in_lab(&topology, &[GENERATOR, RECEIVER]);
    forget(&cluster, &[GENERATOR, RECEIVER]);
    let line = "--udp 500pkt/s --size 64 --name first --for 700ms --warmup 300ms --interval 200ms \
                --then --udp 700pkt/s --size 64 --name second --for 700ms --pause 0s \
                --always --udp 1500pkt/s --size 100 --streams 2 --name probe";
    let (document, account) = run(&cluster, line, 0);
    kernel_agrees(&cluster, &account, GENERATOR, RECEIVER);
    assert_eq!(flows(&document).len(), 4);
    let probes = flows(&document)
        .iter()
        .filter(|flow| flow["set"] == "probe");
    for probe in probes {
        assert!(number(probe, "/lost/network") > 0, "{probe:#}");
    }
}

/// A receiver that does not run leaves its packets in the socket's buffer until that
/// is full. What the kernel drops then is the receiver's loss, not the network's.
#[test]
fn what_the_socket_drops_is_the_receivers() {
    needs!(Ground::Lab);
    let cluster = Cluster::in_lab(&two_hosts(), &[GENERATOR, RECEIVER]);
    let lab = cluster.lab();
    let line = format!(
        "run --json --from {GENERATOR} --to {RECEIVER} --udp 4000pkt/s --size 1400 --for 4s \
         --interval 500ms --ignore behind,frozen"
    );
    let mut command = cluster.command(&super::words(&line));
    let child = command.stdout(Stdio::piped()).spawn().expect("weir runs");
    let arrived = || {
        let counters = lab.counters(RECEIVER).expect("hosts are counted");
        counters.udp().input().packets()
    };
    let await_packets = |count: u64| {
        eventually("packets", Duration::from_secs(30), || {
            (arrived() > count).then_some(())
        });
    };
    await_packets(1_000);
    // At 2,304 B of bookkeeping a packet, 8 MiB hold 3,640 of them.
    cluster.agent(RECEIVER).signal("STOP");
    await_packets(arrived() + 6_000);
    cluster.agent(RECEIVER).signal("CONT");
    let output = child.wait_with_output().expect("our own child");
    let document: Value = serde_json::from_slice(&output.stdout).expect("a result");
    let account = super::conserved(&cluster, &document);
    kernel_agrees(&cluster, &account, GENERATOR, RECEIVER);
    let flow = &flows(&document)[0];
    let receiver = number(flow, "/lost/receiver");
    assert!(receiver > 1_000, "{flow:#}");
    assert_eq!(number(flow, "/lost/network"), 0, "{flow:#}");
    assert_eq!(
        figure(flow, "/loss"),
        0.0,
        "the network lost nothing: {flow:#}"
    );
}

#[test]
fn loss_at_the_tail_counts() {
    needs!(Ground::Lab);
    let cluster = Cluster::in_lab(&two_hosts(), &[GENERATOR, RECEIVER]);
    let lab = cluster.lab();
    let line = format!(
        "run --json --from {GENERATOR} --to {RECEIVER} --udp 500pkt/s --size 100 --for 3s \
         --interval 500ms --linger 1s --ignore behind,frozen"
    );
    let mut command = cluster.command(&super::words(&line));
    let child = command.stdout(Stdio::piped()).spawn().expect("weir runs");
    let arrived = || {
        let counters = lab.counters(RECEIVER).expect("hosts are counted");
        counters.udp().input().packets()
    };
    eventually("packets", Duration::from_secs(30), || {
        (arrived() > 300).then_some(())
    });
    // From now on no datagram arrives; the closing exchange is TCP.
    let mut nft = lab.command(RECEIVER, "nft").expect("a host");
    let rule = "table inet silence { chain c { type filter hook prerouting priority -300; \
                meta l4proto udp drop; }; }";
    let status = nft.arg(format!("add {rule}")).status();
    assert!(status.expect("nft is there").success());
    let before = arrived();
    let output = child.wait_with_output().expect("our own child");
    let document: Value = serde_json::from_slice(&output.stdout).expect("a result");
    let account = super::conserved(&cluster, &document);
    kernel_agrees(&cluster, &account, GENERATOR, RECEIVER);
    let flow = &flows(&document)[0];
    let sent = number(flow, "/sent/packets");
    assert_eq!(number(flow, "/received/packets") + 1, before, "{flow:#}");
    let tail = number(flow, "/lost_detail/tail");
    assert_eq!(
        tail,
        sent + 1 - before,
        "all of the loss is at the tail: {flow:#}"
    );
    assert_eq!(number(flow, "/lost/network"), tail, "{flow:#}");
    assert_eq!(number(flow, "/bursts/max"), tail, "{flow:#}");
}
