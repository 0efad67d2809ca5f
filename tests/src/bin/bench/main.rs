//! Figures beside peers, bare loops and targets. All take turns in the same two
//! namespaces; medians, ranges and the ratios of the pairs are printed.
//!
//! Started by `tests/bench`.

mod agents;
mod bulk;
mod capture;
mod departures;
mod limits;
mod network;
mod peers;
mod program;
mod rates;
mod rounds;
mod spacing;

use std::os::unix::process::CommandExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Parser;
use weir_lab::privilege::{self, Privilege};
use weir_tests::report::{Figure, PERFORMANCE, as_markdown, as_text, machine, what_panicked};

/// How much is measured.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Rounds of a paired comparison.
    pub(crate) rounds: usize,
    /// Length of one of its measurements, s.
    pub(crate) seconds: f64,
    /// Of one mean rate, s.
    pub(crate) rate_seconds: f64,
    /// Ours and the bare loop together, s.
    pub(crate) gap_seconds: u32,
    /// Ours with `spin`, s.
    pub(crate) spin_seconds: u32,
    /// Each Poisson process, s.
    pub(crate) poisson_seconds: u32,
    /// Of the trickle, s.
    pub(crate) trickle_seconds: f64,
    /// Slow flows, and for how long, s.
    pub(crate) flows: u32,
    pub(crate) flow_seconds: u32,
    /// Before an idle agent is looked at; its CPU time is of half as long after it.
    pub(crate) idle: Duration,
}

impl Settings {
    fn full() -> Self {
        Self {
            rounds: 5,
            seconds: 4.0,
            rate_seconds: 10.0,
            gap_seconds: 60,
            spin_seconds: 20,
            poisson_seconds: 60,
            trickle_seconds: 30.0,
            flows: 1000,
            flow_seconds: 60,
            idle: Duration::from_secs(60),
        }
    }

    /// Enough to see that everything works.
    fn quick() -> Self {
        Self {
            rounds: 1,
            seconds: 1.0,
            rate_seconds: 2.0,
            gap_seconds: 6,
            spin_seconds: 3,
            poisson_seconds: 3,
            trickle_seconds: 5.0,
            flows: 100,
            flow_seconds: 6,
            idle: Duration::from_secs(4),
        }
    }
}

/// Some figures that belong together.
struct Part {
    name: &'static str,
    about: &'static str,
    measure: fn(&Settings) -> anyhow::Result<Vec<Figure>>,
}

const PARTS: [Part; 13] = [
    part("tcp", "TCP, one stream", bulk::tcp),
    part("tcp4", "TCP, four streams", bulk::tcp4),
    part("udp", "UDP 1448 B, unlimited", bulk::udp),
    part("udp64", "UDP 64 B, unlimited", bulk::udp64),
    part("udp80", "UDP at 80 % of our maximum", bulk::udp80),
    part("rates", "mean rates", rates::rates),
    part("gaps", "gaps of constant rates", departures::gaps),
    part("poisson", "gaps of a Poisson process", departures::poisson),
    part("flows", "a thousand slow flows in one agent", agents::flows),
    part("trickle", "TCP at 3 kbit/s", rates::trickle),
    part("idle", "an idle agent", agents::idle),
    part("plan", "planning a mesh", agents::plan),
    part("size", "the agent's file", agents::size),
];

const fn part(
    name: &'static str,
    about: &'static str,
    measure: fn(&Settings) -> anyhow::Result<Vec<Figure>>,
) -> Part {
    Part {
        name,
        about,
        measure,
    }
}

/// Figures beside peers, bare loops and targets; all parts, or those named
#[derive(Debug, Parser)]
#[command(name = "bench", after_help = parts_help())]
struct Arguments {
    /// Parts to measure
    parts: Vec<String>,
    /// A second or two each: shows that everything works, not how well
    #[arg(long)]
    quick: bool,
    /// Rounds of the paired comparisons
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=99))]
    rounds: Option<u8>,
    /// Put the figures into docs/performance.md
    #[arg(long, conflicts_with = "quick")]
    write: bool,
}

fn parts_help() -> String {
    let lines = PARTS
        .iter()
        .map(|part| format!("  {:<9}{}", part.name, part.about));
    format!("Parts:\n{}", lines.collect::<Vec<_>>().join("\n"))
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    match privilege::probe() {
        Privilege::Root => {}
        Privilege::UserNamespace => {
            return Err(privilege::reexec_in_user_namespace()?.exec().into());
        }
        Privilege::Refused { why } => bail!("no network can be built here: {why}"),
    }
    let known = |name: &String| PARTS.iter().any(|part| part.name == name);
    if let Some(unknown) = arguments.parts.iter().find(|name| !known(name)) {
        bail!("there is no part `{unknown}`\n{}", parts_help());
    }
    let missing = peers::missing_packages();
    if !missing.is_empty() {
        let missing = missing.into_iter().collect::<Vec<_>>().join(" ");
        eprintln!("peers are missing, and so will be their figures: apt-get install {missing}");
    }
    program::mind_signals();
    let mut settings = if arguments.quick {
        println!("quick: these figures only show that everything works");
        Settings::quick()
    } else {
        Settings::full()
    };
    if let Some(rounds) = arguments.rounds {
        settings.rounds = usize::from(rounds);
    }
    let versions = peers::packages()
        .into_iter()
        .filter_map(machine::package_version);
    let versions = versions.collect::<Vec<_>>().join(", ");
    let machine = format!("{}.\nDebian packages: {versions}.\n", machine::machine());
    println!("{machine}");
    if arguments.write {
        PERFORMANCE.write("machine", &machine)?;
    }
    let mut all_measured = true;
    for part in &PARTS {
        let is_wanted =
            arguments.parts.is_empty() || arguments.parts.iter().any(|name| name == part.name);
        if !is_wanted || program::is_interrupted() {
            continue;
        }
        all_measured &= report(part, &settings, arguments.write)?;
    }
    if program::is_interrupted() {
        eprintln!("interrupted");
        return Ok(ExitCode::from(130));
    }
    Ok(if all_measured {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Measures one part and shows it; whether all of it could be measured.
fn report(part: &Part, settings: &Settings, write: bool) -> anyhow::Result<bool> {
    let begun = Instant::now();
    let (date, load) = (machine::now(), machine::load());
    let measured = catch_unwind(AssertUnwindSafe(|| (part.measure)(settings)));
    let figures = match measured {
        Ok(Ok(figures)) => figures,
        Ok(Err(error)) => vec![Figure::failed(part.about, &error)],
        Err(panic) => vec![Figure::failed(part.about, &what_panicked(&*panic))],
    };
    let took = begun.elapsed().as_secs();
    println!(
        "{}: {} ({took} s)\n{}",
        part.name,
        part.about,
        as_text(&figures)
    );
    let is_measured = figures.iter().all(|figure| !figure.has_failed());
    if write && !program::is_interrupted() {
        let head = format!(
            "`tests/bench {}`, {date}, load {load} before it, {took} s:",
            part.name
        );
        PERFORMANCE.write(part.name, &format!("{head}\n\n{}", as_markdown(&figures)))?;
    }
    Ok(is_measured)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_a_place_for_every_part() {
        let document = PERFORMANCE.read().unwrap();
        for name in PARTS.iter().map(|part| part.name).chain(["machine"]) {
            PERFORMANCE.with_part(&document, name, "").unwrap();
        }
    }
}
