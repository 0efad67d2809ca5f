//! Marks of packets as a router's rules match them on the wire, and as the receiver
//! tells of them.

use serde_json::json;
use weir_tests::{Ground, needs};

use super::paths::with_ipv6_only;
use super::rules::{OF_FLOWS, Rules};
use super::{RECEIVER, flows, number, on_two_hosts, run};

/// Next to the receiver.
const ROUTER: &str = "162-router";

#[test]
fn marks_are_on_the_wire_and_the_receiver_sees_them() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    let marked = format!("{OF_FLOWS} ip dscp ef ip ecn ce ip ttl 7 counter name marked");
    let every = format!("{OF_FLOWS} counter name every");
    let rules = Rules::arriving(&cluster, RECEIVER, &["marked", "every"], &[&marked, &every]);
    let line = "--udp 500pkt/s --size 100 --ttl 9 --dscp ef --ecn ce --for 1s --interval 250ms";
    let (document, _) = run(&cluster, line, 0);
    let flow = &flows(&document)[0];
    let received = number(flow, "/received/packets");
    assert!(received > 400, "{flow:#}");
    assert_eq!(
        (rules.packets("marked"), rules.packets("every")),
        (received, received)
    );
    assert_eq!(number(flow, "/ce"), received, "{flow:#}");
    assert_eq!(flow["dscp_seen"], json!([46]), "{flow:#}");
    // Two routers on the way.
    assert_eq!(flow["ttl"], json!({ "min": 7, "max": 7, "changes": 0 }));
}

#[test]
fn tcp_is_marked_whoever_dials() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    // Data only: the flow link and acknowledgements are not the flow's.
    let data = "meta l4proto tcp meta length > 1000";
    let marked = format!("{data} ip dscp af41 ip ttl 9 counter name marked");
    let every = format!("{data} counter name every");
    for traffic in ["--tcp 4M --streams 2", "--dial to --tcp 4M"] {
        let rules = Rules::arriving(&cluster, RECEIVER, &["marked", "every"], &[&marked, &every]);
        let line = format!("{traffic} --dscp af41 --ttl 11 --for 1s --interval 250ms");
        let (document, _) = run(&cluster, &line, 0);
        let seen = rules.packets("every");
        assert!(seen > 20, "{traffic}: {document:#}");
        assert_eq!(rules.packets("marked"), seen, "{traffic}: {document:#}");
    }
}

#[test]
fn what_a_router_changes_is_told() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    let every_third =
        format!("{OF_FLOWS} numgen inc mod 3 == 0 counter name third ip dscp set cs1");
    let congested = format!("{OF_FLOWS} numgen inc mod 4 == 1 counter name fourth ip ecn set ce");
    // The first 200 packets come as over another path.
    let shorter = format!("{OF_FLOWS} numgen inc mod 1000000 < 200 ip ttl set 40");
    let rules = Rules::arriving(
        &cluster,
        ROUTER,
        &["third", "fourth"],
        &[&every_third, &congested, &shorter],
    );
    let line = "--udp 500pkt/s --size 100 --dscp af41 --ecn ect0 --for 1s --interval 250ms";
    let (document, _) = run(&cluster, line, 0);
    let flow = &flows(&document)[0];
    let received = number(flow, "/received/packets");
    assert_eq!(rules.packets("third"), received.div_ceil(3));
    assert_eq!(flow["dscp_seen"], json!([8, 34]), "{flow:#}");
    assert_eq!(number(flow, "/ce"), rules.packets("fourth"), "{flow:#}");
    assert_eq!(number(flow, "/ce"), (received + 2) / 4, "{flow:#}");
    assert_eq!(flow["ttl"], json!({ "min": 39, "max": 62, "changes": 1 }));
}

#[test]
fn flow_labels_and_marks_of_ipv6_are_on_the_wire() {
    needs!(Ground::Lab);
    let cluster = with_ipv6_only();
    let header = "ip6 flowlabel 0xbeef ip6 dscp cs5 ip6 hoplimit 9";
    for (traffic, protocol) in [
        ("--udp 500pkt/s --size 100 --ecn ect1", OF_FLOWS),
        ("--dial to --udp 500pkt/s --size 100 --ecn ect1", OF_FLOWS),
        // Data only: the flow link and acknowledgements are not the flow's.
        (
            "--tcp 2M --streams 2",
            "meta l4proto tcp meta length > 1000",
        ),
    ] {
        let ecn = if traffic.contains("ecn") {
            "ip6 ecn ect1"
        } else {
            ""
        };
        let marked = format!("{protocol} {header} {ecn} counter name marked");
        let every = format!("{protocol} counter name every");
        let rules = Rules::arriving(&cluster, RECEIVER, &["marked", "every"], &[&marked, &every]);
        let line =
            format!("{traffic} --flow-label 48879 --dscp cs5 --ttl 11 --for 1s --interval 250ms");
        let (document, _) = run(&cluster, &line, 0);
        let flow = &flows(&document)[0];
        assert_eq!(
            rules.packets("marked"),
            rules.packets("every"),
            "{traffic}: {flow:#}"
        );
        if flow["transport"] == "udp" {
            let received = number(flow, "/received/packets");
            assert_eq!(rules.packets("marked"), received, "{traffic}: {flow:#}");
            assert_eq!(flow["dscp_seen"], json!([40]), "{traffic}: {flow:#}");
            assert_eq!(number(flow, "/ce"), 0, "{traffic}: {flow:#}");
            assert_eq!(flow["ttl"], json!({ "min": 9, "max": 9, "changes": 0 }));
        } else {
            assert!(rules.packets("marked") > 20, "{traffic}: {flow:#}");
        }
    }
}
