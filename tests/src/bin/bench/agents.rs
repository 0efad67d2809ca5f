//! What an agent costs its host: a thousand slow flows, none at all, its file.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use weir_tests::report::{Figure, Spread, Target};
use weir_tests::{Cluster, binary};

use crate::Settings;
use crate::network::{FROM, Network, TO, invalidity, number, result_as_it_is};
use crate::program::pause;

/// A thousand flows of 10 packets a second between two agents.
pub(crate) fn flows(settings: &Settings) -> anyhow::Result<Vec<Figure>> {
    const RATE: f64 = 10.0;
    let (count, seconds) = (settings.flows, settings.flow_seconds);
    let network = Network::up()?;
    let mut campaign = format!(
        "[pairs]\nfrom = \"{FROM}\"\nto = \"{TO}\"\n[[phase]]\nname = \"all\"\nfor = \"{seconds}s\"\n"
    );
    campaign.extend((0..count).map(|flow| {
        format!("[[flow]]\nname = \"f{flow}\"\ntraffic = {{ udp = \"{RATE} pkt/s\", size = 64 }}\n")
    }));
    let file = network.campaign("flows.toml", &campaign)?;
    let mut run = network.start_run(&[&file], f64::from(seconds))?;
    network.await_t0(&mut run)?;
    // The first and the last second are not alike to the others.
    pause(Duration::from_secs(1))?;
    let agents = [FROM, TO].map(|agent| network.cluster().agent(agent).id());
    let costs = watch(agents, seconds.saturating_sub(2))?;
    let mut figures = Vec::new();
    for (role, cost) in ["sending", "receiving"].into_iter().zip(costs) {
        let what = format!("{count} flows of 10 pkt/s, {role} agent");
        let share = Figure::new(format!("{what}, share of a core, %"));
        let memory = Figure::new(format!("{what}, RssAnon at most, MiB"));
        figures.extend([
            share
                .ours(Some(Spread::one(cost.core_percent)))
                .target(Target::AtMost(35.0)),
            memory
                .ours(Some(Spread::one(cost.anonymous_mib)))
                .target(Target::AtMost(24.0)),
        ]);
    }
    let document = result_as_it_is(run)?;
    let flows = document["flows"]
        .as_array()
        .context("the result has flows")?;
    let ran = flows.len();
    ensure!(ran == count as usize, "{ran} of {count} flows ran");
    let mut furthest: f64 = 0.0;
    for flow in flows {
        let received = number(&flow["received"]["packets"])? / f64::from(seconds);
        furthest = furthest.max((received / RATE - 1.0).abs() * 100.0);
    }
    let what = format!("{count} flows of 10 pkt/s, the rate furthest off over {seconds} s, %");
    let mut rates = Figure::new(what)
        .ours(Some(Spread::one(furthest)))
        .target(Target::AtMost(0.5));
    let invalid: Vec<String> = flows.iter().filter_map(invalidity).collect();
    if let Some(first) = invalid.first() {
        rates = rates.note(format!("{} flows invalid: {first}", invalid.len()));
    }
    figures.push(rates);
    Ok(figures)
}

/// What a process costs.
struct Cost {
    core_percent: f64,
    /// The most that was seen.
    anonymous_mib: f64,
}

/// Watches two processes for so many seconds.
fn watch(pids: [u32; 2], seconds: u32) -> anyhow::Result<Vec<Cost>> {
    let begun = Instant::now();
    let mut before = Vec::new();
    for pid in pids {
        before.push(cpu_seconds(pid)?);
    }
    let mut most = [0.0_f64; 2];
    for _ in 0..seconds {
        pause(Duration::from_secs(1))?;
        for (most, pid) in most.iter_mut().zip(pids) {
            *most = most.max(memory_mib(pid, "RssAnon")?);
        }
    }
    let elapsed = begun.elapsed().as_secs_f64();
    let costs = pids.into_iter().zip(before).zip(most);
    let cost = |((pid, before), anonymous_mib)| {
        let core_percent = (cpu_seconds(pid)? - before) / elapsed * 100.0;
        Ok(Cost {
            core_percent,
            anonymous_mib,
        })
    };
    costs.map(cost).collect()
}

/// One idle agent, connected.
pub(crate) fn idle(settings: &Settings) -> anyhow::Result<Vec<Figure>> {
    let cluster = Cluster::on_loopback(&[("idle", &[])]);
    let pid = cluster.agent("idle").id();
    pause(settings.idle)?;
    let begun = Instant::now();
    let before = cpu_seconds(pid)?;
    pause(settings.idle / 2)?;
    let share = (cpu_seconds(pid)? - before) / begun.elapsed().as_secs_f64() * 100.0;
    let resident = memory_mib(pid, "VmRSS")?;
    Ok(vec![
        Figure::new(format!(
            "idle agent, RssAnon {} s after its start, MiB",
            settings.idle.as_secs()
        ))
        .ours(Some(Spread::one(memory_mib(pid, "RssAnon")?)))
        .target(Target::AtMost(2.0))
        .note(format!("VmRSS {resident:.1}")),
        Figure::new("idle agent, share of a core, %")
            .ours(Some(Spread::one(share)))
            .target(Target::AtMost(0.2)),
    ])
}

/// The agent as one static file without symbols.
pub(crate) fn size(_settings: &Settings) -> anyhow::Result<Vec<Figure>> {
    let directory = tempfile::tempdir()?;
    let copy = directory.path().join("weir-agent");
    fs::copy(binary("weir-agent"), &copy)?;
    let status = Command::new("strip")
        .arg(&copy)
        .status()
        .context("strip (binutils)")?;
    ensure!(status.success(), "strip failed");
    let bytes = fs::metadata(&copy)?.len();
    Ok(vec![
        Figure::new("weir-agent, static, stripped, MB")
            .ours(Some(Spread::one(bytes as f64 / 1e6)))
            .target(Target::AtMost(7.0)),
    ])
}

/// A mesh of 20 hosts, planned through the command line.
pub(crate) fn plan(settings: &Settings) -> anyhow::Result<Vec<Figure>> {
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
    let mut times = Vec::new();
    for _ in 0..settings.rounds {
        let begun = Instant::now();
        let ran = cluster.weir(&arguments);
        times.push(begun.elapsed().as_secs_f64());
        ensure!(ran.code == 0, "weir plan: {}", ran.stderr);
    }
    Ok(vec![
        Figure::new("plan of a 20-host mesh (380 flows), `weir plan` as a whole, s")
            .ours(Spread::of(times))
            .target(Target::AtMost(1.0)),
    ])
}

/// User and system time of a process, s (proc(5); the kernel scales ticks to what
/// was run exactly).
fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("the agent has ended")?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    let (user, system) = ticks(11)
        .zip(ticks(12))
        .context("ticks in /proc/PID/stat")?;
    Ok((user + system) / 100.0)
}

/// A line of /proc/PID/status, MiB.
fn memory_mib(pid: u32, name: &str) -> anyhow::Result<f64> {
    let status =
        fs::read_to_string(format!("/proc/{pid}/status")).context("the agent has ended")?;
    let line = status.lines().find(|line| line.starts_with(name));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    Ok(kib.context("a line of /proc/PID/status")? / 1024.0)
}
