//! Closing segments: who lost what, once a generator has said what it sent.

use std::ops::Range;

use super::{CohortTotals, FinalCount, LossWindow, MAX_SEQUENCE};

impl LossWindow {
    /// Settles a segment with its generator's final count: what has not arrived
    /// is lost, now. Segments skipped before it are settled with what is known.
    /// A count that contradicts an earlier one, or itself, is ignored and marks
    /// the account inconsistent.
    pub fn close_segment(&mut self, count: &FinalCount) {
        if self.closed {
            return;
        }
        let (Some(first), Some(last)) = (count.cohorts.first(), count.cohorts.last()) else {
            return;
        };
        let end = last.end().filter(|_| self.is_plausible(count));
        let Some(end) = end else {
            self.inconsistent = true;
            return;
        };
        self.declare_below(end);
        self.settle_unreported(first.first_seq, usize::from(first.cohort));
        for span in &count.cohorts {
            let span_end = span.first_seq + span.packets;
            let cohort = self.cohort(span.cohort);
            let consistent = cohort.close(span.cohort, span.first_seq, span_end, Some(span.bytes));
            self.inconsistent |= !consistent;
        }
        self.closed_end = end;
        self.settle_segments((usize::from(last.cohort) | 1) + 1);
    }

    /// Ends the account, with the last segment's final count if it is known:
    /// every cohort of every segment is settled.
    pub fn close(&mut self, count: Option<&FinalCount>) {
        if self.closed {
            return;
        }
        if let Some(count) = count {
            self.close_segment(count);
        }
        let top = self.bitmap.span().end;
        self.declare_below(top);
        self.settle_unreported(top, self.cohorts.len());
        self.settle_segments(self.cohorts.len().next_multiple_of(2));
        self.closed = true;
        let lost = |sum: u64, cohort: &CohortTotals| sum.saturating_add(cohort.lost);
        self.inconsistent |= self.cohorts().fold(0, lost) != self.declared;
    }

    /// Brings the losses of the segments up to `next_cohort` to the sum of
    /// their cohorts, and lets the open segments begin there.
    fn settle_segments(&mut self, next_cohort: usize) {
        for segment in self.open_cohort / 2..next_cohort / 2 {
            let mut lost = 0u64;
            for number in 2 * segment..(2 * segment + 2).min(self.cohorts.len()) {
                let cohort = &mut self.cohorts[number];
                // Arrived, but its generator says that it never sent any.
                self.inconsistent |= !cohort.closed && cohort.seen.is_some();
                if !cohort.closed && cohort.has_arrivals() {
                    // Nothing in time: the losses count for its neighbours.
                    cohort.close(number as u8, self.closed_end, self.closed_end, None);
                }
                lost = lost.saturating_add(cohort.totals.lost);
            }
            let counts = self.segment(segment);
            let declared = counts.totals().lost;
            counts.interval.lost += lost.saturating_sub(declared);
            self.inconsistent |= lost < declared;
        }
        // What the current run still holds of these segments is in them now.
        self.unassigned = 0;
        self.open_cohort = self.open_cohort.max(next_cohort);
    }

    /// Settles the cohorts below `next_cohort` that have no final count; they
    /// end at `end`.
    fn settle_unreported(&mut self, end: u64, next_cohort: usize) {
        for (cohort, part) in self.unreported(end, next_cohort) {
            let number = cohort.min(usize::from(u8::MAX)) as u8;
            let consistent = self
                .cohort(number)
                .close(number, part.start, part.end, None);
            self.inconsistent |= !consistent;
        }
    }

    /// Divides the numbers since the last closed segment among its cohorts.
    ///
    /// 1. From its first to its last received packet a cohort is certain.
    /// 2. Lost packets between two cohorts count for the measured one of them,
    ///    or for a measured one between them of which nothing arrived.
    fn unreported(&self, end: u64, next_cohort: usize) -> Vec<(usize, Range<u64>)> {
        let open = self.open_cohort;
        let mut parts: Vec<(usize, Range<u64>)> = Vec::new();
        let mut at = self.closed_end;
        let mut assign = |cohort: usize, to: u64| {
            let to = to.clamp(at, end.max(at));
            match parts.last_mut() {
                Some((last, part)) if *last == cohort => part.end = to,
                _ if at == to => {}
                _ => parts.push((cohort, at..to)),
            }
            at = to;
        };
        let mut before = None;
        for index in open..next_cohort.min(self.cohorts.len()) {
            let Some((first, last)) = self.cohorts[index].seen else {
                continue;
            };
            assign(
                owner_of_gap(before, open, index).unwrap_or(index),
                first.seq,
            );
            assign(index, last.seq + 1);
            before = Some(index);
        }
        let owner = owner_of_gap(before, open, next_cohort);
        assign(owner.or(before).unwrap_or(open), end);
        parts
    }

    /// Whether a final count continues the earlier ones without contradiction.
    fn is_plausible(&self, count: &FinalCount) -> bool {
        let mut next_cohort = self.open_cohort;
        let mut next_seq = None;
        count.cohorts.iter().all(|span| {
            let ascends = usize::from(span.cohort) >= next_cohort;
            let joins = match next_seq {
                Some(next) => span.first_seq == next,
                // Only segments without a count may lie between.
                None if usize::from(span.cohort) == self.open_cohort => {
                    span.first_seq == self.closed_end
                }
                None => span.first_seq >= self.closed_end,
            };
            next_cohort = usize::from(span.cohort) + 1;
            next_seq = span.end();
            ascends && joins && next_seq.is_some_and(|end| end <= MAX_SEQUENCE + 1)
        })
    }
}

/// The measured cohort, seen last (`before`) or not seen at all, that lost
/// packets between `before` and `after` count for; `None` if there is none.
/// Odd cohorts are measured windows, even ones their warm-ups.
fn owner_of_gap(before: Option<usize>, open: usize, after: usize) -> Option<usize> {
    let candidate = before.unwrap_or(open) | 1;
    (candidate < after).then_some(candidate)
}
