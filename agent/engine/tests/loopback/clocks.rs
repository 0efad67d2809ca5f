//! Delay between ends that read different clocks: of another time namespace, of
//! another kernel, of one that drifts.

use std::sync::Arc;

use weir_common::assignment::{Rate, SessionSpec, SocketTraffic, Transport};
use weir_common::record::{FlowClosed, Record};
use weir_engine::clock::{Clock, MonotonicClock};
use weir_engine::engine::{Engine, EngineConfig};

use crate::pair::{
    MS, Pair, TestPolicy, assert_conserved, assert_whole, config, now_ns, segment, session, traffic,
};

/// More than a packet takes over loopback on a busy machine.
const SLOW_NS: u64 = 500 * MS;

/// The host's clock, ahead by so much and running fast by so many millionths.
#[derive(Debug, Clone, Copy)]
struct Foreign {
    ahead_ns: i64,
    since_ns: u64,
    ppm: i64,
}

impl Foreign {
    fn new(ahead_ns: i64, ppm: i64) -> Self {
        Self {
            ahead_ns,
            since_ns: now_ns(),
            ppm,
        }
    }

    fn read(&self, host_ns: u64) -> u64 {
        let elapsed_ns = i128::from(host_ns.saturating_sub(self.since_ns));
        let drifted_ns = elapsed_ns * i128::from(self.ppm) / 1_000_000;
        host_ns.saturating_add_signed(self.ahead_ns + drifted_ns as i64)
    }
}

impl Clock for Foreign {
    fn now_ns(&self) -> u64 {
        self.read(MonotonicClock::with_namespace_offset(0).now_ns())
    }
}

/// A run whose generators read `clock`, and call it `domain`.
fn complete(clock: Foreign, domain: &str, sent: &SocketTraffic, length_ms: u64) -> Pair {
    let session = session(1, sent.clone(), vec![segment(1, 0, length_ms, 0)]);
    complete_session(clock, domain, session)
}

fn complete_session(clock: Foreign, domain: &str, session: SessionSpec) -> Pair {
    let sender = Engine::new(EngineConfig {
        clock: Arc::new(clock),
        clock_domain: domain.to_owned(),
        ..config(TestPolicy::default())
    });
    let pair = Pair::prepare_with(&sender, vec![session]);
    pair.tx.ready(1);
    pair.rx.ready(1);
    let t0_ns = now_ns() + 100 * MS;
    pair.tx_run.start(clock.read(t0_ns));
    pair.rx_run.start(t0_ns);
    pair.tx.finished();
    pair.rx.finished();
    pair
}

fn paced() -> SocketTraffic {
    traffic(Transport::Udp, Rate::MilliPacketsPerSecond(500_000), 100)
}

/// The least and largest delay of a flow, and their bound.
fn delay(closed: &FlowClosed) -> (u64, u64, Option<u64>) {
    let delay = closed.window.delay.as_ref().unwrap();
    (
        delay.min_ns().unwrap(),
        delay.max_ns().unwrap(),
        closed.window.delay_bound_ns,
    )
}

fn bounds(rows: &[Record]) -> Vec<Option<u64>> {
    let delays = rows.iter().filter_map(|row| row.delay.as_ref());
    delays.map(|delay| delay.delay_bound_ns).collect()
}

#[test]
fn a_clock_of_no_name_is_asked_for() {
    // Half a second: within what two readings of one clock may differ by.
    for (ahead_ns, domain) in [(500_000_000, ""), (86_400_000_000_000, "another kernel")] {
        let pair = complete(Foreign::new(ahead_ns, 0), domain, &paced(), 1000);
        let tx = assert_whole(&pair.tx, 1);
        let rx = assert_whole(&pair.rx, 1);
        assert_conserved(&tx, &rx);
        let (least_ns, most_ns, bound_ns) = delay(&rx);
        let bound_ns = bound_ns.unwrap();
        assert!(bound_ns > 0, "nothing estimated is exact");
        assert!(bound_ns < SLOW_NS, "{domain:?}: {bound_ns}");
        assert!(
            most_ns <= SLOW_NS + bound_ns,
            "{domain:?}: {least_ns} to {most_ns}"
        );
        let rows = pair.rx.rows(1);
        let of_rows = bounds(&rows);
        assert!(of_rows.len() >= 9, "{of_rows:?}");
        assert!(of_rows.iter().all(|bound| bound.is_some_and(|ns| ns > 0)));
        assert!(of_rows.is_sorted(), "it grows: {of_rows:?}");
        assert_eq!(tx.peer.map(|peer| peer.packets), rx.total.rx_packets);
        assert!(
            rows.iter()
                .all(|row| row.counters.rx_of_tx_packets.is_none()),
            "what was sent in a row is known by one clock only"
        );
    }
}

#[test]
fn an_estimate_is_not_far_from_what_one_clock_says() {
    let exact = Pair::complete(vec![session(1, paced(), vec![segment(1, 0, 1000, 0)])]);
    let (least_ns, most_ns, bound_ns) = delay(&exact.rx.closed(1));
    assert_eq!(bound_ns, Some(0));
    assert!(least_ns > 0 && most_ns < SLOW_NS, "{least_ns} to {most_ns}");
}

#[test]
fn a_clock_that_drifts_widens_the_bound() {
    // 5 ms in a second, fifty times what quartz clocks drift.
    for ppm in [5_000, -5_000] {
        let clock = Foreign::new(7_000_000_000, ppm);
        let pair = complete(clock, "another kernel", &paced(), 1000);
        let (_, most_ns, bound_ns) = delay(&pair.rx.closed(1));
        let bound_ns = bound_ns.unwrap();
        assert!(bound_ns >= 4 * MS, "{ppm}: {bound_ns}");
        assert!(most_ns <= SLOW_NS + bound_ns, "{ppm}: {most_ns} {bound_ns}");
        let of_rows = bounds(&pair.rx.rows(1));
        assert!(
            of_rows.iter().flatten().all(|&ns| ns < bound_ns),
            "rows go out before it is known: {of_rows:?}"
        );
    }
}

#[test]
fn the_end_that_listens_is_asked_as_well() {
    let mut dialled = session(1, paced(), vec![segment(1, 0, 500, 0)]);
    dialled.dials = false;
    let pair = complete_session(Foreign::new(3_000_000_000, 0), "", dialled);
    let (_, most_ns, bound_ns) = delay(&pair.rx.closed(1));
    assert!(bound_ns.is_some_and(|ns| ns > 0 && most_ns <= SLOW_NS + ns));
}

#[test]
fn one_name_does_not_make_one_clock() {
    // As of a copy of a virtual machine that kept its boot id.
    let pair = complete(
        Foreign::new(60_000_000_000, 0),
        "this process",
        &paced(),
        500,
    );
    let (_, most_ns, bound_ns) = delay(&pair.rx.closed(1));
    assert!(bound_ns.is_some_and(|ns| ns > 0 && most_ns <= SLOW_NS + ns));
}
