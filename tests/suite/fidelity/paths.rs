//! What a way does to packets: delay on one kernel, the hops, the family.

use weir_common::record::End;
use weir_lab::Lab;
use weir_tests::{Cluster, Ground, needs};

use super::{GENERATOR, RECEIVER, figure, flows, number, on_two_hosts, run, two_hosts};

#[test]
fn delay_on_one_kernel_is_exact() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    let (document, _) = run(
        &cluster,
        "--udp 500pkt/s --size 100 --for 2s --interval 500ms",
        0,
    );
    let flow = &flows(&document)[0];
    let delay = &flow["delay_us"];
    assert_eq!(delay["clock"], "same-kernel");
    assert_eq!(figure(delay, "/bound"), 0.0);
    assert_eq!(
        number(delay, "/n"),
        number(flow, "/received/packets"),
        "every arrival has one"
    );
    let names = ["/min", "/p50", "/p90", "/p99", "/p999", "/max"];
    let figures = names.map(|name| figure(delay, name));
    assert!(figures.is_sorted(), "{delay:#}");
    assert!(figures[0] > 0.0 && figures[5] < 1e6, "{delay:#}");
    assert!(figure(flow, "/jitter_us") < 1e6, "{flow:#}");
    assert!(
        figure(flow, "/pdv_us/p50") <= figure(flow, "/pdv_us/p99"),
        "{flow:#}"
    );
    // Two routers on the way.
    assert_eq!(
        (number(flow, "/ttl/min"), number(flow, "/ttl/max")),
        (62, 62),
        "{flow:#}"
    );
}

#[test]
fn packets_too_small_for_a_stamp_have_no_delay() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    let (document, _) = run(
        &cluster,
        "--udp 200pkt/s --size 16 --for 1s --interval 500ms",
        0,
    );
    let flow = &flows(&document)[0];
    assert!(flow["delay_us"].is_null(), "{flow:#}");
    assert_eq!(
        number(flow, "/received/packets"),
        200,
        "loss is exact all the same"
    );
}

#[test]
fn hosts_with_ipv6_only_are_measured() {
    needs!(Ground::Lab);
    let cluster = with_ipv6_only();
    for traffic in [
        "--udp 300pkt/s --size 100",
        "--tcp 3M --streams 2",
        "--dial to --udp 300pkt/s --streams 2",
    ] {
        let (document, account) = run(&cluster, &format!("{traffic} --for 1s --interval 500ms"), 0);
        let flow = &flows(&document)[0];
        let tuple = flow["tuples"][0].as_str().expect("a tuple");
        assert!(
            tuple.starts_with("[fd00:150::71]:") && tuple.contains(">[fd00:162::71]:"),
            "{tuple}"
        );
        if traffic.contains("udp") {
            let payload = figure(flow, "/rates_bps/sent/payload");
            let ip = figure(flow, "/rates_bps/sent/ip");
            let packets = number(flow, "/sent/packets") as f64;
            assert!(
                (ip - payload - packets * 48.0 * 8.0).abs() < 1.0,
                "48 B of headers: {flow:#}"
            );
            let lab = cluster.lab();
            let target = lab.address_v6(RECEIVER).expect("a host");
            let counted = lab
                .counters(GENERATOR)
                .expect("hosts are counted")
                .udp()
                .output();
            let sent = &account[&(1, End::Tx)].closed;
            let all = sent.total.tx_packets.unwrap_or(0) + sent.control_packets.unwrap_or(0);
            assert_eq!(counted.to(target).packets(), all);
            lab.forget_counts(GENERATOR).expect("hosts are counted");
        }
    }
}

/// Two hosts whose agents have IPv6 addresses alone.
pub(super) fn with_ipv6_only() -> Cluster {
    let lab = Lab::up(&two_hosts()).expect("a lab");
    for host in [GENERATOR, RECEIVER] {
        let address = format!("{}/24", lab.address(host).expect("a host"));
        let mut command = lab.command(host, "ip").expect("a host");
        let status = command
            .args(["address", "delete", &address, "dev", "net0"])
            .status();
        assert!(
            status.expect("ip is there").success(),
            "{host} has no IPv4 address any more"
        );
    }
    let mut cluster = Cluster::around(lab);
    for host in [GENERATOR, RECEIVER] {
        cluster.start_agent(host);
    }
    cluster.await_agents(2);
    cluster
}
