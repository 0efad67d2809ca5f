//! What goes there and back, and what comes altered: told apart from what is lost.

use weir_tests::{Ground, needs};

use super::check::{forget, kernel_agrees};
use super::rules::{OF_FLOWS, Rules};
use super::{GENERATOR, RECEIVER, figure, flows, number, on_two_hosts, run};

/// On the way, in both directions.
const ROUTER: &str = "162-router";

#[test]
fn replies_that_are_lost_are_told_apart_from_packets_that_are() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    let (receiver, generator) = (
        cluster.lab().address(RECEIVER).expect("a host"),
        cluster.lab().address(GENERATOR).expect("a host"),
    );
    let there =
        format!("ip daddr {receiver} {OF_FLOWS} numgen inc mod 7 == 3 counter name there drop");
    let back =
        format!("ip daddr {generator} {OF_FLOWS} numgen inc mod 10 == 0 counter name back drop");
    let rules = Rules::arriving(&cluster, ROUTER, &["there", "back"], &[&there, &back]);
    forget(&cluster, &[GENERATOR, RECEIVER]);
    let line = "--udp 500pkt/s --size 200 --echo --for 2s --interval 500ms --linger 1s \
                --expect udp.rtt.p99<=10s";
    let (document, account) = run(&cluster, line, 0);
    kernel_agrees(&cluster, &account, GENERATOR, RECEIVER);
    let flow = &flows(&document)[0];
    let (lost_there, lost_back) = (rules.packets("there"), rules.packets("back"));
    let (sent, received) = (
        number(flow, "/sent/packets"),
        number(flow, "/received/packets"),
    );
    assert_eq!(lost_there, (sent + 3) / 7, "{flow:#}");
    assert_eq!(number(flow, "/lost/network"), lost_there, "{flow:#}");
    assert_eq!(number(flow, "/echo/replies"), received, "{flow:#}");
    assert_eq!(lost_back, received.div_ceil(10), "{flow:#}");
    assert_eq!(number(flow, "/echo/lost_replies"), lost_back, "{flow:#}");
    let rtt = &flow["rtt_us"];
    assert_eq!(rtt["source"], "echo");
    assert_eq!(number(rtt, "/n"), received - lost_back, "{flow:#}");
    let least = figure(flow, "/delay_us/min");
    assert!(figure(rtt, "/min") > least, "there and back: {flow:#}");
}

#[test]
fn an_altered_payload_is_corrupt_and_lost_where_it_is_compared() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    // A byte of the payload; a link of the kernel leaves the checksum for the wire.
    let alter = format!("{OF_FLOWS} numgen inc mod 9 == 4 counter name altered @th,800,8 set 0xa5");
    for compared in [true, false] {
        let rules = Rules::arriving(&cluster, ROUTER, &["altered"], &[&alter]);
        let verify = if compared { "--verify" } else { "" };
        let line = format!(
            "--udp 500pkt/s --size 200 --gso off {verify} --for 1s --interval 250ms --linger 500ms"
        );
        let (document, _) = run(&cluster, &line, 0);
        let flow = &flows(&document)[0];
        let altered = rules.packets("altered");
        assert!(altered > 40, "{flow:#}");
        let lost = number(flow, "/lost/network");
        assert_eq!(lost, if compared { altered } else { 0 }, "{flow:#}");
        let told = flow["corrupted"].as_u64();
        assert_eq!(told, compared.then_some(altered), "{flow:#}");
    }
}
