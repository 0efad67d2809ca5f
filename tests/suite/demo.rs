//! `weir demo` as a newcomer meets it: as root, as an ordinary user, where namespaces are refused, interrupted,
//! killed, and kept. Nothing may be left of it but its data.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use weir_tests::{Process, binary, eventually};

/// How long a demo has to come as far as a test waits for: many times what it takes.
const LIMIT: Duration = Duration::from_secs(120);
/// The user `nobody`.
const NOBODY: u32 = 65_534;

/// Who starts the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// Whoever runs the tests.
    Caller,
    /// An ordinary user.
    User,
    /// Somebody who may make no namespaces.
    Refused,
}

/// A demo with a data directory of its own.
struct Demo {
    who: Who,
    program: PathBuf,
    data: TempDir,
}

impl Demo {
    fn new(who: Who) -> Self {
        let data = tempfile::Builder::new().prefix("weir-").tempdir().unwrap();
        let mut program = binary("weir");
        if who == Who::User && is_root() {
            // The build directory may be closed to others.
            let copy = data.path().join("weir");
            fs::copy(&program, &copy).unwrap();
            program = copy;
            chown(data.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        Self { who, program, data }
    }

    /// `weir` with these arguments, as the person in question.
    fn weir(&self, arguments: &[&str]) -> Command {
        let mut words: Vec<&str> = Vec::new();
        match self.who {
            Who::User if is_root() => {
                words.extend([
                    "setpriv",
                    "--reuid=65534",
                    "--regid=65534",
                    "--clear-groups",
                ]);
            }
            // A user namespace that allows no further namespaces, and holds nothing but loopback.
            Who::Refused => words.extend([
                "unshare",
                "--user",
                "--map-root-user",
                "--net",
                "sh",
                "-c",
                "ip link set lo up && echo 0 >/proc/sys/user/max_user_namespaces && \
                 echo 0 >/proc/sys/user/max_net_namespaces && exec \"$0\" \"$@\"",
            ]),
            Who::Caller | Who::User => {}
        }
        words.push(self.program.to_str().unwrap());
        words.extend(arguments);
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .current_dir(self.data.path())
            .stdin(Stdio::null());
        command
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.weir(&["demo", "--data", self.directory()]);
        command.args(arguments);
        command
    }

    fn directory(&self) -> &str {
        self.data.path().to_str().unwrap()
    }

    /// Starts it in the background; its output goes to a file.
    fn start(&self, arguments: &[&str]) -> Process {
        Process::start(
            "demo",
            self.command(arguments),
            &self.data.path().join("demo.log"),
        )
    }

    /// Runs a short one to its end and looks at its document.
    fn run(&self) -> Value {
        let output = self.command(&["--for", "2s", "--json"]).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let result: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {output:?}"));
        assert_eq!(result["schema"], "weir.result/1");
        assert_eq!(
            Some(i64::from(output.status.code().unwrap())),
            result["exit"].as_i64(),
            "{result:#}"
        );
        assert_eq!(result["checks"]["valid"], true, "{result:#}\n{told}");
        assert_eq!(result["checks"]["complete"], true, "{result:#}\n{told}");
        assert_eq!(
            result["ledger"]["stored"], result["ledger"]["expected"],
            "{result:#}"
        );
        assert!(
            result["ledger"]["stored"].as_u64().unwrap() > 0,
            "{result:#}"
        );
        let flows = result["flows"].as_array().unwrap();
        assert_eq!(flows.len(), 4, "{result:#}");
        for flow in flows {
            assert!(flow["received"]["bytes"].as_u64().unwrap() > 0, "{flow:#}");
        }
        assert!(self.data.path().join("demo/weir.db").is_file());
        result
    }

    /// Processes that were started for this demo and still are.
    fn processes(&self) -> Vec<String> {
        let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
        lines
            .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
            .filter(|line| line.contains(self.directory()))
            .collect()
    }

    fn assert_nothing_is_left(&self) {
        let left = self.processes();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Named namespaces of the labs of a process.
fn namespaces_of(pid: u32) -> Vec<String> {
    let prefix = format!("weir.demo.{pid}-");
    let names = Path::new("/run/netns")
        .read_dir()
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    names
        .filter_map(|name| name.file_name().into_string().ok())
        .filter(|name| name.starts_with(&prefix))
        .collect()
}

fn until_said(demo: &Process, what: &str) {
    eventually(what, LIMIT, || demo.output().contains(what).then_some(()));
}

#[test]
fn a_healthy_first_run_is_valid_and_whole() {
    let demo = Demo::new(Who::Caller);
    let result = demo.run();
    let limited =
        |flow: &&Value| flow["to"] == "171-iperf-receiver-2" && flow["transport"] == "tcp";
    let flow = result["flows"]
        .as_array()
        .unwrap()
        .iter()
        .find(limited)
        .unwrap();
    let rate = flow["rate_bps"].as_f64().unwrap();
    // 50 Mbit/s on the wire are 48 of payload; a bucket's worth of burst may come on top.
    assert!(rate > 1e6 && rate < 52e6, "{flow:#}");
    demo.assert_nothing_is_left();
}

#[test]
fn an_ordinary_user_gets_the_same() {
    let demo = Demo::new(Who::User);
    let result = demo.run();
    assert_eq!(result["flows"][0]["from"], "150-iperf-generator");
    demo.assert_nothing_is_left();
}

#[test]
fn where_namespaces_are_refused_loopback_stands_in() {
    let demo = Demo::new(Who::Refused);
    demo.run();
    let output = demo.command(&["--for", "1s"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("no network namespaces here"), "{said}");
    assert!(said.contains("loopback"), "{said}");
    demo.assert_nothing_is_left();
}

#[test]
fn an_interrupt_ends_everything() {
    let demo = Demo::new(Who::Caller);
    let mut process = demo.start(&["--for", "10min"]);
    until_said(&process, ": running");
    assert!(demo.processes().len() > 4, "{:?}", demo.processes());
    process.signal("INT");
    let status = process.wait(LIMIT);
    assert_eq!(status.code(), Some(130), "{}", process.output());
    demo.assert_nothing_is_left();
    assert_eq!(namespaces_of(process.id()), [""; 0]);
}

#[test]
fn what_a_killed_demo_leaves_is_gone_after_the_next() {
    let demo = Demo::new(Who::Caller);
    let process = demo.start(&["--for", "10min"]);
    until_said(&process, ": running");
    let killed = process.id();
    process.kill();
    assert!(demo.processes().len() >= 4, "{:?}", demo.processes());
    demo.run();
    demo.assert_nothing_is_left();
    assert_eq!(namespaces_of(killed), [""; 0]);
}

#[test]
fn a_kept_demo_takes_campaigns_of_others() {
    let demo = Demo::new(Who::User);
    let mut process = demo.start(&["--for", "1s", "--keep"]);
    until_said(&process, "weir records");
    let said = process.output();
    let endpoint = said
        .lines()
        .find_map(|line| line.trim().strip_prefix("export WEIR_CONTROLLER="))
        .unwrap();
    let line = [
        "run",
        "--json",
        "--from",
        "asn=150",
        "--to",
        "asn=162,171",
        "--udp",
        "10M",
        "--size",
        "1400",
        "--for",
        "1s",
    ];
    let output = demo
        .weir(&line)
        .env("WEIR_CONTROLLER", endpoint)
        .output()
        .unwrap();
    let result: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert_eq!(result["flows"].as_array().unwrap().len(), 2, "{result:#}");
    assert_eq!(
        result["ledger"]["stored"], result["ledger"]["expected"],
        "{result:#}"
    );
    process.signal("INT");
    let status = process.wait(LIMIT);
    // The demo's exit code is that of its own run.
    assert!(
        matches!(status.code(), Some(0 | 1)),
        "{status}: {}",
        process.output()
    );
    demo.assert_nothing_is_left();
}
