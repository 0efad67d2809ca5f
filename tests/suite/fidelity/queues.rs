//! A queue at the sender's own link, short and deep: the link decides what is lost,
//! nobody waits, and what is still queued at the end is told.

use weir_lab::{Direction, Shape, privilege};
use weir_tests::{Cluster, Ground, needs};

use super::check::{forget, kernel_agrees};
use super::{GENERATOR, RECEIVER, figure, flows, number, run, two_hosts};

#[test]
fn twice_the_rate_of_a_queue_is_lost_at_egress_however_deep_it_is() {
    needs!(Ground::Lab);
    // Where no buffer can be forced, a deep queue reads as blocked: loss.rs has it.
    let deep = (!privilege::is_in_user_namespace()).then_some(600_000);
    for limit in [Some(10_000), deep].into_iter().flatten() {
        let slow = Shape::mbit(5).towards(Direction::Out).limit(limit);
        let cluster = Cluster::in_lab(&two_hosts().shape(GENERATOR, slow), &[GENERATOR, RECEIVER]);
        forget(&cluster, &[GENERATOR, RECEIVER]);
        let line = "--udp 10M --gso off --for 2s --interval 500ms";
        let (document, account) = run(&cluster, line, 0);
        kernel_agrees(&cluster, &account, GENERATOR, RECEIVER);
        let flow = &flows(&document)[0];
        assert_eq!(flow["valid"], true, "{limit} B: {flow:#}");
        // 2.5 MB in 2 s, of which 1.25 MB and what is queued pass, headers included.
        let queued = limit as f64 * 1_400.0 / 1_442.0;
        let passed = (1.25e6 * 1_400.0 / 1_442.0 + queued) / 2.5e6;
        let loss = figure(flow, "/loss");
        assert!(
            (loss - (1.0 - passed)).abs() < 0.1,
            "{limit} B: {loss}, not {}",
            1.0 - passed
        );
        let egress = number(flow, "/lost_detail/egress");
        assert_eq!(egress, number(flow, "/lost/network"), "{limit} B: {flow:#}");
        for part in ["blocked", "refused", "socket"] {
            let path = format!("/lost_detail/{part}");
            assert_eq!(number(flow, &path), 0, "{limit} B, {part}: {flow:#}");
        }
        let rows = cluster.weir(&["records", "--per-end", "--json"]).json();
        let rows = rows.as_array().expect("an array of rows").iter();
        let held_us: u64 = rows.filter_map(|row| row["blocked_us"].as_u64()).sum();
        assert_eq!(held_us, 0, "{limit} B: nothing waited: {flow:#}");
    }
}

/// TCP writes into its buffer and the queue; what is there at the end drains.
#[test]
fn tcp_into_a_slow_queue_drains_what_was_written() {
    needs!(Ground::Lab);
    let slow = Shape::mbit(5).towards(Direction::Out).limit(300_000);
    let cluster = Cluster::in_lab(&two_hosts().shape(GENERATOR, slow), &[GENERATOR, RECEIVER]);
    let (document, _) = run(&cluster, "--tcp max --for 3s --interval 500ms", 0);
    let flow = &flows(&document)[0];
    let (sent, received) = (number(flow, "/sent/bytes"), number(flow, "/received/bytes"));
    let drained = number(flow, "/tcp/drained_bytes");
    assert!(drained > 0, "{flow:#}");
    assert_eq!(number(flow, "/tcp/unread_bytes"), 0, "{flow:#}");
    assert_eq!(sent, received + drained, "{flow:#}");
    // What was received in the window came through the link in that time.
    assert!(figure(flow, "/rate_bps") < 5.1e6, "{flow:#}");
    assert!(figure(flow, "/rates_bps/sent/payload") > figure(flow, "/rate_bps"));
}
