//! Figures against peers and targets. Ours and the peer run in turn in the same
//! two namespaces; medians, ranges and ratios of the pairs are printed.
//!
//! Started by `tests/bench`.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use weir_lab::Topology;
use weir_tests::{Cluster, Process, binary, eventually};

/// Rounds of a paired comparison.
const ROUNDS: usize = 5;
/// Length of one measurement, s.
const SECONDS: &str = "4";
const FROM: &str = "150-a";
const TO: &str = "151-b";

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|each| each == name);
    println!("{}\n", machine());
    println!("| figure | ours | peer or target | ratio |\n|---|---|---|---|");
    if wants("tcp") || wants("udp") {
        let cluster = pair();
        let server = iperf3_server(&cluster);
        if wants("tcp") {
            compare(
                "TCP, one stream, cubic, Gbit/s received",
                || tcp(&cluster),
                || {
                    let bps = iperf3(&cluster, &["-C", "cubic"])["end"]["sum_received"]
                    ["bits_per_second"]
                    .as_f64();
                    bps.expect("iperf3 says what was received") / 1e9
                },
            );
        }
        if wants("udp") {
            compare(
                "UDP 1448 B, unlimited, thousand packets/s received",
                || udp(&cluster),
                || {
                    let end = &iperf3(&cluster, &["-u", "-b", "0", "-l", "1448"])["end"]["sum"];
                    let figure = |name: &str| end[name].as_f64().expect("iperf3 counts packets");
                    (figure("packets") - figure("lost_packets")) / figure("seconds") / 1e3
                },
            );
        }
        server.kill();
    }
    if wants("plan") {
        plan();
    }
    if wants("idle") {
        idle();
    }
    if wants("size") {
        size();
    }
}

/// One line on where the figures were made.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name\t: "))
        .unwrap_or("?");
    let cores = cpu
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{cores} x {model}, kernel {}, load {}",
        kernel.trim(),
        read("/proc/loadavg").trim()
    )
}

/// Two hosts in two ASes with a direct link.
fn pair() -> Cluster {
    let topology = Topology::new("bench")
        .asn(150, |a| a.host("a"))
        .asn(151, |a| a.host("b"))
        .link(150, 151);
    Cluster::in_lab(&topology, &[FROM, TO])
}

fn iperf3_server(cluster: &Cluster) -> Process {
    let mut command = cluster
        .lab()
        .command(TO, "iperf3")
        .expect("the host is there");
    command.args(["-s", "--forceflush"]);
    let log = cluster.directory().join("iperf3.txt");
    let server = Process::start("iperf3", command, &log);
    eventually("iperf3 -s", Duration::from_secs(10), || {
        server.output().contains("listening").then_some(())
    });
    server
}

fn iperf3(cluster: &Cluster, options: &[&str]) -> Value {
    let to = cluster
        .lab()
        .address(TO)
        .expect("the host is there")
        .to_string();
    let mut command = cluster
        .lab()
        .command(FROM, "iperf3")
        .expect("the host is there");
    command
        .args(["-c", &to, "-t", SECONDS, "-J"])
        .args(options)
        .stdin(Stdio::null());
    let output = command.output().expect("iperf3 runs");
    serde_json::from_slice(&output.stdout).expect("iperf3 prints JSON")
}

fn measure(cluster: &Cluster, options: &[&str]) -> Value {
    let length = format!("{SECONDS}s");
    let fixed = ["--from", FROM, "--to", TO, "--for", &length];
    let arguments: Vec<&str> = fixed.into_iter().chain(options.iter().copied()).collect();
    let (code, mut result) = cluster.run(&arguments);
    assert_eq!(code, 0, "{result:#}");
    result["flows"][0].take()
}

fn tcp(cluster: &Cluster) -> f64 {
    let flow = measure(cluster, &["--tcp", "max", "--cc", "cubic"]);
    flow["rate_bps"].as_f64().expect("a rate") / 1e9
}

fn udp(cluster: &Cluster) -> f64 {
    let flow = measure(cluster, &["--udp", "max", "--size", "1448"]);
    let packets = flow["received"]["packets"].as_f64().expect("packets");
    packets / flow["duration_s"].as_f64().expect("a duration") / 1e3
}

/// Runs both in turn; the ratio is the median of the ratios of the pairs.
fn compare(figure: &str, mut ours: impl FnMut() -> f64, mut peer: impl FnMut() -> f64) {
    let pairs: Vec<(f64, f64)> = (0..ROUNDS).map(|_| (ours(), peer())).collect();
    let ours = Spread::of(pairs.iter().map(|(ours, _)| *ours));
    let peer = Spread::of(pairs.iter().map(|(_, peer)| *peer));
    let ratio = Spread::of(pairs.iter().map(|(ours, peer)| ours / peer));
    println!("| {figure} | {ours} | iperf3 {peer} | {ratio} |");
}

/// Median and range.
struct Spread(Vec<f64>);

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let values = &self.0;
        let (low, high) = (values[0], values[values.len() - 1]);
        write!(f, "{:.2} ({low:.2} to {high:.2})", values[values.len() / 2])
    }
}

/// A mesh of 20 hosts, planned through the command line.
fn plan() {
    let names: Vec<String> = (0..20).map(|i| format!("host_{i}")).collect();
    let agents: Vec<(&str, &[&str])> = names
        .iter()
        .map(|name| (name.as_str(), ["role=host"].as_slice()))
        .collect();
    let cluster = Cluster::on_loopback(&agents);
    let arguments = [
        "plan",
        "--json",
        "--from",
        "role=host",
        "--how",
        "mesh",
        "--udp",
        "1M",
        "--for",
        "5s",
    ];
    let times = (0..ROUNDS).map(|_| {
        let begun = Instant::now();
        let ran = cluster.weir(&arguments);
        let seconds = begun.elapsed().as_secs_f64();
        assert_eq!(ran.code, 0, "{ran:?}");
        seconds
    });
    let spread = Spread::of(times);
    println!(
        "| plan of a 20-host mesh (380 flows), `weir plan` as a whole, s | {spread} | < 1 | |"
    );
}

/// Memory and CPU of one idle agent, 60 s after its start.
fn idle() {
    let cluster = Cluster::on_loopback(&[("idle", &[])]);
    let pid = cluster.agent("idle").id();
    thread::sleep(Duration::from_secs(60));
    let before = cpu_ticks(pid);
    thread::sleep(Duration::from_secs(30));
    let share = (cpu_ticks(pid) - before) as f64 / 100.0 / 30.0 * 100.0;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the agent runs");
    let mib = |name: &str| {
        let line = status
            .lines()
            .find(|line| line.starts_with(name))
            .expect("a known line");
        let kib: f64 = line
            .split_whitespace()
            .nth(1)
            .expect("a value")
            .parse()
            .expect("a number");
        kib / 1024.0
    };
    println!(
        "| idle agent, RssAnon, MiB (VmRSS {:.1}) | {:.2} | <= 2 | |",
        mib("VmRSS"),
        mib("RssAnon")
    );
    println!("| idle agent, share of a core, % | {share:.2} | <= 0.2 | |");
}

/// User and system time of a process in ticks of 10 ms (proc(5)).
fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the agent runs");
    let after_name = stat.rsplit(')').next().expect("a name in brackets");
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    [11, 12]
        .iter()
        .map(|&at: &usize| fields[at].parse::<u64>().expect("ticks"))
        .sum()
}

/// The agent as one static file without symbols.
fn size() {
    let directory = tempfile::tempdir().expect("a directory");
    let copy = directory.path().join("weir-agent");
    fs::copy(binary("weir-agent"), &copy).expect("a copy");
    let status = Command::new("strip")
        .arg(&copy)
        .status()
        .expect("strip is there (binutils)");
    assert!(status.success());
    let bytes = fs::metadata(&copy).expect("the copy").len();
    println!(
        "| weir-agent, static, stripped, MB | {:.2} | <= 7 | |",
        bytes as f64 / 1e6
    );
}
