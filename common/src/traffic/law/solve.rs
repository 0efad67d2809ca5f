//! The parameter that a rate leaves open.

use super::distribution::Conditioned;

/// How the open parameter moves a law, and a first guess.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Open {
    /// Stretches it.
    Scale(f64),
    /// Moves it; and the scale on which that matters.
    Location(f64, f64),
}

/// Finds the parameter for which the conditioned mean is `target`, to 10^-12 of it. The first guess is kept where it is
/// that good: a law of which nothing is cut off has its textbook parameter.
pub(super) fn solve(
    open: Open,
    target: f64,
    condition: impl Fn(f64) -> Option<Conditioned>,
) -> Option<Conditioned> {
    let miss = |found: &Conditioned| found.mean - target;
    let good = |found: &Conditioned| miss(found).abs() <= TOLERANCE * target;
    let guess = match open {
        Open::Scale(guess) | Open::Location(guess, _) => guess,
    };
    let first = condition(guess)?;
    if good(&first) {
        return Some(first);
    }
    let (mut low, mut high) = bracket(open, guess, &first, target, &condition)?;
    for _ in 0..ROUNDS {
        // Regula falsi, and every third time the middle, so that no end stays where it is.
        let share = low.1 / (low.1 - high.1);
        let share = if (0.01..0.99).contains(&share) {
            share
        } else {
            0.5
        };
        let next = low.0 + (high.0 - low.0) * share;
        let found = condition(next)?;
        if good(&found) || next <= low.0 || next >= high.0 {
            return Some(found);
        }
        let miss = miss(&found);
        if miss < 0.0 {
            low = (next, miss);
            high.1 *= 0.5;
        } else {
            high = (next, miss);
            low.1 *= 0.5;
        }
    }
    None
}

const TOLERANCE: f64 = 1e-12;
const ROUNDS: usize = 200;

type End = (f64, f64);

/// Two parameters with the target between their means.
fn bracket(
    open: Open,
    guess: f64,
    first: &Conditioned,
    target: f64,
    condition: &impl Fn(f64) -> Option<Conditioned>,
) -> Option<(End, End)> {
    let mut last = (guess, first.mean - target);
    let up = last.1 < 0.0;
    for step in 0..64 {
        let next = match open {
            Open::Scale(_) if up => last.0 * 2.0,
            Open::Scale(_) => last.0 / 2.0,
            Open::Location(_, scale) => {
                let by = scale * 0.25 * f64::from(1_u32 << (step / 2).min(20));
                if up { last.0 + by } else { last.0 - by }
            }
        };
        let now = (next, condition(next)?.mean - target);
        if up && now.1 >= 0.0 {
            return Some((last, now));
        }
        if !up && now.1 <= 0.0 {
            return Some((now, last));
        }
        last = now;
    }
    None
}
