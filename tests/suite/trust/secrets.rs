//! What nobody may read stands in no log, no answer and no list of arguments.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use weir_tests::{Cluster, Process, binary, eventually};

use crate::faults::SOON;

/// Files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found
}

/// The forms in which the secret of a file could be written somewhere.
fn forms(file: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(file).expect("a key");
    let text = String::from_utf8_lossy(&bytes);
    if text.contains("PRIVATE KEY") {
        let lines = text.lines().filter(|line| !line.starts_with("---"));
        return lines
            .filter(|line| line.len() >= 32)
            .map(|line| line.as_bytes().to_vec())
            .collect();
    }
    // The seed of an Ed25519 key in PKCS #8 stands from byte 16 on (RFC 8410).
    let seed = &bytes[16..32];
    let digits: Vec<String> = seed.iter().map(|byte| format!("{byte:02x}")).collect();
    let hexadecimal = digits.concat();
    let list: Vec<String> = seed.iter().map(u8::to_string).collect();
    vec![
        seed.to_vec(),
        hexadecimal.to_uppercase().into_bytes(),
        hexadecimal.into_bytes(),
        list.join(", ").into_bytes(),
    ]
}

fn holds(text: &[u8], secret: &[u8]) -> bool {
    text.windows(secret.len()).any(|part| part == secret)
}

#[test]
fn no_secret_is_told_by_anything() {
    let mut cluster = Cluster::new();
    cluster.stop_controller();
    // Everything that can be logged is.
    let mut command = Command::new(binary("weir"));
    command
        .args(["serve", "--log", "trace", "--data"])
        .arg(cluster.controller_data());
    let controller = Process::start("weir serve", command, &cluster.directory().join("all.log"));
    eventually("the controller", SOON, || {
        (cluster.weir(&["runs"]).code == 0).then_some(())
    });
    for name in ["a1", "a2"] {
        let mut command = Command::new(binary("weir-agent"));
        command.args(["--lab", "--log", "trace"]);
        cluster.launch(name, command);
    }
    cluster.await_agents(2);
    let line = "--from a1 --to a2 --udp 1M --for 1s --ignore behind,frozen";
    let (code, result) = cluster.run(&line.split(' ').collect::<Vec<_>>());
    assert_eq!(code, 0, "{result:#}");

    let mut told: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for words in [
        &["agents", "--json"][..],
        &["show", "--json"],
        &["audit", "--json"],
    ] {
        let ran = cluster.weir(words);
        told.insert(words.join(" "), (ran.stdout + &ran.stderr).into_bytes());
    }
    for pid in [controller.id(), cluster.agent("a1").id()] {
        for file in ["cmdline", "environ"] {
            let path = format!("/proc/{pid}/{file}");
            told.insert(path.clone(), fs::read(path).expect("our own child"));
        }
    }
    assert!(controller.stop().success());
    let all = files(cluster.directory());
    let ends_with = |path: &Path, ending: &str| path.to_string_lossy().ends_with(ending);
    let is_key = |path: &&PathBuf| ends_with(path, "key") || ends_with(path, "tls.pem");
    let keys: Vec<&PathBuf> = all.iter().filter(is_key).collect();
    assert!(keys.len() >= 2, "{all:?}");
    let is_told = |path: &&PathBuf| ends_with(path, ".log") || ends_with(path, ".jsonl");
    for path in all.iter().filter(is_told) {
        told.insert(path.display().to_string(), fs::read(path).expect("a log"));
    }
    assert!(told.len() >= 10, "{:?}", told.keys());
    for key in keys {
        for secret in forms(key) {
            for (place, text) in &told {
                let key = key.display();
                assert!(!holds(text, &secret), "{place} holds the secret of {key}");
            }
        }
    }
}
