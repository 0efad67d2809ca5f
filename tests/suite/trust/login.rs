//! Operators and viewers at another machine: over TLS, with certificates.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use weir_tests::{Cluster, Process, binary, eventually};

use crate::faults::SOON;

/// A person who has a configuration directory and names no controller.
pub(super) struct Person {
    home: PathBuf,
}

impl Person {
    pub(super) fn new(cluster: &Cluster, name: &str) -> Self {
        let home = cluster.directory().join(name);
        fs::create_dir(&home).expect("a directory");
        Self { home }
    }

    pub(super) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(binary("weir"));
        command
            .args(words)
            .env_remove("WEIR_CONTROLLER")
            .env("XDG_CONFIG_HOME", &self.home)
            .stdin(Stdio::null());
        command
    }

    pub(super) fn weir(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("weir starts")
    }

    /// What a command that fails says.
    pub(super) fn refusal(&self, words: &[&str]) -> String {
        let output = self.weir(words);
        assert!(!output.status.success(), "{words:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

/// A file of credentials, made on the controller's machine.
pub(super) fn credentials(cluster: &Cluster, name: &str, role: &str) -> PathBuf {
    let made = cluster
        .command(&["credentials", name, "--role", role])
        .output()
        .expect("weir starts");
    assert!(made.status.success(), "{made:?}");
    let file = cluster.directory().join(format!("{name}.pem"));
    fs::write(&file, made.stdout).expect("ours");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("ours");
    file
}

pub(super) fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// The controller, started again with a listener for operators over TLS; where that is.
pub(super) fn over_tls(cluster: &mut Cluster) -> (Process, String) {
    cluster.stop_controller();
    let mut command = Command::new(binary("weir"));
    let data = cluster.controller_data();
    let socket = format!("unix:{}", data.join("operators.sock").display());
    command.arg("serve").arg("--data").arg(&data).args([
        "--operators",
        &socket,
        "tls://127.0.0.1:0",
    ]);
    let log = cluster.directory().join("tls.log");
    let controller = Process::start("weir serve", command, &log);
    let endpoint = eventually("its endpoint", SOON, || {
        let output = controller.output();
        let at = output.find("tls://127.0.0.1:")?;
        let endpoint: String = output[at..].split_whitespace().next()?.to_owned();
        (cluster.weir(&["runs"]).code == 0).then_some(endpoint)
    });
    (controller, endpoint)
}

#[test]
fn a_person_elsewhere_logs_in_and_a_viewer_only_reads() {
    let mut cluster = Cluster::new();
    let (_controller, endpoint) = over_tls(&mut cluster);

    let alice = Person::new(&cluster, "alice");
    let why = alice.refusal(&["runs", "--controller", &endpoint]);
    assert!(
        why.contains("weir login") && why.contains("weir credentials"),
        "{why}"
    );
    let file = credentials(&cluster, "alice", "operator");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("ours");
    let why = alice.refusal(&["login", text(&file), "--controller", &endpoint]);
    assert!(why.contains("alice.pem"), "{why}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("ours");
    let login = alice.weir(&["login", text(&file), "--controller", &endpoint]);
    assert!(login.status.success(), "{login:?}");
    for name in ["login.pem", "controller", "authority.crt"] {
        let stored = fs::metadata(alice.home.join("weir").join(name)).expect("it is stored");
        assert_eq!(stored.permissions().mode() & 0o777, 0o600, "{name}");
    }
    // From here on no flag is needed.
    assert!(alice.weir(&["runs"]).status.success());
    let why = alice.refusal(&["stop", "last"]);
    assert!(!why.contains("may not call"), "{why}");

    let vera = Person::new(&cluster, "vera");
    let file = credentials(&cluster, "vera", "viewer");
    let login = vera.weir(&["login", text(&file), "--controller", &endpoint]);
    assert!(login.status.success(), "{login:?}");
    for words in [&["runs"][..], &["agents"]] {
        assert!(vera.weir(words).status.success(), "{words:?}");
    }
    for words in [
        &["stop", "last"][..],
        &["delete", "r-0001"],
        &[
            "run", "--from", "a1", "--to", "a2", "--udp", "1M", "--for", "1s",
        ],
    ] {
        let why = vera.refusal(words);
        assert!(why.contains("viewer may not call"), "{words:?}: {why}");
    }
    eventually("vera's refusals in the audit log", SOON, || {
        let log = cluster.weir(&["audit", "--limit", "1000", "--json"]).json();
        let refused = log["last"].as_array()?.iter().filter(|entry| {
            entry["name"] == "vera" && entry["outcome"] == "refused" && entry["serial"].is_string()
        });
        (refused.count() >= 3).then_some(())
    });

    assert!(alice.weir(&["logout"]).status.success());
    let why = alice.refusal(&["runs", "--controller", &endpoint]);
    assert!(why.contains("weir login"), "{why}");
}

#[test]
fn credentials_that_the_controller_refuses_are_not_kept() {
    let mut cluster = Cluster::new();
    let (_controller, endpoint) = over_tls(&mut cluster);
    let other = Cluster::new();
    let stranger = Person::new(&cluster, "stranger");
    let file = credentials(&other, "stranger", "operator");
    stranger.refusal(&["login", text(&file), "--controller", &endpoint]);
    assert!(!stranger.home.join("weir/login.pem").exists());
    let none = cluster.directory().join("none.pem");
    fs::write(&none, "nothing").expect("ours");
    fs::set_permissions(&none, fs::Permissions::from_mode(0o600)).expect("ours");
    let why = stranger.refusal(&["login", text(&none), "--controller", &endpoint]);
    assert!(why.contains("weir credentials"), "{why}");
}
