//! Nothing is made and nothing vanishes: intervals, totals, result and kernel.

use serde_json::json;
use weir_common::record::End;
use weir_tests::{Ground, needs};

use super::check::{forget, kernel_agrees};
use super::{GENERATOR, RECEIVER, figure, flows, number, on_two_hosts, run};

#[test]
fn udp_is_counted_as_the_kernel_counts_it() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    for line in [
        "--udp 2M --for 1s --interval 200ms",
        "--udp 500pkt/s --size 64 --arrival exponential --for 1.2s --interval 500ms",
        "--udp 3M --streams 2 --for 1s --interval 300ms",
        "--udp 400pkt/s --size 12 --for 500ms",
        "--udp 200pkt/s --size 4000 --for 500ms",
    ] {
        forget(&cluster, &[GENERATOR, RECEIVER]);
        let (document, account) = run(&cluster, line, 0);
        kernel_agrees(&cluster, &account, GENERATOR, RECEIVER);
        let flow = &flows(&document)[0];
        assert_eq!(
            number(flow, "/lost/network"),
            0,
            "{line}: an idle network loses nothing"
        );
        assert!(number(flow, "/received/packets") > 0);
    }
}

#[test]
fn unlimited_udp_is_counted_as_the_kernel_counts_it() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    forget(&cluster, &[GENERATOR, RECEIVER]);
    let (document, account) = run(&cluster, "--udp max --for 1s --interval 250ms", 0);
    kernel_agrees(&cluster, &account, GENERATOR, RECEIVER);
    let flow = &flows(&document)[0];
    assert!(flow["offered"].is_null(), "there is no schedule: {flow:#}");
    assert_eq!(number(flow, "/lost_detail/behind"), 0, "{flow:#}");
    let sent = number(flow, "/sent/packets");
    assert!(sent > 10_000, "{sent} packets in a second");
}

#[test]
fn a_number_of_packets_or_bytes_is_sent_exactly() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    for (line, packets, bytes) in [
        (
            "--udp 1000pkt/s --size 100 --packets 300 --for 2s --interval 200ms",
            300,
            30_000,
        ),
        (
            "--udp 1000pkt/s --size 100 --packets 301 --streams 2 --for 2s --interval 200ms",
            301,
            30_100,
        ),
        (
            "--udp 1000pkt/s --size 100 --bytes 20kB --for 2s --interval 200ms",
            200,
            20_000,
        ),
    ] {
        forget(&cluster, &[GENERATOR, RECEIVER]);
        let (document, account) = run(&cluster, line, 0);
        kernel_agrees(&cluster, &account, GENERATOR, RECEIVER);
        let flow = &flows(&document)[0];
        assert_eq!(number(flow, "/offered/packets"), packets, "{line}");
        assert_eq!(number(flow, "/offered/bytes"), bytes, "{line}");
        let seconds = figure(flow, "/duration_s");
        assert!(
            seconds < 1.9,
            "{line}: the window ends with the last packet, not after {seconds} s"
        );
    }
    for (line, bytes) in [
        ("--tcp 4M --bytes 300kB --for 3s --interval 200ms", 300_000),
        (
            "--tcp max --bytes 3MB --streams 3 --for 3s --interval 200ms",
            3_000_000,
        ),
    ] {
        let (document, _) = run(&cluster, line, 0);
        let flow = &flows(&document)[0];
        assert_eq!(number(flow, "/sent/bytes"), bytes, "{line}");
        assert!(figure(flow, "/duration_s") < 2.9, "{line}: {flow:#}");
    }
}

#[test]
fn warm_up_is_recorded_and_in_no_figure() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    for (line, sent) in [
        (
            "--udp 1000pkt/s --size 100 --for 1.5s --warmup 500ms --interval 200ms",
            "tx_packets",
        ),
        (
            "--tcp 8M --for 1.5s --warmup 500ms --interval 200ms",
            "tx_bytes",
        ),
    ] {
        forget(&cluster, &[GENERATOR, RECEIVER]);
        let (document, account) = run(&cluster, line, 0);
        kernel_agrees(&cluster, &account, GENERATOR, RECEIVER);
        let flow = &flows(&document)[0];
        assert_eq!(flow["window_s"], json!([0.5, 1.5]), "{line}");
        assert_eq!(figure(flow, "/duration_s"), 1.0, "{line}");
        for end in [End::Tx, End::Rx] {
            let kept = &account[&(1, end)];
            let warm: Vec<bool> = kept.sums().map(|row| row.warmup).collect();
            // 0.2 s, 0.2 s and, cut where the window begins, 0.1 s; then 0.1 s and four of 0.2 s, 0.1 s.
            assert_eq!(
                warm.iter().filter(|warm| **warm).count(),
                3,
                "{line} {end:?}: {warm:?}"
            );
            assert!(
                warm.is_sorted_by(|before, after| *before || !*after),
                "{warm:?}"
            );
            let cut = kept.sums().find(|row| !row.warmup).expect("a measured row");
            assert_eq!(cut.start_ns, 500_000_000, "{line} {end:?}");
        }
        let total = |name: &str| {
            let columns = account[&(1, End::Tx)].closed.total.columns();
            columns
                .into_iter()
                .find(|(column, _)| *column == name)
                .and_then(|(_, count)| count)
        };
        let window = number(
            flow,
            if sent == "tx_packets" {
                "/sent/packets"
            } else {
                "/sent/bytes"
            },
        );
        let all = total(sent).expect("a generator counts");
        let share = window as f64 / all as f64;
        assert!(
            (0.5..0.85).contains(&share),
            "{line}: {window} of {all} are measured, not two thirds"
        );
        if sent == "tx_packets" {
            assert_eq!(
                number(flow, "/offered/packets"),
                1000,
                "due in the window, to the packet"
            );
        }
    }
}

#[test]
fn tcp_is_conserved_to_the_byte() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    for (line, limited) in [
        ("--tcp 5M --for 1.5s --interval 500ms", true),
        ("--tcp 5M --streams 4 --for 1.5s --interval 500ms", true),
        ("--tcp 3kbit/s --for 2s --interval 500ms", true),
        ("--tcp max --for 1.5s --interval 500ms", false),
        ("--tcp max --streams 4 --for 1.5s --interval 500ms", false),
    ] {
        let (document, account) = run(&cluster, line, 0);
        let flow = &flows(&document)[0];
        let rate = figure(flow, "/rate_bps");
        let streams = account[&(1, End::Tx)].closed.tuples.len();
        assert_eq!(
            streams,
            if line.contains("streams") { 4 } else { 1 },
            "{line}"
        );
        if limited {
            let asked = figure(flow, "/rates_bps/offered");
            assert!(
                (0.8..=1.01).contains(&(rate / asked)),
                "{line}: {rate} of {asked} bit/s"
            );
        } else {
            assert!(rate > 5e7, "{line}: {rate} bit/s");
        }
    }
}

/// 375 bytes a second, ten writes of at most 38 bytes. What is due at an instant is
/// written at once, or late by what the record says.
#[test]
fn tcp_at_three_kbits_a_second_keeps_to_it_every_second() {
    needs!(Ground::Lab);
    const WRITE_BYTES: f64 = 38.0;
    let cluster = on_two_hosts();
    let (document, account) = run(&cluster, "--tcp 3kbit/s --for 5s --interval 1s", 0);
    let flow = &flows(&document)[0];
    assert_eq!(number(flow, "/offered/bytes"), 5 * 375, "{flow:#}");
    let kept = &account[&(1, End::Tx)];
    let lateness = kept.closed.window.lateness.as_ref();
    let late_ns = lateness.and_then(|lateness| lateness.max_ns());
    let late_bytes = late_ns.expect("paced traffic has it") as f64 / 1e9 * 375.0;
    let rows: Vec<f64> = kept
        .sums()
        .map(|row| row.counters.tx_bytes.unwrap_or(0) as f64)
        .collect();
    assert_eq!(rows.len(), 5);
    for row in &rows {
        let off = (row - 375.0).abs();
        assert!(off <= WRITE_BYTES + late_bytes, "{rows:?}: {flow:#}");
    }
}
