//! Files that flows write on their hosts, fetched through the controller.

use std::fs;
use std::path::Path;

use serde_json::Value;
use weir_tests::{Background, Cluster, eventually};

use crate::faults::{SOON, await_records};

const TRAFFIC: &str = "--from asn=150 --to asn=151 --udp 50pkt/s --size 100 --interval 100ms";

/// A cluster of two agents, and the words of a run between them.
fn pair() -> Cluster {
    Cluster::on_loopback(&[("a1", &["asn=150"]), ("a2", &["asn=151"])])
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// The files of the last run, once there are so many.
fn files(cluster: &Cluster, count: usize) -> Vec<Value> {
    eventually("the offers of the agents", SOON, || {
        let listed = cluster.weir(&["logs", "--json"]).json();
        let files = listed["files"].as_array().expect("a list").clone();
        (files.len() == count).then_some(files)
    })
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("the file was fetched");
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("JSON in each line")
}

#[test]
fn both_ends_keep_their_rows_and_give_them_when_asked() {
    let mut cluster = pair();
    let (code, document) = cluster.run(&words(&format!(
        "{TRAFFIC} --for 2s --log-file probe.jsonl"
    )));
    assert_eq!(code, 0, "{document:#}");
    let listed = files(&cluster, 2);
    assert_eq!(
        (&listed[0]["end"], &listed[0]["agent"]),
        (&"tx".into(), &"a1".into())
    );
    assert_eq!(
        (&listed[1]["end"], &listed[1]["agent"]),
        (&"rx".into(), &"a2".into())
    );

    let directory = cluster.directory().join("fetched");
    let target = directory.to_string_lossy().into_owned();
    let fetched = cluster.weir(&["logs", "--fetch", &target]);
    assert_eq!(fetched.code, 0, "{fetched:?}");
    for end in ["tx", "rx"] {
        let path = directory.join(format!("r-0001/1-{end}-probe.jsonl"));
        assert!(
            fetched.stdout.contains(&*path.to_string_lossy()),
            "{fetched:?}"
        );
        let lines = lines(&path);
        let (manifest, rows) = lines.split_last().expect("lines");
        let closed = &manifest["flow_closed"];
        assert_eq!(closed["rows"], rows.len(), "{closed:#}");
        assert_eq!(rows.len(), 20);
        let counter = format!("{end}_packets");
        let sum: u64 = rows
            .iter()
            .filter_map(|row| row["record"]["counters"][&counter].as_u64())
            .sum();
        assert_eq!(closed["total"][&counter], sum);
        assert_eq!(
            document["flows"][0][if end == "tx" { "sent" } else { "received" }]["packets"],
            sum
        );
    }

    // What is there is not asked for again, not even of an agent that is away; what an
    // earlier attempt has left is taken up.
    drop(cluster.take_agent("a2"));
    let again = cluster.weir(&["logs", "--fetch", &target]);
    assert_eq!(again.code, 0, "{again:?}");
    let path = directory.join("r-0001/1-rx-probe.jsonl");
    let whole = fs::read(&path).expect("it is there");
    let part = path.with_extension("jsonl.part");
    fs::write(&part, &whole[..whole.len() / 2]).expect("written");
    fs::remove_file(&path).expect("removed");
    let away = eventually("an agent that is known to be away", SOON, || {
        let away = cluster.weir(&["logs", "--fetch", &target]);
        (away.code == 3).then_some(away)
    });
    assert!(
        away.stderr.contains("1 of 2 files of r-0001 are missing"),
        "{away:?}"
    );
    assert!(
        away.stdout.contains("not fetched: a2 is not connected"),
        "{away:?}"
    );
    cluster.start_loopback_agent("a2", &["asn=151"]);
    cluster.await_agents(2);
    let resumed = cluster.weir(&["logs", "--fetch", &target]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    assert_eq!(fs::read(&path).expect("it is there"), whole);
    assert!(!part.exists());
}

/// An agent that is killed offers after its restart what it had written; a file that was
/// changed on its host is not taken for what was offered; a run is never disturbed.
#[test]
fn files_of_a_killed_agent_are_offered_and_changed_ones_refused() {
    let mut cluster = pair();
    let run = Background::start(
        &cluster,
        &format!("run --json {TRAFFIC} --for 30s --log-file x.jsonl"),
    );
    await_records(&cluster, "r-0001", 10);
    cluster.take_agent("a2").kill();
    cluster.start_loopback_agent("a2", &["asn=151"]);
    let listed = files(&cluster, 1);
    assert_eq!(listed[0]["agent"], "a2");
    let directory = cluster.directory().join("fetched");
    let target = directory.to_string_lossy().into_owned();
    let fetched = cluster.weir(&["logs", "--fetch", &target]);
    assert_eq!(fetched.code, 0, "{fetched:?}");
    let killed = lines(&directory.join("r-0001/1-rx-x.jsonl"));
    assert!(
        killed.iter().all(|line| line["record"].is_object()),
        "{killed:?}"
    );
    cluster.weir(&["stop"]);
    run.finish();
    files(&cluster, 2);

    let data = cluster.agent_data("a1").join("artifacts");
    let controllers = fs::read_dir(data).expect("a directory").flatten();
    let kept = controllers.map(|entry| entry.path().join("1/1-tx-x.jsonl"));
    let kept = kept.last().expect("one controller");
    let size = fs::metadata(&kept).expect("the host keeps it").len();
    fs::write(&kept, vec![b'x'; size as usize]).expect("changed");
    let changed = cluster.weir(&["logs", "--fetch", &target]);
    assert_eq!(changed.code, 3, "{changed:?}");
    assert!(changed.stdout.contains("SHA-256"), "{changed:?}");

    let busy = Background::start(&cluster, &format!("run --json {TRAFFIC} --for 30s"));
    await_records(&cluster, "r-0002", 4);
    let waits = cluster.weir(&["logs", "r-0001", "--fetch", &target]);
    assert_eq!(waits.code, 3, "{waits:?}");
    assert!(waits.stdout.contains("fetch again after it"), "{waits:?}");
    cluster.weir(&["stop"]);
    busy.finish();
}

#[test]
fn a_run_without_files_says_how_to_have_some() {
    let cluster = pair();
    let (code, document) = cluster.run(&words(&format!("{TRAFFIC} --for 1s")));
    assert_eq!(code, 0, "{document:#}");
    let none = cluster.weir(&["logs"]);
    assert_eq!(none.code, 0, "{none:?}");
    assert!(none.stdout.contains("--log-file"), "{none:?}");
    let unknown = cluster.weir(&["logs", "r-0009"]);
    assert_eq!(unknown.code, 2, "{unknown:?}");
    let refused = cluster.weir(&words(&format!("run {TRAFFIC} --for 1s --log-file ../x")));
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(
        refused.stderr.contains("not the name of a log file"),
        "{refused:?}"
    );
}
