//! Slow streams share threads; fast ones have their own; none holds up another.
//!
//! A process apart from the other tests over loopback, whose schedules a thousand
//! flows beside them would delay.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../loopback/pair.rs"]
mod pair;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Instant;

use weir_common::assignment::{Rate, Transport};
use weir_common::record::{End, Ending};
use weir_engine::engine::{Engine, EngineConfig, Event};
use weir_engine::socket::{raise_descriptor_limit, thread_cpus};
use weir_wire::handshake::Answer;

use crate::pair::{
    Events, MS, NONCE, Pair, TestPolicy, assert_conserved, assert_whole, assignment, config,
    engine, now_ns, segment, session, traffic,
};

/// Names of the process's threads; other tests have theirs at the same time.
fn threads() -> BTreeSet<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.map(|name| name.trim().to_owned()).collect()
}

#[test]
fn a_thousand_slow_flows_have_no_threads_and_a_fast_one_has() {
    const SLOW: u32 = 1000;
    const FIRST: u32 = 70_000;
    const FAST: u32 = 80_000;
    raise_descriptor_limit().unwrap();
    let slow = (FIRST..FIRST + SLOW).map(|n| {
        let trickle = traffic(Transport::Udp, Rate::MilliPacketsPerSecond(10_000), 64);
        session(n, trickle, vec![segment(n, 0, 1000, 0)])
    });
    let fast = traffic(Transport::Udp, Rate::MilliPacketsPerSecond(2_000_000), 64);
    let fast = session(FAST, fast, vec![segment(FAST, 0, 1000, 0)]);
    let sessions: Vec<_> = slow.chain([fast]).collect();
    let count = sessions.len();
    let begun = Instant::now();
    let pair = Pair::prepare(sessions);
    pair.tx.ready(count);
    pair.rx.ready(count);
    // A few seconds are expected; both ends are in this process, beside other tests.
    let ready_s = begun.elapsed().as_secs();
    assert!(ready_s < 30, "ready after {ready_s} s");
    pair.start();
    pair.rx.wait("a row of the fast flow", |events| {
        let fast = |event: &Event| matches!(event, Event::Record(row) if row.flow.0 == FAST);
        events.iter().any(fast).then_some(())
    });
    let threads = threads();
    let own = |n: u32| threads.contains(&format!("weir-{n}"));
    assert!(own(FAST), "{threads:?}");
    assert!(!(FIRST..FIRST + SLOW).any(own), "{threads:?}");
    pair.tx.finished();
    pair.rx.finished();
    for flow in FIRST..FIRST + SLOW {
        let (tx, rx) = (assert_whole(&pair.tx, flow), assert_whole(&pair.rx, flow));
        assert_conserved(&tx, &rx);
        assert_eq!(tx.total.offered_packets, Some(10));
        for end in [&tx, &rx] {
            assert_eq!(end.path.thread.as_deref(), Some("shared"));
            assert!(end.link && end.window.cpu_us.is_some());
        }
    }
    let (tx, rx) = (assert_whole(&pair.tx, FAST), assert_whole(&pair.rx, FAST));
    assert_eq!(tx.total.offered_packets, Some(2000));
    assert_eq!(tx.path.thread.as_deref(), Some("own"));
    assert_eq!(rx.path.thread.as_deref(), Some("own"));
}

#[test]
fn a_stop_ends_all_that_share_a_thread_at_once() {
    let sessions = (1..=300).map(|n| {
        // The next departure is up to 10 s away.
        let rare = traffic(Transport::Udp, Rate::MilliPacketsPerSecond(100), 64);
        session(n, rare, vec![segment(n, 0, 60_000, 0)])
    });
    let pair = Pair::prepare(sessions.collect());
    pair.tx.ready(300);
    pair.rx.ready(300);
    let t0_ns = now_ns() + 100 * MS;
    pair.tx_run.start(t0_ns);
    pair.rx_run.start(t0_ns);
    pair.rx.wait("rows of every flow", |events| {
        let rows = events.iter().filter_map(|event| match event {
            Event::Record(row) => Some(row.flow),
            _ => None,
        });
        (rows.collect::<BTreeSet<_>>().len() == 300).then_some(())
    });
    let stopped_ns = now_ns() - t0_ns;
    pair.tx_run.stop("enough");
    pair.rx_run.stop("enough");
    pair.tx.finished();
    pair.rx.finished();
    for flow in 1..=300 {
        let (tx, rx) = (assert_whole(&pair.tx, flow), assert_whole(&pair.rx, flow));
        assert_conserved(&tx, &rx);
        let rows = pair.tx.rows(flow);
        let last = rows.last().unwrap();
        // 100 ms are promised.
        let late_ms = (last.start_ns + last.length_ns).saturating_sub(stopped_ns) / MS;
        assert!(late_ms < 1000, "flow {flow} went on for {late_ms} ms");
        assert!(matches!(tx.ending, Ending::Stopped { .. }));
    }
}

#[test]
fn a_peer_that_breaks_off_does_not_disturb_those_on_its_thread() {
    // All of 1.5 s, but for what a busy machine may withhold of the last writes.
    const ENOUGH: std::ops::RangeInclusive<usize> = 12_000..=15_000;
    let tcp = |n| {
        let paced = traffic(Transport::Tcp, Rate::BitsPerSecond(80_000), 0);
        session(n, paced, vec![segment(n, 0, 1500, 0)])
    };
    let pair_sessions: Vec<_> = (1..=20).map(tcp).collect();
    let pair = Pair::prepare(pair_sessions);
    pair.tx.ready(20);
    pair.rx.ready(20);
    // Two more generators share the one worker of their run; the peer of one resets
    // its connection once data has come.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let broken = Arc::new(Events::default());
    let run = engine(TestPolicy::default())
        .prepare(
            Arc::new(assignment(vec![tcp(1), tcp(2)])),
            Arc::clone(&broken) as _,
        )
        .unwrap();
    for n in [1, 2] {
        run.set_target(tcp(n).session, port);
    }
    // Both before an answer, after which the link would be dialled.
    let mut streams = Vec::from([(); 2].map(|()| listener.accept().unwrap().0));
    for data in &mut streams {
        let mut preamble = [0; 9];
        data.read_exact(&mut preamble).unwrap();
        data.write_all(&Answer::consent(NONCE)).unwrap();
    }
    drop(listener); // no link: the flows run without
    broken.ready(2);
    pair.start();
    run.start(now_ns());
    let mut byte = [0];
    let mut first = streams.remove(0);
    first.read_exact(&mut byte).unwrap();
    drop(first); // unread data: a reset
    let mut rest = Vec::new();
    streams.remove(0).read_to_end(&mut rest).unwrap();
    broken.finished();
    let ends = [1, 2].map(|flow| assert_whole(&broken, flow));
    let failed = |ending: &Ending| matches!(ending, Ending::Failed { .. });
    assert_eq!(ends.iter().filter(|end| failed(&end.ending)).count(), 1);
    let lasting = ends.iter().find(|end| !failed(&end.ending)).unwrap();
    assert_eq!(lasting.total.tx_bytes, Some(rest.len() as u64));
    assert!(ENOUGH.contains(&rest.len()), "{}", rest.len());
    pair.tx.finished();
    pair.rx.finished();
    for flow in 1..=20 {
        let (tx, rx) = (assert_whole(&pair.tx, flow), assert_whole(&pair.rx, flow));
        assert_eq!(
            (&tx.ending, &rx.ending),
            (&Ending::Completed, &Ending::Completed)
        );
        let sent = tx.total.tx_bytes.unwrap() as usize;
        assert!(ENOUGH.contains(&sent), "flow {flow}: {sent}");
    }
}

#[test]
fn streams_are_kept_to_the_cpus_of_the_list() {
    let cpu = *thread_cpus().unwrap().last().unwrap();
    let pinned = Engine::new(EngineConfig {
        cpus: Some(cpu.to_string().parse().unwrap()),
        ..config(TestPolicy::default())
    });
    let rate = |pps: u64| traffic(Transport::Udp, Rate::MilliPacketsPerSecond(pps * 1000), 64);
    let slow = session(1, rate(100), vec![segment(1, 0, 500, 0)]);
    let fast = session(2, rate(2000), vec![segment(2, 0, 500, 0)]);
    let pair = Pair::prepare_with(&pinned, vec![slow, fast]);
    pair.tx.ready(2);
    pair.rx.ready(2);
    pair.start();
    pair.tx.finished();
    pair.rx.finished();
    for (flow, thread) in [(1, "shared"), (2, "own")] {
        let tx = assert_whole(&pair.tx, flow);
        assert_eq!(tx.end, End::Tx);
        assert_eq!(tx.path.thread.as_deref(), Some(thread));
        assert_eq!(tx.path.cpus, Some(cpu.to_string()), "flow {flow}");
        assert_eq!(
            pair.rx.closed(flow).path.cpus,
            None,
            "the other engine is free"
        );
    }
}
