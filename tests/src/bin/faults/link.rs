//! Faults that need to know what passes: links of the harness inject them.

use std::thread::sleep;
use std::time::{Duration, Instant};

use weir_tests::proxy::{Fault, Way};

use crate::Settings;
use crate::outcome::Outcome;
use crate::rig::{AGENTS, LIVE, Rig, wait};

/// Before the first fault of a run and after the last.
pub(crate) const CALM: Duration = Duration::from_secs(2);
/// Of a run that is stopped when it has shown everything.
pub(crate) const LONG: Duration = Duration::from_secs(600);

/// A fresh record within ten seconds.
pub(crate) fn lively(outcome: &mut Outcome) {
    let recovered = outcome.recovered.unwrap_or_default();
    outcome.check(recovered <= LIVE, || {
        format!("recovered after {recovered:?}")
    });
}

pub(crate) fn delay(settings: Settings) -> anyhow::Result<Outcome> {
    let length = Duration::from_secs(settings.or_quick(20, 4));
    let way = Way {
        delay: Duration::from_millis(300),
        jitter: Duration::from_millis(100),
        ..Way::default()
    };
    let mut rig = Rig::up()?;
    let run = rig.begin(LONG)?;
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
    let (_, document) = rig.stop()?;
    outcome.check(passed > 0, || "nothing passed".into());
    lively(&mut outcome);
    rig.judge(&mut outcome, run, &document);
    Ok(outcome)
}

pub(crate) fn cut(settings: Settings) -> anyhow::Result<Outcome> {
    let times: u64 = settings.or_quick(25, 3);
    let mut dice = settings.dice("cut");
    let mut rig = Rig::up()?;
    let run = rig.begin(LONG)?;
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
    let (_, document) = rig.stop()?;
    outcome.injected = format!("{cuts} cuts after 1 to 4000 bytes");
    outcome.check(cuts == times, || format!("{cuts} cuts of {times}"));
    lively(&mut outcome);
    rig.judge(&mut outcome, run, &document);
    Ok(outcome)
}

/// After so long a connection with a flipped bit has ended: it takes a ping to notice a
/// length that is too large.
const NOTICED: Duration = Duration::from_secs(25);

/// Bits flipped under TLS: the receiver notices, and the connection ends.
pub(crate) fn flip(settings: Settings) -> anyhow::Result<Outcome> {
    let times: u64 = settings.or_quick(20, 3);
    let mut dice = settings.dice("flip");
    let mut rig = Rig::over_tls()?;
    let run = rig.begin(LONG)?;
    let mut outcome = Outcome::default();
    let mut ended = 0;
    for time in 0..times {
        let link = rig.link(AGENTS[dice.below(2) as usize]);
        let before = link.passed();
        // Little goes down but acknowledgements.
        let up = time % 2 == 0;
        link.flip_after(dice.below(if up { 3_000 } else { 200 }), up);
        wait("a flipped bit", || {
            Ok((link.passed().flips > before.flips).then_some(()))
        })?;
        let begun = Instant::now();
        while link.passed().connections == before.connections && begun.elapsed() < NOTICED {
            sleep(Duration::from_millis(50));
        }
        ended += u64::from(link.passed().connections > before.connections);
        outcome.recovered_in(rig.fresh()?);
    }
    let flips = rig.passed().flips;
    outcome.injected = format!("{flips} bits, {ended} connections ended by them");
    // The version in the head of a record is not looked at (RFC 8446 section 5.1).
    let ignored = flips - ended;
    if ignored > 0 {
        let note = format!("{ignored} made no difference, as the version in a TLS record may");
        outcome.notes.push(note);
    }
    let (_, document) = rig.stop()?;
    outcome.check(flips == times, || "not every bit was flipped".into());
    outcome.check(ended > 0, || "nobody noticed".into());
    lively(&mut outcome);
    rig.judge(&mut outcome, run, &document);
    Ok(outcome)
}
