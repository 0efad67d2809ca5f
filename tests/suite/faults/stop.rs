//! Runs that are stopped: by Ctrl-C, and from another shell.

use std::time::Duration;

use weir_tests::{cancel, eventually};

use super::{Background, SOON, await_records, codes, listed, none_twice, pair, told, traffic};

#[test]
fn ctrl_c_stops_the_run_and_keeps_what_was_measured() {
    let cluster = pair();
    let run = Background::start(&cluster, &format!("run {}", traffic("60s")));
    await_records(&cluster, "r-0001", 8);
    run.interrupt();
    let ran = run.finish();
    assert_eq!(ran.code, 130, "{ran:?}");
    assert!(told(&ran).contains("stopping r-0001"), "{ran:?}");
    let document = cluster.weir(&["show", "--json"]).json();
    assert!(
        codes(&document["reasons"]).contains(&"stopped"),
        "{document:#}"
    );
    assert!(
        document["reasons"].to_string().contains("interrupted"),
        "{document:#}"
    );
    // Stopped cleanly: both ends have said their totals.
    assert_eq!(
        document["ledger"]["expected"], document["ledger"]["stored"],
        "{document:#}"
    );
    assert_eq!(
        document["ledger"]["unclosed"],
        serde_json::json!([]),
        "{document:#}"
    );
    none_twice(&cluster);
    assert_eq!(
        listed(&cluster, "r-0001").expect("a run")["state"],
        "partial"
    );
    let shown = cluster.weir(&["show", "r-0001"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    // The agents are free again.
    let (code, document) = cluster.run(&[
        "--from",
        "a1",
        "--to",
        "a2",
        "--udp",
        "1M",
        "--for",
        "1s",
        "--ignore",
        "behind,frozen",
    ]);
    assert_eq!(code, 0, "{document:#}");
}

#[test]
fn a_run_is_stopped_from_another_shell() {
    let cluster = pair();
    let run = Background::start(&cluster, &format!("run --json {}", traffic("60s")));
    await_records(&cluster, "r-0001", 8);
    let stopped = cluster.weir(&["stop", "--json", "--reason", "seen enough"]);
    assert_eq!(stopped.code, 0, "{stopped:?}");
    assert_eq!(stopped.json()["stopped"], true, "{stopped:?}");
    let ran = run.finish();
    assert_eq!(ran.code, 3, "{ran:?}");
    let document = ran.json();
    assert_eq!(document["verdict"], "partial", "{document:#}");
    assert!(
        document["reasons"].to_string().contains("seen enough"),
        "{document:#}"
    );
    assert_eq!(
        document["ledger"]["unclosed"],
        serde_json::json!([]),
        "{document:#}"
    );
    let again = cluster.weir(&["stop", "--json", "r-0001"]);
    assert_eq!(
        (again.code, again.json()["stopped"].as_bool()),
        (0, Some(false)),
        "{again:?}"
    );
    let nothing = cluster.weir(&["stop", "r-0099"]);
    assert_eq!(nothing.code, 2, "{nothing:?}");
    assert!(nothing.stderr.contains("r-0099"), "{nothing:?}");
}

#[test]
fn a_stop_reaches_the_last_packet_within_a_second() {
    let cluster = pair();
    let times: Vec<_> = (0..5)
        .map(|_| cancel::stop_a_run(&cluster, "a1", "a2"))
        .collect();
    for stopped in &times {
        println!("{stopped:?}");
        let (sent, received) = stopped.packets;
        assert_eq!(sent, received, "nothing was sent after the end");
        // The figure is at most 1 s; a busy machine has ten times that.
        assert!(stopped.end_to_end < Duration::from_secs(10), "{stopped:?}");
    }
}

#[test]
fn a_stopped_run_names_the_agent_that_did_not_hear_of_it() {
    let cluster = pair();
    let run = Background::start(&cluster, &format!("run --json {}", traffic("90s")));
    await_records(&cluster, "r-0001", 8);
    cluster.agent("a1").signal("STOP");
    assert_eq!(cluster.weir(&["stop", "r-0001"]).code, 0);
    let ran = run.finish();
    cluster.agent("a1").signal("CONT");
    let document = ran.json();
    assert_eq!(document["verdict"], "partial", "{document:#}");
    let unclosed = document["ledger"]["unclosed"].as_array().expect("a list");
    let sender = unclosed.iter().find(|end| end["agent"] == "a1");
    let why = sender
        .and_then(|end| end["why"].as_str())
        .unwrap_or_default();
    assert!(
        why.contains("the agent is lost") && why.contains("until 90 s after T0"),
        "{document:#}"
    );
}

#[test]
fn a_run_is_stopped_while_it_prepares() {
    let mut cluster = pair();
    // A frozen receiver answers nothing: its generator goes on asking.
    cluster.agent("a2").signal("STOP");
    let run = Background::start(
        &cluster,
        &format!("run --json {} --settle 60s", traffic("60s")),
    );
    let known = || listed(&cluster, "r-0001");
    let row = eventually("a run", SOON, known);
    assert_ne!(row["state"], "running", "{row:#}");
    for _ in 0..2 {
        let stopped = cluster.weir(&["stop", "--json", "r-0001", "--reason", "too early"]);
        assert_eq!(stopped.code, 0, "{stopped:?}");
    }
    cluster.agent("a2").signal("CONT");
    let ran = run.finish();
    assert_ne!(ran.code, 0, "{ran:?}");
    let document = ran.json();
    assert!(document["time"]["t0_unix_ns"].is_null(), "{document:#}");
    assert!(document.to_string().contains("too early"), "{document:#}");
    let again = cluster.weir(&["stop", "--json", "r-0001"]).json();
    assert_eq!(again["stopped"], false, "{again:#}");
    cluster.stop_controller();
}
