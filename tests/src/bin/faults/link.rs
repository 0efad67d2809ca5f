//! Faults of the links between agents and controller.

use std::thread::sleep;
use std::time::{Duration, Instant};

use weir_tests::proxy::{Fault, Way};

use crate::Settings;
use crate::outcome::Outcome;
use crate::rig::{AGENTS, LIVE, Rig, wait};

/// Before the first fault of a run and after the last.
pub(crate) const CALM: Duration = Duration::from_secs(2);

pub(crate) fn partition(settings: Settings) -> anyhow::Result<Outcome> {
    let length = Duration::from_secs(settings.or_quick(60, 18));
    let mut rig = Rig::up()?;
    let run = rig.begin(CALM + length + 2 * settings.slack())?;
    let mut outcome = Outcome::default();
    let (begun, before) = (Instant::now(), rig.passed());
    rig.break_links(Fault::partition());
    outcome.detected = Some(rig.until_state(AGENTS[1], "lost")?);
    sleep(length.saturating_sub(begun.elapsed()));
    let held = rig.passed();
    rig.break_links(Fault::default());
    let silent = begun.elapsed().as_secs_f64();
    outcome.recovered = Some(rig.fresh()?);
    let (_, document) = rig.end()?;
    outcome.injected = format!("{silent:.0} s of silence");
    outcome.check(held.up_bytes <= before.up_bytes + 8_192, || {
        "records passed a link that was cut off".into()
    });
    in_time(&mut outcome, Duration::from_secs(17));
    rig.judge(&mut outcome, run, &document);
    Ok(outcome)
}

/// The times that every fault of a link has to keep.
fn in_time(outcome: &mut Outcome, most: Duration) {
    let detected = outcome.detected.unwrap_or_default();
    outcome.check(detected <= most, || {
        format!("called lost after {detected:?}")
    });
    lively(outcome);
}

/// A fresh record within ten seconds.
pub(crate) fn lively(outcome: &mut Outcome) {
    let recovered = outcome.recovered.unwrap_or_default();
    outcome.check(recovered <= LIVE, || {
        format!("recovered after {recovered:?}")
    });
}

pub(crate) fn one_way(settings: Settings) -> anyhow::Result<Outcome> {
    let length = Duration::from_secs(settings.or_quick(20, 4));
    let held = Way {
        hold: true,
        ..Way::default()
    };
    let ways = [
        Fault {
            up: held,
            ..Fault::default()
        },
        Fault {
            down: held,
            ..Fault::default()
        },
    ];
    let mut rig = Rig::up()?;
    let run = rig.begin(CALM + 2 * (length + settings.slack()))?;
    let mut outcome = Outcome {
        injected: format!("2 x {} s", length.as_secs()),
        ..Outcome::default()
    };
    for fault in ways {
        rig.break_links(fault);
        sleep(length);
        rig.break_links(Fault::default());
        outcome.recovered_in(rig.fresh()?);
    }
    let (_, document) = rig.end()?;
    lively(&mut outcome);
    rig.judge(&mut outcome, run, &document);
    Ok(outcome)
}

pub(crate) fn reset(settings: Settings) -> anyhow::Result<Outcome> {
    let length = Duration::from_secs(settings.or_quick(30, 3));
    let mut rig = Rig::up()?;
    let run = rig.begin(CALM + length + settings.slack())?;
    let mut outcome = Outcome::default();
    rig.break_links(Fault {
        reset: true,
        ..Fault::default()
    });
    sleep(length);
    let refused = rig.passed().refused;
    rig.break_links(Fault::default());
    outcome.recovered = Some(rig.fresh()?);
    let (_, document) = rig.end()?;
    outcome.injected = format!("{refused} connections reset");
    outcome.check(refused > 0, || "no connection was reset".into());
    // Both streams of both agents, at first in quick succession.
    let most = 2 * (4 + length.as_secs());
    outcome.check(refused <= most, || {
        format!("{refused} attempts are a storm of our own")
    });
    lively(&mut outcome);
    rig.judge(&mut outcome, run, &document);
    Ok(outcome)
}

pub(crate) fn flap(settings: Settings) -> anyhow::Result<Outcome> {
    let (times, length) = settings.or_quick((10, 3), (2, 1));
    let length = Duration::from_secs(length);
    let mut rig = Rig::up()?;
    let run = rig.begin(CALM + 2 * times * length + settings.slack())?;
    let mut outcome = Outcome {
        injected: format!("{times} times"),
        ..Outcome::default()
    };
    for _ in 0..times {
        rig.break_links(Fault::partition());
        sleep(length);
        rig.break_links(Fault::default());
        sleep(length);
    }
    outcome.recovered = Some(rig.fresh()?);
    let (_, document) = rig.end()?;
    lively(&mut outcome);
    rig.judge(&mut outcome, run, &document);
    Ok(outcome)
}

pub(crate) fn delay(settings: Settings) -> anyhow::Result<Outcome> {
    let length = Duration::from_secs(settings.or_quick(20, 4));
    let way = Way {
        delay: Duration::from_millis(300),
        jitter: Duration::from_millis(100),
        ..Way::default()
    };
    let mut rig = Rig::up()?;
    let run = rig.begin(CALM + length + settings.slack())?;
    let before = rig.passed();
    rig.break_links(Fault {
        up: way,
        down: way,
        reset: false,
    });
    rig.pass_alive(length)?;
    let passed = rig.passed().up_bytes - before.up_bytes;
    rig.break_links(Fault::default());
    let mut outcome = Outcome {
        injected: format!("{} s, {passed} bytes", length.as_secs()),
        recovered: Some(rig.fresh()?),
        ..Outcome::default()
    };
    let (_, document) = rig.end()?;
    outcome.check(passed > 0, || "nothing passed".into());
    lively(&mut outcome);
    rig.judge(&mut outcome, run, &document);
    Ok(outcome)
}

pub(crate) fn slow(settings: Settings) -> anyhow::Result<Outcome> {
    const BYTES_PER_S: u64 = 8_000;
    let length = Duration::from_secs(settings.or_quick(30, 5));
    let way = Way {
        bytes_per_s: Some(BYTES_PER_S),
        ..Way::default()
    };
    let mut rig = Rig::up()?;
    let run = rig.begin(CALM + length + settings.slack())?;
    let before = rig.passed();
    let begun = Instant::now();
    rig.break_links(Fault {
        up: way,
        down: way,
        reset: false,
    });
    rig.pass_alive(length)?;
    let passed = rig.passed().up_bytes - before.up_bytes;
    let rate = passed as f64 / begun.elapsed().as_secs_f64() / AGENTS.len() as f64;
    rig.break_links(Fault::default());
    let mut outcome = Outcome {
        injected: format!("{:.1} kbit/s passed of each agent", rate * 8.0 / 1e3),
        recovered: Some(rig.fresh()?),
        ..Outcome::default()
    };
    let (_, document) = rig.end()?;
    outcome.check(rate < 1.2 * BYTES_PER_S as f64, || {
        "the link was faster".into()
    });
    lively(&mut outcome);
    rig.judge(&mut outcome, run, &document);
    Ok(outcome)
}

pub(crate) fn cut(settings: Settings) -> anyhow::Result<Outcome> {
    let times: u64 = settings.or_quick(40, 3);
    let mut dice = settings.dice("cut");
    let mut rig = Rig::up()?;
    let run = rig.begin(Duration::from_secs(5 * times) / 2 + settings.slack())?;
    let mut outcome = Outcome::default();
    for _ in 0..times {
        let agent = AGENTS[dice.below(2) as usize];
        let link = rig.link(agent);
        let before = link.passed().cuts;
        link.cut_after(1 + dice.below(4_000));
        wait("a cut", || Ok((link.passed().cuts > before).then_some(())))?;
        outcome.recovered_in(rig.fresh()?);
    }
    let cuts = rig.passed().cuts;
    let (_, document) = rig.end()?;
    outcome.injected = format!("{cuts} cuts after 1 to 4000 bytes");
    outcome.check(cuts == times, || format!("{cuts} cuts of {times}"));
    lively(&mut outcome);
    rig.judge(&mut outcome, run, &document);
    Ok(outcome)
}
