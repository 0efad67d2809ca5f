//! What happens when something dies, is stopped, or has to share: no record is
//! lost, none is counted twice, and the result says what is missing.

mod agent;
mod backup;
mod beside;
mod catalogue;
mod controller;
mod disk;
mod spool;
mod stop;

use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use weir_tests::{Background, Cluster, Process, Ran, SmallDisk, account, eventually};

/// How long something has that takes a moment on an idle machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Two agents on loopback.
fn pair() -> Cluster {
    Cluster::on_loopback(&[("a1", &["asn=150"]), ("a2", &["asn=151"])])
}

/// A UDP and a TCP flow from `a1` to `a2`, in short intervals. What a busy
/// machine does to the schedule decides nothing here.
fn traffic(time: &str) -> String {
    format!(
        "--from a1 --to a2 --interval 200ms --linger 500ms --udp 300pkt/s --size 200 --for {time} \
         --with --tcp 2M --ignore behind,frozen"
    )
}

/// All that a command has told, wherever it did.
fn told(ran: &Ran) -> String {
    format!("{}{}", ran.stdout, ran.stderr)
}

/// The entry of a run in `weir runs`.
fn listed(cluster: &Cluster, run: &str) -> Option<Value> {
    let runs = cluster.weir(&["runs", "--json"]).json();
    let runs = runs["runs"].as_array()?;
    runs.iter().find(|entry| entry["run"] == run).cloned()
}

/// Waits until so many records of a run are stored.
pub(crate) fn await_records(cluster: &Cluster, run: &str, least: u64) {
    eventually(&format!("{least} records of {run}"), SOON, || {
        let entry = listed(cluster, run)?;
        (entry["records"].as_u64()? >= least).then_some(())
    });
}

/// Waits until a run is in a state.
fn await_state(cluster: &Cluster, run: &str, state: &str) {
    eventually(&format!("{run} {state}"), SOON, || {
        (listed(cluster, run)?["state"] == state).then_some(())
    });
}

/// Waits until a process has said something.
fn await_output(process: &Process, text: &str) {
    eventually(&format!("`{text}`"), SOON, || {
        process.output().contains(text).then_some(())
    });
}

/// The one number that a query gives.
fn ask(cluster: &Cluster, query: &str) -> i64 {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = Connection::open_with_flags(cluster.database(), flags).expect("the database");
    database
        .query_row(query, [], |row| row.get(0))
        .expect("one number")
}

/// No row is stored twice.
pub(crate) fn none_twice(cluster: &Cluster) {
    let twice = "SELECT count(*) FROM (SELECT 1 FROM records
                 GROUP BY flow, end, stream, k HAVING count(*) > 1)";
    assert_eq!(ask(cluster, twice), 0, "rows stored twice");
}

/// A run that lacks nothing: every row that the manifests name is there once,
/// and together they are the totals.
fn whole(cluster: &Cluster, document: &Value) {
    none_twice(cluster);
    let run = document["run"].as_str().expect("a result names its run");
    let account = account::stored(cluster, run);
    let flows = document["flows"]
        .as_array()
        .expect("a result has flows")
        .len();
    assert_eq!(
        account.len(),
        2 * flows,
        "a manifest of each end: {document:#}"
    );
    let mut rows = 0;
    for (key, kept) in &account {
        rows += kept.rows.len();
        assert_eq!(kept.rows.len(), kept.closed.rows as usize, "{key:?}");
        assert_eq!(kept.sum(false), kept.closed.total, "{key:?}");
    }
    let ledger = &document["ledger"];
    assert_eq!(ledger["expected"], rows, "{ledger}");
    assert_eq!(ledger["stored"], rows, "{ledger}");
    assert_eq!(ledger["unclosed"], serde_json::json!([]), "{ledger}");
    assert_eq!(document["checks"]["complete"], true, "{document:#}");
}

/// The flow of a set in a result document.
fn flow<'a>(document: &'a Value, to: &str) -> &'a Value {
    let flows = document["flows"].as_array().expect("a result has flows");
    flows
        .iter()
        .find(|flow| flow["to"] == to)
        .expect("a flow to it")
}

/// The codes in a list of reasons.
fn codes(reasons: &Value) -> Vec<&str> {
    let reasons = reasons.as_array().expect("a list of reasons");
    reasons
        .iter()
        .filter_map(|reason| reason["code"].as_str())
        .collect()
}
