//! The deny list: who is on it is cut off at once, and stays out.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use weir_tests::{Background, Cluster, eventually};

use super::enrol::{Served, agent, logged, serve, token};
use super::login::{Person, credentials, over_tls, text};
use crate::faults::{SOON, await_records};

/// What has to be kept on an idle machine is one second; a busy one gets ten times that.
const CUT: Duration = Duration::from_secs(10);
/// What an agent logs of a refusal.
const REFUSED: &str = "refused by the controller; trying again at times";
/// State of an established connection in `/proc/net/tcp` and of a connected one in
/// `/proc/net/unix`.
const ESTABLISHED: &str = "01";
const CONNECTED: &str = "03";

/// Inodes of a process's sockets.
fn sockets(pid: u32) -> BTreeSet<String> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs");
    let links = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    links
        .filter_map(|link| {
            let text = link.to_str()?.strip_prefix("socket:[")?;
            Some(text.strip_suffix(']')?.to_owned())
        })
        .collect()
}

/// Connections of a process: over TCP to a port, or through unix sockets.
fn connections(pid: u32, port: Option<u16>) -> usize {
    let own = sockets(pid);
    let (file, state, state_column, inode_column) = match port {
        Some(_) => ("tcp", ESTABLISHED, 3, 9),
        None => ("unix", CONNECTED, 5, 6),
    };
    let table = fs::read_to_string(format!("/proc/{pid}/net/{file}")).expect("a table");
    let rows = table.lines().skip(1).map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        columns
    });
    rows.filter(|row| row.get(state_column) == Some(&state))
        .filter(|row| match port {
            Some(port) => row[2].ends_with(&format!(":{port:04X}")),
            None => true,
        })
        .filter(|row| {
            row.get(inode_column)
                .is_some_and(|inode| own.contains(*inode))
        })
        .count()
}

fn port(endpoint: &str) -> u16 {
    let port = endpoint.rsplit(':').next().expect("a port");
    port.parse().expect("a port")
}

/// State of an agent in `weir agents`.
fn state(cluster: &Cluster, name: &str) -> String {
    let agents = cluster.weir(&["agents", "--json"]).json();
    let agents = agents["agents"].as_array().expect("a list").clone();
    let one = agents.iter().find(|agent| agent["agent"] == name);
    one.expect("it is listed")["state"].to_string()
}

/// How many entries of the audit log are of an event and an outcome.
fn audited(cluster: &Cluster, event: &str, outcome: &str) -> Vec<Value> {
    let log = cluster.weir(&["audit", "--limit", "1000", "--json"]).json();
    let entries = log["last"].as_array().expect("a list").clone();
    let fits = |entry: &Value| entry["event"] == event && entry["outcome"] == outcome;
    entries.into_iter().filter(fits).collect()
}

#[test]
fn an_agent_over_tls_is_stopped_and_cut_and_stays_out_until_it_is_allowed() {
    let mut cluster = Cluster::new();
    let served = serve(&mut cluster);
    let three = token(&cluster, &["--uses", "3"]);
    for name in ["a1", "a2", "a3"] {
        cluster.launch_to(&served.agents, name, agent(&three, &served.enrol));
    }
    cluster.await_agents(3);
    let port = port(&served.agents);
    let run = Background::start(
        &cluster,
        "run --json --from a1 --to a2 --udp 100pkt/s --for 10s --interval 200ms --ignore behind,frozen",
    );
    await_records(&cluster, "r-0001", 8);
    assert_eq!(connections(cluster.agent("a1").id(), Some(port)), 2);

    let began = Instant::now();
    let denied = cluster.weir(&["deny", "a1", "--reason", "host stolen", "--json"]);
    assert_eq!(denied.code, 0, "{}", denied.stderr);
    let denied = denied.json();
    assert_eq!(
        (&denied["connections"], &denied["known"]),
        (&2.into(), &true.into())
    );
    eventually("the end of its connections", CUT, || {
        (connections(cluster.agent("a1").id(), Some(port)) == 0).then_some(())
    });
    println!("cut over TLS after {:.3} s", began.elapsed().as_secs_f64());
    let said = logged(&cluster, "a1", "host stolen");
    assert!(said.contains("weir allow a1"), "{said}");
    assert!(
        said.contains("state=Stopped"),
        "it was told to stop first: {said}"
    );
    assert_eq!(state(&cluster, "a1"), "\"denied\"");

    // The others notice nothing.
    let line = "--share --from a3 --to a2 --udp 1M --for 1s --ignore behind,frozen";
    let (code, result) = cluster.run(&line.split(' ').collect::<Vec<_>>());
    assert_eq!(code, 0, "{result:#}");
    for name in ["a2", "a3"] {
        assert_eq!(
            cluster.agent(name).output().matches("joined").count(),
            1,
            "{name}"
        );
    }
    assert_eq!(run.finish().json()["verdict"], "partial");

    drop(served);
    let served = stays_out(&mut cluster);
    let allowed = cluster.weir(&["allow", "a1", "--json"]).json();
    assert_eq!(allowed["was_denied"], true);
    cluster.launch_to(&served.agents, "a1", agent("", &served.enrol));
    cluster.await_agents(1);
    eventually("a1 to be back", SOON, || {
        (state(&cluster, "a1") == "\"alive\"").then_some(())
    });
    eventually("the audit log", SOON, || {
        let told = audited(&cluster, "denied", "done").len() == 1
            && audited(&cluster, "allowed", "done").len() == 1
            && !audited(&cluster, "session", "refused").is_empty()
            && !audited(&cluster, "connection", "refused").is_empty()
            && !audited(&cluster, "enrolment", "refused").is_empty();
        told.then_some(())
    });
}

/// Neither another start of the controller nor a token lets a denied `a1` in; it has
/// its certificate afterwards, and is not running.
fn stays_out(cluster: &mut Cluster) -> Served {
    let served = serve(cluster);
    let listed = cluster.weir(&["denied", "--json"]).json();
    assert_eq!(listed["denied"][0]["subject"], "a1");
    let refusals = cluster.agent("a1").output().matches(REFUSED).count();
    cluster.take_agent("a1").stop();
    let before = fs::metadata(cluster.agent_data("a1").join("tls.pem")).expect("its certificate");
    cluster.launch_to(&served.agents, "a1", agent("", &served.enrol));
    eventually("another refusal", SOON, || {
        let output = cluster.agent("a1").output();
        (output.matches(REFUSED).count() > refusals).then_some(())
    });
    // Nor does a new token help.
    let other = token(cluster, &[]);
    cluster.take_agent("a1").stop();
    let kept = cluster.agent_data("a1").join("tls.pem");
    let certificate = fs::read(&kept).expect("its certificate");
    fs::remove_file(&kept).expect("ours");
    cluster.launch_to(&served.agents, "a1", agent(&other, &served.enrol));
    logged(
        cluster,
        "a1",
        "enrolment is refused: agent a1 is on the deny list",
    );
    cluster.take_agent("a1").stop();
    fs::write(&kept, certificate).expect("ours");
    fs::set_permissions(&kept, before.permissions()).expect("ours");
    served
}

#[test]
fn an_agent_on_a_unix_socket_is_denied_by_name() {
    let cluster = Cluster::on_loopback(&[("a1", &[]), ("a2", &[]), ("a3", &[])]);
    let pid = cluster.agent("a1").id();
    // Both streams are there once a run has passed.
    let line = "--from a1 --to a2 --udp 1M --for 1s --ignore behind,frozen";
    let (code, result) = cluster.run(&line.split(' ').collect::<Vec<_>>());
    assert_eq!(code, 0, "{result:#}");
    let before = connections(pid, None);
    let began = Instant::now();
    let denied = cluster.weir(&["deny", "a1", "--json"]).json();
    assert_eq!(denied["connections"], 2, "{denied:#}");
    eventually("the end of its connections", CUT, || {
        (connections(pid, None) == before - 2).then_some(())
    });
    println!(
        "cut on a unix socket after {:.3} s",
        began.elapsed().as_secs_f64()
    );
    logged(&cluster, "a1", "agent a1 is on the deny list");
    assert_eq!(state(&cluster, "a1"), "\"denied\"");
    let line = "--from a2 --to a3 --udp 1M --for 1s --ignore behind,frozen";
    let (code, result) = cluster.run(&line.split(' ').collect::<Vec<_>>());
    assert_eq!(code, 0, "{result:#}");
    assert_eq!(cluster.agent("a2").output().matches("joined").count(), 1);

    // It comes back by itself.
    assert_eq!(cluster.weir(&["allow", "a1"]).code, 0);
    eventually("a1 to be back", SOON, || {
        (state(&cluster, "a1") == "\"alive\"").then_some(())
    });
    let slip = cluster.weir(&["deny", "a9"]);
    assert!(
        slip.stdout.contains("no agent of that name"),
        "{}",
        slip.stdout
    );
    let slip = cluster.weir(&["deny", "newcomer:a1"]);
    assert_eq!(slip.code, 2, "{}", slip.stderr);
    assert!(slip.stderr.contains("operator:NAME"), "{}", slip.stderr);
}

#[test]
fn a_person_is_denied_by_name_and_another_goes_on() {
    let mut cluster = Cluster::on_loopback(&[("a1", &[]), ("a2", &[])]);
    let (_controller, endpoint) = over_tls(&mut cluster);
    cluster.await_agents(2);
    let (anna, bert) = (Person::new(&cluster, "anna"), Person::new(&cluster, "bert"));
    for (person, name) in [(&anna, "anna"), (&bert, "bert")] {
        let file = credentials(&cluster, name, "operator");
        let login = person.weir(&["login", text(&file), "--controller", &endpoint]);
        assert!(login.status.success(), "{login:?}");
    }
    let run = Background::start(
        &cluster,
        "run --json --from a1 --to a2 --udp 100pkt/s --for 600s --ignore behind,frozen",
    );
    await_records(&cluster, "r-0001", 1);
    let mut watch = anna.command(&["watch", "r-0001"]);
    let watch = watch.stdout(Stdio::piped()).spawn();
    let mut watch = watch.expect("weir starts");
    let port = port(&endpoint);
    eventually("her connection", SOON, || {
        (connections(watch.id(), Some(port)) == 1).then_some(())
    });

    let began = Instant::now();
    let denied = bert.weir(&["deny", "operator:anna", "--reason", "left the lab"]);
    assert!(denied.status.success(), "{denied:?}");
    eventually("the end of her connection", CUT, || {
        let ended = watch.try_wait().expect("it is ours").is_some();
        (ended || connections(watch.id(), Some(port)) == 0).then_some(())
    });
    println!(
        "a person is cut after {:.3} s",
        began.elapsed().as_secs_f64()
    );
    let why = anna.refusal(&["runs"]);
    assert!(
        why.contains("left the lab") && why.contains("weir allow operator:anna"),
        "{why}"
    );
    let why = anna.refusal(&["allow", "operator:anna"]);
    assert!(why.contains("left the lab"), "{why}");
    // Whoever follows a run tries for a while to come back.
    watch.kill().ok();
    watch.wait().expect("it is ours");

    assert!(bert.weir(&["stop", "r-0001"]).status.success());
    run.finish();
    assert!(bert.weir(&["allow", "operator:anna"]).status.success());
    assert!(anna.weir(&["runs"]).status.success());
}
