//! Where the rows of a segment are cut: at multiples of the interval from the
//! segment's start, at the end of its warm-up and at its end.

use weir_common::assignment::Segment;
use weir_common::record::Flags;

/// A row's place in its segment; times from T0, ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// Number of the row within the flow.
    pub(crate) k: u32,
    /// Start.
    pub(crate) start_ns: u64,
    /// Length.
    pub(crate) length_ns: u64,
    /// `WARMUP` and `SHORT` as they apply.
    pub(crate) flags: Flags,
}

impl Span {
    /// End from T0, ns.
    pub(crate) fn end_ns(&self) -> u64 {
        self.start_ns + self.length_ns
    }

    /// Whether the row lies in the measured window.
    pub(crate) fn is_measured(&self) -> bool {
        !self.flags.contains(Flags::WARMUP)
    }
}

/// Walks the rows of one segment.
///
/// Invariant: rows follow each other without a hole from the segment's start.
#[derive(Debug, Clone)]
pub(crate) struct Grid {
    segment: Segment,
    interval_ns: u64,
    k: u32,
    start_ns: u64,
}

impl Grid {
    /// The first row of `segment`.
    pub(crate) fn new(segment: Segment, interval_ns: u64) -> Self {
        let start_ns = segment.start_ns;
        Self {
            segment,
            interval_ns: interval_ns.max(1),
            k: 0,
            start_ns,
        }
    }

    /// The current row at its planned length.
    pub(crate) fn row(&self) -> Span {
        self.span(self.row_end_ns())
    }

    /// Start of the current row, ns from T0.
    pub(crate) fn row_start_ns(&self) -> u64 {
        self.start_ns
    }

    /// Planned end of the current row, ns from T0.
    pub(crate) fn row_end_ns(&self) -> u64 {
        let into = self.start_ns - self.segment.start_ns;
        let next_multiple = (into / self.interval_ns + 1).saturating_mul(self.interval_ns);
        let mut end = next_multiple.min(self.segment.length_ns);
        if into < self.segment.warmup_ns {
            end = end.min(self.segment.warmup_ns);
        }
        self.segment.start_ns.saturating_add(end)
    }

    /// Whether the current row is of the warm-up.
    pub(crate) fn is_in_warmup(&self) -> bool {
        self.start_ns < self.segment.start_ns.saturating_add(self.segment.warmup_ns)
    }

    /// Whether the current row is the segment's last.
    pub(crate) fn is_last(&self) -> bool {
        self.row_end_ns() >= self.segment.end_ns()
    }

    /// Ends the current row as planned and begins the next; the one that ended.
    pub(crate) fn advance(&mut self) -> Span {
        let row = self.row();
        self.start_ns = row.end_ns();
        self.k += 1;
        row
    }

    /// Ends the current row at `at_ns`, or at its planned end if that is earlier:
    /// the segment's last row, cut short. At least 1 ns long.
    pub(crate) fn cut_short(&self, at_ns: u64) -> Span {
        self.span(at_ns.clamp(self.start_ns + 1, self.row_end_ns()))
    }

    fn span(&self, end_ns: u64) -> Span {
        let length_ns = end_ns - self.start_ns;
        let mut flags = Flags::default();
        if self.is_in_warmup() {
            flags.insert(Flags::WARMUP);
        }
        if length_ns < self.interval_ns {
            flags.insert(Flags::SHORT);
        }
        Span {
            k: self.k,
            start_ns: self.start_ns,
            length_ns,
            flags,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weir_common::id::FlowId;

    use super::*;

    fn segment(start_ns: u64, length_ns: u64, warmup_ns: u64) -> Segment {
        Segment {
            flow: FlowId(1),
            start_ns,
            length_ns,
            warmup_ns,
        }
    }

    #[test]
    fn warm_up_and_end_cut_rows_short() {
        let mut grid = Grid::new(segment(50, 1000, 250), 100);
        let mut rows = Vec::new();
        while !grid.is_last() {
            rows.push(grid.advance());
        }
        rows.push(grid.advance());
        let lengths: Vec<u64> = rows.iter().map(|row| row.length_ns).collect();
        assert_eq!(
            lengths,
            [100, 100, 50, 50, 100, 100, 100, 100, 100, 100, 100]
        );
        assert_eq!(rows.iter().filter(|row| !row.is_measured()).count(), 3);
        assert!(rows[2].flags.contains(Flags::SHORT) && rows[3].flags.contains(Flags::SHORT));
        assert_eq!(rows.last().unwrap().end_ns(), 1050);
    }

    proptest! {
        #[test]
        fn rows_cover_the_segment(
            start in 0_u64..1 << 40, length in 1_u64..10_000, warmup in 0_u64..10_000,
            interval in 1_u64..3_000,
        ) {
            let warmup = warmup.min(length - 1);
            let mut grid = Grid::new(segment(start, length, warmup), interval);
            let mut at = start;
            let mut k = 0;
            loop {
                let last = grid.is_last();
                let row = grid.advance();
                prop_assert_eq!((row.k, row.start_ns), (k, at));
                prop_assert!(row.length_ns > 0 && row.length_ns <= interval);
                prop_assert_eq!(row.is_measured(), row.start_ns >= start + warmup);
                at = row.end_ns();
                k += 1;
                if last {
                    break;
                }
            }
            prop_assert_eq!(at, start + length);
        }
    }
}
