//! Faults of the network between agents and controller: the kernel injects them on the
//! links that carry control and records, in TLS; what is measured goes another way.

use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use weir_lab::Rate;
use weir_tests::cancel;

use crate::Settings;
use crate::link::{CALM, LONG, lively};
use crate::outcome::Outcome;
use crate::rig::{AGENTS, Rig, wait};
use crate::wires::Drops;

/// Within what an agent that is silent is called lost, with what it takes to look.
const LOST: Duration = Duration::from_secs(17);
/// Nothing passes.
const SILENCE: Drops = Drops::All {
    up: true,
    down: true,
};

/// The time in which every fault of a network has to be noticed.
fn noticed(outcome: &mut Outcome, most: Duration) {
    let detected = outcome.detected.unwrap_or_default();
    outcome.check(detected <= most, || format!("noticed after {detected:?}"));
}

pub(crate) fn partition(settings: Settings) -> anyhow::Result<Outcome> {
    let (length, state) = settings.or_quick((60, "lost"), (8, "suspect"));
    let length = Duration::from_secs(length);
    let mut rig = Rig::wired()?;
    let run = rig.begin(CALM + length + settings.slack())?;
    let mut outcome = Outcome::default();
    let begun = Instant::now();
    rig.wires().drop_packets(SILENCE)?;
    outcome.detected = Some(rig.until_state(AGENTS[1], state)?);
    sleep(length.saturating_sub(begun.elapsed()));
    let counted = rig.wires().pass_packets()?;
    let silent = begun.elapsed().as_secs_f64();
    outcome.recovered = Some(rig.fresh()?);
    let (_, document) = if settings.quick {
        rig.stop()?
    } else {
        rig.end()?
    };
    outcome.injected = format!("{silent:.0} s, {} packets dropped", counted.dropped);
    outcome.check(counted.dropped > 0, || "nothing was dropped".into());
    noticed(&mut outcome, LOST);
    lively(&mut outcome);
    rig.judge(&mut outcome, run, &document);
    Ok(outcome)
}

/// Agents without a run, which try less often.
pub(crate) fn idle(settings: Settings) -> anyhow::Result<Outcome> {
    let length = Duration::from_secs(settings.or_quick(30, 8));
    let rig = Rig::wired()?;
    let mut outcome = Outcome::default();
    let begun = Instant::now();
    rig.wires().drop_packets(SILENCE)?;
    outcome.detected = Some(rig.until_state(AGENTS[1], settings.or_quick("lost", "suspect"))?);
    sleep(length.saturating_sub(begun.elapsed()));
    let counted = rig.wires().pass_packets()?;
    let silent = begun.elapsed().as_secs_f64();
    let healed = Instant::now();
    for agent in AGENTS {
        rig.until_state(agent, "alive")?;
    }
    outcome.recovered = Some(healed.elapsed());
    outcome.injected = format!("{silent:.0} s, {} packets dropped", counted.dropped);
    outcome.check(counted.dropped > 0, || "nothing was dropped".into());
    noticed(&mut outcome, LOST);
    lively(&mut outcome);
    Ok(outcome)
}

pub(crate) fn one_way(settings: Settings) -> anyhow::Result<Outcome> {
    let length = Duration::from_secs(settings.or_quick(20, 3));
    let mut rig = Rig::wired()?;
    let run = rig.begin(LONG)?;
    let mut outcome = Outcome::default();
    let mut dropped = Vec::new();
    for up in [true, false] {
        let begun = Instant::now();
        rig.wires().drop_packets(Drops::All { up, down: !up })?;
        if up && !settings.quick {
            outcome.detected = Some(rig.until_state(AGENTS[1], "lost")?);
        }
        sleep(length.saturating_sub(begun.elapsed()));
        dropped.push(rig.wires().pass_packets()?.dropped);
        outcome.recovered_in(rig.fresh()?);
    }
    let (_, document) = rig.stop()?;
    outcome.injected = format!(
        "2 x {} s, {} packets dropped up, {} down",
        length.as_secs(),
        dropped[0],
        dropped[1]
    );
    outcome.check(!dropped.contains(&0), || "nothing was dropped".into());
    noticed(&mut outcome, LOST);
    lively(&mut outcome);
    rig.judge(&mut outcome, run, &document);
    Ok(outcome)
}

pub(crate) fn reset(settings: Settings) -> anyhow::Result<Outcome> {
    let length = Duration::from_secs(settings.or_quick(30, 3));
    let mut rig = Rig::wired()?;
    let run = rig.begin(LONG)?;
    let mut outcome = Outcome::default();
    rig.wires().reset()?;
    sleep(length / 2);
    let half = rig.wires().attempts()?;
    sleep(length / 2);
    let attempts = rig.wires().attempts()?;
    let resets = rig.wires().no_reset()?;
    outcome.recovered = Some(rig.fresh()?);
    let (_, document) = rig.stop()?;
    outcome.injected = format!(
        "{} s, {resets} packets answered with a reset",
        length.as_secs()
    );
    let later = [attempts[0] - half[0], attempts[1] - half[1]];
    outcome.notes.push(format!(
        "attempts of each agent: {} and {}, in the second half {} and {}",
        attempts[0], attempts[1], later[0], later[1]
    ));
    outcome.check(!attempts.contains(&0), || "an agent did not try".into());
    // Waits have grown to 5 s by then, 30 % more or less; one attempt was under way.
    let most = (length / 2).as_secs() * 10 / 35 + 1;
    outcome.check(
        settings.quick || later.iter().all(|count| *count <= most),
        || format!("more than {most} attempts are a storm of our own"),
    );
    lively(&mut outcome);
    rig.judge(&mut outcome, run, &document);
    Ok(outcome)
}

pub(crate) fn flap(settings: Settings) -> anyhow::Result<Outcome> {
    let (times, length) = settings.or_quick((10, 3), (2, 1));
    let length = Duration::from_secs(length);
    let mut rig = Rig::wired()?;
    let run = rig.begin(LONG)?;
    let mut outcome = Outcome::default();
    let before = rig.wires().carrier_losses()?;
    for _ in 0..times {
        rig.wires().unplug()?;
        sleep(length);
        rig.wires().plug_in()?;
        sleep(length);
    }
    let lost = rig.wires().carrier_losses()? - before;
    outcome.recovered = Some(rig.fresh()?);
    let (_, document) = rig.stop()?;
    outcome.injected = format!("the carriers of 2 agents went {lost} times");
    outcome.check(lost == 2 * times, || "not every cable was pulled".into());
    lively(&mut outcome);
    rig.judge(&mut outcome, run, &document);
    Ok(outcome)
}

pub(crate) fn loss(settings: Settings) -> anyhow::Result<Outcome> {
    let length = Duration::from_secs(settings.or_quick(15, 3));
    let mut rig = Rig::wired()?;
    let run = rig.begin(LONG)?;
    let mut outcome = Outcome::default();
    let mut dropped = Vec::new();
    for percent in [1, 5, 20] {
        rig.wires().drop_packets(Drops::Some { percent })?;
        if percent <= 5 {
            rig.pass_alive(length)?;
        } else {
            sleep(length);
        }
        let counted = rig.wires().pass_packets()?;
        outcome.check(counted.dropped > 0, || format!("nothing at {percent} %"));
        dropped.push(format!(
            "{percent} %: {} of {}",
            counted.dropped, counted.seen
        ));
        outcome.recovered_in(rig.fresh()?);
    }
    let (_, document) = rig.stop()?;
    outcome.injected = format!(
        "{} s each, packets dropped at {}",
        length.as_secs(),
        dropped.join(", ")
    );
    outcome
        .notes
        .push("alive all along up to 5 %, looked at every 200 ms".into());
    lively(&mut outcome);
    rig.judge(&mut outcome, run, &document);
    Ok(outcome)
}

/// Most time that a stop may take over a link of 64 kbit/s.
const SLOW_STOP: Duration = Duration::from_secs(3);

pub(crate) fn slow(settings: Settings) -> anyhow::Result<Outcome> {
    const KBIT: u64 = 64;
    let length = Duration::from_secs(settings.or_quick(30, 5));
    let mut rig = Rig::wired()?;
    let run = rig.begin(LONG)?;
    let mut outcome = Outcome::default();
    rig.wires().limit(Some(Rate::kbit(KBIT)))?;
    let (begun, before) = (Instant::now(), rig.wires().sent_bytes()?);
    rig.pass_alive(length)?;
    let passed = rig.wires().sent_bytes()? - before;
    let rate = passed as f64 * 8.0 / begun.elapsed().as_secs_f64() / 2e3;
    let unstored = rig.unstored();
    let asked = since_the_epoch();
    rig.tell_to_stop()?;
    // The end of the run waits for what is still under way.
    rig.pass_alive(SLOW_STOP)?;
    rig.wires().limit(None)?;
    let (_, document) = rig.end()?;
    let stop = cancel::last_sent(&rig.cluster, &document).saturating_sub(asked);
    outcome.injected = format!("{rate:.1} kbit/s of each agent, {} s", length.as_secs());
    outcome.notes.push(format!(
        "{unstored} records waited, the agents were alive all along; a stop took {:.2} s to the last packet",
        stop.as_secs_f64()
    ));
    outcome.check(rate < 1.2 * KBIT as f64, || "the links were faster".into());
    outcome.check(stop <= SLOW_STOP, || "the stop took more than 3 s".into());
    rig.judge(&mut outcome, run, &document);
    Ok(outcome)
}

fn since_the_epoch() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}

pub(crate) fn half_open(settings: Settings) -> anyhow::Result<Outcome> {
    let length = Duration::from_secs(settings.or_quick(20, 4));
    let mut rig = Rig::wired()?;
    let run = rig.begin(LONG)?;
    let mut outcome = Outcome::default();
    let open = rig.wires().connections()?;
    let begun = Instant::now();
    rig.wires().delete()?;
    if !settings.quick {
        wait("the end of every connection", || {
            Ok((rig.wires().connections()? == 0).then_some(()))
        })?;
        outcome.detected = Some(begun.elapsed());
    }
    sleep(length.saturating_sub(begun.elapsed()));
    rig.wires().make()?;
    outcome.recovered = Some(rig.fresh()?);
    let (_, document) = rig.stop()?;
    outcome.injected = format!("2 links deleted, {open} ends of connections open");
    outcome.check(open > 0, || "there was no connection".into());
    noticed(&mut outcome, LOST);
    lively(&mut outcome);
    rig.judge(&mut outcome, run, &document);
    Ok(outcome)
}

pub(crate) fn mtu(settings: Settings) -> anyhow::Result<Outcome> {
    /// What every host has to take (RFC 791).
    const BYTES: u16 = 576;
    let length = Duration::from_secs(settings.or_quick(25, 6));
    let mut rig = Rig::wired()?;
    let run = rig.begin(LONG)?;
    let mut outcome = Outcome::default();
    let said = rig.complaints();
    let begun = Instant::now();
    rig.wires().drop_packets(Drops::Longer { bytes: BYTES })?;
    if !settings.quick {
        wait("an agent that has no link", || {
            Ok((rig.complaints() > said).then_some(()))
        })?;
        outcome.detected = Some(begun.elapsed());
    }
    sleep(length.saturating_sub(begun.elapsed()));
    let counted = rig.wires().pass_packets()?;
    outcome.recovered = Some(rig.fresh()?);
    let (_, document) = rig.stop()?;
    outcome.injected = format!(
        "{} s, {} packets of more than {BYTES} B dropped, of {}",
        length.as_secs(),
        counted.dropped,
        counted.seen
    );
    outcome.check(counted.dropped > 0, || "nothing was dropped".into());
    noticed(&mut outcome, LOST);
    lively(&mut outcome);
    rig.judge(&mut outcome, run, &document);
    Ok(outcome)
}

/// Most time to the last packet, on links without limit.
const STOP: Duration = Duration::from_secs(1);

pub(crate) fn stops(settings: Settings) -> anyhow::Result<Outcome> {
    let times = settings.or_quick(10, 2);
    let mut rig = Rig::wired()?;
    let mut outcome = Outcome::default();
    let mut longest = Duration::ZERO;
    for _ in 0..times {
        let run = rig.begin(LONG)?;
        let asked = since_the_epoch();
        rig.tell_to_stop()?;
        // A second time changes nothing.
        rig.tell_to_stop()?;
        let (_, document) = rig.end()?;
        longest = longest.max(cancel::last_sent(&rig.cluster, &document).saturating_sub(asked));
        rig.judge(&mut outcome, run, &document);
    }
    // A receiver that is frozen answers nothing: the run stays in preparation.
    rig.cluster.agent(AGENTS[1]).signal("STOP");
    let run = rig.prepare()?;
    rig.tell_to_stop()?;
    rig.cluster.agent(AGENTS[1]).signal("CONT");
    let (_, document) = rig.end()?;
    let began = !document["time"]["t0_unix_ns"].is_null();
    outcome.check(!began, || format!("r-{run:04} began though it was stopped"));
    outcome.injected = format!("{times} stops of running runs, each told twice; 1 in preparation");
    outcome.notes.push(format!(
        "{:.3} s to the last packet at most; none was sent by the one in preparation",
        longest.as_secs_f64()
    ));
    outcome.check(longest <= STOP, || format!("a stop took {longest:?}"));
    Ok(outcome)
}

/// A copy of an agent's data directory is started while the agent runs.
pub(crate) fn clone(settings: Settings) -> anyhow::Result<Outcome> {
    let times = settings.or_quick(5, 1);
    let mut rig = Rig::wired()?;
    let mut outcome = Outcome::default();
    let mut refused = 0;
    for time in 0..times {
        // What an image of a host is: both starts count one more than it says.
        let stopped = rig.cluster.take_agent(AGENTS[0]).stop();
        outcome.check(stopped.success(), || format!("the agent ended: {stopped}"));
        let copy = rig.copy_agent(AGENTS[0], time)?;
        rig.start_agent(AGENTS[0]);
        rig.cluster.await_agents(AGENTS.len());
        let run = rig.begin(LONG)?;
        let twin = rig.start_copy(AGENTS[0], &copy)?;
        wait("a refusal of the copy", || {
            let said = twin.output();
            outcome_of_copy(&said)
        })?;
        refused += 1;
        outcome.recovered_in(rig.fresh()?);
        drop(twin);
        let (_, document) = rig.stop()?;
        rig.judge(&mut outcome, run, &document);
    }
    let audited = rig.audited("generation")?;
    outcome.injected = format!("{times} copies started, {refused} refused");
    outcome.notes.push(format!(
        "{audited} refusals in the audit log; the first went on"
    ));
    outcome.check(audited >= refused, || "a refusal was not audited".into());
    lively(&mut outcome);
    Ok(outcome)
}

/// A copy has to be refused, and may not join.
fn outcome_of_copy(said: &str) -> anyhow::Result<Option<()>> {
    anyhow::ensure!(!said.contains("joined"), "the copy has joined");
    let refused = said.contains("refused by the controller") && said.contains("generation");
    Ok(refused.then_some(()))
}
