//! Disks and databases that take nothing for a while.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use weir_tests::{Cluster, SmallDisk};

use crate::Settings;
use crate::link::{LONG, lively};
use crate::outcome::Outcome;
use crate::rig::{AGENTS, Rig, wait};

/// MiB of the controller's disk: its log of transactions has room beside the rows.
const CONTROLLER_MIB: u32 = 24;
/// MiB of an agent's disk.
const AGENT_MIB: u32 = 4;

pub(crate) fn controller_disk(settings: Settings) -> anyhow::Result<Outcome> {
    let length = Duration::from_secs(settings.or_quick(20, 3));
    let mut cluster = Cluster::new();
    cluster.kill_controller();
    let disk = SmallDisk::of(CONTROLLER_MIB, &cluster.controller_data());
    cluster.start_controller();
    let mut rig = Rig::around(cluster)?;
    let run = rig.begin(LONG)?;
    let mut outcome = Outcome {
        injected: format!("{} s", length.as_secs()),
        ..Outcome::default()
    };
    let begun = Instant::now();
    wait("a disk that takes nothing", || {
        // What a checkpoint gives back is taken again.
        disk.fill();
        let said = rig.cluster.controller().output();
        Ok(said.contains("nothing can be stored").then_some(()))
    })?;
    outcome.detected = Some(begun.elapsed());
    sleep(length.saturating_sub(begun.elapsed()));
    disk.free();
    outcome.recovered = Some(rig.fresh()?);
    let (_, document) = rig.stop()?;
    lively(&mut outcome);
    rig.judge(&mut outcome, run, &document);
    Ok(outcome)
}

pub(crate) fn agent_disk(settings: Settings) -> anyhow::Result<Outcome> {
    let length = Duration::from_secs(settings.or_quick(20, 3));
    let cluster = Cluster::new();
    let data = cluster.agent_data(AGENTS[1]);
    fs::create_dir_all(&data)?;
    let disk = SmallDisk::of(AGENT_MIB, &data);
    let mut rig = Rig::around(cluster)?;
    let run = rig.begin(LONG)?;
    let mut outcome = Outcome {
        injected: format!("{} s", length.as_secs()),
        notes: vec!["measured: by the ends' own totals".into()],
        ..Outcome::default()
    };
    let begun = Instant::now();
    wait("a spool that cannot be written", || {
        disk.fill();
        let said = rig.cluster.agent(AGENTS[1]).output();
        Ok(said.contains("the spool cannot be written").then_some(()))
    })?;
    outcome.detected = Some(begun.elapsed());
    sleep(length.saturating_sub(begun.elapsed()));
    disk.free();
    let begun = Instant::now();
    wait("a spool that is written", || {
        let said = rig.cluster.agent(AGENTS[1]).output();
        Ok(said.contains("the spool is written again").then_some(()))
    })?;
    outcome.recovered = Some(begun.elapsed());
    let (_, document) = rig.stop()?;
    lively(&mut outcome);
    rig.judge_by_totals(&mut outcome, run, &document);
    Ok(outcome)
}

pub(crate) fn locked_database(settings: Settings) -> anyhow::Result<Outcome> {
    let length = Duration::from_secs(settings.or_quick(30, 3));
    let mut rig = Rig::up()?;
    let run = rig.begin(LONG)?;
    let mut outcome = Outcome {
        injected: format!("{} s", length.as_secs()),
        ..Outcome::default()
    };
    let database = Connection::open(rig.cluster.database())?;
    database.busy_timeout(Duration::from_secs(5))?;
    database.execute_batch("BEGIN IMMEDIATE")?;
    sleep(length);
    database.execute_batch("ROLLBACK")?;
    outcome.recovered = Some(rig.fresh()?);
    let (_, document) = rig.stop()?;
    lively(&mut outcome);
    rig.judge(&mut outcome, run, &document);
    Ok(outcome)
}
