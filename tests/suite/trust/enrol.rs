//! Agents at other hosts: a token once, a certificate from then on.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;
use weir_controller::authority::Authority;
use weir_controller::authority::request::RequestedKey;
use weir_runtime::directory::write_atomic;
use weir_runtime::tls::{
    CertName, CertRole, Secret, certificate_pem, certificate_request, key_pem,
};
use weir_tests::{Cluster, Process, binary, eventually};

use crate::faults::SOON;

/// A controller with TLS for agents and a listener for newcomers.
pub(super) struct Served {
    _process: Process,
    pub(super) agents: String,
    pub(super) enrol: String,
}

pub(super) fn serve(cluster: &mut Cluster) -> Served {
    cluster.stop_controller();
    let mut command = Command::new(binary("weir"));
    command
        .args(["serve", "--log", "trace", "--data"])
        .arg(cluster.controller_data())
        .args(["--agents", "tls://127.0.0.1:0"])
        .args(["--enrol", "tls://127.0.0.1:0"]);
    let process = Process::start("weir serve", command, &cluster.directory().join("tls.log"));
    let (agents, enrol) = eventually("its endpoints", SOON, || {
        // Another one may have written into the same log before.
        if cluster.weir(&["runs"]).code != 0 {
            return None;
        }
        let output = process.output();
        let after = |word: &str| {
            let line = output.lines().rfind(|line| line.starts_with(word))?;
            line.split_whitespace().nth(1).map(str::to_owned)
        };
        Some((after("agents ")?, after("enrol ")?))
    });
    Served {
        _process: process,
        agents,
        enrol,
    }
}

pub(super) fn token(cluster: &Cluster, words: &[&str]) -> String {
    let words = [&["token", "create"], words].concat();
    let made = cluster.command(&words).output().expect("weir starts");
    assert!(made.status.success(), "{made:?}");
    let text = String::from_utf8(made.stdout).expect("a token");
    text.trim().to_owned()
}

pub(super) fn agent(token: &str, enrol: &str) -> Command {
    let mut command = Command::new(binary("weir-agent"));
    command
        .args(["--lab", "--log", "trace", "--enrol", enrol])
        .env("WEIR_TOKEN", token);
    command
}

/// What an agent has logged, once it has.
pub(super) fn logged(cluster: &Cluster, name: &str, words: &str) -> String {
    eventually(&format!("{name} to say `{words}`"), SOON, || {
        let output = cluster.agent(name).output();
        output.contains(words).then_some(output)
    })
}

#[test]
fn agents_enrol_once_and_then_run_over_tls() {
    let mut cluster = Cluster::new();
    let served = serve(&mut cluster);
    let both = token(&cluster, &["--uses", "2", "--name-pattern", "a?"]);
    for name in ["a1", "a2"] {
        cluster.launch_to(&served.agents, name, agent(&both, &served.enrol));
    }
    cluster.await_agents(2);
    for file in ["tls.pem", "authority.crt"] {
        let stored = fs::metadata(cluster.agent_data("a1").join(file)).expect("it is stored");
        assert_eq!(stored.permissions().mode() & 0o777, 0o600, "{file}");
    }
    let line = "--from a1 --to a2 --udp 1M --for 1s --ignore behind,frozen";
    let (code, result) = cluster.run(&line.split(' ').collect::<Vec<_>>());
    assert_eq!(code, 0, "{result:#}");

    // Both uses are gone.
    cluster.launch_to(&served.agents, "a3", agent(&both, &served.enrol));
    logged(&cluster, "a3", "token used up");
    let other = token(&cluster, &["--name-pattern", "b*"]);
    cluster.launch_to(&served.agents, "a4", agent(&other, &served.enrol));
    logged(&cluster, "a4", "names like b*");

    // From here on no token is needed.
    cluster.take_agent("a1").stop();
    let mut again = Command::new(binary("weir-agent"));
    again.args(["--lab", "--log", "trace"]);
    cluster.launch_to(&served.agents, "a1", again);
    eventually("a1 to join again", SOON, || {
        (cluster.agent("a1").output().matches("joined").count() == 2).then_some(())
    });

    let secret = both.rsplit('.').next().expect("a secret");
    for name in ["tls.log", "a1.log", "a2.log", "a3.log", "c/audit.jsonl"] {
        let path = cluster.directory().join(name);
        let log = fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(
            !String::from_utf8_lossy(&log).contains(secret),
            "{name} holds the secret"
        );
    }
    eventually("the audit log", SOON, || {
        let log = cluster.weir(&["audit", "--limit", "1000", "--json"]).json();
        let entries = log["last"].as_array()?;
        let count = |event: &str, outcome: &str| {
            let fits = entries
                .iter()
                .filter(|entry| entry["event"] == event && entry["outcome"] == outcome);
            fits.count()
        };
        let told = count("token-created", "done") == 2
            && count("enrolment", "done") == 2
            && count("enrolment", "refused") >= 2;
        told.then_some(())
    });
}

/// Everything of an agent but its name.
#[test]
fn nobody_speaks_in_another_name_than_that_of_its_certificate() {
    let mut cluster = Cluster::new();
    let served = serve(&mut cluster);
    let token = token(&cluster, &[]);
    cluster.launch_to(&served.agents, "a1", agent(&token, &served.enrol));
    cluster.await_agents(1);
    cluster.take_agent("a1").stop();
    let copied = Command::new("cp")
        .arg("-a")
        .args([cluster.agent_data("a1"), cluster.agent_data("b1")])
        .status();
    assert!(copied.expect("cp starts").success());
    let mut thief = Command::new(binary("weir-agent"));
    thief.args(["--lab", "--log", "trace"]);
    cluster.launch_to(&served.agents, "b1", thief);
    logged(&cluster, "b1", "the certificate is of agent a1, not b1");
    assert!(!cluster.agent("b1").output().contains("joined"));
    let listed = cluster.weir(&["agents", "--json"]).json();
    assert_eq!(
        listed["agents"].as_array().map(Vec::len),
        Some(1),
        "{listed:#}"
    );
    let refused = eventually("the audit log", SOON, || {
        let log = cluster.weir(&["audit", "--limit", "100", "--json"]).json();
        let mut entries = log["last"].as_array()?.iter();
        let found =
            entries.find(|entry| entry["event"] == "session" && entry["outcome"] == "refused");
        found.cloned()
    });
    assert!(refused.to_string().contains("not b1"), "{refused:#}");
}

#[test]
fn without_a_token_an_agent_says_what_to_do() {
    let cluster = Cluster::new();
    let mut command = Command::new(binary("weir-agent"));
    command
        .args(["--controller", "tcp://192.0.2.1:1", "--name", "a1"])
        .arg("--data")
        .arg(cluster.agent_data("a1"));
    let output = command.output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(
        text.contains("weir token create") && text.contains("--enrol"),
        "{text}"
    );
}

#[test]
fn a_token_is_listed_without_its_secret_and_taken_back() {
    let mut cluster = Cluster::new();
    let served = serve(&mut cluster);
    let text = token(&cluster, &["--uses", "3", "--name-pattern", "a*"]);
    let (id, secret) = (text.split('.').nth(2), text.rsplit('.').next());
    let (id, secret) = (id.expect("an id"), secret.expect("a secret"));
    cluster.launch_to(&served.agents, "a1", agent(&text, &served.enrol));
    cluster.await_agents(1);
    let listed = cluster.weir(&["token", "list", "--json"]);
    assert!(!listed.stdout.contains(secret), "{}", listed.stdout);
    let listed = listed.json();
    let entry = &listed["tokens"][0];
    assert_eq!((&entry["id"], &entry["uses_left"]), (&id.into(), &2.into()));
    assert_eq!(
        (&entry["state"], &entry["name_pattern"]),
        (&"valid".into(), &"a*".into())
    );

    let wrong = cluster.weir(&["token", "revoke", "0123"]);
    assert!(
        wrong.code != 0 && wrong.stderr.contains("weir token list"),
        "{}",
        wrong.stderr
    );
    // A secret on the command line is refused before it is sent.
    let slip = cluster.weir(&["token", "revoke", &text]);
    assert_eq!(slip.code, 2, "{}", slip.stderr);
    let revoked = cluster.weir(&["token", "revoke", id]);
    assert!(revoked.stdout.contains("2 uses left"), "{}", revoked.stdout);
    cluster.launch_to(&served.agents, "a2", agent(&text, &served.enrol));
    logged(&cluster, "a2", "token revoked");
    // Who was let in before stays.
    cluster.await_agents(1);
    let log = cluster.weir(&["audit", "--limit", "1000", "--json"]).stdout;
    assert!(log.contains("token-revoked") && log.contains(id) && !log.contains(secret));
}

/// Whoever sits between them has an authority too, but not that of the token.
#[test]
fn a_stranger_in_between_never_sees_a_request() {
    let mut cluster = Cluster::new();
    let served = serve(&mut cluster);
    let mut stranger = Cluster::new();
    let between = serve(&mut stranger);
    let good = token(&cluster, &[]);
    cluster.launch_to(&served.agents, "a1", agent(&good, &between.enrol));
    logged(&cluster, "a1", "not the controller that made the token");
    // The stranger has decrypted no call: its handshake was ended by the agent.
    eventually("the stranger's audit log", SOON, || {
        let log = stranger
            .weir(&["audit", "--limit", "1000", "--json"])
            .json();
        let entries = log["last"].as_array()?;
        assert!(
            entries.iter().all(|entry| entry["event"] != "enrolment"),
            "{entries:?}"
        );
        entries
            .iter()
            .any(|entry| entry["event"] == "connection" && entry["outcome"] == "refused")
            .then_some(())
    });
    // The token is as good as before.
    cluster.take_agent("a1").stop();
    cluster.launch_to(&served.agents, "a1", agent(&good, &served.enrol));
    cluster.await_agents(1);
}

/// Many at once show a token of few uses.
#[test]
fn twenty_at_once_get_as_many_certificates_as_the_token_has_uses() {
    const USES: usize = 3;
    let mut cluster = Cluster::new();
    let served = serve(&mut cluster);
    let few = token(&cluster, &["--uses", &USES.to_string()]);
    let names: Vec<String> = (0..20).map(|n| format!("a{n}")).collect();
    for name in &names {
        cluster.launch_to(&served.agents, name, agent(&few, &served.enrol));
    }
    let refused = eventually("an answer for each", SOON, || {
        let output = |name: &String| cluster.agent(name).output();
        let refused = names
            .iter()
            .filter(|name| output(name).contains("token used up"))
            .count();
        let enrolled = names
            .iter()
            .filter(|name| output(name).contains("enrolled:"))
            .count();
        (refused + enrolled == names.len()).then_some(refused)
    });
    assert_eq!(refused, names.len() - USES);
    let having = names
        .iter()
        .filter(|name| cluster.agent_data(name).join("tls.pem").exists());
    assert_eq!(having.count(), USES);
}

/// Gives `a1` a certificate of a minute, as of `now`: more than half of it has passed,
/// as certificates begin some minutes early.
fn short_lived(cluster: &Cluster, file: &Path, now: Duration) {
    let authority = Authority::open(&cluster.controller_data(), now).expect("the authority");
    let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
    let pair = Ed25519KeyPair::from_pkcs8(key.as_ref()).expect("a key");
    let requested = RequestedKey::of_request(&certificate_request(&pair)).expect("a request");
    let name = CertName {
        deployment: authority.deployment().to_owned(),
        role: CertRole::Agent,
        name: "a1".parse().expect("a name"),
    };
    let life = Duration::from_secs(60);
    let issued = authority.issue(&requested, &name, life, now);
    let mut pem = certificate_pem(&issued.expect("a certificate").der).into_bytes();
    pem.extend(key_pem(&Secret::new(key.as_ref().to_vec())).expose());
    write_atomic(file, &pem).expect("ours");
}

#[test]
fn a_certificate_is_renewed_after_half_of_its_life() {
    let mut cluster = Cluster::new();
    let served = serve(&mut cluster);
    let once = token(&cluster, &[]);
    cluster.launch_to(&served.agents, "a1", agent(&once, &served.enrol));
    cluster.await_agents(1);
    cluster.take_agent("a1").stop();
    let file = cluster.agent_data("a1").join("tls.pem");
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("after 1970");
    short_lived(&cluster, &file, now);
    let short = fs::read(&file).expect("ours");
    cluster.launch_to(&served.agents, "a1", agent("", &served.enrol));
    logged(&cluster, "a1", "renewed the certificate");
    assert_ne!(fs::read(&file).expect("ours"), short);

    // One that is over says so.
    cluster.take_agent("a1").stop();
    let past = now.saturating_sub(Duration::from_secs(7_200));
    short_lived(&cluster, &file, past);
    let mut command = agent("", &served.enrol);
    command
        .args(["--controller", &served.agents, "--name", "a1", "--data"])
        .arg(cluster.agent_data("a1"));
    let output = command.output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("expired") && text.contains("weir token create"),
        "{text}"
    );
}
