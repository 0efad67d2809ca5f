//! The catalogue of faults: each row breaks something in the middle of runs of real
//! agents, and holds what is stored against what they measured.
//!
//! Started by `tests/faults`.

mod agents;
mod damage;
mod dice;
mod hostile;
mod ingest;
mod link;
mod network;
mod outcome;
mod process;
mod rig;
mod sequence;
mod storage;
mod wires;

use std::os::unix::process::CommandExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Parser;
use weir_lab::privilege::{self, Privilege};
use weir_tests::report::{Figure, RELIABILITY, as_markdown, as_text, machine, what_panicked};

use crate::dice::Dice;
use crate::outcome::{Outcome, as_table};

/// How much is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// A short version of each row.
    pub(crate) quick: bool,
    /// What random moments and places are drawn from.
    pub(crate) seed: u64,
}

impl Settings {
    /// One of two numbers: of the whole, of the short version.
    pub(crate) fn or_quick<T>(self, whole: T, quick: T) -> T {
        if self.quick { quick } else { whole }
    }

    /// How much longer than its faults a run takes: what recovers late is still seen.
    pub(crate) fn slack(self) -> Duration {
        Duration::from_secs(self.or_quick(12, 6))
    }

    /// Random numbers of a row.
    pub(crate) fn dice(self, row: &str) -> Dice {
        let name = row.bytes().fold(0_u64, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
        Dice::new(self.seed ^ name)
    }
}

/// One fault.
struct Row {
    name: &'static str,
    about: &'static str,
    run: fn(Settings) -> anyhow::Result<Outcome>,
}

const fn row(
    name: &'static str,
    about: &'static str,
    run: fn(Settings) -> anyhow::Result<Outcome>,
) -> Row {
    Row { name, about, run }
}

const ROWS: [Row; 32] = [
    row("partition", "nothing passes for 60 s", network::partition),
    row(
        "idle",
        "nothing passes for 30 s, between runs",
        network::idle,
    ),
    row(
        "one-way",
        "20 s without one direction, then the other",
        network::one_way,
    ),
    row(
        "reset",
        "every packet is answered with a TCP reset for 30 s",
        network::reset,
    ),
    row(
        "flap",
        "cables out for 3 s, in for 3 s, ten times",
        network::flap,
    ),
    row(
        "loss",
        "1, 5 and 20 % random loss, 15 s each",
        network::loss,
    ),
    row(
        "slow",
        "64 kbit/s, and a stop while records wait",
        network::slow,
    ),
    row(
        "half-open",
        "the links of the agents vanish for 20 s",
        network::half_open,
    ),
    row(
        "mtu",
        "packets of more than 576 B vanish for 25 s",
        network::mtu,
    ),
    row(
        "cancel",
        "runs are stopped, twice, and one in preparation",
        network::stops,
    ),
    row(
        "clone",
        "a copy of an agent's data directory is started",
        network::clone,
    ),
    row("flip", "a bit is flipped under TLS, 20 times", link::flip),
    row("delay", "300 to 400 ms each way", link::delay),
    row(
        "cut",
        "the link ends in mid-message, again and again",
        link::cut,
    ),
    row(
        "controller-kill",
        "kill -9 of the controller, 200 times",
        process::controller_kill,
    ),
    row(
        "agent-kill",
        "kill -9 of an agent in mid-flow, 10 times",
        process::agent_kill,
    ),
    row(
        "both-kill",
        "kill -9 of both at once, 10 times",
        process::both_kill,
    ),
    row(
        "agent-stop",
        "an agent is frozen for 5 s and for 30 s",
        process::agent_stop,
    ),
    row(
        "controller-stop",
        "the controller is frozen for 60 s",
        process::controller_stop,
    ),
    row(
        "terminate",
        "SIGTERM of the controller, then of an agent",
        process::terminate,
    ),
    row(
        "controller-disk",
        "the controller's disk is full for 20 s",
        storage::controller_disk,
    ),
    row("agent-disk", "an agent's disk is full", storage::agent_disk),
    row(
        "locked-database",
        "another process locks the database for 30 s",
        storage::locked_database,
    ),
    row(
        "flood",
        "frames that no HTTP/2 client sends, ten kinds",
        hostile::flood,
    ),
    row(
        "crowd",
        "10,000 connections that say nothing or half a TLS handshake",
        hostile::crowd,
    ),
    row(
        "noise",
        "a million mutated messages for each message of each method",
        hostile::noise,
    ),
    row(
        "torn-spool",
        "an agent's file is cut at 100 places",
        damage::torn_spool,
    ),
    row(
        "corrupt-spool",
        "a bit of an agent's file is flipped at 100 places",
        damage::corrupt_spool,
    ),
    row(
        "corrupt-database",
        "a page of the database is overwritten, 40 times",
        damage::corrupt_database,
    ),
    row(
        "cut-bytes",
        "a connection ends after each byte of a batch",
        sequence::cut_bytes,
    ),
    row(
        "replay",
        "batches again, overlapping, early, altered, on two streams",
        sequence::replay,
    ),
    row(
        "silent",
        "an agent says nothing, others are well",
        sequence::silent_agent,
    ),
];

/// What has no fault: figures beside their targets.
struct Part {
    name: &'static str,
    about: &'static str,
    measure: fn(Settings) -> anyhow::Result<Vec<Figure>>,
}

const PARTS: [Part; 2] = [
    Part {
        name: "ingest",
        about: "records/s acknowledged and durable, beside a bare loop",
        measure: ingest::measure,
    },
    Part {
        name: "agents",
        about: "memory for idle agents, of an agent alone; return after a restart",
        measure: agents::measure,
    },
];

/// Faults injected into runs of real agents; all rows, or those named
#[derive(Debug, Parser)]
#[command(name = "faults", after_help = rows_help())]
struct Arguments {
    /// Rows of the catalogue
    rows: Vec<String>,
    /// A short version of each row: shows that everything works
    #[arg(long)]
    quick: bool,
    /// What random moments and places are drawn from [default: the clock]
    #[arg(long)]
    seed: Option<u64>,
    /// Put the figures into docs/reliability.md
    #[arg(long, conflicts_with = "quick")]
    write: bool,
}

fn rows_help() -> String {
    let lines = ROWS
        .iter()
        .map(|row| format!("  {:<17}{}", row.name, row.about));
    let parts = PARTS
        .iter()
        .map(|part| format!("  {:<17}{}", part.name, part.about));
    let lines = lines.chain(parts).collect::<Vec<_>>();
    format!("Rows:\n{}", lines.join("\n"))
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    match privilege::probe() {
        Privilege::Root => {}
        Privilege::UserNamespace => {
            return Err(privilege::reexec_in_user_namespace()?.exec().into());
        }
        Privilege::Refused { why } => bail!("no network and no small disk can be made here: {why}"),
    }
    let known = |name: &String| {
        let names = ROWS.iter().map(|row| row.name);
        names
            .chain(PARTS.map(|part| part.name))
            .any(|known| known == name)
    };
    if let Some(unknown) = arguments.rows.iter().find(|name| !known(name)) {
        bail!("there is no row `{unknown}`\n{}", rows_help());
    }
    let settings = Settings {
        quick: arguments.quick,
        seed: arguments.seed.unwrap_or_else(dice::any_seed),
    };
    let machine = format!("{}.\n", machine::machine());
    print!("{machine}");
    println!("--seed {}", settings.seed);
    if arguments.write {
        RELIABILITY.write("machine", &machine)?;
    }
    let mut all_hold = true;
    for row in &ROWS {
        if arguments.rows.is_empty() || arguments.rows.iter().any(|name| name == row.name) {
            all_hold &= carry_out(row, settings, arguments.write)?;
        }
    }
    for part in &PARTS {
        if arguments.rows.is_empty() || arguments.rows.iter().any(|name| name == part.name) {
            all_hold &= measure(part, settings, arguments.write)?;
        }
    }
    Ok(if all_hold {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Measures one part; whether all of it could be measured. A target that is
/// missed is told, and fails nothing: the machine decides it too.
fn measure(part: &Part, settings: Settings, write: bool) -> anyhow::Result<bool> {
    let (when, load) = (machine::now(), machine::load());
    let measured = catch_unwind(AssertUnwindSafe(|| (part.measure)(settings)));
    let figures = match measured {
        Ok(Ok(figures)) => figures,
        Ok(Err(error)) => vec![Figure::failed(part.about, &error)],
        Err(panic) => vec![Figure::failed(part.about, &what_panicked(&*panic))],
    };
    println!("{}: {}\n{}", part.name, part.about, as_text(&figures));
    if write {
        let name = part.name;
        let head = format!("`tests/faults {name}`, {when}, load {load} before it:");
        RELIABILITY.write(name, &format!("{head}\n\n{}", as_markdown(&figures)))?;
    }
    Ok(figures.iter().all(|figure| !figure.has_failed()))
}

/// Carries out one row and shows what came of it; whether all held.
fn carry_out(row: &Row, settings: Settings, write: bool) -> anyhow::Result<bool> {
    let begun = Instant::now();
    let load = machine::load();
    let outcome = match catch_unwind(AssertUnwindSafe(|| (row.run)(settings))) {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Outcome::failed(&error),
        Err(panic) => Outcome::failed(&what_panicked(&*panic)),
    };
    let took = begun.elapsed().as_secs();
    println!("{}: {} ({took} s)\n{outcome}", row.name, row.about);
    if write {
        let document = RELIABILITY.read()?;
        let before = RELIABILITY.part(&document, "catalogue")?;
        let when = format!("{}, seed {}, load {load}", machine::now(), settings.seed);
        let line = outcome.line(row.name, row.about, &when);
        let names = ROWS.map(|row| row.name);
        let table = as_table(before, row.name, &line, &names);
        RELIABILITY.write("catalogue", &table)?;
    }
    Ok(outcome.holds())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_a_place_for_the_catalogue() {
        let document = RELIABILITY.read().unwrap();
        for part in ["machine", "catalogue"]
            .into_iter()
            .chain(PARTS.map(|part| part.name))
        {
            RELIABILITY.part(&document, part).unwrap();
        }
    }
}
