//! Strangers at the agents' socket while honest agents deliver.

use std::panic::resume_unwind;
use std::process::Command;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::process::nice;
use weir_runtime::Endpoint;
use weir_tests::flood::{self, Attack, Honest, Limit};
use weir_tests::mutants::{Descriptors, Dice, is_read};
use weir_tests::report::quantile;
use weir_tests::{Cluster, Usage, binary};

use crate::Settings;
use crate::link::{LONG, lively};
use crate::outcome::Outcome;
use crate::rig::{Rig, wait};

/// Most growth of the controller's memory under floods, and in a crowd, KiB.
const FLOOD_KIB: u64 = 32 * 1024;
const CROWD_KIB: u64 = 64 * 1024;
/// Most memory for one peer without a certificate, KiB.
const STRANGER_KIB: f64 = 64.0;
/// The agent that joins in a crowd.
const NEWCOMER: &str = "newcomer";
/// How much longer an honest agent may wait for its acknowledgements.
const LONGER: f64 = 2.0;

pub(crate) fn flood(settings: Settings) -> anyhow::Result<Outcome> {
    let each = Duration::from_secs(settings.or_quick(4, 1));
    let calm = each * Attack::ALL.len() as u32;
    let mut scene = Scene::set_in(Rig::up()?)?;
    scene.calm(calm);
    let endpoint: Endpoint = scene.rig.cluster.join_endpoint().parse()?;
    let mut done = Vec::new();
    let begun = Instant::now();
    for attack in Attack::ALL {
        let limit = Limit {
            frames: u64::MAX,
            time: each,
        };
        let flood = from_elsewhere(|| attack.run(&endpoint, limit))
            .with_context(|| format!("the controller takes no connection: {}", attack.name()))?;
        let cut = match flood.connections {
            1 if flood.closed == 0 => "not cut".to_owned(),
            n => format!("cut {} of {n}", flood.closed),
        };
        done.push(format!("{} {} ({cut})", attack.name(), flood.frames));
    }
    scene.outcome.injected = format!("frames: {}", done.join(", "));
    scene.end(begun, FLOOD_KIB)
}

/// Does it with the least share of the processors, as they are not the attacker's.
fn from_elsewhere<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    scope(|scope| {
        let stranger = scope.spawn(|| {
            // That of this thread; more niceness is always granted.
            nice(19).ok();
            work()
        });
        stranger.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

pub(crate) fn crowd(settings: Settings) -> anyhow::Result<Outcome> {
    let length = Duration::from_secs(settings.or_quick(20, 3));
    let count = settings.or_quick(10_000, 1_000);
    let mut scene = Scene::set_in(Rig::over_tls()?)?;
    let endpoint: Endpoint = scene.rig.cluster.doors().agents.parse()?;
    // What the controller waits for, then what its TLS alone would wait for.
    let (mut hello_kib, held) = one_hello_kib(&scene.rig, &endpoint, 15_000)?;
    let (longest_kib, longest_held) = one_hello_kib(&scene.rig, &endpoint, 0xfc00)?;
    hello_kib = hello_kib.max(longest_kib);
    scene.calm(length);
    // It has its certificate, and comes back in the crowd.
    let doors = scene.rig.cluster.doors().clone();
    let token = scene.rig.cluster.token(1);
    let newcomer = || Command::new(binary("weir-agent"));
    let cluster = &mut scene.rig.cluster;
    cluster.launch_at(&doors, &token, NEWCOMER, newcomer());
    let joined = |cluster: &Cluster| cluster.agent(NEWCOMER).output().matches("joined").count();
    wait("a certificate", || Ok((joined(cluster) > 0).then_some(())))?;
    cluster.take_agent(NEWCOMER).stop();
    let begun = Instant::now();
    let crowd = flood::idle(&endpoint, count)?;
    let one_more = Instant::now();
    let cluster = &mut scene.rig.cluster;
    cluster.launch_at(&doors, "", NEWCOMER, newcomer());
    while joined(cluster) < 2 {
        ensure!(
            one_more.elapsed() < Duration::from_secs(60),
            "no agent joins: {}",
            cluster.agent(NEWCOMER).output()
        );
        sleep(Duration::from_millis(10));
    }
    let joined = one_more.elapsed();
    scene.outcome.recovered_in(joined);
    scene.outcome.injected = format!(
        "{} connections, every second one in the middle of the TLS handshake",
        crowd.len()
    );
    scene.outcome.notes.push(format!(
        "an agent joined in {:.2} s; {hello_kib:.1} KiB for a peer without a certificate: \
         of 200 that said 15 kB {held} were waited for, of 200 that said 63 KiB {longest_held}",
        joined.as_secs_f64()
    ));
    scene.outcome.check(held > 0 && longest_held == 0, || {
        "a ClientHello was cut at another length".into()
    });
    scene.outcome.check(joined <= Duration::from_secs(5), || {
        format!("a new agent joined after {joined:?}")
    });
    scene.outcome.check(hello_kib <= STRANGER_KIB, || {
        format!("{hello_kib:.1} KiB for a peer without a certificate")
    });
    sleep(length.saturating_sub(begun.elapsed()));
    drop(crowd);
    scene.end(begun, CROWD_KIB)
}

/// The controller's memory for a peer without a certificate that has said almost all of
/// a long ClientHello, and how many of them were still heard after two seconds.
fn one_hello_kib(rig: &Rig, endpoint: &Endpoint, bytes: u16) -> anyhow::Result<(f64, usize)> {
    /// Fewer than the connections that a listener lets wait.
    const PEERS: usize = 200;
    let memory = || {
        let usage = Usage::of(rig.cluster.controller().id());
        let usage = usage.context("the controller has ended")?;
        anyhow::Ok(usage.anonymous_kib as f64)
    };
    let before = memory()?;
    let mut peers = Vec::new();
    for _ in 0..PEERS {
        // A server that takes less of it ends the connection meanwhile.
        peers.extend(flood::long_hello(endpoint, bytes));
    }
    // They have 5 s; what is under way arrives in far less.
    let mut most = before;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        most = most.max(memory()?);
        sleep(Duration::from_millis(20));
    }
    let mut held = 0;
    for peer in &mut peers {
        held += usize::from(peer.is_silent()?);
    }
    Ok(((most - before) / PEERS as f64, held))
}

pub(crate) fn noise(settings: Settings) -> anyhow::Result<Outcome> {
    let count = settings.or_quick(1_000_000, 10_000);
    let descriptors = Descriptors::read();
    let mut dice = settings.dice("noise");
    let mut outcome = Outcome::default();
    let (mut messages, mut refused) = (0_u64, 0_u64);
    let mut mutants = Dice::new(dice.below(u64::MAX));
    for method in descriptors.methods() {
        for message in [&method.request, &method.response] {
            for _ in 0..count {
                let bytes = descriptors.mutant(message, &mut mutants);
                let read = is_read(message, &bytes).context("a message that nobody reads")?;
                refused += u64::from(!read);
            }
            messages += count;
        }
    }
    outcome.injected = format!(
        "{messages} messages of {} methods",
        descriptors.methods().len()
    );
    outcome
        .notes
        .push(format!("{refused} refused, none has panicked"));
    Ok(outcome)
}

/// Honest agents: two in a run, and one whose acknowledgements are timed.
struct Scene {
    rig: Rig,
    run: u32,
    honest: Honest,
    calm: Vec<Duration>,
    outcome: Outcome,
}

impl Scene {
    /// Everything is up, in a run that goes on.
    fn set_in(mut rig: Rig) -> anyhow::Result<Self> {
        // The timed agent's records are of a run that was deleted.
        for _ in 0..2 {
            let line = "--from a1 --to a2 --udp 1M --for 1s --ignore behind,frozen";
            rig.cluster.run(&line.split(' ').collect::<Vec<_>>());
        }
        let deleted = rig.cluster.weir(&["delete", "r-0001"]);
        ensure!(deleted.code == 0, "{deleted:?}");
        let honest = Honest::start(&rig.cluster.join_endpoint(), "honest");
        let run = rig.begin(LONG)?;
        Ok(Self {
            rig,
            run,
            honest,
            calm: Vec::new(),
            outcome: Outcome::default(),
        })
    }

    /// Times acknowledgements while nothing is wrong.
    fn calm(&mut self, length: Duration) {
        let begun = Instant::now();
        sleep(length);
        self.calm = self.honest.waits(begun, Instant::now());
    }

    /// What came of it since `begun`.
    fn end(mut self, begun: Instant, most_kib: u64) -> anyhow::Result<Outcome> {
        let ended = Instant::now();
        let waits = self.honest.waits(begun, ended);
        let (calm, during) = (p99_ms(&self.calm)?, p99_ms(&waits)?);
        self.outcome.notes.push(format!(
            "ack p99 {during:.1} ms, before {calm:.1} ms ({} and {} batches)",
            waits.len(),
            self.calm.len()
        ));
        self.outcome.check(during < calm * LONGER, || {
            format!("acks took {:.1} times as long", during / calm)
        });
        let mut outcome = self.outcome;
        outcome.recovered = outcome.recovered.max(Some(self.rig.fresh()?));
        self.honest.stop().context("the timed agent's session")?;
        let (_, document) = self.rig.stop()?;
        lively(&mut outcome);
        self.rig.judge(&mut outcome, self.run, &document);
        let grew = outcome.grew_kib;
        outcome.check(grew <= most_kib, || format!("{grew} KiB more"));
        Ok(outcome)
    }
}

fn p99_ms(waits: &[Duration]) -> anyhow::Result<f64> {
    let ms: Vec<f64> = waits.iter().map(|wait| wait.as_secs_f64() * 1e3).collect();
    quantile(&ms, 0.99).context("no acknowledgement was timed")
}
