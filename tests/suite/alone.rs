//! `weir-agent receive` and `weir-agent generate`: two hosts and no controller.

mod namespaces;
mod strangers;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use weir_lab::{Lab, Topology};
use weir_tests::ground::Ground;
use weir_tests::{Process, binary, eventually, needs};

/// How long a program has to start, or to end after its test.
const LIMIT: Duration = Duration::from_secs(30);

/// Two hosts that generate and one that receives.
struct Hosts {
    receiver: Option<Process>,
    lab: Lab,
    directory: TempDir,
}

/// What a generator printed and how it ended.
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn document(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", self.stdout, self.stderr))
    }
}

impl Hosts {
    fn up(receive: &str) -> Self {
        let topology = Topology::new("alone")
            .exchange("ix100")
            .asn(150, |a| a.join("ix100").host("host"))
            .asn(151, |a| a.join("ix100").host("host"))
            .asn(162, |a| a.join("ix100").host("host"));
        let lab = Lab::up(&topology).unwrap_or_else(|error| panic!("{error}"));
        let directory = tempfile::tempdir().expect("a directory");
        let mut hosts = Self {
            receiver: None,
            lab,
            directory,
        };
        hosts.receiver = Some(hosts.receive(receive));
        hosts
    }

    fn agent(&self, host: &str, line: &str) -> Command {
        let mut command = self
            .lab
            .command(host, binary("weir-agent"))
            .unwrap_or_else(|error| panic!("{error}"));
        command
            .args(line.split_whitespace())
            .env("WEIR_NAME", host)
            .stdin(Stdio::null());
        command
    }

    fn receive(&self, line: &str) -> Process {
        let log = self.directory.path().join("receiver.log");
        let command = self.agent("162-host", &format!("receive {line}"));
        let receiver = Process::start("weir-agent receive", command, &log);
        eventually("a receiver that waits", LIMIT, || {
            receiver.output().contains("waits for").then_some(())
        });
        receiver
    }

    fn receiver(&self) -> &Process {
        self.receiver.as_ref().expect("the receiver was started")
    }

    fn address(&self) -> String {
        let address = self.lab.address("162-host");
        address
            .unwrap_or_else(|error| panic!("{error}"))
            .to_string()
    }

    /// The words behind `weir-agent` towards the receiver; what a busy machine does
    /// to the schedule decides nothing.
    fn line(&self, line: &str) -> String {
        format!("generate {} {line} --ignore behind,frozen", self.address())
    }

    fn generate(&self, line: &str) -> Ran {
        let output = self.agent("150-host", &self.line(line)).output();
        let output = output.expect("weir-agent runs");
        Ran {
            code: output.status.code().unwrap_or(128),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// A generator of its own, its output in a file.
    fn start(&self, host: &str, line: &str) -> Process {
        let log = self.log(host);
        Process::start(host, self.agent(host, &self.line(line)), &log)
    }

    fn log(&self, host: &str) -> std::path::PathBuf {
        self.directory.path().join(format!("{host}.log"))
    }
}

fn flow(document: &Value) -> &Value {
    &document["flows"][0]
}

fn count(value: &Value, path: &str) -> u64 {
    let found = value.pointer(path).and_then(Value::as_u64);
    found.unwrap_or_else(|| panic!("{path} is no count in {value:#}"))
}

#[test]
fn what_the_kernel_went_through_is_told_once_for_both_hosts() {
    needs!(Ground::Lab);
    let hosts = Hosts::up("");
    let document = hosts.generate("--udp 2M --for 2s --json").document();
    let kernels = document["provenance"]["kernels"].as_array();
    let [kernel] = kernels.expect("kernels").as_slice() else {
        panic!("namespaces share a kernel: {:#}", document["provenance"]);
    };
    let phase = &kernel["phases"][0];
    assert!(phase["busy"].as_f64().expect("it ran") > 0.0, "{phase:#}");
    assert!(phase["steal"].is_number(), "{phase:#}");
    assert!(phase["softnet_processed"].as_u64() > Some(0), "{phase:#}");
}

#[test]
fn hosts_of_one_name_are_told_apart_by_what_they_do() {
    needs!(Ground::Lab);
    let hosts = Hosts::up("");
    let ran = hosts.generate("--host 162-host --udp 1M --for 1s --json");
    let document = ran.document();
    assert_eq!(ran.code, 0, "{document:#}");
    let flow = flow(&document);
    assert_eq!(
        (&flow["from"], &flow["to"]),
        (&"generator".into(), &"receiver".into())
    );
}

#[test]
fn udp_is_told_as_weir_run_tells_it() {
    needs!(Ground::Lab);
    let hosts = Hosts::up("");
    let ran = hosts.generate("--udp 4M --size 500 --for 2s --json");
    let document = ran.document();
    assert_eq!(ran.code, 0, "{document:#}");
    assert_eq!(document["schema"], "weir.result/1");
    let flow = flow(&document);
    assert_eq!(
        (&flow["from"], &flow["to"]),
        (&"150-host".into(), &"162-host".into())
    );
    // 4 Mbit/s for 2 s are 2,000 packets of 500 B.
    assert_eq!(count(flow, "/offered/packets"), 2_000);
    let lost = |place: &str| count(flow, &format!("/lost/{place}"));
    let sent = count(flow, "/sent/packets");
    assert_eq!(sent + lost("sender"), 2_000, "{flow:#}");
    let received = count(flow, "/received/packets");
    assert_eq!(
        received + lost("network") + lost("receiver"),
        sent,
        "{flow:#}"
    );
    assert_eq!(flow["delay_us"]["clock"], "same-kernel");
    assert_eq!(count(flow, "/delay_us/n"), received);
    assert!(flow["jitter_us"].is_number() && flow["lateness_us"]["p99"].is_number());
    assert_eq!(document["ledger"]["expected"], document["ledger"]["stored"]);
    // The receiver shows the same table.
    let log = || hosts.receiver().output();
    eventually("the receiver's table", LIMIT, || {
        log().contains("150-host -> 162-host").then_some(())
    });
    assert!(log().contains("PASS"), "{}", log());
}

#[test]
fn tcp_has_its_own_figures_and_lines_for_each_interval() {
    needs!(Ground::Lab);
    let hosts = Hosts::up("");
    let ran = hosts.generate("--tcp 20M --streams 2 --for 2s --interval 500ms");
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    let head = lines.iter().position(|line| line.contains("cwnd kB"));
    let head = head.unwrap_or_else(|| panic!("no head in {}", ran.stdout));
    for (at, time) in ["0-0.5 ", "0.5-1 ", "1-1.5 ", "1.5-2 "]
        .into_iter()
        .enumerate()
    {
        let line = lines[head + 1 + at].trim_start();
        assert!(line.starts_with(time), "{line}");
    }
    for what in [
        "retransmits",
        "rtt ",
        "acked",
        "limited by",
        "no flow invalid",
    ] {
        assert!(ran.stdout.contains(what), "{what}: {}", ran.stdout);
    }
}

#[test]
fn two_generators_are_served_at_once() {
    needs!(Ground::Lab);
    let hosts = Hosts::up("");
    let line = "--udp 2M --for 3s";
    let mut generators = ["150-host", "151-host"].map(|host| hosts.start(host, line));
    // Both measure at the same time: each tells an interval before either has ended.
    eventually("both at work", LIMIT, || {
        let working = generators
            .iter()
            .all(|generator| generator.output().contains("\n      0-1 "));
        working.then_some(())
    });
    for generator in &mut generators {
        let status = generator.wait(LIMIT);
        assert_eq!(status.code(), Some(0), "{}", generator.output());
        assert!(generator.output().contains("no flow invalid"));
    }
}

#[test]
fn ctrl_c_stops_both_ends_and_the_result_follows() {
    needs!(Ground::Lab);
    let hosts = Hosts::up("");
    let mut generator = hosts.start("150-host", "--udp 2M --for 60s");
    eventually("an interval", LIMIT, || {
        generator.output().contains("\n      0-1 ").then_some(())
    });
    generator.signal("INT");
    let status = generator.wait(LIMIT);
    let told = generator.output();
    assert_eq!(status.code(), Some(130), "{told}");
    assert!(
        told.contains("stopping") && told.contains("PARTIAL"),
        "{told}"
    );
    assert!(told.contains("stopped: interrupted"), "{told}");
    // Both ends said their totals, and the receiver serves on.
    assert!(!told.contains("unclosed"), "{told}");
    assert_eq!(hosts.generate("--udp 1M --for 1s").code, 0);
}

#[test]
fn a_receiver_that_ends_or_dies_is_a_partial_result() {
    needs!(Ground::Lab);
    for (signal, words) in [
        ("INT", "by the receiver"),
        ("KILL", "the connection to the receiver is gone"),
    ] {
        let mut hosts = Hosts::up("");
        let mut generator = hosts.start("150-host", "--udp 2M --for 60s");
        eventually("an interval", LIMIT, || {
            generator.output().contains("\n      0-1 ").then_some(())
        });
        let mut receiver = hosts.receiver.take().expect("it was started");
        receiver.signal(signal);
        let status = generator.wait(LIMIT);
        let told = generator.output();
        assert_eq!(status.code(), Some(3), "{signal}: {told}");
        assert!(told.contains(words), "{signal}: {told}");
        let ended = receiver.wait(LIMIT);
        assert_eq!(ended.success(), signal == "INT", "{}", receiver.output());
    }
}

#[test]
fn nobody_there_is_told_with_the_way_out() {
    needs!(Ground::Lab);
    let hosts = Hosts::up("");
    let line = |target: &str| format!("generate {target} --udp 1M --for 1s --settle 300ms");
    for (target, words) in [
        (
            format!("{}:7999", hosts.address()),
            "is `weir-agent receive` running there?",
        ),
        ("10.199.0.1".to_owned(), "10.199.0.1:7900"),
        ("8.8.8.8".to_owned(), "public address"),
        ("no-such-host.invalid".to_owned(), "its name is not known"),
    ] {
        let output = hosts.agent("150-host", &line(&target)).output();
        let output = output.expect("weir-agent runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{target}: {said}");
        assert!(said.contains(words), "{target}: {said}");
    }
}

#[test]
fn a_receiver_sends_only_when_it_was_started_to() {
    needs!(Ground::Lab);
    let mut hosts = Hosts::up("");
    let refused = hosts.generate("--udp 1M --reverse --for 1s");
    assert_eq!(refused.code, 2, "{}", refused.stdout);
    assert!(
        refused.stderr.contains("--allow-generate"),
        "{}",
        refused.stderr
    );
    hosts.receiver.take().expect("it was started").stop();
    hosts.receiver = Some(hosts.receive("--allow-generate"));
    let ran = hosts.generate("--udp 1M --reverse --for 1s --json");
    let document = ran.document();
    assert_eq!(ran.code, 0, "{document:#}");
    assert_eq!(flow(&document)["from"], "162-host");
    assert!(count(flow(&document), "/received/packets") > 0);
    let ran = hosts.generate("--tcp 5M --both --for 1s --json");
    let document = ran.document();
    assert_eq!(ran.code, 0, "{document:#}");
    assert_eq!(document["flows"].as_array().map(Vec::len), Some(2));
}

#[test]
fn one_test_gives_its_exit_code_at_both_ends() {
    needs!(Ground::Lab);
    let mut hosts = Hosts::up("");
    hosts.receiver.take().expect("it was started").stop();
    hosts.receiver = Some(hosts.receive("--once --json"));
    let ran = hosts.generate("--udp 1M --for 1s --quiet --expect rate>=1Gbit/s");
    assert_eq!(ran.code, 1, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("NOT HELD"), "{}", ran.stdout);
    let mut receiver = hosts.receiver.take().expect("it was started");
    assert_eq!(
        receiver.wait(LIMIT).code(),
        Some(1),
        "{}",
        receiver.output()
    );
    let last = receiver.output();
    let document = last.lines().find(|line| line.starts_with('{'));
    let document: Value = serde_json::from_str(document.expect("a document")).expect("JSON");
    assert_eq!(document["exit"], 1);
}

/// A receiver on loopback for tests that need no network, and its address.
fn on_loopback(directory: &Path) -> (Process, String) {
    let log = directory.join("receiver.log");
    let mut command = Command::new(binary("weir-agent"));
    command.args(["receive", "--listen", "127.0.0.1:0"]);
    let receiver = Process::start("weir-agent receive", command, &log);
    let at = eventually("a receiver that waits", LIMIT, || {
        let text = fs::read_to_string(&log).ok()?;
        let at = text.split("generators at ").nth(1)?.split(": ").next()?;
        Some(at.to_owned())
    });
    (receiver, at)
}
