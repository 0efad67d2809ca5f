//! Which sequence numbers have arrived: a ring of bits that follows the flow.

use std::ops::Range;

/// At most 1 MiB of bits.
pub(super) const MAX_BITS: u64 = 8 << 20;
/// First size: 128 bytes serve a slow flow for ever.
const MIN_BITS: u64 = 1 << 10;

/// Bits for the sequence numbers in [`Bitmap::span`].
///
/// Invariants: the capacity is zero or a power of two of at least 64; the span
/// is never longer than the capacity. Bits outside the span are garbage, and
/// cleared when the span grows over them.
#[derive(Debug, Clone, Default)]
pub(super) struct Bitmap {
    words: Vec<u64>,
    floor: u64,
    top: u64,
}

impl Bitmap {
    /// The sequence numbers whose bits are known.
    pub(super) fn span(&self) -> Range<u64> {
        self.floor..self.top
    }

    /// Lets the span end at `top`, the new bits clear. It begins where it did,
    /// or as much later as the capacity demands.
    pub(super) fn extend_to(&mut self, top: u64) {
        let capacity = self.capacity();
        let mut at = self.top.max(top.saturating_sub(capacity));
        while at < top {
            let bit = at % 64;
            let count = (64 - bit).min(top - at);
            let index = self.index(at);
            self.words[index] &= !(ones(count) << bit);
            at += count;
        }
        self.top = top;
        self.floor = self.floor.max(top.saturating_sub(capacity));
    }

    /// Makes room for `bits` (at most [`MAX_BITS`]) in the span, keeping it.
    pub(super) fn reserve(&mut self, bits: u64) {
        if bits <= self.capacity() {
            return;
        }
        let capacity = bits.next_power_of_two().clamp(MIN_BITS, MAX_BITS);
        let mut words = vec![0u64; (capacity / 64) as usize];
        let mask = words.len() as u64 - 1;
        if self.floor < self.top {
            for word in self.floor / 64..=(self.top - 1) / 64 {
                words[(word & mask) as usize] = self.words[self.index(word * 64)];
            }
        }
        self.words = words;
    }

    /// Whether `sequence`, which lies in the span, is marked.
    #[inline]
    pub(super) fn is_set(&self, sequence: u64) -> bool {
        self.words[self.index(sequence)] >> (sequence % 64) & 1 == 1
    }

    /// Marks `sequence`, which lies in the span.
    #[inline]
    pub(super) fn set(&mut self, sequence: u64) {
        let index = self.index(sequence);
        self.words[index] |= 1 << (sequence % 64);
    }

    /// The first run of equal bits in a part of the span: whether they are set,
    /// and how many (runs end at word borders, so neighbours may be equal).
    pub(super) fn first_run(&self, part: Range<u64>) -> Option<(bool, u64)> {
        if part.is_empty() {
            return None;
        }
        let bit = part.start % 64;
        let word = self.words[self.index(part.start)] >> bit;
        let available = (64 - bit).min(part.end - part.start);
        let set = word & 1 == 1;
        let length = if set {
            word.trailing_ones()
        } else {
            word.trailing_zeros()
        };
        Some((set, u64::from(length).min(available)))
    }

    fn capacity(&self) -> u64 {
        self.words.len() as u64 * 64
    }

    #[inline]
    fn index(&self, sequence: u64) -> usize {
        (sequence / 64) as usize & (self.words.len().wrapping_sub(1))
    }
}

/// The lowest `count` bits (1 to 64) set.
fn ones(count: u64) -> u64 {
    u64::MAX >> (64 - count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growing_keeps_the_span_at_any_alignment() {
        for floor in [0u64, 1, 63, 64, 1_000, 1_050] {
            let mut bitmap = Bitmap::default();
            bitmap.reserve(1_024);
            bitmap.extend_to(floor + 1_024);
            let begin = bitmap.span().start;
            assert_eq!(begin, floor);
            for sequence in bitmap.span().filter(|s| s % 3 == 0) {
                bitmap.set(sequence);
            }
            bitmap.reserve(1_025);
            bitmap.extend_to(floor + 1_500);
            assert_eq!(bitmap.span().start, begin);
            for sequence in bitmap.span() {
                let expected = sequence % 3 == 0 && sequence < floor + 1_024;
                assert_eq!(bitmap.is_set(sequence), expected, "{floor} {sequence}");
            }
        }
    }

    #[test]
    fn a_far_jump_clears_everything_at_once() {
        let mut bitmap = Bitmap::default();
        bitmap.reserve(64);
        bitmap.extend_to(10);
        bitmap.set(5);
        bitmap.extend_to(1 << 50);
        assert_eq!(bitmap.span(), (1 << 50) - 1_024..1 << 50);
        assert!(bitmap.span().all(|sequence| !bitmap.is_set(sequence)));
    }
}
