//! What idle agents cost the controller, how soon all are back after its restart, and
//! what an agent costs whose records nobody takes.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use weir_tests::report::{Figure, Spread, Target};
use weir_tests::{Background, Cluster, Crowd, Usage};

use crate::Settings;

/// How long agents are left alone before they are looked at.
const IDLE: Duration = Duration::from_secs(5);
/// What takes longer has not happened.
const PATIENCE: Duration = Duration::from_secs(120);
/// Bytes of records on disk at which an agent's memory for them is full: it holds 8 MiB.
const FULL_BYTES: u64 = 12 << 20;

/// The figures.
pub(crate) fn measure(settings: Settings) -> anyhow::Result<Vec<Figure>> {
    let mut figures = idle(settings)?;
    figures.push(full_spool(settings)?);
    Ok(figures)
}

fn idle(settings: Settings) -> anyhow::Result<Vec<Figure>> {
    let (some, many) = settings.or_quick((200, 1_000), (20, 40));
    let mut cluster = Cluster::over_tls();
    let none = memory(cluster.controller().id())?;
    let mut crowd = Crowd::join(&cluster, some / 2);
    let mut after = |more| {
        crowd.add(&cluster, more);
        sleep(IDLE);
        memory(cluster.controller().id())
    };
    let half = after(0)?;
    let whole = after(some - some / 2)?;
    let each = (whole - half) / (some - some / 2) as f64;
    let fixed = half - each * (some / 2) as f64;
    let mut figures = vec![
        Figure::new(format!(
            "controller's memory (RssAnon) per idle agent, from {} to {some} agents, KiB",
            some / 2
        ))
        .ours(Some(Spread::one(each)))
        .target(Target::AtMost(128.0))
        .note("two connections each, TLS with certificates at both ends"),
        Figure::new("controller's memory beside its agents, KiB")
            .ours(Some(Spread::one(fixed)))
            .note(format!("{none:.0} KiB before the first agent")),
        back(&mut cluster, some, 15.0),
    ];
    let settled = |cluster: &Cluster| {
        sleep(IDLE);
        memory(cluster.controller().id())
    };
    let before = settled(&cluster)?;
    crowd.add(&cluster, many - some);
    let joined = settled(&cluster)?;
    let again = back(&mut cluster, many, 30.0);
    let returned = settled(&cluster)?;
    for (all, how) in [
        (joined, "they have just enrolled"),
        (returned, "all have come back to a controller started again"),
    ] {
        let what = format!("the same, from {some} to {many} agents, KiB");
        let each = (all - before) / (many - some) as f64;
        let figure = Figure::new(what).ours(Some(Spread::one(each)));
        figures.push(figure.target(Target::AtMost(128.0)).note(how));
    }
    figures.push(again);
    Ok(figures)
}

/// Kills the controller and starts it again.
fn back(cluster: &mut Cluster, count: usize, target_s: f64) -> Figure {
    cluster.kill_controller();
    let begun = Instant::now();
    cluster.start_controller();
    cluster.await_agents_within(count, PATIENCE);
    let back = begun.elapsed().as_secs_f64();
    let what = format!("{count} agents back after kill -9 and start of the controller, s");
    Figure::new(what)
        .ours(Some(Spread::one(back)))
        .target(Target::AtMost(target_s))
}

/// An agent that measures while its controller is away, until the records in its memory
/// are as many as may be there.
fn full_spool(settings: Settings) -> anyhow::Result<Figure> {
    let full = settings.or_quick(FULL_BYTES, FULL_BYTES / 8);
    let mut cluster = Cluster::on_loopback(&[("a1", &["asn=150"]), ("a2", &["asn=151"])]);
    let before = of_both(&cluster)?;
    let set = "--udp 500pkt/s --size 100 --streams 128 --for 600s";
    let sets = [set; 4].join(" --with ");
    let line = format!("run --from a1 --to a2 --interval 100ms --ignore behind,frozen {sets}");
    let _run = Background::start(&cluster, &line);
    let spools = ["a1", "a2"].map(|name| cluster.agent_data(name).join("spool"));
    let begun = Instant::now();
    let kept = || spools.iter().map(|spool| bytes(spool)).max().unwrap_or(0);
    while kept() == 0 {
        ensure!(begun.elapsed() < PATIENCE, "no records were made");
        sleep(Duration::from_millis(50));
    }
    cluster.kill_controller();
    let mut most = before;
    while kept() < full {
        ensure!(begun.elapsed() < PATIENCE, "{} bytes of records", kept());
        most = most.max(of_both(&cluster)?);
        sleep(Duration::from_millis(50));
    }
    let what = "memory (RssAnon) of an agent, its records' memory full, KiB";
    Ok(Figure::new(what)
        .ours(Some(Spread::one(most)))
        .target(Target::AtMost(24.0 * 1_024.0))
        .note(format!(
            "the larger of a sender and a receiver of 512 streams; {before:.0} KiB idle"
        )))
}

/// KiB of the agent that has more.
fn of_both(cluster: &Cluster) -> anyhow::Result<f64> {
    let [one, other] = ["a1", "a2"].map(|name| memory(cluster.agent(name).id()));
    Ok(one?.max(other?))
}

fn memory(pid: u32) -> anyhow::Result<f64> {
    let usage = Usage::of(pid).context("the process has ended")?;
    Ok(usage.anonymous_kib as f64)
}

/// Bytes of the files in a directory and all below it.
fn bytes(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(file) if file.is_file() => file.len(),
            Ok(_) => bytes(&entry.path()),
            // It has just been removed.
            Err(_) => 0,
        })
        .sum()
}
