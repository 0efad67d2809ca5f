//! What a thousand slow flows cost: printed, not judged. Run with
//! `cargo test --release -p weir-engine --test crew cost -- --ignored --nocapture --test-threads 1`.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use weir_common::assignment::{Rate, Transport};
use weir_common::id::RunId;
use weir_common::traffic::Law;
use weir_engine::engine::{Event, Sink};
use weir_engine::socket::raise_descriptor_limit;

use crate::pair::{
    Events, MS, TestPolicy, assignment, engine, mirrored, now_ns, segment, session, traffic,
};

/// Forgets rows, as one does whose controller keeps up.
#[derive(Default)]
struct Forgetful {
    rows: AtomicUsize,
    rest: Events,
}

impl Sink for Forgetful {
    fn event(&self, run: RunId, event: Event) {
        match event {
            Event::Record(_) => {
                self.rows.fetch_add(1, Ordering::Relaxed);
            }
            Event::Closed(_) | Event::PeerClosed { .. } => {}
            event => self.rest.event(run, event),
        }
    }
}

fn rss_anon_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("RssAnon"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// CPU time of the process, ticks of 10 ms.
fn cpu_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let after = stat.rsplit_once(") ").unwrap().1;
    let fields: Vec<u64> = after
        .split(' ')
        .skip(11)
        .take(2)
        .map(|n| n.parse().unwrap())
        .collect();
    fields.iter().sum()
}

#[test]
#[ignore = "prints figures; a quiet machine decides them"]
fn cost_of_a_thousand_flows() {
    cost("at the same instants", &Law::Constant);
}

#[test]
#[ignore = "prints figures; a quiet machine decides them"]
fn cost_of_a_thousand_flows_at_instants_of_their_own() {
    cost("at instants of their own", &Law::Exponential { mean: None });
}

fn cost(name: &str, law: &Law) {
    const FLOWS: u32 = 1000;
    const SECONDS: u64 = 20;
    raise_descriptor_limit().unwrap();
    let sessions: Vec<_> = (1..=FLOWS)
        .map(|n| {
            let mut slow = traffic(Transport::Udp, Rate::MilliPacketsPerSecond(10_000), 64);
            slow.arrival = law.clone();
            session(n, slow, vec![segment(n, 0, SECONDS * 1000, 0)])
        })
        .collect();
    let idle_kib = rss_anon_kib();
    let (tx, rx) = (
        Arc::new(Forgetful::default()),
        Arc::new(Forgetful::default()),
    );
    let prepare = |sessions, sink: &Arc<Forgetful>| {
        let mut share = assignment(sessions);
        share.interval_ns = 1000 * MS;
        let sink = Arc::clone(sink) as Arc<dyn Sink>;
        engine(TestPolicy::default())
            .prepare(Arc::new(share), sink)
            .unwrap()
    };
    let theirs = sessions.iter().map(mirrored).collect();
    let rx_run = prepare(theirs, &rx);
    let listening_kib = rss_anon_kib();
    let numbers: Vec<_> = sessions.iter().map(|each| each.session).collect();
    let tx_run = prepare(sessions, &tx);
    for number in numbers {
        tx_run.set_target(number, rx.rest.port(number));
    }
    tx.rest.ready(FLOWS as usize);
    rx.rest.ready(FLOWS as usize);
    let ready_kib = rss_anon_kib();
    let t0_ns = now_ns() + 300 * MS;
    tx_run.start(t0_ns);
    rx_run.start(t0_ns);
    std::thread::sleep(Duration::from_secs(2));
    let (before, begun_ns) = (cpu_ticks(), now_ns());
    std::thread::sleep(Duration::from_secs(SECONDS - 4));
    let elapsed = (now_ns() - begun_ns) as f64 / 1e9;
    let share = (cpu_ticks() - before) as f64 / elapsed;
    let running_kib = rss_anon_kib();
    let threads = fs::read_dir("/proc/self/task").unwrap().count();
    tx.rest.finished();
    rx.rest.finished();
    let rows = tx.rows.load(Ordering::Relaxed) + rx.rows.load(Ordering::Relaxed);
    println!(
        "{FLOWS} flows of 10 pkt/s {name}, both ends in one process: {share:.1} % of a core, {threads} threads, {rows} rows; \
         RssAnon idle {idle_kib}, listening {listening_kib}, ready {ready_kib}, running {running_kib} KiB"
    );
}
