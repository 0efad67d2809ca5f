//! Several runs on one kernel, and deleting one while another goes on.

use std::fs;
use std::process::Command;

use weir_tests::{binary, eventually};

use super::{Background, SOON, ask, await_records, await_state, codes, pair, told, traffic, whole};

#[test]
fn two_runs_share_the_machine_when_told_so_and_both_say_so() {
    let cluster = pair();
    let line = format!("run --json --share {}", traffic("3s"));
    let first = Background::start(&cluster, &line);
    await_state(&cluster, "r-0001", "started");
    let second = Background::start(&cluster, &line);
    for (run, other) in [(first, "r-0002"), (second, "r-0001")] {
        let ran = run.finish();
        assert_eq!(ran.code, 0, "{ran:?}");
        let document = ran.json();
        assert!(
            codes(&document["warnings"]).contains(&"shared-kernel"),
            "{document:#}"
        );
        assert!(
            document["warnings"].to_string().contains(other),
            "{document:#}"
        );
        whole(&cluster, &document);
    }
}

#[test]
fn a_second_run_is_refused_on_a_terminal_and_waits_in_a_pipe() {
    let cluster = pair();
    let first = Background::start(&cluster, &format!("run --json {}", traffic("3s")));
    await_state(&cluster, "r-0001", "started");
    // A person at a terminal is told at once who is in the way.
    let line = format!("{} run {}", binary("weir").display(), traffic("1s"));
    let refused = Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env("WEIR_CONTROLLER", cluster.operator_endpoint())
        .current_dir(cluster.directory())
        .output()
        .expect("script (Debian package bsdutils) is there");
    let said = String::from_utf8_lossy(&refused.stdout);
    assert_eq!(refused.status.code(), Some(3), "{said}");
    for word in ["r-0001", "--queue", "--share", "weir stop"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    // In a pipe it waits for its turn.
    let second = cluster.weir(
        &format!("run {}", traffic("1s"))
            .split_whitespace()
            .collect::<Vec<_>>(),
    );
    assert_eq!(second.code, 0, "{second:?}");
    assert!(told(&second).contains("waits for r-0001"), "{second:?}");
    let (first, second) = (
        first.finish().json(),
        cluster.weir(&["show", "--json"]).json(),
    );
    let t0 = |document: &serde_json::Value| document["time"]["t0_unix_ns"].as_i64();
    let gap_ns = t0(&second).expect("T0") - t0(&first).expect("T0");
    assert!(
        gap_ns >= 3_000_000_000,
        "it began {gap_ns} ns after the first, which takes 3 s"
    );
    let warnings = codes(&second["warnings"]);
    assert!(!warnings.contains(&"shared-kernel"), "{second:#}");
    whole(&cluster, &first);
    whole(&cluster, &second);
}

#[test]
fn a_run_is_deleted_while_another_is_stored() {
    let cluster = pair();
    let (code, old) = cluster.run(
        &"--from a1 --to a2 --udp 3000pkt/s --size 64 --streams 30 --for 3s --interval 100ms \
          --linger 200ms --ignore behind,frozen"
            .split_whitespace()
            .collect::<Vec<_>>(),
    );
    assert_eq!(code, 0, "{old:#}");
    let rows = old["ledger"]["stored"].as_u64().expect("a count");
    assert!(rows > 1_000, "{rows} rows are few");
    let run = Background::start(&cluster, &format!("run --json {}", traffic("3s")));
    await_records(&cluster, "r-0002", 4);
    let open = cluster.weir(&["delete", "r-0002"]);
    assert_eq!(open.code, 3, "a run in progress is not deleted: {open:?}");
    // Bytes in the file count once they are there: the log is written back first.
    let size = || {
        fs::metadata(cluster.database())
            .expect("the database")
            .len()
    };
    let pages = ask(&cluster, "SELECT page_count FROM pragma_page_count()");
    let deleted = cluster.weir(&["delete", "--json", "r-0001"]);
    assert_eq!(deleted.code, 0, "{deleted:?}");
    assert_eq!(deleted.json()["rows"], rows, "{deleted:?}");
    let ran = run.finish();
    assert_eq!(ran.code, 0, "{ran:?}");
    whole(&cluster, &ran.json());
    let gone = cluster.weir(&["show", "r-0001"]);
    assert_eq!(gone.code, 2, "{gone:?}");
    assert_eq!(
        ask(&cluster, "SELECT count(*) FROM flows WHERE run = 1"),
        0,
        "flows of the deleted run"
    );
    let left = "SELECT count(*) FROM records WHERE flow NOT IN (SELECT flow FROM flows)";
    assert_eq!(ask(&cluster, left), 0, "rows of the deleted run");
    let now = ask(&cluster, "SELECT page_count FROM pragma_page_count()");
    assert!(now < pages, "{pages} pages before, {now} after");
    let page = ask(&cluster, "SELECT page_size FROM pragma_page_size()") as u64;
    eventually("a smaller file", SOON, || {
        (size() < pages as u64 * page).then_some(())
    });
    let number = cluster.run(&[
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
    assert_eq!(number.1["run"], "r-0003", "numbers are never used again");
}
