//! Processes that are killed, frozen, or told to end.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;

use crate::Settings;
use crate::link::{CALM, LONG, lively};
use crate::outcome::Outcome;
use crate::rig::{AGENTS, Rig};

/// Within what a killed controller answers again after its start.
const READY: Duration = Duration::from_secs(3);

pub(crate) fn controller_kill(settings: Settings) -> anyhow::Result<Outcome> {
    /// Of so many kills one is waited out, to see how long it takes.
    const LOOK_AT: u64 = 20;
    let times: u64 = settings.or_quick(200, 6);
    let mut dice = settings.dice("controller-kill");
    let mut rig = Rig::up()?;
    let run = rig.begin(LONG)?;
    let mut outcome = Outcome::default();
    let mut ready = Duration::ZERO;
    for time in 0..times {
        sleep(dice.time(Duration::from_secs(1)));
        rig.cluster.kill_controller();
        let begun = Instant::now();
        rig.cluster.start_controller();
        ready = ready.max(begun.elapsed());
        if time % LOOK_AT == 0 {
            outcome.recovered_in(rig.fresh()?);
        }
    }
    let (_, document) = rig.stop()?;
    outcome.injected = format!("{times} kills");
    outcome.notes.push(format!(
        "answers {:.1} s after its start at most",
        ready.as_secs_f64()
    ));
    outcome.check(ready <= READY, || format!("answered after {ready:?}"));
    let sound = "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'";
    let flaws = rig.try_ask(sound);
    outcome.check(flaws == Some(0), || format!("integrity: {flaws:?}"));
    lively(&mut outcome);
    rig.judge(&mut outcome, run, &document);
    Ok(outcome)
}

pub(crate) fn agent_kill(settings: Settings) -> anyhow::Result<Outcome> {
    kill_agents(settings, "agent-kill", false)
}

pub(crate) fn both_kill(settings: Settings) -> anyhow::Result<Outcome> {
    kill_agents(settings, "both-kill", true)
}

/// Runs whose sender or receiver is killed; what it had on disk is stored after its
/// restart, and the interval under way of each flow is a gap.
fn kill_agents(settings: Settings, row: &str, both: bool) -> anyhow::Result<Outcome> {
    let times = settings.or_quick(10, 2);
    let mut dice = settings.dice(row);
    let mut rig = Rig::up()?;
    let mut outcome = Outcome::default();
    let mut gaps = 0;
    for time in 0..times {
        let run = rig.begin(Duration::from_secs(settings.or_quick(4, 3)))?;
        sleep(dice.time(Duration::from_secs(settings.or_quick(2, 1))));
        let agent = AGENTS[time % AGENTS.len()];
        let killed = rig.cluster.take_agent(agent);
        if both {
            rig.cluster.kill_controller();
        }
        killed.kill();
        if both {
            rig.cluster.start_controller();
        }
        let begun = Instant::now();
        rig.start_agent(agent);
        rig.until_state(agent, "alive")?;
        outcome.recovered_in(begun.elapsed());
        let (ran, document) = rig.end()?;
        outcome.check(ran.code == 3, || {
            format!("exit code {} of {agent}", ran.code)
        });
        gaps += count_gaps(&rig, &mut outcome, agent, run, &document)?;
        rig.judge_part(&mut outcome, run);
    }
    outcome.injected = format!("{times} kills");
    outcome.notes.push(format!(
        "{gaps} intervals under way, each a gap in the ledger"
    ));
    lively(&mut outcome);
    Ok(outcome)
}

/// The gaps of a killed agent: one of each end that has rows and did not close, no
/// longer than the longest of its rows.
fn count_gaps(
    rig: &Rig,
    outcome: &mut Outcome,
    agent: &str,
    run: u32,
    document: &Value,
) -> anyhow::Result<usize> {
    let gaps = document["ledger"]["gaps"].as_array().context("gaps")?;
    let of_it = gaps.iter().filter(|gap| gap["agent"] == agent);
    let mut count = 0;
    for gap in of_it {
        count += 1;
        let seconds = |key: &str| gap[key].as_f64().unwrap_or(f64::NAN);
        let length = seconds("to_s") - seconds("from_s");
        outcome.check((0.0..=0.3).contains(&length), || {
            format!("a gap is no interval: {gap}")
        });
    }
    let end = i32::from(agent == AGENTS[1]);
    let open = format!(
        "SELECT count(DISTINCT records.flow) FROM records JOIN flows ON flows.flow = records.flow
         WHERE run = {run} AND records.end = {end} AND NOT EXISTS
         (SELECT 1 FROM manifests WHERE manifests.flow = records.flow AND manifests.end = {end})"
    );
    let open = rig.try_ask(&open).context("the database")? as usize;
    outcome.check(count == open && count > 0, || {
        format!("{count} gaps of {open} flows of {agent} that did not close")
    });
    Ok(count)
}

pub(crate) fn agent_stop(settings: Settings) -> anyhow::Result<Outcome> {
    let lengths = settings.or_quick(&[5, 30][..], &[3][..]);
    let mut rig = Rig::up()?;
    let run = rig.begin(LONG)?;
    let mut outcome = Outcome {
        injected: format!("{lengths:?} s"),
        ..Outcome::default()
    };
    for seconds in lengths {
        let begun = Instant::now();
        rig.cluster.agent(AGENTS[1]).signal("STOP");
        if *seconds > 20 {
            outcome.detected = Some(rig.until_state(AGENTS[1], "lost")?);
        }
        sleep(Duration::from_secs(*seconds).saturating_sub(begun.elapsed()));
        rig.cluster.agent(AGENTS[1]).signal("CONT");
        outcome.recovered_in(rig.fresh()?);
    }
    let (_, document) = rig.stop()?;
    lively(&mut outcome);
    rig.judge(&mut outcome, run, &document);
    Ok(outcome)
}

pub(crate) fn controller_stop(settings: Settings) -> anyhow::Result<Outcome> {
    let length = Duration::from_secs(settings.or_quick(60, 4));
    let mut rig = Rig::up()?;
    let run = rig.begin(LONG)?;
    let mut outcome = Outcome {
        injected: format!("{} s", length.as_secs()),
        ..Outcome::default()
    };
    rig.cluster.controller().signal("STOP");
    sleep(length);
    rig.cluster.controller().signal("CONT");
    outcome.recovered = Some(rig.fresh()?);
    let (_, document) = rig.stop()?;
    lively(&mut outcome);
    rig.judge(&mut outcome, run, &document);
    Ok(outcome)
}

pub(crate) fn terminate(settings: Settings) -> anyhow::Result<Outcome> {
    let mut rig = Rig::up()?;
    let run = rig.begin(CALM + settings.slack())?;
    let mut outcome = Outcome::default();
    let begun = Instant::now();
    rig.cluster.stop_controller();
    let controller = begun.elapsed();
    rig.cluster.start_controller();
    outcome.recovered = Some(rig.fresh()?);
    let begun = Instant::now();
    let status = rig.cluster.take_agent(AGENTS[1]).stop();
    let agent = begun.elapsed();
    rig.start_agent(AGENTS[1]);
    let (_, document) = rig.end()?;
    outcome.injected = format!(
        "the controller ended in {:.1} s, the agent in {:.1} s",
        controller.as_secs_f64(),
        agent.as_secs_f64()
    );
    outcome.check(controller <= Duration::from_secs(10), || {
        "the controller took more than 10 s".into()
    });
    outcome.check(status.success() && agent <= Duration::from_secs(5), || {
        format!("the agent ended with {status} after {agent:?}")
    });
    let unclosed = &document["ledger"]["unclosed"];
    outcome.check(unclosed.as_array().is_some_and(Vec::is_empty), || {
        format!("flows without an end: {unclosed}")
    });
    lively(&mut outcome);
    rig.judge_part(&mut outcome, run);
    Ok(outcome)
}
