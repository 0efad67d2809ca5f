//! The controller dies and comes back. Agents need none once T0 is known.

use std::thread;
use std::time::Duration;

use super::{Background, await_records, await_state, pair, told, traffic, whole};

#[test]
fn a_controller_killed_in_mid_run_loses_nothing_and_counts_nothing_twice() {
    let mut cluster = pair();
    let run = Background::start(&cluster, &format!("run {}", traffic("5s")));
    await_records(&cluster, "r-0001", 8);
    cluster.kill_controller();
    // The agents measure on without it for some intervals.
    thread::sleep(Duration::from_secs(1));
    cluster.start_controller();
    await_records(&cluster, "r-0001", 30);
    // And again, at once: this time something is most likely on its way.
    cluster.kill_controller();
    cluster.start_controller();
    let ran = run.finish();
    assert_eq!(ran.code, 0, "{ran:?}");
    let said = told(&ran);
    assert!(
        said.contains("is gone") && said.contains("is back"),
        "{said}"
    );
    assert!(ran.stdout.contains("PASS"), "{ran:?}");
    let document = cluster.weir(&["show", "--json"]).json();
    assert_eq!(document["verdict"], "pass", "{document:#}");
    whole(&cluster, &document);

    let watched = cluster.weir(&["watch", "r-0001"]);
    assert_eq!(watched.code, 0, "{watched:?}");
    assert!(watched.stdout.contains("PASS"), "{watched:?}");
    let log = cluster.controller().output();
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn a_run_ends_without_its_controller_and_is_closed_when_it_is_back() {
    let mut cluster = pair();
    let run = Background::start(&cluster, &format!("run {}", traffic("2s")));
    await_records(&cluster, "r-0001", 4);
    cluster.kill_controller();
    // Whoever waits gives up after half a minute, and says how to go on.
    let ran = run.finish();
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stderr.contains("cannot be reached"), "{}", ran.stderr);
    assert!(ran.stderr.contains("weir watch r-0001"), "{}", ran.stderr);
    // Long after the end of the flows their records are still there.
    cluster.start_controller();
    let watched = cluster.weir(&["watch", "r-0001"]);
    assert_eq!(watched.code, 0, "{watched:?}");
    let document = cluster.weir(&["show", "--json"]).json();
    assert_eq!(document["verdict"], "pass", "{document:#}");
    whole(&cluster, &document);
}

#[test]
fn a_run_that_had_not_started_is_closed_by_a_restart() {
    let mut cluster = pair();
    // A frozen agent holds the preparation up.
    cluster.agent("a2").signal("STOP");
    let run = Background::start(
        &cluster,
        "run --from a1 --to a2 --settle 30s --udp 1M --for 1s",
    );
    await_state(&cluster, "r-0001", "preparing");
    cluster.kill_controller();
    cluster.start_controller();
    cluster.agent("a2").signal("CONT");
    let ran = run.finish();
    assert_eq!(ran.code, 3, "{ran:?}");
    let document = cluster.weir(&["show", "--json"]).json();
    assert_eq!(document["verdict"], "partial", "{document:#}");
    assert!(
        document["reasons"].to_string().contains("restarted"),
        "{document:#}"
    );
}
