//! How far a reordered packet came too late, in packets (RFC 4737 section 4.2).

use std::collections::VecDeque;

/// Gaps remembered: 4 KiB. With more of them open, extents of packets older
/// than the oldest are a lower bound.
const MAX_GAPS: usize = 256;

/// Finds the reordering extent of a packet: how many packets arrived since the
/// earliest one with a greater sequence number.
///
/// That earliest one is always the packet that opened the gap which the
/// reordered packet fills, so only the ends of gaps need to be kept.
/// Invariant: the gaps ascend in both fields.
#[derive(Debug, Clone, Default)]
pub(super) struct Reordering {
    arrivals: u64,
    gaps: VecDeque<Gap>,
}

#[derive(Debug, Clone, Copy)]
struct Gap {
    /// Sequence number of the packet right after the gap.
    end: u64,
    /// That packet's place in the order of arrival.
    arrival: u64,
}

impl Reordering {
    /// A packet beyond all before it; `skipped` if numbers are missing before it.
    #[inline]
    pub(super) fn in_order(&mut self, sequence: u64, skipped: bool) {
        if skipped {
            if self.gaps.len() == MAX_GAPS {
                self.gaps.pop_front();
            }
            self.gaps.push_back(Gap {
                end: sequence,
                arrival: self.arrivals,
            });
        }
        self.arrivals += 1;
    }

    /// The extent, at least 1, of a packet that comes after a greater one.
    pub(super) fn reordered(&mut self, sequence: u64) -> u64 {
        let at = self.gaps.partition_point(|gap| gap.end <= sequence);
        let earliest = self.gaps.get(at).map_or(self.arrivals, |gap| gap.arrival);
        let extent = (self.arrivals - earliest).max(1);
        self.arrivals += 1;
        extent
    }

    /// Forgets gaps that can no longer be filled: all below `base`.
    pub(super) fn settle(&mut self, base: u64) {
        while self.gaps.front().is_some_and(|gap| gap.end <= base) {
            self.gaps.pop_front();
        }
    }
}
