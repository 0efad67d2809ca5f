//! An older state of the controller's database is put back, as from a backup.

use std::fs;
use std::path::PathBuf;

use weir_tests::{Cluster, eventually};

use super::{Background, SOON, ask, await_output, await_records, none_twice, pair, traffic, whole};

/// The database and its log, as they are in this moment.
struct Backup(Vec<(PathBuf, Vec<u8>)>);

impl Backup {
    /// Of a controller that stands still.
    fn take(cluster: &Cluster) -> Self {
        let parts = ["", "-wal"].map(|end| {
            let path = cluster.database().into_os_string();
            let path = PathBuf::from([path.to_str().expect("a name"), end].concat());
            let bytes = fs::read(&path).unwrap_or_default();
            (path, bytes)
        });
        Self(parts.into())
    }

    /// Kills the controller and starts it with this.
    fn put_back(&self, cluster: &mut Cluster) {
        cluster.kill_controller();
        let index = format!("{}-shm", cluster.database().display());
        let _none = fs::remove_file(index).is_err();
        for (path, bytes) in &self.0 {
            fs::write(path, bytes).expect("the database can be written");
        }
        cluster.start_controller();
    }
}

/// Agents go on doing what is wanted of them.
fn obey(cluster: &Cluster) {
    for agent in ["a1", "a2"] {
        let said = cluster.agent(agent).output();
        assert!(!said.contains("snapshot refused"), "{said}");
    }
}

/// In mid-run: the agents still have on disk what the backup lacks.
#[test]
fn an_agent_delivers_again_what_a_backup_lacks() {
    let mut cluster = pair();
    let run = Background::start(&cluster, &format!("run {}", traffic("6s")));
    await_records(&cluster, "r-0001", 8);
    cluster.controller().signal("STOP");
    let backup = Backup::take(&cluster);
    cluster.controller().signal("CONT");
    await_records(&cluster, "r-0001", 40);
    backup.put_back(&mut cluster);
    await_output(cluster.agent("a2"), "database is older");
    let ran = run.finish();
    assert_eq!(ran.code, 0, "{ran:?}");
    whole(&cluster, &cluster.weir(&["show", "--json"]).json());
    obey(&cluster);
}

/// In mid-run, and the files of the agents' spools are gone: what is missing is in the
/// ledger with its numbers, and what came later is there.
#[test]
fn what_no_agent_has_any_more_is_a_gap_of_exactly_those_numbers() {
    let mut cluster = pair();
    let run = Background::start(&cluster, &format!("run --json {}", traffic("6s")));
    await_records(&cluster, "r-0001", 8);
    cluster.controller().signal("STOP");
    let backup = Backup::take(&cluster);
    let stored = "SELECT max(acked_seq) FROM watermarks WHERE agent = 'a2'";
    let kept = ask(&cluster, stored);
    cluster.controller().signal("CONT");
    await_records(&cluster, "r-0001", 40);
    // Killed before the segments are taken away, so that nothing is acknowledged meanwhile.
    cluster.kill_controller();
    let acked = ask(&cluster, stored);
    let mut directories = vec![cluster.agent_data("a2").join("spool")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a spool").flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "seg") {
                fs::remove_file(path).expect("it can be removed");
            }
        }
    }
    backup.put_back(&mut cluster);
    await_output(cluster.agent("a2"), "database is older");
    let ran = run.finish();
    assert_eq!(ran.code, 3, "{ran:?}");
    let document = cluster.weir(&["show", "--json"]).json();
    assert_eq!(document["verdict"], "partial", "{document:#}");
    none_twice(&cluster);
    let gaps = document["ledger"]["gaps"].as_array().expect("a list");
    let [gap] = gaps
        .iter()
        .filter(|gap| gap["seq"].is_array())
        .collect::<Vec<_>>()[..]
    else {
        panic!("{document:#}");
    };
    assert_eq!(gap["agent"], "a2");
    assert_eq!(gap["seq"][0], kept + 1, "{gap}");
    // What was stored and not acknowledged, the agent has in memory.
    let last = gap["seq"][1].as_i64().expect("a number");
    assert!(last > kept && last <= acked, "{gap}: {acked} was stored");
    assert!(ask(&cluster, stored) > acked, "nothing came later: {gap}");
    // Nothing else is missing: each row that the manifests name is there or in the gap.
    let ledger = &document["ledger"];
    let missing = ledger["expected"].as_i64().zip(ledger["stored"].as_i64());
    let missing = missing.map(|(expected, stored)| expected - stored);
    assert!(
        missing.is_some_and(|rows| rows <= last - kept),
        "{ledger:#}"
    );
    assert!(missing.is_some_and(|rows| rows > 0), "{ledger:#}");
}

/// Between runs: a run that the backup does not know holds nothing up, and its number
/// is not given again.
#[test]
fn a_run_that_a_backup_does_not_know_is_nobodys() {
    let mut cluster = pair();
    let short = "run --from a1 --to a2 --udp 1M --for 1s --interval 200ms --ignore behind,frozen";
    let run = || {
        let ran = Background::start(&cluster, short).finish();
        assert_eq!(ran.code, 0, "{ran:?}");
    };
    run();
    cluster.controller().signal("STOP");
    let backup = Backup::take(&cluster);
    cluster.controller().signal("CONT");
    run();
    backup.put_back(&mut cluster);
    cluster.await_agents(2);
    for agent in ["a1", "a2"] {
        await_output(cluster.agent(agent), "database is older");
    }
    eventually("a number that is not given again", SOON, || {
        let last = "SELECT seq FROM sqlite_sequence WHERE name = 'runs'";
        (ask(&cluster, last) == 2).then_some(())
    });
    let audit = fs::read_to_string(cluster.controller_data().join("audit.jsonl"));
    let ran = Background::start(&cluster, short).finish();
    assert_eq!(ran.code, 0, "{ran:?}");
    let document = cluster.weir(&["show", "--json"]).json();
    assert_eq!(document["run"], "r-0003", "{document:#}");
    whole(&cluster, &document);
    obey(&cluster);
    let audit = audit.expect("an audit log");
    assert!(audit.contains("old-database"), "{audit}");
}
