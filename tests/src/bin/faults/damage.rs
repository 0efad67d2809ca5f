//! Files that are damaged while nobody runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use weir_tests::ledger::Boot;
use weir_tests::{account, binary};

use crate::Settings;
use crate::link::lively;
use crate::outcome::Outcome;
use crate::rig::{AGENTS, Rig, wait};

/// The files of a directory and those below it; sockets are made anew by whoever listens.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let (entry, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        if entry.is_dir() {
            copy(&entry, &to.join(name))?;
        } else if entry.is_file() {
            fs::copy(&entry, to.join(name)).with_context(|| entry.display().to_string())?;
        }
    }
    Ok(())
}

fn replace(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::remove_dir_all(to)?;
    copy(from, to)
}

/// The segments in a spool.
fn segments(spool: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(spool).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(segments(&path));
        } else if path.extension().is_some_and(|ending| ending == "seg") {
            found.push(path);
        }
    }
    found
}

/// An agent was killed while its controller was gone; both as they were then.
struct Left {
    rig: Rig,
    run: u32,
    /// What was measured until then: what is damaged later is not looked at again.
    boots: Vec<Boot>,
    controller: PathBuf,
    agent: PathBuf,
}

impl Left {
    fn make() -> anyhow::Result<Self> {
        let mut rig = Rig::up()?;
        let run = rig.begin(Duration::from_secs(4))?;
        rig.cluster.kill_controller();
        sleep(Duration::from_secs(1));
        for agent in AGENTS {
            rig.cluster.take_agent(agent).kill();
        }
        rig.give_up();
        let directory = rig.cluster.directory().join("left");
        let left = Self {
            run,
            boots: rig.boots(),
            controller: directory.join("c"),
            agent: directory.join("a"),
            rig,
        };
        copy(&left.rig.cluster.controller_data(), &left.controller)?;
        copy(&left.rig.cluster.agent_data(AGENTS[1]), &left.agent)?;
        Ok(left)
    }

    /// Both come back with one segment of the agent damaged; what cannot be read is told.
    fn come_back(
        &mut self,
        outcome: &mut Outcome,
        damage: impl Fn(&mut Vec<u8>),
    ) -> anyhow::Result<()> {
        let rig = &mut self.rig;
        let data = rig.cluster.agent_data(AGENTS[1]);
        replace(&self.controller, &rig.cluster.controller_data())?;
        replace(&self.agent, &data)?;
        let spool = data.join("spool");
        let damaged = segments(&spool).pop().context("a segment in the spool")?;
        let mut bytes = fs::read(&damaged)?;
        damage(&mut bytes);
        fs::write(&damaged, &bytes)?;
        rig.cluster.start_controller();
        rig.start_agent(AGENTS[1]);
        let begun = Instant::now();
        let known = rig.cluster.agent(AGENTS[1]).output().len();
        wait("an empty spool", || {
            let said = rig.cluster.agent(AGENTS[1]).output();
            let unreadable = said[known.min(said.len())..].contains("they stay on disk");
            Ok((unreadable || segments(&spool).is_empty()).then_some(()))
        })?;
        outcome.recovered_in(begun.elapsed());
        let log = rig.cluster.agent(AGENTS[1]).output();
        outcome.check(!log.contains("panicked"), || "the agent panicked".into());
        self.compare(outcome);
        self.rig.cluster.take_agent(AGENTS[1]).kill();
        self.rig.cluster.kill_controller();
        Ok(())
    }

    /// Each row that was measured is stored as it was, or its number is in a gap.
    fn compare(&self, outcome: &mut Outcome) {
        let stored = account::stored_rows(&self.rig.cluster.database(), self.run);
        let rows = self.boots.iter().flat_map(|boot| boot.rows(self.run));
        let measured: BTreeMap<_, _> = rows.map(|(_, row)| (row.key(), row)).collect();
        let mut known = BTreeSet::new();
        for row in stored {
            let same = measured.get(&row.key()) == Some(&row);
            outcome.check(same, || format!("a row that nobody measured: {row:?}"));
            let fresh = known.insert(row.key());
            outcome.check(fresh, || format!("a row twice: {:?}", row.key()));
            outcome.doubled += usize::from(!fresh);
        }
    }
}

/// How a file is damaged at a place.
type Damage = fn(&mut Vec<u8>, usize);

fn spool(settings: Settings, row: &str, damage: Damage) -> anyhow::Result<Outcome> {
    let times = settings.or_quick(100, 3);
    let mut dice = settings.dice(row);
    let mut left = Left::make()?;
    let mut outcome = Outcome::default();
    let length = segments(&left.agent.join("spool"))
        .pop()
        .and_then(|segment| fs::metadata(segment).ok())
        .context("a segment in the spool")?
        .len();
    let mut lost = 0;
    for _ in 0..times {
        let place = dice.below(length) as usize;
        left.come_back(&mut outcome, |bytes| damage(bytes, place))?;
        lost += left.told(&mut outcome, place)?;
    }
    outcome.injected = format!("{times} places of a file of {length} bytes");
    outcome.notes.push(format!(
        "{lost} records of damaged frames, each a gap or behind the torn end; every byte: unit tests of the spool"
    ));
    lively(&mut outcome);
    Ok(outcome)
}

impl Left {
    /// What of the damaged boot is neither stored nor told; how much is told.
    fn told(&self, outcome: &mut Outcome, place: usize) -> anyhow::Result<usize> {
        let stored = account::stored_rows(&self.rig.cluster.database(), self.run);
        let stored: BTreeSet<_> = stored.iter().map(|row| row.key()).collect();
        let gaps = self.rig.gaps()?;
        let mut told = 0;
        for boot in self.boots.iter().filter(|boot| boot.agent == AGENTS[1]) {
            let rows = || boot.rows(self.run);
            let kept = rows().filter(|(_, row)| stored.contains(&row.key()));
            // What is behind a torn end was never written, as far as anybody knows.
            let last = kept.map(|(seq, _)| seq).max().unwrap_or(0);
            for (seq, row) in rows() {
                outcome.expected += 1;
                if stored.contains(&row.key()) {
                    continue;
                }
                let in_gap = gaps
                    .iter()
                    .any(|(of, first, last)| *of == boot.boot && (*first..=*last).contains(&seq));
                told += 1;
                outcome.check(in_gap || seq > last, || {
                    format!("record {seq} is missing and nobody says so, damaged at {place}")
                });
            }
        }
        Ok(told)
    }
}

pub(crate) fn torn_spool(settings: Settings) -> anyhow::Result<Outcome> {
    spool(settings, "torn-spool", |bytes, place| bytes.truncate(place))
}

pub(crate) fn corrupt_spool(settings: Settings) -> anyhow::Result<Outcome> {
    spool(settings, "corrupt-spool", |bytes, place| {
        bytes[place] ^= 1 << (place % 8);
    })
}

/// Bytes of a page of the database.
const PAGE: u64 = 4_096;

/// A controller whose database is damaged refuses to start, or has all that it had, or
/// its rows cannot be read; never fewer rows as if all were well.
pub(crate) fn corrupt_database(settings: Settings) -> anyhow::Result<Outcome> {
    let times = settings.or_quick(40, 4);
    let mut dice = settings.dice("corrupt-database");
    let mut left = Left::make()?;
    let mut outcome = Outcome::default();
    let data = left.rig.cluster.controller_data();
    // The whole database in one file.
    replace(&left.controller, &data)?;
    left.rig.cluster.start_controller();
    left.rig.cluster.stop_controller();
    copy(&data, &left.controller)?;
    let database = left.rig.cluster.database();
    let pages = fs::metadata(&database)?.len() / PAGE;
    let rows = account::stored_rows(&database, left.run);
    outcome.expected = rows.len();
    let (mut refused, mut found) = (0, 0);
    for _ in 0..times {
        replace(&left.controller, &data)?;
        let mut bytes = fs::read(&database)?;
        let from = (dice.below(pages) * PAGE) as usize;
        for byte in bytes.iter_mut().skip(from).take(PAGE as usize) {
            *byte = !*byte;
        }
        fs::write(&database, &bytes)?;
        let output = Command::new("timeout")
            .args(["--signal=TERM", "2"])
            .arg(binary("weir"))
            .args(["serve", "--data"])
            .arg(&data)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        outcome.check(!said.contains("panicked"), || {
            format!("it panicked: {said}")
        });
        if output.status.code() == Some(3) {
            refused += 1;
            outcome.check(said.contains("weir.db"), || {
                format!("it does not say what is damaged: {said}")
            });
            continue;
        }
        // Damage that it has not met yet: the rows are there, or cannot be read.
        let read = || account::stored_rows(&database, left.run);
        match std::panic::catch_unwind(read) {
            Ok(now) => outcome.check(now == rows, || {
                format!(
                    "{} rows of {} are read as if all were well",
                    now.len(),
                    rows.len()
                )
            }),
            Err(_) => found += 1,
        }
    }
    outcome.injected = format!(
        "{times} pages inverted: {refused} refusals to start, {found} times the rows cannot be read, else they are whole"
    );
    outcome.check(settings.quick || refused > 0, || {
        "no damage was noticed".into()
    });
    Ok(outcome)
}
