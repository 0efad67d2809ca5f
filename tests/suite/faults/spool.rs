//! Records that an agent has and the controller does not: the agent is killed,
//! or its disk takes nothing.

use std::fs;
use std::process::Command;

use serde_json::Value;
use weir_tests::{Cluster, Ground, account, binary, eventually, needs};

use super::{
    Background, SOON, SmallDisk, ask, await_output, await_records, flow, none_twice, pair, traffic,
    whole,
};

/// Entries of a boot that are stored.
fn stored(cluster: &Cluster) -> i64 {
    ask(
        cluster,
        "SELECT coalesce(sum(acked_seq), 0) FROM watermarks WHERE agent = 'a2'",
    )
}

/// Bytes of segments in the spool of an agent.
fn spooled(cluster: &Cluster, agent: &str) -> u64 {
    let mut bytes = 0;
    let mut directories = vec![cluster.agent_data(agent).join("spool")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "seg") {
                bytes += entry.metadata().map_or(0, |meta| meta.len());
            }
        }
    }
    bytes
}

/// The receiver is killed while the controller stands still, so that it holds
/// intervals that nobody else has. They come after its restart; what it had not
/// finished is in the ledger, and nothing else is missing.
#[test]
fn a_killed_agent_delivers_what_it_had_after_its_restart() {
    let mut cluster = pair();
    let run = Background::start(&cluster, &format!("run --json {}", traffic("8s")));
    await_records(&cluster, "r-0001", 12);
    cluster.controller().signal("STOP");
    let before = (stored(&cluster), spooled(&cluster, "a2"));
    // Some intervals more of both flows.
    eventually("records on the agent's disk", SOON, || {
        (spooled(&cluster, "a2") > before.1 + 3_000).then_some(())
    });
    cluster.take_agent("a2").kill();
    cluster.controller().signal("CONT");
    cluster.start_loopback_agent("a2", &["asn=151"]);
    await_output(
        cluster.agent("a2"),
        "delivering the records of an earlier start",
    );
    let ran = run.finish();
    assert_eq!(ran.code, 3, "{ran:?}");
    let document = ran.json();
    assert_eq!(document["verdict"], "partial", "{document:#}");
    none_twice(&cluster);
    assert!(
        stored(&cluster) > before.0,
        "nothing came after the restart"
    );

    // Each of its two flows lacks the interval under way, and says from when on.
    let gaps = document["ledger"]["gaps"].as_array().expect("a list");
    assert_eq!(gaps.len(), 2, "{document:#}");
    for gap in gaps {
        assert_eq!((&gap["agent"], &gap["end"]), (&"a2".into(), &"rx".into()));
        let number = &gap["flow"];
        let rows = format!(
            "SELECT max(records.start_ns + records.length_ns) FROM records JOIN flows ON flows.flow = records.flow
             WHERE number = {number} AND end = 1 AND stream IS NULL"
        );
        let last_s = ask(&cluster, &rows) as f64 / 1e9;
        let seconds = |key: &str| gap[key].as_f64().expect("a time");
        assert!(
            (seconds("from_s") - last_s).abs() < 1e-6,
            "{gap} after {last_s}"
        );
        assert!(seconds("to_s") > last_s, "{gap}");
        // Up to there it is whole: as many rows as intervals.
        let holes = format!(
            "SELECT count(*) FROM (SELECT k, row_number() OVER (ORDER BY k) - 1 AS n FROM records
             JOIN flows ON flows.flow = records.flow
             WHERE number = {number} AND end = 1 AND stream IS NULL) WHERE k <> n"
        );
        assert_eq!(ask(&cluster, &holes), 0, "holes in flow {number}");
    }
    let unclosed = document["ledger"]["unclosed"].as_array().expect("a list");
    assert_eq!(unclosed.len(), 2, "{document:#}");
    let why = |end: &Value| end["why"].as_str() == Some("agent restart");
    assert!(unclosed.iter().all(why), "{unclosed:?}");
    assert_eq!(flow(&document, "a2")["complete"], false);
    eventually("an empty spool", SOON, || {
        (spooled(&cluster, "a2") == 0).then_some(())
    });
}

/// The controller stands still until the spool has reached its limit: rows are merged,
/// then the run is stopped, and every packet that was counted is in the result.
#[test]
fn a_full_spool_stops_the_run_and_every_count_is_exact() {
    let mut cluster = Cluster::on_loopback(&[("a1", &["asn=150"])]);
    let mut agent = Command::new(binary("weir-agent"));
    agent.args(["--lab", "--label", "asn=151", "--spool-disk", "2MiB"]);
    cluster.launch("a2", agent);
    cluster.await_agents(2);
    // A row of each stream in each interval: some 200 kB a second.
    let run = Background::start(
        &cluster,
        "run --json --from a1 --to a2 --interval 100ms --linger 500ms --tcp 2M --streams 128 \
         --for 300s --ignore behind,frozen",
    );
    await_records(&cluster, "r-0001", 4);
    cluster.controller().signal("STOP");
    for said in ["80 % full", "95 % full", "SPOOL_FULL"] {
        await_output(cluster.agent("a2"), said);
    }
    assert!(
        spooled(&cluster, "a2") < 2 << 20,
        "more than was allowed: {}",
        spooled(&cluster, "a2")
    );
    await_output(cluster.agent("a2"), "state=Stopped");
    cluster.controller().signal("CONT");
    let ran = run.finish();
    assert_eq!(ran.code, 3, "{ran:?}");
    let document = ran.json();
    assert!(document.to_string().contains("SPOOL_FULL"), "{document:#}");
    none_twice(&cluster);
    // Rows are fewer, and say so; what they count is what the manifest says.
    let account = account::stored(&cluster, "r-0001");
    assert_eq!(account.len(), 2, "{document:#}");
    for (key, kept) in &account {
        assert_eq!(kept.rows.len(), kept.closed.rows as usize, "{key:?}");
        assert_eq!(kept.sum(false), kept.closed.total, "{key:?}");
    }
    let merged = "SELECT count(*) FROM records WHERE end = 1 AND flags & 4 = 4";
    assert!(ask(&cluster, merged) > 0, "no row was merged");
    assert_eq!(
        document["ledger"]["gaps"],
        serde_json::json!([]),
        "{document:#}"
    );
    assert_eq!(document["ledger"]["unclosed"], serde_json::json!([]));
}

/// The agent's disk is full during the run: it says so, and nothing is missing.
#[test]
fn an_agent_whose_disk_is_full_loses_nothing() {
    needs!(Ground::Lab);
    let mut cluster = Cluster::on_loopback(&[("a1", &["asn=150"])]);
    fs::create_dir_all(cluster.agent_data("a2")).expect("a directory");
    let disk = SmallDisk::at(&cluster.agent_data("a2"));
    cluster.start_loopback_agent("a2", &["asn=151"]);
    cluster.await_agents(2);
    let run = Background::start(&cluster, &format!("run --json {}", traffic("4s")));
    await_records(&cluster, "r-0001", 4);
    // Again and again: at first the agent gives back what it had set aside.
    eventually("a spool that cannot be written", SOON, || {
        disk.fill();
        let said = cluster.agent("a2").output();
        said.contains("the spool cannot be written").then_some(())
    });
    let ran = run.finish();
    assert_eq!(ran.code, 0, "{ran:?}");
    whole(&cluster, &ran.json());
    disk.free();
}
