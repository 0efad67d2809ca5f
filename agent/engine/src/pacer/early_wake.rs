//! Waking a little before a departure is due, so that it leaves on time.
//!
//! A thread that sleeps to an instant runs some 50 us after it, by an amount that
//! is mostly the same from one time to the next. [`EarlyWake`] learns how late
//! wake-ups come, aims so much earlier, and lets the thread spin over what is
//! left. What may be spent spinning is bounded: it is a share of the time that
//! goes by, saved up to [`SAVED_MOST_NS`].
//!
//! 1. The more is saved, the higher the quantile of the learned latencies that is
//!    aimed ahead by; with nothing saved it is the lowest, and nothing is spun.
//!    Spending thus settles at the share, whatever the rate.
//! 2. A departure closer than that is spun to where the savings reach, and slept
//!    to otherwise.
//!
//! Pure: instants in, what to do out. Instants are host monotonic nanoseconds.

/// How a stream waits for its departures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Sleeps to the instant, and is late by the latency of a wake-up.
    #[default]
    Sleep,
    /// Wakes early by the learned latency and spins over the rest, within the
    /// bounded share of time.
    Learned,
    /// Spins for so long before each departure, ns, whatever it costs.
    Spin(u64),
}

/// What a thread does next on its way to a departure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approach {
    /// Sleep until the instant, then say [`EarlyWake::woke`] and ask again.
    SleepUntil(u64),
    /// Read the clock until the instant has come, then say [`EarlyWake::spun`].
    Spin,
    /// The instant has come.
    Arrived,
}

/// See the module.
#[derive(Debug)]
pub struct EarlyWake {
    precision: Precision,
    /// The latest latencies, ns, in a ring.
    latencies: [u32; SAMPLES],
    /// How many were ever taken in.
    taken: usize,
    /// The latencies as they were last looked at, in order.
    ordered: [u32; SAMPLES],
    saved_ns: u64,
    /// Up to when the share was saved.
    saved_until_ns: Option<u64>,
}

impl EarlyWake {
    /// Nothing is learned and nothing saved yet.
    pub fn new(precision: Precision) -> Self {
        Self {
            precision,
            latencies: [0; SAMPLES],
            taken: 0,
            ordered: [0; SAMPLES],
            saved_ns: 0,
            saved_until_ns: None,
        }
    }

    /// The next step towards `due_ns`, at `now_ns`.
    pub fn approach(&mut self, now_ns: u64, due_ns: u64) -> Approach {
        let left_ns = due_ns.saturating_sub(now_ns);
        if left_ns == 0 {
            return Approach::Arrived;
        }
        let (ahead_ns, spin_most_ns) = match self.precision {
            Precision::Sleep => (0, 0),
            Precision::Spin(ns) => (ns, ns),
            Precision::Learned => {
                self.save(now_ns);
                (self.ahead_ns(), self.saved_ns)
            }
        };
        if left_ns > ahead_ns {
            Approach::SleepUntil(due_ns - ahead_ns)
        } else if left_ns <= spin_most_ns {
            Approach::Spin
        } else {
            Approach::SleepUntil(due_ns)
        }
    }

    /// A sleep until `asked_ns` ended at `woke_ns`.
    pub fn woke(&mut self, asked_ns: u64, woke_ns: u64) {
        if self.precision != Precision::Learned {
            return;
        }
        let latency_ns = u32::try_from(woke_ns.saturating_sub(asked_ns)).unwrap_or(u32::MAX);
        self.latencies[self.taken % SAMPLES] = latency_ns;
        self.taken += 1;
        if self.taken.is_multiple_of(LOOK_EVERY) {
            self.ordered = self.latencies;
            self.ordered[..self.taken.min(SAMPLES)].sort_unstable();
        }
    }

    /// So much time was spent spinning.
    pub fn spun(&mut self, ns: u64) {
        self.saved_ns = self.saved_ns.saturating_sub(ns);
    }

    fn save(&mut self, now_ns: u64) {
        let since_ns = self.saved_until_ns.replace(now_ns).unwrap_or(now_ns);
        let share_ns = now_ns.saturating_sub(since_ns) / SHARE_ONE_IN;
        self.saved_ns = (self.saved_ns + share_ns).min(SAVED_MOST_NS);
    }

    /// By how much to wake early now.
    fn ahead_ns(&self) -> u64 {
        let known = self.taken.min(SAMPLES);
        if known < LOOK_EVERY {
            return 0;
        }
        let known = known - known % LOOK_EVERY;
        let rank =
            self.saved_ns as usize * (known * QUANTILE_PERCENT / 100) / SAVED_MOST_NS as usize;
        u64::from(self.ordered[rank.min(known - 1)]).min(AHEAD_MOST_NS)
    }
}

/// Enough for a quantile of 95 %, few enough to follow a change within a fraction
/// of a second at 1000 packets a second.
const SAMPLES: usize = 128;

/// Wake-ups between two looks at the quantiles: sorting 128 numbers costs 1 us.
const LOOK_EVERY: usize = 16;

/// One part in so many of the time may be spun away: 4 %.
const SHARE_ONE_IN: u64 = 25;

/// The most that is saved, ns: a tenth of a second's share. Less follows every
/// single wake-up, more lets a busy moment spin for long.
const SAVED_MOST_NS: u64 = 4_000_000;

/// With all saved, of 100 wake-ups so many come in time. The latest few are stalls
/// that no spinning bridges.
const QUANTILE_PERCENT: usize = 95;

/// No wake-up is aimed ahead by more, ns: what is later is a stall.
const AHEAD_MOST_NS: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::ChaCha12Rng;
    use rand_core::{Rng, SeedableRng};

    use super::*;

    /// What a thread went through.
    #[derive(Debug, Default)]
    struct Tally {
        /// Of each departure, ns.
        lateness: Vec<u64>,
        spun_ns: u64,
        length_ns: u64,
    }

    impl Tally {
        fn median_ns(&self) -> u64 {
            let mut lateness = self.lateness.clone();
            lateness.sort_unstable();
            lateness[lateness.len() / 2]
        }

        fn spun_share(&self) -> f64 {
            self.spun_ns as f64 / self.length_ns as f64
        }
    }

    /// Waits for `count` departures `gap_ns` apart on a virtual clock whose
    /// wake-ups are late by `latency`; a departure takes 3 us of work.
    fn run(
        precision: Precision,
        gap_ns: u64,
        count: u64,
        mut latency: impl FnMut() -> u64,
    ) -> Tally {
        let mut early = EarlyWake::new(precision);
        let (mut run, mut now) = (Tally::default(), 0);
        for due in (1..=count).map(|n| n * gap_ns) {
            loop {
                match early.approach(now, due) {
                    Approach::Arrived => break,
                    Approach::Spin => {
                        early.spun(due - now);
                        run.spun_ns += due - now;
                        now = due;
                    }
                    Approach::SleepUntil(asked) => {
                        assert!(asked <= due);
                        now = now.max(asked) + latency();
                        early.woke(asked, now);
                    }
                }
            }
            run.lateness.push(now - due);
            now += 3_000;
        }
        run.length_ns = now;
        run
    }

    /// 40 to 80 us, and one wake-up in twenty later by up to a millisecond.
    fn machine(seed: u64) -> impl FnMut() -> u64 {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        move || {
            let late = if rng.next_u64() % 20 == 0 {
                1_000_000
            } else {
                1
            };
            40_000 + rng.next_u64() % 40_000 + rng.next_u64() % late
        }
    }

    #[test]
    fn a_plain_sleep_is_late_by_the_latency() {
        let run = run(Precision::Sleep, 1_000_000, 1_000, || 50_000);
        assert!(run.lateness.iter().all(|ns| *ns == 50_000));
        assert_eq!(run.spun_ns, 0);
    }

    #[test]
    fn asked_to_spin_it_is_on_time_whatever_it_costs() {
        let run = run(Precision::Spin(100_000), 1_000_000, 1_000, machine(1));
        assert_eq!(run.median_ns(), 0);
        assert!(run.spun_share() > 0.03, "{}", run.spun_share());
    }

    #[test]
    fn learned_latencies_are_taken_out_for_a_bounded_share_of_time() {
        for seed in [1, 2, 3] {
            for (gap_ns, count, median_ns) in [
                (100_000_000, 200, 100),
                (1_000_000, 5_000, 100),
                (100_000, 50_000, 20_000),
            ] {
                let plain = run(Precision::Sleep, gap_ns, count, machine(seed));
                let learned = run(Precision::Learned, gap_ns, count, machine(seed));
                let share = learned.spun_share();
                assert!(share <= 0.041, "seed {seed}, gap {gap_ns}: {share}");
                let (before, after) = (plain.median_ns(), learned.median_ns());
                assert!(
                    after <= median_ns && after < before / 2,
                    "seed {seed}, gap {gap_ns}: {before} ns, then {after} ns"
                );
            }
        }
    }

    #[test]
    fn a_change_of_the_latency_is_learned() {
        let mut count = 0;
        let run = run(Precision::Learned, 1_000_000, 4_000, || {
            count += 1;
            if count < 2_000 { 60_000 } else { 150_000 }
        });
        let late = |range: std::ops::Range<usize>| {
            run.lateness[range].iter().filter(|ns| **ns > 1_000).count()
        };
        assert!(late(500..1_900) < 20, "{}", late(500..1_900));
        assert!(late(2_300..4_000) < 20, "{}", late(2_300..4_000));
    }

    proptest! {
        /// Whatever the wake-ups do, spinning stays within the share and nothing
        /// leaves before it is due.
        #[test]
        fn spinning_is_bounded(
            gap_ns in 2_000_u64..5_000_000,
            latencies in proptest::collection::vec(0_u64..2_000_000, 1..50),
        ) {
            let mut at = 0;
            let run = run(Precision::Learned, gap_ns, 2_000, || {
                at += 1;
                latencies[at % latencies.len()]
            });
            prop_assert!(run.spun_ns <= run.length_ns / SHARE_ONE_IN);
        }
    }
}
