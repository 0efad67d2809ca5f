//! Agents and a controller in a network that exists only here: time is a number, and a
//! seed decides what happens when. The spool, the writer's decisions, the records stream,
//! the registry and the rule of the watermark are those of the binaries; disks, the
//! connections and the table of records are played.
//!
//! A seed that fails is printed with the command that repeats it. `WEIR_SEEDS` says how
//! many, `WEIR_SEED` which one is the first; one alone tells each of its steps.

mod agent;
mod controller;
mod counts;
mod dice;
mod disk;
mod network;
mod oracle;
mod world;

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use self::counts::Counts;
use self::world::World;

/// Seeds of a run of the tests.
const SEEDS: u64 = 1_000;

/// What has to happen in a hundred of them.
const HAPPENS: [&str; 18] = [
    "agents that were ended",
    "boots delivered after their end",
    "control streams cut",
    "crashes after a commit",
    "crashes of the controller",
    "databases put back",
    "disks that did not sync",
    "disks that were full",
    "entries sent again",
    "entries that were known",
    "failed commits",
    "gaps: damaged",
    "gaps: forgotten",
    "gaps: interval under way",
    "kills of agents",
    "kills within a write",
    "losses of power",
    "records streams cut",
];

fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name}: `{text}` is not a number"))
    })
}

#[test]
fn nothing_is_lost_and_nothing_comes_twice_whatever_the_seed() {
    let (first, seeds) = (setting("WEIR_SEED", 1), setting("WEIR_SEEDS", SEEDS));
    let mut counts = Counts::default();
    for seed in first..first + seeds {
        let one = catch_unwind(AssertUnwindSafe(|| World::new(seed, seeds == 1).run()));
        let Ok(one) = one else {
            panic!(
                "seed {seed} failed; again: WEIR_SEED={seed} WEIR_SEEDS=1 cargo nextest run -p weir-tests simulation"
            );
        };
        counts.add(&one);
    }
    let mut told = String::new();
    for (what, count) in counts.all() {
        writeln!(told, "{count:>10} {what}").expect("a text takes text");
    }
    println!("{seeds} seeds from {first} on\n{told}");
    // A run in which nothing went wrong proves nothing.
    if seeds >= 100 {
        for what in HAPPENS {
            assert!(counts.of(what) > 0, "never: {what}\n{told}");
        }
    }
}

/// The same seed is the same history.
#[test]
fn a_seed_repeats_itself() {
    for seed in [3, 77] {
        let [one, other] = [(); 2].map(|()| World::new(seed, false).run());
        assert_eq!(one.all(), other.all(), "seed {seed}");
    }
}
