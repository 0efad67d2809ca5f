//! Two agents of one name.

use std::fs;
use std::path::Path;
use std::process::Command;

use weir_tests::{Background, Cluster, Process, binary, eventually};

use crate::faults::{SOON, await_records, none_twice};

/// An agent beside the cluster's own.
fn another(cluster: &Cluster, name: &str, data: &Path) -> Process {
    let mut command = Command::new(binary("weir-agent"));
    command
        .args([
            "--lab",
            "--controller",
            &cluster.join_endpoint(),
            "--name",
            name,
            "--data",
        ])
        .arg(data);
    Process::start(name, command, &data.with_extension("log"))
}

fn await_refusal(process: &Process, words: &[&str]) {
    let refusal = eventually("a refusal", SOON, || {
        let output = process.output();
        let line = output
            .lines()
            .find(|line| line.contains("refused by the controller"))?;
        Some(line.to_owned())
    });
    for word in words {
        assert!(refusal.contains(word), "{word}: {refusal}");
    }
}

/// The cluster's own agent is alive and works.
fn goes_on(cluster: &Cluster) {
    cluster.await_agents(2);
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
    assert!(
        !cluster.agent("a1").output().contains("refused"),
        "{}",
        cluster.agent("a1").output()
    );
}

#[test]
fn another_key_for_a_name_is_refused_and_the_first_goes_on() {
    let cluster = Cluster::on_loopback(&[("a1", &["asn=150"]), ("a2", &["asn=151"])]);
    let impostor = another(&cluster, "a1", &cluster.directory().join("impostor"));
    await_refusal(&impostor, &["name a1", "another key", "--name"]);
    goes_on(&cluster);
}

/// Copies the files of a directory while they are in use.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory").flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target);
        } else if path.is_file() {
            // A segment that was delivered meanwhile is gone.
            fs::copy(&path, &target).ok();
        }
    }
}

#[test]
fn a_copy_that_starts_in_mid_run_takes_the_name_and_runs_nothing_twice() {
    let cluster = Cluster::on_loopback(&[("a1", &["asn=150"]), ("a2", &["asn=151"])]);
    let line = "run --json --from a1 --to a2 --udp 300pkt/s --size 200 --for 8s --interval 200ms --linger 500ms --ignore behind,frozen";
    let run = Background::start(&cluster, line);
    await_records(&cluster, "r-0001", 8);
    let data = cluster.directory().join("clone");
    copy(&cluster.agent_data("a1"), &data);
    let twin = another(&cluster, "a1", &data);
    // It was started later, so that its generation is higher: it is the agent now.
    await_refusal(
        cluster.agent("a1"),
        &["generation", "copies of one data directory"],
    );
    assert!(twin.output().contains("joined"), "{}", twin.output());
    assert!(
        !twin.output().contains("state=Running"),
        "{}",
        twin.output()
    );
    let document = run.finish().json();
    assert_eq!(document["verdict"], "partial", "{document:#}");
    none_twice(&cluster);
    let agents = cluster.weir(&["agents", "--json"]).json();
    let all = agents["agents"].as_array().expect("a list");
    let own = all.iter().find(|agent| agent["agent"] == "a1");
    let own = own.expect("it is listed");
    assert_eq!(
        (&own["state"], &own["generation"]),
        (&"alive".into(), &2.into())
    );
}

#[test]
fn copies_of_a_data_directory_of_equal_or_lower_generation_are_refused() {
    let mut cluster = Cluster::on_loopback(&[("a1", &["asn=150"]), ("a2", &["asn=151"])]);
    // Started twice, so that there is a lower generation than its own.
    cluster.take_agent("a1").stop();
    cluster.start_loopback_agent("a1", &["asn=150"]);
    eventually("the second start of a1", SOON, || {
        let said = cluster.agent("a1").output();
        (said.matches("joined").count() == 2).then_some(())
    });
    for generation in ["0", "1"] {
        let copy = cluster.directory().join(format!("copy-{generation}"));
        fs::create_dir(&copy).expect("a directory");
        fs::copy(
            cluster.agent_data("a1").join("agent.key"),
            copy.join("agent.key"),
        )
        .expect("a key");
        // What it starts with is one more.
        fs::write(copy.join("generation"), generation).expect("a file");
        let twin = another(&cluster, "a1", &copy);
        await_refusal(&twin, &["generation", "copies of one data directory"]);
    }
    // The directory itself is locked.
    let mut second = another(&cluster, "a1", &cluster.agent_data("a1"));
    assert_eq!(second.wait(SOON).code(), Some(3));
    assert!(
        second.output().contains("used by another process"),
        "{}",
        second.output()
    );
    goes_on(&cluster);
}
