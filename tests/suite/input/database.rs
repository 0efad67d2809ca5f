//! Data directories that a controller cannot use.

use std::fs;
use std::path::Path;
use std::process::Command;

use rusqlite::Connection;
use weir_tests::{Cluster, binary};

/// What `weir serve` says of a directory that it cannot use.
fn refusal(data: &Path) -> String {
    let output = Command::new("timeout")
        .arg("20")
        .arg(binary("weir"))
        .args(["serve", "--data"])
        .arg(data)
        .output()
        .expect("timeout (Debian package coreutils) is there");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "one line: {said}");
    assert!(
        said.contains(&data.display().to_string()),
        "names the place: {said}"
    );
    said
}

fn sql(data: &Path, statements: &str) {
    fs::create_dir_all(data).expect("a directory");
    let database = Connection::open(data.join("weir.db")).expect("a database");
    database.execute_batch(statements).expect("statements");
}

#[test]
fn a_second_controller_is_refused() {
    let cluster = Cluster::new();
    let said = refusal(&cluster.controller_data());
    assert!(
        said.contains("used by another process") && said.contains("--data"),
        "{said}"
    );
    assert_eq!(cluster.weir(&["agents"]).code, 0, "the first one goes on");
}

#[test]
fn databases_that_cannot_be_used_are_refused_and_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = |name: &str| directory.path().join(name);

    let noise: Vec<u8> = (0..8192_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    fs::create_dir(place("noise")).expect("a directory");
    fs::write(place("noise").join("weir.db"), &noise).expect("a file");
    let said = refusal(&place("noise"));
    assert!(
        said.contains("not a database") && said.contains("restore it from a copy"),
        "{said}"
    );
    assert_eq!(
        fs::read(place("noise").join("weir.db")).expect("still there"),
        noise
    );

    sql(
        &place("newer"),
        "PRAGMA application_id = 0x77656972; PRAGMA user_version = 99; CREATE TABLE t (a);",
    );
    let said = refusal(&place("newer"));
    assert!(
        said.contains("schema version 99") && said.contains("weir that wrote it"),
        "{said}"
    );

    sql(&place("foreign"), "CREATE TABLE t (a);");
    assert!(refusal(&place("foreign")).contains("another program"));

    fs::create_dir_all(place("folder").join("weir.db")).expect("a directory");
    assert!(refusal(&place("folder")).contains("check the disk and the permissions"));

    fs::write(place("file"), "x").expect("a file");
    assert!(refusal(&place("file")).contains("directory"));
}

#[test]
fn a_database_damaged_in_the_middle_never_brings_the_controller_down_silently() {
    let mut cluster = Cluster::on_loopback(&[("a1", &["asn=150"]), ("a2", &["asn=151"])]);
    let line = [
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
    ];
    let (code, document) = cluster.run(&line);
    assert_eq!(code, 0, "{document:#}");
    for name in ["a1", "a2"] {
        cluster.take_agent(name).stop();
    }
    cluster.stop_controller();
    // Every page but the first is noise.
    let path = cluster.database();
    let mut bytes = fs::read(&path).expect("the database");
    for (i, byte) in bytes.iter_mut().enumerate().skip(4096) {
        *byte = (i.wrapping_mul(2_654_435_761) >> 11) as u8;
    }
    fs::write(&path, &bytes).expect("the database");
    let said = refusal(&cluster.controller_data());
    assert!(
        said.contains("weir.db") && said.contains("restore it from a copy"),
        "{said}"
    );
}
