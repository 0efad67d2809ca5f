//! Rates that change: departures of a steady schedule, moved to where a ramp
//! wants them.
//!
//! A schedule at the ramp's highest rate is read as progress: its offset says how
//! much is to have been offered, and the departure leaves when the integral of the
//! ramp has come so far (a change of time). Equal spacing becomes the ramp itself;
//! a Poisson process becomes the Poisson process of that rate; any other law keeps
//! its shape, stretched by the rate.
//!
//! The integral is exact integer arithmetic. Its inverse is solved in doubles, from
//! the exact amount since the last point: the error is below 1 ns where points are
//! less than an hour apart, and below 1 us for a week.

use weir_common::assignment::RampPoint;

/// A rate over time: linear between points, a step where two have one time.
///
/// Invariant: the pieces follow each other from 0, the last one has no end, and all
/// rates are at least 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ramp {
    pieces: Vec<Piece>,
    top: u64,
}

/// A stretch in which the rate is linear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    from_ns: u64,
    to_ns: u64,
    rate: u64,
    end_rate: u64,
    /// Twice the integral up to `from_ns`, in units of rate and ns: whole numbers,
    /// where the integral itself has halves.
    before: u128,
}

impl Ramp {
    /// `rate` until the first point, the last point's rate after it. Points are in
    /// the order of time; a rate of 0 is taken as 1.
    pub fn new(rate: u64, points: &[RampPoint]) -> Self {
        let mut ramp = Self {
            pieces: Vec::with_capacity(points.len() + 1),
            top: 0,
        };
        let (mut at_ns, mut rate) = (0, rate);
        if let Some(first) = points.first() {
            ramp.add(0, first.at_ns, rate, rate);
            for pair in points.windows(2) {
                ramp.add(pair[0].at_ns, pair[1].at_ns, pair[0].rate, pair[1].rate);
            }
        }
        if let Some(last) = points.last() {
            (at_ns, rate) = (last.at_ns, last.rate);
        }
        ramp.add(at_ns, u64::MAX, rate, rate);
        ramp
    }

    fn add(&mut self, from_ns: u64, to_ns: u64, rate: u64, end_rate: u64) {
        if from_ns >= to_ns {
            return;
        }
        let before = self
            .pieces
            .last()
            .map_or(0, |piece| piece.before + piece.since(piece.to_ns));
        let (rate, end_rate) = (rate.max(1), end_rate.max(1));
        self.top = self.top.max(rate).max(end_rate);
        self.pieces.push(Piece {
            from_ns,
            to_ns,
            rate,
            end_rate,
            before,
        });
    }

    /// The highest rate.
    pub fn top(&self) -> u64 {
        self.top
    }

    /// The lowest rate.
    pub fn least(&self) -> u64 {
        let rates = self
            .pieces
            .iter()
            .map(|piece| piece.rate.min(piece.end_rate));
        rates.min().unwrap_or(1)
    }

    /// Twice the integral over `[0, until_ns)`, in units of rate and ns, rounded down.
    fn twice_until(&self, until_ns: u64) -> u128 {
        let piece = &self.pieces[self.piece_at(|piece| piece.from_ns <= until_ns)];
        piece.before + piece.since(until_ns)
    }

    /// The last piece that `reached` holds for; it holds for the first, and for no
    /// piece after one for which it does not.
    fn piece_at(&self, reached: impl Fn(&Piece) -> bool) -> usize {
        self.pieces.partition_point(reached).saturating_sub(1)
    }

    /// How many packets are planned in `[0, duration_ns)`, to the nearest (halves up),
    /// where a packet takes `unit` of rate and ns: round(rate x time) without points.
    pub fn planned(&self, duration_ns: u64, unit: u64) -> u64 {
        let unit = u128::from(unit.max(1));
        let packets = (self.twice_until(duration_ns) + unit) / (2 * unit);
        u64::try_from(packets).unwrap_or(u64::MAX)
    }
}

impl Piece {
    /// Twice the integral from the piece's start to `at_ns`, rounded down.
    fn since(&self, at_ns: u64) -> u128 {
        let elapsed = u128::from(at_ns.min(self.to_ns) - self.from_ns);
        let flat = 2 * u128::from(self.rate) * elapsed;
        let length = u128::from(self.to_ns - self.from_ns);
        let change = u128::from(self.rate.abs_diff(self.end_rate));
        // change x elapsed / length x elapsed, which together may exceed 128 bits.
        let (whole, part) = (change * elapsed / length, change * elapsed % length);
        let slope = whole * elapsed + part * elapsed / length;
        if self.end_rate >= self.rate {
            flat + slope
        } else {
            flat - slope.min(flat)
        }
    }

    /// When twice the integral is `amount`, which is not less than `before`.
    fn reaches(&self, amount: u128) -> u64 {
        let left = (amount - self.before) as f64;
        let length = (self.to_ns - self.from_ns) as f64;
        let rate = self.rate as f64;
        let slope = (self.end_rate as f64 - rate) / length;
        // The root of slope x t^2 + 2 x rate x t = left that does not cancel.
        let root = (rate * rate + slope * left).max(0.0).sqrt();
        let elapsed = (left / (rate + root)).min(length);
        self.from_ns.saturating_add(elapsed as u64)
    }
}

/// A schedule at a ramp's [`top`](Ramp::top) rate as the ramp wants it: maps
/// offsets that never decrease to instants that never decrease.
#[derive(Debug, Clone)]
pub struct RampClock {
    ramp: Ramp,
    /// The piece of the latest instant.
    at: usize,
    latest_ns: u64,
}

impl RampClock {
    /// At the start of the ramp.
    pub fn new(ramp: Ramp) -> Self {
        Self {
            ramp,
            at: 0,
            latest_ns: 0,
        }
    }

    /// When what a schedule at the top rate has at `offset_ns` is due by the ramp.
    pub fn due_ns(&mut self, offset_ns: u64) -> u64 {
        let amount = 2 * u128::from(offset_ns) * u128::from(self.ramp.top);
        while let Some(next) = self.ramp.pieces.get(self.at + 1) {
            if next.before > amount {
                break;
            }
            self.at += 1;
        }
        let due_ns = self.ramp.pieces[self.at].reaches(amount);
        self.latest_ns = self.latest_ns.max(due_ns);
        self.latest_ns
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    /// One packet where rates are in packets a second.
    const PACKET: u64 = SECOND;

    fn points(of: &[(u64, u64)]) -> Vec<RampPoint> {
        let point = |(at_ns, rate): &(u64, u64)| RampPoint {
            at_ns: *at_ns,
            rate: *rate,
        };
        of.iter().map(point).collect()
    }

    #[test]
    fn a_steady_rate_plans_rate_times_time() {
        let steady = Ramp::new(1_000, &[]);
        assert_eq!(steady.planned(10 * SECOND, PACKET), 10_000);
        assert_eq!(steady.planned(1_499_999, PACKET), 1);
        assert_eq!(steady.planned(1_500_000, PACKET), 2);
        let mut clock = RampClock::new(steady);
        for offset in [0, 1, 999_999_999, 7 * 86_400 * SECOND] {
            assert_eq!(clock.due_ns(offset), offset);
        }
    }

    #[test]
    fn the_integral_of_a_ramp_is_that_of_a_trapezium() {
        // 1 s of 10, 2 s from 20 to 40, a step to 5.
        let ramp = Ramp::new(
            10,
            &points(&[(SECOND, 20), (3 * SECOND, 40), (3 * SECOND, 5)]),
        );
        assert_eq!(ramp.top(), 40);
        for (seconds, packets) in [(1, 10), (2, 10 + 25), (3, 10 + 60), (5, 10 + 60 + 10)] {
            assert_eq!(
                ramp.planned(seconds * SECOND, PACKET),
                packets,
                "{seconds} s"
            );
        }
    }

    #[test]
    fn departures_of_a_ramp_are_where_its_integral_says() {
        // From 0 s on, 100 pkt/s rising to 300 in 2 s: n packets by 100 t + 50 t^2.
        let ramp = Ramp::new(100, &points(&[(0, 100), (2 * SECOND, 300)]));
        let spacing = SECOND / ramp.top();
        let mut clock = RampClock::new(ramp);
        for n in 0..400_u64 {
            let seconds = clock.due_ns(n * spacing) as f64 / 1e9;
            let packets = 100.0 * seconds + 50.0 * seconds * seconds;
            // The offsets are whole ns, a millionth of a packet.
            assert!((packets - n as f64).abs() < 1e-4, "{n}: {packets}");
        }
    }

    #[test]
    fn the_highest_rate_and_the_longest_run_do_not_overflow() {
        let week = 7 * 86_400 * SECOND;
        let most = 10_000_000_000_000;
        let ramp = Ramp::new(1, &points(&[(0, 1), (week, most)]));
        let half = ramp.planned(week, 8_000_000_000 * 1_400);
        let expected = most as f64 * 604_800.0 / 2.0 / 8.0 / 1_400.0;
        assert!((half as f64 / expected - 1.0).abs() < 1e-6, "{half}");
        let mut clock = RampClock::new(ramp);
        assert!(clock.due_ns(u64::MAX) > week);
    }

    proptest! {
        #[test]
        fn instants_never_decrease_and_meet_the_integral(
            rate in 1_u64..1_000_000_000,
            steps in proptest::collection::vec((0_u64..20 * SECOND, 1_u64..1_000_000_000), 0..6),
            mut offsets in proptest::collection::vec(0_u64..100 * SECOND, 1..50),
        ) {
            let mut at_ns = 0;
            let given: Vec<(u64, u64)> = steps
                .iter()
                .map(|(length, rate)| {
                    at_ns += length;
                    (at_ns, *rate)
                })
                .collect();
            let ramp = Ramp::new(rate, &points(&given));
            let mut clock = RampClock::new(ramp.clone());
            offsets.sort_unstable();
            let mut before = 0;
            for offset in offsets {
                let due_ns = clock.due_ns(offset);
                prop_assert!(due_ns >= before);
                before = due_ns;
                let asked = 2 * u128::from(offset) * u128::from(ramp.top());
                // 2 ns of the top rate: one for the rounding, one for the inverse.
                let slack = 4 * u128::from(ramp.top());
                let got = ramp.twice_until(due_ns);
                prop_assert!(got.abs_diff(asked) <= slack, "{offset}: {got} for {asked}");
            }
        }

        #[test]
        fn the_plan_of_the_whole_is_that_of_its_parts(
            rate in 1_u64..1_000_000, a in 0_u64..100 * SECOND, b in 0_u64..100 * SECOND
        ) {
            let steady = Ramp::new(rate, &[]);
            let (a, b) = (a.min(b), a.max(b));
            let parts = steady.planned(a, PACKET) + steady.planned(b - a, PACKET);
            prop_assert!(steady.planned(b, PACKET).abs_diff(parts) <= 1);
        }
    }
}
