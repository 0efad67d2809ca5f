//! A receiver that stands still: what its own buffer loses is never the network's.

use weir_common::record::End;
use weir_tests::{Cluster, Ground, needs};

use super::check::{forget, kernel_agrees};
use super::{GENERATOR, RECEIVER, await_packets, during, flows, number, on_two_hosts, warnings};

/// Stops the receiver's agent until so many more packets have reached its host.
fn freeze(cluster: &Cluster, packets: u64) {
    await_packets(cluster, End::Rx, 500);
    let agent = cluster.agent(RECEIVER);
    agent.signal("STOP");
    await_packets(cluster, End::Rx, packets);
    agent.signal("CONT");
}

#[test]
fn a_frozen_receiver_with_a_small_buffer_loses_by_itself() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    forget(&cluster, &[GENERATOR, RECEIVER]);
    // 300 ms of the rate; 64 KiB hold some 50 of them.
    let line = "--udp 3000pkt/s --size 1000 --gso off --window 64KiB --for 2s --linger 1s";
    let (document, account) = during(&cluster, line, || freeze(&cluster, 900));
    kernel_agrees(&cluster, &account, GENERATOR, RECEIVER);
    let flow = &flows(&document)[0];
    assert!(number(flow, "/lost/receiver") > 700, "{flow:#}");
    assert_eq!(number(flow, "/lost/network"), 0, "{flow:#}");
    assert_eq!(
        number(flow, "/lost_detail/socket"),
        number(flow, "/lost/receiver")
    );
    assert!(!warnings(flow).contains(&"drops-estimated"), "{flow:#}");
}

/// With bundles the kernel counts what it drops in bundles.
#[test]
fn a_frozen_receiver_of_bundles_loses_by_itself_and_says_that_it_estimates() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    for traffic in [
        "--udp 20000pkt/s --size 1000 --gso on",
        "--udp max --size 1400",
    ] {
        forget(&cluster, &[GENERATOR, RECEIVER]);
        let line = format!("{traffic} --window 256KiB --for 2s --linger 1s");
        let (document, account) = during(&cluster, &line, || freeze(&cluster, 1_500));
        kernel_agrees(&cluster, &account, GENERATOR, RECEIVER);
        let flow = &flows(&document)[0];
        assert!(number(flow, "/lost/receiver") > 1_500, "{flow:#}");
        assert_eq!(number(flow, "/lost/network"), 0, "{flow:#}");
        assert!(warnings(flow).contains(&"drops-estimated"), "{flow:#}");
        let rows = cluster.weir(&["records", "--per-end", "--json"]).json();
        let rows = rows.as_array().expect("an array of rows");
        let mut of_receiver = rows.iter().filter(|row| row["end"] == "rx");
        assert!(of_receiver.all(|row| row["flags"].to_string().contains("estimated")));
    }
}
