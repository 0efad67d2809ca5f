//! Runs that are stopped: by Ctrl-C, and from another shell.

use super::{Background, await_records, codes, listed, none_twice, pair, told, traffic};

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
