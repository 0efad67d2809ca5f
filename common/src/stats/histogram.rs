//! The one histogram layout of the project, for delays, RTTs and lateness.
//!
//! Log-linear: every octave is cut into 16 equal steps, from 0.1 us to 1,000 s.
//! A percentile is therefore at most 1/33 (3.03 %) away from the sample it
//! stands for; count, sum, sum of squares, minimum and maximum are exact and
//! stay exact through [`Histogram::merge`] and the encoded form.

mod codec;
mod steps;
#[cfg(test)]
mod tests;

use self::steps::Steps;
pub use codec::{HistogramError, MAX_ENCODED_BYTES};

/// Smallest value with a step of its own, in nanoseconds (0.1 us).
pub const LOWEST_NS: u64 = 100;
/// Largest value told apart, in nanoseconds (1,000 s).
pub const HIGHEST_NS: u64 = 1_000_000_000_000;
/// Largest relative distance between a percentile and the sample it stands for.
pub const RELATIVE_ERROR: f64 = 1.0 / 33.0;

/// log2 of the steps in an octave.
const STEP_BITS: u32 = 4;
/// Step number of [`LOWEST_NS`] when counted from 1 ns.
const FIRST_STEP: usize = raw_step(LOWEST_NS);
/// Steps between the two limits: 533, which is 2,132 bytes of 32-bit counters.
const STEPS: usize = raw_step(HIGHEST_NS) - FIRST_STEP + 1;

/// A mergeable histogram of durations in nanoseconds.
///
/// An empty one is small, and one with few samples takes some 100 bytes: counters
/// for all steps are allocated when that many samples are recorded, or that many
/// steps filled, that they are worth it.
/// Values below [`LOWEST_NS`] share the first step, and are exact in sum,
/// minimum and maximum. Values above [`HIGHEST_NS`] count as [`HIGHEST_NS`] in
/// every figure. Both are counted, see [`Histogram::below`] and
/// [`Histogram::above`].
///
/// Invariants: the counters add up to `count`; `below` is part of the first
/// step and `above` of the last; with `count == 0` every other field is zero.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    steps: Steps,
    count: u64,
    below: u64,
    above: u64,
    min_ns: u64,
    max_ns: u64,
    sum_ns: u128,
    sum_of_squares: u128,
}

impl Histogram {
    /// An empty histogram; allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one sample. Costs a shift, a multiplication and an increment.
    #[inline]
    pub fn record(&mut self, value_ns: u64) {
        let value = value_ns.min(HIGHEST_NS);
        if value_ns < LOWEST_NS {
            self.below = self.below.saturating_add(1);
        } else if value_ns > HIGHEST_NS {
            self.above = self.above.saturating_add(1);
        }
        if self.count == 0 || value < self.min_ns {
            self.min_ns = value;
        }
        self.max_ns = self.max_ns.max(value);
        // Saturating: this one may have been decoded from absurd bytes.
        self.count = self.count.saturating_add(1);
        self.sum_ns = self.sum_ns.saturating_add(u128::from(value));
        let square = u128::from(value) * u128::from(value);
        self.sum_of_squares = self.sum_of_squares.saturating_add(square);
        self.steps.record(step(value), self.count);
    }

    /// Adds all samples of another histogram, as if each had been recorded here.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        self.min_ns = match self.count {
            0 => other.min_ns,
            _ => self.min_ns.min(other.min_ns),
        };
        self.max_ns = self.max_ns.max(other.max_ns);
        self.count = self.count.saturating_add(other.count);
        self.below = self.below.saturating_add(other.below);
        self.above = self.above.saturating_add(other.above);
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
        self.sum_of_squares = self.sum_of_squares.saturating_add(other.sum_of_squares);
        for (index, count) in other.steps.occupied() {
            self.steps.add(index, count);
        }
    }

    /// How many samples there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether no sample was recorded.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Samples below [`LOWEST_NS`].
    pub fn below(&self) -> u64 {
        self.below
    }

    /// Samples above [`HIGHEST_NS`], which count as [`HIGHEST_NS`].
    pub fn above(&self) -> u64 {
        self.above
    }

    /// Sum of all samples in nanoseconds, exact.
    pub fn sum_ns(&self) -> u128 {
        self.sum_ns
    }

    /// Smallest sample in nanoseconds, exact; `None` without samples.
    pub fn min_ns(&self) -> Option<u64> {
        (self.count > 0).then_some(self.min_ns)
    }

    /// Largest sample in nanoseconds, exact; `None` without samples.
    pub fn max_ns(&self) -> Option<u64> {
        (self.count > 0).then_some(self.max_ns)
    }

    /// Arithmetic mean in nanoseconds, from the exact sum; `None` without samples.
    pub fn mean_ns(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum_ns as f64 / self.count as f64)
    }

    /// Standard deviation of the samples in nanoseconds (divided by n, not
    /// n - 1), from the exact sums; `None` without samples.
    pub fn sd_ns(&self) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        let n = u128::from(self.count);
        // n * sum(x^2) - sum(x)^2 in integers: no cancellation between two
        // large floats. The float path is for counts no run reaches.
        let squares = n.checked_mul(self.sum_of_squares);
        let square = self.sum_ns.checked_mul(self.sum_ns);
        let scaled_variance = if let (Some(squares), Some(square)) = (squares, square) {
            squares.saturating_sub(square) as f64
        } else {
            let sum = self.sum_ns as f64;
            (self.sum_of_squares as f64 * n as f64 - sum * sum).max(0.0)
        };
        Some(scaled_variance.sqrt() / n as f64)
    }

    /// The `percent`-th percentile (0 to 100) in nanoseconds by nearest rank
    /// (RFC 2330 section 11.3), within [`RELATIVE_ERROR`] and never outside
    /// minimum and maximum; 0 and 100 are exact. `None` without samples.
    pub fn percentile_ns(&self, percent: f64) -> Option<u64> {
        if self.count == 0 {
            return None;
        }
        if percent <= 0.0 {
            return Some(self.min_ns);
        }
        if percent >= 100.0 {
            return Some(self.max_ns);
        }
        let rank = ((percent / 100.0 * self.count as f64).ceil() as u64).clamp(1, self.count);
        let mut seen = 0u64;
        for (index, count) in self.steps.occupied() {
            seen = seen.saturating_add(count);
            if seen >= rank {
                return Some(middle_ns(index).clamp(self.min_ns, self.max_ns));
            }
        }
        Some(self.max_ns)
    }
}

impl PartialEq for Histogram {
    /// Equal samples, whatever the width of the counters.
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count
            && self.below == other.below
            && self.above == other.above
            && self.min_ns == other.min_ns
            && self.max_ns == other.max_ns
            && self.sum_ns == other.sum_ns
            && self.sum_of_squares == other.sum_of_squares
            && self.steps.occupied().eq(other.steps.occupied())
    }
}

impl Eq for Histogram {}

/// Step of a value at most [`HIGHEST_NS`].
#[inline]
fn step(value_ns: u64) -> usize {
    raw_step(value_ns.max(LOWEST_NS)) - FIRST_STEP
}

/// Octave and sixteenth within it, for values from 16.
const fn raw_step(value: u64) -> usize {
    let octave = u64::BITS - 1 - value.leading_zeros();
    let sixteenth = (value >> (octave - STEP_BITS)) & ((1 << STEP_BITS) - 1);
    ((octave as usize) << STEP_BITS) | sixteenth as usize
}

/// First and last value of a step in nanoseconds.
fn bounds_ns(index: usize) -> (u64, u64) {
    let raw = index + FIRST_STEP;
    let shift = (raw >> STEP_BITS) as u32 - STEP_BITS;
    let sixteenth = (raw & ((1 << STEP_BITS) - 1)) as u64;
    let first = ((1 << STEP_BITS) + sixteenth) << shift;
    (first, first + (1 << shift) - 1)
}

/// The value whose relative distance to both ends of the step is the same
/// (their harmonic mean): the smallest worst case there is.
fn middle_ns(index: usize) -> u64 {
    let (first, last) = bounds_ns(index);
    let (product, sum) = (u128::from(first) * u128::from(last), first + last);
    // Rounded: cut off, the last value of a step would lie beyond the error.
    ((2 * product + u128::from(sum) / 2) / u128::from(sum)) as u64
}
