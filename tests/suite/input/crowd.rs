//! More connections than a controller can use, and fewer descriptors than it
//! would like.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use weir_runtime::{Endpoint, host};
use weir_tests::flood::{Honest, idle};
use weir_tests::{Cluster, Usage, eventually};

use crate::faults::SOON;

/// A cluster whose run 1 has been deleted.
fn cluster() -> Cluster {
    let cluster = Cluster::on_loopback(&[("a1", &["asn=150"]), ("a2", &["asn=151"])]);
    let line = "--from a1 --to a2 --udp 1M --for 1s --ignore behind,frozen";
    cluster.run(&line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(cluster.weir(&["delete", "last"]).code, 0);
    cluster
}

fn await_acks(honest: &Honest, since: Instant) -> Duration {
    eventually("acks of an honest agent", SOON, || {
        (!honest.waits(since, Instant::now()).is_empty()).then(|| since.elapsed())
    })
}

#[test]
fn a_crowd_that_says_nothing_keeps_no_agent_out() {
    host::raise_open_files();
    let most = getrlimit(Resource::Nofile).current.unwrap_or(1_024);
    let count = most.saturating_sub(500).min(10_000) as usize;
    let cluster = cluster();
    let endpoint: Endpoint = cluster.join_endpoint().parse().expect("an endpoint");
    let honest = Honest::start(&cluster.join_endpoint(), "honest");
    await_acks(&honest, Instant::now());
    let pid = cluster.controller().id();
    let before = Usage::of(pid).expect("it lives");
    let crowd = idle(&endpoint, count).expect("descriptors");
    assert!(crowd.len() > count / 2, "{} of {count}", crowd.len());
    let newcomer = Honest::start(&cluster.join_endpoint(), "newcomer");
    let joined = await_acks(&newcomer, Instant::now());
    let after = Usage::of(pid).expect("it lives");
    println!(
        "{} idle, joined in {joined:?}: {before:?} {after:?}",
        crowd.len()
    );
    // Those that have called nothing are few, whoever comes.
    assert!(after.files < before.files + 600, "{before:?} {after:?}");
    let grown = after.anonymous_kib.saturating_sub(before.anonymous_kib);
    assert!(grown < 64 * 1024, "{grown} KiB");
    drop(crowd);
    newcomer.stop().expect("one session");
    honest.stop().expect("one session");
    let log = cluster.weir(&["audit", "--json"]);
    assert!(log.stdout.contains("without a call"), "{log:?}");
    super::protobuf::is_well(&cluster);
}

/// Processor time of a process, in ticks of 10 ms (proc_pid_stat(5)).
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let field = |n: usize| fields[n].parse::<u64>().expect("a number");
    field(11) + field(12)
}

#[test]
fn without_descriptors_it_waits_and_does_not_spin() {
    let cluster = Cluster::new();
    let pid = cluster.controller().id();
    let files = Usage::of(pid).expect("it lives").files as u64;
    let few = Rlimit {
        current: Some(files + 4),
        maximum: Some(files + 4),
    };
    let process = Pid::from_raw(pid as i32);
    prlimit(process, Resource::Nofile, few).expect("our own child");
    let endpoint: Endpoint = cluster.join_endpoint().parse().expect("an endpoint");
    let crowd = idle(&endpoint, 50).expect("descriptors");
    eventually("a warning", SOON, || {
        let log = cluster.controller().output();
        log.contains("accept failed").then_some(())
    });
    let (begun, before) = (Instant::now(), ticks(pid));
    // The time in which it could spin.
    std::thread::sleep(Duration::from_secs(2));
    let busy = (ticks(pid) - before) as f64 / 100.0 / begun.elapsed().as_secs_f64();
    assert!(busy < 0.2, "{:.0} % of a core", busy * 100.0);
    drop(crowd);
    eventually("an answer", SOON, || {
        (cluster.weir(&["runs"]).code == 0).then_some(())
    });
    let log = cluster.controller().output();
    assert_eq!(log.matches("accept failed").count(), 1, "{log}");
}
