//! Lengths in packets: how many, how long, and their distribution by octaves.

use serde::{Deserialize, Serialize};

/// Classes of length: 1, 2-3, 4-7, ... and everything from 2^15.
pub const LENGTH_CLASSES: usize = 16;

/// Lengths of runs of packets, such as lost packets in a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lengths {
    /// How many runs there were.
    pub count: u64,
    /// Packets in all of them.
    pub packets: u64,
    /// Packets in the shortest; 0 without a run.
    pub min: u64,
    /// Packets in the longest.
    pub max: u64,
    /// Runs by length: class i counts lengths from 2^i to 2^(i+1) - 1, the last
    /// class everything longer too.
    pub classes: [u64; LENGTH_CLASSES],
}

impl Lengths {
    /// Adds a run of `length` packets; 0 is no run.
    pub fn record(&mut self, length: u64) {
        if length == 0 {
            return;
        }
        self.min = match self.count {
            0 => length,
            _ => self.min.min(length),
        };
        self.count += 1;
        self.packets = self.packets.saturating_add(length);
        self.max = self.max.max(length);
        self.classes[(length.ilog2() as usize).min(LENGTH_CLASSES - 1)] += 1;
    }

    /// Adds all runs of another account.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        self.min = match self.count {
            0 => other.min,
            _ => self.min.min(other.min),
        };
        self.count = self.count.saturating_add(other.count);
        self.packets = self.packets.saturating_add(other.packets);
        self.max = self.max.max(other.max);
        for (class, count) in self.classes.iter_mut().zip(other.classes) {
            *class = class.saturating_add(count);
        }
    }

    /// Mean length in packets; `None` without a run.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.packets as f64 / self.count as f64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_fall_into_their_octave() {
        let mut lengths = Lengths::default();
        for length in [0, 1, 2, 3, 4, 1 << 40] {
            lengths.record(length);
        }
        assert_eq!((lengths.count, lengths.min, lengths.max), (5, 1, 1 << 40));
        assert_eq!(lengths.classes[..3], [1, 2, 1]);
        assert_eq!(lengths.classes[LENGTH_CLASSES - 1], 1);
        assert_eq!(lengths.mean(), Some((10 + (1u64 << 40)) as f64 / 5.0));
    }

    proptest! {
        #[test]
        fn parts_merge_to_the_whole(
            first in proptest::collection::vec(0u64..100_000, 0..20),
            second in proptest::collection::vec(0u64..100_000, 0..20),
        ) {
            let of = |all: &[u64]| {
                let mut lengths = Lengths::default();
                for length in all {
                    lengths.record(*length);
                }
                lengths
            };
            let mut merged = of(&first);
            merged.merge(&of(&second));
            prop_assert_eq!(merged, of(&[first, second].concat()));
        }
    }
}
