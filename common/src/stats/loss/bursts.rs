//! Lost packets in a row.

/// Classes of burst length: 1, 2-3, 4-7, ... and everything from 2^15.
pub const BURST_CLASSES: usize = 16;

/// Runs of consecutive lost packets of a cohort.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bursts {
    /// How many runs there were.
    pub count: u64,
    /// Packets in all of them.
    pub packets: u64,
    /// Packets in the longest.
    pub max: u64,
    /// Runs by length: class i counts lengths from 2^i to 2^(i+1) - 1, the last
    /// class everything longer too.
    pub classes: [u64; BURST_CLASSES],
}

impl Bursts {
    /// Adds a run of `length` packets; 0 is no run.
    pub fn record(&mut self, length: u64) {
        if length == 0 {
            return;
        }
        self.count += 1;
        self.packets = self.packets.saturating_add(length);
        self.max = self.max.max(length);
        self.classes[(length.ilog2() as usize).min(BURST_CLASSES - 1)] += 1;
    }

    /// Mean length in packets; `None` without a run.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.packets as f64 / self.count as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_fall_into_their_octave() {
        let mut bursts = Bursts::default();
        for length in [0, 1, 2, 3, 4, 1 << 40] {
            bursts.record(length);
        }
        assert_eq!((bursts.count, bursts.max), (5, 1 << 40));
        assert_eq!(bursts.classes[..3], [1, 2, 1]);
        assert_eq!(bursts.classes[BURST_CLASSES - 1], 1);
        assert_eq!(bursts.mean(), Some((10 + (1u64 << 40)) as f64 / 5.0));
    }
}
