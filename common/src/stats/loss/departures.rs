//! When packets were sent, as far as those that arrived tell it.

use std::collections::VecDeque;

/// A run of at least so many missing numbers is told exactly: with a point on
/// each side of it. It is what can begin an outage.
const LONG_RUN: u64 = 3;

/// Points beyond those of every step: the next ones come only with a step. 1 MiB
/// at most, which takes a flow that loses three of every four packets.
const MAX_POINTS: usize = 1 << 16;

/// Packet `seq` was sent at `at_ns`, and all before it no later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) seq: u64,
    pub(super) at_ns: u64,
}

/// Times of departure by sequence number, linear between points.
///
/// Invariant: sequence numbers of points ascend; the packet of each has arrived.
#[derive(Debug, Clone, Default)]
pub(super) struct Departures {
    /// The packet of least number that came after one of a greater one.
    lowest: Option<Point>,
    /// The last point that was taken out.
    before: Option<Point>,
    points: VecDeque<Point>,
    /// The packet at the top, which need not be a point.
    newest: Option<Point>,
}

impl Departures {
    /// A packet beyond all before it, after `skipped` missing numbers. A point
    /// is made at least every `step_ns`.
    #[inline]
    pub(super) fn push(&mut self, seq: u64, at_ns: u64, skipped: u64, step_ns: u64) {
        let packet = Point { seq, at_ns };
        let last_ns = self.points.back().map(|last| last.at_ns);
        let due = last_ns.is_none_or(|last_ns| at_ns >= last_ns.saturating_add(step_ns));
        let long = skipped >= LONG_RUN && self.points.len() < MAX_POINTS;
        if due || long {
            let last = self.points.back().map(|last| last.seq);
            if let Some(newest) = self
                .newest
                .filter(|newest| long && Some(newest.seq) != last)
            {
                self.points.push_back(newest);
            }
            self.points.push_back(packet);
        }
        self.newest = Some(packet);
    }

    /// A packet that came after one of a greater number.
    #[inline]
    pub(super) fn reordered(&mut self, seq: u64, at_ns: u64) {
        if self.lowest.is_none_or(|lowest| seq < lowest.seq) {
            self.lowest = Some(Point { seq, at_ns });
        }
    }

    /// The oldest point, if it was sent `linger_ns` before `latest_ns`.
    #[inline]
    pub(super) fn expired(&self, linger_ns: u64, latest_ns: u64) -> Option<Point> {
        let oldest = self.points.front().copied();
        oldest.filter(|oldest| oldest.at_ns.saturating_add(linger_ns) <= latest_ns)
    }

    /// Takes the oldest point out: everything up to it has been decided.
    pub(super) fn take(&mut self) {
        self.before = self.points.pop_front().or(self.before);
    }

    /// When `seq` was sent; 0 if nothing is known.
    pub(super) fn at(&self, seq: u64) -> u64 {
        let next = self.points.partition_point(|point| point.seq < seq);
        let earlier = match next {
            0 => self.before.or(self.lowest),
            next => self.points.get(next - 1).copied(),
        };
        let newest = self.newest.filter(|newest| newest.seq >= seq);
        let later = self.points.get(next).copied().or(newest);
        match (earlier.filter(|earlier| earlier.seq < seq), later) {
            (Some(earlier), Some(later)) => between(earlier, later, seq),
            (earlier, later) => later.or(earlier).map_or(0, |point| point.at_ns),
        }
    }
}

/// The time of `seq` on the line through two points around it.
fn between(earlier: Point, later: Point, seq: u64) -> u64 {
    let whole = u128::from(later.seq - earlier.seq);
    let part = u128::from(seq - earlier.seq);
    let time_ns = u128::from(later.at_ns.saturating_sub(earlier.at_ns));
    // At most time_ns, which fits.
    earlier
        .at_ns
        .saturating_add((time_ns * part / whole) as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_constant_rate_is_told_exactly_around_long_runs(
            spacing in 1u64..1_000_000, skips in proptest::collection::vec(0u64..20, 1..50), taken in 0usize..50,
        ) {
            let mut departures = Departures::default();
            let (mut seq, mut runs) = (0, Vec::new());
            for skipped in skips {
                seq += skipped;
                departures.push(seq, seq * spacing, skipped, u64::MAX);
                if skipped >= LONG_RUN && seq > skipped {
                    runs.push(seq - skipped);
                }
                seq += 1;
            }
            let taken = taken.min(departures.points.len());
            (0..taken).for_each(|_| departures.take());
            let known = departures.before.map_or(0, |before| before.seq);
            for first in runs.into_iter().filter(|first| *first > known) {
                prop_assert_eq!(departures.at(first), first * spacing);
            }
        }

        #[test]
        fn absurd_times_never_panic(
            packets in proptest::collection::vec((1u64..1 << 50, any::<u64>()), 0..30), seq: u64,
        ) {
            let mut departures = Departures::default();
            let mut top = 0;
            for (skipped, at_ns) in packets {
                top += skipped;
                departures.push(top, at_ns, skipped, 7);
                if let Some(point) = departures.expired(3, at_ns) {
                    departures.at(point.seq);
                    departures.take();
                }
            }
            departures.at(seq);
        }
    }
}
