//! What the accounts of a slow flow hold: a process of its own, since what is read is
//! the process's memory.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;

use weir_common::stats::{Histogram, LossWindow};

const FLOWS: u64 = 1_000;
const SECONDS: u64 = 60;
/// Packets a second of each flow.
const RATE: u64 = 10;
const MS: u64 = 1_000_000;

/// Private memory of the process, bytes.
fn anonymous() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.unwrap().parse::<u64>().unwrap() * 1_024
}

/// The accounts of a receiving flow: losses, delays of this row, of the one that is held
/// until it is complete, and of the measured window.
struct Accounts {
    window: LossWindow,
    row: Histogram,
    held: Histogram,
    total: Histogram,
}

#[test]
fn a_thousand_slow_flows_hold_little() {
    let before = anonymous();
    let new = |_| Accounts {
        window: LossWindow::new(2_000 * MS),
        row: Histogram::new(),
        held: Histogram::new(),
        total: Histogram::new(),
    };
    let mut flows: Vec<Accounts> = (0..FLOWS).map(new).collect();
    for second in 0..SECONDS {
        for sequence in second * RATE..(second + 1) * RATE {
            for (number, flow) in (0..).zip(&mut flows) {
                let sent_ns = sequence * 100 * MS;
                // Around 60 us, each flow's own, and now and then some ms.
                let jitter = (sequence * 7_919 + number * 104_729) % 20_000;
                let late = u64::from((sequence + number).is_multiple_of(37)) * 3 * MS;
                let delay_ns = 50_000 + jitter + late;
                // Cohort 1: the measured window of the first segment.
                flow.window
                    .arrival(sequence, Some(sent_ns), sent_ns + delay_ns, 1);
                flow.row.record(delay_ns);
            }
        }
        for flow in &mut flows {
            flow.window.take_interval(0);
            flow.held = std::mem::take(&mut flow.row);
            flow.total.merge(&flow.held);
        }
    }
    let samples: u64 = flows.iter().map(|flow| flow.total.count()).sum();
    assert_eq!(samples, FLOWS * SECONDS * RATE);
    let each = anonymous().saturating_sub(before) / FLOWS;
    println!("{each} B a flow");
    assert!(each <= 6_000, "{each} B a flow");
}
